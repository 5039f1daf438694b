//! The instructions of a body as kernels over registers: arrays of 32-bit elements in cache.

use crate::math;
use crate::simd::{Kernel, Level};
use bytemuck::Pod;
use ibex_core::DType;
use ibex_core::graph::{Binary, Compare, Unary};
use ibex_core::program::Reg;
use std::marker::PhantomData;
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// An operand: `step` is 1 for an array and 0 for the same element everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arg {
    pub ptr: *const u32,
    pub step: usize,
}

impl Arg {
    pub(crate) const NONE: Arg = Arg { ptr: std::ptr::null(), step: 0 };
}

/// Arguments of an instruction: `out[i] = f(args[0][i], args[1][i], args[2][i])` for `i` in `0..n`. `out` overlaps no operand.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    pub out: *mut u32,
    pub args: [Arg; 3],
    pub n: usize,
    /// Random stream.
    pub imm: u32,
}

/// An instruction for one instruction set. Its safety: operands are valid for `n` elements (one if `step` is 0), `out` for `n`.
pub(crate) type MapFn = unsafe fn(Map);

trait F1 {
    type In: Pod;
    type Out: Pod;
    fn f<const FMA: bool>(x: Self::In) -> Self::Out;
}

trait F2 {
    type In: Pod;
    type Out: Pod;
    fn f<const FMA: bool>(a: Self::In, b: Self::In) -> Self::Out;
}

struct Map1<F>(PhantomData<F>);
struct Map2<F>(PhantomData<F>);

impl<F: F1> Kernel<Map> for Map1<F> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(m: Map) {
        // SAFETY: see `MapFn`.
        unsafe {
            let out = from_raw_parts_mut(m.out.cast::<F::Out>(), m.n);
            let a = m.args[0].ptr.cast::<F::In>();
            if m.args[0].step == 0 {
                return out.fill(F::f::<FMA>(*a));
            }
            for (out, &a) in out.iter_mut().zip(from_raw_parts(a, m.n)) {
                *out = F::f::<FMA>(a);
            }
        }
    }
}

impl<F: F2> Kernel<Map> for Map2<F> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(m: Map) {
        // SAFETY: see `MapFn`.
        unsafe {
            let out = from_raw_parts_mut(m.out.cast::<F::Out>(), m.n);
            let (a, b) = (m.args[0].ptr.cast::<F::In>(), m.args[1].ptr.cast::<F::In>());
            match (m.args[0].step, m.args[1].step) {
                (0, 0) => out.fill(F::f::<FMA>(*a, *b)),
                (0, _) => {
                    let a = *a;
                    for (out, &b) in out.iter_mut().zip(from_raw_parts(b, m.n)) {
                        *out = F::f::<FMA>(a, b);
                    }
                }
                (_, 0) => {
                    let b = *b;
                    for (out, &a) in out.iter_mut().zip(from_raw_parts(a, m.n)) {
                        *out = F::f::<FMA>(a, b);
                    }
                }
                _ => {
                    let (a, b) = (from_raw_parts(a, m.n), from_raw_parts(b, m.n));
                    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                        *out = F::f::<FMA>(a, b);
                    }
                }
            }
        }
    }
}

/// `args[0] != 0 ? args[1] : args[2]`
struct Select;

impl Kernel<Map> for Select {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(m: Map) {
        // SAFETY: see `MapFn`.
        unsafe {
            let out = from_raw_parts_mut(m.out, m.n);
            let [c, a, b] = m.args;
            if c.step == 0 {
                let chosen = if *c.ptr != 0 { a } else { b };
                return match chosen.step {
                    0 => out.fill(*chosen.ptr),
                    _ => out.copy_from_slice(from_raw_parts(chosen.ptr, m.n)),
                };
            }
            let out = out.iter_mut().zip(from_raw_parts(c.ptr, m.n));
            match (a.step, b.step) {
                (0, 0) => {
                    let (a, b) = (*a.ptr, *b.ptr);
                    out.for_each(|(out, &c)| *out = if c != 0 { a } else { b });
                }
                (0, _) => {
                    let a = *a.ptr;
                    out.zip(from_raw_parts(b.ptr, m.n)).for_each(|((out, &c), &b)| *out = if c != 0 { a } else { b });
                }
                (_, 0) => {
                    let b = *b.ptr;
                    out.zip(from_raw_parts(a.ptr, m.n)).for_each(|((out, &c), &a)| *out = if c != 0 { a } else { b });
                }
                _ => {
                    let (a, b) = (from_raw_parts(a.ptr, m.n), from_raw_parts(b.ptr, m.n));
                    out.zip(a.iter().zip(b)).for_each(|((out, &c), (&a, &b))| *out = if c != 0 { a } else { b });
                }
            }
        }
    }
}

