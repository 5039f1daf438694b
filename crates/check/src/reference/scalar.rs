//! Elementwise functions of registers. Floats are `f32` held in `f64`: every result is rounded.

use half::{bf16, f16};
use ibex_core::DType;
use ibex_core::graph::{Binary, Compare, Reduce, Unary};
use ibex_core::program::Reg;

/// A result as a register holds it: rounded to `f32`, or wrapped to 32 bits.
fn settle(reg: Reg, float: impl FnOnce() -> f64, int: impl FnOnce() -> i128) -> f64 {
    match reg {
        Reg::F32 => f64::from(float() as f32),
        Reg::I32 => f64::from(int() as i32),
        Reg::U32 => f64::from(int() as u32),
        Reg::Bool => f64::from(u8::from(int() != 0)),
    }
}

pub(super) fn unary(op: Unary, reg: Reg, x: f64) -> f64 {
    let float = || match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign if x > 0.0 => 1.0,
        Unary::Sign if x < 0.0 => -1.0,
        Unary::Sign => x,
        Unary::Exp => x.exp(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => x.sqrt().recip(),
        Unary::Recip => x.recip(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Erf => libm::erf(x),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Not => f64::NAN,
    };
    let i = x as i128;
    let int = || match op {
        Unary::Neg => -i,
        Unary::Abs => i.abs(),
        Unary::Sign => i.signum(),
        Unary::Not => i128::from(i == 0),
        _ => 0,
    };
    settle(reg, float, int)
}

pub(super) fn binary(op: Binary, reg: Reg, a: f64, b: f64) -> f64 {
    let nan = a.is_nan() || b.is_nan();
    let float = || match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Rem => a % b,
        Binary::Pow => a.powf(b),
        Binary::Max | Binary::Min if nan => f64::NAN,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        _ => f64::NAN,
    };
    let (x, y) = (a as i128, b as i128);
    let int = || match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x.checked_div(y).unwrap_or(0),
        Binary::Rem => x.checked_rem(y).unwrap_or(0),
        Binary::Max => x.max(y),
        Binary::Min => x.min(y),
        Binary::And => x & y,
        Binary::Or => x | y,
        Binary::Xor => x ^ y,
        Binary::Shl => x << (y & 31),
        Binary::Shr => x >> (y & 31),
        Binary::Pow => 0,
    };
    settle(reg, float, int)
}

pub(super) fn compare(op: Compare, a: f64, b: f64) -> f64 {
    f64::from(u8::from(match op {
        Compare::Eq => a == b,
        Compare::Ne => a != b,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
    }))
}

pub(super) fn cast(to: DType, from: Reg, x: f64) -> f64 {
    match to {
        DType::F32 => f64::from(x as f32),
        DType::F16 => f16::from_f64(x).to_f64(),
        DType::BF16 => bf16::from_f64(x).to_f64(),
        DType::Bool => f64::from(u8::from(x != 0.0)),
        DType::I32 if from == Reg::F32 => f64::from(x as i32),
        DType::U32 if from == Reg::F32 => f64::from(x as u32),
        DType::I32 => f64::from(x as i128 as i32),
        DType::U32 => f64::from(x as i128 as u32),
    }
}

/// A reduction of many registers; sums and products of floats are rounded once, at the end.
pub(super) fn reduce(op: Reduce, reg: Reg, values: impl Iterator<Item = f64>) -> f64 {
    match (op, reg) {
        (Reduce::Sum, Reg::F32) => f64::from(values.sum::<f64>() as f32),
        (Reduce::Prod, Reg::F32) => f64::from(values.product::<f64>() as f32),
        _ => values.reduce(|a, b| binary(op.combine(), reg, a, b)).unwrap_or(f64::NAN),
    }
}

/// One step of a sum that is rounded only when stored.
pub(super) fn sum(dtype: DType, a: f64, b: f64) -> f64 {
    if dtype.is_float() { a + b } else { binary(Binary::Add, dtype.into(), a, b) }
}
