//! Instructions joined with those that alone use them, where one kernel does both: fewer passes over registers.

use crate::math;
use crate::ops::{Map, MapFn};
use crate::simd::{Kernel, Level};
use crate::steps::Rank;
use ibex_core::graph::{Binary, Reduce, Unary};
use ibex_core::program::{Body, Instr, Reg, ValueId};
use std::marker::PhantomData;
use std::slice::from_raw_parts_mut;

/// Two instructions in one, over floats.
trait F3 {
    fn f<const FMA: bool>(a: f32, b: f32, c: f32) -> f32;
}

struct Map3<F>(PhantomData<F>);

impl<F: F3> Map3<F> {
    /// The loop for operands whose steps are known.
    #[inline(always)]
    unsafe fn steps<const FMA: bool, const A: usize, const B: usize, const C: usize>(m: Map) {
        // SAFETY: see `MapFn`.
        unsafe {
            let out = from_raw_parts_mut(m.out.cast::<f32>(), m.n);
            let [a, b, c] = m.args.map(|arg| arg.ptr.cast::<f32>());
            for (i, out) in out.iter_mut().enumerate() {
                *out = F::f::<FMA>(*a.add(A * i), *b.add(B * i), *c.add(C * i));
            }
        }
    }
}

impl<F: F3> Kernel<Map> for Map3<F> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(m: Map) {
        // SAFETY: see `MapFn`.
        unsafe {
            match m.args.map(|arg| arg.step) {
                [0, 0, 0] => Self::steps::<FMA, 0, 0, 0>(m),
                [0, 0, _] => Self::steps::<FMA, 0, 0, 1>(m),
                [0, _, 0] => Self::steps::<FMA, 0, 1, 0>(m),
                [0, _, _] => Self::steps::<FMA, 0, 1, 1>(m),
                [_, 0, 0] => Self::steps::<FMA, 1, 0, 0>(m),
                [_, 0, _] => Self::steps::<FMA, 1, 0, 1>(m),
                [_, _, 0] => Self::steps::<FMA, 1, 1, 0>(m),
                [_, _, _] => Self::steps::<FMA, 1, 1, 1>(m),
            }
        }
    }
}

macro_rules! pairs {
    ($($name:ident: |$a:ident, $b:ident, $c:ident| $body:expr;)*) => {$(
        struct $name;
        impl F3 for $name {
            #[inline(always)]
            fn f<const FMA: bool>($a: f32, $b: f32, $c: f32) -> f32 {
                $body
            }
        }
    )*};
}

pairs! {
    MulAdd: |a, b, c| math::fma::<FMA>(a, b, c);
    MulSub: |a, b, c| math::fma::<FMA>(a, b, -c);
    SubMul: |a, b, c| math::fma::<FMA>(-a, b, c);
    DifferenceMul: |a, b, c| (a - b) * c;
    SumMul: |a, b, c| (a + b) * c;
    MulMul: |a, b, c| a * b * c;
    MulDiv: |a, b, c| a * b / c;
    // Moving averages.
    Toward: |a, b, c| math::fma::<FMA>(b - a, c, a);
    TowardSquare: |a, b, c| math::fma::<FMA>(math::fma::<FMA>(b, b, -a), c, a);
    AddMax: |a, b, c| crate::ops::max(a + b, c);
    ExpSub: |a, b, _c| math::exp::<FMA>(a - b);
    SqrtAdd: |a, b, _c| a + b.sqrt();
    MulSigmoid: |a, b, _c| a * math::sigmoid::<FMA>(b);
    TanhSigmoid: |a, b, _c| math::tanh_sigmoid::<FMA>(a, b);
}

/// The kernel that does a function of two floats, of which one is the result of another function of two, in one pass: `outer(inner(a, b), c)`,
/// or `outer(c, inner(a, b))` if `right`.
fn pair(level: Level, inner: Binary, outer: Binary, right: bool) -> Option<MapFn> {
    macro_rules! k {
        ($f:ty) => {
            Some(level.compile::<Map, Map3<$f>>())
        };
    }
    match (inner, outer) {
        (Binary::Mul, Binary::Add) => k!(MulAdd),
        (Binary::Mul, Binary::Sub) if right => k!(SubMul),
        (Binary::Mul, Binary::Sub) => k!(MulSub),
        (Binary::Sub, Binary::Mul) => k!(DifferenceMul),
        (Binary::Add, Binary::Mul) => k!(SumMul),
        (Binary::Mul, Binary::Mul) => k!(MulMul),
        (Binary::Mul, Binary::Div) if !right => k!(MulDiv),
        // Which operand a NaN comes from does not matter.
        (Binary::Add, Binary::Max) => k!(AddMax),
        _ => None,
    }
}

/// The kernel of `e^(a - b)`.
fn exp_sub(level: Level) -> MapFn {
    level.compile::<Map, Map3<ExpSub>>()
}

/// The kernel that does a function of two floats, of which one is a function of one: `outer(a, inner(b))`, whichever comes first.
fn unary_pair(level: Level, inner: Unary, outer: Binary) -> Option<MapFn> {
    match (inner, outer) {
        (Unary::Sqrt, Binary::Add) => Some(level.compile::<Map, Map3<SqrtAdd>>()),
        (Unary::Sigmoid, Binary::Mul) => Some(level.compile::<Map, Map3<MulSigmoid>>()),
        _ => None,
    }
}

/// A moving average: `a + (b - a) * c`.
pub(crate) struct Average {
    pub(crate) a: ValueId,
    pub(crate) b: ValueId,
    pub(crate) c: ValueId,
    /// The product and the difference.
    pub(crate) between: [ValueId; 2],
}

