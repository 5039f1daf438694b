//! Measurements: `cargo test --release -p ibex-cpu --test speed -- --ignored --nocapture`

mod support;

use ibex_core::backend::Backend;
use ibex_core::graph::{Binary, Reduce, Unary};
use ibex_core::program::View;
use ibex_core::{DType, Data};
use std::sync::Arc;
use support::{Builder, Case, numbers, program, upload};

fn measure(name: &str, case: &Case, bytes: usize) {
    let device = ibex_cpu::CpuBackend::new();
    let executable = device.load(Arc::new(program(case))).unwrap();
    let buffers = upload(&device, &case.data);
    let mut best = f64::INFINITY;
    let mut total = 0.0;
    let mut runs = 0;
    let before = cpu_time();
    while total < 0.3 || runs < 5 {
        let start = std::time::Instant::now();
        executable.run(&buffers).unwrap();
        let time = start.elapsed().as_secs_f64();
        (best, total, runs) = (best.min(time), total + time, runs + 1);
    }
    let own = (cpu_time() - before) * 1e6 / f64::from(runs);
    let rate = bytes as f64 / best / 1e9;
    println!("{name:44} {:9.1} us best, {rate:5.1} GB/s, {own:9.1} us of this thread's own time", best * 1e6);
}

/// Seconds this thread has run, which on a busy machine says more than the clock.
fn cpu_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).map_or(f64::NAN, |ns: f64| ns * 1e-9)
}

