//! Another order of axes.

use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Axis `i` of the output is axis `dims[i]` of the input, where 1 is the first after the batch: `Permute::new([2, 1])` swaps the axes of
/// `(batch, a, b)`. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Permute {
    dims: Vec<usize>,
}

impl Permute {
    /// The order of the axes after the batch, which count from 1.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Permute { dims: dims.into() }
    }
}

impl Layer for Permute {
    fn class_name(&self) -> &'static str {
        "Permute"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if sorted.iter().copied().eq(1..input.rank()) {
            return Ok(());
        }
        Err(Error::shape(format!(
            "dims {:?} must be the numbers 1 to {} in some order, one for each axis of input {input} after the batch",
            self.dims,
            input.rank().saturating_sub(1)
        )))
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Ok(x.permute(&[&[0], &self.dims[..]].concat()))
    }
}
