//! A body compiled to steps over registers in cache.
//!
//! Values have three ranks: *uniform* ones are the same everywhere, *point* ones exist once for each result of a reduction, *row*
//! ones at each coordinate. Registers of row values are reused as soon as their last reader has run; uniform and point values,
//! being few or short, keep theirs.

use crate::access::{Ahead, Load, Store, Walk, check};
use crate::adam::{self, Adam};
use crate::fold::{fold, fold_squares};
use crate::join::join;
use crate::ops::{self, MapFn};
use crate::simd::Level;
use crate::steps::{Caps, Op, Out, Rank, Reduction, Step, Sweep};
use ibex_core::program::{self, Body, BufferDecl, BufferId, Instr, Reg, Role, ValueId, View};
use ibex_core::{Error, Result, Scalar};
use std::sync::PoisonError;

/// The state of a body that is being compiled, and what all its sweeps share once it is.
#[derive(Debug)]
pub(crate) struct Code {
    pub uniform: Vec<Step>,
    pub loads: Vec<Load>,
    pub point_loads: Vec<Load>,
    pub iotas: Vec<Walk>,
    pub point_iotas: Vec<Walk>,
    pub stores: Vec<Store>,
    /// Stores of row rank; the others are made once for each point.
    pub row_stores: Vec<bool>,
    pub reductions: Vec<Reduction>,
    /// Updates of weights, which are steps of their own.
    pub updates: Vec<Adam>,
    pub caps: Caps,
    /// Values, with those that stand for repeated ones: value `v` repeated is `v + instructions`.
    pub values: usize,
    /// Words of scratch memory.
    pub words: usize,
    ranks: Vec<Rank>,
    live: Vec<bool>,
    instrs: Vec<Instr>,
    kernels: Vec<Option<(MapFn, bool)>>,
    /// Instructions that do another's work as well, and the operands of both.
    joined: Vec<Option<[ValueId; 3]>>,
    /// Scratch of uniform and point values.
    fixed: Vec<usize>,
    /// Stores whose memory no load reads.
    unread: Vec<bool>,
    reduction_of: Vec<Option<usize>>,
    reduces: bool,
}

/// Buffers with equal keys share memory.
pub(crate) fn key(buffers: &[BufferDecl], id: BufferId) -> Role {
    buffers[id.0].role
}

