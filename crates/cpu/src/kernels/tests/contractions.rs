//! Products, convolutions and recurrence.

use super::super::Prepared;
use super::super::gemm::{self, Fresh, Gathered, Matrix, Packed, Rows, Tile};
use super::{check, numbers, run, run_as, tensor};
use crate::epilogue::Finish;
use ibex_core::graph::ConvGeometry;
use ibex_core::program::{Body, BufferId, Conv, ConvPass, KernelKind, Lstm, LstmGrad, MatMul, Operand};
use ibex_core::{DType, Data};

fn operand(buffer: usize, dtype: DType, offset: usize, strides: [usize; 3]) -> Operand {
    let [batch_stride, row_stride, col_stride] = strides;
    Operand { buffer: BufferId(buffer), dtype, offset, batch_stride, row_stride, col_stride }
}

fn matmul([batch, m, n, k]: [usize; 4], a: Operand, b: Operand) {
    let len = |o: &Operand, r: usize, c: usize| {
        o.offset + batch.max(1) * o.batch_stride + r.max(1) * o.row_stride + c.max(1) * o.col_stride
    };
    let buffers =
        [tensor(a.dtype, len(&a, m, k), 1), tensor(b.dtype, len(&b, k, n), 2), Data::zeros(DType::F32, batch * m * n)];
    let (x, y) = (buffers[0].to_f64(), buffers[1].to_f64());
    let at =
        |o: &Operand, i: usize, r: usize, c: usize| o.offset + i * o.batch_stride + r * o.row_stride + c * o.col_stride;
    let mut want = Vec::new();
    for i in 0..batch {
        for r in 0..m {
            for c in 0..n {
                want.push((0..k).map(|p| x[at(&a, i, r, p)] * y[at(&b, i, p, c)]).sum());
            }
        }
    }
    let kind = KernelKind::MatMul(MatMul { batch, m, n, k, a, b, epilogue: Body::default() });
    check(&kind, &buffers, 2, &want, &format!("matmul {batch} {m} {n} {k} {a:?} {b:?}"));
}

#[test]
fn matmul_shapes() {
    let shapes = [
        [1, 1, 1, 1],
        [1, 3, 5, 7],
        [2, 14, 32, 256],
        [1, 15, 33, 257],
        [3, 29, 17, 600],
        [1, 130, 70, 300],
        [1, 1, 1000, 64],
        [1, 200, 10, 33],
        [5, 2, 2, 2],
        [1, 64, 600, 40],
        [40, 9, 20, 8],
        [0, 3, 3, 3],
        [1, 0, 3, 3],
        [1, 3, 0, 3],
        [2, 3, 4, 0],
    ];
    for [batch, m, n, k] in shapes {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let inner = |t: bool, r: usize, c: usize| if t { [r * c, 1, r] } else { [r * c, c, 1] };
            let a = operand(0, DType::F32, 0, inner(ta, m, k));
            let b = operand(1, DType::F32, 0, inner(tb, k, n));
            matmul([batch, m, n, k], a, b);
            let apart = |[x, y, z]: [usize; 3], t: bool| if t { [x + 50, y, z + 3] } else { [x + 50, y + 3, z] };
            let wide = |[x, y, z]: [usize; 3], t: bool| if t { [2 * x + 3 * k, y, z + 3] } else { [2 * x, y + 3, z] };
            let a = operand(0, DType::F16, 11, apart(wide(inner(ta, m, k), ta), ta));
            let b = operand(1, DType::BF16, 5, inner(tb, k, n));
            matmul([batch, m, n, k], a, operand(1, DType::BF16, 5, [0, b.row_stride, b.col_stride]));
        }
    }
}

