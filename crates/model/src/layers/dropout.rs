//! Dropout.

use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// While training, each element is zero with probability `rate` and else divided by `1 - rate`, so that the mean stays (Srivastava et al. 2014). Otherwise
/// the input as it is. Any shape, no weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dropout {
    rate: f64,
}

impl Dropout {
    /// Drops this share of the elements, from 0 to 1.
    pub fn new(rate: f64) -> Self {
        Dropout { rate }
    }
}

impl Layer for Dropout {
    fn class_name(&self) -> &'static str {
        "Dropout"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, _input: &Shape) -> Result<()> {
        if (0.0..=1.0).contains(&self.rate) {
            Ok(())
        } else {
            Err(Error::value(format!("rate is {}, it must lie between 0 and 1", self.rate)))
        }
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        if !cx.training() || self.rate == 0.0 {
            return Ok(x.clone());
        }
        // Of rate 1 nothing is left to scale.
        let scale = if self.rate < 1.0 { 1.0 / (1.0 - self.rate) } else { 0.0 };
        let kept = cx.uniform(x.shape()).ge(self.rate);
        Ok(kept.select(x * scale, 0.0))
    }
}
