//! Products of two tensors, sample by sample.

use super::unit_normalization::unit;
use super::{Config, Context, Layer, Weights};
use crate::config::{self, Axes};
use crate::losses::EPSILON;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// For each sample the sum of products along one axis of each of two inputs: `(batch, a.., n, b..)` and `(batch, c.., n, d..)` to
/// `(batch, a.., b.., c.., d..)`, or `(batch, 1)` if nothing is left. No weights; masks end here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dot {
    axes: Axes,
    #[serde(default)]
    normalize: bool,
}

impl Dot {
    /// Along one axis of both, or an axis of each: `Dot::new([1, 2])`. The batch axis is 0.
    pub fn new(axes: impl Into<Axes>) -> Self {
        Dot { axes: axes.into(), normalize: false }
    }

    /// The axis of each input.
    fn axes(&self, inputs: [&Shape; 2]) -> Result<[usize; 2]> {
        let axes = match *self.axes.list() {
            [both] => [both, both],
            [first, second] => [first, second],
            _ => return Err(Error::value(format!("takes one axis or two, got {:?}", self.axes.list()))),
        };
        let find = |i: usize| inputs[i].axis(axes[i]).filter(|&axis| axis > 0);
        match (find(0), find(1)) {
            (Some(a), Some(b)) if inputs[0][a] == inputs[1][b] => Ok([a, b]),
            _ => Err(Error::shape(format!(
                "inputs {} and {} have no axes {axes:?} of one length; the batch axis 0 can not be one",
                inputs[0], inputs[1]
            ))),
        }
    }
}

options! { Dot {
    /// Are vectors along the axes divided by their norms first? Then the result is the cosine. No by default.
    normalize: bool,
} }

fn two<T>(inputs: &[T]) -> Result<[&T; 2]> {
    match inputs {
        [a, b] => Ok([a, b]),
        _ => Err(Error::model(format!("takes exactly 2 inputs, got {}", inputs.len()))),
    }
}

impl Layer for Dot {
    fn class_name(&self) -> &'static str {
        "Dot"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, _weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        self.axes(two(inputs)?).map(drop)
    }

    fn call_all(&self, inputs: &[Tensor], _cx: &mut Context) -> Result<Vec<Tensor>> {
        let [x, y] = two(inputs)?;
        let axes = self.axes([x.shape(), y.shape()])?;
        // Both as (batch, others, n).
        let rows = |x: &Tensor, axis: usize| {
            let x = if self.normalize { unit(x, &[axis as isize], EPSILON) } else { x.clone() };
            let others: Vec<usize> = (1..x.rank()).filter(|&i| i != axis).collect();
            let kept: Vec<usize> = others.iter().map(|&i| x.shape()[i]).collect();
            let (batch, n) = (x.shape()[0], x.shape()[axis]);
            let order: Vec<usize> = [&[0], &others[..], &[axis]].concat();
            (x.permute(&order).reshape([batch, kept.iter().product(), n]), kept)
        };
        let ((x, left), (y, right)) = (rows(x, axes[0]), rows(y, axes[1]));
        let mut shape = [&[x.dim(0)], &left[..], &right[..]].concat();
        if shape.len() == 1 {
            shape.push(1);
        }
        Ok(vec![x.matmul(y.transpose(-1, -2)).reshape(shape)])
    }
}