/// Whatever the partition into tasks: in one column part, in several; packed whole, or panel by panel because it is long.
#[test]
fn every_partition_gives_the_same_bits() {
    for [batch, m, n, k] in [[1, 300, 1100, 300], [2, 150, 70, 40], [1, 150, 70, 30_000]] {
        for transposed in [false, true] {
            let strides = if transposed { [k * n, 1, k] } else { [k * n, n, 1] };
            let (a, b) = (operand(0, DType::F32, 0, [m * k, k, 1]), operand(1, DType::F32, 0, strides));
            let product = MatMul { batch, m, n, k, a, b, epilogue: Body::default() };
            let buffers = [
                tensor(DType::F32, batch * m * k, 1),
                tensor(DType::F32, batch * k * n, 2),
                Data::zeros(DType::F32, batch * m * n),
            ];
            let kind = KernelKind::MatMul(product.clone());
            let results = [(1, 1), (2, 3), (1, 2), (7, 1)].map(|parts| {
                let mut prepared = super::super::matmul::MatMul::new(&product);
                prepared.parts = parts;
                run_as(&Prepared::MatMul(prepared), &kind, &buffers, 2, 1)
            });
            assert!(results.iter().all(|r| r.as_bytes() == results[0].as_bytes()), "{batch} {m} {n} {k}");
            let (x, y, z) = (buffers[0].to_f64(), buffers[1].to_f64(), results[0].to_f64());
            for at in [0, n - 1, (m / 2) * n + n / 2, batch * m * n - 1] {
                let (i, r, c) = (at / (m * n), at / n % m, at % n);
                let term = |p: usize| x[(i * m + r) * k + p] * y[i * k * n + p * strides[1] + c * strides[2]];
                let want = 2.0 * (0..k).map(term).sum::<f64>();
                assert!((z[at] - want).abs() < 1e-4 * (1.0 + want.abs()), "{} for {want}", z[at]);
            }
        }
    }
}

#[test]
fn kernels_of_every_instruction_set() {
    for isa in gemm::all() {
        for (m, n, k) in [(1, 1, 1), (3, 8, 5), (6, 16, 300), (13, 31, 64), (14, 32, 7), (31, 70, 513)] {
            for transposed in [false, true] {
                let (a, b) = (tensor(DType::F32, m * k, 3), tensor(DType::F32, k * n, 4));
                let (Data::F32(x), Data::F32(y)) = (&a, &b) else { unreachable!() };
                let (row_stride, col_stride) = if transposed { (1, m) } else { (k, 1) };
                let lhs = Matrix { data: x, row_stride, col_stride };
                let rhs = || Matrix { data: y, row_stride: n, col_stride: 1 };
                let mut packed = vec![0.0; gemm::packed_len(isa, k, n)];
                rhs().pack(isa, k, n, &mut packed);
                let mut panel = vec![0.0; gemm::KC * isa.cols];
                let (mut c, mut fresh) = (vec![7f32; m * n], vec![7f32; m * n]);
                let tile = |c: &mut [f32]| Tile::new(c.as_mut_ptr(), n);
                // SAFETY: the tiles are all of `c` and of `fresh`.
                unsafe {
                    gemm::block(isa, &lhs, 0..m, 0..0, &mut Packed { data: &packed, n }, k, n, tile(&mut c));
                    let mut rhs = Fresh { matrix: rhs(), n, memory: &mut panel, keeps: false };
                    gemm::block(isa, &lhs, 0..m, 0..0, &mut rhs, k, n, tile(&mut fresh));
                }
                assert_eq!(c, fresh);
                let mut kept = vec![0.0; packed.len()];
                // SAFETY: as above.
                unsafe {
                    let mut rhs = Fresh { matrix: rhs(), n, memory: &mut kept, keeps: true };
                    gemm::block(isa, &lhs, 0..m, 0..0, &mut rhs, k, n, tile(&mut fresh));
                }
                assert_eq!(kept, packed);
                // Finished in registers or behind them.
                let (bias, mask) = (numbers(n, 8), numbers(m * n, 9));
                let bias: Vec<f32> = bias.iter().map(|b| *b as f32).collect();
                let mask: Vec<f32> = mask.iter().map(|v| if *v > 0.0 { 1.0 } else { 0.0 }).collect();
                let null = std::ptr::null();
                for (bias, least, mask) in [
                    (bias.as_ptr(), f32::NEG_INFINITY, null),
                    (bias.as_ptr(), 0.0, null),
                    (null, 0.0, null),
                    (null, f32::NEG_INFINITY, mask.as_ptr()),
                ] {
                    let finish = Finish { bias, least, mask };
                    // SAFETY: as above; there is a bias for each column and a mask for each result.
                    unsafe {
                        let tile = Tile { finish, ..tile(&mut fresh) };
                        gemm::block(isa, &lhs, 0..m, 0..0, &mut Packed { data: &packed, n }, k, n, tile);
                        for (i, sum) in c.iter().enumerate() {
                            assert_eq!(fresh[i], finish.apply(*sum, i % n, i), "{isa:?} {m} {n} {k}");
                        }
                    }
                }
                for r in 0..m {
                    for j in 0..n {
                        let term = |p: usize| f64::from(x[r * row_stride + p * col_stride]) * f64::from(y[p * n + j]);
                        let want: f64 = (0..k).map(term).sum();
                        assert!((f64::from(c[r * n + j]) - want).abs() < 1e-4, "{isa:?} {m} {n} {k}");
                    }
                }
            }
        }
    }
}

