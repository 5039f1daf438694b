//! Runs the steps of compiled bodies over tiles.

use crate::access::Ahead;
use crate::adam::Pass;
use crate::code::Code;
use crate::memory::Memory;
use crate::ops::{Arg, Map};
use crate::steps::{Op, Out, Rank, Reduction, Step, Sweep, Tile};

/// Registers of one task.
pub(crate) struct Frame<'a> {
    pub mem: &'a Memory,
    pub code: &'a Code,
    /// Scratch memory of `code.words` words.
    pub scratch: *mut u32,
    /// Where the value of each instruction is.
    pub values: &'a mut [Arg],
    /// Raw results that an epilogue works on.
    pub acc: *const u32,
    /// The words of [`Sweep::repeated`](crate::steps::Sweep).
    pub repeated: *const u32,
}

impl Frame<'_> {
    /// Runs steps over a tile.
    ///
    /// # Safety
    /// The frame's scratch memory is as large as its code says and nobody else's; the tile is no larger than the code's register sizes and
    /// lies inside of the iteration space; no other task writes what the tile reads, or touches what it writes.
    pub(crate) unsafe fn run(&mut self, steps: &[Step], tile: &Tile) {
        // SAFETY: the caller's promise.
        unsafe { self.run_ahead(steps, &[], &[], tile) }
    }

    /// Runs the steps of a sweep over a tile, and asks for the memory of the next tile bit by bit meanwhile.
    ///
    /// # Safety
    /// As for `run`.
    pub(crate) unsafe fn sweep(&mut self, sweep: &Sweep, tile: &Tile) {
        // SAFETY: the caller's promise.
        unsafe {
            // Updates, which are long, ask as they go.
            let [early, late]: [&[Ahead]; 2] = if sweep.updates() { [&[], &sweep.ahead] } else { [&sweep.ahead, &[]] };
            self.run_ahead(&sweep.steps, early, late, tile)
        }
    }

    /// With `early` asked for by all steps, and `late` by updates.
    unsafe fn run_ahead(&mut self, steps: &[Step], early: &[Ahead], late: &[Ahead], tile: &Tile) {
        let part = tile.rows.div_ceil(steps.len().max(1));
        for (i, step) in steps.iter().enumerate() {
            for ahead in early {
                ahead.ask(self.mem, tile.row + tile.rows + i * part, part);
            }
            let (start, n) = match step.rank {
                Rank::Uniform => (0, 1),
                Rank::Point => (tile.point, tile.points),
                Rank::Row => (tile.row, tile.rows),
            };
            // SAFETY: the places were allotted by `Code`, views were checked against their buffers.
            self.values[step.value] = unsafe {
                let out = match step.out {
                    Out::Scratch(at) => self.scratch.add(at),
                    Out::Store(s) => self.code.stores[s].at(self.mem, start),
                };
                match step.op {
                    Op::Map(kernel, args, imm) => {
                        kernel(Map { out, args: args.map(|a| self.values[a]), n, imm });
                        Arg { ptr: out, step: usize::from(step.rank != Rank::Uniform) }
                    }
                    Op::Load(i) => {
                        let loads = if step.rank == Rank::Row { &self.code.loads } else { &self.code.point_loads };
                        let arg = loads[i].get(self.mem, start, n, out);
                        if step.rank == Rank::Uniform { Arg { step: 0, ..arg } } else { arg }
                    }
                    Op::Periodic { period, at } => Arg { ptr: self.repeated.add(at + start % period), step: 1 },
                    Op::Iota(i) => {
                        let iotas = if step.rank == Rank::Row { &self.code.iotas } else { &self.code.point_iotas };
                        iotas[i].numbers(start, n, out);
                        Arg { ptr: out, step: usize::from(step.rank != Rank::Uniform) }
                    }
                    Op::Acc => Arg { ptr: self.acc, step: 1 },
                    Op::Const(bits) => {
                        *out = bits;
                        Arg { ptr: out, step: 0 }
                    }
                    Op::Adam(u) => self.update(u, tile, late),
                    Op::Expand(v) => self.expand(self.values[v], tile, out),
                    Op::Fold(f) => {
                        self.reduce(f, tile, out);
                        Arg { ptr: out, step: 1 }
                    }
                }
            };
        }
    }

    /// An update of a weight, which asks for the memory of the next tile as it goes.
    unsafe fn update(&self, u: usize, tile: &Tile, ahead: &[Ahead]) -> Arg {
        /// Elements between requests: some lines of each array.
        const PART: usize = 256;
        let update = &self.code.updates[u];
        let array = |v: usize| self.values[v].ptr.cast::<f32>();
        for at in (0..tile.rows).step_by(PART) {
            let n = PART.min(tile.rows - at);
            ahead.iter().for_each(|ahead| ahead.ask(self.mem, tile.row + tile.rows + at, n));
            // SAFETY: `run` promises that the tile lies inside of the iteration space; the pattern was looked for only where state is whole
            // arrays that nothing else in the body touches, and where the gradient and the weight are arrays.
            unsafe {
                let state = update.stores.map(|s| self.code.stores[s].at(self.mem, tile.row + at).cast::<f32>());
                (update.kernel)(Pass {
                    gradient: array(update.gradient).add(at),
                    weight: update.weight.map_or(std::ptr::null(), |weight| array(weight).add(at)),
                    scalars: update.scalars.map(|v| *array(v)),
                    state,
                    n,
                });
            }
        }
        Arg::NONE
    }

    /// A point value repeated along the row.
    unsafe fn expand(&self, from: Arg, tile: &Tile, out: *mut u32) -> Arg {
        // SAFETY: `from` has a value for each point of the tile, `out` one for each of its rows.
        unsafe {
            if from.step == 0 || tile.groups == 1 && tile.cols == 1 {
                return Arg { step: 0, ..from };
            }
            if tile.groups == 1 && tile.length == 1 {
                return from;
            }
            let mut to = out;
            for g in 0..tile.groups {
                if tile.cols == 1 {
                    std::slice::from_raw_parts_mut(to, tile.length).fill(*from.ptr.add(g));
                    to = to.add(tile.length);
                    continue;
                }
                for _ in 0..tile.length {
                    let (from, to_row) = (from.ptr.add(g * tile.cols), to);
                    (0..tile.cols).for_each(|c| *to_row.add(c) = *from.add(c));
                    to = to.add(tile.cols);
                }
            }
            Arg { ptr: out, step: 1 }
        }
    }

    /// The array of a reduction's operand.
    unsafe fn operand(&self, reduction: &Reduction, tile: &Tile) -> *const u32 {
        let from = self.values[reduction.from];
        if from.step == 1 {
            return from.ptr;
        }
        // SAFETY: the spare register is a row register.
        unsafe {
            let spare = self.scratch.add(reduction.spare);
            std::slice::from_raw_parts_mut(spare, tile.rows).fill(*from.ptr);
            spare
        }
    }

    /// Reduces whole rows.
    unsafe fn reduce(&self, f: usize, tile: &Tile, out: *mut u32) {
        let reduction = &self.code.reductions[f];
        const BLOCK: usize = 64;
        // SAFETY: the operand has `tile.rows` elements, `out` takes `tile.points`.
        unsafe {
            let from = self.operand(reduction, tile);
            // In blocks of points, whose accumulators stay on the stack.
            let (outer, unit) = (tile.groups, tile.length * tile.cols);
            if tile.cols <= BLOCK {
                let groups = BLOCK / tile.cols.max(1);
                for g in (0..outer).step_by(groups) {
                    let count = groups.min(outer - g);
                    let mut acc = [reduction.fold.empty; BLOCK];
                    let acc = acc.as_mut_ptr();
                    let from = from.add(g * unit);
                    reduction.fold.tile(crate::fold::Tile {
                        acc,
                        from,
                        groups: count,
                        rows: tile.length,
                        cols: tile.cols,
                        apart: None,
                    });
                    let (to, n) = (out.add(g * tile.cols), count * tile.cols);
                    (reduction.fold.finish)(crate::fold::Merge { acc, from: acc, to, n });
                }
                return;
            }
            let mut acc = vec![reduction.fold.empty; tile.cols];
            let acc = &mut acc[..];
            for g in 0..outer {
                acc.fill(reduction.fold.empty);
                let acc = acc.as_mut_ptr();
                let from = from.add(g * unit);
                reduction.fold.tile(crate::fold::Tile {
                    acc,
                    from,
                    groups: 1,
                    rows: tile.length,
                    cols: tile.cols,
                    apart: None,
                });
                (reduction.fold.finish)(crate::fold::Merge {
                    acc,
                    from: acc,
                    to: out.add(g * tile.cols),
                    n: tile.cols,
                });
            }
        }
    }

    /// Adds a tile to the accumulators of the reductions `folds`, which lie `stride` apart.
    ///
    /// # Safety
    /// As for `run`; `acc` is valid for `stride` accumulators for each reduction. With `apart`, values are of memory, and all pieces of the
    /// tile are there.
    pub(crate) unsafe fn fold(&self, folds: &[usize], tile: &Tile, acc: *mut u64, stride: usize, apart: Option<usize>) {
        for (i, &f) in folds.iter().enumerate() {
            let reduction = &self.code.reductions[f];
            // SAFETY: the caller's promise.
            unsafe {
                let from = self.operand(reduction, tile);
                let (acc, rows, cols) = (acc.add(i * stride), tile.length, tile.cols);
                reduction.fold.tile(crate::fold::Tile { acc, from, groups: 1, rows, cols, apart });
            }
        }
    }

    /// Copies registers to memory.
    ///
    /// # Safety
    /// As for `run`.
    pub(crate) unsafe fn store(&self, stores: &[(usize, usize)], tile: &Tile) {
        for &(s, value) in stores {
            let (start, n) = if self.code.row_stores[s] { (tile.row, tile.rows) } else { (tile.point, tile.points) };
            // SAFETY: the caller's promise.
            unsafe { self.code.stores[s].put(self.mem, start, n, self.values[value]) };
        }
    }
}
