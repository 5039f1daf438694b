//! Matrix products on packed panels, the core of every contraction.
//!
//! The right operand is packed into panels as wide as a register tile (`[k block][panel][k][cols]`), the left operand into panels as high
//! as one, a k block at a time. Left panels are broadcast element by element, so they need no transposition: they keep whichever of their
//! axes is contiguous. In matrix products every thread packs what it uses itself: memory that another core has written is far away.

mod ahead;
mod micro;
mod pack;

use super::sink::with_local;
use crate::epilogue::Finish;
pub(crate) use ahead::Ahead;
pub(crate) use micro::{Isa, KC, isa};
use micro::{MAX_COLS, MAX_ROWS, ROW_STRIDE};
pub(crate) use pack::{Fresh, Matrix, Packed, pack_rhs};
use std::ops::Range;

/// Packs panels of the left operand.
pub(crate) trait Lhs: Sync {
    /// True if panels are `out[k*width + row]`, false if `out[row*ROW_STRIDE + k]`.
    fn k_major(&self) -> bool;

    /// Packs `rows` by `ks`. What lies beyond them in `out` is never read, and may be overwritten.
    fn pack(&self, rows: Range<usize>, ks: Range<usize>, width: usize, out: &mut [f32]);

    /// Where `rows` by `ks` lie.
    fn ahead(&self, rows: Range<usize>, ks: Range<usize>) -> Ahead;
}

/// Gives the panels of a right operand.
pub(crate) trait Rhs {
    /// Panel `panel` of the k block `ks`, `[k][cols]`.
    fn panel(&mut self, isa: &Isa, ks: Range<usize>, panel: usize) -> &[f32];

    /// Where lies what [`panel`](Rhs::panel) will read.
    fn ahead(&self, isa: &Isa, ks: Range<usize>, panel: usize) -> Ahead;
}

/// Floats of the operands of one block that stay in the second-level cache by themselves.
const NEAR: usize = 1 << 17;

/// Floats that a left panel takes in either layout.
fn panel_len(isa: &Isa) -> usize {
    isa.rows * ROW_STRIDE
}

/// The blocks of a contraction of length `k`: of nearly equal length, at most [`KC`].
pub(crate) fn k_blocks(k: usize) -> impl Iterator<Item = Range<usize>> {
    let size = k.div_ceil(k.div_ceil(KC).max(1)).max(1);
    (0..k).step_by(size).map(move |k0| k0..(k0 + size).min(k))
}

/// Splits `range` into the fewest pieces of at most `most`, of nearly equal length.
pub(crate) fn split(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let pieces = range.len().div_ceil(most).max(1);
    // The first `longer` pieces have one more.
    let (each, longer) = (range.len() / pieces, range.len() % pieces);
    let mut at = range.start;
    (0..pieces).filter(move |_| !range.is_empty()).map(move |i| {
        let start = at;
        at += each + usize::from(i < longer);
        start..at
    })
}

/// Floats of a packed right operand.
pub(crate) fn packed_len(isa: &Isa, k: usize, n: usize) -> usize {
    k * n.next_multiple_of(isa.cols)
}

/// Where panel `panel` of the k block `ks` begins in a packed right operand of `n` columns.
fn panel_start(isa: &Isa, n: usize, ks: &Range<usize>, panel: usize) -> usize {
    ks.start * n.next_multiple_of(isa.cols) + panel * ks.len() * isa.cols
}

/// A tile of the result: rows `ld` floats apart, and what becomes of sums there.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) at: *mut f32,
    pub(crate) ld: usize,
    pub(crate) finish: Finish,
}

impl Tile {
    /// A tile of plain sums.
    pub(crate) fn new(at: *mut f32, ld: usize) -> Tile {
        Tile { at, ld, finish: Finish::NONE }
    }

    /// The part from a row and a column on.
    pub(crate) fn part(self, row: usize, col: usize) -> Tile {
        let place = row * self.ld + col;
        Tile { at: self.at.wrapping_add(place), finish: self.finish.from(col, place), ..self }
    }

    /// What sums of nothing give.
    ///
    /// # Safety
    /// The tile must have `rows` by `cols` elements.
    pub(crate) unsafe fn nothing(self, rows: usize, cols: usize) {
        for r in 0..rows {
            // SAFETY: the caller's promise.
            unsafe {
                if self.finish.is_none() {
                    std::slice::from_raw_parts_mut(self.at.add(r * self.ld), cols).fill(0.0);
                    continue;
                }
                for j in 0..cols {
                    let place = r * self.ld + j;
                    *self.at.add(place) = self.finish.apply(0.0, j, place);
                }
            }
        }
    }
}