/// The three passes as loops: every product once.
fn conv_reference(g: &ConvGeometry, pass: ConvPass, l: &[f64], r: &[f64]) -> Vec<f64> {
    let cpg = g.cout / g.groups;
    let channels = g.groups * g.cin;
    let mut out = vec![
        0.0;
        match pass {
            ConvPass::Forward => g.output_elements(),
            ConvPass::InputGrad => g.input_elements(),
            ConvPass::KernelGrad => g.kernel_elements(),
        }
    ];
    let volume = |s: &[usize; 3]| s.iter().product::<usize>();
    let coordinates = |s: &[usize; 3], i: usize| [i / (s[1] * s[2]), i / s[2] % s[1], i % s[2]];
    for n in 0..g.n {
        for o in 0..volume(&g.output) {
            for t in 0..volume(&g.kernel) {
                let (oc, tc) = (coordinates(&g.output, o), coordinates(&g.kernel, t));
                let p: [isize; 3] =
                    std::array::from_fn(|a| (oc[a] * g.stride[a] + tc[a] * g.dilation[a]) as isize - g.pad[a] as isize);
                if (0..3).any(|a| p[a] < 0 || p[a] >= g.input[a] as isize) {
                    continue;
                }
                let i = (p[0] as usize * g.input[1] + p[1] as usize) * g.input[2] + p[2] as usize;
                for co in 0..g.cout {
                    for c in 0..g.cin {
                        let x = (n * volume(&g.input) + i) * channels + co / cpg * g.cin + c;
                        let w = (t * g.cin + c) * g.cout + co;
                        let y = (n * volume(&g.output) + o) * g.cout + co;
                        match pass {
                            ConvPass::Forward => out[y] += l[x] * r[w],
                            ConvPass::InputGrad => out[x] += l[y] * r[w],
                            ConvPass::KernelGrad => out[w] += l[x] * r[y],
                        }
                    }
                }
            }
        }
    }
    out
}

#[allow(clippy::too_many_arguments)]
fn conv(
    n: usize,
    input: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    pad: [usize; 3],
    dilation: [usize; 3],
    groups: usize,
    cin: usize,
    cout: usize,
) {
    let output = std::array::from_fn(|a| {
        (input[a] + 2 * pad[a]).checked_sub(dilation[a] * (kernel[a] - 1) + 1).map_or(0, |v| v / stride[a] + 1)
    });
    let g = ConvGeometry { n, input, output, kernel, stride, pad, dilation, groups, cin, cout };
    for dtypes in [(DType::F32, DType::F32), (DType::F16, DType::BF16)] {
        for pass in [ConvPass::Forward, ConvPass::InputGrad, ConvPass::KernelGrad] {
            let (l, r, o) = match pass {
                ConvPass::Forward => (g.input_elements(), g.kernel_elements(), g.output_elements()),
                ConvPass::InputGrad => (g.output_elements(), g.kernel_elements(), g.input_elements()),
                ConvPass::KernelGrad => (g.input_elements(), g.output_elements(), g.kernel_elements()),
            };
            let buffers = [tensor(dtypes.0, l, 5), tensor(dtypes.1, r, 6), Data::zeros(DType::F32, o)];
            let want = conv_reference(&g, pass, &buffers[0].to_f64(), &buffers[1].to_f64());
            let (lhs, rhs) = ((BufferId(0), dtypes.0), (BufferId(1), dtypes.1));
            let kind = KernelKind::Conv(Conv { pass, geometry: g, lhs, rhs, epilogue: Body::default() });
            check(&kind, &buffers, 2, &want, &format!("{pass:?} {g:?}"));
        }
    }
}

