//! Larger space.

use super::preprocessing::Interpolation;
use super::window::{ChannelsLast, Sizes, channels, class};
use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Each space axis `size` times as long: `(batch, space.., channels)` to `(batch, space * size.., channels)` with `N` space axes. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, bound = "")]
pub struct UpSampling<const N: usize> {
    size: Sizes<N>,
    data_format: ChannelsLast,
    interpolation: Interpolation,
}

/// [`UpSampling`] of sequences `(batch, steps, channels)`.
pub type UpSampling1D = UpSampling<1>;
/// [`UpSampling`] of images `(batch, height, width, channels)`.
pub type UpSampling2D = UpSampling<2>;
/// [`UpSampling`] of volumes `(batch, depth, height, width, channels)`.
pub type UpSampling3D = UpSampling<3>;

impl<const N: usize> Default for UpSampling<N> {
    fn default() -> Self {
        UpSampling { size: 2.into(), data_format: ChannelsLast, interpolation: Interpolation::Nearest }
    }
}

impl<const N: usize> UpSampling<N> {
    /// So many elements for each; 2 by default.
    pub fn new(size: impl Into<Sizes<N>>) -> Self {
        UpSampling { size: size.into(), ..UpSampling::default() }
    }
}

impl UpSampling2D {
    /// How elements in between are found; the nearest by default.
    pub fn interpolation(self, interpolation: Interpolation) -> Self {
        UpSampling { interpolation, ..self }
    }
}

impl<const N: usize> Layer for UpSampling<N> {
    fn class_name(&self) -> &'static str {
        class::<N>(["UpSampling1D", "UpSampling2D", "UpSampling3D"])
    }

    fn config(&self) -> Result<Config> {
        let mut config = config::save(self)?;
        // What Keras takes differs.
        if N == 1 {
            config.remove("data_format");
            config.insert("size".into(), self.size.0[0].into());
        }
        if N != 2 {
            config.remove("interpolation");
        }
        Ok(config)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        channels::<N>(input)?;
        if self.size.0.contains(&0) {
            return Err(Error::value(format!("size {:?} must be at least 1 along each axis", self.size.0)));
        }
        Ok(())
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        if self.interpolation == Interpolation::Nearest {
            return Ok(self.size.0.iter().enumerate().fold(x.clone(), |x, (i, &size)| repeated(&x, i + 1, size)));
        }
        match self.size.0[..] {
            [height, width] => self.interpolation.resize(x, [x.dim(1) * height, x.dim(2) * width], false),
            _ => Err(Error::unsupported("only images, of two space axes, can be interpolated; use the nearest element")),
        }
    }
}

/// Each element along an axis so many times.
fn repeated(x: &Tensor, axis: usize, size: usize) -> Tensor {
    if x.check().is_err() || size == 1 {
        return x.clone();
    }
    let mut shape = x.shape().to_vec();
    shape.insert(axis + 1, size);
    let mut longer = x.shape().to_vec();
    longer[axis] *= size;
    x.unsqueeze(axis as isize + 1).broadcast_to(shape).reshape(longer)
}

