//! More or less at the borders of space: ZeroPadding and Cropping.

use super::window::{ChannelsLast, channels, class};
use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// How many elements before and after, for each of the `N` space axes: `1` for all, one for each axis (`(1, 2)` for an image), or both of each
/// (`[(1, 0), (2, 2)]`). For a sequence, `(1, 2)` is before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Borders<const N: usize>(pub [(usize, usize); N]);

/// As Keras writes them, and some ways in which it reads them.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    All(usize),
    Each(Vec<usize>),
    Both(Vec<(usize, usize)>),
}

impl<const N: usize> From<Borders<N>> for Written {
    fn from(borders: Borders<N>) -> Self {
        match borders.0[..] {
            [(before, after)] => Written::Each(vec![before, after]),
            ref both => Written::Both(both.to_vec()),
        }
    }
}

impl<const N: usize> TryFrom<Written> for Borders<N> {
    type Error = String;

    fn try_from(written: Written) -> std::result::Result<Self, String> {
        let both = match written {
            Written::All(n) => return Ok(n.into()),
            Written::Each(list) if N == 1 && list.len() == 2 => vec![(list[0], list[1])],
            Written::Each(list) => list.into_iter().map(|n| (n, n)).collect(),
            Written::Both(both) => both,
        };
        let wrong = |list: Vec<_>| format!("{list:?} must have an entry for each of {N} space axes");
        both.try_into().map(Borders).map_err(wrong)
    }
}

impl<const N: usize> From<usize> for Borders<N> {
    fn from(n: usize) -> Self {
        Borders([(n, n); N])
    }
}

impl<const N: usize> From<[(usize, usize); N]> for Borders<N> {
    fn from(both: [(usize, usize); N]) -> Self {
        Borders(both)
    }
}

impl From<(usize, usize)> for Borders<1> {
    fn from(both: (usize, usize)) -> Self {
        Borders([both])
    }
}

impl From<(usize, usize)> for Borders<2> {
    fn from((height, width): (usize, usize)) -> Self {
        Borders([height, width].map(|n| (n, n)))
    }
}

impl From<(usize, usize, usize)> for Borders<3> {
    fn from((depth, height, width): (usize, usize, usize)) -> Self {
        Borders([depth, height, width].map(|n| (n, n)))
    }
}

macro_rules! borders {
    ($($name:ident $field:ident [$one:ident $two:ident $three:ident] $lengths:literal $doc:literal $call:expr;)+) => { $(
        #[doc = $doc]
        ///
        #[doc = concat!("`(batch, space.., channels)` to `(batch, ", $lengths, ", channels)` with `N` space axes; 1 on each side by default, 0 for `Cropping2D`.")]
        /// No weights.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(default, bound = "")]
        pub struct $name<const N: usize> {
            $field: Borders<N>,
            data_format: ChannelsLast,
        }

        #[doc = concat!("[`", stringify!($name), "`] of sequences `(batch, steps, channels)`.")]
        pub type $one = $name<1>;
        #[doc = concat!("[`", stringify!($name), "`] of images `(batch, height, width, channels)`.")]
        pub type $two = $name<2>;
        #[doc = concat!("[`", stringify!($name), "`] of volumes `(batch, depth, height, width, channels)`.")]
        pub type $three = $name<3>;

        impl<const N: usize> Default for $name<N> {
            fn default() -> Self {
                // Keras's numbers: Cropping2D alone takes nothing away.
                let n = usize::from(class::<N>([stringify!($one), stringify!($two), stringify!($three)]) != "Cropping2D");
                $name { $field: n.into(), data_format: ChannelsLast }
            }
        }

        impl<const N: usize> $name<N> {
            /// The layer, with so many elements at each border.
            pub fn new($field: impl Into<Borders<N>>) -> Self {
                $name { $field: $field.into(), data_format: ChannelsLast }
            }
        }

        impl<const N: usize> Layer for $name<N> {
            fn class_name(&self) -> &'static str {
                class::<N>([stringify!($one), stringify!($two), stringify!($three)])
            }

            fn config(&self) -> Result<Config> {
                let mut config = config::save(self)?;
                // Keras takes none there.
                if self.class_name() == "Cropping1D" {
                    config.remove("data_format");
                }
                Ok(config)
            }

            fn build(&self, _weights: &mut Weights, input: &Shape) -> Result<()> {
                channels::<N>(input).map(drop)
            }

            fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
                let mut all = vec![(0, 0); x.rank()];
                all[1..=N].copy_from_slice(&self.$field.0);
                let call: fn(&Tensor, &[(usize, usize)]) -> Result<Tensor> = $call;
                call(x, &all)
            }
        }
    )+ };
}

borders! {
    ZeroPadding padding [ZeroPadding1D ZeroPadding2D ZeroPadding3D] "before + n + after.."
        "Zeros around the input." |x, all| Ok(x.pad(all));
    Cropping cropping [Cropping1D Cropping2D Cropping3D] "n - before - after.."
        "The input without its borders." crop;
}

fn crop(x: &Tensor, all: &[(usize, usize)]) -> Result<Tensor> {
    let starts: Vec<usize> = all.iter().map(|&(before, _)| before).collect();
    let left = |(&(before, after), &n): (&(usize, usize), &usize)| n.checked_sub(before)?.checked_sub(after).filter(|&n| n > 0);
    // An empty batch stays one.
    let lens: Option<Vec<usize>> = all[1..].iter().zip(&x.shape()[1..]).map(left).collect();
    match lens {
        Some(lens) => Ok(x.slice(&starts, [&[x.dim(0)], &lens[..]].concat().as_slice())),
        None => Err(Error::shape(format!("nothing is left of input {} without borders {:?}", x.shape(), &all[1..all.len() - 1]))),
    }
}
