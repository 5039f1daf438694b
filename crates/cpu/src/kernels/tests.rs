//! Every kernel against plain loops in f64.

mod contractions;
mod windows;

use super::{Prepared, prepare};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::simd::Level;
use ibex_core::graph::Binary;
use ibex_core::program::{Body, BufferDecl, BufferId, Instr, KernelKind, Role, Store, ValueId, View};
use ibex_core::{DType, Data, Scalar};

/// Small pseudo-random numbers with few bits, so that f16 and bf16 hold most of them.
pub(super) fn numbers(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as i32 % 256) as f64 / 128.0 - 1.0
    };
    (0..len).map(next).collect()
}

/// A tensor of an element type, and its values as stored.
pub(super) fn tensor(dtype: DType, len: usize, seed: u64) -> Data {
    Data::from_f64(dtype, &numbers(len, seed))
}

/// Runs a kernel over buffers; `out` is filled with 7 and returned.
pub(super) fn run(kind: &KernelKind, buffers: &[Data], out: usize, mode: u8) -> Data {
    run_as(&prepare(kind).unwrap(), kind, buffers, out, mode)
}

/// The same with a kernel that was prepared otherwise.
pub(super) fn run_as(prepared: &Prepared, kind: &KernelKind, buffers: &[Data], out: usize, mode: u8) -> Data {
    let mut buffers = buffers.to_vec();
    let sevens = vec![7.0; buffers[out].len()];
    buffers[out] = Data::from_f64(buffers[out].dtype(), &sevens);
    let decl = |data: &Data| BufferDecl { role: Role::Temp(0), dtype: data.dtype(), shape: [data.len()].into() };
    let decls: Vec<BufferDecl> = buffers.iter().map(decl).collect();
    let mut memory = Memory::default();
    for data in &mut buffers {
        let bytes = data.as_bytes_mut();
        memory.push(bytes.as_mut_ptr(), bytes.len());
    }
    let epilogue = kind.dims().map(|dims| {
        let instrs = match mode {
            0 => vec![Instr::Acc],
            1 => vec![Instr::Acc, Instr::Const(Scalar::Float(2.0)), Instr::Binary(Binary::Mul, ValueId(0), ValueId(1))],
            _ => vec![Instr::Acc, Instr::Const(Scalar::Float(1.0)), Instr::Binary(Binary::Add, ValueId(0), ValueId(1))],
        };
        let view = View::contiguous(&dims);
        let store =
            Store { value: ValueId(instrs.len() - 1), buffer: BufferId(out), dtype: buffers[out].dtype(), view };
        let body = Body { instrs, stores: vec![store], ..Body::default() };
        Epilogue::new(&body, &dims, &decls, Level::get()).unwrap()
    });
    prepared.run(epilogue.as_ref(), &memory);
    buffers.swap_remove(out)
}

/// Runs with several epilogues (one for kernels that have none), twice each, and compares.
pub(super) fn check(kind: &KernelKind, buffers: &[Data], out: usize, want: &[f64], label: &str) {
    let modes = if kind.dims().is_some() { 3 } else { 1 };
    for (mode, finish) in [(0, (|v| v) as fn(f64) -> f64), (1, |v| v * 2.0), (2, |v| v + 1.0)].into_iter().take(modes) {
        let got = run(kind, buffers, out, mode);
        let again = run(kind, buffers, out, mode);
        assert_eq!(got.as_bytes(), again.as_bytes(), "{label}: the same bits every time");
        let got = got.to_f64();
        assert_eq!(got.len(), want.len(), "{label}");
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let w = finish(*w);
            let close = (g - w).abs() <= 1e-5 * (1.0 + w.abs()) || (g.is_nan() && w.is_nan()) || *g == w;
            assert!(close, "{label}, epilogue {mode}, element {i}: {g} for {w}");
        }
    }
}
