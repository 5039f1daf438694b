//! Loads and stores of register tiles through affine views.

use crate::math;
use crate::memory::Memory;
use crate::ops::{Arg, Convert, converters};
use crate::simd::{Level, prefetch};
use ibex_core::program::{self, BufferId, View};
use ibex_core::{DType, Error, Result};

/// Axes that a view may have after merging.
const MAX_RANK: usize = 16;

/// A view with as few axes as possible, walked along ranges of row-major coordinates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Walk {
    offset: i64,
    dims: Vec<usize>,
    strides: Vec<i64>,
    /// One range for each axis, or empty.
    bounds: Vec<(i64, i64)>,
    /// True if no coordinate is inside the bounds.
    nothing: bool,
}

impl Walk {
    pub(crate) fn new(view: &View, dims: &[usize]) -> Result<Walk> {
        let mut walk =
            Walk { offset: view.offset, dims: vec![], strides: vec![], bounds: vec![], nothing: dims.contains(&0) };
        for (d, &dim) in dims.iter().enumerate() {
            let (lo, hi) = view.bounds.get(d).map_or((0, dim as i64), |&(lo, hi)| (lo.max(0), hi.min(dim as i64)));
            walk.nothing |= lo >= hi;
            let (free, stride) = (lo <= 0 && hi >= dim as i64, view.strides[d]);
            if dim == 1 {
                continue;
            }
            match (walk.dims.last_mut(), walk.strides.last_mut(), walk.bounds.last_mut()) {
                (Some(last), Some(outer), Some(bounds))
                    if free && *bounds == (0, *last as i64) && *outer == stride * dim as i64 =>
                {
                    *last *= dim;
                    *outer = stride;
                    *bounds = (0, *last as i64);
                }
                _ => {
                    walk.dims.push(dim);
                    walk.strides.push(stride);
                    walk.bounds.push((lo, hi));
                }
            }
        }
        if walk.bounds.iter().zip(&walk.dims).all(|(&b, &dim)| b == (0, dim as i64)) {
            walk.bounds.clear();
        }
        if walk.dims.len() > MAX_RANK {
            return Err(Error::unsupported(format!(
                "a view has more than {MAX_RANK} axes; reshape the tensor to fewer"
            )));
        }
        Ok(walk)
    }

    /// The least and greatest element number inside the bounds.
    fn range(&self) -> Option<(i64, i64)> {
        if self.nothing {
            return None;
        }
        let mut range = (self.offset, self.offset);
        for (d, &stride) in self.strides.iter().enumerate() {
            let (lo, hi) = self.bounds.get(d).copied().unwrap_or((0, self.dims[d] as i64));
            let ends = (lo * stride, (hi - 1) * stride);
            range = (range.0 + ends.0.min(ends.1), range.1 + ends.0.max(ends.1));
        }
        Some(range)
    }

    /// Reads nothing from now on.
    pub(crate) fn forbid(&mut self) {
        self.nothing = true;
    }

    /// The same element everywhere.
    pub(crate) fn is_scalar(&self) -> bool {
        self.dims.is_empty() && !self.nothing
    }

