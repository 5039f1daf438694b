//! Convolution, pooling and the LSTM.

use ibex_core::graph::{ConvGeometry, PoolGeometry};
use ibex_core::program::{Conv, ConvPass, Pool, PoolPass};

/// Every coordinate of a box, in row-major order.
fn grid(dims: &[usize]) -> Vec<Vec<usize>> {
    let unravel = |mut i: usize| {
        let mut at = vec![0; dims.len()];
        for d in (0..dims.len()).rev() {
            (at[d], i) = (i % dims[d], i / dims[d]);
        }
        at
    };
    (0..dims.iter().product()).map(unravel).collect()
}

/// Every product of a convolution, as element numbers of input, kernel and output.
fn products(g: &ConvGeometry) -> Vec<[usize; 3]> {
    let mut out = Vec::new();
    let (outs, kernels) = (grid(&g.output), grid(&g.kernel));
    let group = g.cout / g.groups;
    for n in 0..g.n {
        for (oi, o) in outs.iter().enumerate() {
            for (ki, k) in kernels.iter().enumerate() {
                let at = |d: usize| (o[d] * g.stride[d] + k[d] * g.dilation[d]) as i64 - g.pad[d] as i64;
                if (0..3).any(|d| at(d) < 0 || at(d) >= g.input[d] as i64) {
                    continue;
                }
                let place = (0..3).fold(n, |sum, d| sum * g.input[d] + at(d) as usize);
                for co in 0..g.cout {
                    for ci in 0..g.cin {
                        let x = place * g.groups * g.cin + co / group * g.cin + ci;
                        let w = (ki * g.cin + ci) * g.cout + co;
                        out.push([x, w, (n * outs.len() + oi) * g.cout + co]);
                    }
                }
            }
        }
    }
    out
}

pub(super) fn conv(k: &Conv, lhs: &[f64], rhs: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; k.dims().iter().product()];
    for [x, w, y] in products(&k.geometry) {
        match k.pass {
            ConvPass::Forward => out[y] += lhs[x] * rhs[w],
            ConvPass::InputGrad => out[x] += lhs[y] * rhs[w],
            ConvPass::KernelGrad => out[w] += lhs[x] * rhs[y],
        }
    }
    out
}

/// For each output element the input elements in its window, in row-major order.
fn windows(g: &PoolGeometry) -> Vec<Vec<usize>> {
    let inside = |o: &Vec<usize>| -> Vec<usize> {
        let place = |k: &Vec<usize>| {
            let at = |d: usize| (o[d + 1] * g.stride[d] + k[d]) as i64 - g.pad[d] as i64;
            let fits = (0..3).all(|d| at(d) >= 0 && at(d) < g.input[d] as i64);
            fits.then(|| (0..3).fold(o[0], |sum, d| sum * g.input[d] + at(d) as usize) * g.channels + o[4])
        };
        grid(&g.window).iter().filter_map(place).collect()
    };
    let dims = [g.n, g.output[0], g.output[1], g.output[2], g.channels];
    grid(&dims).iter().map(inside).collect()
}

pub(super) fn pool(k: &Pool, inputs: &[Vec<f64>]) -> Vec<f64> {
    let mut out = vec![0.0; k.dims().iter().product()];
    let largest = |window: &[usize]| -> Option<usize> {
        let x = &inputs[0];
        window
            .iter()
            .copied()
            .find(|&i| x[i].is_nan())
            .or_else(|| window.iter().copied().reduce(|best, i| if x[i] > x[best] { i } else { best }))
    };
    for (y, window) in windows(&k.geometry).iter().enumerate() {
        match k.pass {
            PoolPass::Max => out[y] = largest(window).map_or(0.0, |i| inputs[1][i]),
            PoolPass::MaxGrad => largest(window).into_iter().for_each(|i| out[i] += inputs[1][y]),
            PoolPass::Sum => out[y] = window.iter().map(|&i| inputs[0][i]).sum(),
            PoolPass::SumGrad => window.iter().for_each(|&i| out[i] += inputs[0][y]),
        }
    }
    out
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn lstm([n, steps, u]: [usize; 3], z: &[f64], w: &[f64], h0: &[f64], c0: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; n * steps * 6 * u];
    for b in 0..n {
        let (mut h, mut c) = (h0[b * u..][..u].to_vec(), c0[b * u..][..u].to_vec());
        for at in b * steps..(b + 1) * steps {
            let gate = |k: usize| z[at * 4 * u + k] + (0..u).map(|j| h[j] * w[j * 4 * u + k]).sum::<f64>();
            let gates: Vec<f64> = (0..4 * u).map(gate).collect();
            for j in 0..u {
                let (i, f, o) = (sigmoid(gates[j]), sigmoid(gates[u + j]), sigmoid(gates[3 * u + j]));
                let g = gates[2 * u + j].tanh();
                c[j] = f * c[j] + i * g;
                h[j] = o * c[j].tanh();
                for (part, value) in [h[j], c[j], i, f, g, o].into_iter().enumerate() {
                    out[(at * 6 + part) * u + j] = value;
                }
            }
        }
    }
    out
}

pub(super) fn lstm_grad(
    [n, steps, u]: [usize; 3],
    y: &[f64],
    w: &[f64],
    c0: &[f64],
    dh: Option<&[f64]>,
    dc: Option<&[f64]>,
) -> Vec<f64> {
    let mut out = vec![0.0; n * steps * 5 * u];
    for b in 0..n {
        let (mut dh_next, mut dc_next) = (vec![0.0; u], vec![0.0; u]);
        for t in (0..steps).rev() {
            let at = b * steps + t;
            for j in 0..u {
                let part = |at: usize, k: usize| y[(at * 6 + k) * u + j];
                let (c, i, f, g, o) = (part(at, 1), part(at, 2), part(at, 3), part(at, 4), part(at, 5));
                let before = if t == 0 { c0[b * u + j] } else { part(at - 1, 1) };
                let given = |d: Option<&[f64]>| d.map_or(0.0, |d| d[at * u + j]);
                let dh = given(dh) + dh_next[j];
                let dc = given(dc) + dc_next[j] + dh * o * (1.0 - c.tanh().powi(2));
                let gradients = [
                    dc * g * i * (1.0 - i),
                    dc * before * f * (1.0 - f),
                    dc * i * (1.0 - g * g),
                    dh * c.tanh() * o * (1.0 - o),
                    dc * f,
                ];
                gradients.iter().enumerate().for_each(|(k, &d)| out[(at * 5 + k) * u + j] = d);
                dc_next[j] = dc * f;
            }
            let dz = &out[at * 5 * u..][..4 * u];
            dh_next = (0..u).map(|j| (0..4 * u).map(|k| dz[k] * w[j * 4 * u + k]).sum()).collect();
        }
    }
    out
}
