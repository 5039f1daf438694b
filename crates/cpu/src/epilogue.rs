//! What follows a contraction: its body, run on raw results while they are in cache.

use crate::access::Ahead;
use crate::code::Code;
use crate::frame::Frame;
use crate::memory::Memory;
use crate::simd::Level;
use crate::steps::{Caps, Sweep, Tile};
use crate::tile::with_frame;
use ibex_core::graph::{Binary, Compare};
use ibex_core::program::{Body, BufferDecl, BufferId, Instr, Load, ValueId, View};
use ibex_core::{DType, Result};
use std::sync::MutexGuard;

/// Elements of a register.
const TILE: usize = 1024;

/// The commonest bodies, which kernels run on sums while they are in registers: `max(sum + bias, least)` where `mask` is not zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish {
    /// One for each column, or null.
    pub(crate) bias: *const f32,
    /// Negative infinity where there is no least.
    pub(crate) least: f32,
    /// One for each result, in rows as far apart as those of the results; or null.
    pub(crate) mask: *const f32,
}

impl Finish {
    /// Sums are results.
    pub(crate) const NONE: Finish = Finish { bias: std::ptr::null(), least: f32::NEG_INFINITY, mask: std::ptr::null() };

    /// True if sums are results.
    #[inline(always)]
    pub(crate) fn is_none(&self) -> bool {
        self.bias.is_null() && self.mask.is_null() && self.least == f32::NEG_INFINITY
    }

    /// That of the results from another column, and another place in memory, on.
    #[inline(always)]
    pub(crate) fn from(self, column: usize, place: usize) -> Finish {
        let further = |at: *const f32, by: usize| if at.is_null() { at } else { at.wrapping_add(by) };
        Finish { bias: further(self.bias, column), mask: further(self.mask, place), ..self }
    }

    /// The result of the sum `x` at `column` and `place`.
    ///
    /// # Safety
    /// They exist.
    #[inline(always)]
    pub(crate) unsafe fn apply(&self, x: f32, column: usize, place: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            let x = if self.bias.is_null() { x } else { x + *self.bias.add(column) };
            let x = if self.least > x { self.least } else { x };
            if !self.mask.is_null() && *self.mask.add(place) == 0.0 { 0.0 } else { x }
        }
    }
}

/// The operands of a body that [`Finish`] describes.
#[derive(Debug)]
struct Simple {
    bias: Option<(BufferId, usize)>,
    relu: bool,
    mask: Option<(BufferId, usize)>,
}

impl Simple {
    fn new(body: &Body, dims: &[usize]) -> Option<Simple> {
        let [store] = &body.stores[..] else { return None };
        let instr = |v: ValueId| body.instrs[v.0];
        let zero = |v: ValueId| matches!(instr(v), Instr::Const(c) if c.to_f64() == 0.0);
        // A 32-bit load with these strides.
        let load = |v: ValueId, strides: &[i64]| {
            let Instr::Load(i) = instr(v) else { return None };
            let Load { buffer, dtype, view } = &body.loads[i];
            let fits = *dtype == DType::F32 && view.bounds.is_empty() && view.strides == strides;
            fits.then_some((*buffer, usize::try_from(view.offset).ok()?))
        };
        let mut simple = Simple { bias: None, relu: false, mask: None };
        let mut value = store.value;
        if let Instr::Select(c, a, b) = instr(value)
            && let Instr::Compare(Compare::Ne, x, y) = instr(c)
            && zero(b)
        {
            let other = if zero(y) { x } else { y };
            simple.mask = Some(load(other, &View::contiguous(dims).strides).filter(|_| zero(x) || zero(y))?);
            value = a;
        }
        if let Instr::Binary(Binary::Max, a, b) = instr(value)
            && (zero(a) || zero(b))
        {
            simple.relu = true;
            value = if zero(b) { a } else { b };
        }
        if let Instr::Binary(Binary::Add, a, b) = instr(value) {
            let mut columns = vec![0; dims.len()];
            *columns.last_mut()? = 1;
            let [sum, other] = if matches!(instr(a), Instr::Acc) { [a, b] } else { [b, a] };
            simple.bias = Some(load(other, &columns)?);
            value = sum;
        }
        let finishes = simple.relu || simple.bias.is_some() || simple.mask.is_some();
        (finishes && matches!(instr(value), Instr::Acc)).then_some(simple)
    }
}

/// Finishes raw contraction results: runs the epilogue's body on them and stores what it stores.
#[derive(Debug)]
pub(crate) struct Epilogue {
    code: Code,
    sweep: Sweep,
    in_place: Option<BufferId>,
    whole: Option<BufferId>,
    plain: bool,
    simple: Option<Simple>,
}

