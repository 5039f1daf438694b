//! Matrix products.

use super::gemm::{self, Matrix, Tile};
use super::sink::{Floats, Scratch, Shared, Sink, grain};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::threads::{parallel, threads};
use ibex_core::program::{self, Operand};

/// Most columns of one task, so that a block of the right operand stays in the second-level cache.
const COLS: usize = 512;
/// Most rows of one task, so that its result does too.
const ROWS: usize = 112;
/// Most floats of the right operand that are packed at a time.
const PACKED: usize = 1 << 22;

/// A batch of products, prepared.
#[derive(Debug)]
pub(crate) struct MatMul {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    a: (Floats, Operand),
    b: (Floats, Operand),
    /// Products whose right operands are packed together.
    group: usize,
    /// Columns that are packed together.
    chunk: usize,
    packed: Scratch,
    /// Few enough rows to read the right operand in place.
    thin: bool,
}

fn operand(o: &Operand, batch: usize, rows: usize, cols: usize) -> (Floats, Operand) {
    let last =
        (batch.max(1) - 1) * o.batch_stride + (rows.max(1) - 1) * o.row_stride + (cols.max(1) - 1) * o.col_stride;
    let len = if batch * rows * cols == 0 { 0 } else { last + 1 };
    (Floats::new(o.buffer, o.dtype, o.offset, len), *o)
}

impl MatMul {
    pub(crate) fn new(kernel: &program::MatMul) -> MatMul {
        let program::MatMul { mut batch, mut m, n, k, a, b, .. } = *kernel;
        let (a_floats, b_floats) = (operand(&a, batch, m, k), operand(&b, batch, k, n));
        // Many left matrices that follow each other against one right matrix are one product.
        if b.batch_stride == 0 && a.batch_stride == m * a.row_stride && batch > 0 {
            m *= batch;
            batch = 1;
        }
        let isa = gemm::isa();
        let fit = (PACKED / k.max(1)).max(isa.cols) / isa.cols * isa.cols;
        let chunk = fit.min(n.next_multiple_of(isa.cols));
        let size = gemm::packed_len(isa, k, chunk);
        let distinct = if b.batch_stride == 0 { 1 } else { batch.min((PACKED / size.max(1)).max(1)) };
        let group = if b.batch_stride == 0 { batch } else { distinct };
        let thin = m <= isa.rows && b.col_stride == 1 && k > 0;
        let packed = Scratch::new(if thin { 0 } else { size * distinct });
        MatMul { batch, m, n, k, a: a_floats, b: b_floats, group, chunk, packed, thin }
    }

    pub(crate) fn run(&self, epilogue: &Epilogue, mem: &Memory) {
        let &MatMul { batch, m, n, .. } = self;
        if batch * m * n == 0 {
            return;
        }
        let (a, b) = (self.a.0.get(mem), self.b.0.get(mem));
        let sink = Sink::new(epilogue, mem);
        if self.thin {
            return self.run_thin(&a, &b, &sink);
        }
        for first in (0..n).step_by(self.chunk) {
            for start in (0..batch).step_by(self.group) {
                let count = self.group.min(batch - start);
                self.part(&a, &b, start, count, first, self.chunk.min(n - first), &sink);
            }
        }
    }

    /// Few rows: every element of the right operand is used just once, so it is not packed.
    fn run_thin(&self, a: &[f32], b: &[f32], sink: &Sink) {
        let &MatMul { batch, m, n, k, a: (_, oa), b: (_, ob), .. } = self;
        let isa = gemm::isa();
        let panels = n.div_ceil(isa.cols);
        let units = batch * panels;
        let each = grain(units, 4 * isa.cols * k).min(panels);
        let parts = panels.div_ceil(each);
        parallel(batch * parts, |task| {
            let (product, first) = (task / parts, task % parts * each * isa.cols);
            let cols = first..(first + each * isa.cols).min(n);
            let lhs =
                Matrix { data: &a[product * oa.batch_stride..], row_stride: oa.row_stride, col_stride: oa.col_stride };
            let rhs = &b[product * ob.batch_stride..];
            let compute = |tile: Tile| {
                // SAFETY: the sink gives a tile of just this size.
                unsafe { gemm::thin(isa, &lhs, m, rhs, ob.row_stride, k, cols.clone(), tile) }
            };
            // SAFETY: tasks are disjoint parts of the result.
            unsafe { sink.tile(product * m * n + first, m, cols.len(), n, compute) };
        });
    }

