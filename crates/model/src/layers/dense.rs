//! Fully connected layer.

use super::{Config, Context, Layer, Weights, features};
use crate::{Activation, Initializer, config};
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
}

impl Default for Dense {
    fn default() -> Self {
        Dense {
            units: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
    }
}

impl Dense {
    /// A layer with `units` outputs.
    pub fn new(units: usize) -> Self {
        Dense { units, ..Dense::default() }
    }

    /// Applied to the result.
    pub fn activation(self, activation: Activation) -> Self {
        Dense { activation, ..self }
    }

    /// With or without bias; with by default.
    pub fn use_bias(self, use_bias: bool) -> Self {
        Dense { use_bias, ..self }
    }

    /// How the kernel starts.
    pub fn kernel_initializer(self, kernel_initializer: Initializer) -> Self {
        Dense { kernel_initializer, ..self }
    }

    /// How the bias starts.
    pub fn bias_initializer(self, bias_initializer: Initializer) -> Self {
        Dense { bias_initializer, ..self }
    }
}

impl Layer for Dense {
    fn class_name(&self) -> &'static str {
        "Dense"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        weights.add("kernel", [features(input)?, self.units], self.kernel_initializer)?;
        if self.use_bias {
            weights.add("bias", [self.units], self.bias_initializer)?;
        }
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let mut y = x.matmul(cx.weight("kernel"));
        if self.use_bias {
            y = y + cx.weight("bias");
        }
        Ok(self.activation.activate(&y))
    }
}
