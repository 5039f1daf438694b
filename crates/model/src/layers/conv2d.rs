//! Convolution over images.

use super::window::{Pair, image_channels, padding, window};
use super::{Config, Context, Layer, Weights};
use crate::{Activation, Initializer, config};
use ibex_core::{Error, Padding, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `activation(conv(x, kernel) + bias)`: images `(batch, height, width, channels)` to `(batch, out height, out width, filters)`, where each output
/// is the sum of the products of a window of the input and a kernel (a cross-correlation, as everywhere in deep learning).
///
/// Output lengths: `(n - (k - 1) * dilation - 1) / strides + 1` for valid padding, `ceil(n / strides)` for same padding.
///
/// Weights: `kernel (kernel height, kernel width, channels / groups, filters)`, Glorot uniform; `bias (filters,)`, zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Conv2D {
    filters: usize,
    kernel_size: Pair,
    strides: Pair,
    #[serde(with = "padding")]
    padding: Padding,
    dilation_rate: Pair,
    groups: usize,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
}

impl Default for Conv2D {
    fn default() -> Self {
        Conv2D {
            filters: 1,
            kernel_size: Pair(1, 1),
            strides: Pair(1, 1),
            padding: Padding::Valid,
            dilation_rate: Pair(1, 1),
            groups: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
    }
}

impl Conv2D {
    /// A layer with `filters` output channels and windows of `kernel_size`: `Conv2D::new(32, 3)`, `Conv2D::new(32, (3, 5))`.
    pub fn new(filters: usize, kernel_size: impl Into<Pair>) -> Self {
        Conv2D { filters, kernel_size: kernel_size.into(), ..Conv2D::default() }
    }

    /// Distance between windows; 1 by default.
    pub fn strides(self, strides: impl Into<Pair>) -> Self {
        Conv2D { strides: strides.into(), ..self }
    }

    /// Windows inside of the image (valid, the default), or as many as there are places for (same).
    pub fn padding(self, padding: Padding) -> Self {
        Conv2D { padding, ..self }
    }

    /// Distance between the elements of a window; 1 by default.
    pub fn dilation_rate(self, dilation_rate: impl Into<Pair>) -> Self {
        Conv2D { dilation_rate: dilation_rate.into(), ..self }
    }

    /// Divides input and output channels into groups that do not see each other; 1 by default.
    pub fn groups(self, groups: usize) -> Self {
        Conv2D { groups, ..self }
    }

    /// Applied to the result.
    pub fn activation(self, activation: Activation) -> Self {
        Conv2D { activation, ..self }
    }

    /// With or without bias; with by default.
    pub fn use_bias(self, use_bias: bool) -> Self {
        Conv2D { use_bias, ..self }
    }

    /// How the kernel starts.
    pub fn kernel_initializer(self, kernel_initializer: Initializer) -> Self {
        Conv2D { kernel_initializer, ..self }
    }

    /// How the bias starts.
    pub fn bias_initializer(self, bias_initializer: Initializer) -> Self {
        Conv2D { bias_initializer, ..self }
    }
}

impl Layer for Conv2D {
    fn class_name(&self) -> &'static str {
        "Conv2D"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let (channels, groups, filters) = (image_channels(input)?, self.groups, self.filters);
        if groups == 0 || filters == 0 || !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(Error::value(format!(
                "{groups} groups must divide {channels} input channels and {filters} filters, and there must be some of each"
            )));
        }
        let Pair(height, width) = self.kernel_size;
        weights.add("kernel", [height, width, channels / groups, filters], self.kernel_initializer)?;
        if self.use_bias {
            weights.add("bias", [filters], self.bias_initializer)?;
        }
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let window = window(self.kernel_size, self.strides, self.dilation_rate, self.padding);
        let mut y = x.conv(cx.weight("kernel"), &window, self.groups);
        if self.use_bias {
            y = y + cx.weight("bias");
        }
        Ok(self.activation.activate(&y))
    }
}