/// `tile = lhs[.., ..k] * rhs[.., cols]` for at most `isa.rows` rows, where packing would cost more than it saves: element `(k, j)` of
/// the right operand is read in place at `rhs[k*step + j]`.
///
/// # Safety
/// `tile` must have `rows` by `cols.len()` elements that nobody else touches.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn thin(
    isa: &Isa,
    lhs: &impl Lhs,
    rows: usize,
    rhs: &[f32],
    step: usize,
    k: usize,
    cols: Range<usize>,
    tile: Tile,
) {
    // Short blocks walk along few rows of the right operand at a time, which hardware prefetch follows.
    const SHORT: usize = 16;
    let mut last = [0f32; SHORT * MAX_COLS];
    let full = cols.start + cols.len() / isa.cols * isa.cols;
    with_local(panel_len(isa), |panel| {
        for k0 in (0..k).step_by(SHORT) {
            let ks = k0..(k0 + SHORT).min(k);
            lhs.pack(0..rows, ks.clone(), isa.rows, panel);
            assert!(rhs.len() >= (ks.end - 1) * step + cols.end, "right operand is whole");
            let add = ks.start > 0;
            if full < cols.end {
                pack_rhs(isa, &rhs[full..], |k| k * step, 1, cols.end - full, ks.clone(), 0, &mut last);
            }
            for j in cols.clone().step_by(isa.cols) {
                let n = (cols.end - j).min(isa.cols);
                let kernel = isa.kernel(lhs.k_major(), rows, n);
                // SAFETY: a full panel lies inside of `rhs` by the assertion, the last one was packed; the rest is the caller's promise.
                unsafe {
                    let (b, step) = match j < full {
                        true => (rhs.as_ptr().add(ks.start * step + j), step),
                        false => (last.as_ptr(), isa.cols),
                    };
                    let Tile { at, ld, finish } = tile.part(0, j - cols.start);
                    let finish = if ks.end == k { finish } else { Finish::NONE };
                    kernel(ks.len(), panel.as_ptr(), b, step, at, ld, n, add, &finish);
                }
            }
        }
    });
}

/// `tile = lhs[rows, ..k] * rhs[..k, ..n]`. `then`: the rows that are multiplied next, if any.
///
/// # Safety
/// `tile` must have `rows.len()` by `n` elements that nobody else touches.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn block(
    isa: &Isa,
    lhs: &impl Lhs,
    rows: Range<usize>,
    then: Range<usize>,
    rhs: &mut impl Rhs,
    k: usize,
    n: usize,
    tile: Tile,
) {
    if k == 0 {
        // SAFETY: the caller's promise.
        return unsafe { tile.nothing(rows.len(), n) };
    }
    let (len, parts) = (panel_len(isa), rows.len().div_ceil(isa.rows));
    let far = (rows.len() + n) * k > NEAR;
    with_local(parts * len, |panels| {
        let (count, mut blocks) = (n.div_ceil(isa.cols), k_blocks(k).peekable());
        while let Some(ks) = blocks.next() {
            for (part, panel) in split(rows.clone(), isa.rows).zip(panels.chunks_exact_mut(len)) {
                lhs.pack(part, ks.clone(), isa.rows, panel);
            }
            let mut left_ahead = match blocks.peek() {
                _ if !far => Ahead::none(),
                Some(ks) => lhs.ahead(rows.clone(), ks.clone()),
                None => lhs.ahead(then.clone(), 0..ks.len()),
            };
            left_ahead.over(count * parts);
            // A right panel stays in the first-level cache while all left panels pass by.
            for j in 0..count {
                let cols = (n - j * isa.cols).min(isa.cols);
                let mut right_ahead = match blocks.peek() {
                    _ if !far => Ahead::none(),
                    _ if j + 1 < count => rhs.ahead(isa, ks.clone(), j + 1),
                    Some(ks) => rhs.ahead(isa, ks.clone(), 0),
                    None => Ahead::none(),
                };
                right_ahead.over(parts);
                let right = rhs.panel(isa, ks.clone(), j);
                assert!(right.len() >= ks.len() * isa.cols, "right panel is whole");
                for (part, panel) in split(rows.clone(), isa.rows).zip(panels.chunks_exact(len)) {
                    left_ahead.ask();
                    right_ahead.ask();
                    let kernel = isa.kernel(lhs.k_major(), part.len(), cols);
                    // SAFETY: the panels hold `ks` by the assertion and as packed, the rest is the caller's promise.
                    unsafe {
                        let Tile { at, ld, finish } = tile.part(part.start - rows.start, j * isa.cols);
                        let finish = if ks.end == k { finish } else { Finish::NONE };
                        kernel(ks.len(), panel.as_ptr(), right.as_ptr(), isa.cols, at, ld, cols, ks.start > 0, &finish);
                    }
                }
            }
        }
    });
}

