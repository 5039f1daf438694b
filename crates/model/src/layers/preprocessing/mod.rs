//! Preprocessing that runs on the device, inside of the model. What works on text is in `ibex::data`: `TextVectorization`, `StringLookup`.

mod affine;
mod categorical;
mod category_encoding;
mod center_crop;
mod discretization;
mod factor;
mod integer_lookup;
mod normalization;
mod random_affine;
mod random_color;
mod random_crop;
mod random_flip;
mod rescaling;
mod resizing;

pub use affine::{FillMode, Sampling, affine_transform};
pub use categorical::OutputMode;
pub use category_encoding::CategoryEncoding;
pub use center_crop::CenterCrop;
pub use discretization::Discretization;
pub use factor::Factor;
pub use integer_lookup::IntegerLookup;
pub use normalization::{Normalization, Statistic};
pub use random_affine::{RandomRotation, RandomTranslation, RandomZoom};
pub use random_color::{RandomBrightness, RandomContrast};
pub use random_crop::RandomCrop;
pub use random_flip::{Flips, RandomFlip};
pub use rescaling::Rescaling;
pub use resizing::{Interpolation, Resizing};

use super::window::{ChannelsLast, channels};
use super::{Config, Context, Layer, Weights};
use ibex_core::{Data, Error, Result, Shape, Tensor};
use std::sync::Arc;

/// `(batch, height, width, channels)` of images.
fn image_sizes(shape: &Shape) -> Result<[usize; 4]> {
    channels::<2>(shape)?;
    Ok([shape[0], shape[1], shape[2], shape[3]])
}

/// The numbers that a layer learns from, before the model is made.
fn numbers(data: &Tensor) -> Result<Arc<Data>> {
    if let Some(data) = data.check()?.data() {
        return Ok(data.clone());
    }
    #[cfg(not(target_arch = "wasm32"))]
    return Ok(Arc::new(crate::device::default_device()?.read_now(data)?));
    #[cfg(target_arch = "wasm32")]
    Err(Error::value("the tensor is not computed yet; read it first, and adapt to a tensor of the numbers"))
}

fn no_data() -> Error {
    Error::value("there is no data to adapt to; give at least one number")
}
