//! Every kernel against plain loops in f64.

mod contractions;
mod windows;

use super::{Prepared, prepare};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::simd::Level;
use ibex_core::graph::{Binary, Compare};
use ibex_core::program::{Body, BufferDecl, BufferId, Instr, KernelKind, Load, Role, Store, ValueId, View};
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
    let dims = kind.dims().unwrap_or_default();
    let (columns, all) = (dims.last().copied().unwrap_or(0), dims.iter().product::<usize>());
    let (bias, mask) = (BufferId(buffers.len()), BufferId(buffers.len() + 1));
    buffers.extend([BIAS, MASK].iter().zip([columns, all]).map(|(f, n)| Data::F32((0..n).map(f).collect())));
    let sevens = vec![7.0; buffers[out].len()];
    buffers[out] = Data::from_f64(buffers[out].dtype(), &sevens);
    let decl =
        |(i, data): (usize, &Data)| BufferDecl { role: Role::Temp(i), dtype: data.dtype(), shape: [data.len()].into() };
    let decls: Vec<BufferDecl> = buffers.iter().enumerate().map(decl).collect();
    let mut memory = Memory::default();
    for data in &mut buffers {
        let bytes = data.as_bytes_mut();
        memory.push(bytes.as_mut_ptr(), bytes.len());
    }
    let epilogue = kind.dims().map(|_| {
        let v = ValueId;
        let view = View::contiguous(&dims);
        let mut along = View::scalar(dims.len());
        along.strides.iter_mut().rev().take(1).for_each(|stride| *stride = 1);
        let load = |buffer, view: &View| Load { buffer, dtype: DType::F32, view: view.clone() };
        let (constant, zero) = (|x: f32| Instr::Const(Scalar::Float(x)), Instr::Const(Scalar::Float(0.0)));
        let (loads, instrs) = match mode {
            0 => (vec![], vec![Instr::Acc]),
            1 => (vec![], vec![Instr::Acc, constant(2.0), Instr::Binary(Binary::Mul, v(0), v(1))]),
            2 => (vec![], vec![Instr::Acc, constant(1.0), Instr::Binary(Binary::Add, v(0), v(1))]),
            // What kernels do themselves: a bias and a rectifier, and the gradient of one.
            3 => {
                let sum = Instr::Binary(Binary::Add, v(0), v(1));
                (
                    vec![load(bias, &along)],
                    vec![Instr::Acc, Instr::Load(0), sum, zero, Instr::Binary(Binary::Max, v(2), v(3))],
                )
            }
            _ => {
                let chosen = Instr::Compare(Compare::Ne, v(1), v(2));
                (
                    vec![load(mask, &view)],
                    vec![Instr::Acc, Instr::Load(0), zero, chosen, Instr::Select(v(3), v(0), v(2))],
                )
            }
        };
        let store =
            Store { value: ValueId(instrs.len() - 1), buffer: BufferId(out), dtype: buffers[out].dtype(), view };
        let body = Body { loads, instrs, stores: vec![store], ..Body::default() };
        let epilogue = Epilogue::new(&body, &dims, &decls, Level::get()).unwrap();
        let f32_result = buffers[out].dtype() == DType::F32;
        assert!(
            dims.iter().any(|d| *d < 2) || epilogue.is_simple() == (mode > 2 && f32_result),
            "mode {mode} {dims:?}"
        );
        epilogue
    });
    prepared.run(epilogue.as_ref(), &memory);
    buffers.truncate(bias.0);
    buffers.swap_remove(out)
}

/// Bias of a column.
const BIAS: fn(usize) -> f32 = |column| (column % 5) as f32 * 0.25 - 0.5;
/// Mask of a result.
const MASK: fn(usize) -> f32 = |i| (i % 3) as f32;

/// Runs with several epilogues (one for kernels that have none), twice each, and compares.
pub(super) fn check(kind: &KernelKind, buffers: &[Data], out: usize, want: &[f64], label: &str) {
    let columns = kind.dims().and_then(|dims| dims.last().copied()).unwrap_or(1).max(1);
    let finish = |mode: u8, i: usize, v: f64| match mode {
        0 => v,
        1 => v * 2.0,
        2 => v + 1.0,
        3 if v.is_nan() => v,
        3 => (v + f64::from(BIAS(i % columns))).max(0.0),
        _ if MASK(i) == 0.0 => 0.0,
        _ => v,
    };
    for mode in 0..if kind.dims().is_some() { 5 } else { 1 } {
        let got = run(kind, buffers, out, mode);
        let again = run(kind, buffers, out, mode);
        assert_eq!(got.as_bytes(), again.as_bytes(), "{label}: the same bits every time");
        let got = got.to_f64();
        assert_eq!(got.len(), want.len(), "{label}");
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let w = finish(mode, i, *w);
            let close = (g - w).abs() <= 1e-5 * (1.0 + w.abs()) || (g.is_nan() && w.is_nan()) || *g == w;
            assert!(close, "{label}, epilogue {mode}, element {i}: {g} for {w}");
        }
    }
}
