//! Losses as metrics.

use super::Metric;
use crate::config::{self, Config};
use crate::losses::{Loss, MeanAbsoluteError, MeanSquaredError};
use ibex_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

macro_rules! from_loss {
    ($($name:ident $loss:ident $label:literal $doc:literal;)+) => { $(
        #[doc = $doc]
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        pub struct $name {}

        impl $name {
            /// The metric.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl Metric for $name {
            fn name(&self) -> String {
                $label.into()
            }

            fn class_name(&self) -> &'static str {
                stringify!($loss)
            }

            fn config(&self) -> Result<Config> {
                config::save(self)
            }

            fn direction(&self) -> Option<bool> {
                Some(false)
            }

            fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
                $loss::new().call(y_true, y_pred)
            }
        }
    )+ };
}

from_loss! {
    MeanSquaredErrorMetric MeanSquaredError "mean_squared_error" "Mean of squared differences.";
    MeanAbsoluteErrorMetric MeanAbsoluteError "mean_absolute_error" "Mean of absolute differences.";
}
