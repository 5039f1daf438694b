//! Times kernels, when run with `--ignored`; `IBEX_SPEED` names those to time.

use super::conv::geometry;
use super::*;
use ibex_core::graph::PoolGeometry;
use ibex_core::program::{Conv, ConvPass, Lstm, LstmGrad, MatMul, Operand, Pool, PoolPass};
use std::time::Instant;

/// Prints the best time of a run and that of the first one, which compiles.
fn report(backend: &WgpuBackend, what: &str, flops: f64, kind: KernelKind, sizes: &[usize]) -> f64 {
    if !what.contains(&std::env::var("IBEX_SPEED").unwrap_or_default()) {
        return 0.0;
    }
    let decls: Vec<_> = sizes.iter().map(|&n| (DType::F32, n)).collect();
    let buffers: Vec<_> =
        sizes.iter().enumerate().map(|(i, &n)| upload(backend, &bytes(&noise(n, i as u32)))).collect();
    let start = Instant::now();
    let executable = backend.load(program(&decls, &[], vec![kind]).into()).unwrap();
    let load = start.elapsed().as_secs_f64();
    let time = || {
        let start = Instant::now();
        executable.run(&buffers).unwrap();
        block_on(backend.read(&buffers[0], 0..4)).unwrap();
        start.elapsed().as_secs_f64()
    };
    let first = time();
    let runs = (2.0 / first.max(0.01)).clamp(4.0, 30.0) as usize;
    let seconds = (0..runs).map(|_| time()).fold(f64::INFINITY, f64::min);
    println!(
        "{what:40} {:9.2} ms {:7.1} GFLOP/s  load {:.0} ms, first run {:.0} ms",
        seconds * 1e3,
        flops / seconds / 1e9,
        load * 1e3,
        first * 1e3,
    );
    seconds * 1e3
}

fn matmul(backend: &WgpuBackend, what: &str, m: usize, n: usize, k: usize, ta: bool, tb: bool) -> f64 {
    let o = |b, rows: usize, cols: usize, t: bool| Operand {
        buffer: BufferId(b),
        dtype: DType::F32,
        offset: 0,
        batch_stride: 0,
        row_stride: if t { 1 } else { cols },
        col_stride: if t { rows } else { 1 },
    };
    let (a, b) = (o(0, m, k, ta), o(1, k, n, tb));
    let kind = KernelKind::MatMul(MatMul { batch: 1, m, n, k, a, b, epilogue: plain(2, &[1, m, n]) });
    report(backend, &format!("{what} {m}x{n}x{k} {ta} {tb}"), 2.0 * (m * n * k) as f64, kind, &[m * k, k * n, m * n])
}

#[test]
#[ignore = "measures"]
fn speed() {
    let backend = &WgpuBackend::open_default_blocking().unwrap();
    for (ta, tb) in [(false, false), (true, false), (false, true)] {
        matmul(backend, "matmul", 512, 512, 512, ta, tb);
    }
    for n in [256, 1024] {
        matmul(backend, "matmul", n, n, n, false, false);
    }
    matmul(backend, "matmul", 511, 509, 510, false, false);
    matmul(backend, "matmul", 1, 4096, 4096, false, false);
    let conv = |what: &str, pass, g: ibex_core::graph::ConvGeometry| {
        let mut kind = Conv {
            pass,
            geometry: g,
            lhs: (BufferId(0), DType::F32),
            rhs: (BufferId(1), DType::F32),
            epilogue: Body::default(),
        };
        kind.epilogue = plain(2, &kind.dims());
        let (x, w, y) = (g.input_elements(), g.kernel_elements(), g.output_elements());
        let sizes = match pass {
            ConvPass::Forward => [x, w, y],
            ConvPass::InputGrad => [y, w, x],
            ConvPass::KernelGrad => [x, y, w],
        };
        report(backend, &format!("{what} {pass:?}"), g.flops() as f64, KernelKind::Conv(kind), &sizes)
    };
    let passes = [ConvPass::Forward, ConvPass::InputGrad, ConvPass::KernelGrad];
    for pass in passes {
        conv("conv56", pass, geometry(16, [1, 56, 56], [1, 3, 3], [1, 1, 1], [1, 64, 64]));
    }
    conv("depthwise", ConvPass::Forward, geometry(16, [1, 56, 56], [1, 3, 3], [1, 1, 1], [64, 1, 64]));
    let mut cnn = 0.0;
    let (first, second) = (
        geometry(128, [1, 28, 28], [1, 3, 3], [1, 0, 1], [1, 1, 32]),
        geometry(128, [1, 26, 26], [1, 3, 3], [1, 0, 1], [1, 32, 64]),
    );
    for pass in passes {
        cnn += conv("cnn conv2", pass, second);
    }
    cnn += conv("cnn conv1", ConvPass::Forward, first) + conv("cnn conv1", ConvPass::KernelGrad, first);
    let pool = PoolGeometry {
        n: 128,
        input: [1, 24, 24],
        output: [1, 12, 12],
        window: [1, 2, 2],
        stride: [1, 2, 2],
        pad: [0, 0, 0],
        channels: 64,
    };
    for (pass, sizes) in [
        (PoolPass::Max, [pool.input_elements(), 1, pool.output_elements()]),
        (PoolPass::MaxGrad, [pool.input_elements(), pool.output_elements(), pool.input_elements()]),
    ] {
        let second = if pass == PoolPass::Max { 0 } else { 1 };
        let inputs = vec![(BufferId(0), DType::F32), (BufferId(second), DType::F32)];
        let mut kind = Pool { pass, geometry: pool, inputs, epilogue: Body::default() };
        kind.epilogue = plain(2, &kind.dims());
        cnn += report(
            backend,
            &format!("cnn pool {pass:?}"),
            pool.input_elements() as f64,
            KernelKind::Pool(kind),
            &sizes,
        );
    }
    cnn += matmul(backend, "cnn dense", 128, 128, 9216, false, false);
    cnn += matmul(backend, "cnn dense", 9216, 128, 128, true, false);
    cnn += matmul(backend, "cnn dense", 128, 9216, 128, false, true);
    cnn += matmul(backend, "cnn head", 128, 10, 128, false, false);
    cnn += matmul(backend, "cnn head", 128, 10, 128, true, false);
    cnn += matmul(backend, "cnn head", 128, 128, 10, false, true);
    println!("cnn kernels together {cnn:.1} ms");
    let (n, steps, units) = (32, 64, 128);
    let id = BufferId;
    let flops = (2 * n * steps * units * 4 * units) as f64;
    let kind = Lstm { n, steps, units, z: id(0), recurrent: id(1), h0: id(2), c0: id(2), out: id(3) };
    let (w, s) = (4 * units * units, n * steps * units);
    report(backend, "lstm 32x64x128", flops, KernelKind::Lstm(kind), &[4 * s, w, n * units, 6 * s]);
    let kind = LstmGrad {
        n,
        steps,
        units,
        forward: id(0),
        recurrent: id(1),
        c0: id(2),
        dh: Some(id(3)),
        dc: None,
        out: id(4),
    };
    report(backend, "lstm grad 32x64x128", flops, KernelKind::LstmGrad(kind), &[6 * s, w, n * units, s, 5 * s]);
}