    /// Element `offset + i` at coordinate `i`.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.strides == [1] && self.bounds.is_empty() && !self.nothing
    }

    /// Element `i` at coordinate `i`, from a buffer's first element on.
    pub(crate) fn is_whole(&self) -> bool {
        self.offset == 0 && (self.is_contiguous() || self.is_scalar())
    }

    /// After how many coordinates the view repeats, if it does.
    pub(crate) fn period(&self) -> Option<usize> {
        let repeats = self.dims.len() > 1 && self.strides[0] == 0 && self.bounds.is_empty() && !self.nothing;
        repeats.then(|| self.dims[1..].iter().product())
    }

    /// If the coordinates `start..start + n` are one piece: its first element and its stride.
    fn piece(&self, start: usize, n: usize) -> Option<(i64, i64)> {
        if self.nothing || !self.bounds.is_empty() {
            return None;
        }
        let Some((&inner, &stride)) = self.dims.last().zip(self.strides.last()) else {
            return Some((self.offset, 0));
        };
        if self.dims.len() == 1 {
            return Some((self.offset + start as i64 * stride, stride));
        }
        let c = start % inner;
        if c + n > inner {
            return None;
        }
        let mut rest = start / inner;
        let mut base = self.offset + c as i64 * stride;
        for d in (0..self.dims.len() - 1).rev() {
            base += (rest % self.dims[d]) as i64 * self.strides[d];
            rest /= self.dims[d];
        }
        Some((base, stride))
    }

    /// Calls `f(position, length, first element, stride)` for each piece of the coordinates `start..start + n`; no element
    /// outside of the bounds.
    #[inline(always)]
    fn pieces(&self, start: usize, n: usize, mut f: impl FnMut(usize, usize, Option<i64>, i64)) {
        if n == 0 {
            return;
        }
        if self.nothing {
            return f(0, n, None, 0);
        }
        let Some(last) = self.dims.len().checked_sub(1) else {
            return f(0, n, Some(self.offset), 0);
        };
        let (inner, stride) = (self.dims[last], self.strides[last]);
        let mut at = [0usize; MAX_RANK];
        let mut rest = start;
        let mut base = self.offset;
        for d in (0..=last).rev() {
            at[d] = rest % self.dims[d];
            rest /= self.dims[d];
            if d < last {
                base += at[d] as i64 * self.strides[d];
            }
        }
        let mut done = 0;
        loop {
            let first = at[last];
            let len = (inner - first).min(n - done);
            let element = |c: usize| Some(base + c as i64 * stride);
            if self.bounds.is_empty() {
                f(done, len, element(first), stride);
            } else if (0..last).all(|d| (self.bounds[d].0..self.bounds[d].1).contains(&(at[d] as i64))) {
                let lo = (self.bounds[last].0 as usize).clamp(first, first + len);
                let hi = (self.bounds[last].1 as usize).clamp(lo, first + len);
                if lo > first {
                    f(done, lo - first, None, 0);
                }
                if hi > lo {
                    f(done + lo - first, hi - lo, element(lo), stride);
                }
                if first + len > hi {
                    f(done + hi - first, first + len - hi, None, 0);
                }
            } else {
                f(done, len, None, 0);
            }
            done += len;
            if done == n {
                return;
            }
            at[last] = 0;
            for d in (0..last).rev() {
                at[d] += 1;
                base += self.strides[d];
                if at[d] < self.dims[d] {
                    break;
                }
                base -= self.dims[d] as i64 * self.strides[d];
                at[d] = 0;
            }
        }
    }

    /// The element numbers themselves, as `i32`; 0 outside of the bounds.
    ///
    /// # Safety
    /// `out` is valid for `n` elements.
    pub(crate) unsafe fn numbers(&self, start: usize, n: usize, out: *mut u32) {
        // SAFETY: pieces lie inside of `0..n`.
        let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<i32>(), n) };
        self.pieces(start, n, |at, len, first, stride| {
            let (first, stride) = (first.unwrap_or(0) as i32, stride as i32);
            for (i, out) in out[at..at + len].iter_mut().enumerate() {
                *out = first.wrapping_add((i as i32).wrapping_mul(stride));
            }
        });
    }
}

/// Checks that a view stays inside of a buffer, which makes all access through it sound.
pub(crate) fn check(walk: &Walk, elements: usize, buffer: BufferId) -> Result<()> {
    match walk.range() {
        Some((lo, hi)) if lo < 0 || hi >= elements as i64 => Err(Error::value(format!(
            "a kernel addresses elements {lo} to {hi} of buffer {} of {elements} elements; this is a bug of the compiler",
            buffer.0
        ))),
        _ => Ok(()),
    }
}

/// A prepared load.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) buffer: BufferId,
    pub(crate) walk: Walk,
    dtype: DType,
    widen: Option<unsafe fn(Convert)>,
}

impl Load {
    pub(crate) fn new(load: &program::Load, dims: &[usize], level: Level) -> Result<Load> {
        let widen = converters(level, load.dtype).map(|c| c.0);
        Ok(Load { buffer: load.buffer, walk: Walk::new(&load.view, dims)?, dtype: load.dtype, widen })
    }

    /// True if the elements are always used where they are, without a register.
    pub(crate) fn in_place(&self) -> bool {
        self.widen.is_none() && (self.walk.is_contiguous() || self.walk.is_scalar())
    }

    /// The elements of coordinates `start..start + n`: in place if they can be, else in `out`.
    ///
    /// # Safety
    /// `out` is valid for `n` elements; the view lies inside of its buffer (see `check`); nobody writes what is read.
    pub(crate) unsafe fn get(&self, mem: &Memory, start: usize, n: usize, out: *mut u32) -> Arg {
        let base = mem.ptr(self.buffer);
        // SAFETY: the caller's promise.
        unsafe {
            if let Some((first, stride @ (0 | 1))) = self.walk.piece(start, n) {
                let step = stride as usize;
                return match self.widen {
                    None => Arg { ptr: base.cast::<u32>().offset(first as isize), step },
                    Some(widen) => {
                        let from = base.cast::<u16>().offset(first as isize).cast();
                        widen(Convert { from, to: out.cast(), n: if step == 0 { 1 } else { n } });
                        Arg { ptr: out, step }
                    }
                };
            }
            self.copy(base, start, n, out);
        }
        Arg { ptr: out, step: 1 }
    }

