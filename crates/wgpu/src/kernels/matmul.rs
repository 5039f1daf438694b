//! Matrix products.

use super::contraction::{Contraction, Mode, Side};
use crate::dispatch::{Lowered, Traits};
use ibex_core::Result;
use ibex_core::program::{MatMul, Operand};

pub(super) fn lower(k: &MatMul, traits: &Traits) -> Result<Lowered> {
    if k.batch * k.m * k.n == 0 {
        return Ok(Lowered::default());
    }
    let extent = |o: &Operand, rows: usize, cols: usize| {
        let last = |n: usize| n.max(1) - 1;
        o.offset + last(k.batch) * o.batch_stride + last(rows) * o.row_stride + last(cols) * o.col_stride + 1
    };
    let (left, right) = (extent(&k.a, k.m, k.k), extent(&k.b, k.k, k.n));
    super::shader::addressable("matmul", &[left, right, k.batch * k.m * k.n])?;
    let a = side(&k.a, left, (k.a.col_stride, k.k, k.a.row_stride), (k.a.row_stride, k.m, k.a.col_stride));
    let b = side(&k.b, right, (k.b.row_stride, k.k, k.b.col_stride), (k.b.col_stride, k.n, k.b.row_stride));
    let constants = vec![
        ("PASS", 0),
        ("A_OFFSET", k.a.offset),
        ("A_BATCH", k.a.batch_stride),
        ("A_ROW", k.a.row_stride),
        ("A_COL", k.a.col_stride),
        ("B_OFFSET", k.b.offset),
        ("B_BATCH", k.b.batch_stride),
        ("B_ROW", k.b.row_stride),
        ("B_COL", k.b.col_stride),
        ("B_SPAN", k.k.max(1)),
        ("OUT_BATCH", k.m * k.n),
        ("OUT_ROW", k.n),
    ];
    let (batch, m, n) = (k.batch, k.m, k.n);
    let dims = vec![batch, m, n];
    Contraction { label: "matmul", z: batch, m, n, k: k.k, a, b, constants, epilogue: &k.epilogue, dims }.lower(traits)
}

/// How an operand is read, from `(stride, length, other stride)` along the contraction and along the result.
fn side(
    operand: &Operand,
    elements: usize,
    along_k: (usize, usize, usize),
    along_result: (usize, usize, usize),
) -> Side {
    let whole = |(stride, length, _): (usize, usize, usize)| stride == 1 && length > 0 && length % 4 == 0;
    let (mode, other) = if whole(along_k) {
        (Mode::AlongK, along_k.2)
    } else if whole(along_result) {
        (Mode::AlongResult, along_result.2)
    } else {
        (Mode::Elements, 1)
    };
    let aligned = [operand.offset, operand.batch_stride, other].iter().all(|n| n % 4 == 0);
    Side { buffer: (operand.buffer, operand.dtype), mode, aligned, elements }
}
