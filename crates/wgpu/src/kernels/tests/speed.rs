//! Not a test: times kernels when `IBEX_SPEED` is set.

use super::conv::geometry;
use super::*;
use ibex_core::graph::PoolGeometry;
use ibex_core::program::{Conv, ConvPass, Lstm, LstmGrad, MatMul, Operand, Pool, PoolPass};

fn report(gpu: &Gpu, what: &str, flops: f64, kind: KernelKind, sizes: &[usize]) -> f64 {
    if !what.contains(&std::env::var("IBEX_SPEED").unwrap()) {
        return 0.0;
    }
    let lowered = lower(&kind, &Program::default(), &gpu.traits).unwrap();
    let buffers: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, &n)| bytes(&noise(n, i as u32))).collect();
    let start = std::time::Instant::now();
    let ready = gpu.prepare(&lowered, &buffers, false);
    gpu.run(&ready);
    let compile = start.elapsed().as_secs_f64();
    let runs = (6.0 / compile.max(0.01)).clamp(4.0, 30.0) as usize;
    let seconds = gpu.cpu_time(&ready, runs).max(1e-6).min(gpu.time(&ready, 4));
    println!(
        "{what:28} {:9.2} ms {:7.1} GFLOP/s  dispatches {:?} first {compile:.2} s",
        seconds * 1e3,
        flops / seconds / 1e9,
        lowered.dispatches.iter().take(3).map(|d| d.workgroups).collect::<Vec<_>>()
    );
    seconds * 1e3
}

fn matmul(gpu: &Gpu, what: &str, m: usize, n: usize, k: usize, ta: bool, tb: bool) -> f64 {
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
    report(gpu, &format!("{what} {m}x{n}x{k} {ta} {tb}"), 2.0 * (m * n * k) as f64, kind, &[m * k, k * n, m * n])
}

#[test]
fn speed() {
    if std::env::var("IBEX_SPEED").is_err() {
        return;
    }
    let Some(gpu) = gpu() else { return };
    for (ta, tb) in [(false, false), (true, false), (false, true)] {
        matmul(gpu, "matmul", 512, 512, 512, ta, tb);
    }
    matmul(gpu, "matmul", 511, 509, 510, false, false);
    matmul(gpu, "matmul", 1, 4096, 4096, false, false);
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
        report(gpu, &format!("{what} {pass:?}"), g.flops() as f64, KernelKind::Conv(kind), &sizes)
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
        cnn += report(gpu, &format!("cnn pool {pass:?}"), pool.input_elements() as f64, KernelKind::Pool(kind), &sizes);
    }
    cnn += matmul(gpu, "cnn dense", 128, 128, 9216, false, false);
    cnn += matmul(gpu, "cnn dense", 9216, 128, 128, true, false);
    cnn += matmul(gpu, "cnn dense", 128, 9216, 128, false, true);
    cnn += matmul(gpu, "cnn head", 128, 10, 128, false, false);
    cnn += matmul(gpu, "cnn head", 128, 10, 128, true, false);
    cnn += matmul(gpu, "cnn head", 128, 128, 10, false, true);
    println!("cnn kernels together {cnn:.1} ms");
    let (n, steps, units) = (32, 64, 128);
    let id = BufferId;
    let flops = (2 * n * steps * units * 4 * units) as f64;
    let kind = Lstm { n, steps, units, z: id(0), recurrent: id(1), h0: id(2), c0: id(2), out: id(3) };
    let (w, s) = (4 * units * units, n * steps * units);
    report(gpu, "lstm 32x64x128", flops, KernelKind::Lstm(kind), &[4 * s, w, n * units, 6 * s]);
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
    report(gpu, "lstm grad 32x64x128", flops, KernelKind::LstmGrad(kind), &[6 * s, w, n * units, s, 5 * s]);
}
