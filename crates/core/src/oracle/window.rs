//! Convolution, pooling and the LSTM.

use super::{coordinates, flat};
use crate::Shape;
use crate::graph::{ConvGeometry, PoolGeometry};

/// Which operand of `output = conv(input, kernel)` is computed from the other two.
pub(super) enum Result {
    Output,
    Input,
    Kernel,
}

/// For every window position `o` and element `k` within a window the input position, if it lies inside.
fn position(o: usize, k: usize, stride: usize, dilation: usize, pad: usize, len: usize) -> Option<usize> {
    (o * stride + k * dilation).checked_sub(pad).filter(|&i| i < len)
}

/// All three convolutions are sums over the same triples. `a` and `b` are the two known operands, in the order input, kernel, output.
pub(super) fn conv(g: &ConvGeometry, a: &[f64], b: &[f64], want: Result) -> Vec<f64> {
    let x_shape = [g.n, g.input[0], g.input[1], g.input[2], g.groups * g.cin];
    let w_shape = [g.kernel[0], g.kernel[1], g.kernel[2], g.cin, g.cout];
    let y_shape = [g.n, g.output[0], g.output[1], g.output[2], g.cout];
    let size = match want {
        Result::Output => g.output_elements(),
        Result::Input => g.input_elements(),
        Result::Kernel => g.kernel_elements(),
    };
    let mut out = vec![0.0; size];
    let per_group = g.cout / g.groups.max(1);
    for yi in 0..g.output_elements() {
        let y = coordinates(&y_shape, yi);
        for wi in 0..g.kernel[0] * g.kernel[1] * g.kernel[2] * g.cin {
            let w = coordinates(&w_shape[..4], wi);
            let at = |d: usize| position(y[d + 1], w[d], g.stride[d], g.dilation[d], g.pad[d], g.input[d]);
            let (Some(d), Some(h), Some(v)) = (at(0), at(1), at(2)) else { continue };
            let channel = y[4] / per_group * g.cin + w[3];
            let (x, w) = (flat(&x_shape, &[y[0], d, h, v, channel]), wi * g.cout + y[4]);
            match want {
                Result::Output => out[yi] += a[x] * b[w],
                // Called with the kernel first and the output gradient second.
                Result::Input => out[x] += a[w] * b[yi],
                Result::Kernel => out[w] += a[x] * b[yi],
            }
        }
    }
    out
}

/// Calls `f(output element, input elements of its window in row-major order)`.
fn windows(g: &PoolGeometry, mut f: impl FnMut(usize, &[usize])) {
    let x_shape = [g.n, g.input[0], g.input[1], g.input[2], g.channels];
    let y_shape = [g.n, g.output[0], g.output[1], g.output[2], g.channels];
    for yi in 0..g.output_elements() {
        let y = coordinates(&y_shape, yi);
        let mut inside = Vec::new();
        for k in 0..g.window.iter().product() {
            let k = coordinates(&g.window, k);
            let at = |d: usize| position(y[d + 1], k[d], g.stride[d], 1, g.pad[d], g.input[d]);
            if let (Some(d), Some(h), Some(v)) = (at(0), at(1), at(2)) {
                inside.push(flat(&x_shape, &[y[0], d, h, v, y[4]]));
            }
        }
        f(yi, &inside);
    }
}

/// Forward: `values` at the largest `x` of each window. Backward: `values` of each window, sent there.
pub(super) fn max_pool(g: &PoolGeometry, x: &[f64], values: &[f64], forward: bool) -> Vec<f64> {
    let mut out = vec![0.0; if forward { g.output_elements() } else { g.input_elements() }];
    windows(g, |y, inside| {
        let Some(&first) = inside.first() else { return };
        let better =
            |best: usize, &i: &usize| if !x[best].is_nan() && (x[i].is_nan() || x[i] > x[best]) { i } else { best };
        let best = inside.iter().fold(first, better);
        if forward {
            out[y] = values[best];
        } else {
            out[best] += values[y];
        }
    });
    out
}

pub(super) fn sum_pool(g: &PoolGeometry, x: &[f64], forward: bool) -> Vec<f64> {
    let mut out = vec![0.0; if forward { g.output_elements() } else { g.input_elements() }];
    windows(g, |y, inside| {
        for &i in inside {
            if forward {
                out[y] += x[i];
            } else {
                out[i] += x[y];
            }
        }
    });
    out
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn lstm(z_shape: &Shape, z: &[f64], recurrent: &[f64], h0: &[f64], c0: &[f64]) -> Vec<f64> {
    let (n, steps, units) = (z_shape[0], z_shape[1], z_shape[2] / 4);
    let mut out = vec![0.0; n * steps * 6 * units];
    for row in 0..n {
        let mut h = h0[row * units..][..units].to_vec();
        let mut c = c0[row * units..][..units].to_vec();
        for t in 0..steps {
            let at = row * steps + t;
            let gate = |k: usize, h: &[f64]| {
                let product: f64 = (0..units).map(|u| h[u] * recurrent[u * 4 * units + k]).sum();
                z[at * 4 * units + k] + product
            };
            let before = h.clone();
            for u in 0..units {
                let [i, f, o] = [0, 1, 3].map(|k| sigmoid(gate(k * units + u, &before)));
                let g = gate(2 * units + u, &before).tanh();
                c[u] = f * c[u] + i * g;
                h[u] = o * c[u].tanh();
                for (k, v) in [h[u], c[u], i, f, g, o].into_iter().enumerate() {
                    out[(at * 6 + k) * units + u] = v;
                }
            }
        }
    }
    out
}

pub(super) fn lstm_grad(shape: &Shape, y: &[f64], recurrent: &[f64], c0: &[f64], dh: &[f64], dc: &[f64]) -> Vec<f64> {
    let (n, steps, units) = (shape[0], shape[1], shape[2]);
    let mut out = vec![0.0; n * steps * 5 * units];
    for row in 0..n {
        let (mut dh_next, mut dc_next) = (vec![0.0; units], vec![0.0; units]);
        for t in (0..steps).rev() {
            let at = row * steps + t;
            let part = |t: usize, k: usize, u: usize| y[((row * steps + t) * 6 + k) * units + u];
            for u in 0..units {
                let [c, i, f, g, o] = [1, 2, 3, 4, 5].map(|k| part(t, k, u));
                let before = if t == 0 { c0[row * units + u] } else { part(t - 1, 1, u) };
                let dh_total = dh[at * units + u] + dh_next[u];
                let tanh_c = c.tanh();
                let dc_total = dc[at * units + u] + dc_next[u] + dh_total * o * (1.0 - tanh_c * tanh_c);
                let values = [
                    dc_total * g * i * (1.0 - i),
                    dc_total * before * f * (1.0 - f),
                    dc_total * i * (1.0 - g * g),
                    dh_total * tanh_c * o * (1.0 - o),
                    dc_total * f,
                ];
                values.into_iter().enumerate().for_each(|(k, v)| out[(at * 5 + k) * units + u] = v);
                dc_next[u] = dc_total * f;
            }
            let dz = &out[at * 5 * units..][..4 * units];
            let back = |u: usize| dz.iter().zip(&recurrent[u * 4 * units..][..4 * units]).map(|(a, b)| a * b).sum();
            dh_next = (0..units).map(back).collect();
        }
    }
    out
}