impl Code {
    /// Analyses a body over `dims`, of which `dims[range]` are reduced.
    pub(crate) fn new(
        body: &Body,
        dims: &[usize],
        range: std::ops::Range<usize>,
        buffers: &[BufferDecl],
        level: Level,
    ) -> Result<Code> {
        let n = body.instrs.len();
        let reduces = !range.is_empty();
        let keep: Vec<usize> = (0..dims.len()).filter(|d| !range.contains(d)).collect();
        let point_dims: Vec<usize> = keep.iter().map(|&d| dims[d]).collect();
        let point_view = |view: &View| View {
            offset: view.offset,
            strides: keep.iter().map(|&d| view.strides[d]).collect(),
            bounds: if view.bounds.is_empty() { vec![] } else { keep.iter().map(|&d| view.bounds[d]).collect() },
        };
        // A reduced axis of length 1 may have bounds that leave it out.
        let hidden = |view: &View| {
            let out = |d: usize| dims[d] == 1 && view.bounds.get(d).is_some_and(|b| !(b.0..b.1).contains(&0));
            range.clone().any(out)
        };
        let rank_of = |view: &View| {
            let varies = |d: usize| view.varies(d, dims[d]);
            if reduces && range.clone().any(varies) {
                Rank::Row
            } else if (0..dims.len()).any(varies) {
                if reduces { Rank::Point } else { Rank::Row }
            } else {
                Rank::Uniform
            }
        };

        let regs = body.regs();
        let mut ranks: Vec<Rank> = Vec::with_capacity(n);
        for instr in &body.instrs {
            ranks.push(match *instr {
                Instr::Load(i) => rank_of(&body.loads[i].view),
                Instr::Iota(i) => rank_of(&body.iotas[i]),
                Instr::Acc => Rank::Row,
                Instr::Reduce(..) => Rank::Point,
                _ => instr.operands().map(|v| ranks[v.0]).max().unwrap_or(Rank::Uniform),
            });
        }
        let mut live = vec![false; n];
        body.stores.iter().for_each(|s| live[s.value.0] = true);
        for v in (0..n).rev().filter(|&v| body.stores.iter().any(|s| s.value.0 >= v)) {
            if live[v] {
                body.instrs[v].operands().for_each(|o| live[o.0] = true);
            }
        }

        let mut kernels = Vec::with_capacity(n);
        for (v, instr) in body.instrs.iter().enumerate() {
            let bad = |name: &str, reg: Reg| {
                Error::unsupported(format!("the CPU has no {name} of {reg:?} registers; cast the operand first"))
            };
            kernels.push(match *instr {
                Instr::Unary(op, a) => {
                    let reg = regs[a.0];
                    Some((ops::unary(level, op, reg).ok_or_else(|| bad(op.name(), reg))?, false))
                }
                Instr::Binary(op, a, _) => {
                    let reg = regs[a.0];
                    Some((ops::binary(level, op, reg).ok_or_else(|| bad(op.name(), reg))?, false))
                }
                Instr::Compare(op, a, _) => Some(ops::compare(level, op, regs[a.0])),
                Instr::Select(..) => Some((ops::select(level), false)),
                Instr::Cast(to, a) => Some((ops::cast(level, regs[a.0], to), false)),
                Instr::Threefry(..) => Some((ops::random(level), false)),
                _ => None,
            });
            debug_assert_eq!(kernels.len(), v + 1);
        }

        // Loads and iotas below row rank are addressed by point coordinates.
        let elements = |id: BufferId| buffers[id.0].shape.elements();
        let mut loads = Vec::new();
        let mut point_loads = Vec::new();
        let empty_rows = dims[range.clone()].contains(&0);
        for load in &body.loads {
            let row = Load::new(load, dims, level)?;
            check(&row.walk, elements(row.buffer), row.buffer)?;
            loads.push(row);
            let load_view = load.view.clone();
            let load = program::Load { view: point_view(&load.view), ..load.clone() };
            let mut point = Load::new(&load, &point_dims, level)?;
            // Without rows, a buffer may have no elements to stand for the points.
            if hidden(&load_view) || empty_rows && check(&point.walk, elements(load.buffer), load.buffer).is_err() {
                point.walk.forbid();
            }
            point_loads.push(point);
        }
        let walk = |v: &View| Walk::new(v, dims);
        let iotas = body.iotas.iter().map(walk).collect::<Result<Vec<_>>>()?;
        let point_walk = |v: &View| {
            let mut walk = Walk::new(&point_view(v), &point_dims)?;
            if hidden(v) {
                walk.forbid();
            }
            Ok(walk)
        };
        let point_iotas = body.iotas.iter().map(point_walk).collect::<Result<Vec<_>>>()?;

        let mut stores = Vec::new();
        let mut row_stores = Vec::new();
        for store in &body.stores {
            let row =
                !reduces || ranks[store.value.0] == Rank::Row || range.clone().any(|d| store.view.varies(d, dims[d]));
            row_stores.push(row);
            stores.push(if row {
                Store::new(store, dims, level)?
            } else {
                let store = program::Store { view: point_view(&store.view), ..store.clone() };
                Store::new(&store, &point_dims, level)?
            });
        }
        for store in &stores {
            check(&store.walk, elements(store.buffer), store.buffer)?;
        }
        let unread = stores
            .iter()
            .map(|s| body.loads.iter().all(|l| key(buffers, l.buffer) != key(buffers, s.buffer)))
            .collect();

        let parts = adam::Parts { body, ranks: &ranks, buffers, loads: &loads, stores: &stores };
        let updates = if reduces { vec![] } else { parts.updates(level) };
        let kept: Vec<usize> = updates.iter().flat_map(Adam::operands).collect();
        let joined = join(body, &kept, &ranks, &mut live, &mut kernels, level);

        let mut reductions = Vec::new();
        let mut reduction_of = vec![None; n];
        for (v, instr) in body.instrs.iter().enumerate() {
            if let (Instr::Reduce(op, from), true) = (*instr, live[v]) {
                reduction_of[v] = Some(reductions.len());
                // A reduction is joined with the square that it sums, and with nothing else.
                let (from, fold) = match joined[v] {
                    Some([x, ..]) => (x, fold_squares(level)),
                    None => (from, fold(level, op, regs[from.0])),
                };
                reductions.push(Reduction {
                    fold,
                    from: if ranks[from.0] == Rank::Row { from.0 } else { from.0 + n },
                    value: v,
                    spare: 0,
                });
            }
        }

        let mut code = Code {
            uniform: vec![],
            loads,
            point_loads,
            iotas,
            point_iotas,
            stores,
            row_stores,
            reductions,
            updates,
            caps: Caps { row: 0, point: 0 },
            values: 2 * n,
            words: 0,
            ranks,
            live,
            instrs: body.instrs.clone(),
            kernels,
            joined,
            fixed: vec![0; n],
            unread,
            reduction_of,
            reduces,
        };
        for v in code.list(Rank::Uniform) {
            code.fixed[v] = code.allot(1);
            let step = code.step(v, Out::Scratch(code.fixed[v]));
            code.uniform.push(step);
        }
        Ok(code)
    }

