//! Layer normalisation.

use super::affine::{Affine, affine_options};
use super::{Config, Context, Layer, Weights, inner_axes};
use crate::config::{self, Axes};
use crate::{Constraint, Initializer, Regularizer};
use ibex_core::{DType, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with mean and (biased) variance over some axes of each sample (Ba, Kiros and Hinton 2016).
/// Any shape with these axes; the shape stays.
///
/// Computes in `f32` under every policy, and rounds its result.
///
/// Weights, both with the lengths of the axes: `gamma`, ones; `beta`, zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerNormalization {
    axis: Axes,
    epsilon: f64,
    #[serde(flatten)]
    affine: Affine,
}

impl Default for LayerNormalization {
    fn default() -> Self {
        LayerNormalization { axis: Axes::One(-1), epsilon: 1e-3, affine: Affine::default() }
    }
}

impl LayerNormalization {
    /// Along the last axis.
    pub fn new() -> Self {
        LayerNormalization::default()
    }
}

options! { LayerNormalization {
    /// The axis, or axes, that mean and variance are taken over; counts from the end if negative. -1 by default.
    axis: impl Into<Axes>,
    /// Added to the variance; 0.001 by default.
    epsilon: f64,
} }

affine_options!(LayerNormalization);

impl Layer for LayerNormalization {
    fn class_name(&self) -> &'static str {
        "LayerNormalization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let lens: Vec<usize> = inner_axes(input, &self.axis)?.iter().map(|&axis| input[axis]).collect();
        self.affine.build(weights, &lens)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let axes = inner_axes(x.shape(), &self.axis)?;
        let aligned: Vec<usize> = (0..x.rank()).map(|i| if axes.contains(&i) { x.shape()[i] } else { 1 }).collect();
        let x = x.cast(DType::F32);
        let [mean, variance] = x.moments_keep(&axes.iter().map(|&axis| axis as isize).collect::<Vec<_>>());
        Ok(self.affine.apply(x - mean, (variance + self.epsilon).rsqrt(), &aligned, cx))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
