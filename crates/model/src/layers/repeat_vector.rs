//! A vector as a sequence.

use super::{Config, Context, Layer, Weights, at_least_one};
use crate::config;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// The input `n` times: `(batch, features)` to `(batch, n, features)`. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RepeatVector {
    n: usize,
}

impl RepeatVector {
    /// So many times.
    pub fn new(n: usize) -> Self {
        RepeatVector { n }
    }
}

impl Layer for RepeatVector {
    fn class_name(&self) -> &'static str {
        "RepeatVector"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        if input.rank() == 2 {
            return at_least_one("n", self.n);
        }
        Err(Error::shape(format!("takes vectors (batch, features), got input {input}; a Flatten layer before it makes one")))
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Ok(x.unsqueeze(1).broadcast_to([x.dim(0), self.n, x.dim(1)]))
    }
}
