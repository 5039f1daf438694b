//! Layers that drop elements while training.

use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// While training, each element is zero with probability `rate` and else divided by `1 - rate`, so that the mean stays (Srivastava et al. 2014). Otherwise
/// the input as it is. Any shape, no weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dropout {
    rate: f64,
    #[serde(default)]
    noise_shape: Option<Vec<Option<usize>>>,
}

impl Dropout {
    /// Drops this share of the elements, from 0 to 1.
    pub fn new(rate: f64) -> Self {
        Dropout { rate, noise_shape: None }
    }

    /// The shape of what is drawn, with the batch: elements along an axis of length 1 are dropped together; `None` is the input's length.
    pub fn noise_shape(self, shape: impl Into<Vec<Option<usize>>>) -> Self {
        Dropout { noise_shape: Some(shape.into()), ..self }
    }
}

pub(super) fn check_rate(rate: f64) -> Result<()> {
    if (0.0..=1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::value(format!("rate is {rate}, it must lie between 0 and 1")))
}

/// The shape that is drawn for an input.
fn noise(wanted: Option<&Vec<Option<usize>>>, input: &Shape) -> Result<Shape> {
    let Some(wanted) = wanted else { return Ok(input.clone()) };
    let fits = |(want, &have): (&Option<usize>, &usize)| want.is_none_or(|want| want == 1 || want == have);
    // While a model is built its batch is not yet known.
    if wanted.len() != input.rank() || !wanted.iter().zip(input.iter()).skip(1).all(fits) {
        return Err(Error::shape(format!("noise_shape {wanted:?} must have 1 or the input's length for each axis of {input}")));
    }
    let lens = wanted.iter().zip(input.iter()).map(|(want, &have)| want.unwrap_or(have).min(have));
    Ok(lens.collect::<Vec<_>>().into())
}

/// The input with elements dropped together where `noise` is 1.
pub(super) fn drop(x: &Tensor, rate: f64, noise: &Shape, cx: &mut Context) -> Tensor {
    if !cx.training() || rate == 0.0 {
        return x.clone();
    }
    // Of rate 1 nothing is left to scale.
    let scale = if rate < 1.0 { 1.0 / (1.0 - rate) } else { 0.0 };
    let kept = cx.uniform(noise).ge(rate);
    kept.select(x * scale, 0.0)
}

impl Layer for Dropout {
    fn class_name(&self) -> &'static str {
        "Dropout"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        noise(self.noise_shape.as_ref(), input)?;
        check_rate(self.rate)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let noise = noise(self.noise_shape.as_ref(), x.shape())?;
        Ok(drop(x, self.rate, &noise, cx))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}

/// They differ in the number of axes.
macro_rules! spatial {
    ($($name:ident $rank:literal $shape:literal;)+) => { $(
        #[doc = concat!("[`Dropout`] of whole channels of `", $shape, "`: neighbours tell too much of each other to be dropped one by one (Tompson et al. 2015).")]
        ///
        /// The shape stays. No weights.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct $name {
            rate: f64,
        }

        impl $name {
            /// Drops this share of the channels, from 0 to 1.
            pub fn new(rate: f64) -> Self {
                $name { rate }
            }
        }

        impl Layer for $name {
            fn class_name(&self) -> &'static str {
                stringify!($name)
            }

            fn config(&self) -> Result<Config> {
                config::save(self)
            }

            fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
                if input.rank() != $rank {
                    return Err(Error::shape(format!("takes {}, got {input}", $shape)));
                }
                check_rate(self.rate)
            }

            fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
                let mut noise = vec![1; $rank];
                (noise[0], noise[$rank - 1]) = (x.dim(0), x.dim(-1));
                Ok(drop(x, self.rate, &noise.into(), cx))
            }

            fn supports_masking(&self) -> bool {
                true
            }
        }
    )+ };
}

spatial! {
    SpatialDropout1D 3 "(batch, steps, channels)";
    SpatialDropout2D 4 "(batch, height, width, channels)";
    SpatialDropout3D 5 "(batch, depth, height, width, channels)";
}

/// While training, each element is with probability `rate` what SELU gives far below zero, and the whole is scaled and shifted, so that mean and variance
/// stay what they are for normalised inputs (Klambauer et al. 2017). Otherwise the input as it is. Any shape, no weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlphaDropout {
    rate: f64,
    #[serde(default)]
    noise_shape: Option<Vec<Option<usize>>>,
}

impl AlphaDropout {
    /// Drops this share of the elements, from 0 to 1.
    pub fn new(rate: f64) -> Self {
        AlphaDropout { rate, noise_shape: None }
    }

    /// As [`Dropout::noise_shape`].
    pub fn noise_shape(self, shape: impl Into<Vec<Option<usize>>>) -> Self {
        AlphaDropout { noise_shape: Some(shape.into()), ..self }
    }
}

impl Layer for AlphaDropout {
    fn class_name(&self) -> &'static str {
        "AlphaDropout"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        noise(self.noise_shape.as_ref(), input)?;
        check_rate(self.rate)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        if !cx.training() || self.rate == 0.0 {
            return Ok(x.clone());
        }
        if self.rate == 1.0 {
            // Nothing is left to scale.
            return Ok(Tensor::zeros(x.shape(), x.dtype()));
        }
        let noise = noise(self.noise_shape.as_ref(), x.shape())?;
        // -alpha * scale of SELU.
        let lowest = -1.673_263_242_354_377_2 * 1.050_700_987_355_480_5;
        let a = ((1.0 - self.rate) * (1.0 + self.rate * lowest * lowest)).powf(-0.5);
        let kept = cx.uniform(noise).ge(self.rate);
        Ok(kept.select(x, lowest) * a - a * lowest * self.rate)
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
