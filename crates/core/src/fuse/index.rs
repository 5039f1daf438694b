//! Where the element of a node lies, as an affine function of the coordinates of a kernel.

use crate::graph::{Node, Op};
use crate::program::View;

/// `offset + sum(coordinate[k] * terms[k])`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Affine {
    pub offset: i64,
    pub terms: Vec<i64>,
}

impl Affine {
    fn constant(offset: i64, rank: usize) -> Affine {
        Affine { offset, terms: vec![0; rank] }
    }

    fn add_scaled(&mut self, other: &Affine, scale: i64) {
        self.offset += other.offset * scale;
        self.terms.iter_mut().zip(&other.terms).for_each(|(a, b)| *a += b * scale);
    }
}

/// For every axis of a node the index along it, for points within `bounds`. At other points the value is zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Map {
    /// Lengths of the kernel's axes.
    pub dims: Vec<usize>,
    pub index: Vec<Affine>,
    pub bounds: Vec<(i64, i64)>,
}

/// Why a node can not be computed inside of a kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Kernel axis `.0` must be split so that its inner part has length `.1`.
    Split(usize, usize),
    /// No affine function says where the elements are: the input of this movement needs memory of its own.
    Fail,
}

impl Map {
    /// Node axis `i` is kernel axis `axes[i]`.
    pub fn new(dims: &[usize], axes: &[usize]) -> Map {
        let unit = |k: usize| {
            let mut a = Affine::constant(0, dims.len());
            if dims[k] > 1 {
                a.terms[k] = 1;
            }
            a
        };
        let bounds = dims.iter().map(|&d| (0, d as i64)).collect();
        Map { dims: dims.to_vec(), index: axes.iter().map(|&k| unit(k)).collect(), bounds }
    }

    /// The flat element number in a contiguous buffer of shape `shape`.
    pub fn view(&self, shape: &crate::Shape) -> View {
        let mut flat = Affine::constant(0, self.dims.len());
        self.index.iter().zip(shape.strides()).for_each(|(index, stride)| flat.add_scaled(index, stride));
        let open = self.bounds.iter().zip(&self.dims).all(|(&b, &d)| b == (0, d as i64));
        View { offset: flat.offset, strides: flat.terms, bounds: if open { vec![] } else { self.bounds.clone() } }
    }

    /// The map of a movement's input, from that of its output.
    pub fn through(&self, node: &Node, input: &crate::Shape) -> Result<Map, Stop> {
        let mut map = self.clone();
        match &node.op {
            Op::Permute(order) => {
                order.iter().enumerate().for_each(|(i, &from)| map.index[from] = self.index[i].clone())
            }
            Op::Broadcast => {
                let repeated = (0..input.rank()).filter(|&i| input[i] == 1);
                repeated.for_each(|i| map.index[i] = Affine::constant(0, self.dims.len()));
            }
            Op::Slice(starts) => {
                starts.iter().zip(&mut map.index).for_each(|(&start, index)| index.offset += start as i64)
            }
            Op::Flip(axes) => {
                for &a in axes {
                    let mut reversed = Affine::constant(input[a] as i64 - 1, self.dims.len());
                    reversed.add_scaled(&self.index[a], -1);
                    map.index[a] = reversed;
                }
            }
            Op::Pad(pads) => {
                for (a, &(lo, hi)) in pads.iter().enumerate() {
                    map.index[a].offset -= lo as i64;
                    if lo > 0 || hi > 0 {
                        map.limit(a, input[a] as i64)?;
                    }
                }
            }
            Op::Reshape => map.index = self.reshape(&node.shape, input)?,
            _ => return Err(Stop::Fail),
        }
        Ok(map)
    }

