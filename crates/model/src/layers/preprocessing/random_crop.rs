//! Random parts of images.

use super::resizing::{check_size, smart_resize};
use super::{ChannelsLast, Config, Context, Layer, Result, Shape, Tensor, Weights, image_sizes};
use crate::config;
use ibex_core::DType;
use serde::{Deserialize, Serialize};

/// A random part of each image while training: `(batch, height, width, channels)` to that height and width. Otherwise, and from images that are
/// smaller, the largest part in the middle that has the same shape, resized. No weights.
///
/// Every image is cut at a place of its own, where Keras 3 cuts all of a batch at the same; and outside of training the size is the same, as
/// Keras's documentation says and its version 3.15 does not do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RandomCrop {
    height: usize,
    width: usize,
    #[serde(default)]
    data_format: ChannelsLast,
}

impl RandomCrop {
    /// So many rows and columns.
    pub fn new(height: usize, width: usize) -> Self {
        RandomCrop { height, width, data_format: ChannelsLast }
    }
}

impl Layer for RandomCrop {
    fn class_name(&self) -> &'static str {
        "RandomCrop"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        check_size(self.height, self.width)?;
        image_sizes(input).map(drop)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let [n, height, width, channels] = image_sizes(x.shape())?;
        let x = x.cast(cx.compute_dtype());
        if !cx.training() || height < self.height || width < self.width {
            return smart_resize(&x, [self.height, self.width]);
        }
        let mut start = |len: usize, kept: usize| {
            let places = (len - kept + 1) as f64;
            // Rounding can make the largest random number a place too many.
            (cx.uniform([n, 1, 1]) * places).floor().minimum(places - 1.0).cast(DType::I32)
        };
        let (top, left) = (start(height, self.height), start(width, self.width));
        let shape = [n, self.height, self.width];
        let (row, column) = (Tensor::iota(shape, 1) + top, Tensor::iota(shape, 2) + left);
        let place = (Tensor::iota(shape, 0) * height as f64 + row) * width as f64 + column;
        Ok(x.reshape([n * height * width, channels]).gather(place))
    }
}
