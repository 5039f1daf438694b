//! Layers that give what they get.

use super::{Config, Context, Layer};
use crate::{Regularizer, config};
use ibex_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// The input as it is. Any shape, no weights.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Identity {}

impl Identity {
    /// The layer.
    pub fn new() -> Self {
        Identity {}
    }
}

impl Layer for Identity {
    fn class_name(&self) -> &'static str {
        "Identity"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Ok(x.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }
}

/// The input as it is, with `l1 * sum(|x|) + l2 * sum(x^2)`, divided by the size of the batch, added to the loss. Any shape, no weights.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityRegularization {
    l1: f32,
    l2: f32,
}

impl ActivityRegularization {
    /// With factors for sizes and squares.
    pub fn new(l1: f32, l2: f32) -> Self {
        ActivityRegularization { l1, l2 }
    }
}

impl Layer for ActivityRegularization {
    fn class_name(&self) -> &'static str {
        "ActivityRegularization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        cx.penalize(Some(Regularizer::l1_l2(self.l1, self.l2)), x);
        Ok(x.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