/// The first word of Threefry under key `args[0..2]` and counter `(args[2], imm)`.
struct Threefry;

impl Kernel<Map> for Threefry {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(m: Map) {
        // SAFETY: see `MapFn`.
        unsafe {
            let out = from_raw_parts_mut(m.out, m.n);
            let [k0, k1, counter] = m.args;
            if (k0.step, k1.step, counter.step) == (0, 0, 1) {
                let (k0, k1) = (*k0.ptr, *k1.ptr);
                for (out, &c) in out.iter_mut().zip(from_raw_parts(counter.ptr, m.n)) {
                    *out = threefry(k0, k1, c, m.imm);
                }
            } else {
                for (i, out) in out.iter_mut().enumerate() {
                    let at = |a: Arg| *a.ptr.add(i * a.step);
                    *out = threefry(at(k0), at(k1), at(counter), m.imm);
                }
            }
        }
    }
}

/// [`ibex_core::random::threefry`] without loops over arrays, which would keep the outer loop from vectorising.
#[inline(always)]
fn threefry(k0: u32, k1: u32, c0: u32, c1: u32) -> u32 {
    let k2 = k0 ^ k1 ^ 0x1BD1_1BDA;
    let (mut x, mut y) = (c0.wrapping_add(k0), c1.wrapping_add(k1));
    macro_rules! rounds {
        ($r:expr, $a:expr, $b:expr, $i:expr) => {
            for rotation in $r {
                x = x.wrapping_add(y);
                y = y.rotate_left(rotation) ^ x;
            }
            x = x.wrapping_add($a);
            y = y.wrapping_add($b).wrapping_add($i);
        };
    }
    const R0: [u32; 4] = [13, 15, 26, 6];
    const R1: [u32; 4] = [17, 29, 16, 24];
    rounds!(R0, k1, k2, 1);
    rounds!(R1, k2, k0, 2);
    rounds!(R0, k0, k1, 3);
    rounds!(R1, k1, k2, 4);
    rounds!(R0, k2, k0, 5);
    let _ = y;
    x
}

/// Sine or cosine: vectorised unless an argument is beyond the range of the polynomial.
struct Trig<const COS: bool>;

impl<const COS: bool> Kernel<Map> for Trig<COS> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(m: Map) {
        // SAFETY: see `MapFn`.
        unsafe {
            let n = if m.args[0].step == 0 { m.n.min(1) } else { m.n };
            let (out, a) =
                (from_raw_parts_mut(m.out.cast::<f32>(), m.n), from_raw_parts(m.args[0].ptr.cast::<f32>(), n));
            let far = a.iter().fold(false, |far, a| far | (a.abs() > math::TRIG_LIMIT));
            for (out, &a) in out.iter_mut().zip(a) {
                *out = if COS { math::cos::<FMA>(a) } else { math::sin::<FMA>(a) };
            }
            if far {
                for (out, &a) in out.iter_mut().zip(a).filter(|(_, a)| a.abs() > math::TRIG_LIMIT) {
                    *out = if COS { libm::cosf(a) } else { libm::sinf(a) };
                }
            }
            if n < m.n {
                let first = out[0];
                out.fill(first);
            }
        }
    }
}

/// The greater, or a NaN.
#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

macro_rules! unary {
    ($($name:ident: $in:ty => $out:ty, |$x:ident| $body:expr;)*) => {$(
        struct $name;
        impl F1 for $name {
            type In = $in;
            type Out = $out;
            #[inline(always)]
            fn f<const FMA: bool>($x: $in) -> $out {
                $body
            }
        }
    )*};
}

macro_rules! binary {
    ($($name:ident: $in:ty => $out:ty, |$a:ident, $b:ident| $body:expr;)*) => {$(
        struct $name;
        impl F2 for $name {
            type In = $in;
            type Out = $out;
            #[inline(always)]
            fn f<const FMA: bool>($a: $in, $b: $in) -> $out {
                $body
            }
        }
    )*};
}

