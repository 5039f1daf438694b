//! Random mirror images.

use super::{ChannelsLast, Config, Context, Layer, Result, Shape, Tensor, Weights, image_sizes};
use crate::config;
use serde::{Deserialize, Serialize};

/// Along which axes images may be mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flips {
    /// Left and right change places.
    Horizontal,
    /// Top and bottom change places.
    Vertical,
    /// Both.
    #[default]
    HorizontalAndVertical,
}

/// Mirrors each image with a probability of one half while training; otherwise the images as they are. `(batch, height, width, channels)`, no
/// weights. Under [`Flips::HorizontalAndVertical`] each axis has a coin of its own, where Keras 3 throws one for both.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RandomFlip {
    mode: Flips,
    data_format: ChannelsLast,
}

impl RandomFlip {
    /// Along these axes.
    pub fn new(mode: Flips) -> Self {
        RandomFlip { mode, data_format: ChannelsLast }
    }
}

impl Layer for RandomFlip {
    fn class_name(&self) -> &'static str {
        "RandomFlip"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        image_sizes(input).map(drop)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let mut x = x.cast(cx.compute_dtype());
        let axes: &[isize] = match self.mode {
            _ if !cx.training() => &[],
            Flips::Horizontal => &[2],
            Flips::Vertical => &[1],
            Flips::HorizontalAndVertical => &[2, 1],
        };
        for &axis in axes {
            let heads = cx.uniform([x.dim(0), 1, 1, 1]).lt(0.5);
            x = heads.select(x.flip(&[axis]), &x);
        }
        Ok(x)
    }
}
