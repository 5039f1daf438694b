//! Pooling over images.

use super::window::{Pair, image_channels, padding, window};
use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Padding, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// The two differ in one method of the tensor.
macro_rules! pooling {
    ($($name:ident $method:ident $doc:literal;)+) => { $(
        #[doc = $doc]
        ///
        /// `(batch, height, width, channels)` to `(batch, out height, out width, channels)`. Output lengths: `(n - pool_size) / strides + 1` for
        /// valid padding, `ceil(n / strides)` for same padding. No weights.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            pool_size: Pair,
            strides: Option<Pair>,
            #[serde(with = "padding")]
            padding: Padding,
        }

        impl Default for $name {
            fn default() -> Self {
                $name { pool_size: Pair(2, 2), strides: None, padding: Padding::Valid }
            }
        }

        impl $name {
            /// Windows of `pool_size` side by side.
            pub fn new(pool_size: impl Into<Pair>) -> Self {
                $name { pool_size: pool_size.into(), ..$name::default() }
            }

            /// Distance between windows; their size by default.
            pub fn strides(self, strides: impl Into<Pair>) -> Self {
                $name { strides: Some(strides.into()), ..self }
            }

            /// Windows inside of the image (valid, the default), or as many as there are places for (same).
            pub fn padding(self, padding: Padding) -> Self {
                $name { padding, ..self }
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
                image_channels(input).map(drop)
            }

            fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
                let strides = self.strides.unwrap_or(self.pool_size);
                Ok(x.$method(&window(self.pool_size, strides, Pair(1, 1), self.padding)))
            }
        }
    )+ };
}

pooling! {
    MaxPooling2D max_pool "The largest element of each window. Of equal elements the first gets the gradient.";
    AveragePooling2D average_pool "The mean of each window; padding does not count.";
}
