//! Flattening.

use super::{Config, Context, Layer};
use crate::config;
use ibex_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// All axes but the batch as one: `(batch, a, b, ..)` to `(batch, a * b * ..)`. No weights.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Flatten {}

impl Flatten {
    /// The layer.
    pub fn new() -> Self {
        Flatten {}
    }
}

impl Layer for Flatten {
    fn class_name(&self) -> &'static str {
        "Flatten"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Ok(x.flatten(1))
    }
}
