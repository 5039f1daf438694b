//! Matrix products.

use super::gemm::{self, Fresh, Matrix, Packed, Tile};
use super::sink::{Floats, Sink, grain, with_local};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::threads::{parallel, threads};
use ibex_core::program::{self, Operand};
use std::ops::Range;

/// Most columns that are computed at a time. With [`ROWS`]: the results, and a k block of the left operand, are 440 KB together, which a
/// second-level cache of 1 MB holds beside what passes by of the right operand.
const COLS: usize = 512;
/// Most rows.
const ROWS: usize = 140;
/// Most floats of a right operand that a thread packs whole, and keeps the memory of.
const PACKED: usize = 1 << 21;
/// Most tasks for each thread that products are cut into.
const TASKS: usize = 4;

/// A batch of products, prepared.
#[derive(Debug)]
pub(crate) struct MatMul {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    a: (Floats, Operand),
    b: (Floats, Operand),
    /// Few enough rows to read the right operand in place.
    thin: bool,
    /// Else: into how many parts the rows and the columns of each product are cut.
    pub(super) parts: (usize, usize),
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
        let thin = m <= isa.rows && b.col_stride == 1 && k > 0;
        let parts = partition(isa, m, n.div_ceil(isa.cols), k, batch, kernel.epilogue.instrs.len());
        MatMul { batch, m, n, k, a: a_floats, b: b_floats, thin, parts }
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
        let isa = gemm::isa();
        let rows: Vec<_> = gemm::split(0..m, m.div_ceil(self.parts.0)).collect();
        let cols_each = n.div_ceil(isa.cols).div_ceil(self.parts.1) * isa.cols;
        let col_parts = n.div_ceil(cols_each);
        let units = batch * rows.len() * col_parts;
        let flops = (2 * rows[0].len() * cols_each).saturating_mul(self.k);
        // Many small products share a task.
        let each = if units <= threads() * TASKS { 1 } else { grain(units, flops) };
        parallel(units.div_ceil(each), |task| {
            for unit in task * each..((task + 1) * each).min(units) {
                let (row_part, rest) = (unit % rows.len(), unit / rows.len());
                let first = rest % col_parts * cols_each;
                self.part(&a, &b, rest / col_parts, rows[row_part].clone(), first..(first + cols_each).min(n), &sink);
            }
        });
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
            let lhs = matrix(&a[product * oa.batch_stride..], &oa);
            let rhs = &b[product * ob.batch_stride..];
            let compute = |tile: Tile| {
                // SAFETY: the sink gives a tile of just this size.
                unsafe { gemm::thin(isa, &lhs, m, rhs, ob.row_stride, k, cols.clone(), tile) }
            };
            // SAFETY: tasks are disjoint parts of the result.
            unsafe { sink.tile(product * m * n + first, m, cols.len(), n, true, compute) };
        });
    }

    /// One task: some rows and columns of one product, which nobody else computes.
    fn part(&self, a: &[f32], b: &[f32], product: usize, rows: Range<usize>, cols: Range<usize>, sink: &Sink) {
        let &MatMul { m, n, k, a: (_, oa), b: (_, ob), .. } = self;
        let isa = gemm::isa();
        let lhs = matrix(tail(a, product * oa.batch_stride), &oa);
        let row_parts: Vec<_> = gemm::split(rows.clone(), ROWS).collect();
        for first in cols.clone().step_by(COLS) {
            let width = (cols.end - first).min(COLS);
            let rhs = matrix(tail(b, product * ob.batch_stride + first * ob.col_stride), &ob);
            let len = gemm::packed_len(isa, k, width);
            // What only one part of the rows uses, or does not fit, is packed panel by panel.
            let keeps = row_parts.len() > 1 && len <= PACKED;
            with_local(if keeps { len } else { gemm::KC * isa.cols }, |memory| {
                for (i, rows) in row_parts.iter().enumerate() {
                    let then = row_parts.get(i + 1).cloned().unwrap_or(0..0);
                    // SAFETY: the sink gives a tile of just this size.
                    let compute = |tile: Tile| unsafe {
                        if keeps && i > 0 {
                            let mut rhs = Packed { data: memory, n: width };
                            gemm::block(isa, &lhs, rows.clone(), then, &mut rhs, k, width, tile);
                        } else {
                            let mut rhs = Fresh { matrix: rhs, n: width, memory, keeps };
                            gemm::block(isa, &lhs, rows.clone(), then, &mut rhs, k, width, tile);
                        }
                    };
                    // SAFETY: tasks are disjoint parts of the result.
                    unsafe { sink.tile((product * m + rows.start) * n + first, rows.len(), width, n, true, compute) };
                }
            });
        }
    }
}

/// An operand that begins where `data` does.
fn matrix<'a>(data: &'a [f32], o: &Operand) -> Matrix<'a> {
    Matrix { data, row_stride: o.row_stride, col_stride: o.col_stride }
}

/// What begins at `start`: nothing, where an operand without elements begins behind its end.
fn tail(data: &[f32], start: usize) -> &[f32] {
    &data[start.min(data.len())..]
}

/// Into how many parts to cut the rows and the panels of each of `count` products, so that all threads end at about the same time: the
/// partition of the least time by a simple model. What finishes the results has so many `steps`.
fn partition(isa: &gemm::Isa, m: usize, panels: usize, k: usize, count: usize, steps: usize) -> (usize, usize) {
    /// What starting a task costs, in multiply-adds of vectors.
    const START: f64 = 2000.0;
    /// What a step costs for each part of a row.
    const STEP: usize = 30;
    let most = threads() * TASKS;
    let time = |rows: usize, cols: usize| {
        let (rows_each, panels_each) = (m.div_ceil(rows), panels.div_ceil(cols));
        // Low tiles wait for their right operand. Packing a row takes as long as multiplying it by a vector, and a panel comes from further away.
        let tiles = rows_each.div_ceil(isa.rows).max(1);
        let tile = rows_each.div_ceil(tiles).max(isa.rows / 2);
        let chunks = (panels_each * isa.cols).div_ceil(COLS);
        let step = (2 * tiles * tile + 3 * isa.cols / 4) as f64 * panels_each as f64 + (chunks * rows_each) as f64;
        let pieces = if cols * chunks > 1 { chunks * rows_each } else { 0 };
        let task = k as f64 * step + (pieces * steps * STEP) as f64 + START;
        // Threads are not equally fast: the last task to end keeps the others waiting.
        (rows * cols * count).div_ceil(threads()) as f64 * task + task / 16.0
    };
    let partitions = (1..=most.min(m.div_ceil(isa.rows / 2)).max(1))
        .flat_map(|rows| (1..=(most / rows).min(panels).max(1)).map(move |cols| (rows, cols)))
        .filter(|(rows, cols)| rows * cols * count <= most.max(count));
    partitions.min_by(|a, b| time(a.0, a.1).total_cmp(&time(b.0, b.1))).unwrap_or((1, 1))
}
