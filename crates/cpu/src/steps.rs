//! What a body is compiled to: steps over registers in cache, and the tiles that they run over.

use crate::access::Ahead;
use crate::code::Code;
use crate::fold::Fold;
use crate::memory::Memory;
use crate::ops::MapFn;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The rank of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Uniform,
    Point,
    Row,
}

/// Where a step writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Out {
    /// Word number in scratch memory.
    Scratch(usize),
    /// The memory of a store, without a copy.
    Store(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Load(usize),
    /// A load that repeats with a period, copied out once for each run to a word of [`Sweep::repeated`].
    Periodic {
        period: usize,
        at: usize,
    },
    Iota(usize),
    Acc,
    Const(u32),
    /// A point or uniform value repeated along the row.
    Expand(usize),
    Map(MapFn, [usize; 3], u32),
    /// Reduction of a value over the whole row at once.
    Fold(usize),
    /// An update of a weight, which writes all of its results to memory.
    Adam(usize),
}

/// One step: computes a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub op: Op,
    pub rank: Rank,
    pub value: usize,
    pub out: Out,
}

/// A `Reduce` instruction.
#[derive(Clone, Copy)]
pub(crate) struct Reduction {
    pub fold: Fold,
    /// The reduced value, as seen by row steps.
    pub from: usize,
    pub value: usize,
    /// Scratch for a value that is not an array already.
    pub spare: usize,
}

impl std::fmt::Debug for Reduction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <- {}", self.value, self.from)
    }
}

/// Steps of one sweep over a row, and what it stores.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// Run once for each task, before the steps.
    pub hoisted: Vec<Step>,
    pub steps: Vec<Step>,
    /// Reductions fed by the sweep (numbers of [`Code::reductions`]), folded after the steps of each tile.
    pub folds: Vec<usize>,
    /// Stores copied from registers at the end of each tile, and the value each stores.
    pub stores: Vec<(usize, usize)>,
    /// Loads that repeat, their period, and their place in `repeated`, where a register's length and a period more are filled.
    pub periodic: Vec<(usize, usize, usize)>,
    pub repeated: Mutex<Vec<u32>>,
    /// Memory to ask for while the tile before is worked on.
    pub ahead: Vec<Ahead>,
}

impl Sweep {
    /// True if it ends in updates of weights.
    pub(crate) fn updates(&self) -> bool {
        matches!(self.steps.last(), Some(Step { op: Op::Adam(_), .. }))
    }

    /// What repeats, copied out for a run. Runs of one kernel never overlap, so the lock is always free.
    ///
    /// # Safety
    /// Nobody writes what is loaded.
    pub(crate) unsafe fn repeat(&self, code: &Code, mem: &Memory) -> MutexGuard<'_, Vec<u32>> {
        let mut repeated = self.repeated.lock().unwrap_or_else(PoisonError::into_inner);
        for &(load, period, at) in &self.periodic {
            let (load, out) = (&code.loads[load], &mut repeated[at..at + code.caps.row + period]);
            // SAFETY: views were checked against their buffers; the caller's promise.
            unsafe { load.copy(mem.ptr(load.buffer), 0, period, out.as_mut_ptr()) };
            for i in period..out.len() {
                out[i] = out[i - period];
            }
        }
        repeated
    }
}

/// Sizes of the registers, in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub row: usize,
    pub point: usize,
}

/// A part of an iteration space: row coordinates `row..row + rows`, which are `groups` x `length` x `cols`, and the points
/// `point..point + points` they belong to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tile {
    pub row: usize,
    pub rows: usize,
    pub point: usize,
    pub points: usize,
    pub groups: usize,
    pub length: usize,
    pub cols: usize,
}
