//! Views: the same elements in other places.

use super::Tensor;
use crate::graph::{Binary, Op};
use crate::{Error, Shape};
use std::panic::Location;

/// Additions that a slice of a sum of pads looks through: a few, since it visits every path.
const SUMMANDS: usize = 8;

impl Tensor {
    /// The same elements in row-major order under another shape with as many elements.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        self.reshape_at(shape, Location::caller())
    }

    pub(crate) fn reshape_at(&self, shape: impl Into<Shape>, site: &'static Location<'static>) -> Tensor {
        let shape = shape.into();
        if &shape == self.shape() {
            return self.clone();
        }
        if let Some(value) = self.uniform().filter(|_| shape.elements() == self.shape().elements()) {
            return Tensor::full_at(shape, value, self.dtype(), site);
        }
        Tensor::record(Op::Reshape, vec![self.clone()], Some(shape), site)
    }

    /// Axes reordered: axis `i` of the result is axis `order[i]` of `self`.
    #[track_caller]
    pub fn permute(&self, order: &[usize]) -> Tensor {
        if self.check().is_ok() && order.iter().copied().eq(0..self.rank()) {
            return self.clone();
        }
        Tensor::record(Op::Permute(order.to_vec()), vec![self.clone()], None, Location::caller())
    }

    /// Two axes exchanged; negative counts from the end.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        match (self.shape().axis(a), self.shape().axis(b)) {
            (Some(a), Some(b)) => {
                let mut order: Vec<usize> = (0..self.rank()).collect();
                order.swap(a, b);
                self.permute(&order)
            }
            _ => self.no_axis("transpose", if self.shape().axis(a).is_none() { a } else { b }),
        }
    }

    /// The last two axes exchanged.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        self.transpose(-1, -2)
    }

    /// Repeated to a larger shape by NumPy's rule.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Tensor {
        let (shape, site) = (shape.into(), Location::caller());
        if self.check().is_ok() && self.shape().broadcast(&shape).as_ref() != Some(&shape) {
            return Tensor::poisoned(
                Error::shape(format!("broadcast: shape {} does not broadcast to {shape}", self.shape())).at(site),
            );
        }
        self.broadcast_at(&shape, site)
    }

    /// `shape` must be one that `self` broadcasts to.
    pub(crate) fn broadcast_at(&self, shape: &Shape, site: &'static Location<'static>) -> Tensor {
        if self.shape() == shape || self.check().is_err() {
            return self.clone();
        }
        if let Some(value) = self.uniform() {
            return Tensor::full_at(shape.clone(), value, self.dtype(), site);
        }
        let mut padded = vec![1; shape.rank() - self.rank()];
        padded.extend_from_slice(self.shape());
        let aligned = self.reshape_at(padded, site);
        if aligned.shape() == shape {
            return aligned;
        }
        Tensor::record(Op::Broadcast, vec![aligned], Some(shape.clone()), site)
    }

    /// `lens[i]` elements from `starts[i]` on along every axis.
    #[track_caller]
    pub fn slice(&self, starts: &[usize], lens: &[usize]) -> Tensor {
        self.slice_at(starts, lens, Location::caller())
    }

    fn slice_at(&self, starts: &[usize], lens: &[usize], site: &'static Location<'static>) -> Tensor {
        if self.check().is_ok() && lens == &self.shape()[..] && starts.iter().all(|&s| s == 0) {
            return self.clone();
        }
        // Gradients pad what the forward pass sliced and slice it again; undone here so that no zeros are ever stored.
        let inside =
            |((start, len), dim): ((&usize, &usize), &usize)| start.checked_add(*len).is_some_and(|end| end <= *dim);
        let valid = self.check().is_ok()
            && (starts.len(), lens.len()) == (self.rank(), self.rank())
            && starts.iter().zip(lens).zip(self.shape().iter()).all(inside);
        match self.op() {
            // The error is told where all are: see `infer`.
            _ if !valid => {}
            Op::Full(value) => return Tensor::full_at(lens, *value, self.dtype(), site),
            Op::Pad(pads) if starts.len() == pads.len() => {
                let inner = &self.inputs()[0];
                let axes = || starts.iter().zip(lens).zip(pads.iter().zip(&inner.shape()[..]));
                if axes().any(|((&start, &len), (&(lo, _), &dim))| start + len <= lo || start >= lo + dim) {
                    return Tensor::zeros(lens, self.dtype());
                }
                if axes().all(|((&start, &len), (&(lo, _), &dim))| start >= lo && start + len <= lo + dim) {
                    let shifted: Vec<usize> = starts.iter().zip(pads).map(|(s, p)| s - p.0).collect();
                    return inner.slice_at(&shifted, lens, site);
                }
            }
            Op::Binary(Binary::Add) if self.is_padded(SUMMANDS) => {
                return self.inputs()[0].slice_at(starts, lens, site) + self.inputs()[1].slice_at(starts, lens, site);
            }
            _ => {}
        }
        Tensor::record(Op::Slice(starts.to_vec()), vec![self.clone()], Some(Shape::from(lens)), site)
    }

    /// A pad, or a sum of pads, of no more than `depth` additions on a path.
    fn is_padded(&self, depth: usize) -> bool {
        match self.op() {
            Op::Pad(_) => true,
            Op::Binary(Binary::Add) => depth > 0 && self.inputs().iter().all(|t| t.is_padded(depth - 1)),
            _ => false,
        }
    }

    /// `len` elements from `start` on along one axis, which counts from the end if negative.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, len: usize) -> Tensor {
        let Some(axis) = self.shape().axis(axis) else { return self.no_axis("narrow", axis) };
        let (mut starts, mut lens) = (vec![0; self.rank()], self.shape().to_vec());
        (starts[axis], lens[axis]) = (start, len);
        self.slice(&starts, &lens)
    }

    /// The element at `index` of one axis; the axis goes away.
    #[track_caller]
    pub fn index(&self, axis: isize, index: usize) -> Tensor {
        self.narrow(axis, index, 1).squeeze(axis)
    }

    /// Zeros before and after each axis.
    #[track_caller]
    pub fn pad(&self, pads: &[(usize, usize)]) -> Tensor {
        if self.check().is_ok() && pads.len() == self.rank() && pads.iter().all(|&p| p == (0, 0)) {
            return self.clone();
        }
        Tensor::record(Op::Pad(pads.to_vec()), vec![self.clone()], None, Location::caller())
    }

    /// Reversed along the given axes; negative counts from the end.
    #[track_caller]
    pub fn flip(&self, axes: &[isize]) -> Tensor {
        let site = Location::caller();
        if axes.is_empty() || self.check().is_err() {
            return self.clone();
        }
        match self.axes("flip", axes) {
            Ok(axes) => Tensor::record(Op::Flip(axes), vec![self.clone()], None, site),
            Err(error) => Tensor::poisoned(error.at(site)),
        }
    }

    /// Tensors joined along an axis; their other axes agree. An empty list is an error.
    #[track_caller]
    pub fn concat(tensors: &[Tensor], axis: isize) -> Tensor {
        let Some(first) = tensors.first() else {
            return Tensor::poisoned(Error::value("concat: no tensors to join"));
        };
        if let Some(bad) = tensors.iter().find(|t| t.check().is_err()) {
            return bad.clone();
        }
        let Some(axis) = first.shape().axis(axis) else { return first.no_axis("concat", axis) };
        let agree = |t: &Tensor| {
            t.dtype() == first.dtype()
                && t.rank() == first.rank()
                && t.shape().iter().zip(first.shape().iter()).enumerate().all(|(i, (a, b))| i == axis || a == b)
        };
        if let Some(bad) = tensors.iter().find(|t| !agree(t)) {
            return Tensor::poisoned(Error::shape(format!(
                "concat on axis {axis}: {} {} does not fit {} {}",
                first.dtype(),
                first.shape(),
                bad.dtype(),
                bad.shape()
            )));
        }
        // A sum of padded parts: fusion turns it into one kernel that writes each element once.
        let total: usize = tensors.iter().map(|t| t.shape()[axis]).sum();
        let mut start = 0;
        let mut joined: Option<Tensor> = None;
        for tensor in tensors {
            let mut pads = vec![(0, 0); first.rank()];
            pads[axis] = (start, total - start - tensor.shape()[axis]);
            start += tensor.shape()[axis];
            let part = tensor.pad(&pads);
            joined = Some(match joined {
                None => part,
                Some(sum) if part.dtype() == crate::DType::Bool => sum.or(part),
                Some(sum) => sum.add(part),
            });
        }
        joined.unwrap_or_else(|| first.clone())
    }

    /// Tensors of equal shape joined along a new axis.
    #[track_caller]
    pub fn stack(tensors: &[Tensor], axis: isize) -> Tensor {
        let rank = tensors.first().map_or(0, Tensor::rank) as isize;
        let axis = if axis < 0 { axis + rank + 1 } else { axis };
        let parts: Vec<Tensor> = tensors.iter().map(|t| t.unsqueeze(axis)).collect();
        Tensor::concat(&parts, axis)
    }

    /// A new axis of length 1 before `axis`; -1 puts it last.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor {
        let rank = self.rank() as isize;
        let at = if axis < 0 { axis + rank + 1 } else { axis };
        if !(0..=rank).contains(&at) {
            return self.no_axis("unsqueeze", axis);
        }
        let mut shape = self.shape().to_vec();
        shape.insert(at as usize, 1);
        self.reshape(shape)
    }

    /// Without an axis of length 1.
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> Tensor {
        match self.shape().axis(axis) {
            Some(at) if self.shape()[at] == 1 => {
                let mut shape = self.shape().to_vec();
                shape.remove(at);
                self.reshape(shape)
            }
            Some(at) if self.check().is_ok() => Tensor::poisoned(Error::shape(format!(
                "squeeze: axis {axis} of shape {} has length {}, not 1",
                self.shape(),
                self.shape()[at]
            ))),
            _ => self.no_axis("squeeze", axis),
        }
    }

    /// All axes from `from` on as one.
    #[track_caller]
    pub fn flatten(&self, from: usize) -> Tensor {
        let from = from.min(self.rank());
        let mut shape = self.shape()[..from].to_vec();
        shape.push(self.shape()[from..].iter().product());
        if self.check().is_err() { self.clone() } else { self.reshape(shape) }
    }

    #[track_caller]
    fn no_axis(&self, what: &str, axis: isize) -> Tensor {
        match self.check() {
            Ok(_) => Tensor::poisoned(Error::shape(format!("{what}: shape {} has no axis {axis}", self.shape()))),
            Err(_) => self.clone(),
        }
    }
}
