use super::*;
use crate::dispatch::Traits;
use crate::kernels::table::Variant;
use crate::kernels::{Cooperative, Extent};
use crate::tune::Tuning;
use ibex_core::program::{MatMul, Operand};

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    ta: bool,
    tb: bool,
    offset: usize,
    dtype: DType,
}

const SQUARE: Case = Case { batch: 1, m: 64, n: 64, k: 64, ta: false, tb: false, offset: 0, dtype: DType::F32 };

fn operand(buffer: usize, rows: usize, cols: usize, transposed: bool, case: &Case) -> Operand {
    let (row_stride, col_stride) = if transposed { (1, rows) } else { (cols, 1) };
    Operand {
        buffer: BufferId(buffer),
        dtype: case.dtype,
        offset: case.offset,
        batch_stride: rows * cols,
        row_stride,
        col_stride,
    }
}

fn encode(values: &[f32], dtype: DType) -> (Vec<u8>, Vec<f64>) {
    let mut out = Vec::new();
    let mut exact = Vec::new();
    for &v in values {
        match dtype {
            DType::F16 => {
                let h = half::f16::from_f32(v);
                out.extend(h.to_le_bytes());
                exact.push(h.to_f64());
            }
            DType::BF16 => {
                let h = half::bf16::from_f32(v);
                out.extend(h.to_le_bytes());
                exact.push(h.to_f64());
            }
            _ => {
                out.extend(v.to_le_bytes());
                exact.push(f64::from(v));
            }
        }
    }
    (out, exact)
}

fn check(backends: &[WgpuBackend], c: Case) {
    let (abytes, a) = encode(&noise(c.batch * c.m * c.k + c.offset, 1), c.dtype);
    let (bbytes, b) = encode(&noise(c.batch * c.k * c.n + c.offset, 2), c.dtype);
    let bias = noise(c.n, 3);
    let (oa, ob) = (operand(0, c.m, c.k, c.ta, &c), operand(1, c.k, c.n, c.tb, &c));
    let mut want = Vec::new();
    for z in 0..c.batch {
        for i in 0..c.m {
            for j in 0..c.n {
                let term = |k: usize| {
                    a[oa.offset + z * oa.batch_stride + i * oa.row_stride + k * oa.col_stride]
                        * b[ob.offset + z * ob.batch_stride + k * ob.row_stride + j * ob.col_stride]
                };
                want.push((0..c.k).map(term).sum::<f64>());
            }
        }
    }
    let size = want.len();
    let relu: Vec<f64> = want.iter().enumerate().map(|(i, v)| (v + f64::from(bias[i % c.n])).max(0.0)).collect();
    let kind = KernelKind::MatMul(MatMul {
        batch: c.batch,
        m: c.m,
        n: c.n,
        k: c.k,
        a: oa,
        b: ob,
        epilogue: bias_relu(2, 3, 4, &[c.batch, c.m, c.n]),
    });
    for backend in backends {
        let buffers = [abytes.clone(), bbytes.clone(), bytes(&bias), vec![0xff; 4 * size], vec![0xff; 4 * size]];
        let what = format!("{c:?} software {}", backend.device.traits.software);
        let got = run_all(backend, &kind, &buffers, [3, 4]);
        close(&what, &floats(&got[0]), &relu, 1e-4);
        close(&what, &floats(&got[1]), &want, 1e-4);
    }
}

#[test]
fn all_layouts_and_odd_shapes() {
    let Some(backends) = backends() else { return };
    let shapes = [
        (1, 5, 7, 3),
        (2, 33, 34, 17),
        (1, 68, 36, 20),
        (3, 12, 40, 8),
        (1, 130, 70, 40),
        (1, 1, 50, 33),
        (1, 40, 1, 64),
        (1, 20, 24, 2048),
        (2, 3, 5, 1030),
        (1, 4, 4, 0),
    ];
    for (i, (batch, m, n, k)) in shapes.into_iter().enumerate() {
        // Shader compilation is what takes time: two layouts of each shape.
        for (ta, tb) in [(i % 2 == 1, false), (i % 2 == 0, true)] {
            check(backends, Case { batch, m, n, k, ta, tb, offset: 0, dtype: DType::F32 });
        }
    }
}

