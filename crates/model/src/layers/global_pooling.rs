//! One number for each channel.

use super::window::{ChannelsLast, channels, class};
use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// They differ in how they reduce.
macro_rules! global_pooling {
    ($($name:ident [$one:ident $two:ident $three:ident] $reduce:expr, $doc:literal;)+) => { $(
        #[doc = $doc]
        ///
        /// `(batch, space.., channels)` with `N` space axes to `(batch, channels)`, or to `(batch, 1.., channels)` if they are kept. No weights.
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(default, bound = "")]
        pub struct $name<const N: usize> {
            data_format: ChannelsLast,
            keepdims: bool,
        }

        #[doc = concat!("[`", stringify!($name), "`] over sequences `(batch, steps, channels)`.")]
        pub type $one = $name<1>;
        #[doc = concat!("[`", stringify!($name), "`] over images `(batch, height, width, channels)`.")]
        pub type $two = $name<2>;
        #[doc = concat!("[`", stringify!($name), "`] over volumes `(batch, depth, height, width, channels)`.")]
        pub type $three = $name<3>;

        impl<const N: usize> $name<N> {
            /// The layer.
            pub fn new() -> Self {
                Self::default()
            }

            /// Keeps the space axes with length 1; not by default.
            pub fn keepdims(self, keepdims: bool) -> Self {
                $name { keepdims, ..self }
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

            fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
                let axes: Vec<isize> = (1..=N as isize).collect();
                let reduce: fn(&Tensor, &[isize], Option<Tensor>) -> Tensor = $reduce;
                let y = reduce(x, &axes, cx.mask(0));
                let kept = y.check().is_err() || self.keepdims;
                Ok(if kept { y } else { y.reshape([x.dim(0), x.dim(-1)]) })
            }
        }
    )+ };
}

global_pooling! {
    GlobalMaxPooling [GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D] |x, axes, _| x.max_keep(axes),
        "The largest element of each channel.";
    GlobalAveragePooling [GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D] masked_mean,
        "The mean of each channel; over sequences with a mask, of the steps that count (NaN if none does, as in Keras).";
}

/// Only sequences `(batch, steps, channels)` have a mask that says something about them.
fn masked_mean(x: &Tensor, axes: &[isize], mask: Option<Tensor>) -> Tensor {
    match mask {
        Some(mask) if axes.len() == 1 => {
            let mask = mask.unsqueeze(-1);
            mask.select(x, 0.0).sum_keep(axes) / mask.cast(x.dtype()).sum_keep(axes)
        }
        _ => x.mean_keep(axes),
    }
}
