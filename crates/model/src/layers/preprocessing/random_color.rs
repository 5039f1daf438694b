//! Random contrast and brightness of images.

use super::{ChannelsLast, Config, Context, Error, Factor, Layer, Result, Shape, Tensor, Weights, image_sizes};
use crate::config;
use serde::{Deserialize, Serialize};

fn bytes() -> [f64; 2] {
    [0.0, 255.0]
}

/// Moves all pixels away from the mean of their channel or toward it: `(x - mean) * c + mean`, cut to the range of values, with a random
/// `c` from `1 - lower` to `1 + upper` for every image: `0.2` for 0.8 to 1.2, `(0.5, 0.2)` for 0.5 to 1.2.
///
/// Only while training; otherwise the images as they are. `(batch, height, width, channels)`, no weights.
/// (Keras 3.15 itself takes a single number for the upper end alone, against its documentation.)
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RandomContrast {
    factor: Factor,
    #[serde(default = "bytes")]
    value_range: [f64; 2],
    #[serde(default)]
    data_format: ChannelsLast,
}

impl RandomContrast {
    /// By up to this factor, or with other lower and upper ones.
    pub fn new(factor: impl Into<Factor>) -> Self {
        RandomContrast { factor: factor.into(), value_range: bytes(), data_format: ChannelsLast }
    }

    /// Between which the values of the images lie; 0 and 255 by default.
    pub fn value_range(self, low: f64, high: f64) -> Self {
        RandomContrast { value_range: [low, high], ..self }
    }

    /// The smallest and the largest contrast.
    fn ends(&self) -> [f64; 2] {
        match self.factor {
            Factor::Up(factor) => [1.0 - factor, 1.0 + factor],
            Factor::Between(lower, upper) => [1.0 - lower, 1.0 + upper],
        }
    }
}

impl Layer for RandomContrast {
    fn class_name(&self) -> &'static str {
        "RandomContrast"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        let [low, high] = self.ends();
        if !(low >= 0.0 && low <= high) {
            return Err(Error::value(format!("contrasts from {low} to {high} can not be drawn; give factors from 0 to 1")));
        }
        image_sizes(input).map(drop)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let x = x.cast(cx.compute_dtype());
        if !cx.training() {
            return Ok(x);
        }
        let [low, high] = self.ends();
        let contrast = Factor::Between(low, high).draw(x.dim(0), cx).reshape([x.dim(0), 1, 1, 1]).cast(x.dtype());
        let mean = x.mean_keep(&[1, 2]);
        Ok(((&x - &mean) * contrast + mean).clamp(self.value_range[0], self.value_range[1]))
    }
}

/// Adds a random number to all pixels of an image, up to `factor` times the range of values, and cuts the result to that range.
///
/// Only while training; otherwise the images as they are. `(batch, height, width, channels)`, no weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RandomBrightness {
    factor: Factor,
    #[serde(default = "bytes")]
    value_range: [f64; 2],
    #[serde(default)]
    data_format: ChannelsLast,
}

impl RandomBrightness {
    /// By up to this part of the range of values.
    pub fn new(factor: impl Into<Factor>) -> Self {
        RandomBrightness { factor: factor.into(), value_range: bytes(), data_format: ChannelsLast }
    }

    /// Between which the values of the images lie; 0 and 255 by default.
    pub fn value_range(self, low: f64, high: f64) -> Self {
        RandomBrightness { value_range: [low, high], ..self }
    }
}

impl Layer for RandomBrightness {
    fn class_name(&self) -> &'static str {
        "RandomBrightness"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        self.factor.check("factor", -1.0, 1.0)?;
        image_sizes(input).map(drop)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let x = x.cast(cx.compute_dtype());
        if !cx.training() {
            return Ok(x);
        }
        let [low, high] = [self.value_range[0].min(self.value_range[1]), self.value_range[0].max(self.value_range[1])];
        let added = self.factor.draw(x.dim(0), cx).reshape([x.dim(0), 1, 1, 1]) * (high - low);
        Ok((&x + added.cast(x.dtype())).clamp(low, high))
    }
}
