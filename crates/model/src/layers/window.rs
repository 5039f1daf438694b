//! What layers with two-dimensional windows share: sizes, padding names, the check of their input.

use ibex_core::{Error, Padding, Result, Shape, Window};
use serde::{Deserialize, Serialize};

/// Height and width: `3` for both, `(3, 5)` or `[3, 5]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "[usize; 2]", from = "OneOrTwo")]
pub struct Pair(pub usize, pub usize);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrTwo {
    One(usize),
    Two([usize; 2]),
}

impl From<OneOrTwo> for Pair {
    fn from(sizes: OneOrTwo) -> Pair {
        match sizes {
            OneOrTwo::One(size) => size.into(),
            OneOrTwo::Two(sizes) => sizes.into(),
        }
    }
}

impl From<usize> for Pair {
    fn from(size: usize) -> Pair {
        Pair(size, size)
    }
}

impl From<(usize, usize)> for Pair {
    fn from((height, width): (usize, usize)) -> Pair {
        Pair(height, width)
    }
}

impl From<[usize; 2]> for Pair {
    fn from([height, width]: [usize; 2]) -> Pair {
        Pair(height, width)
    }
}

impl From<Pair> for [usize; 2] {
    fn from(Pair(height, width): Pair) -> [usize; 2] {
        [height, width]
    }
}

pub(super) fn window(size: Pair, strides: Pair, dilation: Pair, padding: Padding) -> Window {
    let list = |Pair(height, width): Pair| vec![height, width];
    Window { size: list(size), strides: list(strides), dilation: list(dilation), padding }
}

/// The channels of `(batch, height, width, channels)`.
pub(super) fn image_channels(input: &Shape) -> Result<usize> {
    match input[..] {
        [_, _, _, channels] => Ok(channels),
        _ => Err(Error::shape(format!(
            "takes images (batch, height, width, channels), got input {input}; a Reshape layer before it can add an axis"
        ))),
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
