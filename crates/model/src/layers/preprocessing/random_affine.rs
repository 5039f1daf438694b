//! Random rotations, zooms and translations of images.

use super::affine::affine_transform;
use super::{ChannelsLast, Config, Context, Factor, FillMode, Layer, Result, Sampling, Shape, Tensor, Weights, image_sizes};
use crate::config;
use serde::{Deserialize, Serialize};

/// `(n, 6)` of six columns.
fn rows(columns: [Tensor; 6]) -> Tensor {
    Tensor::stack(&columns, 1)
}

/// The middle of an axis.
fn middle(len: usize) -> f64 {
    (len as f64 - 1.0) / 2.0
}

/// Layers that transform each image by a random matrix while they train.
macro_rules! random_affine {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_attribute:meta])* $field:ident: $type:ty [$low:expr, $high:expr],)+ }
        $matrix:expr;)+) => { $(
        $(#[$doc])*
        ///
        /// Every image of a batch has random numbers of its own. Only while training; otherwise the images as they are.
        /// `(batch, height, width, channels)`, no weights.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_attribute])* $field: $type,)+
            #[serde(default)]
            fill_mode: FillMode,
            #[serde(default)]
            interpolation: Sampling,
            #[serde(default)]
            fill_value: f64,
            #[serde(default)]
            data_format: ChannelsLast,
        }

        impl $name {
            /// What lies beyond the edges; mirrored by default.
            pub fn fill_mode(self, fill_mode: FillMode) -> Self {
                $name { fill_mode, ..self }
            }

            /// How pixels are found; bilinear by default.
            pub fn interpolation(self, interpolation: Sampling) -> Self {
                $name { interpolation, ..self }
            }

            /// What lies beyond the edges under [`FillMode::Constant`]; 0 by default.
            pub fn fill_value(self, fill_value: f64) -> Self {
                $name { fill_value, ..self }
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
                $(Option::<Factor>::from(self.$field).map_or(Ok(()), |f| f.check(stringify!($field), $low, $high))?;)+
                image_sizes(input).map(drop)
            }

            fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
                let x = x.cast(cx.compute_dtype());
                if !cx.training() {
                    return Ok(x);
                }
                let matrix: fn(&Self, [usize; 4], &mut Context) -> Tensor = $matrix;
                let transform = matrix(self, image_sizes(x.shape())?, cx);
                affine_transform(&x, &transform, self.interpolation, self.fill_mode, self.fill_value)
            }
        }
    )+ };
}

random_affine! {
    /// Turns images around their middle by a random part of the full circle: `0.1` for up to 36 degrees in both directions.
    RandomRotation { factor: Factor [-1.0, 1.0], }
    |layer, [n, height, width, _], cx| {
        let angle = layer.factor.draw(n, cx) * std::f64::consts::TAU;
        let (x, y, cos, sin) = (middle(width), middle(height), angle.cos(), angle.sin());
        let (to_x, to_y) = (&sin * y - &cos * x + x, -(&sin * x + &cos * y) + y);
        rows([cos.clone(), -&sin, to_x, sin, cos, to_y])
    };
    /// Makes images larger or smaller around their middle: a pixel shows what lay `1 + factor` times as far away, so negative factors zoom in.
    /// Without a factor for the width it is that of the height, and the shape of what is seen stays.
    RandomZoom {
        height_factor: Factor [-1.0, 1.0],
        #[serde(default)]
        width_factor: Option<Factor> [-1.0, 1.0],
    }
    |layer, [n, height, width, _], cx| {
        let tall = layer.height_factor.draw(n, cx) + 1.0;
        let wide = layer.width_factor.map_or_else(|| tall.clone(), |factor| factor.draw(n, cx) + 1.0);
        let shift = |zoom: &Tensor, len: usize| (1.0 - zoom) * middle(len);
        let zero = tall.clone() * 0.0;
        let (to_x, to_y) = (shift(&wide, width), shift(&tall, height));
        rows([wide, zero.clone(), to_x, zero, tall, to_y])
    };
    /// Moves images by a random part of their height (down if positive) and of their width (to the right).
    RandomTranslation { height_factor: Factor [-1.0, 1.0], width_factor: Factor [-1.0, 1.0], }
    |layer, [n, height, width, _], cx| {
        let down = layer.height_factor.draw(n, cx) * height as f64;
        let right = layer.width_factor.draw(n, cx) * width as f64;
        let (zero, one) = (&down * 0.0, &down * 0.0 + 1.0);
        rows([one.clone(), zero.clone(), -right, zero, one, -down])
    };
}

impl RandomRotation {
    /// By up to this part of the full circle.
    pub fn new(factor: impl Into<Factor>) -> Self {
        let (fill_mode, interpolation) = (FillMode::default(), Sampling::default());
        RandomRotation { factor: factor.into(), fill_mode, interpolation, fill_value: 0.0, data_format: ChannelsLast }
    }
}

impl RandomZoom {
    /// By up to this factor, in both directions alike.
    pub fn new(height_factor: impl Into<Factor>) -> Self {
        let (fill_mode, interpolation) = (FillMode::default(), Sampling::default());
        RandomZoom { height_factor: height_factor.into(), width_factor: None, fill_mode, interpolation, fill_value: 0.0, data_format: ChannelsLast }
    }

    /// A factor for the width, drawn for itself.
    pub fn width_factor(self, width_factor: impl Into<Factor>) -> Self {
        RandomZoom { width_factor: Some(width_factor.into()), ..self }
    }
}

impl RandomTranslation {
    /// By up to these parts of height and width.
    pub fn new(height_factor: impl Into<Factor>, width_factor: impl Into<Factor>) -> Self {
        let (fill_mode, interpolation) = (FillMode::default(), Sampling::default());
        let (height_factor, width_factor) = (height_factor.into(), width_factor.into());
        RandomTranslation { height_factor, width_factor, fill_mode, interpolation, fill_value: 0.0, data_format: ChannelsLast }
    }
}
