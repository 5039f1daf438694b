//! Vectors for class numbers.

use super::{Config, Context, Layer, Weights};
use crate::{Initializer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Row `x` of a table for each number `x` from 0 to `input_dim - 1`: integers `(batch, ..)` to `(batch, .., output_dim)`. A number out of range gives NaN.
///
/// The model takes integers if it is made with `Sequential::with_dtype(shape, DType::I32)`.
///
/// Weights: `embeddings (input_dim, output_dim)`, uniform within 0.05.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    #[serde(default = "uniform")]
    embeddings_initializer: Initializer,
}

fn uniform() -> Initializer {
    Initializer::RandomUniform { minval: -0.05, maxval: 0.05 }
}

impl Embedding {
    /// A table of `input_dim` vectors of length `output_dim`.
    pub fn new(input_dim: usize, output_dim: usize) -> Self {
        Embedding { input_dim, output_dim, embeddings_initializer: uniform() }
    }

    /// How the table starts.
    pub fn embeddings_initializer(self, embeddings_initializer: Initializer) -> Self {
        Embedding { embeddings_initializer, ..self }
    }
}

impl Layer for Embedding {
    fn class_name(&self) -> &'static str {
        "Embedding"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, _input: &Shape) -> Result<()> {
        weights.add("embeddings", [self.input_dim, self.output_dim], self.embeddings_initializer)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        if !x.dtype().is_int() {
            return Err(Error::dtype(format!(
                "takes integers, got {}; put it first, in a model made with `Sequential::with_dtype(shape, DType::I32)`",
                x.dtype()
            )));
        }
        Ok(cx.weight("embeddings").gather(x.cast(DType::I32)))
    }
}
