//! Every kernel against naive `f64` loops, on whatever adapter there is.

mod conv;
mod index;
mod lstm;
mod matmul;
mod pool;
mod shaders;
mod speed;

use super::lower;
use crate::dispatch::Traits;
use crate::runner::{Gpu, gpu};
use ibex_core::DType;
use ibex_core::graph::Binary;
use ibex_core::program::{Body, BufferId, Instr, KernelKind, Load, Program, Store, ValueId, View};

/// Numbers in -1..1 that differ from place to place.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(12345);
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

/// The traits to test: the device's own, and those that choose the other variants.
fn variants(gpu: &Gpu) -> Vec<Traits> {
    let mut other = gpu.traits.clone();
    other.software = !other.software;
    let mut small = other.clone();
    small.max_workgroup_storage = 16384;
    // Folds every larger grid into more dimensions.
    small.max_workgroups_per_dim = 3000;
    small.subgroups = None;
    vec![gpu.traits.clone(), small]
}

/// Runs a kernel over buffers given as bytes; the contents of buffer `out` afterwards.
fn run(gpu: &Gpu, kind: &KernelKind, buffers: &[Vec<u8>], out: usize, traits: &Traits) -> Vec<u8> {
    run_all(gpu, kind, buffers, [out], traits).remove(0)
}

/// The same with several outputs.
fn run_all<const N: usize>(
    gpu: &Gpu,
    kind: &KernelKind,
    buffers: &[Vec<u8>],
    outs: [usize; N],
    traits: &Traits,
) -> Vec<Vec<u8>> {
    let lowered = lower(kind, &Program::default(), traits).unwrap();
    let ready = gpu.prepare(&lowered, buffers, true);
    gpu.run(&ready);
    outs.iter().map(|&out| gpu.read(&ready, out)).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let ok = if w.is_nan() { g.is_nan() } else { (f64::from(g) - w).abs() <= tolerance * (1.0 + w.abs()) };
        assert!(ok, "{what}: element {i} is {g}, not {w}");
    }
}

/// Stores `acc` to a buffer.
fn plain(out: usize, dims: &[usize]) -> Body {
    Body { instrs: vec![Instr::Acc], stores: vec![store(ValueId(0), out, dims)], ..Body::default() }
}

fn store(value: ValueId, out: usize, dims: &[usize]) -> Store {
    Store { value, buffer: BufferId(out), dtype: DType::F32, view: View::contiguous(dims) }
}

/// Stores `max(acc + bias[last axis], 0)` to one buffer and `acc` to another.
fn bias_relu(bias: usize, out: usize, raw: usize, dims: &[usize]) -> Body {
    let mut view = View::scalar(dims.len());
    view.strides[dims.len() - 1] = 1;
    Body {
        loads: vec![Load { buffer: BufferId(bias), dtype: DType::F32, view }],
        instrs: vec![
            Instr::Acc,
            Instr::Load(0),
            Instr::Binary(Binary::Add, ValueId(0), ValueId(1)),
            Instr::Const(ibex_core::Scalar::Float(0.0)),
            Instr::Binary(Binary::Max, ValueId(2), ValueId(3)),
        ],
        stores: vec![store(ValueId(4), out, dims), store(ValueId(0), raw, dims)],
        ..Body::default()
    }
}
