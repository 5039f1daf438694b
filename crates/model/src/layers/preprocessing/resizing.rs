//! Images of another size.

use super::{ChannelsLast, Config, Context, Error, Layer, Result, Shape, Tensor, Weights, image_sizes};
use crate::config;
use ibex_core::DType;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How pixels are found between those of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// From the two pixels around along each axis, by their distance.
    #[default]
    Bilinear,
    /// From the pixel that lies there.
    Nearest,
    /// From four along each axis, by a cubic function (Keys 1981).
    Bicubic,
    /// From six along each axis, by a windowed sinc function.
    Lanczos3,
    /// From ten along each axis, by a windowed sinc function.
    Lanczos5,
}

impl Interpolation {
    /// The weight of a pixel at a distance.
    fn weight(self, x: f64) -> f64 {
        let lanczos = |radius: f64| match x {
            x if x > radius => 0.0,
            x if x > 1e-3 => radius * (PI * x).sin() * (PI * x / radius).sin() / (PI * x).powi(2),
            _ => 1.0,
        };
        match self {
            Interpolation::Bilinear => (1.0 - x).max(0.0),
            Interpolation::Nearest => f64::from(u8::from(x < 0.5)),
            Interpolation::Bicubic if x >= 2.0 => 0.0,
            Interpolation::Bicubic if x >= 1.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Interpolation::Bicubic => ((1.5 * x - 2.5) * x) * x + 1.0,
            Interpolation::Lanczos3 => lanczos(3.0),
            Interpolation::Lanczos5 => lanczos(5.0),
        }
    }

    /// `(to, from)`: what each pixel takes of each pixel along an axis.
    fn matrix(self, from: usize, to: usize, antialias: bool) -> Tensor {
        let step = from as f64 / to as f64;
        let width = if antialias { step.max(1.0) } else { 1.0 };
        let mut matrix = Vec::with_capacity(from * to);
        for i in 0..to {
            let at = (i as f64 + 0.5) * step - 0.5;
            let row: Vec<f64> = (0..from).map(|j| self.weight((at - j as f64).abs() / width)).collect();
            let total: f64 = row.iter().sum();
            matrix.extend(row.iter().map(|weight| (weight / total) as f32));
        }
        Tensor::from_vec(matrix, [to, from])
    }

    /// Images `(batch, height, width, channels)` in another size; floats.
    pub(in crate::layers) fn resize(self, x: &Tensor, [to_height, to_width]: [usize; 2], antialias: bool) -> Result<Tensor> {
        let [n, height, width, channels] = image_sizes(x.check()?.shape())?;
        if (height, width) == (to_height, to_width) {
            return Ok(x.clone());
        }
        if self == Interpolation::Nearest {
            let nearest = |from: usize, to: usize| -> Vec<usize> {
                (0..to).map(|i| ((i as f64 + 0.5) * from as f64 / to as f64) as usize).collect()
            };
            let columns = nearest(width, to_width);
            let places: Vec<i32> = nearest(height, to_height)
                .iter()
                .flat_map(|row| columns.iter().map(move |column| (row * width + column) as i32))
                .collect();
            let shape = [n, to_height, to_width];
            let image = Tensor::iota(shape, 0) * (height * width) as f64;
            let places = Tensor::from_vec(places, [1, to_height, to_width]) + image;
            return Ok(x.reshape([n * height * width, channels]).gather(places));
        }
        let rows = self.matrix(height, to_height, antialias).cast(x.dtype());
        let columns = self.matrix(width, to_width, antialias).cast(x.dtype());
        let tall = rows.matmul(x.reshape([n, height, width * channels]));
        Ok(columns.matmul(tall.reshape([n, to_height, width, channels])))
    }
}

/// The largest part in the middle of images that has the shape of another size: as Keras's `smart_resize`.
fn middle(x: &Tensor, [to_height, to_width]: [usize; 2]) -> Result<Tensor> {
    let [_, height, width, _] = image_sizes(x.check()?.shape())?;
    let side = |len: usize, other: usize, to: usize, to_other: usize| {
        let kept = ((other as f64 * to as f64 / to_other as f64) as usize).clamp(1, len);
        ((len - kept) / 2, kept)
    };
    let (top, tall) = side(height, width, to_height, to_width);
    let (left, wide) = side(width, height, to_width, to_height);
    Ok(x.narrow(1, top, tall).narrow(2, left, wide))
}

