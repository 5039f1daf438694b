use super::*;
use ibex_core::graph::ConvGeometry;
use ibex_core::program::{Conv, ConvPass};

/// Output lengths follow from the rest.
pub(super) fn geometry(
    n: usize,
    input: [usize; 3],
    kernel: [usize; 3],
    [stride, pad, dilation]: [usize; 3],
    [groups, cin, cout]: [usize; 3],
) -> ConvGeometry {
    let spread = |v: usize, d: usize, rest: usize| if input[d] == 1 && kernel[d] == 1 { rest } else { v };
    let axes = |v: usize, rest: usize| [spread(v, 0, rest), spread(v, 1, rest), spread(v, 2, rest)];
    let (stride, pad, dilation) = (axes(stride, 1), axes(pad, 0), axes(dilation, 1));
    let length = |d: usize| (input[d] + 2 * pad[d] - (kernel[d] - 1) * dilation[d] - 1) / stride[d] + 1;
    let output = [length(0), length(1), length(2)];
    ConvGeometry { n, input, output, kernel, stride, pad, dilation, groups, cin, cout }
}

/// Calls `f(input element, kernel element, output element)` for every product.
fn products(g: &ConvGeometry, mut f: impl FnMut(usize, usize, usize)) {
    let per = g.cout / g.groups;
    for n in 0..g.n {
        for o in 0..g.output.iter().product::<usize>() {
            let at = [o / (g.output[1] * g.output[2]), o / g.output[2] % g.output[1], o % g.output[2]];
            for t in 0..g.kernel.iter().product::<usize>() {
                let tap = [t / (g.kernel[1] * g.kernel[2]), t / g.kernel[2] % g.kernel[1], t % g.kernel[2]];
                let p: Vec<isize> = (0..3)
                    .map(|d| (at[d] * g.stride[d] + tap[d] * g.dilation[d]) as isize - g.pad[d] as isize)
                    .collect();
                if (0..3).any(|d| p[d] < 0 || p[d] >= g.input[d] as isize) {
                    continue;
                }
                let pixel =
                    ((n * g.input[0] + p[0] as usize) * g.input[1] + p[1] as usize) * g.input[2] + p[2] as usize;
                for oc in 0..g.cout {
                    for c in 0..g.cin {
                        f(
                            pixel * g.groups * g.cin + oc / per * g.cin + c,
                            (t * g.cin + c) * g.cout + oc,
                            (n * g.output.iter().product::<usize>() + o) * g.cout + oc,
                        );
                    }
                }
            }
        }
    }
}

fn check(backends: &[WgpuBackend], g: ConvGeometry) {
    let x = noise(g.input_elements(), 1);
    let w = noise(g.kernel_elements(), 2);
    let dy = noise(g.output_elements(), 3);
    let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
    products(&g, |i, k, o| {
        y[o] += f64::from(x[i]) * f64::from(w[k]);
        dx[i] += f64::from(dy[o]) * f64::from(w[k]);
        dw[k] += f64::from(dy[o]) * f64::from(x[i]);
    });
    for (pass, lhs, rhs, want) in
        [(ConvPass::Forward, &x, &w, &y), (ConvPass::InputGrad, &dy, &w, &dx), (ConvPass::KernelGrad, &x, &dy, &dw)]
    {
        let mut kind = Conv {
            pass,
            geometry: g,
            lhs: (BufferId(0), DType::F32),
            rhs: (BufferId(1), DType::F32),
            epilogue: Body::default(),
        };
        let dims = kind.dims();
        let bias = noise(dims[4], 4);
        kind.epilogue = bias_relu(2, 3, 4, &dims);
        let kind = KernelKind::Conv(kind);
        let relu: Vec<f64> =
            want.iter().enumerate().map(|(i, v)| (v + f64::from(bias[i % dims[4]])).max(0.0)).collect();
        for backend in backends {
            let empty = vec![0xff; 4 * want.len()];
            let buffers = [bytes(lhs), bytes(rhs), bytes(&bias), empty.clone(), empty];
            let what = format!("{pass:?} {g:?} software {}", backend.device.traits.software);
            let got = run_all(backend, &kind, &buffers, [3, 4]);
            close(&what, &floats(&got[0]), &relu, 1e-4);
            close(&what, &floats(&got[1]), want, 1e-4);
        }
    }
}

