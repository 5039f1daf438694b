//! Losses of numbers.

use super::{Loss, Reduction, dense_targets};
use crate::config::{self, Config};
use ibex_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

macro_rules! regression {
    ($($name:ident $snake:literal $doc:literal $of:expr;)+) => { $(
        #[doc = $doc]
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            reduction: Reduction,
        }

        impl $name {
            /// The loss with the default reduction.
            pub fn new() -> Self {
                Self::default()
            }

            /// How the losses of samples become one number.
            pub fn with_reduction(self, reduction: Reduction) -> Self {
                Self { reduction }
            }
        }

        impl Loss for $name {
            fn class_name(&self) -> &'static str {
                stringify!($name)
            }

            fn config(&self) -> Result<Config> {
                config::save(self)
            }

            fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
                let y = dense_targets($snake, y_true, y_pred)?;
                let of: fn(&Tensor) -> Tensor = $of;
                let each = of(&(y_pred - y));
                Ok(if each.rank() == 0 { each } else { each.mean(&[-1]) })
            }

            fn reduction(&self) -> Reduction {
                self.reduction
            }
        }
    )+ };
}

regression! {
    MeanSquaredError "mean_squared_error" "Mean over the last axis of `(y_pred - y_true)^2`." |d| d.square();
    MeanAbsoluteError "mean_absolute_error" "Mean over the last axis of `|y_pred - y_true|`." |d| d.abs();
}
