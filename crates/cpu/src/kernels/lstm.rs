//! LSTM over a whole sequence: every thread runs all steps of its own batch rows, with the recurrent weights packed once.

use super::gemm::{self, Gathered, Rows, Tile};
use super::simd::simd;
use super::sink::{Scratch, Shared, grain, with_local};
use crate::math;
use crate::memory::Memory;
use crate::simd::prefetch;
use crate::threads::{parallel, threads};
use ibex_core::program;

/// Most batch rows of one task: their state stays in the first- and second-level cache.
const ROWS: usize = 56;

/// Elements at a time: short loops over arrays of this length keep everything in registers.
const W: usize = 16;

/// A part of `x` as an array: element `at` and those that follow, zero beyond the end.
#[inline(always)]
fn part(x: &[f32], at: usize) -> [f32; W] {
    let mut out = [0f32; W];
    match x[at..].first_chunk::<W>() {
        Some(chunk) => out = *chunk,
        None => out.iter_mut().zip(&x[at..]).for_each(|(out, x)| *out = *x),
    }
    out
}

/// The reverse of [`part`].
#[inline(always)]
fn put(x: &mut [f32], at: usize, values: [f32; W]) {
    match x[at..].first_chunk_mut::<W>() {
        Some(chunk) => *chunk = values,
        None => x[at..].iter_mut().zip(values).for_each(|(x, value)| *x = value),
    }
}

/// `f` of each element.
#[inline(always)]
fn map<const N: usize>(args: [[f32; W]; N], f: impl Fn([f32; N]) -> f32) -> [f32; W] {
    let mut out = [0f32; W];
    for l in 0..W {
        let mut x = [0f32; N];
        for (x, arg) in x.iter_mut().zip(&args) {
            *x = arg[l];
        }
        out[l] = f(x);
    }
    out
}

simd! {
    /// One step of one row: `row` is `h, c` and the gates `i, f, g, o`, of which the recurrent part stands there already; `z` is their
    /// other part, `before` the cell before. `state` becomes `h`.
    pub(crate) fn cell(row: &mut [f32], z: &[f32], before: &[f32], state: &mut [f32]) {
        let u = state.len();
        let (hc, gates) = row.split_at_mut(2 * u);
        let (h, c) = hc.split_at_mut(u);
        let (gi, rest) = gates.split_at_mut(u);
        let (gf, rest) = rest.split_at_mut(u);
        let (gg, go) = rest.split_at_mut(u);
        for at in (0..u).step_by(W) {
            let i = map([part(gi, at), part(&z[..u], at)], |[a, b]| math::sigmoid::<FMA>(a + b));
            let f = map([part(gf, at), part(&z[u..2 * u], at)], |[a, b]| math::sigmoid::<FMA>(a + b));
            let g = map([part(gg, at), part(&z[2 * u..3 * u], at)], |[a, b]| math::tanh::<FMA>(a + b));
            let o = map([part(go, at), part(&z[3 * u..4 * u], at)], |[a, b]| math::sigmoid::<FMA>(a + b));
            let cell = map([f, part(before, at), i, g], |[f, before, i, g]| f * before + i * g);
            let out = map([o, cell], |[o, cell]| o * math::tanh::<FMA>(cell));
            put(gi, at, i);
            put(gf, at, f);
            put(gg, at, g);
            put(go, at, o);
            put(c, at, cell);
            put(h, at, out);
            put(state, at, out);
        }
    }
}