    /// Sets the register sizes and gives point values theirs. Comes before `sweep`.
    pub(crate) fn layout(&mut self, caps: Caps) {
        self.caps = caps;
        for v in self.list(Rank::Point) {
            self.fixed[v] = self.allot(caps.point);
        }
    }

    /// Reserves words of scratch memory, aligned to a cache line.
    pub(crate) fn allot(&mut self, words: usize) -> usize {
        let at = self.words;
        self.words += words.next_multiple_of(16);
        at
    }

    /// Live values of a rank.
    pub(crate) fn list(&self, rank: Rank) -> Vec<usize> {
        (0..self.instrs.len()).filter(|&v| self.live[v] && self.ranks[v] == rank).collect()
    }

    /// How many row registers a body would need at most: a guess, to choose their length.
    pub(crate) fn pressure(&self) -> usize {
        let computed = |v: &usize| !matches!(self.instrs[*v], Instr::Load(i) if self.loads[i].in_place());
        self.list(Rank::Row).into_iter().filter(computed).count()
    }

    /// True if a load copies rows into a register.
    pub(crate) fn copies(&self) -> bool {
        let copied = |v: &usize| matches!(self.instrs[*v], Instr::Load(i) if !self.loads[i].in_place());
        self.list(Rank::Row).iter().any(copied)
    }

    /// Scratch of a point value.
    pub(crate) fn place(&self, v: usize) -> usize {
        self.fixed[v]
    }

    /// True if the iteration space has reduce axes.
    pub(crate) fn reduces(&self) -> bool {
        self.reduces
    }

    /// True if no load reads the memory of a store.
    pub(crate) fn is_unread(&self, store: usize) -> bool {
        self.unread[store]
    }

    /// True if a store is the whole iteration space in row-major order, from the buffer's first element on.
    pub(crate) fn covers(&self, store: usize) -> bool {
        self.stores[store].walk.is_whole()
    }

    /// True if a sweep does nothing but reduce what lies in memory.
    pub(crate) fn is_plain(&self, sweep: &Sweep) -> bool {
        let in_memory = |step: &Step| matches!(step.op, Op::Load(i) if self.loads[i].walk.is_contiguous() && self.loads[i].in_place());
        let plain = |step: &Step| step.rank == Rank::Row && in_memory(step);
        let loaded = |f: &usize| sweep.steps.iter().any(|step| step.value == self.reductions[*f].from);
        sweep.stores.is_empty() && sweep.steps.iter().all(plain) && sweep.folds.iter().all(loaded)
    }

    /// True if some value is reduced.
    pub(crate) fn has_reductions(&self) -> bool {
        !self.reductions.is_empty()
    }

    /// The values that an instruction's step reads.
    fn operands(&self, v: usize) -> impl Iterator<Item = ValueId> + use<> {
        let (joined, instr) = (self.joined[v], self.instrs[v]);
        joined.into_iter().flatten().chain(instr.operands().filter(move |_| joined.is_none()))
    }