    /// The elements of coordinates `start..start + n` copied to `out`.
    ///
    /// # Safety
    /// As for `get`, with the buffer at `base`.
    pub(crate) unsafe fn copy(&self, base: *const u8, start: usize, n: usize, out: *mut u32) {
        // SAFETY: pieces lie inside of `0..n` and of the buffer.
        self.walk.pieces(start, n, |at, len, first, stride| unsafe {
            let to = std::slice::from_raw_parts_mut(out.add(at), len);
            let Some(first) = first else {
                return to.fill(0);
            };
            let first = first as isize;
            match self.widen {
                None => {
                    let from = base.cast::<u32>().offset(first);
                    match stride {
                        1 if len >= 16 => to.copy_from_slice(std::slice::from_raw_parts(from, len)),
                        0 => to.fill(*from),
                        _ => to
                            .iter_mut()
                            .enumerate()
                            .for_each(|(i, to)| *to = *from.offset(i as isize * stride as isize)),
                    }
                }
                Some(widen) => {
                    let from = base.cast::<u16>().offset(first);
                    if stride == 1 {
                        return widen(Convert { from: from.cast(), to: to.as_mut_ptr().cast(), n: len });
                    }
                    for (i, to) in to.iter_mut().enumerate() {
                        let half = *from.offset(i as isize * stride as isize);
                        let brain = self.dtype == DType::BF16;
                        *to = if brain { math::bf16_to_f32(half) } else { math::f16_to_f32(half) }.to_bits();
                    }
                }
            }
        });
    }
}

/// A prepared store.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) value: usize,
    pub(crate) buffer: BufferId,
    pub(crate) walk: Walk,
    pub(crate) dtype: DType,
    narrow: Option<unsafe fn(Convert)>,
}

impl Store {
    pub(crate) fn new(store: &program::Store, dims: &[usize], level: Level) -> Result<Store> {
        let narrow = converters(level, store.dtype).map(|c| c.1);
        let walk = Walk::new(&store.view, dims)?;
        Ok(Store { value: store.value.0, buffer: store.buffer, walk, dtype: store.dtype, narrow })
    }

    /// True if registers can be written at their place in memory.
    pub(crate) fn in_place(&self) -> bool {
        self.narrow.is_none() && (self.walk.is_contiguous() || self.walk.is_scalar())
    }

    /// Where the element of coordinate `start` is, if `in_place`.
    ///
    /// # Safety
    /// The view lies inside of its buffer.
    pub(crate) unsafe fn at(&self, mem: &Memory, start: usize) -> *mut u32 {
        let start = if self.walk.is_scalar() { 0 } else { start };
        // SAFETY: the caller's promise.
        unsafe { mem.ptr(self.buffer).cast::<u32>().offset(self.walk.offset as isize + start as isize) }
    }

    /// Writes `value` to the elements of coordinates `start..start + n`.
    ///
    /// # Safety
    /// `value` is valid for `n` elements; the view lies inside of its buffer; nobody else uses what is written.
    pub(crate) unsafe fn put(&self, mem: &Memory, start: usize, n: usize, value: Arg) {
        let base = mem.ptr(self.buffer);
        // SAFETY: pieces lie inside of `0..n` and of the buffer.
        self.walk.pieces(start, n, |at, len, first, stride| unsafe {
            let Some(first) = first else { return };
            let first = first as isize;
            let from = value.ptr.add(at * value.step);
            match self.narrow {
                None => {
                    let to = base.cast::<u32>().offset(first);
                    if stride == 1 && value.step == 1 {
                        // The same memory where an epilogue's result was accumulated in place.
                        return std::ptr::copy(from, to, len);
                    }
                    (0..len).for_each(|i| *to.offset(i as isize * stride as isize) = *from.add(i * value.step));
                }
                Some(narrow) => {
                    let to = base.cast::<u16>().offset(first);
                    if stride == 1 && value.step == 1 {
                        return narrow(Convert { from: from.cast(), to: to.cast(), n: len });
                    }
                    for i in 0..len {
                        let x = f32::from_bits(*from.add(i * value.step));
                        let brain = self.dtype == DType::BF16;
                        let half = if brain { math::f32_to_bf16(x) } else { math::f32_to_f16(x) };
                        *to.offset(i as isize * stride as isize) = half;
                    }
                }
            }
        });
    }
}

/// Memory that a sweep walks along, element by element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    buffer: BufferId,
    /// Where the walk begins.
    offset: isize,
    written: bool,
}

impl Ahead {
    pub(crate) fn new(buffer: BufferId, walk: &Walk, written: bool) -> Option<Ahead> {
        walk.is_contiguous().then_some(Ahead { buffer, offset: walk.offset as isize, written })
    }

    /// Asks for the elements of the coordinates `start..start + n`, which need not be there.
    pub(crate) fn ask(&self, mem: &Memory, start: usize, n: usize) {
        let begin = mem.ptr(self.buffer).cast_const().cast::<u32>().wrapping_offset(self.offset);
        prefetch(begin.wrapping_add(start), n, self.written);
    }
}