    /// Keeps only the points whose index along `axis` is in `0..len`.
    fn limit(&mut self, axis: usize, len: i64) -> Result<(), Stop> {
        let index = &self.index[axis];
        let mut moving = (0..self.dims.len()).filter(|&k| index.terms[k] != 0 && self.dims[k] > 1);
        match (moving.next(), moving.next()) {
            (None, _) => {
                if !(0..len).contains(&index.offset) {
                    self.bounds.iter_mut().for_each(|b| *b = (0, 0));
                }
                Ok(())
            }
            (Some(k), None) => {
                let (step, offset) = (index.terms[k], index.offset);
                // 0 <= offset + step*i <= len - 1
                let (lo, hi) = match step > 0 {
                    true => (ceil_div(-offset, step), (len - 1 - offset).div_euclid(step) + 1),
                    false => (ceil_div(offset - (len - 1), -step), offset.div_euclid(-step) + 1),
                };
                let bound = &mut self.bounds[k];
                *bound = (bound.0.max(lo), bound.1.min(hi));
                if bound.0 >= bound.1 {
                    *bound = (0, 0);
                }
                Ok(())
            }
            _ => Err(Stop::Fail),
        }
    }

    fn reshape(&self, from: &crate::Shape, to: &crate::Shape) -> Result<Vec<Affine>, Stop> {
        let rank = self.dims.len();
        let mut result = vec![Affine::constant(0, rank); to.rank()];
        let (mut i, mut j) = (0, 0);
        while i < from.rank() || j < to.rank() {
            // The smallest run of axes on both sides that holds the same elements.
            let (i0, j0) = (i, j);
            let (mut a, mut b) = (1, 1);
            loop {
                if a == b && (i > i0 || j > j0) {
                    break;
                }
                if a <= b && i < from.rank() {
                    a *= from[i];
                    i += 1;
                } else if j < to.rank() {
                    b *= to[j];
                    j += 1;
                } else {
                    a *= from[i];
                    i += 1;
                }
            }
            let mut flat = Affine::constant(0, rank);
            let mut stride = 1;
            for k in (i0..i).rev() {
                flat.add_scaled(&self.index[k], stride);
                stride *= from[k] as i64;
            }
            let outermost = (j0..j).find(|&k| to[k] != 1);
            for k in (j0..j).rev().filter(|&k| to[k] != 1) {
                if Some(k) == outermost {
                    result[k] = flat.clone();
                } else {
                    let (quotient, remainder) = self.divide(&flat, to[k] as i64)?;
                    result[k] = remainder;
                    flat = quotient;
                }
            }
        }
        Ok(result)
    }

    /// `a / by` and `a % by`, both affine.
    fn divide(&self, a: &Affine, by: i64) -> Result<(Affine, Affine), Stop> {
        let rank = self.dims.len();
        let (mut quotient, mut remainder) = (Affine::constant(0, rank), Affine::constant(0, rank));
        let (mut least, mut most) = (0, 0);
        for k in 0..rank {
            let term = a.terms[k];
            if term % by == 0 {
                quotient.terms[k] = term / by;
                continue;
            }
            remainder.terms[k] = term;
            let (lo, hi) = (self.bounds[k].0, (self.bounds[k].1 - 1).max(self.bounds[k].0));
            least += (term * lo).min(term * hi);
            most += (term * lo).max(term * hi);
        }
        quotient.offset = (a.offset + least).div_euclid(by);
        remainder.offset = a.offset - quotient.offset * by;
        if remainder.offset + least >= 0 && remainder.offset + most < by {
            return Ok((quotient, remainder));
        }
        // An axis that runs through several multiples of `by` is two axes in truth.
        for k in 0..rank {
            let step = remainder.terms[k].abs();
            if step != 0 && by % step == 0 {
                let inner = (by / step) as usize;
                if inner < self.dims[k] && self.dims[k].is_multiple_of(inner) {
                    return Err(Stop::Split(k, inner));
                }
            }
        }
        Err(Stop::Fail)
    }
}

fn ceil_div(a: i64, b: i64) -> i64 {
    -(-a).div_euclid(b)
}
