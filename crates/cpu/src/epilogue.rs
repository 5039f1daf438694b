//! What follows a contraction: its body, run on raw results while they are in cache.

use crate::code::{Caps, Code, Sweep, Tile};
use crate::frame::Frame;
use crate::memory::Memory;
use crate::simd::Level;
use crate::tile::with_frame;
use ibex_core::program::{Body, BufferDecl, BufferId, Instr};
use ibex_core::{DType, Result};
use std::sync::MutexGuard;

/// Elements of a register.
const TILE: usize = 1024;

/// Finishes raw contraction results: runs the epilogue's body on them and stores what it stores.
#[derive(Debug)]
pub(crate) struct Epilogue {
    code: Code,
    sweep: Sweep,
    in_place: Option<BufferId>,
    plain: bool,
}

impl Epilogue {
    /// Prepares a body over `dims`.
    pub(crate) fn new(body: &Body, dims: &[usize], buffers: &[BufferDecl], level: Level) -> Result<Epilogue> {
        let mut code = Code::new(body, dims, 0..0, buffers, level)?;
        let raw = |s: usize| matches!(body.instrs[body.stores[s].value.0], Instr::Acc);
        let fits = |&s: &usize| code.stores[s].dtype == DType::F32 && code.covers(s) && code.is_unread(s);
        // Results lie where they are stored if that is as they are; others lie in scratch memory, which the steps read while they write.
        let chosen = (0..body.stores.len()).find(|s| raw(*s) && fits(s));
        code.layout(Caps { row: TILE, point: 0 });
        let stores: Vec<usize> = (0..body.stores.len()).collect();
        let mut sweep = code.sweep(&[], &stores, true, |s| Some(s) != chosen);
        let plain = body.stores.len() == 1 && chosen.is_some();
        sweep.ahead = if plain { vec![] } else { code.reads(&sweep).into_iter().chain(code.writes(&sweep)).collect() };
        Ok(Epilogue { in_place: chosen.map(|s| body.stores[s].buffer), code, sweep, plain })
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
                        frame.run(&self.sweep.steps, &tile);
                        frame.store(&self.sweep.stores, &tile);
                    }
                }
            }
        });
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