/// Sums too long for the loops of one invocation on llvmpipe.
#[test]
fn long_sums() {
    let Some(backends) = backends() else { return };
    let ones =
        |buffer| Operand { batch_stride: 0, row_stride: 0, col_stride: 0, ..operand(buffer, 1, 1, false, &SQUARE) };
    let (m, n, k) = (128, 128, 300_007);
    let kind = MatMul { batch: 1, m, n, k, a: ones(0), b: ones(1), epilogue: plain(2, &[1, m, n]) };
    for backend in backends {
        let buffers = [bytes(&[1.0]), bytes(&[1.0]), vec![0xff; 4 * m * n]];
        let got = run(backend, &KernelKind::MatMul(kind.clone()), &buffers, 2);
        close("long sums", &floats(&got), &vec![k as f64; m * n], 1e-6);
    }
}

/// Large enough for software devices to read single elements from textures.
#[test]
fn much_work_by_elements() {
    let Some(backends) = backends() else { return };
    check(&backends[..1], Case { batch: 1, m: 411, n: 409, k: 415, ta: false, tb: true, ..SQUARE });
}

/// The kernel for large results, on results that fill its tiles and on ones that do not: every way of reading an operand, several
/// tiles, splits, batches and half floats.
#[test]
fn large_tiles() {
    let Some(backends) = forced(Contractions::Large, |_| {}) else { return };
    let shapes = [
        (1, 128, 128, 32, false, false),
        (1, 260, 132, 20, true, true),
        (2, 37, 130, 17, false, true),
        (1, 131, 29, 50, true, false),
        (1, 4, 8, 1024, false, false),
        (1, 4, 4, 0, false, false),
        (1, 1, 1, 3, true, false),
    ];
    for (batch, m, n, k, ta, tb) in shapes {
        check(&backends, Case { batch, m, n, k, ta, tb, offset: 0, dtype: DType::F32 });
    }
    for (dtype, offset) in [(DType::F32, 2), (DType::F16, 0), (DType::F16, 6), (DType::BF16, 4)] {
        check(&backends, Case { batch: 1, m: 20, n: 140, k: 24, ta: false, tb: false, offset, dtype });
    }
}

/// Cooperative matrices, emulated: both types in both sizes, subgroups as large as the host takes them for, larger and smaller ones, tiles
/// that are full and that are not, every way of reading an operand, splits, batches, and operands that take other kernels.
#[test]
fn cooperative_matrices() {
    let shapes = [
        (1, 64, 64, 64, false, false),
        (1, 130, 70, 40, true, true),
        (2, 37, 45, 70, false, true),
        (1, 37, 45, 33, true, false),
        (1, 4, 8, 1024, false, false),
        (1, 4, 4, 0, false, false),
        (1, 1, 1, 3, true, false),
    ];
    for (half, single, subgroup) in [(16, 8, 8), (8, 16, 4), (16, 16, 16)] {
        let change = |traits: &mut Traits| {
            traits.cooperative = Some(Cooperative { half: Some(half), single: Some(single), subgroup, emulated: true });
        };
        let Some(backends) = forced(Contractions::Cooperative, change) else { return };
        for dtype in [DType::F16, DType::F32] {
            for (batch, m, n, k, ta, tb) in shapes {
                check(&backends, Case { batch, m, n, k, ta, tb, offset: 0, dtype });
            }
        }
        for (dtype, offset) in [(DType::F32, 2), (DType::F16, 0), (DType::F16, 6), (DType::BF16, 4)] {
            check(&backends, Case { batch: 1, m: 20, n: 140, k: 24, ta: false, tb: false, offset, dtype });
        }
    }
    // The larger tile needs many of them.
    let Some(backends) = forced(Contractions::Cooperative, |_| {}) else { return };
    let case = Case { batch: 64, m: 128, n: 124, k: 20, dtype: DType::F16, ..SQUARE };
    check(&backends[..1], case);
    let source = |c: Case| {
        let (a, b) = (operand(0, c.m, c.k, false, &c), operand(1, c.k, c.n, false, &c));
        let (batch, m, n, k) = (c.batch, c.m, c.n, c.k);
        let kind = MatMul { batch, m, n, k, a, b, epilogue: plain(2, &[batch, m, n]) };
        lower(&KernelKind::MatMul(kind), &backends[0].device.traits).unwrap().dispatches[0].source.clone()
    };
    assert!(source(case).contains("const BLOCKS: u32 = 4u;\nconst STEPS: u32 = 32u;"));
    assert!(source(Case { batch: 1, ..case }).contains("const BLOCKS: u32 = 2u;\nconst STEPS: u32 = 32u;"));
    // Without matrices of `f32` operands that are not both `f16` take a plain kernel.
    let mut traits = backends[0].device.traits.clone();
    traits.cooperative = Some(Cooperative { single: None, ..Cooperative::emulated(true) });
    let kind = MatMul {
        batch: 1,
        m: 64,
        n: 64,
        k: 64,
        a: operand(0, 64, 64, false, &Case { dtype: DType::F16, ..SQUARE }),
        b: operand(1, 64, 64, false, &SQUARE),
        epilogue: plain(2, &[1, 64, 64]),
    };
    let lowered = lower(&KernelKind::MatMul(kind), &traits).unwrap();
    assert!(lowered.dispatches[0].source.contains("const TM"));
}

