//! `x[:, 0, ..., ::2]`

use ibex_core::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// One part of a key, as Keras writes it; `None` is a new axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Index {
    /// One element: the axis goes away.
    At(isize),
    /// A slice (`__slice__`) or all axes that are not named (`__ellipsis__`).
    Range { class_name: String, config: Range },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Range {
    start: Option<isize>,
    stop: Option<isize>,
    step: Option<isize>,
}

/// One key, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Key {
    Several(Vec<Option<Index>>),
    One(Option<Index>),
}

impl From<Range> for Index {
    fn from(config: Range) -> Self {
        Index::Range { class_name: "__slice__".into(), config }
    }
}

impl Key {
    /// A part of one axis.
    pub fn along(axis: usize, part: Index) -> Key {
        Key::Several((0..axis).map(|_| Index::from(Range::default())).chain([part]).map(Some).collect())
    }

    /// The part of a tensor.
    pub(super) fn of(&self, x: &Tensor) -> Result<Tensor> {
        let key = match self {
            Key::Several(key) => &key[..],
            Key::One(index) => std::slice::from_ref(index),
        };
        let ellipsis = |index: &&Option<Index>| {
            matches!(index, Some(Index::Range { class_name, .. }) if class_name == "__ellipsis__")
        };
        let named = key.iter().filter(|index| index.is_some() && !ellipsis(index)).count();
        let Some(rest) = x.rank().checked_sub(named) else {
            return Err(Error::shape(format!("{named} indices are too many for input {}", x.shape())));
        };
        let (mut y, mut axis) = (x.check()?.clone(), 0isize);
        for index in key {
            match index {
                None => {
                    y = y.unsqueeze(axis);
                    axis += 1;
                }
                index if ellipsis(&index) => axis += rest as isize,
                Some(Index::At(at)) => {
                    let length = y.dim(axis) as isize;
                    let place = usize::try_from(if *at < 0 { at.saturating_add(length) } else { *at });
                    match place.ok().filter(|&place| (place as isize) < length) {
                        Some(place) => y = y.index(axis, place),
                        None => return Err(Error::shape(format!("index {at} is out of range for input {}", x.shape()))),
                    }
                }
                Some(Index::Range { config, .. }) => {
                    y = config.of(&y, axis)?;
                    axis += 1;
                }
            }
        }
        Ok(y)
    }
}

impl Range {
    pub fn new(start: usize, stop: usize) -> Range {
        let place = |place| isize::try_from(place).unwrap_or(isize::MAX);
        Range { start: Some(place(start)), stop: Some(place(stop)), step: None }
    }

    fn of(&self, x: &Tensor, axis: isize) -> Result<Tensor> {
        let length = x.check()?.dim(axis) as isize;
        let step = self.step.unwrap_or(1);
        if step == 0 {
            return Err(Error::value("a slice has the step 0"));
        }
        // Python's rules; of a backward slice the ends are those in the reversed axis.
        let place = |at: Option<isize>, default: isize| match at {
            None => default,
            Some(at) => {
                let at = if at < 0 { at.saturating_add(length) } else { at };
                let at = if step < 0 { (length - 1).saturating_sub(at) } else { at };
                at.clamp(0, length)
            }
        };
        let (start, stop) = (place(self.start, 0), place(self.stop, length));
        let count = (stop - start).max(0) as usize;
        let x = if step < 0 { x.flip(&[axis]) } else { x.clone() };
        let part = x.narrow(axis, start as usize, count);
        let stride = step.unsigned_abs();
        if stride == 1 || count == 0 {
            return Ok(part);
        }
        // The first of every `stride` elements.
        let axis = axis as usize;
        let groups = count.div_ceil(stride);
        let mut pads = vec![(0, 0); part.rank()];
        let Some(padding) = groups.checked_mul(stride) else {
            return Err(Error::value(format!("a slice has the step {step}")));
        };
        pads[axis].1 = padding - count;
        let (before, after) = (&part.shape()[..axis], &part.shape()[axis + 1..]);
        let shape = [before, &[groups, stride], after].concat();
        Ok(part.pad(&pads).reshape(shape).index(axis as isize + 1, 0))
    }
}
