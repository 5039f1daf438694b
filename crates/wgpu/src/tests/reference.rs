//! Loops one point at a time, floats in `f64`.

use super::close;
use ibex_core::graph::{Binary, Compare, Reduce, Unary};
use ibex_core::program::{Instr, Loop};
use ibex_core::random::threefry;
use ibex_core::{DType, Data, Scalar};
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    F(f64),
    I(i32),
    U(u32),
    B(bool),
}
use Value::{B, F, I, U};

impl Value {
    fn number(self) -> f64 {
        match self {
            F(x) => x,
            I(x) => f64::from(x),
            U(x) => f64::from(x),
            B(x) => f64::from(u8::from(x)),
        }
    }

    fn of(x: f64, dtype: DType) -> Value {
        match dtype {
            DType::I32 => I(x as i32),
            DType::U32 => U(x as u32),
            DType::Bool => B(x != 0.0),
            _ => F(x),
        }
    }
}

struct Machine<'a> {
    kernel: &'a Loop,
    data: Vec<Vec<f64>>,
    reduced: HashMap<(usize, Vec<usize>), Value>,
}

/// The buffers after the loop, widened.
pub(super) fn run(kernel: &Loop, data: &[Data]) -> Vec<Vec<f64>> {
    let mut machine = Machine { kernel, data: data.iter().map(Data::to_f64).collect(), reduced: HashMap::new() };
    let mut after = machine.data.clone();
    let mut probe = kernel.clone();
    // Of an empty row nothing is stored.
    probe.dims.iter_mut().filter(|d| **d == 0).for_each(|d| *d = 2);
    let levels = probe.row_level();
    for point in points(&kernel.dims) {
        let first = (kernel.outer..kernel.outer + kernel.reduce).all(|d| point[d] == 0);
        for store in &kernel.body.stores {
            if first || levels[store.value.0] {
                let value = machine.value(store.value.0, &point).number();
                let rounded = Data::from_f64(store.dtype, &[value]).to_f64()[0];
                after[store.buffer.0][store.view.at(&point).unwrap()] = rounded;
            }
        }
    }
    // No row, but results all the same.
    if kernel.dims[kernel.outer..kernel.outer + kernel.reduce].contains(&0) {
        let mut dims = kernel.dims.clone();
        dims[kernel.outer..kernel.outer + kernel.reduce].fill(1);
        for point in points(&dims) {
            for store in kernel.body.stores.iter().filter(|s| !levels[s.value.0]) {
                after[store.buffer.0][store.view.at(&point).unwrap()] = machine.value(store.value.0, &point).number();
            }
        }
    }
    after
}

pub(super) fn points(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let dims = dims.to_vec();
    (0..dims.iter().product()).map(move |mut i: usize| {
        let mut point = vec![0; dims.len()];
        for d in (0..dims.len()).rev() {
            point[d] = i % dims[d];
            i /= dims[d];
        }
        point
    })
}

impl Machine<'_> {
    fn value(&mut self, v: usize, at: &[usize]) -> Value {
        match self.kernel.body.instrs[v] {
            Instr::Load(l) => {
                let load = &self.kernel.body.loads[l];
                Value::of(load.view.at(at).map_or(0.0, |i| self.data[load.buffer.0][i]), load.dtype)
            }
            Instr::Acc => unreachable!("loops have no contraction"),
            Instr::Const(Scalar::Float(x)) => F(f64::from(x)),
            Instr::Const(Scalar::Int(x)) => I(x),
            Instr::Const(Scalar::Uint(x)) => U(x),
            Instr::Const(Scalar::Bool(x)) => B(x),
            Instr::Iota(i) => {
                let view = &self.kernel.body.iotas[i];
                let inside = view.bounds.is_empty() || view.at(at).is_some();
                let sum: i64 = view.strides.iter().zip(at).map(|(s, &c)| s * c as i64).sum();
                I(if inside { (view.offset + sum) as i32 } else { 0 })
            }
            Instr::Threefry(keys, counter, stream) => {
                let [k0, k1, c] = [keys[0], keys[1], counter].map(|v| match self.value(v.0, at) {
                    U(x) => x,
                    other => panic!("{other:?} is no u32"),
                });
                U(threefry([k0, k1], [c, stream])[0])
            }
            Instr::Unary(op, a) => unary(op, self.value(a.0, at)),
            Instr::Binary(op, a, b) => binary(op, self.value(a.0, at), self.value(b.0, at)),
            Instr::Compare(op, a, b) => {
                let (a, b) = (self.value(a.0, at).number(), self.value(b.0, at).number());
                B(match op {
                    Compare::Eq => a == b,
                    Compare::Ne => a != b,
                    Compare::Lt => a < b,
                    Compare::Le => a <= b,
                    Compare::Gt => a > b,
                    Compare::Ge => a >= b,
                })
            }
            Instr::Select(c, a, b) => match self.value(c.0, at) {
                B(true) => self.value(a.0, at),
                _ => self.value(b.0, at),
            },
            Instr::Cast(dtype, a) => match (self.value(a.0, at), dtype) {
                (I(x), DType::U32) => U(x as u32),
                (U(x), DType::I32) => I(x as i32),
                (x, DType::F16 | DType::BF16) => F(Data::from_f64(dtype, &[x.number()]).to_f64()[0]),
                (x, _) => Value::of(x.number(), dtype),
            },
            Instr::Reduce(op, a) => self.reduce(v, op, a.0, at),
        }
    }

    fn reduce(&mut self, v: usize, op: Reduce, a: usize, at: &[usize]) -> Value {
        let range = self.kernel.outer..self.kernel.outer + self.kernel.reduce;
        let mut point = at.to_vec();
        point[range.clone()].fill(0);
        if let Some(&known) = self.reduced.get(&(v, point.clone())) {
            return known;
        }
        let reg = self.kernel.body.regs()[v];
        let dtype = match reg {
            ibex_core::program::Reg::F32 => DType::F32,
            ibex_core::program::Reg::I32 => DType::I32,
            ibex_core::program::Reg::U32 => DType::U32,
            ibex_core::program::Reg::Bool => DType::Bool,
        };
        let mut all = Value::of(op.identity(dtype).to_f64(), dtype);
        for row in points(&self.kernel.dims[range.clone()]) {
            let mut inner = point.clone();
            inner[range.clone()].copy_from_slice(&row);
            let next = self.value(a, &inner);
            all = binary(op.combine(), all, next);
        }
        self.reduced.insert((v, point), all);
        all
    }
}

