//! Every instruction on every register type, with operands that vary and that do not.

use crate::ops::{Arg, Map, MapFn, binary, cast, compare, random, select, unary};
use crate::simd::Level;
use ibex_core::graph::{Binary, Compare, Unary};
use ibex_core::program::Reg;
use ibex_core::{DType, Scalar};

const REGS: [Reg; 4] = [Reg::F32, Reg::I32, Reg::U32, Reg::Bool];

/// Words that are interesting as a type.
fn words(reg: Reg, salt: u32) -> Vec<u32> {
    let random = |i: u32| ibex_core::random::threefry([salt, 7], [i, 0])[0];
    let mut all: Vec<u32> = match reg {
        Reg::F32 => {
            let special =
                [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 3.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e20, -1e20];
            special.iter().map(|x: &f32| x.to_bits()).collect()
        }
        Reg::Bool => vec![0, 1],
        _ => vec![0, 1, 2, 3, 31, 32, 33, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX, u32::MAX - 1],
    };
    for i in 0..301 {
        all.push(match reg {
            Reg::F32 => ((random(i) as i32 as f32) * 1e-8).to_bits(),
            Reg::Bool => random(i) & 1,
            _ if i % 2 == 0 => random(i),
            _ => random(i) % 100,
        });
    }
    all
}

fn value(reg: Reg, word: u32) -> f64 {
    match reg {
        Reg::F32 => f64::from(f32::from_bits(word)),
        Reg::I32 => f64::from(word as i32),
        Reg::U32 | Reg::Bool => f64::from(word),
    }
}

/// Runs a kernel with operands of either step, and calls `check(operand words, result)`.
fn run(kernel: MapFn, operands: &[Vec<u32>], imm: u32, check: impl Fn([u32; 3], u32)) {
    let n = operands.iter().map(Vec::len).min().unwrap();
    for scalars in 0..1 << operands.len() {
        for at in [0, 3, n - 1] {
            let step = |i: usize| 1 - (scalars >> i & 1);
            let mut args = [Arg::NONE; 3];
            for (i, words) in operands.iter().enumerate() {
                let base = if step(i) == 0 { at } else { 0 };
                args[i] = Arg { ptr: words[base..].as_ptr(), step: step(i) };
            }
            let mut out = vec![0xdead_beef; n + 1];
            // SAFETY: operands have `n` elements or step 0.
            unsafe { kernel(Map { out: out.as_mut_ptr(), args, n, imm }) };
            for i in 0..n {
                let get = |o: usize| operands.get(o).map_or(0, |w| w[if step(o) == 0 { at } else { i }]);
                check([get(0), get(1), get(2)], out[i]);
            }
            assert_eq!(out[n], 0xdead_beef, "wrote beyond the end");
        }
    }
}

fn same(reg: Reg, got: u32, want: f64, tolerance: f64, what: &str) {
    let got = value(reg, got);
    let close = got == want
        || got.is_nan() && want.is_nan()
        || reg == Reg::F32
            && (f64::from(want as f32) == got || (got - want).abs() <= tolerance * want.abs().max(1e-30));
    assert!(close, "{what}: {got}, not {want}");
}

#[test]
fn unary_instructions() {
    for level in Level::all() {
        for &op in Unary::ALL {
            for reg in REGS {
                let Some(kernel) = unary(level, op, reg) else {
                    let needed = match op {
                        Unary::Not => reg == Reg::Bool,
                        Unary::Neg => reg != Reg::Bool,
                        Unary::Abs | Unary::Sign => matches!(reg, Reg::F32 | Reg::I32),
                        _ => reg == Reg::F32,
                    };
                    assert!(!needed, "{} of {reg:?} is missing", op.name());
                    continue;
                };
                run(kernel, &[words(reg, 1)], 0, |[a, ..], y| {
                    let x = value(reg, a);
                    let want = match (op, reg) {
                        (Unary::Neg, Reg::I32) => f64::from((a as i32).wrapping_neg()),
                        (Unary::Neg, Reg::U32) => f64::from(a.wrapping_neg()),
                        (Unary::Abs, Reg::I32) => f64::from((a as i32).wrapping_abs()),
                        (Unary::Neg, _) => -x,
                        (Unary::Abs, _) => x.abs(),
                        (Unary::Sign, _) => {
                            if x == 0.0 || x.is_nan() {
                                x
                            } else {
                                x.signum()
                            }
                        }
                        (Unary::Exp, _) => x.exp(),
                        (Unary::Expm1, _) => x.exp_m1(),
                        (Unary::Log, _) => x.ln(),
                        (Unary::Log1p, _) => x.ln_1p(),
                        (Unary::Sqrt, _) => x.sqrt(),
                        (Unary::Rsqrt, _) => {
                            if x == 0.0 {
                                1.0 / x
                            } else {
                                1.0 / x.sqrt()
                            }
                        }
                        (Unary::Recip, _) => 1.0 / x,
                        (Unary::Sin, _) => x.sin(),
                        (Unary::Cos, _) => x.cos(),
                        (Unary::Tanh, _) => x.tanh(),
                        (Unary::Sigmoid, _) => 1.0 / (1.0 + (-x).exp()),
                        (Unary::Erf, _) => libm::erf(x),
                        (Unary::Floor, _) => x.floor(),
                        (Unary::Ceil, _) => x.ceil(),
                        (Unary::Round, _) => x.round_ties_even(),
                        (Unary::Not, _) => 1.0 - x,
                    };
                    same(reg, y, want, 1e-5, &format!("{} of {x} as {reg:?} on {}", op.name(), level.name()));
                });
            }
        }
    }
}

