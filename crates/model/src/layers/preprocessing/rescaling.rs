//! Rescaling.

use super::{Config, Context, Layer, Statistic};
use crate::config;
use ibex_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// `x * scale + offset`, in training and outside of it: `Rescaling::new(1.0 / 255.0)` for bytes. Any shape, integers too; each of both is a
/// number, or a list of one for each channel. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rescaling {
    scale: Statistic,
    #[serde(default = "zero")]
    offset: Statistic,
}

fn zero() -> Statistic {
    Statistic::One(0.0)
}

impl Rescaling {
    /// Multiplies by `scale`.
    pub fn new(scale: impl Into<Statistic>) -> Self {
        Rescaling { scale: scale.into(), offset: zero() }
    }

    /// Added after that; 0 by default.
    pub fn offset(self, offset: impl Into<Statistic>) -> Self {
        Rescaling { offset: offset.into(), ..self }
    }
}

impl Layer for Rescaling {
    fn class_name(&self) -> &'static str {
        "Rescaling"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let dtype = cx.compute_dtype();
        Ok(x.cast(dtype) * self.scale.tensor().cast(dtype) + self.offset.tensor().cast(dtype))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}