pub(super) fn unary(op: Unary, a: Value) -> Value {
    match (op, a) {
        (Unary::Neg, I(x)) => I(x.wrapping_neg()),
        (Unary::Neg, U(x)) => U(x.wrapping_neg()),
        (Unary::Abs, I(x)) => I(x.wrapping_abs()),
        (Unary::Sign, I(x)) => I(x.signum()),
        (Unary::Not, B(x)) => B(!x),
        (_, F(x)) => F(match op {
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
            Unary::Erf => erf(x),
            Unary::Floor => x.floor(),
            Unary::Ceil => x.ceil(),
            Unary::Round => x.round_ties_even(),
            Unary::Not => panic!("no float"),
        }),
        other => panic!("{other:?}"),
    }
}

/// By its Taylor series, and by the continued fraction of erfc for larger arguments.
pub(super) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() || a > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    if a < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let mut fraction = 0.0;
    for n in (1..200).rev() {
        fraction = f64::from(n) / 2.0 / (a + fraction);
    }
    (1.0 - (-a * a).exp() / (a + fraction) / std::f64::consts::PI.sqrt()).copysign(x)
}

pub(super) fn binary(op: Binary, a: Value, b: Value) -> Value {
    match (a, b) {
        (F(x), F(y)) => F(match op {
            Binary::Add => x + y,
            Binary::Sub => x - y,
            Binary::Mul => x * y,
            Binary::Div => x / y,
            Binary::Rem => x % y,
            Binary::Pow => x.powf(y),
            Binary::Max | Binary::Min if x.is_nan() || y.is_nan() => f64::NAN,
            Binary::Max => x.max(y),
            Binary::Min => x.min(y),
            _ => panic!("{op:?}"),
        }),
        (I(x), I(y)) => I(match op {
            Binary::Add => x.wrapping_add(y),
            Binary::Sub => x.wrapping_sub(y),
            Binary::Mul => x.wrapping_mul(y),
            Binary::Div if y == 0 => 0,
            Binary::Div => x.wrapping_div(y),
            Binary::Rem if y == 0 => 0,
            Binary::Rem => x.wrapping_rem(y),
            Binary::Max => x.max(y),
            Binary::Min => x.min(y),
            Binary::And => x & y,
            Binary::Or => x | y,
            Binary::Xor => x ^ y,
            Binary::Shl => x << (y & 31),
            Binary::Shr => x >> (y & 31),
            Binary::Pow => panic!("{op:?}"),
        }),
        (U(x), U(y)) => U(match op {
            Binary::Add => x.wrapping_add(y),
            Binary::Sub => x.wrapping_sub(y),
            Binary::Mul => x.wrapping_mul(y),
            Binary::Div => x.checked_div(y).unwrap_or(0),
            Binary::Rem => x.checked_rem(y).unwrap_or(0),
            Binary::Max => x.max(y),
            Binary::Min => x.min(y),
            Binary::And => x & y,
            Binary::Or => x | y,
            Binary::Xor => x ^ y,
            Binary::Shl => x << (y & 31),
            Binary::Shr => x >> (y & 31),
            Binary::Pow => panic!("{op:?}"),
        }),
        (B(x), B(y)) => B(match op {
            Binary::Add | Binary::Max | Binary::Or => x | y,
            Binary::Mul | Binary::Min | Binary::And => x & y,
            Binary::Sub | Binary::Xor => x ^ y,
            _ => panic!("{op:?}"),
        }),
        other => panic!("{op:?} of {other:?}"),
    }
}

#[test]
fn erf_of_the_reference() {
    let want = [0.0, 0.5204998778130465, 0.8427007929497149, 0.9953222650189527, 0.9999779095030014];
    close(&[0.0, 0.5, 1.0, 2.0, 3.0].map(erf), &want, 1e-14, "erf");
}
