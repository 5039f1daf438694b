//! Elementwise functions of numbers.

use crate::graph::{Binary, Compare, Op, Unary};
use crate::{DType, Scalar};

/// An elementwise operation on constants. `from` is the operands' element type, `to` that of the result.
pub(crate) fn fold(op: &Op, values: &[Scalar], from: DType, to: DType) -> Scalar {
    let v = |i: usize| values[i].to_f64();
    let result = match op {
        Op::Unary(op) => unary(*op, v(0), to),
        Op::Binary(op) => binary(*op, v(0), v(1), to),
        Op::Compare(op) => f64::from(u8::from(compare(*op, v(0), v(1)))),
        Op::Select => return if v(0) != 0.0 { values[1] } else { values[2] },
        Op::Cast(to) => cast(v(0), from, *to),
        _ => f64::NAN,
    };
    Scalar::from_f64(result, to)
}

/// Integers are exact in `f64`; sums and products wrap to 32 bits afterwards.
fn wrap(value: i128, dtype: DType) -> f64 {
    match dtype {
        DType::I32 => f64::from(value as i32),
        DType::U32 => f64::from(value as u32),
        DType::Bool => f64::from(u8::from(value != 0)),
        _ => value as f64,
    }
}

pub(super) fn unary(op: Unary, x: f64, dtype: DType) -> f64 {
    if !dtype.is_float() {
        return match op {
            Unary::Not => f64::from(u8::from(x == 0.0)),
            Unary::Neg => wrap(-(x as i128), dtype),
            Unary::Abs => wrap((x as i128).abs(), dtype),
            Unary::Sign => wrap((x as i128).signum(), dtype),
            _ => f64::NAN,
        };
    }
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign if x == 0.0 || x.is_nan() => x,
        Unary::Sign => x.signum(),
        Unary::Exp => x.exp(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Recip => 1.0 / x,
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Erf => libm::erf(x),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Not => f64::NAN,
    }
}

pub(super) fn binary(op: Binary, a: f64, b: f64, dtype: DType) -> f64 {
    if dtype.is_float() {
        return match op {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Rem => a % b,
            Binary::Pow => a.powf(b),
            Binary::Max if a.is_nan() || b.is_nan() => f64::NAN,
            Binary::Max => a.max(b),
            Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
            Binary::Min => a.min(b),
            Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => f64::NAN,
        };
    }
    let (x, y) = (a as i128, b as i128);
    let bits = (y as u32) & 31;
    let result = match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div if y == 0 => 0,
        Binary::Div => x / y,
        Binary::Rem if y == 0 => 0,
        Binary::Rem => x % y,
        Binary::Pow => return f64::NAN,
        Binary::Max => x.max(y),
        Binary::Min => x.min(y),
        Binary::And => x & y,
        Binary::Or => x | y,
        Binary::Xor => x ^ y,
        Binary::Shl => x << bits,
        Binary::Shr => x >> bits,
    };
    wrap(result, dtype)
}

pub(super) fn compare(op: Compare, a: f64, b: f64) -> bool {
    match op {
        Compare::Eq => a == b,
        Compare::Ne => a != b,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
    }
}

/// Floats saturate, integers wrap when their sign changes, as Rust's `as` does. Float types do not round here.
pub(super) fn cast(x: f64, from: DType, to: DType) -> f64 {
    match to {
        DType::Bool => f64::from(u8::from(x != 0.0)),
        DType::I32 | DType::U32 if !from.is_float() => wrap(x as i128, to),
        DType::I32 => f64::from(x as i32),
        DType::U32 => f64::from(x as u32),
        DType::F32 | DType::F16 | DType::BF16 => x,
    }
}
