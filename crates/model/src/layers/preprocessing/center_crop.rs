//! The middle of images.

use super::resizing::{check_size, smart_resize};
use super::{ChannelsLast, Config, Context, Layer, Result, Shape, Tensor, Weights, image_sizes};
use crate::config;
use serde::{Deserialize, Serialize};

/// The middle of images, in training and outside of it: `(batch, height, width, channels)` to that height and width. From images that are smaller, the
/// largest part of the same shape, resized. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CenterCrop {
    height: usize,
    width: usize,
    #[serde(default)]
    data_format: ChannelsLast,
}

impl CenterCrop {
    /// So many rows and columns.
    pub fn new(height: usize, width: usize) -> Self {
        CenterCrop { height, width, data_format: ChannelsLast }
    }
}

impl Layer for CenterCrop {
    fn class_name(&self) -> &'static str {
        "CenterCrop"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        check_size(self.height, self.width)?;
        image_sizes(input).map(drop)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let [_, height, width, _] = image_sizes(x.shape())?;
        let x = x.cast(cx.compute_dtype());
        match (height.checked_sub(self.height), width.checked_sub(self.width)) {
            (Some(rows), Some(columns)) => {
                Ok(x.narrow(1, rows / 2, self.height).narrow(2, columns / 2, self.width))
            }
            _ => smart_resize(&x, [self.height, self.width]),
        }
    }
}