#[test]
fn convolutions() {
    let one = [1; 3];
    conv(2, [1, 9, 11], [1, 3, 3], one, [0, 1, 1], one, 1, 5, 7);
    conv(2, [1, 8, 8], [1, 3, 3], one, [0; 3], one, 1, 3, 32);
    conv(1, [1, 12, 30], [1, 3, 3], one, [0, 1, 1], one, 1, 64, 40);
    conv(3, [1, 7, 9], [1, 3, 2], [1, 2, 2], [0, 1, 1], one, 1, 4, 6);
    conv(2, [1, 10, 10], [1, 1, 1], [1, 2, 2], [0; 3], one, 1, 4, 6);
    conv(2, [1, 13, 10], [1, 3, 3], [1, 3, 2], [0, 2, 2], [1, 2, 2], 1, 3, 5);
    conv(2, [1, 1, 40], [1, 1, 5], one, [0, 0, 2], [1, 1, 3], 1, 6, 9);
    conv(1, [5, 6, 7], [3, 2, 3], [2, 1, 2], [1, 0, 1], one, 1, 3, 4);
    conv(2, [3, 6, 5], [2, 3, 3], one, [1, 1, 1], [1, 1, 2], 1, 2, 3);
    conv(2, [1, 8, 9], [1, 3, 3], one, [0, 1, 1], one, 3, 4, 12);
    conv(2, [1, 8, 9], [1, 3, 3], [1, 2, 2], [0, 1, 1], one, 4, 1, 8);
    conv(2, [1, 8, 9], [1, 3, 3], one, [0, 1, 1], one, 40, 1, 40);
    conv(2, [1, 9, 9], [1, 3, 3], [1, 2, 2], [0, 1, 1], [1, 2, 1], 5, 1, 5);
    conv(2, [1, 28, 28], [1, 3, 3], one, [0; 3], one, 1, 1, 32);
    conv(1, [1, 6, 6], [1, 5, 5], one, [0, 4, 4], one, 1, 2, 2);
    conv(1, [1, 3, 3], [1, 2, 2], [1, 5, 5], [0; 3], one, 1, 2, 2);
    conv(0, [1, 5, 5], [1, 3, 3], one, [0; 3], one, 1, 2, 3);
    conv(2, [1, 5, 5], [1, 3, 3], one, [0, 1, 1], one, 1, 0, 3);
    conv(1, [1, 2, 2], [1, 3, 3], one, [0; 3], one, 1, 2, 3);
    conv(1, [1, 20, 20], [1, 3, 3], one, [0, 1, 1], one, 1, 20, 530);
    // Rows cut into pieces: of a strided input gradient, and of a long line.
    conv(1, [1, 4, 70], [1, 3, 3], [1, 2, 2], [0, 1, 1], one, 1, 3, 530);
    conv(1, [1, 1, 3000], [1, 1, 9], one, [0, 0, 4], one, 1, 30, 33);
    // Many channels, so that elements outside of the image are left out: at one side or both, whole windows, in all axes, strided, dilated.
    conv(2, [1, 9, 20], [1, 3, 3], one, [0, 1, 1], one, 1, 32, 36);
    conv(2, [1, 9, 20], [1, 3, 3], one, [0; 3], one, 1, 32, 36);
    conv(1, [1, 30, 5], [1, 5, 2], one, [0, 2, 1], one, 1, 33, 40);
    conv(1, [1, 4, 3], [1, 3, 3], one, [0, 5, 4], one, 1, 32, 35);
    conv(1, [3, 4, 6], [3, 3, 3], one, [1, 1, 1], one, 1, 32, 34);
    conv(1, [1, 12, 9], [1, 3, 3], [1, 2, 3], [0, 1, 1], one, 1, 40, 34);
    conv(1, [1, 12, 9], [1, 3, 3], one, [0, 3, 2], [1, 3, 2], 1, 40, 34);
    conv(2, [1, 5, 18], [1, 3, 3], one, [0, 1, 1], one, 2, 32, 68);
    conv(1, [1, 12, 64], [1, 1, 1], one, [0, 3, 0], one, 1, 64, 512);
    // So short that kernels finish the results themselves.
    conv(1, [1, 6, 7], [1, 1, 5], one, [0, 0, 2], one, 1, 32, 36);
    conv(1, [1, 6, 7], [1, 1, 5], one, [0, 0, 6], one, 1, 32, 36);
    conv(1, [1, 30, 7], [1, 5, 1], one, [0, 6, 0], one, 2, 32, 72);
}

