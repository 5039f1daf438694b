//! Convolution in two steps.

use super::convolution::{Convolution, convolution_options, kernel_options};
use super::depthwise_conv::depthwise;
use super::window::{Sizes, channels, class, padding};
use super::{Config, Context, Layer, Weights, at_least_one};
use crate::{Constraint, Initializer, Regularizer, config};
use ibex_core::{Padding, Result, Shape, Tensor, Window};
use serde::{Deserialize, Serialize};

/// A depthwise convolution, and one with windows of length 1 that mixes the channels: `(batch, space.., channels)` to `(batch, out.., filters)`
/// with `N` space axes. Output lengths are those of [`Conv`](super::Conv).
///
/// Weights: `depthwise_kernel (window.., channels, depth_multiplier)` and `pointwise_kernel (1.., channels * depth_multiplier, filters)`, both
/// Glorot uniform; `bias (filters,)`, zeros.
///
/// [Xception: Deep Learning with Depthwise Separable Convolutions](https://arxiv.org/abs/1610.02357)
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, bound = "")]
pub struct SeparableConv<const N: usize> {
    filters: usize,
    depth_multiplier: usize,
    #[serde(with = "padding")]
    padding: Padding,
    depthwise_initializer: Initializer,
    depthwise_regularizer: Option<Regularizer>,
    depthwise_constraint: Option<Constraint>,
    pointwise_initializer: Initializer,
    pointwise_regularizer: Option<Regularizer>,
    pointwise_constraint: Option<Constraint>,
    #[serde(flatten)]
    convolution: Convolution<N>,
}

/// [`SeparableConv`] over sequences `(batch, steps, channels)`.
pub type SeparableConv1D = SeparableConv<1>;
/// [`SeparableConv`] over images `(batch, height, width, channels)`.
pub type SeparableConv2D = SeparableConv<2>;

impl<const N: usize> Default for SeparableConv<N> {
    fn default() -> Self {
        SeparableConv {
            filters: 1,
            depth_multiplier: 1,
            padding: Padding::Valid,
            depthwise_initializer: Initializer::GlorotUniform,
            depthwise_regularizer: None,
            depthwise_constraint: None,
            pointwise_initializer: Initializer::GlorotUniform,
            pointwise_regularizer: None,
            pointwise_constraint: None,
            convolution: Convolution::default(),
        }
    }
}

impl<const N: usize> SeparableConv<N> {
    /// A layer with `filters` output channels and windows of `kernel_size`.
    pub fn new(filters: usize, kernel_size: impl Into<Sizes<N>>) -> Self {
        SeparableConv { filters, convolution: Convolution::new(kernel_size.into()), ..SeparableConv::default() }
    }

    /// How many channels each channel gives in the first step; 1 by default.
    pub fn depth_multiplier(self, depth_multiplier: usize) -> Self {
        SeparableConv { depth_multiplier, ..self }
    }

    /// Windows inside of the input (valid, the default), or as many as there are places for (same).
    pub fn padding(self, padding: Padding) -> Self {
        SeparableConv { padding, ..self }
    }

    convolution_options!();
    kernel_options!("depthwise kernel": depthwise_initializer depthwise_regularizer depthwise_constraint);
    kernel_options!("pointwise kernel": pointwise_initializer pointwise_regularizer pointwise_constraint);
}

impl<const N: usize> Layer for SeparableConv<N> {
    fn class_name(&self) -> &'static str {
        class::<N>(["SeparableConv1D", "SeparableConv2D", "SeparableConv3D"])
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let channels = channels::<N>(input)?;
        at_least_one("filters", self.filters)?;
        at_least_one("depth_multiplier", self.depth_multiplier)?;
        let shape = self.convolution.kernel(channels, self.depth_multiplier);
        let depthwise = weights.add("depthwise_kernel", shape, self.depthwise_initializer)?;
        depthwise.regularized(self.depthwise_regularizer).constrained(self.depthwise_constraint.clone());
        let shape = [&[1; N][..], &[channels * self.depth_multiplier, self.filters]].concat();
        let pointwise = weights.add("pointwise_kernel", shape, self.pointwise_initializer)?;
        pointwise.regularized(self.pointwise_regularizer).constrained(self.pointwise_constraint.clone());
        self.convolution.add_bias(weights, self.filters)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let each = depthwise(x, &cx.weight("depthwise_kernel"), &self.convolution.window(self.padding));
        let mixed = each.conv(cx.weight("pointwise_kernel"), &Window::new(vec![1; N]), 1);
        Ok(self.convolution.finish(mixed, cx))
    }
}
