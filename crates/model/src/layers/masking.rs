//! Masks steps.

use super::{Config, Context, Layer};
use crate::config;
use ibex_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

/// Masks the steps whose features all equal `mask_value`, for the layers after it, and makes them zeros: `(batch, steps, n)` to the same shape. No weights.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Masking {
    mask_value: f32,
}

impl Masking {
    /// Masks steps of zeros.
    pub fn new() -> Self {
        Masking::default()
    }

    /// The number that masked steps are made of; 0 by default.
    pub fn mask_value(self, mask_value: f32) -> Self {
        Masking { mask_value }
    }
}

impl Layer for Masking {
    fn class_name(&self) -> &'static str {
        "Masking"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let kept = x.ne(self.mask_value).cast(DType::F32).max(&[-1]).gt(0.0);
        cx.set_mask(Some(kept.clone()));
        Ok(kept.unsqueeze(-1).select(x, 0.0))
    }
}
