//! Layers that add noise while training.

use super::dropout::check_rate;
use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// While training, the input plus normal noise of mean 0; otherwise the input as it is. Any shape, no weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GaussianNoise {
    stddev: f64,
}

impl GaussianNoise {
    /// Noise of this standard deviation, from 0 to 1.
    pub fn new(stddev: f64) -> Self {
        GaussianNoise { stddev }
    }
}

impl Layer for GaussianNoise {
    fn class_name(&self) -> &'static str {
        "GaussianNoise"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, _input: &Shape) -> Result<()> {
        if (0.0..=1.0).contains(&self.stddev) {
            return Ok(());
        }
        Err(Error::value(format!("stddev is {}, it must lie between 0 and 1", self.stddev)))
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        if !cx.training() || self.stddev == 0.0 {
            return Ok(x.clone());
        }
        Ok(x + (cx.normal(x.shape()) * self.stddev).cast(x.dtype()))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}

/// While training, the input times normal noise of mean 1 and standard deviation `sqrt(rate / (1 - rate))`, that of [`Dropout`](super::Dropout)
/// (Srivastava et al. 2014); otherwise the input as it is. Any shape, no weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GaussianDropout {
    rate: f64,
}

impl GaussianDropout {
    /// As much noise as dropping this share of the elements, from 0 to below 1.
    pub fn new(rate: f64) -> Self {
        GaussianDropout { rate }
    }
}

impl Layer for GaussianDropout {
    fn class_name(&self) -> &'static str {
        "GaussianDropout"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, _input: &Shape) -> Result<()> {
        if self.rate == 1.0 {
            return Err(Error::value("rate is 1, for which the noise is infinite; it must be less"));
        }
        check_rate(self.rate)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        if !cx.training() || self.rate == 0.0 {
            return Ok(x.clone());
        }
        let stddev = (self.rate / (1.0 - self.rate)).sqrt();
        Ok(x * (cx.normal(x.shape()) * stddev + 1.0).cast(x.dtype()))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
