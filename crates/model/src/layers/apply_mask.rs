//! A mask that is given.

use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Gives its first input a mask for the layers after it: the second input, `(batch, steps)`, zero where a step does not count. Of one input alone it takes
/// the mask away. Keras has this as an argument of calls: `LSTM(8)(x, mask=m)` is `LSTM::new(8).apply(&ApplyMask::new().apply([&x, &m]))`, and files of
/// Keras are written and read so. The input stays as it is; no weights.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ApplyMask {}

impl ApplyMask {
    /// The layer.
    pub fn new() -> Self {
        ApplyMask {}
    }
}

impl Layer for ApplyMask {
    fn class_name(&self) -> &'static str {
        "ApplyMask"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, _weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        match inputs {
            [_] => Ok(()),
            [x, mask] if x.starts_with(mask) => Ok(()),
            [x, mask] => Err(Error::shape(format!("the mask {mask} does not fit the input {x}: it has its first axes"))),
            _ => Err(Error::model(format!("takes an input and a mask, got {} inputs", inputs.len()))),
        }
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        cx.set_mask(inputs.get(1).map(|mask| mask.cast(DType::Bool)));
        Ok(inputs.iter().take(1).cloned().collect())
    }
}