unary! {
    Copy: u32 => u32, |x| x;
    Neg: f32 => f32, |x| -x;
    NegInt: u32 => u32, |x| x.wrapping_neg();
    Abs: f32 => f32, |x| x.abs();
    AbsInt: i32 => i32, |x| x.wrapping_abs();
    Sign: f32 => f32, |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x };
    SignInt: i32 => i32, |x| x.signum();
    Exp: f32 => f32, |x| math::exp::<FMA>(x);
    Expm1: f32 => f32, |x| math::expm1::<FMA>(x);
    Log: f32 => f32, |x| math::log::<FMA>(x);
    Log1p: f32 => f32, |x| math::log1p::<FMA>(x);
    Sqrt: f32 => f32, |x| x.sqrt();
    Rsqrt: f32 => f32, |x| 1.0 / x.sqrt();
    Recip: f32 => f32, |x| 1.0 / x;
    Tanh: f32 => f32, |x| math::tanh::<FMA>(x);
    Sigmoid: f32 => f32, |x| math::sigmoid::<FMA>(x);
    Erf: f32 => f32, |x| math::erf::<FMA>(x);
    Floor: f32 => f32, |x| x.floor();
    Ceil: f32 => f32, |x| x.ceil();
    Round: f32 => f32, |x| x.round_ties_even();
    Not: u32 => u32, |x| x ^ 1;
    FloatToInt: f32 => i32, |x| x as i32;
    FloatToUint: f32 => u32, |x| x as u32;
    FloatToBool: f32 => u32, |x| u32::from(x != 0.0);
    FloatToHalf: f32 => f32, |x| math::f16_to_f32(math::f32_to_f16(x));
    FloatToBrain: f32 => f32, |x| math::bf16_to_f32(math::f32_to_bf16(x));
    IntToFloat: i32 => f32, |x| x as f32;
    IntToHalf: i32 => f32, |x| math::f16_to_f32(math::f32_to_f16(x as f32));
    IntToBrain: i32 => f32, |x| math::bf16_to_f32(math::f32_to_bf16(x as f32));
    AnyToBool: u32 => u32, |x| u32::from(x != 0);
    UintToFloat: u32 => f32, |x| x as f32;
    UintToHalf: u32 => f32, |x| math::f16_to_f32(math::f32_to_f16(x as f32));
    UintToBrain: u32 => f32, |x| math::bf16_to_f32(math::f32_to_bf16(x as f32));
}

/// The quotient through `f64`, which is exact for 32-bit integers and vectorises.
#[inline(always)]
fn div_int(a: i32, b: i32) -> i32 {
    let q = (f64::from(a) / f64::from(b)) as i32;
    let q = if b == -1 { a.wrapping_neg() } else { q };
    if b == 0 { 0 } else { q }
}

#[inline(always)]
fn div_uint(a: u32, b: u32) -> u32 {
    let q = (f64::from(a) / f64::from(b)) as u32;
    if b == 0 { 0 } else { q }
}

binary! {
    Add: f32 => f32, |a, b| a + b;
    Sub: f32 => f32, |a, b| a - b;
    Mul: f32 => f32, |a, b| a * b;
    Div: f32 => f32, |a, b| a / b;
    Rem: f32 => f32, |a, b| a % b;
    Pow: f32 => f32, |a, b| math::pow::<FMA>(a, b);
    Max: f32 => f32, |a, b| max(a, b);
    Min: f32 => f32, |a, b| if a < b || a.is_nan() { a } else { b };
    AddInt: u32 => u32, |a, b| a.wrapping_add(b);
    SubInt: u32 => u32, |a, b| a.wrapping_sub(b);
    MulInt: u32 => u32, |a, b| a.wrapping_mul(b);
    DivInt: i32 => i32, |a, b| div_int(a, b);
    DivUint: u32 => u32, |a, b| div_uint(a, b);
    RemInt: i32 => i32, |a, b| if b == 0 { 0 } else { a.wrapping_sub(div_int(a, b).wrapping_mul(b)) };
    RemUint: u32 => u32, |a, b| if b == 0 { 0 } else { a.wrapping_sub(div_uint(a, b).wrapping_mul(b)) };
    MaxInt: i32 => i32, |a, b| a.max(b);
    MaxUint: u32 => u32, |a, b| a.max(b);
    MinInt: i32 => i32, |a, b| a.min(b);
    MinUint: u32 => u32, |a, b| a.min(b);
    And: u32 => u32, |a, b| a & b;
    Or: u32 => u32, |a, b| a | b;
    Xor: u32 => u32, |a, b| a ^ b;
    Shl: u32 => u32, |a, b| a << (b & 31);
    ShrInt: i32 => i32, |a, b| a >> (b & 31);
    ShrUint: u32 => u32, |a, b| a >> (b & 31);
    EqF: f32 => u32, |a, b| u32::from(a == b);
    NeF: f32 => u32, |a, b| u32::from(a != b);
    LtF: f32 => u32, |a, b| u32::from(a < b);
    LeF: f32 => u32, |a, b| u32::from(a <= b);
    Eq: u32 => u32, |a, b| u32::from(a == b);
    Ne: u32 => u32, |a, b| u32::from(a != b);
    LtI: i32 => u32, |a, b| u32::from(a < b);
    LeI: i32 => u32, |a, b| u32::from(a <= b);
    Lt: u32 => u32, |a, b| u32::from(a < b);
    Le: u32 => u32, |a, b| u32::from(a <= b);
}