    /// The columns `first..first + cols` of the products `start..start + count`.
    #[allow(clippy::too_many_arguments)]
    fn part(&self, a: &[f32], b: &[f32], start: usize, count: usize, first: usize, cols: usize, sink: &Sink) {
        let &MatMul { m, n, k, a: (_, oa), b: (_, ob), .. } = self;
        let isa = gemm::isa();
        let size = gemm::packed_len(isa, k, cols);
        let mut guard = self.packed.get();
        let rhs = Shared::new(&mut guard);

        let blocks: Vec<_> = gemm::k_blocks(k).collect();
        let panels = cols.div_ceil(isa.cols);
        let distinct = if ob.batch_stride == 0 { 1 } else { count };
        let units = distinct * blocks.len() * panels;
        let each = grain(units, 4 * gemm::KC.min(k) * isa.cols);
        parallel(units.div_ceil(each), |task| {
            for unit in task * each..((task + 1) * each).min(units) {
                let (panel, rest) = (unit % panels, unit / panels);
                let (ks, product) = (&blocks[rest % blocks.len()], rest / blocks.len());
                let at = product * size + ks.start * panels * isa.cols + panel * ks.len() * isa.cols;
                // SAFETY: every unit has a panel of its own.
                let out = unsafe { rhs.slice(at, ks.len() * isa.cols) };
                let origin = (start + product) * ob.batch_stride + first * ob.col_stride;
                let row = |k: usize| origin + k * ob.row_stride;
                gemm::pack_rhs(isa, b, row, ob.col_stride, cols, ks.clone(), panel, out);
            }
        });

        // SAFETY: packed above, and only read from here on.
        let rhs: &[f32] = unsafe { rhs.slice(0, distinct * size) };
        let row_parts = row_parts(isa, m, n, k, count);
        let per_task = cols_per_task(isa, cols, row_parts.len() * count);
        let col_parts = cols.div_ceil(per_task);
        let each = grain(count * row_parts.len() * col_parts, 2 * row_parts[0].len() * per_task * k);
        let units = count * row_parts.len() * col_parts;
        parallel(units.div_ceil(each), |task| {
            for unit in task * each..((task + 1) * each).min(units) {
                let (row_part, rest) = (&row_parts[unit % row_parts.len()], unit / row_parts.len());
                let (c0, product) = (rest % col_parts * per_task, rest / col_parts);
                let range = c0..(c0 + per_task).min(cols);
                let product_rhs = if distinct == 1 { rhs } else { &rhs[product * size..][..size] };
                let at = ((start + product) * oa.batch_stride).min(a.len());
                let lhs = Matrix { data: &a[at..], row_stride: oa.row_stride, col_stride: oa.col_stride };
                let result = ((start + product) * m + row_part.start) * n + first + c0;
                let compute = |tile: Tile| {
                    // SAFETY: the sink gives a tile of just this size.
                    unsafe { gemm::block(isa, &lhs, row_part.clone(), product_rhs, k, cols, range.clone(), tile) }
                };
                // SAFETY: units are disjoint parts of the result.
                unsafe { sink.tile(result, row_part.len(), range.len(), n, compute) };
            }
        });
    }
}

/// The rows of the tasks of each of `count` products: a few tiles high, and enough tasks for all threads.
fn row_parts(isa: &gemm::Isa, m: usize, n: usize, k: usize, count: usize) -> Vec<std::ops::Range<usize>> {
    let worth = (1 << 18) / (2 * n.min(COLS) * k).max(1);
    let fair = (m * count).div_ceil(threads() * 4).max(worth);
    let most = fair.next_multiple_of(isa.rows).min(ROWS.next_multiple_of(isa.rows));
    let mut parts = m.div_ceil(most);
    // Few tasks: as many for each thread, of lower tiles.
    if parts > 1 && parts * count < threads() * 8 {
        let rounds = (parts * count).next_multiple_of(threads()).div_ceil(count);
        // Not of tiles lower than one.
        parts = rounds.min(m.div_ceil(isa.rows)).max(parts);
    }
    gemm::split(0..m, m.div_ceil(parts)).collect()
}

/// Columns of one task: all that fit, fewer where rows alone do not keep all threads busy.
fn cols_per_task(isa: &gemm::Isa, cols: usize, row_parts: usize) -> usize {
    let wanted = (threads() * 2).div_ceil(row_parts.max(1)).max(cols.div_ceil(COLS));
    let each = cols.div_ceil(wanted);
    if row_parts >= threads() * 2 && cols <= COLS { cols } else { each.next_multiple_of(isa.cols) }
}
