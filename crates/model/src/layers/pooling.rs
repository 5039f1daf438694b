//! Pooling over sequences, images and volumes.

use super::window::{ChannelsLast, Sizes, channels, class, padding, window};
use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Padding, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// The two differ in one method of the tensor.
macro_rules! pooling {
    ($($name:ident [$one:ident $two:ident $three:ident] $method:ident $doc:literal;)+) => { $(
        #[doc = $doc]
        ///
        /// `(batch, space.., channels)` to `(batch, out.., channels)` with `N` space axes. Output lengths: `(n - pool_size) / strides + 1` for
        /// valid padding, `ceil(n / strides)` for same padding. No weights.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(default, bound = "")]
        pub struct $name<const N: usize> {
            pool_size: Sizes<N>,
            strides: Option<Sizes<N>>,
            #[serde(with = "padding")]
            padding: Padding,
            data_format: ChannelsLast,
        }

        #[doc = concat!("[`", stringify!($name), "`] over sequences `(batch, steps, channels)`.")]
        pub type $one = $name<1>;
        #[doc = concat!("[`", stringify!($name), "`] over images `(batch, height, width, channels)`.")]
        pub type $two = $name<2>;
        #[doc = concat!("[`", stringify!($name), "`] over volumes `(batch, depth, height, width, channels)`.")]
        pub type $three = $name<3>;

        impl<const N: usize> Default for $name<N> {
            fn default() -> Self {
                $name { pool_size: 2.into(), strides: None, padding: Padding::Valid, data_format: ChannelsLast }
            }
        }

        impl<const N: usize> $name<N> {
            /// Windows of `pool_size` side by side.
            pub fn new(pool_size: impl Into<Sizes<N>>) -> Self {
                $name { pool_size: pool_size.into(), ..$name::default() }
            }

            /// Distance between windows; their size by default.
            pub fn strides(self, strides: impl Into<Sizes<N>>) -> Self {
                $name { strides: Some(strides.into()), ..self }
            }

            /// Windows inside of the input (valid, the default), or as many as there are places for (same).
            pub fn padding(self, padding: Padding) -> Self {
                $name { padding, ..self }
            }
        }

        impl<const N: usize> Layer for $name<N> {
            fn class_name(&self) -> &'static str {
                class::<N>([stringify!($one), stringify!($two), stringify!($three)])
            }

            fn config(&self) -> Result<Config> {
                config::save(self)
            }

            fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
                channels::<N>(input).map(drop)
            }

            fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
                let strides = self.strides.unwrap_or(self.pool_size);
                Ok(x.$method(&window(self.pool_size, strides, 1.into(), self.padding)))
            }
        }
    )+ };
}

pooling! {
    MaxPooling [MaxPooling1D MaxPooling2D MaxPooling3D] max_pool
        "The largest element of each window. Of equal elements the first gets the gradient.";
    AveragePooling [AveragePooling1D AveragePooling2D AveragePooling3D] average_pool
        "The mean of each window; padding does not count.";
}