/// Rows in strided lines, some steps of the contraction, finished; by every instruction set.
#[test]
fn gathered_by_every_instruction_set() {
    let (lines, count, k, n) = (3, 17, 300, 40);
    let rows = Rows { first: 2, lines, pitch: 1, count, step: 5 };
    let places: Vec<isize> = (0..2 + lines + 5 * count).map(|r| (r * 7) as isize).collect();
    let elements: Vec<isize> = (0..k).map(|p| (p * 3) as isize).collect();
    let parts = [10..40, 120..280];
    let numbers = |len, seed| numbers(len, seed).iter().map(|v| *v as f32).collect::<Vec<_>>();
    let (x, y, bias, mask) =
        (numbers(places.len() * 7 + k * 3, 1), numbers(k * n, 2), numbers(n, 3), numbers(places.len() * n, 4));
    let mask: Vec<f32> = mask.iter().map(|v| v.max(0.0)).collect();
    for isa in gemm::all() {
        let mut packed = vec![0.0; gemm::packed_len(isa, k, n)];
        Matrix { data: &y, row_stride: n, col_stride: 1 }.pack(isa, k, n, &mut packed);
        let mut out = vec![9f32; places.len() * n];
        let finish = Finish { bias: bias.as_ptr(), least: 0.0, mask: mask.as_ptr() };
        let tile = Tile { finish, ..Tile::new(out.as_mut_ptr(), n) };
        let lhs = Gathered { at: x.as_ptr(), places: &places, elements: &elements };
        // SAFETY: `x` has an element at every sum of offsets, `out` and `mask` one for each place and column.
        unsafe { gemm::gathered(isa, lhs, rows, &parts, &packed, n, tile, false, || {}) };
        let named = |r: usize| {
            r >= 2 && (0..lines).any(|l| r >= 2 + l && (r - 2 - l).is_multiple_of(5) && (r - 2 - l) / 5 < count)
        };
        for (i, got) in out.iter().enumerate() {
            let (r, j) = (i / n, i % n);
            let steps = parts.iter().flat_map(|part| part.clone());
            let sum: f64 = steps.map(|p| f64::from(x[r * 7 + p * 3]) * f64::from(y[p * n + j])).sum();
            let want = if mask[i] == 0.0 { 0.0 } else { (sum + f64::from(bias[j])).max(0.0) };
            let want = if named(r) { want } else { 9.0 };
            assert!((f64::from(*got) - want).abs() < 1e-4, "{isa:?} row {r} column {j}: {got} for {want}");
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn close(got: &[f64], want: &[f64], label: &str) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 2e-5 * (1.0 + w.abs()), "{label} element {i}: {g} for {w}");
    }
}