/// The kernel of a function of one operand; `None` where the register type has no such function.
pub(crate) fn unary(level: Level, op: Unary, reg: Reg) -> Option<MapFn> {
    macro_rules! k {
        ($f:ty) => {
            level.compile::<Map, Map1<$f>>()
        };
    }
    Some(match (op, reg) {
        (Unary::Neg, Reg::F32) => k!(Neg),
        (Unary::Neg, Reg::I32 | Reg::U32) => k!(NegInt),
        (Unary::Abs, Reg::F32) => k!(Abs),
        (Unary::Abs, Reg::I32) => k!(AbsInt),
        (Unary::Abs, Reg::U32) => k!(Copy),
        (Unary::Sign, Reg::F32) => k!(Sign),
        (Unary::Sign, Reg::I32) => k!(SignInt),
        (Unary::Sign, Reg::U32) => k!(AnyToBool),
        (Unary::Not, Reg::Bool) => k!(Not),
        (Unary::Not, _) | (_, Reg::I32 | Reg::U32 | Reg::Bool) => return None,
        (Unary::Exp, _) => k!(Exp),
        (Unary::Expm1, _) => k!(Expm1),
        (Unary::Log, _) => k!(Log),
        (Unary::Log1p, _) => k!(Log1p),
        (Unary::Sqrt, _) => k!(Sqrt),
        (Unary::Rsqrt, _) => k!(Rsqrt),
        (Unary::Recip, _) => k!(Recip),
        (Unary::Sin, _) => level.compile::<Map, Trig<false>>(),
        (Unary::Cos, _) => level.compile::<Map, Trig<true>>(),
        (Unary::Tanh, _) => k!(Tanh),
        (Unary::Sigmoid, _) => k!(Sigmoid),
        (Unary::Erf, _) => k!(Erf),
        (Unary::Floor, _) => k!(Floor),
        (Unary::Ceil, _) => k!(Ceil),
        (Unary::Round, _) => k!(Round),
    })
}

/// The kernel of a function of two operands; `None` where the register type has no such function.
pub(crate) fn binary(level: Level, op: Binary, reg: Reg) -> Option<MapFn> {
    macro_rules! k {
        ($f:ty) => {
            level.compile::<Map, Map2<$f>>()
        };
    }
    Some(match (op, reg) {
        (Binary::Add, Reg::F32) => k!(Add),
        (Binary::Sub, Reg::F32) => k!(Sub),
        (Binary::Mul, Reg::F32) => k!(Mul),
        (Binary::Div, Reg::F32) => k!(Div),
        (Binary::Rem, Reg::F32) => k!(Rem),
        (Binary::Pow, Reg::F32) => k!(Pow),
        (Binary::Max, Reg::F32) => k!(Max),
        (Binary::Min, Reg::F32) => k!(Min),
        (_, Reg::F32) | (Binary::Pow, _) => return None,
        (Binary::And, _) => k!(And),
        (Binary::Or, _) => k!(Or),
        (Binary::Xor, _) => k!(Xor),
        (Binary::Max, Reg::I32) => k!(MaxInt),
        (Binary::Min, Reg::I32) => k!(MinInt),
        (Binary::Max, _) => k!(MaxUint),
        (Binary::Min, _) => k!(MinUint),
        (_, Reg::Bool) => return None,
        (Binary::Add, _) => k!(AddInt),
        (Binary::Sub, _) => k!(SubInt),
        (Binary::Mul, _) => k!(MulInt),
        (Binary::Div, Reg::I32) => k!(DivInt),
        (Binary::Div, _) => k!(DivUint),
        (Binary::Rem, Reg::I32) => k!(RemInt),
        (Binary::Rem, _) => k!(RemUint),
        (Binary::Shl, _) => k!(Shl),
        (Binary::Shr, Reg::I32) => k!(ShrInt),
        (Binary::Shr, _) => k!(ShrUint),
    })
}