/// [`middle`], resized.
pub(super) fn smart_resize(x: &Tensor, to: [usize; 2]) -> Result<Tensor> {
    Interpolation::Bilinear.resize(&middle(x, to)?, to, false)
}

/// A size that images can be given.
pub(super) fn check_size(height: usize, width: usize) -> Result<()> {
    if height > 0 && width > 0 {
        Ok(())
    } else {
        Err(Error::value(format!("images of {height} rows and {width} columns have no pixels; give at least 1")))
    }
}

/// Images in another size, in training and outside of it: `(batch, height, width, channels)` to that height and width. Integers are rounded and stay
/// integers. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resizing {
    height: usize,
    width: usize,
    #[serde(default)]
    interpolation: Interpolation,
    #[serde(default)]
    crop_to_aspect_ratio: bool,
    #[serde(default)]
    pad_to_aspect_ratio: bool,
    #[serde(default)]
    fill_value: f64,
    #[serde(default)]
    antialias: bool,
    #[serde(default)]
    data_format: ChannelsLast,
}

impl Resizing {
    /// To this height and width.
    pub fn new(height: usize, width: usize) -> Self {
        Resizing {
            height,
            width,
            interpolation: Interpolation::Bilinear,
            crop_to_aspect_ratio: false,
            pad_to_aspect_ratio: false,
            fill_value: 0.0,
            antialias: false,
            data_format: ChannelsLast,
        }
    }

    /// How pixels are found; bilinear by default.
    pub fn interpolation(self, interpolation: Interpolation) -> Self {
        Resizing { interpolation, ..self }
    }

    /// Takes the largest part in the middle that has the new shape, rather than distort the image.
    pub fn crop_to_aspect_ratio(self, crop_to_aspect_ratio: bool) -> Self {
        Resizing { crop_to_aspect_ratio, ..self }
    }

    /// Puts edges beside the image to give it the new shape, rather than distort it.
    pub fn pad_to_aspect_ratio(self, pad_to_aspect_ratio: bool) -> Self {
        Resizing { pad_to_aspect_ratio, ..self }
    }

    /// What these edges hold; 0 by default.
    pub fn fill_value(self, fill_value: f64) -> Self {
        Resizing { fill_value, ..self }
    }

    /// Looks at all pixels where the image becomes smaller.
    pub fn antialias(self, antialias: bool) -> Self {
        Resizing { antialias, ..self }
    }

    fn padded(&self, x: &Tensor) -> Result<Tensor> {
        let [_, height, width, _] = image_sizes(x.shape())?;
        let edge = |len: usize, other: usize, to: usize, to_other: usize| {
            ((other as f64 * to as f64 / to_other as f64) as usize).saturating_sub(len) / 2
        };
        let (top, left) = (edge(height, width, self.height, self.width), edge(width, height, self.width, self.height));
        // Zeros around what is left without the value.
        Ok((x - self.fill_value).pad(&[(0, 0), (top, top), (left, left), (0, 0)]) + self.fill_value)
    }
}

impl Layer for Resizing {
    fn class_name(&self) -> &'static str {
        "Resizing"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
        check_size(self.height, self.width)?;
        if self.crop_to_aspect_ratio && self.pad_to_aspect_ratio {
            return Err(Error::value("crops and pads to the new shape; choose one of both"));
        }
        image_sizes(input).map(drop)
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        let (dtype, size) = (x.dtype(), [self.height, self.width]);
        let x = if dtype.is_float() { x.clone() } else { x.cast(DType::F32) };
        let x = match (self.crop_to_aspect_ratio, self.pad_to_aspect_ratio) {
            (true, _) => middle(&x, size)?,
            (_, true) => self.padded(&x)?,
            _ => x,
        };
        let y = self.interpolation.resize(&x, size, self.antialias)?;
        Ok(if dtype.is_float() { y } else { y.round().cast(dtype) })
    }
}