/// The form of the language extension, which runs on no software: it is valid, and SPIR-V is written of it with bounds checks and without.
#[test]
fn cooperative_matrices_are_valid() {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let Some([backend, _]) = backends() else { return };
    let mut written = 0;
    for (half, single) in [(16, 8), (8, 16)] {
        for dtype in [DType::F16, DType::F32] {
            for (batch, n) in [(1, 64), (64, 128), (64, 126)] {
                let mut traits = backend.device.traits.clone();
                (traits.f16, traits.software, traits.max_texels) = (true, false, 0);
                traits.contractions = Some(Contractions::Cooperative);
                let cooperative = Cooperative { half: Some(half), single: Some(single), subgroup: 32, emulated: false };
                traits.cooperative = Some(cooperative);
                let o = |b| operand(b, 128, 128, false, &Case { dtype, ..SQUARE });
                let dims = [batch, 128, n];
                let kind = MatMul { batch, m: 128, n, k: 128, a: o(0), b: o(1), epilogue: bias_relu(2, 3, 4, &dims) };
                let lowered = lower(&KernelKind::MatMul(kind), &traits).unwrap();
                let [dispatch] = &lowered.dispatches[..] else { panic!("{} dispatches", lowered.dispatches.len()) };
                let text = &dispatch.source;
                assert!(text.contains("enable wgpu_cooperative_matrix;") && !text.contains("fn multiply_add("));
                let module =
                    naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
                let capabilities =
                    Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
                let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
                let info = info.unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
                let constants = dispatch.constants.iter().map(|(name, value)| (name.clone(), *value)).collect();
                let (module, info) =
                    naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants).unwrap();
                for policy in [naga::proc::BoundsCheckPolicy::Restrict, naga::proc::BoundsCheckPolicy::Unchecked] {
                    let options = naga::back::spv::Options {
                        lang_version: (1, 3),
                        bounds_check_policies: naga::proc::BoundsCheckPolicies {
                            index: policy,
                            buffer: policy,
                            ..Default::default()
                        },
                        ..Default::default()
                    };
                    let words = naga::back::spv::write_vec(&module, &info, &options, None).unwrap();
                    // An extension's name stands in the binary as text.
                    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
                    assert!(bytes.windows(26).any(|w| w == b"SPV_KHR_cooperative_matrix"));
                    written += 1;
                    // For a look by `spirv-val`.
                    if let Some(folder) = std::env::var_os("IBEX_SPIRV_FOLDER") {
                        let name = format!("cooperative-{half}-{dtype}-{batch}-{n}-{policy:?}.spv");
                        std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
                    }
                }
            }
        }
    }
    assert_eq!(written, 24);
}

/// The shader's file holds the emulation as it is generated, so that it is whole by itself.
#[test]
fn cooperative_file_is_what_is_generated() {
    let Some([backend, _]) = backends() else { return };
    let mut traits = backend.device.traits.clone();
    traits.software = false;
    traits.cooperative = Some(Cooperative { half: None, single: Some(16), subgroup: 32, emulated: true });
    let tile = crate::kernels::cooperative::Tile::choose(Extent { z: 1, m: 64, n: 64, k: 64 }, false, &traits).unwrap();
    let generated = tile.shader("cooperative", &traits).unwrap().grid([1, 1, 1]).source;
    let file = include_str!("../../../../../shaders/contraction_cooperative.wgsl");
    // Blocks end and begin as comments in the file, and are indented there.
    let mut open = false;
    let inside = |line: &&str| {
        let block = ["// @matrices", "// @begin", "// @multiply", "// @store"].contains(line);
        let end = open && *line == "// @end";
        open = (open || block) && !end;
        !block && !end
    };
    let file: Vec<&str> = file.lines().map(str::trim).filter(inside).collect();
    let generated: Vec<&str> = generated.lines().map(str::trim).collect();
    for (at, (file, generated)) in file.iter().zip(&generated).enumerate() {
        assert_eq!(file, generated, "line {at} without the markers");
    }
    assert_eq!(file.len(), generated.len());
}