/// The kernel of a comparison and whether its operands change places.
pub(crate) fn compare(level: Level, op: Compare, reg: Reg) -> (MapFn, bool) {
    macro_rules! k {
        ($f:ty) => {
            level.compile::<Map, Map2<$f>>()
        };
    }
    let kernel = match (op, reg) {
        (Compare::Eq, Reg::F32) => k!(EqF),
        (Compare::Ne, Reg::F32) => k!(NeF),
        (Compare::Lt | Compare::Gt, Reg::F32) => k!(LtF),
        (Compare::Le | Compare::Ge, Reg::F32) => k!(LeF),
        (Compare::Eq, _) => k!(Eq),
        (Compare::Ne, _) => k!(Ne),
        (Compare::Lt | Compare::Gt, Reg::I32) => k!(LtI),
        (Compare::Le | Compare::Ge, Reg::I32) => k!(LeI),
        (Compare::Lt | Compare::Gt, _) => k!(Lt),
        (Compare::Le | Compare::Ge, _) => k!(Le),
    };
    (kernel, matches!(op, Compare::Gt | Compare::Ge))
}

/// The kernel of a conversion.
pub(crate) fn cast(level: Level, from: Reg, to: DType) -> MapFn {
    macro_rules! k {
        ($f:ty) => {
            level.compile::<Map, Map1<$f>>()
        };
    }
    match (from, to) {
        (Reg::F32, DType::F16) => k!(FloatToHalf),
        (Reg::F32, DType::BF16) => k!(FloatToBrain),
        (Reg::F32, DType::I32) => k!(FloatToInt),
        (Reg::F32, DType::U32) => k!(FloatToUint),
        (Reg::F32, DType::Bool) => k!(FloatToBool),
        (Reg::I32, DType::F32) => k!(IntToFloat),
        (Reg::I32, DType::F16) => k!(IntToHalf),
        (Reg::I32, DType::BF16) => k!(IntToBrain),
        (Reg::U32 | Reg::Bool, DType::F32) => k!(UintToFloat),
        (Reg::U32 | Reg::Bool, DType::F16) => k!(UintToHalf),
        (Reg::U32 | Reg::Bool, DType::BF16) => k!(UintToBrain),
        (Reg::I32 | Reg::U32, DType::Bool) => k!(AnyToBool),
        (Reg::F32, DType::F32) => k!(Copy),
        // The same bits: integers wrap when their sign changes.
        (Reg::I32 | Reg::U32, DType::I32 | DType::U32) | (Reg::Bool, DType::Bool | DType::I32 | DType::U32) => k!(Copy),
    }
}

/// The kernel that chooses between two operands.
pub(crate) fn select(level: Level) -> MapFn {
    level.compile::<Map, Select>()
}

/// The kernel of the random generator.
pub(crate) fn random(level: Level) -> MapFn {
    level.compile::<Map, Threefry>()
}

/// Arguments of a conversion between memory and a register: `n` elements.
#[derive(Clone, Copy)]
pub(crate) struct Convert {
    pub from: *const u8,
    pub to: *mut u8,
    pub n: usize,
}

struct Widen<const BRAIN: bool>;
struct Narrow<const BRAIN: bool>;

impl<const BRAIN: bool> Kernel<Convert> for Widen<BRAIN> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(c: Convert) {
        // SAFETY: the caller hands over `n` elements of each type.
        unsafe {
            let (from, to) = (from_raw_parts(c.from.cast::<u16>(), c.n), from_raw_parts_mut(c.to.cast::<f32>(), c.n));
            for (to, &from) in to.iter_mut().zip(from) {
                *to = if BRAIN { math::bf16_to_f32(from) } else { math::f16_to_f32(from) };
            }
        }
    }
}

impl<const BRAIN: bool> Kernel<Convert> for Narrow<BRAIN> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(c: Convert) {
        // SAFETY: the caller hands over `n` elements of each type.
        unsafe {
            let (from, to) = (from_raw_parts(c.from.cast::<f32>(), c.n), from_raw_parts_mut(c.to.cast::<u16>(), c.n));
            for (to, &from) in to.iter_mut().zip(from) {
                *to = if BRAIN { math::f32_to_bf16(from) } else { math::f32_to_f16(from) };
            }
        }
    }
}

/// A conversion for one instruction set. Its safety: `from` and `to` are valid for `n` elements of their types.
pub(crate) type ConvertFn = unsafe fn(Convert);

/// From 16-bit floats in memory to a register, and back; `None` for 32-bit types, which need no conversion.
pub(crate) fn converters(level: Level, dtype: DType) -> Option<(ConvertFn, ConvertFn)> {
    match dtype {
        DType::F16 => Some((level.compile::<_, Widen<false>>(), level.compile::<_, Narrow<false>>())),
        DType::BF16 => Some((level.compile::<_, Widen<true>>(), level.compile::<_, Narrow<true>>())),
        _ => None,
    }
}
