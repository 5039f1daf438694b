//! An LSTM over a whole sequence: batch 32, 50 steps, 64 features, 128 units.

use super::{at, with_gradients};
use crate::row::{Program, Row};
use ibex::{DType, Tensor};

const N: usize = 32;
const T: usize = 50;
const F: usize = 64;
const U: usize = 128;

fn sequence(x: &[Tensor]) -> Tensor {
    let state = Tensor::zeros([N, U], DType::F32);
    let [outputs, _cells] = (x[0].matmul(&x[1]) + &x[3]).lstm(&x[2], &state, &state);
    outputs
}

/// What one step of one sample leaves for the gradient.
struct Cell {
    gates: Vec<[f64; 4]>,
    before: Vec<f64>,
    now: Vec<f64>,
}

/// One sample from the inputs: the outputs of all steps, and their cells.
fn forward(inputs: &[Vec<f32>], n: usize) -> (Vec<Vec<f64>>, Vec<Cell>) {
    let [x, kernel, recurrent, bias] = [0, 1, 2, 3].map(|i| &inputs[i]);
    let (mut h, mut c) = (vec![0.0; U], vec![0.0; U]);
    let (mut outputs, mut cells) = (Vec::new(), Vec::new());
    for t in 0..T {
        let mut z: Vec<f64> = bias.iter().map(|&b| f64::from(b)).collect();
        let mut add = |from: f64, row: &[f32]| z.iter_mut().zip(row).for_each(|(z, &w)| *z += from * f64::from(w));
        (0..F).for_each(|f| add(at(x, (n * T + t) * F + f), &kernel[f * 4 * U..][..4 * U]));
        (0..U).for_each(|u| add(h[u], &recurrent[u * 4 * U..][..4 * U]));
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        let gate = |u: usize| [sigmoid(z[u]), sigmoid(z[U + u]), z[2 * U + u].tanh(), sigmoid(z[3 * U + u])];
        let gates: Vec<[f64; 4]> = (0..U).map(gate).collect();
        let before = c.clone();
        for (u, [i, f, g, o]) in gates.iter().enumerate() {
            c[u] = f * before[u] + i * g;
            h[u] = o * c[u].tanh();
        }
        outputs.push(h.clone());
        cells.push(Cell { gates, before, now: c.clone() });
    }
    (outputs, cells)
}

/// The gradient of one sample's input at step `until`.
fn input_grad(inputs: &[Vec<f32>], n: usize, until: usize) -> Vec<f64> {
    let (kernel, recurrent, upstream) = (&inputs[1], &inputs[2], &inputs[4]);
    let cells = forward(inputs, n).1;
    let (mut dh, mut dc) = (vec![0.0; U], vec![0.0; U]);
    let mut dz = vec![0.0; 4 * U];
    let times = |dz: &[f64], w: &[f32], row: usize| {
        dz.iter().zip(&w[row * 4 * U..]).map(|(z, &w)| z * f64::from(w)).sum::<f64>()
    };
    for t in (until..T).rev() {
        let Cell { gates, before, now } = &cells[t];
        for (u, &[i, f, g, o]) in gates.iter().enumerate() {
            let (d, tanh) = (dh[u] + at(upstream, (n * T + t) * U + u), now[u].tanh());
            let c = dc[u] + d * o * (1.0 - tanh * tanh);
            dz[u] = c * g * i * (1.0 - i);
            dz[U + u] = c * before[u] * f * (1.0 - f);
            dz[2 * U + u] = c * i * (1.0 - g * g);
            dz[3 * U + u] = d * tanh * o * (1.0 - o);
            dc[u] = c * f;
        }
        dh = (0..U).map(|u| times(&dz, recurrent, u)).collect();
    }
    (0..F).map(|f| times(&dz, kernel, f)).collect()
}

/// Samples do not touch each other, so one alone is computed again. Gradients of weights, sums over all samples, are the work of the whole row.
fn truth(x: &[Vec<f32>], result: usize, i: usize) -> Option<f64> {
    match result {
        0 => Some(forward(x, i / (T * U)).0[i / U % T][i % U]),
        1 => Some(input_grad(x, i / (T * F), i / F % T)[i % F]),
        _ => None,
    }
}

pub(super) fn rows() -> Vec<Row> {
    let args = [
        Tensor::randn([N, T, F], 1),
        Tensor::randn([F, 4 * U], 2) * 0.1,
        Tensor::randn([U, 4 * U], 3) * 0.05,
        Tensor::randn([4 * U], 4) * 0.1,
        Tensor::randn([N, T, U], 5),
    ];
    let flops = 2 * N * T * (F + U) * 4 * U;
    vec![
        Program::new(&args[..4], |x| Ok(vec![sequence(x)]), truth).flops(flops).row("lstm_fwd"),
        Program::new(args, |x| with_gradients(sequence(x), &x[4], &x[..4]), truth).flops(3 * flops).row("lstm_fwdbwd"),
    ]
}
