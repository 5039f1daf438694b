//! The last step of normalising layers.

use super::{Context, Weights};
use crate::{Constraint, Initializer, Regularizer};
use ibex_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

/// `gamma * x + beta`, both of them optional.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Affine {
    pub center: bool,
    pub scale: bool,
    pub beta_initializer: Initializer,
    pub gamma_initializer: Initializer,
    pub beta_regularizer: Option<Regularizer>,
    pub gamma_regularizer: Option<Regularizer>,
    pub beta_constraint: Option<Constraint>,
    pub gamma_constraint: Option<Constraint>,
}

impl Default for Affine {
    fn default() -> Self {
        Affine {
            center: true,
            scale: true,
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
            beta_regularizer: None,
            gamma_regularizer: None,
            beta_constraint: None,
            gamma_constraint: None,
        }
    }
}

impl Affine {
    pub fn build(&self, weights: &mut Weights, shape: &[usize]) -> Result<()> {
        if self.scale {
            weights
                .add("gamma", shape, self.gamma_initializer)?
                .regularized(self.gamma_regularizer)
                .constrained(self.gamma_constraint.clone());
        }
        if self.center {
            weights
                .add("beta", shape, self.beta_initializer)?
                .regularized(self.beta_regularizer)
                .constrained(self.beta_constraint.clone());
        }
        Ok(())
    }

    /// `centred * factor * gamma + beta`, with the weights in a shape that broadcasts, rounded to the type of the layer.
    pub fn apply(&self, centred: Tensor, mut factor: Tensor, aligned: &[usize], cx: &Context) -> Tensor {
        let weight = |name: &str| cx.weight_as(name, DType::F32).reshape(aligned);
        if self.scale {
            factor = factor * weight("gamma");
        }
        let mut y = centred * factor;
        if self.center {
            y = y + weight("beta");
        }
        y.cast(cx.compute_dtype())
    }
}

/// The methods that set it.
macro_rules! affine_options {
    ($name:ident) => {
        options! { $name {
            /// With or without `beta`; with by default.
            center in affine: bool,
            /// With or without `gamma`; with by default.
            scale in affine: bool,
            /// How `beta` starts.
            beta_initializer in affine: Initializer,
            /// How `gamma` starts.
            gamma_initializer in affine: Initializer,
            /// What `beta` adds to the loss.
            beta_regularizer in affine: impl Into<Option<Regularizer>>,
            /// What `gamma` adds to the loss.
            gamma_regularizer in affine: impl Into<Option<Regularizer>>,
            /// What `beta` is made to keep to after every step.
            beta_constraint in affine: impl Into<Option<Constraint>>,
            /// What `gamma` is made to keep to after every step.
            gamma_constraint in affine: impl Into<Option<Constraint>>,
        } }
    };
}

pub(super) use affine_options;
