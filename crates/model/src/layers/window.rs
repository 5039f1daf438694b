//! What layers with windows share: sizes, padding names, the check of their input.

use ibex_core::{Error, Padding, Result, Shape, Window};
use serde::{Deserialize, Serialize};

/// A length for each of the `N` space axes: `3` for all, or `(3, 5)`, or `[3, 5]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<usize>", try_from = "OneOrMore")]
pub struct Sizes<const N: usize>(pub [usize; N]);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(usize),
    More(Vec<usize>),
}

impl<const N: usize> TryFrom<OneOrMore> for Sizes<N> {
    type Error = String;

    fn try_from(sizes: OneOrMore) -> std::result::Result<Self, String> {
        match sizes {
            OneOrMore::One(size) => Ok(size.into()),
            OneOrMore::More(list) => match <[usize; N]>::try_from(list) {
                Ok(sizes) => Ok(Sizes(sizes)),
                Err(list) => Err(format!("{list:?} must be one number or {N}, one for each space axis")),
            },
        }
    }
}

impl<const N: usize> From<usize> for Sizes<N> {
    fn from(size: usize) -> Self {
        Sizes([size; N])
    }
}

impl<const N: usize> From<[usize; N]> for Sizes<N> {
    fn from(sizes: [usize; N]) -> Self {
        Sizes(sizes)
    }
}

impl From<(usize, usize)> for Sizes<2> {
    fn from((height, width): (usize, usize)) -> Self {
        Sizes([height, width])
    }
}

impl From<(usize, usize, usize)> for Sizes<3> {
    fn from((depth, height, width): (usize, usize, usize)) -> Self {
        Sizes([depth, height, width])
    }
}

impl<const N: usize> From<Sizes<N>> for Vec<usize> {
    fn from(sizes: Sizes<N>) -> Self {
        sizes.0.to_vec()
    }
}

pub(super) fn window<const N: usize>(
    size: Sizes<N>,
    strides: Sizes<N>,
    dilation: Sizes<N>,
    padding: Padding,
) -> Window {
    Window { size: size.into(), strides: strides.into(), dilation: dilation.into(), padding }
}

/// The class of a layer that comes for one, two and three space axes.
pub(super) fn class<const N: usize>(names: [&'static str; 3]) -> &'static str {
    names[N.clamp(1, 3) - 1]
}

/// The channels of `(batch, space.., channels)`.
pub(super) fn channels<const N: usize>(input: &Shape) -> Result<usize> {
    if input.rank() == N + 2 {
        return Ok(input[N + 1]);
    }
    let what = class::<N>([
        "sequences (batch, steps, channels)",
        "images (batch, height, width, channels)",
        "volumes (batch, depth, height, width, channels)",
    ]);
    Err(Error::shape(format!("takes {what}, got input {input}; a Reshape layer before it can add an axis")))
}

/// Keras's `data_format`. Channels come last here; a file where they come first is not read as if they came last.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "Option<String>")]
pub(super) struct ChannelsLast;

impl From<ChannelsLast> for &'static str {
    fn from(_: ChannelsLast) -> Self {
        "channels_last"
    }
}

impl TryFrom<Option<String>> for ChannelsLast {
    type Error = String;

    fn try_from(name: Option<String>) -> std::result::Result<Self, String> {
        match name.as_deref() {
            None | Some("channels_last") => Ok(ChannelsLast),
            Some(other) => {
                Err(format!("data_format {other:?} is not supported; save the model with \"channels_last\""))
            }
        }
    }
}

/// `Padding` under Keras's names, for `#[serde(with = "padding")]`.
pub(super) mod padding {
    use ibex_core::Padding;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(padding: &Padding, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match padding {
            Padding::Valid => "valid",
            Padding::Same => "same",
        })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Padding, D::Error> {
        match &*String::deserialize(from)? {
            "valid" => Ok(Padding::Valid),
            "same" => Ok(Padding::Same),
            other => Err(D::Error::custom(format!("unknown padding {other:?}; known are \"valid\" and \"same\""))),
        }
    }
}