#[test]
fn lstm_both_ways() {
    for (n, steps, u) in [(1, 1, 1), (3, 4, 5), (2, 7, 33), (31, 3, 16), (5, 2, 300), (0, 3, 4), (2, 0, 3)] {
        let make = |len, seed| tensor(DType::F32, len, seed);
        let weights: Vec<f64> = numbers(u * 4 * u, 8).iter().map(|v| v / (u as f64).sqrt()).collect();
        let buffers = [
            make(n * steps * 4 * u, 7),
            Data::from_f64(DType::F32, &weights),
            make(n * u, 9),
            make(n * u, 10),
            Data::zeros(DType::F32, n * steps * 6 * u),
            make(n * steps * u, 11),
            make(n * steps * u, 12),
            Data::zeros(DType::F32, n * steps * 5 * u),
        ];
        let v: Vec<Vec<f64>> = buffers.iter().map(Data::to_f64).collect();
        let mut want = vec![0.0; n * steps * 6 * u];
        for row in 0..n {
            let (mut h, mut c) = (v[2][row * u..][..u].to_vec(), v[3][row * u..][..u].to_vec());
            for t in 0..steps {
                let pre: Vec<f64> = (0..4 * u)
                    .map(|j| {
                        v[0][(row * steps + t) * 4 * u + j] + (0..u).map(|p| h[p] * v[1][p * 4 * u + j]).sum::<f64>()
                    })
                    .collect();
                for j in 0..u {
                    let (i, f) = (sigmoid(pre[j]), sigmoid(pre[u + j]));
                    let (g, o) = (pre[2 * u + j].tanh(), sigmoid(pre[3 * u + j]));
                    c[j] = f * c[j] + i * g;
                    h[j] = o * c[j].tanh();
                    for (q, value) in [h[j], c[j], i, f, g, o].into_iter().enumerate() {
                        want[(row * steps + t) * 6 * u + q * u + j] = value;
                    }
                }
            }
        }
        let b = BufferId;
        let forward =
            KernelKind::Lstm(Lstm { n, steps, units: u, z: b(0), recurrent: b(1), h0: b(2), c0: b(3), out: b(4) });
        close(&run(&forward, &buffers, 4, 0).to_f64(), &want, &format!("lstm {n} {steps} {u}"));

        let mut buffers = buffers.clone();
        buffers[4] = Data::from_f64(DType::F32, &want);
        for (has_dh, has_dc) in [(true, true), (true, false), (false, true)] {
            let mut grad = vec![0.0; n * steps * 5 * u];
            for row in 0..n {
                let (mut dz, mut dc_next) = (vec![0.0; 4 * u], vec![0.0; u]);
                for t in (0..steps).rev() {
                    let at = row * steps + t;
                    let dh: Vec<f64> = (0..u)
                        .map(|p| {
                            let outside = if has_dh { v[5][at * u + p] } else { 0.0 };
                            outside + (0..4 * u).map(|j| dz[j] * v[1][p * 4 * u + j]).sum::<f64>()
                        })
                        .collect();
                    for j in 0..u {
                        let s = |q: usize| want[at * 6 * u + q * u + j];
                        let (i, f, g, o, tc) = (s(2), s(3), s(4), s(5), s(1).tanh());
                        let before = if t == 0 { v[3][row * u + j] } else { want[(at - 1) * 6 * u + u + j] };
                        let outside = if has_dc { v[6][at * u + j] } else { 0.0 };
                        let d = outside + dc_next[j] + dh[j] * o * (1.0 - tc * tc);
                        dz[j] = d * g * i * (1.0 - i);
                        dz[u + j] = d * before * f * (1.0 - f);
                        dz[2 * u + j] = d * i * (1.0 - g * g);
                        dz[3 * u + j] = dh[j] * tc * o * (1.0 - o);
                        dc_next[j] = d * f;
                    }
                    grad[at * 5 * u..][..4 * u].copy_from_slice(&dz);
                    grad[at * 5 * u + 4 * u..][..u].copy_from_slice(&dc_next);
                }
            }
            let kind = KernelKind::LstmGrad(LstmGrad {
                n,
                steps,
                units: u,
                forward: b(4),
                recurrent: b(1),
                c0: b(3),
                dh: has_dh.then_some(b(5)),
                dc: has_dc.then_some(b(6)),
                out: b(7),
            });
            close(&run(&kind, &buffers, 7, 0).to_f64(), &grad, &format!("lstm grad {n} {steps} {u}"));
        }
    }
}