#[test]
fn binary_instructions() {
    for level in Level::all() {
        for &op in Binary::ALL {
            for reg in REGS {
                let Some(kernel) = binary(level, op, reg) else {
                    let bits = matches!(op, Binary::And | Binary::Or | Binary::Xor);
                    let needed = match reg {
                        Reg::F32 => !bits && !matches!(op, Binary::Shl | Binary::Shr),
                        Reg::Bool => bits,
                        _ => op != Binary::Pow,
                    };
                    assert!(!needed, "{} of {reg:?} is missing", op.name());
                    continue;
                };
                let other = words(reg, 2).into_iter().rev().collect();
                run(kernel, &[words(reg, 1), other], 0, |[a, b, _], y| {
                    let (x, z) = (value(reg, a), value(reg, b));
                    let (i, j) = (a as i32, b as i32);
                    let nan = |v: f64| if x.is_nan() || z.is_nan() { f64::NAN } else { v };
                    let want = match (op, reg) {
                        (Binary::Add, Reg::F32) => x + z,
                        (Binary::Sub, Reg::F32) => x - z,
                        (Binary::Mul, Reg::F32) => x * z,
                        (Binary::Div, Reg::F32) => x / z,
                        (Binary::Rem, Reg::F32) => x % z,
                        (Binary::Pow, _) => x.powf(z),
                        (Binary::Max, _) => nan(x.max(z)),
                        (Binary::Min, _) => nan(x.min(z)),
                        (Binary::Add, _) => value(reg, a.wrapping_add(b)),
                        (Binary::Sub, _) => value(reg, a.wrapping_sub(b)),
                        (Binary::Mul, _) => value(reg, a.wrapping_mul(b)),
                        (Binary::Div | Binary::Rem, _) if b == 0 => 0.0,
                        (Binary::Div, Reg::I32) => f64::from(i.wrapping_div(j)),
                        (Binary::Div, _) => f64::from(a / b),
                        (Binary::Rem, Reg::I32) => f64::from(i.wrapping_rem(j)),
                        (Binary::Rem, _) => f64::from(a % b),
                        (Binary::And, _) => value(reg, a & b),
                        (Binary::Or, _) => value(reg, a | b),
                        (Binary::Xor, _) => value(reg, a ^ b),
                        (Binary::Shl, _) => value(reg, a << (b & 31)),
                        (Binary::Shr, Reg::I32) => f64::from(i >> (b & 31)),
                        (Binary::Shr, _) => f64::from(a >> (b & 31)),
                    };
                    same(reg, y, want, 1e-6, &format!("{x} {} {z} as {reg:?} on {}", op.name(), level.name()));
                });
            }
        }
    }
}

#[test]
fn comparisons_and_selections() {
    for level in Level::all() {
        for &op in Compare::ALL {
            for reg in REGS {
                let (kernel, swap) = compare(level, op, reg);
                let mut operands = [words(reg, 1), words(reg, 2).into_iter().rev().collect()];
                operands[1][20] = operands[0][20];
                if swap {
                    operands.reverse();
                }
                run(kernel, &operands, 0, |[a, b, _], y| {
                    let (a, b) = if swap { (b, a) } else { (a, b) };
                    let (x, z) = (value(reg, a), value(reg, b));
                    let want = match op {
                        Compare::Eq => x == z,
                        Compare::Ne => x != z,
                        Compare::Lt => x < z,
                        Compare::Le => x <= z,
                        Compare::Gt => x > z,
                        Compare::Ge => x >= z,
                    };
                    assert_eq!(y, u32::from(want), "{x} {} {z} as {reg:?}", op.name());
                });
            }
        }
        let operands = [words(Reg::Bool, 3), words(Reg::F32, 4), words(Reg::U32, 5)];
        run(select(level), &operands, 0, |[c, a, b], y| assert_eq!(y, if c != 0 { a } else { b }));
    }
}

#[test]
fn conversions() {
    for level in Level::all() {
        for from in REGS {
            for to in [DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32, DType::Bool] {
                run(cast(level, from, to), &[words(from, 6)], 0, |[a, ..], y| {
                    let x = value(from, a);
                    // Integers become `f32` first, then 16-bit floats.
                    let x = if to.is_float() { f64::from(x as f32) } else { x };
                    let want = match (from, to) {
                        // Integers wrap.
                        (Reg::I32 | Reg::U32, DType::I32) => Scalar::Int(a as i32),
                        (Reg::I32 | Reg::U32, DType::U32) => Scalar::Uint(a),
                        _ => Scalar::from_f64(x, to),
                    };
                    let got = value(to.into(), y);
                    let equal = got == want.to_f64() || got.is_nan() && want.to_f64().is_nan();
                    assert!(equal, "{x} from {from:?} to {to} is {got}, not {want}");
                });
            }
        }
    }
}

#[test]
fn random_numbers() {
    for level in Level::all() {
        let operands = [words(Reg::U32, 7), words(Reg::U32, 8), words(Reg::U32, 9)];
        run(random(level), &operands, 5, |[k0, k1, c], y| {
            assert_eq!(y, ibex_core::random::threefry([k0, k1], [c, 5])[0]);
        });
    }
}
