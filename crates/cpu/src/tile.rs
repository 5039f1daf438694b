//! Runs fused loops tile by tile.
//!
//! Where a tile holds whole rows, all steps run in order, and tiles are spread over the cores. Longer rows are swept once for each
//! chain of reductions, computing again what is needed again; when there are few of them, each sweep is spread over the cores,
//! and its partial results are combined in fixed order.

use crate::code::Code;
use crate::fold::Merge;
use crate::frame::Frame;
use crate::memory::Memory;
use crate::ops::Arg;
use crate::simd::Level;
use crate::steps::{Caps, Rank, Step, Sweep, Tile};
use crate::threads::{parallel, split, threads};
use ibex_core::Result;
use ibex_core::program::{BufferDecl, Loop};
use std::cell::RefCell;

/// Elements of a row register: some of them fit the first-level cache together.
const TILE: usize = 1024;

/// The longest row that is kept whole in registers.
const WHOLE: usize = 8192;

/// Most accumulators of all threads together for tiles of more columns than [`TILE`].
const ACCUMULATORS: usize = 1 << 17;

/// Elements times steps that are worth a second core.
pub(crate) const GRAIN: usize = 32 * 1024;

/// A prepared loop.
#[derive(Debug)]
pub(crate) struct LoopPlan {
    code: Code,
    /// Extents of outer, reduce and inside axes.
    extents: [usize; 3],
    form: Form,
    /// Steps times elements, to decide how many cores it is worth.
    work: usize,
    /// Stores of point values.
    point_stores: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Form {
    /// Nothing to do.
    Empty,
    /// Tiles of `groups` whole rows, or of `groups` elements where nothing is reduced.
    Whole { sweep: Sweep, groups: usize },
    /// Sweeps over long rows in tiles of `length` x `cols`.
    Swept { points: Vec<Vec<Step>>, sweeps: Vec<Sweep>, length: usize, cols: usize, accs: usize, chunks: usize },
}

/// Scratch memory of a task.
#[derive(Default)]
struct Scratch {
    lines: Vec<Line>,
    values: Vec<Arg>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "only its size matters")] [u32; 16]);

/// Runs `f` with this thread's scratch memory; calls may nest.
pub(crate) fn with_frame<R>(code: &Code, mem: &Memory, repeated: &[u32], f: impl FnOnce(&mut Frame<'_>) -> R) -> R {
    thread_local!(static FREE: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) });
    let mut scratch = FREE.with_borrow_mut(|free| free.pop()).unwrap_or_default();
    let lines = code.words.div_ceil(16) + 1;
    if scratch.lines.len() < lines {
        scratch.lines.resize(lines, Line([0; 16]));
    }
    if scratch.values.len() < code.values {
        scratch.values.resize(code.values, Arg::NONE);
    }
    let at = scratch.lines.as_mut_ptr().cast();
    let (acc, repeated) = (std::ptr::null(), repeated.as_ptr());
    let result = f(&mut Frame { mem, code, scratch: at, values: &mut scratch.values, acc, repeated });
    FREE.with_borrow_mut(|free| free.push(scratch));
    result
}

impl LoopPlan {
    pub(crate) fn new(k: &Loop, buffers: &[BufferDecl], level: Level) -> Result<LoopPlan> {
        let range = k.outer..k.outer + k.reduce;
        let mut code = Code::new(&k.body, &k.dims, range, buffers, level)?;
        let [outer, length, inside] = k.extents();
        let steps = code.list(Rank::Row).len().max(1);
        let rows = outer.saturating_mul(length).saturating_mul(inside);
        let work = rows.max(outer.saturating_mul(inside)).saturating_mul(steps);
        let pressure = code.pressure();
        let tile = match pressure {
            0 if code.has_reductions() => 16 * TILE,
            // Rows that lie apart are copied together, and added up from the first-level cache.
            1 if code.has_reductions() && code.copies() => 4 * TILE,
            0..=5 => TILE,
            _ => TILE / 2,
        };
        let row_stores: Vec<usize> = (0..code.stores.len()).filter(|&s| code.row_stores[s]).collect();
        let point_stores: Vec<(usize, usize)> =
            (0..code.stores.len()).filter(|&s| !code.row_stores[s]).map(|s| (s, code.stores[s].value)).collect();

        let form = if outer * inside == 0 || k.reduce == 0 && rows == 0 {
            Form::Empty
        } else if k.reduce == 0 {
            code.layout(Caps { row: tile, point: 0 });
            Form::Whole { sweep: code.sweep(&[], &row_stores, true, |_| true), groups: tile }
        } else if length * inside <= WHOLE {
            let groups = (tile / (length * inside).max(1)).clamp(1, (tile / inside).max(1)).min(outer);
            code.layout(Caps { row: groups * length * inside, point: groups * inside });
            Form::Whole { sweep: code.sweep(&[], &row_stores, true, |_| true), groups }
        } else {
            // A tile of all columns that has several rows adds them to each other first. Not where that leaves threads without work, or many of
            // them with long accumulators.
            let all =
                2 * inside <= tile && threads() * inside <= ACCUMULATORS && length * inside >= 8 * tile * threads();
            let blocks = if all { 1 } else { inside.div_ceil(TILE) };
            let cols = if blocks == 1 { inside } else { inside.div_ceil(blocks).next_multiple_of(16).min(TILE) };
            let tile_length = if blocks == 1 { (tile / cols).max(1).min(length) } else { 1 };
            code.layout(Caps { row: tile_length * cols, point: cols });
            Self::swept(k, &mut code, &row_stores, tile_length, cols, work)
        };
        Ok(LoopPlan { code, extents: [outer, length, inside], form, work, point_stores })
    }