impl Average {
    /// Of this value.
    pub(crate) fn of(body: &Body, v: ValueId) -> Option<Average> {
        let instr = |v: ValueId| body.instrs[v.0];
        let Instr::Binary(Binary::Add, x, y) = instr(v) else { return None };
        either(x, y).find_map(|(a, step)| {
            let Instr::Binary(Binary::Mul, p, q) = instr(step) else { return None };
            either(p, q).find_map(|(way, c)| match instr(way) {
                Instr::Binary(Binary::Sub, b, from) if from == a => Some(Average { a, b, c, between: [step, way] }),
                _ => None,
            })
        })
    }
}

/// The operands of what does not mind their order.
pub(crate) fn either(a: ValueId, b: ValueId) -> impl Iterator<Item = (ValueId, ValueId)> {
    [(a, b), (b, a)].into_iter()
}

/// The kernel of a moving average, of `b` or of its square, and its operands.
fn average(body: &Body, level: Level, v: usize, single: impl Fn(ValueId) -> bool) -> Option<(MapFn, [ValueId; 3])> {
    let Average { a, b, c, .. } = Average::of(body, ValueId(v)).filter(|a| a.between.iter().all(|&v| single(v)))?;
    Some(match body.instrs[b.0] {
        Instr::Binary(Binary::Mul, g, same) if g == same && single(b) => {
            (level.compile::<Map, Map3<TowardSquare>>(), [a, g, c])
        }
        _ => (level.compile::<Map, Map3<Toward>>(), [a, b, c]),
    })
}

/// The kernel of a gate, `tanh(a) * sigmoid(b)`, and its operands.
fn gate(body: &Body, level: Level, v: usize, single: impl Fn(ValueId) -> bool) -> Option<(MapFn, [ValueId; 3])> {
    let Instr::Binary(Binary::Mul, p, q) = body.instrs[v] else { return None };
    either(p, q).find_map(|(t, s)| match (body.instrs[t.0], body.instrs[s.0]) {
        (Instr::Unary(Unary::Tanh, a), Instr::Unary(Unary::Sigmoid, b)) if single(t) && single(s) => {
            Some((level.compile::<Map, Map3<TanhSigmoid>>(), [a, b, b]))
        }
        _ => None,
    })
}

/// Joins what can be joined: for each instruction that does another's work as well, the operands of both. A product that is joined
/// with a sum is rounded once only. Values in `kept` are needed for themselves.
pub(crate) fn join(
    body: &Body,
    kept: &[usize],
    ranks: &[Rank],
    live: &mut [bool],
    kernels: &mut [Option<(MapFn, bool)>],
    level: Level,
) -> Vec<Option<[ValueId; 3]>> {
    let (n, regs) = (body.instrs.len(), body.regs());
    let mut uses = vec![0; n];
    (0..n).filter(|&v| live[v]).for_each(|v| body.instrs[v].operands().for_each(|o| uses[o.0] += 1));
    body.stores.iter().map(|s| s.value.0).chain(kept.iter().copied()).for_each(|v| uses[v] += 1);
    let mut joined = vec![None; n];
    for v in 0..n {
        // What is computed once for many must stay so.
        let alone = |o: ValueId, joined: &[Option<[ValueId; 3]>]| {
            uses[o.0] == 1 && ranks[o.0] == ranks[v] && regs[o.0] == Reg::F32 && joined[o.0].is_none()
        };
        if !live[v] {
            continue;
        }
        // What a moving average takes over may have been joined already.
        let single = |o: ValueId| uses[o.0] == 1 && ranks[o.0] == ranks[v] && regs[o.0] == Reg::F32;
        if let Some((kernel, operands)) = average(body, level, v, single) {
            kernels[v] = Some((kernel, false));
            joined[v] = Some(operands);
            continue;
        }
        if let Some((kernel, operands)) = gate(body, level, v, single) {
            kernels[v] = Some((kernel, false));
            joined[v] = Some(operands);
            continue;
        }
        // A sum takes squares over that nobody else needs.
        if let Instr::Reduce(Reduce::Sum, u) = body.instrs[v]
            && let Instr::Binary(Binary::Mul, x, same) = body.instrs[u.0]
            && x == same
            && uses[u.0] == 1
            && regs[u.0] == Reg::F32
            && joined[u.0].is_none()
        {
            joined[v] = Some([x; 3]);
            continue;
        }
        let found = match body.instrs[v] {
            Instr::Binary(outer, a, b) => [(a, b, false), (b, a, true)].into_iter().find_map(|(u, c, right)| {
                let fits = alone(u, &joined) && u != c;
                match body.instrs[u.0] {
                    Instr::Binary(inner, x, y) if fits => {
                        pair(level, inner, outer, right).map(|kernel| (kernel, [x, y, c]))
                    }
                    Instr::Unary(inner, x) if fits => unary_pair(level, inner, outer).map(|kernel| (kernel, [c, x, x])),
                    _ => None,
                }
            }),
            Instr::Unary(Unary::Exp, u) if alone(u, &joined) => match body.instrs[u.0] {
                Instr::Binary(Binary::Sub, x, y) => Some((exp_sub(level), [x, y, y])),
                _ => None,
            },
            _ => None,
        };
        if let Some((kernel, operands)) = found {
            kernels[v] = Some((kernel, false));
            joined[v] = Some(operands);
        }
    }
    // What somebody still asks for.
    live.fill(false);
    body.stores.iter().map(|s| s.value.0).chain(kept.iter().copied()).for_each(|v| live[v] = true);
    for v in (0..n).rev() {
        if live[v] {
            match joined[v] {
                Some(operands) => operands.iter().for_each(|o| live[o.0] = true),
                None => body.instrs[v].operands().for_each(|o| live[o.0] = true),
            }
        }
    }
    joined
}