    /// The step of an instruction; operands of lower rank than row are seen repeated by row steps.
    fn step(&self, v: usize, out: Out) -> Step {
        let rank = self.ranks[v];
        let arg = |o: ValueId| {
            if rank == Rank::Row && self.ranks[o.0] == Rank::Point { o.0 + self.instrs.len() } else { o.0 }
        };
        let op = match self.instrs[v] {
            Instr::Load(i) => Op::Load(i),
            Instr::Iota(i) => Op::Iota(i),
            Instr::Acc => Op::Acc,
            Instr::Const(c) => Op::Const(match c {
                Scalar::Float(x) => x.to_bits(),
                Scalar::Int(x) => x as u32,
                Scalar::Uint(x) => x,
                Scalar::Bool(x) => u32::from(x),
            }),
            Instr::Reduce(..) => Op::Fold(self.reduction_of[v].unwrap_or(0)),
            instr => {
                let mut args = [self.operands(v).next().map_or(0, arg); 3];
                self.operands(v).zip(&mut args).for_each(|(o, a)| *a = arg(o));
                let imm = if let Instr::Threefry(_, _, stream) = instr { stream } else { 0 };
                match self.kernels[v] {
                    Some((kernel, swap)) => {
                        if swap {
                            args.swap(0, 1);
                        }
                        Op::Map(kernel, args, imm)
                    }
                    None => Op::Const(0),
                }
            }
        };
        Step { op, rank, value: v, out }
    }

    /// Steps that compute point values `list`, whose operands stand.
    pub(crate) fn point_steps(&self, list: impl Iterator<Item = usize>) -> Vec<Step> {
        list.map(|v| self.step(v, Out::Scratch(self.fixed[v]))).collect()
    }

    /// Compiles a sweep that ends in the reductions `folds` and the row stores `stores`. With `whole`, rows are complete in each
    /// tile, and point values are computed between row values.
    pub(crate) fn sweep(
        &mut self,
        folds: &[usize],
        stores: &[usize],
        whole: bool,
        direct: impl Fn(usize) -> bool,
    ) -> Sweep {
        let n = self.instrs.len();
        // What is needed: the closure over row values, or over all if `whole`.
        let mut need = vec![false; n];
        let root = |need: &mut Vec<bool>, v: usize| need[v % n] = true;
        folds.iter().for_each(|&f| root(&mut need, self.reductions[f].from));
        stores.iter().for_each(|&s| root(&mut need, self.stores[s].value));
        self.updates.iter().flat_map(Adam::operands).for_each(|v| root(&mut need, v));
        if whole {
            self.list(Rank::Point).iter().for_each(|&v| need[v] = true);
        }
        for v in (0..n).rev() {
            if need[v] && (whole || self.ranks[v] == Rank::Row) {
                self.operands(v).for_each(|o| need[o.0] = true);
            }
        }
        let wanted = |v: &usize| need[*v] && (self.ranks[*v] == Rank::Row || whole && self.ranks[*v] == Rank::Point);
        // Updates are whole sweeps' alone, which make all stores.
        let updated = |v: &usize| self.updates.iter().any(|update| update.values.contains(v));
        let order: Vec<usize> = (0..n).filter(|v| wanted(v) && !updated(v)).collect();

        // The steps, with repeated values made just before their first use.
        let mut sweep = Sweep::default();
        let mut repeated = vec![false; n];
        let mut steps: Vec<Step> = Vec::new();
        let expand = |v: usize, steps: &mut Vec<Step>, hoisted: &mut Vec<Step>, repeated: &mut Vec<bool>| {
            if !std::mem::replace(&mut repeated[v], true) {
                let step = Step { op: Op::Expand(v), rank: Rank::Row, value: v + n, out: Out::Scratch(0) };
                if whole { steps.push(step) } else { hoisted.push(step) }
            }
        };
        for &v in &order {
            let step = self.step(v, Out::Scratch(self.fixed[v]));
            let seen: Vec<usize> = match step.op {
                Op::Map(_, args, _) if step.rank == Rank::Row => args.to_vec(),
                Op::Fold(f) => vec![self.reductions[f].from],
                _ => vec![],
            };
            seen.iter().filter(|&&a| a >= n).for_each(|a| expand(a - n, &mut steps, &mut sweep.hoisted, &mut repeated));
            steps.push(step);
        }
        if !whole {
            for &f in folds.iter().filter(|&&f| self.reductions[f].from >= n) {
                expand(self.reductions[f].from - n, &mut steps, &mut sweep.hoisted, &mut repeated);
            }
        }
        // They come last: nothing reads their memory after them.
        for u in 0..self.updates.len() {
            let value = self.stores[self.updates[u].stores[2]].value;
            steps.push(Step { op: Op::Adam(u), rank: Rank::Row, value, out: Out::Scratch(0) });
        }
        for &s in stores.iter().filter(|&&s| !updated(&self.stores[s].value)) {
            let v = self.stores[s].value;
            let seen = if self.ranks[v] == Rank::Point { v + n } else { v };
            if seen >= n {
                expand(v, &mut steps, &mut sweep.hoisted, &mut repeated);
            }
            let in_memory = |st: &Step| matches!(st.out, Out::Store(_));
            let step = steps.iter_mut().find(|st| st.value == seen && matches!(st.op, Op::Map(..)) && !in_memory(st));
            match step {
                Some(step) if self.unread[s] && self.stores[s].in_place() && direct(s) => step.out = Out::Store(s),
                _ => sweep.stores.push((s, seen)),
            }
        }

        // Registers: a value's is free after the last step that reads it.
        let end = steps.len();
        let mut last = vec![0; 2 * n];
        for (i, step) in steps.iter().enumerate() {
            match step.op {
                Op::Map(_, args, _) => args.iter().for_each(|&a| last[a] = i),
                Op::Fold(f) => last[self.reductions[f].from] = i,
                Op::Adam(u) => self.updates[u].operands().for_each(|v| last[v] = i),
                _ => {}
            }
        }
        folds.iter().for_each(|&f| last[self.reductions[f].from] = end);
        sweep.stores.iter().for_each(|&(_, v)| last[v] = end);
        let row = self.caps.row;
        for step in &mut sweep.hoisted {
            step.out = Out::Scratch(self.allot(row));
        }
        let mut free: Vec<usize> = Vec::new();
        let mut held: Vec<(usize, usize)> = Vec::new();
        for (i, step) in steps.iter_mut().enumerate() {
            if let Op::Load(load) = step.op
                && !self.reduces
                && step.rank == Rank::Row
                && let Some(period) = self.loads[load].walk.period().filter(|&p| p <= row)
            {
                let repeated = sweep.repeated.get_mut().unwrap_or_else(PoisonError::into_inner);
                step.op = Op::Periodic { period, at: repeated.len() };
                sweep.periodic.push((load, period, repeated.len()));
                repeated.resize(repeated.len() + row + period, 0);
                continue;
            }
            let in_place = match step.op {
                Op::Acc | Op::Adam(_) => true,
                Op::Load(load) => self.loads[load].in_place(),
                _ => false,
            };
            if step.rank == Rank::Row && !in_place && !matches!(step.out, Out::Store(_)) {
                let at = free.pop().unwrap_or_else(|| self.allot(row));
                step.out = Out::Scratch(at);
                held.push((step.value, at));
            }
            held.retain(|&(v, at)| {
                let done = last[v] <= i;
                if done {
                    free.push(at);
                }
                !done
            });
        }
        let folded = steps.iter().filter_map(|s| if let Op::Fold(f) = s.op { Some(f) } else { None });
        let folded: Vec<usize> = folded.chain(folds.iter().copied()).collect();
        for f in folded {
            self.reductions[f].spare = self.allot(row);
        }
        sweep.steps = steps;
        sweep.ahead = self.ahead(&sweep);
        sweep.folds = folds.to_vec();
        sweep
    }