/// Rows of a gathered operand: `lines` of `count` rows each, lines `pitch` rows apart, the rows of a line `step`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rows {
    pub(crate) first: usize,
    pub(crate) lines: usize,
    pub(crate) pitch: usize,
    pub(crate) count: usize,
    pub(crate) step: usize,
}

impl Rows {
    /// The first `count` rows.
    pub(crate) fn all(count: usize) -> Rows {
        Rows { first: 0, lines: 1, pitch: 0, count, step: 1 }
    }

    /// The number of row `i` of line `line`.
    fn at(&self, line: usize, i: usize) -> usize {
        self.first + line * self.pitch + i * self.step
    }

    /// One more than the greatest number.
    fn end(&self) -> usize {
        if self.lines * self.count == 0 { 0 } else { self.at(self.lines - 1, self.count - 1) + 1 }
    }
}

/// A left operand that is read where it lies: element `(r, p)` at `at[places[r] + elements[p]]`.
#[derive(Clone, Copy)]
pub(crate) struct Gathered<'a> {
    /// What the offsets count from.
    pub(crate) at: *const f32,
    /// For each row.
    pub(crate) places: &'a [isize],
    /// For each step of the contraction.
    pub(crate) elements: &'a [isize],
}

/// `tile (+)= lhs * rhs`, finished, for some rows of the left operand and those steps of the contraction that lie in the `parts`, which
/// ascend. `rhs` is the whole packed operand of all steps by `n`. A right panel stays in the first-level cache while all rows pass by.
/// `ask` is called before each tile, to ask for memory.
///
/// # Safety
/// Every sum of a row's place and an element must be the offset of a readable float; `tile` must have as many rows as there are places,
/// by `n`, and nobody else touches those that are named.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn gathered(
    isa: &Isa,
    lhs: Gathered,
    rows: Rows,
    parts: &[Range<usize>],
    rhs: &[f32],
    n: usize,
    tile: Tile,
    mut add: bool,
    mut ask: impl FnMut(),
) {
    let k = lhs.elements.len();
    assert!(rhs.len() >= packed_len(isa, k, n), "right operand is packed");
    assert!(rows.end() <= lhs.places.len() && parts.iter().all(|part| part.end <= k), "rows and steps exist");
    if parts.is_empty() && !add {
        for line in 0..rows.lines {
            for i in 0..rows.count {
                // SAFETY: the caller's promise.
                unsafe { tile.part(rows.at(line, i), 0).nothing(1, n) };
            }
        }
    }
    let last = parts.last().map_or(0, |part| part.end);
    for block in k_blocks(k) {
        let inside = |part: &Range<usize>| part.start.max(block.start)..part.end.min(block.end);
        for ks in parts.iter().map(inside).filter(|ks| !ks.is_empty()) {
            for j in (0..n).step_by(isa.cols) {
                let (cols, panel) = ((n - j).min(isa.cols), panel_start(isa, n, &block, j / isa.cols));
                for line in 0..rows.lines {
                    for part in split(0..rows.count, isa.rows) {
                        ask();
                        let kernel = isa.indirect(part.len(), cols);
                        let first = rows.at(line, part.start);
                        let mut places = [0; MAX_ROWS];
                        // SAFETY: rows, steps and the right panel exist by the assertions, the rest is the caller's promise.
                        unsafe {
                            let row = match rows.step {
                                1 => lhs.places.as_ptr().add(first),
                                step => {
                                    for (r, place) in places.iter_mut().enumerate().take(part.len()) {
                                        *place = *lhs.places.get_unchecked(first + r * step);
                                    }
                                    places.as_ptr()
                                }
                            };
                            let step = lhs.elements.as_ptr().add(ks.start);
                            let b = rhs.as_ptr().add(panel + (ks.start - block.start) * isa.cols);
                            let Tile { at, ld, finish } = tile.part(first, j);
                            let finish = if ks.end == last { finish } else { Finish::NONE };
                            kernel(ks.len(), lhs.at, row, step, b, at, ld * rows.step, cols, add, &finish);
                        }
                    }
                }
            }
            add = true;
        }
    }
}

#[cfg(test)]
pub(crate) use micro::all;