#[test]
fn plain_strided_dilated_padded() {
    let Some(backends) = backends() else { return };
    for g in [
        geometry(2, [1, 9, 8], [1, 3, 3], [1, 0, 1], [1, 4, 8]),
        geometry(1, [1, 7, 9], [1, 3, 2], [2, 1, 1], [1, 3, 5]),
        geometry(2, [1, 11, 10], [1, 3, 3], [1, 2, 2], [1, 8, 12]),
        geometry(3, [1, 10, 9], [1, 3, 3], [3, 1, 1], [1, 1, 4]),
        geometry(2, [1, 1, 23], [1, 1, 5], [2, 2, 1], [1, 5, 36]),
        geometry(2, [5, 6, 4], [2, 3, 2], [2, 1, 1], [1, 4, 6]),
        geometry(5, [1, 12, 12], [1, 1, 1], [1, 0, 1], [1, 16, 40]),
        geometry(4, [1, 14, 14], [1, 3, 3], [1, 1, 1], [1, 20, 36]),
    ] {
        check(backends, g);
    }
}

#[test]
fn large_tiles() {
    let Some(backends) = forced(Contractions::Large, |_| {}) else { return };
    for g in [
        geometry(1, [1, 12, 11], [1, 3, 3], [1, 1, 1], [1, 4, 132]),
        geometry(2, [1, 7, 9], [1, 3, 2], [2, 1, 1], [1, 3, 5]),
        geometry(2, [1, 8, 7], [1, 3, 3], [2, 1, 1], [2, 4, 16]),
    ] {
        check(&backends, g);
    }
}

#[test]
fn cooperative_matrices() {
    let Some(backends) = forced(Contractions::Cooperative, |_| {}) else { return };
    for g in [
        geometry(1, [1, 12, 11], [1, 3, 3], [1, 1, 1], [1, 4, 132]),
        geometry(2, [1, 7, 9], [1, 3, 2], [2, 1, 1], [1, 3, 5]),
        geometry(2, [1, 8, 7], [1, 3, 3], [2, 1, 1], [2, 4, 16]),
    ] {
        check(&backends, g);
    }
}

#[test]
fn groups_and_depthwise() {
    let Some(backends) = backends() else { return };
    for g in [
        geometry(2, [1, 8, 7], [1, 3, 3], [1, 1, 1], [2, 4, 16]),
        geometry(2, [1, 8, 7], [1, 3, 3], [2, 1, 1], [3, 5, 27]),
        geometry(2, [1, 9, 9], [1, 3, 3], [1, 1, 1], [6, 1, 6]),
        geometry(3, [1, 9, 9], [1, 3, 3], [2, 0, 1], [5, 1, 10]),
        geometry(1, [3, 9, 5], [2, 2, 2], [1, 1, 2], [4, 2, 4]),
    ] {
        check(backends, g);
    }
}

/// More taps and channels than llvmpipe has iterations for in one invocation.
#[test]
fn long_narrow_groups() {
    let Some(backends) = backends() else { return };
    check(backends, geometry(1, [1, 1, 3], [1, 1, 2], [1, 0, 1], [2, 40_000, 2]));
    check(backends, geometry(1, [1, 1, 3], [1, 1, 2], [1, 0, 1], [2, 1, 80_000]));
}

/// The gradient of a kernel can only be split where the epilogue leaves a binding for the parts.
#[test]
fn kernel_gradient_without_scratch() {
    let Some([backend, _]) = backends() else { return };
    let traits = Traits { max_bindings: 1, max_iterations: 100, subgroups: None, ..backend.device.traits.clone() };
    let tried = |length| {
        let geometry = geometry(1, [1, 1, length], [1, 1, 1], [1, 0, 1], [2, 1, 2]);
        let (lhs, rhs) = ((BufferId(0), DType::F32), (BufferId(1), DType::F32));
        let mut kind = Conv { pass: ConvPass::KernelGrad, geometry, lhs, rhs, epilogue: Body::default() };
        kind.epilogue = plain(2, &kind.dims());
        lower(&KernelKind::Conv(kind), &traits)
    };
    assert!(tried(100).unwrap().scratch.is_empty());
    let error = tried(101).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("IBEX_DEVICE=cpu"), "{error}");
}
