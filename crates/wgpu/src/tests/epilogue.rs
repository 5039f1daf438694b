//! Epilogues spliced into a trivial hand-written shader.

use super::reference::points;
use super::{backends, close, load, numbers, store, upload, view};
use crate::codegen::{EpilogueCode, epilogue, splice};
use crate::dispatch::{Binding, Target, Traits};
use ibex_core::graph::{Binary, Unary};
use ibex_core::program::{Body, BufferId, Instr, ValueId, View};
use ibex_core::{DType, Data};

const F: DType = DType::F32;

/// Gives each element of its input to the epilogue.
const SHADER: &str = "\
override count: u32 = 1u;
@group(0) @binding(0) var<storage, read> source: array<f32>;
// @bindings
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
// @end
// @epilogue
fn epilogue(row_major_index: u32, acc: f32) { out[row_major_index] = acc; }
// @end
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < count { epilogue(id.x, source[id.x]); }
}
";

fn traits() -> Traits {
    Traits {
        f16: false,
        subgroups: None,
        max_workgroup_storage: 16384,
        max_invocations: 256,
        max_workgroups_per_dim: 65535,
        max_bindings: 8,
        max_texels: 0,
        software: true,
        max_iterations: usize::MAX,
        cooperative: None,
        contractions: None,
        reductions: None,
        tuning: None,
    }
}

fn valid(source: &str) {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{}\n{source}", e.emit_to_string(source)));
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    validator.validate(&module).unwrap_or_else(|e| panic!("{e:?}\n{source}"));
}

#[test]
fn the_shader_is_valid_alone() {
    valid(SHADER);
}

/// Runs shader and epilogue over buffers `0..data.len()`, of which number 0 is the shader's own source.
fn run(code: &EpilogueCode, count: usize, data: &[Data]) -> Option<Vec<Vec<f64>>> {
    let source = splice(SHADER, code);
    valid(&source);
    let backend = &backends()?[0];
    let device = crate::tests::device::raw(backend);
    let mut bindings = vec![Binding::new(Target::Planned(BufferId(0)), false)];
    bindings.extend(&code.buffers);
    let dispatch = crate::dispatch::Dispatch {
        label: "epilogue test".into(),
        source,
        constants: vec![("count".into(), count as f64)],
        buffers: bindings.clone(),
        workgroups: [count.div_ceil(64) as u32, 1, 1],
    };
    let pipeline = device.pipeline(&dispatch).unwrap();
    let layout = device.layout(&bindings.iter().map(|b| b.access).collect::<Vec<_>>()).unwrap();
    let buffers: Vec<_> = data.iter().map(|d| upload(backend, d)).collect();
    let entries: Vec<_> = (0..)
        .zip(&bindings)
        .map(|(binding, b)| {
            let Target::Planned(id) = b.buffer else { unreachable!() };
            let buffer = crate::buffer::GpuBuffer::of(device, &buffers[id.0]).unwrap();
            wgpu::BindGroupEntry { binding, resource: buffer.raw().as_entire_binding() }
        })
        .collect();
    let group =
        device.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(dispatch.workgroups[0], 1, 1);
    }
    device.submit(encoder.finish());
    device.check().unwrap();
    Some(buffers.iter().zip(data).map(|(b, d)| super::download(backend, b, d.dtype(), d.len()).to_f64()).collect())
}

/// Bias, activation, residual, and a second result that is transposed and padded.
#[test]
fn bias_activation_residual() {
    let v = ValueId;
    for dims in [[2, 5, 7], [1, 4, 8], [3, 1, 6]] {
        let [b, m, n] = dims.map(|d| d as i64);
        let count = dims.iter().product();
        for half in [F, DType::F16, DType::BF16] {
            let contiguous = view(0, &[m * n, n, 1]);
            let shifted = View { offset: -1, strides: vec![m * n, n, 1], bounds: vec![(0, b), (0, m), (1, n)] };
            let transposed = view(0, &[m * n, 1, m]);
            let body = Body {
                loads: vec![
                    load(1, F, view(0, &[0, 0, 1])),
                    load(2, half, contiguous.clone()),
                    load(0, F, shifted.clone()),
                ],
                iotas: vec![view(0, &[0, 1, 0])],
                instrs: vec![
                    Instr::Acc,
                    Instr::Load(0),
                    Instr::Binary(Binary::Add, v(0), v(1)),
                    Instr::Unary(Unary::Tanh, v(2)),
                    Instr::Load(1),
                    Instr::Binary(Binary::Add, v(3), v(4)),
                    Instr::Load(2),
                    Instr::Binary(Binary::Sub, v(5), v(6)),
                    Instr::Iota(0),
                    Instr::Cast(F, v(8)),
                    Instr::Binary(Binary::Mul, v(7), v(9)),
                ],
                stores: vec![store(7, 3, half, contiguous), store(10, 4, F, transposed.clone())],
            };
            let code = epilogue(&body, &dims, 1, &[(BufferId(0), "source", F)], false, &traits()).unwrap();
            assert_eq!(code.buffers.len(), 4);
            let data = [
                numbers(F, count, -2.0, 2.0),
                numbers(F, dims[2], 3.0, 4.0),
                numbers(half, count, -1.0, 1.0),
                numbers(half, count, 7.0, 8.0),
                Data::zeros(F, count),
            ];
            let Some(got) = run(&code, count, &data) else { return };
            let [acc, bias, residual] = [0, 1, 2].map(|i| data[i].to_f64());
            let (mut first, mut second) = (vec![0.0; count], vec![0.0; count]);
            for (i, at) in points(&dims).enumerate() {
                let before = shifted.at(&at).map_or(0.0, |j| acc[j]);
                let value = (acc[i] + bias[at[2]]).tanh() + residual[i] - before;
                first[i] = value;
                second[transposed.at(&at).unwrap()] = value * at[1] as f64;
            }
            let tolerance = if half == F { 1e-5 } else { 1e-2 };
            let shift = |list: &[f64]| list.iter().map(|x| x + 10.0).collect::<Vec<_>>();
            close(&shift(&got[3]), &shift(&first), tolerance, "contiguous result");
            close(&shift(&got[4]), &shift(&second), 1e-5, "transposed result");
        }
    }
}

/// With native f16 the declaration says so, and the shader must be enabled.
#[test]
fn native_f16_is_enabled() {
    let at = view(0, &[1]);
    let body = Body { instrs: vec![Instr::Acc], stores: vec![store(0, 1, DType::F16, at)], ..Body::default() };
    let code = epilogue(&body, &[9], 1, &[], false, &Traits { f16: true, ..traits() }).unwrap();
    let source = splice(SHADER, &code);
    assert!(code.f16 && source.contains("array<f16>"));
    valid(&format!("enable f16;\n{source}"));
}