fn row_view(dims: &[usize], reduced: std::ops::Range<usize>) -> (View, usize) {
    let mut view = View::scalar(dims.len());
    let mut len = 1;
    for d in (0..dims.len()).rev().filter(|d| !reduced.contains(d)) {
        view.strides[d] = len as i64;
        len *= dims[d];
    }
    (view, len)
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let n = 4 << 20;
    let flat = View::contiguous(&[n]);

    let mut b = Builder::default();
    let x = b.buffer(Data::from_f64(DType::F32, &numbers(1, n)));
    let x = b.load(x, flat.clone());
    let (c, d) = (b.value(1.5), b.value(0.25));
    let y = b.binary(Binary::Mul, x, c);
    let y = b.binary(Binary::Add, y, d);
    let y = b.unary(Unary::Tanh, y);
    let s = b.unary(Unary::Sigmoid, x);
    let y = b.binary(Binary::Mul, y, s);
    b.store(y, DType::F32, n, flat.clone());
    measure("tanh(x*1.5+0.25)*sigmoid(x), 4M", &b.done(&[n], 1, 0), 8 * n);

    let mut b = Builder::default();
    let x = b.buffer(Data::from_f64(DType::F32, &numbers(1, n)));
    let x = b.load(x, flat.clone());
    let y = b.binary(Binary::Add, x, x);
    b.store(y, DType::F32, n, flat.clone());
    measure("x+x, 4M", &b.done(&[n], 1, 0), 8 * n);

    let mut b = Builder::default();
    let x = b.buffer(Data::F32(vec![1.0; 16 << 20]));
    let x = b.load(x, View::contiguous(&[16 << 20]));
    let r = b.reduce(Reduce::Sum, x);
    b.store(r, DType::F32, 1, View::scalar(1));
    measure("sum of 16M", &b.done(&[16 << 20], 0, 1), 64 << 20);

    for (dims, outer) in [([4096, 1024], 1), ([128, 10], 1)] {
        let len = dims[0] * dims[1];
        let mut b = Builder::default();
        let x = b.buffer(Data::from_f64(DType::F32, &numbers(1, len)));
        let x = b.load(x, View::contiguous(&dims));
        let max = b.reduce(Reduce::Max, x);
        let x = b.binary(Binary::Sub, x, max);
        let e = b.unary(Unary::Exp, x);
        let sum = b.reduce(Reduce::Sum, e);
        let scale = b.unary(Unary::Recip, sum);
        let y = b.binary(Binary::Mul, e, scale);
        b.store(y, DType::F32, len, View::contiguous(&dims));
        measure(&format!("softmax {dims:?}"), &b.done(&dims, outer, 1), 8 * len);
    }

    for (dims, outer) in [([4096, 1024], 1), ([86_528, 32], 0)] {
        let len = dims[0] * dims[1];
        let mut b = Builder::default();
        let x = b.buffer(Data::from_f64(DType::F32, &numbers(1, len)));
        let x = b.load(x, View::contiguous(&dims));
        let count = b.value(1.0 / dims[outer] as f32);
        let sum = b.reduce(Reduce::Sum, x);
        let mean = b.binary(Binary::Mul, sum, count);
        let x = b.binary(Binary::Sub, x, mean);
        let square = b.binary(Binary::Mul, x, x);
        let sum = b.reduce(Reduce::Sum, square);
        let var = b.binary(Binary::Mul, sum, count);
        let eps = b.value(1e-3);
        let var = b.binary(Binary::Add, var, eps);
        let scale = b.unary(Unary::Rsqrt, var);
        let y = b.binary(Binary::Mul, x, scale);
        b.store(y, DType::F32, len, View::contiguous(&dims));
        measure(&format!("normalisation {dims:?}, axis {outer}"), &b.done(&dims, outer, 1), 8 * len);
    }

    for dims in [[86_528, 32], [128, 512], [128, 10], [4096, 1024]] {
        let len = dims[0] * dims[1];
        let mut b = Builder::default();
        let x = b.buffer(Data::from_f64(DType::F32, &numbers(1, len)));
        let x = b.load(x, View::contiguous(&dims));
        let sum = b.reduce(Reduce::Sum, x);
        b.store(sum, DType::F32, dims[1], row_view(&dims, 0..1).0);
        measure(&format!("column sum {dims:?}"), &b.done(&dims, 0, 1), 4 * len);
    }

    for dims in [[128, 512], [86_528, 32], [100_000, 10]] {
        let len = dims[0] * dims[1];
        let mut b = Builder::default();
        let x = b.buffer(Data::from_f64(DType::F32, &numbers(1, len)));
        let bias = b.buffer(Data::from_f64(DType::F32, &numbers(2, dims[1])));
        let x = b.load(x, View::contiguous(&dims));
        let bias = b.load(bias, row_view(&dims, 0..1).0);
        let zero = b.value(0.0);
        let y = b.binary(Binary::Add, x, bias);
        let y = b.binary(Binary::Max, y, zero);
        b.store(y, DType::F32, len, View::contiguous(&dims));
        measure(&format!("bias and relu {dims:?}"), &b.done(&dims, 2, 0), 8 * len);
    }

    let n = 400_000;
    let mut b = Builder::default();
    let flat = View::contiguous(&[n]);
    let ids = [1, 2, 3, 4].map(|s| b.buffer(Data::from_f64(DType::F32, &numbers(s, n))));
    let [p, m, v, g] = ids.map(|id| b.load(id, flat.clone()));
    let [b1, b2, c1, c2, rate, eps] = [0.9, 0.999, 0.1, 0.001, 1e-3, 1e-7].map(|x| b.value(x));
    let (mb, gc) = (b.binary(Binary::Mul, m, b1), b.binary(Binary::Mul, g, c1));
    let m = b.binary(Binary::Add, mb, gc);
    let gg = b.binary(Binary::Mul, g, g);
    let (vb, gc) = (b.binary(Binary::Mul, v, b2), b.binary(Binary::Mul, gg, c2));
    let v = b.binary(Binary::Add, vb, gc);
    let v = b.unary(Unary::Abs, v);
    let root = b.unary(Unary::Sqrt, v);
    let root = b.binary(Binary::Add, root, eps);
    let step = b.binary(Binary::Mul, m, rate);
    let step = b.binary(Binary::Div, step, root);
    let p = b.binary(Binary::Sub, p, step);
    for (value, id) in [(p, ids[0]), (m, ids[1]), (v, ids[2])] {
        b.store_to(value, id, flat.clone());
    }
    measure("adam 400k", &b.done(&[n], 1, 0), 28 * n);

    let dims = [1024, 1024];
    let mut b = Builder::default();
    let x = b.buffer(Data::from_f64(DType::F32, &numbers(1, 1 << 20)));
    let x = b.load(x, View { offset: 0, strides: vec![1, 1024], bounds: vec![] });
    let y = b.binary(Binary::Add, x, x);
    b.store(y, DType::F32, 1 << 20, View::contiguous(&dims));
    measure("transpose [1024, 1024]", &b.done(&dims, 2, 0), 8 << 20);
}