simd! {
    /// `x += y`.
    pub(crate) fn add(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

simd! {
    /// The hyperbolic tangent of each element.
    pub(crate) fn tanh(out: &mut [f32], x: &[f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = math::tanh::<FMA>(*x);
        }
    }
}

simd! {
    /// The gradient of one row of one step into `out` (`i, f, g, o`, cell before), from `dh`, `dc`, the forward pass's gates, the cell
    /// before and the tanh of the cell.
    pub(crate) fn cell_grad(out: &mut [f32], dh: &[f32], dc: &[f32], gates: &[f32], before: &[f32], tc: &[f32]) {
        let u = dh.len();
        let (i, rest) = gates.split_at(u);
        let (f, rest) = rest.split_at(u);
        let (g, o) = rest.split_at(u);
        let (di, rest) = out.split_at_mut(u);
        let (df, rest) = rest.split_at_mut(u);
        let (dg, rest) = rest.split_at_mut(u);
        let (dout, dbefore) = rest.split_at_mut(u);
        let (o, dbefore, dc, before, tc) = (&o[..u], &mut dbefore[..u], &dc[..u], &before[..u], &tc[..u]);
        for j in 0..u {
            let d = dc[j] + dh[j] * o[j] * (1.0 - tc[j] * tc[j]);
            dout[j] = dh[j] * tc[j] * o[j] * (1.0 - o[j]);
            di[j] = d * g[j] * i[j] * (1.0 - i[j]);
            df[j] = d * before[j] * f[j] * (1.0 - f[j]);
            dg[j] = d * i[j] * (1.0 - g[j] * g[j]);
            dbefore[j] = d * f[j];
        }
    }
}

/// Packs the recurrent weights (`u` by `4u`), or their transpose.
fn pack(weights: &[f32], u: usize, transposed: bool, out: &mut [f32]) {
    let isa = gemm::isa();
    let (k, n) = if transposed { (4 * u, u) } else { (u, 4 * u) };
    let panels = n.div_ceil(isa.cols);
    let mut units = Vec::new();
    let mut at = 0;
    for ks in gemm::k_blocks(k) {
        for panel in 0..panels {
            units.push((ks.clone(), panel, at));
            at += ks.len() * isa.cols;
        }
    }
    let out = Shared::new(out);
    let each = grain(units.len(), 4 * gemm::KC * isa.cols);
    parallel(units.len().div_ceil(each), |task| {
        for (ks, panel, at) in units.iter().skip(task * each).take(each) {
            // SAFETY: every unit has a panel of its own.
            let out = unsafe { out.slice(*at, ks.len() * isa.cols) };
            if transposed {
                gemm::pack_rhs(isa, weights, |k| k, 4 * u, n, ks.clone(), *panel, out);
            } else {
                gemm::pack_rhs(isa, weights, |k| k * 4 * u, 1, n, ks.clone(), *panel, out);
            }
        }
    });
}

/// Multiples of `step`.
fn offsets(count: usize, step: usize) -> Vec<isize> {
    (0..count).map(|i| (i * step) as isize).collect()
}

/// `tile = lhs * rhs` for one step: all rows of `lhs`, whose rows and columns begin at `offsets`, and the packed weights of `n` columns.
///
/// # Safety
/// `lhs` has an element at every sum of offsets; `tile` has these rows by `n` elements that nobody else touches.
unsafe fn step_product(lhs: &[f32], offsets: [&[isize]; 2], rhs: &[f32], n: usize, tile: Tile) {
    let [places, elements] = offsets;
    let lhs = Gathered { at: lhs.as_ptr(), places, elements };
    let (rows, all) = (Rows::all(places.len()), 0..elements.len());
    // SAFETY: the caller's promise.
    unsafe { gemm::gathered(gemm::isa(), lhs, rows, &[all], rhs, n, tile, false, || {}) };
}

/// The batch rows of each task.
fn tasks(n: usize) -> Vec<std::ops::Range<usize>> {
    let pieces = n.div_ceil(ROWS).next_multiple_of(threads());
    gemm::split(0..n, n.div_ceil(pieces.max(1)).max(1)).collect()
}

/// The forward pass, prepared.
#[derive(Debug)]
pub(crate) struct Lstm {
    kernel: program::Lstm,
    packed: Scratch,
}

impl Lstm {
    pub(crate) fn new(kernel: &program::Lstm) -> Lstm {
        let u = kernel.units;
        Lstm { kernel: kernel.clone(), packed: Scratch::new(gemm::packed_len(gemm::isa(), u, 4 * u)) }
    }

    pub(crate) fn run(&self, mem: &Memory) {
        let &program::Lstm { n, steps, units: u, .. } = &self.kernel;
        let k = &self.kernel;
        if n * steps * u == 0 {
            return;
        }
        // SAFETY: the buffers are as declared, and the result is no operand.
        let (z, weights, h0, c0, out) = unsafe {
            (mem.slice::<f32>(k.z), mem.slice(k.recurrent), mem.slice(k.h0), mem.slice(k.c0), mem.slice_mut(k.out))
        };
        let out = Shared::<f32>::new(out);
        let mut packed = self.packed.get();
        pack(weights, u, false, &mut packed);
        let packed: &[f32] = &packed;
        let pitch = steps * 6 * u;
        let tasks = tasks(n);
        parallel(tasks.len(), |task| {
            let rows = tasks[task].clone();
            let (starts, columns) = (offsets(rows.len(), u), offsets(u, 1));
            with_local(rows.len() * u, |state| {
                state.copy_from_slice(&h0[rows.start * u..rows.end * u]);
                for t in 0..steps {
                    let step = |row: usize, t: usize| row * pitch + t * 6 * u;
                    let tile = Tile::new(out.at(step(rows.start, t) + 2 * u), pitch);
                    // SAFETY: `state` has these rows and columns; only this task touches its batch rows, and one step of them at a time.
                    unsafe { step_product(state, [&starts, &columns], packed, 4 * u, tile) };
                    for (row, state) in rows.clone().zip(state.chunks_exact_mut(u)) {
                        // SAFETY: as above; the step before is only read.
                        let (mine, before) = unsafe {
                            let before = if t == 0 { &c0[row * u..][..u] } else { out.slice(step(row, t - 1) + u, u) };
                            (out.slice(step(row, t), 6 * u), before)
                        };
                        let z = &z[(row * steps + t) * 4 * u..];
                        if t + 1 < steps {
                            // The next step's, which the processor does not follow in so many rows.
                            prefetch(z[4 * u..].as_ptr().cast(), 4 * u, false);
                            prefetch(mine.as_ptr().cast::<u32>().wrapping_add(6 * u), 6 * u, true);
                        }
                        cell(mine, &z[..4 * u], before, state);
                    }
                }
            });
        });
    }
}

/// The gradient, prepared.
#[derive(Debug)]
pub(crate) struct LstmGrad {
    kernel: program::LstmGrad,
    packed: Scratch,
}

impl LstmGrad {
    pub(crate) fn new(kernel: &program::LstmGrad) -> LstmGrad {
        let u = kernel.units;
        LstmGrad { kernel: kernel.clone(), packed: Scratch::new(gemm::packed_len(gemm::isa(), 4 * u, u)) }
    }

    pub(crate) fn run(&self, mem: &Memory) {
        let &program::LstmGrad { n, steps, units: u, .. } = &self.kernel;
        let k = &self.kernel;
        if n * steps * u == 0 {
            return;
        }
        // SAFETY: the buffers are as declared, and the result is no operand.
        let (forward, weights, c0, dh, dc, out) = unsafe {
            let outside = |id: Option<program::BufferId>| id.map(|id| mem.slice::<f32>(id));
            let out = Shared::new(mem.slice_mut::<f32>(k.out));
            (mem.slice::<f32>(k.forward), mem.slice(k.recurrent), mem.slice(k.c0), outside(k.dh), outside(k.dc), out)
        };
        let mut packed = self.packed.get();
        pack(weights, u, true, &mut packed);
        let packed: &[f32] = &packed;
        let pitch = steps * 5 * u;
        let tasks = tasks(n);
        parallel(tasks.len(), |task| {
            let rows = tasks[task].clone();
            let (starts, columns) = (offsets(rows.len(), 4 * u), offsets(4 * u, 1));
            with_local((5 * rows.len() + 2) * u, |local| {
                let (dhs, rest) = local.split_at_mut(rows.len() * u);
                let (dzs, rest) = rest.split_at_mut(4 * rows.len() * u);
                let (dcell, tc) = rest.split_at_mut(u);
                for t in (0..steps).rev() {
                    let step = |row: usize, t: usize| row * pitch + t * 5 * u;
                    let last = t + 1 == steps;
                    if last {
                        dhs.fill(0.0);
                    } else {
                        let tile = Tile::new(dhs.as_mut_ptr(), u);
                        // SAFETY: `dzs` and `dhs` have these rows and columns.
                        unsafe { step_product(dzs, [&starts, &columns], packed, u, tile) };
                    }
                    for ((row, dh_row), dz) in
                        rows.clone().zip(dhs.chunks_exact_mut(u)).zip(dzs.chunks_exact_mut(4 * u))
                    {
                        let at = row * steps + t;
                        if let Some(dh) = dh {
                            add(dh_row, &dh[at * u..][..u]);
                        }
                        match dc {
                            Some(dc) => dcell.copy_from_slice(&dc[at * u..][..u]),
                            None => dcell.fill(0.0),
                        }
                        // SAFETY: only this task touches its batch rows; the later step is read, this one written.
                        let mine = unsafe {
                            if !last {
                                add(dcell, out.slice(step(row, t + 1) + 4 * u, u));
                            }
                            out.slice(step(row, t), 5 * u)
                        };
                        let before = if t == 0 { &c0[row * u..][..u] } else { &forward[(at - 1) * 6 * u + u..][..u] };
                        let state = &forward[at * 6 * u..][..6 * u];
                        if t > 0 {
                            // The step before, which comes next.
                            prefetch(state.as_ptr().cast::<u32>().wrapping_sub(6 * u), 6 * u, false);
                            prefetch(mine.as_ptr().cast::<u32>().wrapping_sub(5 * u), 5 * u, true);
                        }
                        tanh(tc, &state[u..2 * u]);
                        cell_grad(mine, dh_row, dcell, &state[2 * u..], before, tc);
                        dz.copy_from_slice(&mine[..4 * u]);
                    }
                }
            });
        });
    }
}
