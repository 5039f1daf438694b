//! Root mean square normalisation.

use super::{Config, Context, Layer, Weights, inner_axes};
use crate::Initializer;
use crate::config::{self, Axes};
use ibex_core::{DType, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `scale * x / sqrt(mean(x^2) + epsilon)`, with the mean over some axes of each sample (Zhang and Sennrich 2019). Any shape with these axes;
/// the shape stays.
///
/// Computes in `f32` under every policy, and rounds its result.
///
/// Weights: `scale` with the lengths of the axes, ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RMSNormalization {
    axis: Axes,
    epsilon: f64,
}

impl Default for RMSNormalization {
    fn default() -> Self {
        RMSNormalization { axis: Axes::One(-1), epsilon: 1e-6 }
    }
}

impl RMSNormalization {
    /// Along the last axis.
    pub fn new() -> Self {
        RMSNormalization::default()
    }
}

options! { RMSNormalization {
    /// The axis, or axes, that the mean is taken over; counts from the end if negative. -1 by default.
    axis: impl Into<Axes>,
    /// Added to the mean; 0.000001 by default.
    epsilon: f64,
} }

impl Layer for RMSNormalization {
    fn class_name(&self) -> &'static str {
        "RMSNormalization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let lens: Vec<usize> = inner_axes(input, &self.axis)?.iter().map(|&axis| input[axis]).collect();
        weights.add("scale", lens, Initializer::Ones)?;
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let axes = inner_axes(x.shape(), &self.axis)?;
        let aligned: Vec<usize> = (0..x.rank()).map(|i| if axes.contains(&i) { x.shape()[i] } else { 1 }).collect();
        let x = x.cast(DType::F32);
        let squares = x.square().mean_keep(&axes.iter().map(|&axis| axis as isize).collect::<Vec<_>>());
        let y = x * (squares + self.epsilon).rsqrt() * cx.weight_as("scale", DType::F32).reshape(aligned);
        Ok(y.cast(cx.compute_dtype()))
    }
}
