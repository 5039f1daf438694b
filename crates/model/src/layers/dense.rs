//! Fully connected layer.

use super::{Config, Context, Layer, Weights, at_least_one, features};
use crate::{Activation, IntoActivation, Constraint, Initializer, Regularizer, config};
use ibex_core::{Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `activation(x @ kernel + bias)` over the last axis: `(batch, .., n)` to `(batch, .., units)`.
///
/// Weights: `kernel (n, units)`, Glorot uniform; `bias (units,)`, zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Dense {
    units: usize,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
    activity_regularizer: Option<Regularizer>,
    kernel_constraint: Option<Constraint>,
    bias_constraint: Option<Constraint>,
}

impl Default for Dense {
    fn default() -> Self {
        Dense {
            units: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
        }
    }
}

impl Dense {
    /// A layer with `units` outputs.
    pub fn new(units: usize) -> Self {
        Dense { units, ..Dense::default() }
    }
}

options! { Dense {
    /// Applied to the result.
    activation: impl IntoActivation,
    /// With or without bias; with by default.
    use_bias: bool,
    /// How the kernel starts.
    kernel_initializer: Initializer,
    /// How the bias starts.
    bias_initializer: Initializer,
    /// What the kernel adds to the loss.
    kernel_regularizer: impl Into<Option<Regularizer>>,
    /// What the bias adds to the loss.
    bias_regularizer: impl Into<Option<Regularizer>>,
    /// What the output adds to the loss, divided by the size of the batch.
    activity_regularizer: impl Into<Option<Regularizer>>,
    /// What the kernel is made to keep to after every step.
    kernel_constraint: impl Into<Option<Constraint>>,
    /// What the bias is made to keep to after every step.
    bias_constraint: impl Into<Option<Constraint>>,
} }

impl Layer for Dense {
    fn class_name(&self) -> &'static str {
        "Dense"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        at_least_one("units", self.units)?;
        weights
            .add("kernel", [features(input)?, self.units], self.kernel_initializer)?
            .regularized(self.kernel_regularizer)
            .constrained(self.kernel_constraint.clone());
        if self.use_bias {
            weights
                .add("bias", [self.units], self.bias_initializer)?
                .regularized(self.bias_regularizer)
                .constrained(self.bias_constraint.clone());
        }
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let mut y = x.matmul(cx.weight("kernel"));
        if self.use_bias {
            y = y + cx.weight("bias");
        }
        let y = self.activation.activate(&y);
        cx.penalize(self.activity_regularizer, &y);
        Ok(y)
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