    /// What is worth asking for ahead. The processor follows one or two walks through memory by itself, and loses more of them at every page; while
    /// rows are reduced, memory would stand idle between the steps that read it and those that write it.
    fn ahead(&self, sweep: &Sweep) -> Vec<Ahead> {
        let reads = self.reads(sweep);
        match self.has_reductions() {
            true => reads.into_iter().chain(self.writes(sweep)).collect(),
            false if reads.len() > 2 => reads,
            false => vec![],
        }
    }

    /// The memory that a sweep reads element by element.
    pub(crate) fn reads(&self, sweep: &Sweep) -> Vec<Ahead> {
        let loaded = |step: &Step| match step.op {
            Op::Load(i) if self.loads[i].in_place() => Ahead::new(self.loads[i].buffer, &self.loads[i].walk, false),
            _ => None,
        };
        sweep.steps.iter().filter(|step| step.rank == Rank::Row).filter_map(loaded).collect()
    }

    /// The memory that its steps write.
    pub(crate) fn writes(&self, sweep: &Sweep) -> Vec<Ahead> {
        let stored = |step: &Step| match step.out {
            Out::Store(s) => Ahead::new(self.stores[s].buffer, &self.stores[s].walk, true),
            Out::Scratch(_) => None,
        };
        sweep.steps.iter().filter(|step| step.rank == Rank::Row).filter_map(stored).collect()
    }
}
