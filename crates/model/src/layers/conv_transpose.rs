//! Transposed convolution.

use super::convolution::{Convolution, convolution_options, kernel_options};
use super::window::{Sizes, channels, class, padding};
use super::{Config, Context, Layer, Weights, at_least_one};
use crate::{Constraint, Initializer, Regularizer, config};
use ibex_core::{Padding, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `activation(conv_transpose(x, kernel) + bias)`: `(batch, space.., channels)` to `(batch, out.., filters)` with `N` space axes. Each element of
/// the input adds a multiple of the kernel to a window of the output: what the gradient of a convolution does.
///
/// Output lengths, where `k` is what a window reaches over, `(kernel_size - 1) * dilation + 1`: `n * strides` for same padding and
/// `(n - 1) * strides + max(k, strides)` for valid padding; with output padding `(n - 1) * strides + k % 2 + output_padding` for same and
/// `(n - 1) * strides + k + output_padding` for valid padding.
///
/// Weights: `kernel (window.., filters, channels)`, Glorot uniform; `bias (filters,)`, zeros.
///
/// [A guide to convolution arithmetic for deep learning](https://arxiv.org/abs/1603.07285)
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, bound = "")]
pub struct ConvTranspose<const N: usize> {
    filters: usize,
    #[serde(with = "padding")]
    padding: Padding,
    output_padding: Option<Sizes<N>>,
    kernel_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    kernel_constraint: Option<Constraint>,
    #[serde(flatten)]
    convolution: Convolution<N>,
}

/// [`ConvTranspose`] over sequences `(batch, steps, channels)`.
pub type Conv1DTranspose = ConvTranspose<1>;
/// [`ConvTranspose`] over images `(batch, height, width, channels)`.
pub type Conv2DTranspose = ConvTranspose<2>;
/// [`ConvTranspose`] over volumes `(batch, depth, height, width, channels)`.
pub type Conv3DTranspose = ConvTranspose<3>;

impl<const N: usize> Default for ConvTranspose<N> {
    fn default() -> Self {
        ConvTranspose {
            filters: 1,
            padding: Padding::Valid,
            output_padding: None,
            kernel_initializer: Initializer::GlorotUniform,
            kernel_regularizer: None,
            kernel_constraint: None,
            convolution: Convolution::default(),
        }
    }
}

impl<const N: usize> ConvTranspose<N> {
    /// A layer with `filters` output channels and windows of `kernel_size`.
    pub fn new(filters: usize, kernel_size: impl Into<Sizes<N>>) -> Self {
        ConvTranspose { filters, convolution: Convolution::new(kernel_size.into()), ..ConvTranspose::default() }
    }

    /// All that the windows reach (valid, the default), or `strides` elements for each of the input (same).
    pub fn padding(self, padding: Padding) -> Self {
        ConvTranspose { padding, ..self }
    }

    /// Elements more at the end, fewer than the strides.
    pub fn output_padding(self, output_padding: impl Into<Sizes<N>>) -> Self {
        ConvTranspose { output_padding: Some(output_padding.into()), ..self }
    }

    convolution_options!();
    kernel_options!("kernel": kernel_initializer kernel_regularizer kernel_constraint);
}

impl<const N: usize> Layer for ConvTranspose<N> {
    fn class_name(&self) -> &'static str {
        class::<N>(["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"])
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let channels = channels::<N>(input)?;
        at_least_one("filters", self.filters)?;
        let shape = self.convolution.kernel(self.filters, channels);
        let kernel = weights.add("kernel", shape, self.kernel_initializer)?;
        kernel.regularized(self.kernel_regularizer).constrained(self.kernel_constraint.clone());
        self.convolution.add_bias(weights, self.filters)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let more = self.output_padding.as_ref().map(|sizes| &sizes.0[..]);
        let y = x.conv_transpose(cx.weight("kernel"), &self.convolution.window(self.padding), more);
        Ok(self.convolution.finish(y, cx))
    }
}
