//! LSTM over a whole sequence: every thread runs all steps of its own batch rows, with the recurrent weights packed once.

use super::gemm::{self, Matrix, Tile};
use super::simd::simd;
use super::sink::{Scratch, Shared, grain, with_local};
use crate::memory::Memory;
use crate::threads::{parallel, threads};
use ibex_core::program;

/// Most batch rows of one task: their state stays in the first- and second-level cache.
const ROWS: usize = 56;

#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * (r * r) + r + 1.0;
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

simd! {
    /// The logistic function of each element.
    pub(crate) fn sigmoid(x: &mut [f32]) {
        for x in x {
            *x = 1.0 / (1.0 + exp(-*x));
        }
    }
}

simd! {
    /// The hyperbolic tangent of each element.
    pub(crate) fn tanh(x: &mut [f32]) {
        for x in x {
            let z = *x * *x;
            let p = -5.704_988_7e-3;
            let p = p * z + 2.063_909e-2;
            let p = p * z - 5.373_971_5e-2;
            let p = p * z + 1.333_144_2e-1;
            let p = p * z - 0.333_332_8;
            let near = p * z * *x + *x;
            let far = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
            *x = (if x.abs() < 0.625 { near } else { far }).copysign(*x);
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
    /// `c = f*before + i*g` from the gates `i, f, g, o`, and a copy of it.
    pub(crate) fn cell(c: &mut [f32], h: &mut [f32], gates: &[f32], before: &[f32]) {
        let u = c.len();
        let (i, f, g) = (&gates[..u], &gates[u..2 * u], &gates[2 * u..3 * u]);
        let (h, before) = (&mut h[..u], &before[..u]);
        for j in 0..u {
            c[j] = f[j] * before[j] + i[j] * g[j];
            h[j] = c[j];
        }
    }
}

simd! {
    /// `x *= y`.
    pub(crate) fn scale(x: &mut [f32], y: &[f32]) {
        for (x, y) in x.iter_mut().zip(y) {
            *x *= y;
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
        let isa = gemm::isa();
        let pitch = steps * 6 * u;
        let tasks = tasks(n);
        parallel(tasks.len(), |task| {
            let rows = tasks[task].clone();
            with_local(rows.len() * u, |state| {
                state.copy_from_slice(&h0[rows.start * u..rows.end * u]);
                for t in 0..steps {
                    let step = |row: usize, t: usize| row * pitch + t * 6 * u;
                    let lhs = Matrix { data: state, row_stride: u, col_stride: 1 };
                    // SAFETY: only this task touches its batch rows, and one step of them at a time.
                    unsafe {
                        let tile = Tile { at: out.at(step(rows.start, t) + 2 * u), ld: pitch };
                        gemm::block(isa, &lhs, 0..rows.len(), packed, u, 4 * u, 0..4 * u, tile);
                    }
                    for (row, state) in rows.clone().zip(state.chunks_exact_mut(u)) {
                        // SAFETY: as above; the step before is only read.
                        let (mine, before) = unsafe {
                            let before = if t == 0 { &c0[row * u..][..u] } else { out.slice(step(row, t - 1) + u, u) };
                            (out.slice(step(row, t), 6 * u), before)
                        };
                        let (hc, gates) = mine.split_at_mut(2 * u);
                        let (h, c) = hc.split_at_mut(u);
                        add(gates, &z[(row * steps + t) * 4 * u..][..4 * u]);
                        sigmoid(&mut gates[..2 * u]);
                        tanh(&mut gates[2 * u..3 * u]);
                        sigmoid(&mut gates[3 * u..]);
                        cell(c, h, gates, before);
                        tanh(h);
                        scale(h, &gates[3 * u..]);
                        state.copy_from_slice(h);
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
        let isa = gemm::isa();
        let pitch = steps * 5 * u;
        let tasks = tasks(n);
        parallel(tasks.len(), |task| {
            let rows = tasks[task].clone();
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
                        let lhs = Matrix { data: dzs, row_stride: 4 * u, col_stride: 1 };
                        let tile = Tile { at: dhs.as_mut_ptr(), ld: u };
                        // SAFETY: `dhs` has these rows and columns.
                        unsafe { gemm::block(isa, &lhs, 0..rows.len(), packed, 4 * u, u, 0..u, tile) };
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
                        let state = &forward[at * 6 * u..][..6 * u];
                        let before = if t == 0 { &c0[row * u..][..u] } else { &forward[(at - 1) * 6 * u + u..][..u] };
                        tc.copy_from_slice(&state[u..2 * u]);
                        tanh(tc);
                        cell_grad(mine, dh_row, dcell, &state[2 * u..], before, tc);
                        dz.copy_from_slice(&mine[..4 * u]);
                    }
                }
            });
        });
    }
}