    fn swept(k: &Loop, code: &mut Code, row_stores: &[usize], length: usize, cols: usize, work: usize) -> Form {
        let ([_, total, inside], phases) = (k.extents(), k.phases());
        let last_fold = code.reductions.iter().map(|r| phases[r.value]).max();
        let store_phase = |s: usize| phases[code.stores[s].value] + usize::from(is_reduce(k, code.stores[s].value));
        let last = row_stores.iter().map(|&s| store_phase(s)).chain(last_fold).max().unwrap_or(0);
        // What is overwritten must not be read again in a later sweep.
        let phase_of: Vec<usize> =
            row_stores.iter().map(|&s| if !code.is_unread(s) { last } else { store_phase(s) }).collect();
        let mut sweeps = Vec::new();
        let mut points = Vec::new();
        for phase in 0..=last + 1 {
            let ready = |v: &usize| phases[*v] == phase && !is_reduce(k, *v);
            points.push(code.point_steps(code.list(Rank::Point).into_iter().filter(ready)));
            if phase > last {
                break;
            }
            let folds: Vec<usize> =
                (0..code.reductions.len()).filter(|&f| phases[code.reductions[f].value] == phase).collect();
            let stores: Vec<usize> =
                row_stores.iter().zip(&phase_of).filter(|&(_, &p)| p == phase).map(|(&s, _)| s).collect();
            let mut sweep = code.sweep(&folds, &stores, false, |_| true);
            // What follows a tile of some columns in memory are other columns, not the next tile.
            if cols < inside {
                sweep.ahead.clear();
            }
            sweeps.push(sweep);
        }
        // Accumulators of each chunk of a row, for each reduction: two words each.
        let widest = sweeps.iter().map(|s| s.folds.len()).max().unwrap_or(0);
        let chunks = threads().min(work / GRAIN).min(total / (4 * length).max(1)).max(1);
        let accs = code.allot(2 * chunks * widest * cols);
        Form::Swept { points, sweeps, length, cols, accs, chunks }
    }

    /// Runs the loop on all cores.
    pub(crate) fn run(&self, mem: &Memory) {
        let [outer, length, inside] = self.extents;
        match &self.form {
            Form::Empty => {}
            Form::Whole { sweep, groups } => {
                let (total, unit) = if self.code.reduces() { (outer, length * inside) } else { (outer * inside, 1) };
                let tiles = total.div_ceil(*groups);
                let tasks = tasks(self.work, tiles);
                // SAFETY: loads that repeat are of buffers that the kernel does not write.
                let repeated: &[u32] = &unsafe { sweep.repeat(&self.code, mem) };
                parallel(tasks, |task| {
                    let range = split(total, *groups, tasks, task);
                    with_frame(&self.code, mem, repeated, |frame| {
                        // SAFETY: tasks have ranges of their own, tiles are as large as the registers or smaller.
                        unsafe {
                            frame.run(&self.code.uniform, &Tile::default());
                            for at in range.clone().step_by(*groups) {
                                let groups = (*groups).min(range.end - at);
                                let tile = Tile {
                                    row: at * unit,
                                    rows: groups * unit,
                                    point: at * inside,
                                    points: groups * inside,
                                    groups,
                                    length,
                                    cols: inside,
                                };
                                frame.sweep(sweep, &tile);
                                frame.store(&sweep.stores, &tile);
                                frame.store(&self.point_stores, &tile);
                            }
                        }
                    });
                });
            }
            Form::Swept { cols, chunks, .. } => {
                let blocks = inside.div_ceil(*cols);
                let rows = outer * blocks;
                if rows >= threads() {
                    let tasks = tasks(self.work, rows);
                    parallel(tasks, |task| split(rows, 1, tasks, task).for_each(|row| self.row(mem, row, blocks, 1)));
                } else {
                    (0..rows).for_each(|row| self.row(mem, row, blocks, *chunks));
                }
            }
        }
    }