impl Epilogue {
    /// Prepares a body over `dims`.
    pub(crate) fn new(body: &Body, dims: &[usize], buffers: &[BufferDecl], level: Level) -> Result<Epilogue> {
        let mut code = Code::new(body, dims, 0..0, buffers, level)?;
        let raw = |s: usize| matches!(body.instrs[body.stores[s].value.0], Instr::Acc);
        let fits = |&s: &usize| code.stores[s].dtype == DType::F32 && code.covers(s) && code.is_unread(s);
        // Results lie where they are stored if that is as they are; others lie in scratch memory, which the steps read while they write.
        let chosen = (0..body.stores.len()).find(|s| raw(*s) && fits(s));
        let whole = chosen.or_else(|| (0..body.stores.len()).find(fits));
        let simple = Simple::new(body, dims).filter(|_| whole.is_some());
        code.layout(Caps { row: TILE, point: 0 });
        let stores: Vec<usize> = (0..body.stores.len()).collect();
        let mut sweep = code.sweep(&[], &stores, true, |s| Some(s) != chosen);
        let plain = body.stores.len() == 1 && chosen.is_some();
        let copied = sweep.stores.iter().map(|&(s, _)| &code.stores[s]).filter(|store| store.in_place());
        let copied = copied.filter_map(|store| Ahead::new(store.buffer, &store.walk, true));
        sweep.ahead = code.reads(&sweep).into_iter().chain(code.writes(&sweep)).chain(copied).collect();
        let [in_place, whole] = [chosen, whole].map(|store| store.map(|s| body.stores[s].buffer));
        Ok(Epilogue { in_place, whole, code, sweep, plain, simple })
    }

    /// What the body reads again and again, such as a bias: to be given to `apply` by all threads of a run.
    pub(crate) fn start(&self, mem: &Memory) -> MutexGuard<'_, Vec<u32>> {
        // SAFETY: what repeats is of buffers that the kernel does not write.
        unsafe { self.sweep.repeat(&self.code, mem) }
    }

    /// Finishes raw results: `rows` runs of `len` of them, `apart` from each other in memory. The first run is of the row-major flat range
    /// `start..start + len` of the iteration space, each further one `pitch` behind. May be called from many threads at once.
    ///
    /// # Safety
    /// The results at `acc` are this call's alone, and no other call finishes the same.
    #[allow(clippy::too_many_arguments)]
    pub(crate) unsafe fn apply(
        &self,
        mem: &Memory,
        repeated: &[u32],
        [start, pitch]: [usize; 2],
        [rows, len]: [usize; 2],
        acc: *mut f32,
        apart: usize,
    ) {
        with_frame(&self.code, mem, repeated, |frame: &mut Frame<'_>| {
            // Memory is asked for in its order, which is that of the results where rows are adjacent.
            let updates = self.sweep.updates() && (rows == 1 || pitch == len);
            // SAFETY: the ranges are this call's alone, and tiles are as large as the registers or smaller. `acc` may be memory of the
            // store that `in_place` names, which is written after all steps of a tile and through the same provenance-free address.
            unsafe {
                frame.run(&self.code.uniform, &Tile::default());
                for row in 0..rows {
                    for at in (0..len).step_by(TILE) {
                        let rows = TILE.min(len - at);
                        frame.acc = acc.add(row * apart + at).cast();
                        let row = start + row * pitch + at;
                        let tile = Tile { row, rows, groups: rows, length: 1, cols: 1, ..Tile::default() };
                        match updates {
                            true => frame.sweep(&self.sweep, &tile),
                            false => frame.run(&self.sweep.steps, &tile),
                        }
                        frame.store(&self.sweep.stores, &tile);
                    }
                }
            }
        });
    }

    /// A store that is the whole space in order, and that nothing in the body reads: its memory is free until results are finished.
    pub(crate) fn whole(&self) -> Option<BufferId> {
        self.whole
    }

    /// True if kernels can run the body themselves, and write results to the [`whole`](Epilogue::whole) store.
    pub(crate) fn is_simple(&self) -> bool {
        self.simple.is_some()
    }

    /// What such kernels do to the results from number `start` on, of columns from `column` on.
    pub(crate) fn finish(&self, mem: &Memory, start: usize, column: usize) -> Finish {
        let Some(simple) = &self.simple else { return Finish::NONE };
        let at = |operand: Option<(BufferId, usize)>, by: usize| match operand {
            Some((buffer, offset)) => mem.ptr(buffer).cast::<f32>().cast_const().wrapping_add(offset + by),
            None => std::ptr::null(),
        };
        let least = if simple.relu { 0.0 } else { f32::NEG_INFINITY };
        Finish { bias: at(simple.bias, column), least, mask: at(simple.mask, start) }
    }

    /// Asks for the memory that finishing the results `start..start + n` takes.
    pub(crate) fn ask(&self, mem: &Memory, start: usize, n: usize) {
        self.sweep.ahead.iter().for_each(|ahead| ahead.ask(mem, start, n));
    }

    /// Where raw results may be accumulated without scratch memory: a store of just them that is the whole space in order, and that
    /// nothing else in the body reads. `apply` is then given parts of that very memory.
    pub(crate) fn in_place(&self) -> Option<BufferId> {
        self.in_place
    }

    /// True if the body does nothing but store raw results to `in_place`.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }
}
