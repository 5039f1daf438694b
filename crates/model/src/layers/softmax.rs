//! Softmax along any axes.

use super::{Config, Context, Layer};
use crate::config::{self, Axes};
use ibex_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

/// `e^x / sum(e^x)` along some axes. What a mask takes out becomes 0; as in Keras the mask must broadcast to the input. Any shape, no weights.
///
/// The prelude's `Softmax` is the activation; this is `layers::Softmax`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Softmax {
    axis: Axes,
}

impl Default for Softmax {
    fn default() -> Self {
        Softmax { axis: Axes::One(-1) }
    }
}

impl Softmax {
    /// Along the last axis.
    pub fn new() -> Self {
        Softmax::default()
    }
}

options! { Softmax {
    /// The axis, or axes, whose elements sum to 1; counts from the end if negative. -1 by default.
    axis: impl Into<Axes>,
} }

impl Layer for Softmax {
    fn class_name(&self) -> &'static str {
        "Softmax"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        Ok(masked_softmax(x, cx.mask(0).as_ref(), self.axis.list()))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}

/// Softmax along axes of what a mask leaves, 0 elsewhere.
pub(super) fn masked_softmax(x: &Tensor, mask: Option<&Tensor>, axes: &[isize]) -> Tensor {
    // As in Keras; f16 does not reach so far.
    let low = if x.dtype() == DType::F16 { -3e4 } else { -1e9 };
    let seen = mask.map_or_else(|| x.clone(), |mask| mask.select(x, low));
    let exp = (&seen - seen.max_keep(axes).stop_gradient()).exp();
    let y = &exp / exp.sum_keep(axes);
    mask.map_or_else(|| y.clone(), |mask| mask.select(&y, 0.0))
}