/// An epilogue that reads an operand of the product, on devices with ever fewer bindings: the operand is then read by elements through the
/// one binding it has, or not split.
#[test]
fn few_bindings() {
    let (m, n, k) = (260, 520, 520);
    let (a, b, bias) = (noise(m * k, 1), noise(k * n, 2), noise(n, 3));
    let mut column = View::scalar(3);
    column.strides[2] = 1;
    let load = |buffer, view| Load { buffer: BufferId(buffer), dtype: DType::F32, view };
    let dims = [1, m, n];
    let add = |x, y| Instr::Binary(Binary::Add, ValueId(x), ValueId(y));
    let epilogue = Body {
        loads: vec![load(0, View::contiguous(&dims)), load(2, column)],
        instrs: vec![Instr::Acc, Instr::Load(0), Instr::Load(1), add(0, 1), add(3, 2)],
        stores: vec![store(ValueId(4), 3, &dims)],
        ..Body::default()
    };
    let o = |b, row_stride| Operand { row_stride, ..operand(b, m, k, false, &SQUARE) };
    let kind = KernelKind::MatMul(MatMul { batch: 1, m, n, k, a: o(0, k), b: o(1, n), epilogue });
    let want: Vec<f64> = (0..m * n)
        .map(|i| {
            let terms = (0..k).map(|j| f64::from(a[i / n * k + j]) * f64::from(b[j * n + i % n]));
            terms.sum::<f64>() + f64::from(a[i]) + f64::from(bias[i % n])
        })
        .collect();
    let mut forms = std::collections::HashSet::new();
    for kernel in Contractions::ALL {
        for limit in [4, 5, 6] {
            // Textures must not take bindings that are not there.
            let change = |traits: &mut Traits| (traits.max_bindings, traits.max_texels) = (limit, 1 << 24);
            let Some(backends) = forced(kernel, change) else { return };
            for backend in &backends {
                let all = lower(&kind, &backend.device.traits).unwrap().dispatches;
                assert!(all.iter().all(|d| d.buffers.len() <= limit as usize), "{kernel:?} {limit}");
                forms.insert((kernel, all[0].buffers.len(), all[0].source.contains("a: array<f32>")));
                let buffers = [bytes(&a), bytes(&b), bytes(&bias), vec![0xff; 4 * m * n]];
                let got = run(backend, &kind, &buffers, 3);
                close(&format!("{kernel:?} with {limit} bindings"), &floats(&got), &want, 1e-4);
            }
        }
        // Both the shared operand and the one that is bound twice were there.
        let of = |shared| forms.iter().any(|f| f.0 == kernel && f.2 == shared);
        assert!(of(true) && of(false), "{forms:?}");
    }
}

