//! Another shape.

use super::{Config, Context, Layer};
use crate::config;
use ibex_core::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// The same elements in row-major order under another shape: `(batch, ..)` to `(batch, target shape..)`. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reshape {
    target_shape: Vec<isize>,
}

impl Reshape {
    /// To a shape without the batch axis; one length may be -1 and follows from the others: `Reshape::new([-1, 4])`.
    pub fn new(target_shape: impl Into<Vec<isize>>) -> Self {
        Reshape { target_shape: target_shape.into() }
    }

    /// The lengths of a result with so many elements.
    fn lengths(&self, elements: usize) -> Result<Vec<usize>> {
        let target = &self.target_shape;
        let known: usize = target.iter().filter_map(|&d| usize::try_from(d).ok()).product();
        let open = target.iter().filter(|&&d| d == -1).count();
        if open > 1 || target.iter().any(|&d| d < -1) {
            return Err(Error::value(format!(
                "target shape {target:?} must have lengths of at least 0, and at most one -1"
            )));
        }
        if (open == 0 && known != elements) || (open == 1 && (known == 0 || !elements.is_multiple_of(known))) {
            return Err(Error::shape(format!("{elements} elements do not fill target shape {target:?}")));
        }
        Ok(target.iter().map(|&d| usize::try_from(d).unwrap_or(elements / known.max(1))).collect())
    }
}

impl Layer for Reshape {
    fn class_name(&self) -> &'static str {
        "Reshape"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        let lengths = self.lengths(x.shape()[1..].iter().product())?;
        Ok(x.reshape([&x.shape()[..1], &lengths[..]].concat()))
    }
}
