//! Packing of plain matrices.

use super::{Ahead, Isa, Lhs, ROW_STRIDE, Rhs, k_blocks, panel_start};
use std::ops::Range;

/// A strided matrix as an operand.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    /// Elements from the first on.
    pub(crate) data: &'a [f32],
    /// Distance between rows (on the right: steps of the contraction).
    pub(crate) row_stride: usize,
    /// Distance between columns (on the left: steps of the contraction).
    pub(crate) col_stride: usize,
}

impl Lhs for Matrix<'_> {
    fn k_major(&self) -> bool {
        self.row_stride == 1 && self.col_stride != 1
    }

    fn pack(&self, rows: Range<usize>, ks: Range<usize>, width: usize, out: &mut [f32]) {
        if self.k_major() {
            for (i, k) in ks.enumerate() {
                let from = k * self.col_stride;
                copy(out, i * width, self.data, from + rows.start, rows.len());
            }
            return;
        }
        for (r, row) in rows.enumerate() {
            let from = row * self.row_stride;
            let line = &mut out[r * ROW_STRIDE..][..ks.len()];
            if self.col_stride == 1 {
                line.copy_from_slice(&self.data[from + ks.start..][..ks.len()]);
            } else {
                for (o, k) in line.iter_mut().zip(ks.clone()) {
                    *o = self.data[from + k * self.col_stride];
                }
            }
        }
    }

    fn ahead(&self, rows: Range<usize>, ks: Range<usize>) -> Ahead {
        self.part(rows, ks)
    }
}

/// A right operand of `n` columns that is packed, whole.
pub(crate) struct Packed<'a> {
    /// As [`Matrix::pack`] leaves it.
    pub(crate) data: &'a [f32],
    /// Its columns.
    pub(crate) n: usize,
}

impl Rhs for Packed<'_> {
    fn panel(&mut self, isa: &Isa, ks: Range<usize>, panel: usize) -> &[f32] {
        &self.data[panel_start(isa, self.n, &ks, panel)..][..ks.len() * isa.cols]
    }

    fn ahead(&self, isa: &Isa, ks: Range<usize>, panel: usize) -> Ahead {
        let at = self.data.as_ptr().wrapping_add(panel_start(isa, self.n, &ks, panel));
        Ahead::new(at, 0, [1, ks.len() * isa.cols])
    }
}

/// A right operand of `n` columns whose panels are packed one by one, each just before rows use it.
pub(crate) struct Fresh<'a> {
    /// The operand.
    pub(crate) matrix: Matrix<'a>,
    /// Its columns.
    pub(crate) n: usize,
    /// Memory for [`KC`](super::KC) steps of one panel; or for the whole operand, which is then a [`Packed`] one.
    pub(crate) memory: &'a mut [f32],
    /// True if the whole operand is kept.
    pub(crate) keeps: bool,
}

impl Rhs for Fresh<'_> {
    fn panel(&mut self, isa: &Isa, ks: Range<usize>, panel: usize) -> &[f32] {
        let at = if self.keeps { panel_start(isa, self.n, &ks, panel) } else { 0 };
        let out = &mut self.memory[at..][..ks.len() * isa.cols];
        self.matrix.pack_panel(isa, self.n, ks, panel, out);
        out
    }

    fn ahead(&self, isa: &Isa, ks: Range<usize>, panel: usize) -> Ahead {
        let first = panel * isa.cols;
        self.matrix.part(ks, first..(first + isa.cols).min(self.n))
    }
}

impl Matrix<'_> {
    /// Where `rows` by `cols` lie.
    fn part(&self, rows: Range<usize>, cols: Range<usize>) -> Ahead {
        let at = self.data.as_ptr().wrapping_add(rows.start * self.row_stride + cols.start * self.col_stride);
        match self.col_stride {
            1 => Ahead::new(at, self.row_stride, [rows.len(), cols.len()]),
            _ => Ahead::new(at, self.col_stride, [cols.len(), rows.len()]),
        }
    }

    /// Packs panel `panel` of the k block `ks` of a right operand of `n` columns.
    fn pack_panel(&self, isa: &Isa, n: usize, ks: Range<usize>, panel: usize, out: &mut [f32]) {
        pack_rhs(isa, self.data, |k| k * self.row_stride, self.col_stride, n, ks, panel, out);
    }

    /// Packs all of a right operand of `k` by `n` for [`Packed`].
    pub(crate) fn pack(&self, isa: &Isa, k: usize, n: usize, out: &mut [f32]) {
        let mut rest = out;
        for ks in k_blocks(k) {
            for panel in 0..n.div_ceil(isa.cols) {
                let (out, behind) = rest.split_at_mut(ks.len() * isa.cols);
                self.pack_panel(isa, n, ks.clone(), panel, out);
                rest = behind;
            }
        }
    }
}

/// Copies `len` floats; short ones as one vector of 16 where both sides have the room, which is several times faster. What follows
/// in `to` may be overwritten.
#[inline(always)]
fn copy(to: &mut [f32], at: usize, from: &[f32], start: usize, len: usize) {
    if len <= 16
        && let (Some(o), Some(i)) = (to[at..].first_chunk_mut::<16>(), from[start..].first_chunk::<16>())
    {
        *o = *i;
    } else {
        to[at..at + len].copy_from_slice(&from[start..start + len]);
    }
}

/// Side of the squares in which a transposed operand is packed: one vector of every processor.
const SIDE: usize = 4;

/// Packs panel `panel` of the k block `ks` of a right operand with `n` columns into `out[k][cols]`: element `(k, j)` is
/// `data[row(k) + j*stride]`. Columns beyond `n` are zero.
#[allow(clippy::too_many_arguments)]
pub(crate) fn pack_rhs(
    isa: &Isa,
    data: &[f32],
    row: impl Fn(usize) -> usize,
    stride: usize,
    n: usize,
    ks: Range<usize>,
    panel: usize,
    out: &mut [f32],
) {
    let first = panel * isa.cols;
    let len = (n - first).min(isa.cols);
    let mut k = ks.start;
    for lines in out[..ks.len() * isa.cols].chunks_mut(SIDE * isa.cols) {
        let count = lines.len() / isa.cols;
        // In squares where steps of the contraction are adjacent, as in a transposed matrix.
        let adjacent = || (1..SIDE).all(|i| row(k + i) == row(k) + i);
        let squares = if stride != 1 && count == SIDE && adjacent() { len / SIDE } else { 0 };
        for j in (0..squares * SIDE).step_by(SIDE) {
            let from = |i: usize| &data[row(k) + (first + j + i) * stride..][..SIDE];
            let [a, b, c, d] = [from(0), from(1), from(2), from(3)];
            for (i, line) in lines.chunks_exact_mut(isa.cols).enumerate() {
                line[j..j + SIDE].copy_from_slice(&[a[i], b[i], c[i], d[i]]);
            }
        }
        let done = squares * SIDE;
        for (i, line) in lines.chunks_exact_mut(isa.cols).enumerate() {
            let from = data.get(row(k + i) + (first + done) * stride..).unwrap_or(&[]);
            if stride == 1 {
                line[..len].copy_from_slice(&from[..len]);
            } else {
                line[done..len].iter_mut().zip(from.iter().step_by(stride)).for_each(|(o, v)| *o = *v);
            }
            line[len..].fill(0.0);
        }
        k += count;
    }
}
