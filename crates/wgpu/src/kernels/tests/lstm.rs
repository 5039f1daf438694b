use super::*;
use ibex_core::program::{Lstm, LstmGrad};

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn forward(n: usize, t: usize, u: usize, z: &[f32], r: &[f32], h0: &[f32], c0: &[f32]) -> Vec<f64> {
    let mut out = vec![0.0; n * t * 6 * u];
    for b in 0..n {
        let mut h: Vec<f64> = h0[b * u..][..u].iter().map(|&v| f64::from(v)).collect();
        let mut c: Vec<f64> = c0[b * u..][..u].iter().map(|&v| f64::from(v)).collect();
        for s in 0..t {
            let mut next = h.clone();
            for j in 0..u {
                let gate = |g: usize| {
                    let dot: f64 = (0..u).map(|k| h[k] * f64::from(r[k * 4 * u + g * u + j])).sum();
                    f64::from(z[(b * t + s) * 4 * u + g * u + j]) + dot
                };
                let (i, f, g, o) = (sigmoid(gate(0)), sigmoid(gate(1)), gate(2).tanh(), sigmoid(gate(3)));
                c[j] = f * c[j] + i * g;
                next[j] = o * c[j].tanh();
                for (w, v) in [next[j], c[j], i, f, g, o].into_iter().enumerate() {
                    out[(b * t + s) * 6 * u + w * u + j] = v;
                }
            }
            h = next;
        }
    }
    out
}

#[test]
fn forward_and_gradient() {
    let Some(backends) = backends() else { return };
    // The states of the last two fit no workgroup, and the long one has more iterations than llvmpipe runs in one invocation.
    for (n, t, u) in
        [(1, 1, 1), (3, 4, 5), (4, 3, 64), (6, 5, 70), (9, 2, 130), (1, 170, 100), (5, 3, 258), (2, 2, 300)]
    {
        let mut z = noise(n * t * 4 * u, 1);
        // Far out, where a careless sigmoid or tanh overflows.
        for (i, v) in z.iter_mut().enumerate() {
            if i % 17 == 3 {
                *v *= 300.0;
            }
        }
        let r: Vec<f32> = noise(4 * u * u, 2).iter().map(|v| v / (u as f32).sqrt()).collect();
        let (h0, c0) = (noise(n * u, 3), noise(n * u, 4));
        let saved = forward(n, t, u, &z, &r, &h0, &c0);
        let id = BufferId;
        let kind = KernelKind::Lstm(Lstm {
            n,
            steps: t,
            units: u,
            z: id(0),
            recurrent: id(1),
            h0: id(2),
            c0: id(3),
            out: id(4),
        });
        let buffers = [bytes(&z), bytes(&r), bytes(&h0), bytes(&c0), vec![0xff; 4 * saved.len()]];
        for backend in backends {
            close(&format!("{n} {t} {u}"), &floats(&run(backend, &kind, &buffers, 4)), &saved, 2e-5);
        }

        let narrow: Vec<f32> = saved.iter().map(|&v| v as f32).collect();
        for (has_dh, has_dc) in [(true, true), (true, false), (false, true)] {
            let dh = noise(n * t * u, 5);
            let dc = noise(n * t * u, 6);
            let want = gradient(n, t, u, &saved, &r, &c0, has_dh.then_some(&dh[..]), has_dc.then_some(&dc[..]));
            let kind = KernelKind::LstmGrad(LstmGrad {
                n,
                steps: t,
                units: u,
                forward: id(0),
                recurrent: id(1),
                c0: id(2),
                dh: has_dh.then_some(id(3)),
                dc: has_dc.then_some(id(4)),
                out: id(5),
            });
            let buffers =
                [bytes(&narrow), bytes(&r), bytes(&c0), bytes(&dh), bytes(&dc), vec![0xff; 4 * n * t * 5 * u]];
            for backend in backends {
                close(&format!("grad {n} {t} {u}"), &floats(&run(backend, &kind, &buffers, 5)), &want, 1e-4);
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn gradient(
    n: usize,
    t: usize,
    u: usize,
    saved: &[f64],
    r: &[f32],
    c0: &[f32],
    dh: Option<&[f32]>,
    dc: Option<&[f32]>,
) -> Vec<f64> {
    let mut out = vec![0.0; n * t * 5 * u];
    for b in 0..n {
        let (mut carry_h, mut carry_c) = (vec![0.0; u], vec![0.0; u]);
        for s in (0..t).rev() {
            let at = |s: usize, w: usize, j: usize| saved[(b * t + s) * 6 * u + w * u + j];
            for j in 0..u {
                let outside = |d: Option<&[f32]>| d.map_or(0.0, |d| f64::from(d[(b * t + s) * u + j]));
                let (i, f, g, o) = (at(s, 2, j), at(s, 3, j), at(s, 4, j), at(s, 5, j));
                let before = if s == 0 { f64::from(c0[b * u + j]) } else { at(s - 1, 1, j) };
                let squashed = at(s, 1, j).tanh();
                let dht = outside(dh) + carry_h[j];
                let dct = outside(dc) + carry_c[j] + dht * o * (1.0 - squashed * squashed);
                let row = &mut out[(b * t + s) * 5 * u..][..5 * u];
                row[j] = dct * g * i * (1.0 - i);
                row[u + j] = dct * before * f * (1.0 - f);
                row[2 * u + j] = dct * i * (1.0 - g * g);
                row[3 * u + j] = dht * squashed * o * (1.0 - o);
                row[4 * u + j] = dct * f;
                carry_c[j] = dct * f;
            }
            for (j, h) in carry_h.iter_mut().enumerate() {
                *h = (0..4 * u).map(|q| out[(b * t + s) * 5 * u + q] * f64::from(r[j * 4 * u + q])).sum();
            }
        }
    }
    out
}
