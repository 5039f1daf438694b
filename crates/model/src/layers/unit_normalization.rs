//! Vectors of length 1.

use super::{Config, Context, Layer, Weights, inner_axes};
use crate::config::{self, Axes};
use ibex_core::{DType, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `x / max(|x|, 1e-12)`, with the Euclidean norm over some axes of each sample. Any shape with these axes; the shape stays. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitNormalization {
    axis: Axes,
}

impl Default for UnitNormalization {
    fn default() -> Self {
        UnitNormalization { axis: Axes::One(-1) }
    }
}

impl UnitNormalization {
    /// Along the last axis.
    pub fn new() -> Self {
        UnitNormalization::default()
    }
}

options! { UnitNormalization {
    /// The axis, or axes, of a vector; counts from the end if negative. -1 by default.
    axis: impl Into<Axes>,
} }

impl Layer for UnitNormalization {
    fn class_name(&self) -> &'static str {
        "UnitNormalization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        inner_axes(input, &self.axis).map(drop)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        Ok(unit(&x.cast(DType::F32), self.axis.list(), 1e-12).cast(cx.compute_dtype()))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}

/// `x / max(|x|, least)` along axes.
pub(super) fn unit(x: &Tensor, axes: &[isize], least: f32) -> Tensor {
    x * x.square().sum_keep(axes).maximum(least * least).rsqrt()
}
