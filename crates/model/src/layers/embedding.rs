//! Vectors for class numbers.

use super::{Config, Context, Layer, Weights, at_least_one};
use crate::{Constraint, Initializer, Regularizer, config};
use ibex_core::{DType, Data, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Row `x` of a table for each number `x` from 0 to `input_dim - 1`: integers `(batch, ..)` to `(batch, .., output_dim)`. Floats are cut to integers, as in
/// Keras. A number out of range is an error before anything runs, and gives NaN where an embedding is not the first layer.
///
/// Integers that are given to a model whose input is `f32` are cast, which is exact up to 2^24; `Sequential::with_dtype(shape, DType::I32)` takes them as
/// they are, under mixed precision too.
///
/// Weights: `embeddings (input_dim, output_dim)`, uniform within 0.05.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    #[serde(default = "uniform")]
    embeddings_initializer: Initializer,
    #[serde(default)]
    embeddings_regularizer: Option<Regularizer>,
    #[serde(default)]
    embeddings_constraint: Option<Constraint>,
    #[serde(default)]
    mask_zero: bool,
}

fn uniform() -> Initializer {
    Initializer::RandomUniform { minval: -0.05, maxval: 0.05 }
}

impl Embedding {
    /// A table of `input_dim` vectors of length `output_dim`.
    pub fn new(input_dim: usize, output_dim: usize) -> Self {
        Embedding {
            input_dim,
            output_dim,
            embeddings_initializer: uniform(),
            embeddings_regularizer: None,
            embeddings_constraint: None,
            mask_zero: false,
        }
    }

    /// How the table starts.
    pub fn embeddings_initializer(self, embeddings_initializer: Initializer) -> Self {
        Embedding { embeddings_initializer, ..self }
    }

    /// A penalty for the table.
    pub fn embeddings_regularizer(self, embeddings_regularizer: impl Into<Option<Regularizer>>) -> Self {
        Embedding { embeddings_regularizer: embeddings_regularizer.into(), ..self }
    }

    /// What the table must fulfil after every step of training.
    pub fn embeddings_constraint(self, embeddings_constraint: impl Into<Option<Constraint>>) -> Self {
        Embedding { embeddings_constraint: embeddings_constraint.into(), ..self }
    }

    /// Masks the places of number 0 for the layers after this one: 0 stands for padding. Off by default.
    pub fn mask_zero(self, mask_zero: bool) -> Self {
        Embedding { mask_zero, ..self }
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
        at_least_one("input_dim", self.input_dim)?;
        at_least_one("output_dim", self.output_dim)?;
        weights
            .add("embeddings", [self.input_dim, self.output_dim], self.embeddings_initializer)?
            .regularized(self.embeddings_regularizer)
            .constrained(self.embeddings_constraint.clone());
        Ok(())
    }

    fn check_data(&self, data: &Data) -> Result<()> {
        let rows = self.input_dim as f64;
        let bad = match data {
            Data::I32(v) => v.iter().position(|&i| i < 0 || f64::from(i) >= rows).map(|at| (at, v[at].to_string())),
            Data::U32(v) => v.iter().position(|&i| f64::from(i) >= rows).map(|at| (at, v[at].to_string())),
            Data::F32(v) => {
                let fits = |i: f32| i > -1.0 && f64::from(i) < rows;
                v.iter().position(|&i| !fits(i)).map(|at| (at, v[at].to_string()))
            }
            _ => None,
        };
        match bad {
            None => Ok(()),
            Some((at, value)) => Err(Error::value(format!(
                "number {value} at position {at} is out of range: the table has {} rows, so numbers are 0 to {}",
                self.input_dim,
                self.input_dim.saturating_sub(1)
            ))),
        }
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        if matches!(x.dtype(), DType::F16 | DType::BF16) {
            let text = format!("takes integers, and {} is too coarse for them; give the model an input of I32", x.dtype());
            return Err(Error::dtype(text));
        }
        if self.mask_zero {
            cx.set_mask(Some(x.ne(0.0)));
        }
        // The rows that are needed are rounded, not the table.
        let rows = cx.weight_as("embeddings", DType::F32).gather(x.cast(DType::I32));
        Ok(rows.cast(cx.compute_dtype()))
    }
}
