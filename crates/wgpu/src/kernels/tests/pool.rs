use super::*;
use ibex_core::graph::PoolGeometry;
use ibex_core::program::{Pool, PoolPass};

fn pixel(at: [usize; 3], space: [usize; 3]) -> usize {
    (at[0] * space[1] + at[1]) * space[2] + at[2]
}

fn coordinates(i: usize, space: [usize; 3]) -> [usize; 3] {
    [i / (space[1] * space[2]), i / space[2] % space[1], i % space[2]]
}

/// The input elements of every output element, in row-major order.
fn windows(g: &PoolGeometry) -> Vec<Vec<usize>> {
    let outs = g.output.iter().product::<usize>();
    let ins = g.input.iter().product::<usize>();
    let mut all = Vec::new();
    for i in 0..g.n * outs * g.channels {
        let (channel, o, n) = (i % g.channels, coordinates(i / g.channels % outs, g.output), i / g.channels / outs);
        let mut window = Vec::new();
        for w in 0..g.window.iter().product::<usize>() {
            let w = coordinates(w, g.window);
            let p: Vec<isize> = (0..3).map(|d| (o[d] * g.stride[d] + w[d]) as isize - g.pad[d] as isize).collect();
            if (0..3).all(|d| p[d] >= 0 && p[d] < g.input[d] as isize) {
                let p = pixel([p[0] as usize, p[1] as usize, p[2] as usize], g.input);
                window.push((n * ins + p) * g.channels + channel);
            }
        }
        all.push(window);
    }
    all
}

fn largest(window: &[usize], x: &[f32]) -> usize {
    let mut best = window[0];
    for &i in &window[1..] {
        if !x[best].is_nan() && (x[i].is_nan() || x[i] > x[best]) {
            best = i;
        }
    }
    best
}

#[test]
fn all_passes() {
    let Some(backends) = backends() else { return };
    let g = |n, input, output, window, stride, pad, channels| PoolGeometry {
        n,
        input,
        output,
        window,
        stride,
        pad,
        channels,
    };
    for g in [
        g(2, [1, 8, 6], [1, 4, 3], [1, 2, 2], [1, 2, 2], [0, 0, 0], 4),
        g(1, [1, 9, 7], [1, 4, 3], [1, 3, 3], [1, 2, 2], [0, 0, 0], 3),
        g(2, [1, 7, 7], [1, 7, 7], [1, 3, 3], [1, 1, 1], [0, 1, 1], 5),
        g(1, [1, 11, 8], [1, 4, 3], [1, 2, 2], [1, 3, 3], [0, 0, 0], 1),
        g(2, [4, 5, 6], [2, 3, 3], [3, 2, 3], [2, 2, 2], [1, 1, 1], 2),
        g(2, [1, 1, 13], [1, 1, 5], [1, 1, 5], [1, 1, 2], [0, 0, 0], 8),
    ] {
        // Few different numbers, so that windows have ties, and some NaN and infinities.
        let special = |i: usize, v: f32| match i % 41 {
            7 => f32::NAN,
            11 => f32::NEG_INFINITY,
            _ => (v * 3.0).round(),
        };
        let x: Vec<f32> = noise(g.input_elements(), 1).into_iter().enumerate().map(|(i, v)| special(i, v)).collect();
        let values = noise(g.input_elements(), 2);
        let dy = noise(g.output_elements(), 3);
        let tame = noise(g.input_elements(), 4);
        let windows = windows(&g);
        let max: Vec<f64> = windows.iter().map(|w| f64::from(values[largest(w, &x)])).collect();
        let same: Vec<f64> = windows.iter().map(|w| f64::from(x[largest(w, &x)])).collect();
        let sum: Vec<f64> = windows.iter().map(|w| w.iter().map(|&i| f64::from(tame[i])).sum()).collect();
        let (mut max_grad, mut sum_grad) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for (window, &d) in windows.iter().zip(&dy) {
            max_grad[largest(window, &x)] += f64::from(d);
            window.iter().for_each(|&i| sum_grad[i] += f64::from(d));
        }
        for (pass, inputs, want) in [
            (PoolPass::Max, vec![&x, &values], &max),
            (PoolPass::Max, vec![&x, &x], &same),
            (PoolPass::MaxGrad, vec![&x, &dy], &max_grad),
            (PoolPass::Sum, vec![&tame], &sum),
            (PoolPass::SumGrad, vec![&dy], &sum_grad),
        ] {
            let ids = (0..inputs.len()).map(|i| (BufferId(i), DType::F32)).collect();
            let mut kind = Pool { pass, geometry: g, inputs: ids, epilogue: Body::default() };
            kind.epilogue = plain(2, &kind.dims());
            let mut buffers: Vec<Vec<u8>> = inputs.iter().map(|v| bytes(v)).collect();
            buffers.resize(2, Vec::new());
            buffers.push(vec![0xee; 4 * want.len()]);
            for backend in backends {
                let got = run(backend, &KernelKind::Pool(kind.clone()), &buffers, 2);
                close(&format!("{pass:?} {g:?}"), &floats(&got), want, 1e-5);
            }
        }
    }
}

/// Windows of more elements than software devices have iterations for are an error, and no wrong sums.
#[test]
fn long_windows() {
    let Some([backend, _]) = backends() else { return };
    let traits = Traits { max_iterations: 400, ..backend.device.traits.clone() };
    let tried = |pass, length: usize| {
        let (window, output) = ([1, length, length], [1, 41 - length, 41 - length]);
        let geometry =
            PoolGeometry { n: 1, input: [1, 40, 40], output, window, stride: [1; 3], pad: [0; 3], channels: 4 };
        let operands = if matches!(pass, PoolPass::Max | PoolPass::MaxGrad) { 2 } else { 1 };
        let inputs = vec![(BufferId(0), DType::F32); operands];
        let mut kind = Pool { pass, geometry, inputs, epilogue: Body::default() };
        kind.epilogue = plain(2, &kind.dims());
        lower(&KernelKind::Pool(kind), &traits)
    };
    // A gradient of maxima looks through each window that covers an element.
    for (pass, most) in [(PoolPass::Max, 19), (PoolPass::MaxGrad, 4), (PoolPass::Sum, 19), (PoolPass::SumGrad, 19)] {
        tried(pass, most).unwrap();
        let error = tried(pass, most + 1).unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("IBEX_DEVICE=cpu"), "{error}");
    }
    // There are no more windows than outputs.
    tried(PoolPass::SumGrad, 22).unwrap();
}