/// What each class of devices runs.
#[test]
fn the_table() {
    let Some([backend, _]) = backends() else { return };
    let chosen = |m, n, k, traits: &Traits| {
        let o = |b| Operand { row_stride: k, ..operand(b, m, k, false, &Case { m, n, k, ..SQUARE }) };
        let kind = MatMul { batch: 1, m, n, k, a: o(0), b: o(1), epilogue: plain(2, &[1, m, n]) };
        let all = lower(&KernelKind::MatMul(kind), traits).unwrap();
        let has = |text: &str| all.dispatches[0].source.contains(text);
        match (has("subgroupBroadcast"), has("fn slot("), has("const TM"), has("const UNITS")) {
            (true, false, false, false) => "subgroup",
            (false, true, false, false) => "large",
            (false, false, true, false) => "tiled",
            (false, false, false, true) => "cooperative",
            _ => "none",
        }
    };
    let mut traits = backend.device.traits.clone();
    traits.software = false;
    traits.subgroups = Some((32, 32));
    assert_eq!(chosen(4096, 4096, 4096, &traits), "large");
    assert_eq!(chosen(1024, 1024, 64, &traits), "large");
    assert_eq!(chosen(512, 512, 512, &traits), "tiled");
    assert_eq!(chosen(100_000, 32, 27, &traits), "tiled");
    traits.max_invocations = 128;
    assert_eq!(chosen(4096, 4096, 4096, &traits), "tiled");
    (traits.software, traits.subgroups) = (true, Some((8, 8)));
    assert_eq!(chosen(4096, 4096, 4096, &traits), "subgroup");
    traits.subgroups = Some((4, 8));
    assert_eq!(chosen(4096, 4096, 4096, &traits), "tiled");
    // Never by itself.
    (traits.software, traits.subgroups, traits.max_invocations) = (false, Some((8, 8)), 1024);
    traits.cooperative = Some(Cooperative::emulated(true));
    assert_eq!(chosen(4096, 4096, 4096, &traits), "large");
    // Where tuning says so, for operands of the type it says so of.
    let extent = Extent { z: 1, m: 512, n: 512, k: 512 };
    let halves = vec![(extent, Contractions::Cooperative)];
    let tuning = Tuning { halves, ..Tuning::default() };
    traits.tuning = Some(std::sync::Arc::new(tuning));
    let of = |half, traits: &Traits| Variant::choose(extent, half, traits);
    assert!(
        matches!(of(true, &traits), Variant::Cooperative(_)) && matches!(of(false, &traits), Variant::Tiled { .. })
    );
    traits.cooperative = None;
    assert!(matches!(of(true, &traits), Variant::Tiled { .. }));
    traits.cooperative = Some(Cooperative::emulated(true));
    for kernel in Contractions::ALL {
        traits.contractions = Some(kernel);
        assert_eq!(chosen(64, 64, 64, &traits), kernel.name());
        assert_eq!(Contractions::from_name(kernel.name()), Some(kernel));
    }
}

#[test]
fn unaligned_offsets_and_half_floats() {
    let Some(backends) = backends() else { return };
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (offset, ta) in [(0, true), (2, false), (4, false), (6, true)] {
            check(backends, Case { batch: 1, m: 20, n: 40, k: 24, ta, tb: !ta, offset, dtype });
        }
    }
}

#[test]
fn broadcast_batch_and_no_result() {
    let Some(backends) = backends() else { return };
    let mut kind = MatMul {
        batch: 3,
        m: 8,
        n: 8,
        k: 8,
        a: Operand { buffer: BufferId(0), dtype: DType::F32, offset: 0, batch_stride: 0, row_stride: 8, col_stride: 1 },
        b: Operand {
            buffer: BufferId(1),
            dtype: DType::F32,
            offset: 0,
            batch_stride: 64,
            row_stride: 8,
            col_stride: 1,
        },
        epilogue: plain(2, &[3, 8, 8]),
    };
    let (a, b) = (noise(64, 1), noise(192, 2));
    let want: Vec<f64> = (0..192)
        .map(|i| (0..8).map(|k| f64::from(a[i / 8 % 8 * 8 + k]) * f64::from(b[i / 64 * 64 + k * 8 + i % 8])).sum())
        .collect();
    for backend in backends {
        let out = run(backend, &KernelKind::MatMul(kind.clone()), &[bytes(&a), bytes(&b), vec![0; 768]], 2);
        close("broadcast", &floats(&out), &want, 1e-5);
    }
    kind.m = 0;
    assert!(lower(&KernelKind::MatMul(kind), &backends[0].device.traits).unwrap().dispatches.is_empty());
}

/// Every variant with native f16 is valid WGSL.
#[test]
fn native_f16_validates() {
    let Some(backends) = backends() else { return };
    let mut traits = backends[0].device.traits.clone();
    traits.f16 = true;
    traits.cooperative = Some(Cooperative::emulated(true));
    for m in [3, 16, 64, 512, 4096] {
        for kernel in Contractions::ALL {
            traits.contractions = Some(kernel);
            let o = |buffer| Operand {
                buffer: BufferId(buffer),
                dtype: DType::F16,
                offset: 0,
                batch_stride: 0,
                row_stride: 64,
                col_stride: 1,
            };
            let kind = MatMul { batch: 1, m, n: 64, k: 64, a: o(0), b: o(1), epilogue: plain(2, &[1, m, 64]) };
            for d in lower(&KernelKind::MatMul(kind), &traits).unwrap().dispatches {
                assert!(d.source.starts_with("enable f16;"));
                super::shaders::validate(&d.label, &d.source);
            }
        }
    }
}
