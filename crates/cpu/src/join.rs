//! Instructions joined with those that alone use them, where one kernel does both: fewer passes over registers. A difference that only
//! such kernels use is computed by each of them.

use crate::code::Rank;
use crate::fold::{self, Fold};
use crate::math;
use crate::ops::{Map, MapFn};
use crate::simd::{Kernel, Level};
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

/// The kernel of a moving average, `a + (b - a) * c` or `a + (b * b - a) * c`, and its operands.
fn average(body: &Body, level: Level, v: usize, single: impl Fn(ValueId) -> bool) -> Option<(MapFn, [ValueId; 3])> {
    let instr = |v: ValueId| body.instrs[v.0];
    let Instr::Binary(Binary::Add, x, y) = body.instrs[v] else { return None };
    [(x, y), (y, x)].into_iter().find_map(|(a, step)| {
        let Instr::Binary(Binary::Mul, p, q) = instr(step) else { return None };
        [(p, q), (q, p)].into_iter().find_map(|(way, c)| match instr(way) {
            Instr::Binary(Binary::Sub, b, from) if from == a && single(step) && single(way) => match instr(b) {
                Instr::Binary(Binary::Mul, g, same) if g == same && single(b) => {
                    Some((level.compile::<Map, Map3<TowardSquare>>(), [a, g, c]))
                }
                _ => Some((level.compile::<Map, Map3<Toward>>(), [a, b, c])),
            },
            _ => None,
        })
    })
}

/// What a body becomes.
pub(crate) struct Joined {
    /// For each instruction that does others' work as well, the operands of all.
    pub operands: Vec<Option<[ValueId; 3]>>,
    /// For each sum that computes its terms itself.
    pub sums: Vec<Option<Fold>>,
}

/// Joins what can be joined, sums with their terms if `rows` (each reduces adjacent elements). A product that is joined with a sum is
/// rounded once only.
pub(crate) fn join(
    body: &Body,
    ranks: &[Rank],
    rows: bool,
    live: &mut [bool],
    kernels: &mut [Option<(MapFn, bool)>],
    level: Level,
) -> Joined {
    let (n, regs, instrs) = (body.instrs.len(), body.regs(), &body.instrs);
    let mut users: Vec<Vec<usize>> = vec![vec![]; n];
    (0..n).filter(|&v| live[v]).for_each(|v| instrs[v].operands().for_each(|o| users[o.0].push(v)));
    let mut uses: Vec<usize> = users.iter().map(Vec::len).collect();
    body.stores.iter().for_each(|s| uses[s.value.0] += 1);
    // A product whose only use is in a sum of adjacent elements.
    let summed = |v: usize| {
        let sum = |&u: &usize| matches!(instrs[u], Instr::Reduce(Reduce::Sum, _));
        let product = matches!(instrs[v], Instr::Binary(Binary::Mul, ..)) && regs[v] == Reg::F32;
        rows && uses[v] == 1 && ranks[v] == Rank::Row && product && users[v].iter().all(sum)
    };
    let difference = |v: ValueId| if let Instr::Binary(Binary::Sub, x, y) = instrs[v.0] { Some((x, y)) } else { None };
    // A difference that every user can compute again.
    let again = |v: usize| {
        let can = |&u: &usize| match instrs[u] {
            Instr::Binary(Binary::Mul, a, b) if a == b => summed(u),
            Instr::Binary(Binary::Mul, ..) => ranks[u] == ranks[v],
            _ => false,
        };
        let square = |&u: &usize| matches!(instrs[u], Instr::Binary(Binary::Mul, a, b) if a == b);
        difference(ValueId(v)).is_some()
            && uses[v] == users[v].len()
            && users[v].iter().all(can)
            && users[v].iter().any(square)
    };

    let mut operands: Vec<Option<[ValueId; 3]>> = vec![None; n];
    let mut sums = vec![None; n];
    for v in (0..n).filter(|&v| live[v]) {
        // What is computed once for many must stay so.
        let same = |o: ValueId| ranks[o.0] == ranks[v] && regs[o.0] == Reg::F32;
        let single = |o: ValueId| same(o) && uses[o.0] == 1;
        let alone = |o: ValueId| operands[o.0].is_none() && (single(o) || same(o) && again(o.0));
        if let Instr::Reduce(_, u) = instrs[v]
            && summed(u.0)
            && let Instr::Binary(_, x, y) = instrs[u.0]
        {
            let (sum, joined) = match difference(x) {
                Some((p, q)) if x == y && (uses[x.0] == 2 || again(x.0)) => {
                    (fold::squared_differences(level), [p, q, q])
                }
                _ => (fold::products(level), [x, y, y]),
            };
            (sums[v], operands[v]) = (Some(sum), Some(joined));
            continue;
        }
        let found = match instrs[v] {
            Instr::Binary(outer, a, b) => average(body, level, v, single).or_else(|| {
                [(a, b, false), (b, a, true)].into_iter().find_map(|(u, c, right)| match instrs[u.0] {
                    _ if u == c || !alone(u) => None,
                    Instr::Binary(inner, x, y) => pair(level, inner, outer, right).map(|kernel| (kernel, [x, y, c])),
                    Instr::Unary(inner, x) => unary_pair(level, inner, outer).map(|kernel| (kernel, [c, x, x])),
                    _ => None,
                })
            }),
            Instr::Unary(Unary::Exp, u) if alone(u) => difference(u).map(|(x, y)| (exp_sub(level), [x, y, y])),
            _ => None,
        };
        if let Some((kernel, joined)) = found {
            kernels[v] = Some((kernel, false));
            operands[v] = Some(joined);
        }
    }

    // What somebody still asks for.
    live.fill(false);
    body.stores.iter().for_each(|s| live[s.value.0] = true);
    for v in (0..n).rev() {
        if live[v] {
            match operands[v] {
                Some(joined) => joined.iter().for_each(|o| live[o.0] = true),
                None => instrs[v].operands().for_each(|o| live[o.0] = true),
            }
        }
    }
    Joined { operands, sums }
}