    /// Sweeps over one long row, in `chunks` parts at once.
    fn row(&self, mem: &Memory, row: usize, blocks: usize, chunks: usize) {
        let Form::Swept { points, sweeps, length, cols, accs, .. } = &self.form else { return };
        let [_, total, inside] = self.extents;
        let (a, first) = (row / blocks, row % blocks * cols);
        let count = (*cols).min(inside - first);
        let span = |start: usize, rows: usize| Tile {
            row: (a * total + start) * inside + first,
            rows: rows * count,
            point: a * inside + first,
            points: count,
            groups: 1,
            length: rows,
            cols: count,
        };
        with_frame(&self.code, mem, &[], |frame| {
            // SAFETY: the row is this call's alone, its chunks have ranges and accumulators of their own, and tiles are as large as the
            // registers or smaller.
            unsafe {
                let tile = span(0, *length);
                frame.run(&self.code.uniform, &tile);
                frame.run(&points[0], &tile);
                let acc = frame.scratch.add(*accs).cast::<u64>();
                for (phase, sweep) in sweeps.iter().enumerate() {
                    if sweep.folds.is_empty() && sweep.stores.is_empty() && sweep.steps.is_empty() {
                        continue;
                    }
                    let stride = sweep.folds.len() * cols;
                    let shared = Shared { values: frame.values.as_ptr(), acc };
                    parallel(chunks, |chunk| {
                        let shared = &shared;
                        let range = split(total, *length, chunks, chunk);
                        let acc = shared.acc.add(chunk * stride);
                        for (i, &f) in sweep.folds.iter().enumerate() {
                            let empty = self.code.reductions[f].fold.empty;
                            (0..count).for_each(|c| *acc.add(i * cols + c) = empty);
                        }
                        with_frame(&self.code, mem, &[], |frame| {
                            let known = std::slice::from_raw_parts(shared.values, self.code.values);
                            frame.values[..known.len()].copy_from_slice(known);
                            frame.run(&sweep.hoisted, &span(range.start, *length));
                            // One sum of memory as it is: from four places at once.
                            let quarter = range.len() / 4 / *length * *length;
                            let streams =
                                quarter > 0 && length.is_multiple_of(4) && *cols == 1 && self.code.is_plain(sweep);
                            let rest = if streams { range.start + 4 * quarter } else { range.start };
                            let pieces = if streams { quarter / (*length / 4) } else { 0 };
                            for at in (0..pieces).map(|i| range.start + i * (*length / 4)) {
                                let tile = span(at, *length / 4 * 4);
                                frame.run(&sweep.steps, &tile);
                                frame.fold(&sweep.folds, &tile, acc, *cols, Some(quarter));
                            }
                            for at in (rest..range.end).step_by(*length) {
                                let tile = span(at, (*length).min(range.end - at));
                                frame.sweep(sweep, &tile);
                                frame.fold(&sweep.folds, &tile, acc, *cols, None);
                                frame.store(&sweep.stores, &tile);
                            }
                        });
                    });
                    for (i, &f) in sweep.folds.iter().enumerate() {
                        let reduction = &self.code.reductions[f];
                        let to = frame.scratch.add(self.code.place(reduction.value));
                        let acc = acc.add(i * cols);
                        for chunk in 1..chunks {
                            let from = acc.add(chunk * stride);
                            (reduction.fold.merge)(Merge { acc, from, to, n: count });
                        }
                        (reduction.fold.finish)(Merge { acc, from: acc, to, n: count });
                        frame.values[reduction.value] = Arg { ptr: to, step: 1 };
                    }
                    frame.run(&points[phase + 1], &tile);
                }
                frame.store(&self.point_stores, &tile);
            }
        });
    }
}

/// What the chunks of a row share: the values known so far, and accumulators.
struct Shared {
    values: *const Arg,
    acc: *mut u64,
}

// SAFETY: values are only read while the chunks run, and accumulators are disjoint.
unsafe impl Sync for Shared {}

/// Number of tasks for so much work in so many tiles: some for each core, since cores are not equally fast.
pub(crate) fn tasks(work: usize, tiles: usize) -> usize {
    let spread = if work > 64 * GRAIN { 4 } else { 1 };
    (work / GRAIN).min(threads() * spread).min(tiles).max(1)
}

fn is_reduce(k: &Loop, v: usize) -> bool {
    matches!(k.body.instrs[v], ibex_core::program::Instr::Reduce(..))
}
