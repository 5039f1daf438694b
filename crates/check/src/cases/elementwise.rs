//! Functions of single elements, comparisons, conversions.

use super::named;
use crate::case::{Case, Grad};
use crate::tolerance::Class;
use ibex_core::graph::{Binary, Compare, Unary};
use ibex_core::{DType, Tensor};

const TYPES: [DType; 6] = [DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32, DType::Bool];

fn unary(op: Unary, x: &Tensor) -> Tensor {
    match op {
        Unary::Neg => x.neg(),
        Unary::Abs => x.abs(),
        Unary::Sign => x.sign(),
        Unary::Exp => x.exp(),
        Unary::Expm1 => x.expm1(),
        Unary::Log => x.log(),
        Unary::Log1p => x.log1p(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => x.rsqrt(),
        Unary::Recip => x.recip(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => x.sigmoid(),
        Unary::Erf => x.erf(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round(),
        Unary::Not => x.logical_not(),
    }
}

pub(super) fn binary(op: Binary, a: &Tensor, b: &Tensor) -> Tensor {
    match op {
        Binary::Add => a.add(b),
        Binary::Sub => a.sub(b),
        Binary::Mul => a.mul(b),
        Binary::Div => a.div(b),
        Binary::Rem => a.rem(b),
        Binary::Pow => a.pow(b),
        Binary::Max => a.maximum(b),
        Binary::Min => a.minimum(b),
        Binary::And => a.and(b),
        Binary::Or => a.or(b),
        Binary::Xor => a.xor(b),
        Binary::Shl => a.shl(b),
        Binary::Shr => a.shr(b),
    }
}

pub(super) fn compare(op: Compare, a: &Tensor, b: &Tensor) -> Tensor {
    match op {
        Compare::Eq => a.eq(b),
        Compare::Ne => a.ne(b),
        Compare::Lt => a.lt(b),
        Compare::Le => a.le(b),
        Compare::Gt => a.gt(b),
        Compare::Ge => a.ge(b),
    }
}

fn takes_unary(op: Unary, dtype: DType) -> bool {
    match op {
        Unary::Not => dtype == DType::Bool,
        Unary::Neg => dtype != DType::Bool,
        Unary::Abs | Unary::Sign => dtype.is_float() || dtype == DType::I32,
        _ => dtype.is_float(),
    }
}

fn takes_binary(op: Binary, dtype: DType) -> bool {
    match op {
        Binary::And | Binary::Or | Binary::Xor => !dtype.is_float(),
        Binary::Shl | Binary::Shr => dtype.is_int(),
        Binary::Pow => dtype.is_float(),
        _ => dtype != DType::Bool,
    }
}

/// Where a function is tested, and whether it has derivatives there.
fn domain(op: Unary) -> (f64, f64, Grad) {
    match op {
        Unary::Log | Unary::Sqrt | Unary::Rsqrt | Unary::Recip => (0.3, 4.0, Grad::Second),
        Unary::Log1p => (-0.7, 4.0, Grad::Second),
        Unary::Exp | Unary::Expm1 | Unary::Sin | Unary::Cos | Unary::Tanh | Unary::Sigmoid | Unary::Erf => {
            (-3.0, 3.0, Grad::Second)
        }
        Unary::Neg => (-3.0, 3.0, Grad::Second),
        Unary::Abs | Unary::Sign => (-3.0, 3.0, Grad::First),
        Unary::Floor | Unary::Ceil | Unary::Round | Unary::Not => (-3.0, 3.0, Grad::None),
    }
}

pub(super) fn add(all: &mut Vec<Case>) {
    let shapes: [&[usize]; 6] = [&[], &[1], &[7], &[0, 3], &[3, 1, 5], &[2, 3, 1, 4]];
    for &op in Unary::ALL {
        for dtype in TYPES.into_iter().filter(|&d| takes_unary(op, d)) {
            let (lo, hi, grad) = domain(op);
            let shapes = if dtype == DType::F32 { &shapes[..] } else { &shapes[2..3] };
            for &shape in shapes {
                let shape = shape.to_vec();
                let lo = if dtype == DType::U32 { 0.0 } else { lo };
                let name = format!("unary/{}/{dtype}/{}", op.name(), named(&shape));
                let build = move |i: &mut crate::Inputs| vec![unary(op, &i.typed(dtype, &shape[..], lo, hi))];
                all.push(Case::new(name, build).grad(if dtype == DType::F32 { grad } else { Grad::None }));
            }
        }
    }
    // Longer than any workgroup or vector, and odd.
    all.push(Case::new("unary/long", |i| {
        let x = i.uniform([10_007], -3.0, 3.0);
        vec![x.exp(), x.tanh(), x.sin()]
    }));

    let pairs: [(&[usize], &[usize]); 12] = [
        (&[1, 3], &[3]),
        (&[], &[1, 1]),
        (&[5], &[5]),
        (&[], &[]),
        (&[], &[4]),
        (&[3, 4], &[]),
        (&[3, 4], &[4]),
        (&[3, 1], &[1, 4]),
        (&[2, 3, 4], &[3, 1]),
        (&[1, 1, 4], &[2, 3, 1]),
        (&[2, 1, 3, 1], &[5, 1, 2]),
        (&[0, 3], &[1, 3]),
    ];
    for &op in Binary::ALL {
        for dtype in TYPES.into_iter().filter(|&d| takes_binary(op, d)) {
            for (a, b) in if dtype == DType::F32 { &pairs[..] } else { &pairs[6..7] } {
                let (a, b) = (a.to_vec(), b.to_vec());
                let name = format!("binary/{}/{dtype}/{}_{}", op.name(), named(&a), named(&b));
                let grad = match op {
                    _ if dtype != DType::F32 => Grad::None,
                    Binary::Max | Binary::Min | Binary::Rem => Grad::First,
                    _ => Grad::Second,
                };
                all.push(Case::new(name, move |i| vec![operands(op, dtype, &a, &b, i)]).grad(grad));
            }
        }
    }
    for &op in Compare::ALL {
        for dtype in TYPES {
            for (a, b) in if dtype == DType::F32 { &pairs[..] } else { &pairs[6..7] } {
                let (a, b) = (a.to_vec(), b.to_vec());
                let name = format!("compare/{}/{dtype}/{}_{}", op.name(), named(&a), named(&b));
                // Few distinct numbers, so that some are equal.
                let build = move |i: &mut crate::Inputs| {
                    let lo = if dtype == DType::U32 { 0.0 } else { -2.0 };
                    let numbers = if dtype.is_float() { DType::I32 } else { dtype };
                    let mut make = |shape: &[usize]| i.typed(numbers, shape, lo, 2.0).cast(dtype);
                    vec![compare(op, &make(&a), &make(&b))]
                };
                all.push(Case::new(name, build));
            }
        }
    }
    for dtype in TYPES {
        all.push(
            Case::new(format!("select/{dtype}"), move |i| {
                let condition = i.typed(DType::Bool, [3, 1, 4], 0.0, 1.0);
                let (a, b) = (i.typed(dtype, [2, 4], 0.0, 9.0), i.typed(dtype, [3, 1, 1], 0.0, 9.0));
                vec![condition.select(&a, &b)]
            })
            .class(Class::Exact)
            .grad(if dtype == DType::F32 { Grad::First } else { Grad::None }),
        );
        for to in TYPES {
            all.push(
                Case::new(format!("cast/{dtype}/{to}"), move |i| {
                    let lo = if dtype == DType::U32 { 0.0 } else { -9.0 };
                    // Stays within `u32` when negative floats are cast: those saturate.
                    vec![i.typed(dtype, [5, 3], lo, 9.0).cast(to)]
                })
                .class(Class::Elementwise),
            );
        }
    }
    all.push(Case::new("cast/large", |i| {
        let values = [3e9, -3e9, 2147483520.0, -2147483648.0, 4294967040.0, 5e9, 1e20, -1e20, f64::NAN, 0.99, -0.99];
        let x = i.list(DType::F32, &values, [11]);
        let n = i.list(DType::I32, &[-1.0, -2147483648.0, 2147483647.0, 16777217.0], [4]);
        let u = i.list(DType::U32, &[4294967295.0, 2147483648.0, 16777217.0], [3]);
        vec![
            x.cast(DType::I32),
            x.cast(DType::U32),
            n.cast(DType::U32),
            u.cast(DType::I32),
            n.cast(DType::F32),
            u.cast(DType::F32),
            x.cast(DType::Bool),
        ]
    }));
    all.push(
        Case::new("cast/f16_round_trip", |i| {
            let x = i.normal([33]);
            vec![x.cast(DType::F16).cast(DType::F32), x.cast(DType::BF16).cast(DType::F32)]
        })
        .class(Class::Through(DType::BF16, 1)),
    );
}

fn operands(op: Binary, dtype: DType, a: &[usize], b: &[usize], i: &mut crate::Inputs) -> Tensor {
    let (x, y) = match (op, dtype) {
        (Binary::Shl | Binary::Shr, DType::I32) => (i.typed(dtype, a, -1e9, 1e9), i.typed(dtype, b, 0.0, 40.0)),
        (Binary::Shl | Binary::Shr, _) => (i.typed(dtype, a, 0.0, 4e9), i.typed(dtype, b, 0.0, 40.0)),
        (Binary::Pow, _) => (i.typed(dtype, a, 0.3, 2.0), i.typed(dtype, b, -2.0, 2.0)),
        (Binary::Rem, d) if d.is_float() => (i.typed(d, a, -9.0, 9.0), i.typed(d, b, 2.0, 3.0)),
        (Binary::Div, d) if d.is_float() => (i.typed(d, a, -2.0, 2.0), i.typed(d, b, 0.5, 2.0)),
        (Binary::Max | Binary::Min, DType::F32) => (i.distinct(a), i.distinct(b) + 1.0 / 128.0),
        // Products wrap, divisors are zero at times.
        (_, DType::I32) => (i.typed(dtype, a, -70_000.0, 70_000.0), i.typed(dtype, b, -40_000.0, 40_000.0)),
        (_, DType::U32) => (i.typed(dtype, a, 0.0, 140_000.0), i.typed(dtype, b, 0.0, 3.0)),
        (_, d) => (i.typed(d, a, -2.0, 2.0), i.typed(d, b, -2.0, 2.0)),
    };
    binary(op, &x, &y)
}
