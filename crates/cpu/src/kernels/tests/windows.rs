//! Pooling and indexing.

use super::{check, numbers, run, tensor};
use ibex_core::graph::PoolGeometry;
use ibex_core::program::{Body, BufferId, Gather, KernelKind, Pool, PoolPass, ScatterAdd};
use ibex_core::{DType, Data};

/// Input elements (without channel) of every window, in order.
fn windows(g: &PoolGeometry) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for n in 0..g.n {
        for o in 0..g.output.iter().product::<usize>() {
            let oc = [o / (g.output[1] * g.output[2]), o / g.output[2] % g.output[1], o % g.output[2]];
            let mut places = Vec::new();
            for k in 0..g.window.iter().product::<usize>() {
                let kc = [k / (g.window[1] * g.window[2]), k / g.window[2] % g.window[1], k % g.window[2]];
                let p: [isize; 3] = std::array::from_fn(|a| (oc[a] * g.stride[a] + kc[a]) as isize - g.pad[a] as isize);
                if (0..3).all(|a| p[a] >= 0 && p[a] < g.input[a] as isize) {
                    places.push(
                        ((n * g.input[0] + p[0] as usize) * g.input[1] + p[1] as usize) * g.input[2] + p[2] as usize,
                    );
                }
            }
            all.push(places);
        }
    }
    all
}

fn pool(n: usize, input: [usize; 3], window: [usize; 3], stride: [usize; 3], pad: [usize; 3], channels: usize) {
    let output =
        std::array::from_fn(|a| (input[a] + 2 * pad[a]).checked_sub(window[a]).map_or(0, |v| v / stride[a] + 1));
    let g = PoolGeometry { n, input, output, window, stride, pad, channels };
    let places = windows(&g);
    for dtype in [DType::F32, DType::BF16] {
        let (ie, oe) = (g.input_elements(), g.output_elements());
        let mut x = numbers(ie, 1);
        for i in (5..ie).step_by(97) {
            x[i] = f64::NAN;
        }
        let x = Data::from_f64(dtype, &x);
        let buffers =
            [x, tensor(dtype, ie, 2), tensor(dtype, oe, 3), Data::zeros(DType::F32, oe), Data::zeros(DType::F32, ie)];
        let v: Vec<Vec<f64>> = buffers.iter().map(Data::to_f64).collect();
        let [mut largest, mut picked, mut sum] = [(); 3].map(|()| vec![0.0; oe]);
        let [mut max_grad, mut sum_grad] = [(); 2].map(|()| vec![0.0; ie]);
        for (o, places) in places.iter().enumerate() {
            for c in 0..channels {
                let at = |p: usize| p * channels + c;
                let mut best = None::<usize>;
                for &p in places {
                    let (new, old) = (v[0][at(p)], best.map(|b| v[0][b]));
                    if old.is_none_or(|old| !old.is_nan() && (new.is_nan() || new > old)) {
                        best = Some(at(p));
                    }
                    sum[o * channels + c] += v[1][at(p)];
                    sum_grad[at(p)] += v[2][o * channels + c];
                }
                largest[o * channels + c] = best.map_or(f64::NEG_INFINITY, |b| v[0][b]);
                if let Some(b) = best {
                    picked[o * channels + c] = v[1][b];
                    max_grad[b] += v[2][o * channels + c];
                }
            }
        }
        let cases = [
            (PoolPass::Max, vec![0, 0], 3, &largest),
            (PoolPass::Max, vec![0, 1], 3, &picked),
            (PoolPass::Sum, vec![1], 3, &sum),
            (PoolPass::MaxGrad, vec![0, 2], 4, &max_grad),
            (PoolPass::SumGrad, vec![2], 4, &sum_grad),
        ];
        for (pass, inputs, out, want) in cases {
            let inputs = inputs.into_iter().map(|i| (BufferId(i), dtype)).collect();
            let kind = KernelKind::Pool(Pool { pass, geometry: g, inputs, epilogue: Body::default() });
            check(&kind, &buffers, out, want, &format!("{pass:?} {g:?}"));
        }
    }
}

#[test]
fn pools() {
    let one = [1; 3];
    pool(2, [1, 8, 8], [1, 2, 2], [1, 2, 2], [0; 3], 5);
    pool(3, [1, 9, 7], [1, 2, 2], [1, 2, 2], [0; 3], 40);
    pool(1, [1, 31, 16], [1, 2, 2], [1, 2, 2], [0; 3], 64);
    pool(2, [1, 9, 10], [1, 3, 3], [1, 2, 2], [0, 1, 1], 19);
    pool(1, [1, 12, 9], [1, 2, 3], [1, 3, 1], [0, 1, 0], 16);
    pool(2, [1, 1, 20], [1, 1, 4], [1, 1, 3], [0, 0, 2], 3);
    pool(2, [4, 5, 6], [2, 3, 2], [2, 1, 2], [1, 0, 1], 17);
    pool(2, [1, 4, 4], [1, 1, 1], [1, 3, 3], [0, 2, 2], 2);
    pool(0, [1, 4, 4], [1, 2, 2], one, [0; 3], 2);
    pool(1, [1, 1, 4], [1, 2, 2], one, [0; 3], 2);
}

#[test]
fn gathers_and_scatters() {
    for (rows, width, count) in
        [(1, 1, 1), (7, 3, 20), (50, 64, 33), (300, 1, 70_000), (10, 500, 200), (0, 4, 5), (5, 0, 3), (5, 3, 0)]
    {
        let index: Vec<i32> = numbers(count, 4).iter().map(|v| ((v + 1.0) * 0.6 * rows as f64) as i32 - 1).collect();
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32] {
            let values = |len, seed| -> Data {
                Data::from_f64(dtype, &numbers(len, seed).iter().map(|v| v * 16.0 + 16.0).collect::<Vec<_>>())
            };
            let outside = if dtype.is_float() { f64::NAN } else { 0.0 };
            let table = values(rows * width, 5);
            let buffers = [table.clone(), Data::I32(index.clone()), Data::zeros(dtype, count * width)];
            let kind = KernelKind::Gather(Gather {
                rows,
                width,
                count,
                dtype,
                table: BufferId(0),
                index: BufferId(1),
                out: BufferId(2),
            });
            let got = run(&kind, &buffers, 2, 0).to_f64();
            let table = table.to_f64();
            for (i, &row) in index.iter().enumerate() {
                for c in 0..width {
                    let inside = row >= 0 && (row as usize) < rows;
                    let want = if inside { table[row as usize * width + c] } else { outside };
                    let got = got[i * width + c];
                    assert!(got == want || (got.is_nan() && want.is_nan()), "gather {dtype} {rows} {width} {count}");
                }
            }
            if dtype.size() == 2 {
                continue;
            }
            let source = values(count * width, 6);
            let buffers = [Data::I32(index.clone()), source.clone(), Data::zeros(dtype, rows * width)];
            let kind = KernelKind::ScatterAdd(ScatterAdd {
                rows,
                width,
                count,
                dtype,
                index: BufferId(0),
                source: BufferId(1),
                out: BufferId(2),
            });
            let got = run(&kind, &buffers, 2, 0).to_f64();
            let source = source.to_f64();
            let mut want = vec![0.0; rows * width];
            for (i, &row) in index.iter().enumerate().filter(|(_, r)| **r >= 0 && (**r as usize) < rows) {
                for c in 0..width {
                    want[row as usize * width + c] += source[i * width + c];
                }
            }
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w).abs() <= 1e-5 * w.abs(), "scatter {dtype} {rows} {width} {count}: {g} for {w}");
            }
        }
    }
}
