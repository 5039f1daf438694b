//! Images moved, turned and scaled.

use super::{Error, Result, Tensor, image_sizes};
use ibex_core::DType;
use serde::{Deserialize, Serialize};

/// What lies beyond the edges of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillMode {
    /// The image mirrored at its edge: `d c b a | a b c d | d c b a`.
    #[default]
    Reflect,
    /// The fill value.
    Constant,
    /// The image once more: `a b c d | a b c d | a b c d`.
    Wrap,
    /// The last pixel: `a a a a | a b c d | d d d d`.
    Nearest,
}

impl FillMode {
    /// The pixel of an image for a pixel (`i32`) that may lie beyond its edges.
    fn fold(self, i: &Tensor, len: usize) -> Tensor {
        let len = len as f64;
        // Of truncating remainders one that is never negative.
        let modulo = |n: f64| i.rem(n).add(n).rem(n);
        match self {
            FillMode::Reflect => {
                let i = modulo(2.0 * len);
                i.minimum(i.neg() + (2.0 * len - 1.0))
            }
            FillMode::Wrap => modulo(len),
            FillMode::Nearest | FillMode::Constant => i.clamp(0.0, len - 1.0),
        }
    }
}

/// How pixels are found between those of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// From the four pixels around, by their distance.
    #[default]
    Bilinear,
    /// From the nearest pixel.
    Nearest,
}

/// Images `(batch, height, width, channels)` whose pixel `(x, y)` is pixel `(a0 x + a1 y + a2, b0 x + b1 y + b2)` of the input, with one row
/// `a0 a1 a2 b0 b1 b2` for each image, `f32 (batch, 6)`. `x` counts columns, `y` rows. As `keras.ops.image.affine_transform`.
///
/// # Errors
/// `Shape` if the shapes are others.
pub fn affine_transform(images: &Tensor, transform: &Tensor, sampling: Sampling, fill: FillMode, fill_value: f64) -> Result<Tensor> {
    let [n, height, width, channels] = image_sizes(images.check()?.shape())?;
    if transform.check()?.shape()[..] != [n, 6] {
        return Err(Error::shape(format!(
            "takes six numbers for each of the {n} images, shape ({n}, 6), got {}",
            transform.shape()
        )));
    }
    let shape = [n, height, width];
    let coordinate = |axis: isize| Tensor::iota(shape, axis).cast(DType::F32);
    let (x, y) = (coordinate(2), coordinate(1));
    let number = |i: usize| transform.narrow(1, i, 1).reshape([n, 1, 1]);
    let at = |row: usize| &x * number(row) + &y * number(row + 1) + number(row + 2);
    let (x, y) = (at(0), at(3));
    let pixels = images.reshape([n * height * width, channels]);
    let image = Tensor::iota(shape, 0) * (height * width) as f64;
    // What lies at whole coordinates, for each channel.
    let pixel = |row: &Tensor, column: &Tensor| {
        let place = fill.fold(row, height) * width as f64 + fill.fold(column, width) + &image;
        let found = pixels.gather(place);
        if fill == FillMode::Constant {
            let inside = |i: &Tensor, len: usize| i.ge(0.0).and(i.lt(len as f64));
            inside(row, height).and(inside(column, width)).unsqueeze(-1).select(found, fill_value)
        } else {
            found
        }
    };
    if sampling == Sampling::Nearest {
        // Halves away from zero, as in Keras on JAX.
        let round = |x: &Tensor| (x.sign() * (x.abs() + 0.5).floor()).cast(DType::I32);
        return Ok(pixel(&round(&y), &round(&x)));
    }
    let (left, top) = (x.floor(), y.floor());
    let share = |x: &Tensor, low: &Tensor| (x - low).unsqueeze(-1).cast(images.dtype());
    let (right_share, bottom_share) = (share(&x, &left), share(&y, &top));
    let (left, top) = (left.cast(DType::I32), top.cast(DType::I32));
    let (right, bottom) = (&left + 1.0, &top + 1.0);
    let row = |row: &Tensor| pixel(row, &left) * (1.0 - &right_share) + pixel(row, &right) * &right_share;
    Ok(row(&top) * (1.0 - &bottom_share) + row(&bottom) * &bottom_share)
}
