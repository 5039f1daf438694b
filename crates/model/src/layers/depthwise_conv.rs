//! Convolution of each channel by itself.

use super::convolution::{Convolution, convolution_options, kernel_options};
use super::window::{Sizes, channels, class, padding};
use super::{Config, Context, Layer, Weights, at_least_one};
use crate::{Constraint, Initializer, Regularizer, config};
use ibex_core::{Padding, Result, Shape, Tensor, Window};
use serde::{Deserialize, Serialize};

/// `activation(depthwise_conv(x, kernel) + bias)`: `(batch, space.., channels)` to `(batch, out.., channels * depth_multiplier)` with `N` space
/// axes. Each channel is convolved with `depth_multiplier` kernels of its own. Output lengths are those of [`Conv`](super::Conv).
///
/// Weights: `kernel (window.., channels, depth_multiplier)`, Glorot uniform; `bias (channels * depth_multiplier,)`, zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, bound = "")]
pub struct DepthwiseConv<const N: usize> {
    depth_multiplier: usize,
    #[serde(with = "padding")]
    padding: Padding,
    depthwise_initializer: Initializer,
    depthwise_regularizer: Option<Regularizer>,
    depthwise_constraint: Option<Constraint>,
    #[serde(flatten)]
    convolution: Convolution<N>,
}

/// [`DepthwiseConv`] over sequences `(batch, steps, channels)`.
pub type DepthwiseConv1D = DepthwiseConv<1>;
/// [`DepthwiseConv`] over images `(batch, height, width, channels)`.
pub type DepthwiseConv2D = DepthwiseConv<2>;

impl<const N: usize> Default for DepthwiseConv<N> {
    fn default() -> Self {
        DepthwiseConv {
            depth_multiplier: 1,
            padding: Padding::Valid,
            depthwise_initializer: Initializer::GlorotUniform,
            depthwise_regularizer: None,
            depthwise_constraint: None,
            convolution: Convolution::default(),
        }
    }
}

impl<const N: usize> DepthwiseConv<N> {
    /// A layer with windows of `kernel_size`.
    pub fn new(kernel_size: impl Into<Sizes<N>>) -> Self {
        DepthwiseConv { convolution: Convolution::new(kernel_size.into()), ..DepthwiseConv::default() }
    }

    /// How many output channels each channel gives; 1 by default.
    pub fn depth_multiplier(self, depth_multiplier: usize) -> Self {
        DepthwiseConv { depth_multiplier, ..self }
    }

    /// Windows inside of the input (valid, the default), or as many as there are places for (same).
    pub fn padding(self, padding: Padding) -> Self {
        DepthwiseConv { padding, ..self }
    }

    convolution_options!();
    kernel_options!("kernel": depthwise_initializer depthwise_regularizer depthwise_constraint);
}

impl<const N: usize> Layer for DepthwiseConv<N> {
    fn class_name(&self) -> &'static str {
        class::<N>(["DepthwiseConv1D", "DepthwiseConv2D", "DepthwiseConv3D"])
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let channels = channels::<N>(input)?;
        at_least_one("depth_multiplier", self.depth_multiplier)?;
        let shape = self.convolution.kernel(channels, self.depth_multiplier);
        let kernel = weights.add("kernel", shape, self.depthwise_initializer)?;
        kernel.regularized(self.depthwise_regularizer).constrained(self.depthwise_constraint.clone());
        self.convolution.add_bias(weights, channels * self.depth_multiplier)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let y = depthwise(x, &cx.weight("kernel"), &self.convolution.window(self.padding));
        Ok(self.convolution.finish(y, cx))
    }
}

/// As many groups as channels, for a kernel `(window.., channels, multiplier)`.
pub(super) fn depthwise(x: &Tensor, kernel: &Tensor, window: &Window) -> Tensor {
    if kernel.check().is_err() {
        return kernel.clone();
    }
    let (channels, multiplier) = (kernel.dim(-2), kernel.dim(-1));
    let shape = [&window.size[..], &[1, channels * multiplier]].concat();
    x.conv(kernel.reshape(shape), window, channels)
}
