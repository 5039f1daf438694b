//! Every kernel against naive `f64` loops, on whatever adapter there is.

mod conv;
mod index;
mod lstm;
mod matmul;
mod pool;
mod shaders;

use super::lower;
use crate::dispatch::Traits;
use crate::tests::{backends, forced, program, upload_bytes as upload};
use crate::{Contractions, WgpuBackend};
use ibex_core::backend::{Backend, block_on};
use ibex_core::graph::Binary;
use ibex_core::program::{Body, BufferId, Instr, KernelKind, Load, Store, ValueId, View};
use ibex_core::{DType, ErrorKind};

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

/// Runs a kernel over buffers given as bytes; the contents of buffer `out` afterwards.
fn run(backend: &WgpuBackend, kind: &KernelKind, buffers: &[Vec<u8>], out: usize) -> Vec<u8> {
    run_all(backend, kind, buffers, [out]).remove(0)
}

/// The same with several outputs.
fn run_all<const N: usize>(
    backend: &WgpuBackend,
    kind: &KernelKind,
    buffers: &[Vec<u8>],
    outs: [usize; N],
) -> Vec<Vec<u8>> {
    let decls: Vec<_> = buffers.iter().map(|b| (DType::F32, b.len().div_ceil(4))).collect();
    let executable = backend.load(program(&decls, &[], vec![kind.clone()]).into()).unwrap();
    let sizes: Vec<_> = buffers.iter().map(Vec::len).collect();
    let buffers: Vec<_> = buffers.iter().map(|b| upload(backend, b)).collect();
    executable.run(&buffers).unwrap();
    outs.iter().map(|&out| block_on(backend.read(&buffers[out], 0..sizes[out])).unwrap()).collect()
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
