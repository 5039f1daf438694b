//! Accuracy of the elementary functions.

use crate::math;
use crate::ops::{Arg, Map, binary, unary};
use crate::simd::Level;
use ibex_core::graph::{Binary, Unary};
use ibex_core::program::Reg;

pub(super) fn apply1(level: Level, op: Unary, x: &[f32]) -> Vec<f32> {
    let kernel = unary(level, op, Reg::F32).unwrap();
    let mut out = vec![0f32; x.len()];
    let args = [Arg { ptr: x.as_ptr().cast(), step: 1 }, Arg::NONE, Arg::NONE];
    // SAFETY: slices of equal length.
    unsafe { kernel(Map { out: out.as_mut_ptr().cast(), args, n: x.len(), imm: 0 }) };
    out
}

fn apply2(level: Level, op: Binary, x: &[f32], y: &[f32]) -> Vec<f32> {
    let kernel = binary(level, op, Reg::F32).unwrap();
    let mut out = vec![0f32; x.len()];
    let args = [Arg { ptr: x.as_ptr().cast(), step: 1 }, Arg { ptr: y.as_ptr().cast(), step: 1 }, Arg::NONE];
    // SAFETY: slices of equal length.
    unsafe { kernel(Map { out: out.as_mut_ptr().cast(), args, n: x.len(), imm: 0 }) };
    out
}

/// Error in units of the last place of the exact result; numbers below the normal ones count as the least normal one does.
fn ulps(got: f32, want: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if f64::from(got) == want || got.is_infinite() && want.abs() > f64::from(f32::MAX) && (got > 0.0) == (want > 0.0) {
        return 0.0;
    }
    let exponent = want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32;
    (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
}

/// Numbers of every magnitude in a range, and evenly spread ones.
fn samples(lo: f32, hi: f32) -> Vec<f32> {
    let mut xs = Vec::new();
    for i in 0..200_000 {
        xs.push(lo + (hi - lo) * (i as f32 / 200_000.0));
    }
    for bits in (0..0x7f80_0000u32).step_by(20_011) {
        let x = f32::from_bits(bits);
        xs.extend([x, -x].into_iter().filter(|x| (lo..=hi).contains(x)));
    }
    xs
}

fn check(op: Unary, lo: f32, hi: f32, limit: f64, f: impl Fn(f64) -> f64) {
    let xs = samples(lo, hi);
    for level in Level::all() {
        let (mut worst, mut at) = (0.0, 0.0);
        for (&x, &y) in xs.iter().zip(&apply1(level, op, &xs)) {
            let error = ulps(y, f(f64::from(x)));
            if error > worst {
                (worst, at) = (error, x);
            }
        }
        println!("{:8} {:9} {worst:.2} ulp at {at:e}", op.name(), level.name());
        assert!(worst <= limit, "{} at {}: {worst} ulp at {at:e}", op.name(), level.name());
    }
}

#[test]
fn gates_are_accurate() {
    let (mut worst, mut at) = (0.0, (0.0, 0.0));
    for &x in samples(-12.0, 12.0).iter().step_by(101) {
        for y in [-80.0, -20.0, -3.0, -0.7, -1e-3, 0.0, 0.3, 1.7, 9.0, 40.0, 100.0] {
            let want = f64::from(x).tanh() / (1.0 + (-f64::from(y)).exp());
            for got in [math::tanh_sigmoid::<true>(x, y), math::tanh_sigmoid::<false>(x, y)] {
                // Where the result is no normal number, digits are missing.
                let error = if want.abs() < 1e-33 { (f64::from(got) - want).abs() * 1e38 } else { ulps(got, want) };
                if error > worst {
                    (worst, at) = (error, (x, y));
                }
            }
        }
    }
    assert!(worst <= 4.0, "{worst} ulp at {at:?}");
}

#[test]
fn elementary_functions_are_accurate() {
    check(Unary::Exp, -87.336, 100.0, 2.0, f64::exp);
    check(Unary::Expm1, -110.0, 100.0, 2.0, f64::exp_m1);
    check(Unary::Log, 0.0, f32::MAX, 2.0, f64::ln);
    check(Unary::Log, 0.5, 2.0, 2.0, f64::ln);
    check(Unary::Log1p, -1.0, 1e30, 2.5, f64::ln_1p);
    check(Unary::Log1p, -0.9999, 2.0, 2.5, f64::ln_1p);
    check(Unary::Tanh, -12.0, 12.0, 2.5, f64::tanh);
    check(Unary::Sigmoid, -87.0, 100.0, 2.5, |x| 1.0 / (1.0 + (-x).exp()));
    check(Unary::Erf, -6.0, 6.0, 2.0, libm::erf);
    check(Unary::Sqrt, 0.0, f32::MAX, 0.5, f64::sqrt);
    check(Unary::Rsqrt, 1e-30, f32::MAX, 1.5, |x| 1.0 / x.sqrt());
    check(Unary::Recip, 1e-30, 1e30, 0.5, |x| 1.0 / x);
}

/// Where the result is no normal number it is 0, infinite or NaN.
#[test]
fn exponentials_out_of_range() {
    let xs: Vec<f32> = [-87.337, -90.0, -104.0, -1e30, f32::NEG_INFINITY, 88.723, 1e30, f32::INFINITY].repeat(5);
    for level in Level::all() {
        for (x, y) in xs.iter().zip(apply1(level, Unary::Exp, &xs)) {
            assert_eq!(y, if *x < 0.0 { 0.0 } else { f32::INFINITY }, "{x}");
        }
        let nan = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)].repeat(5);
        assert!(apply1(level, Unary::Exp, &nan).iter().all(|y| y.is_nan()));
    }
}

/// Near their zeros sine and cosine have an absolute error.
#[test]
fn trigonometric_functions_are_accurate() {
    for (lo, hi) in [(-10.0, 10.0), (-3000.0, 3000.0), (-1e6, 1e6)] {
        let xs = samples(lo, hi);
        for level in Level::all() {
            for (op, f) in [(Unary::Sin, f64::sin as fn(f64) -> f64), (Unary::Cos, f64::cos)] {
                for (&x, &y) in xs.iter().zip(&apply1(level, op, &xs)) {
                    let error = (f64::from(y) - f(f64::from(x))).abs();
                    assert!(error < 1.5e-7, "{} of {x} is off by {error}", op.name());
                }
            }
        }
    }
}

#[test]
fn powers_are_accurate() {
    let special = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, -3.0, 1e30, 1e-30, -1e30, 1e-40, f32::INFINITY];
    let special = [&special[..], &[f32::NEG_INFINITY, f32::NAN, 16_777_217.0, 1e9, 2.5, -2.5, 7.0, 1.0000001]].concat();
    let mut pairs: Vec<(f32, f32)> = special.iter().flat_map(|&x| special.iter().map(move |&y| (x, y))).collect();
    for i in 0..100_000 {
        let x = (i as f32 * 0.618_034).fract() * 10.0;
        let y = ((i as f32 * 0.414_213_56).fract() - 0.5) * 30.0;
        pairs.extend([(x, y), (-x, y.round()), (x * 1e-5, y * 0.1)]);
    }
    let (xs, ys): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
    for level in Level::all() {
        let mut worst = 0f64;
        for ((&x, &y), &z) in xs.iter().zip(&ys).zip(&apply2(level, Binary::Pow, &xs, &ys)) {
            let want = f64::from(x).powf(f64::from(y));
            let error = ulps(z, want);
            worst = worst.max(error);
            assert!(error <= 1.0, "{x:e} ^ {y:e} = {z:e}, not {want:e}");
            if want == 0.0 && y.is_finite() && x == 0.0 {
                assert_eq!(z.is_sign_negative(), want.is_sign_negative(), "sign of {x:e} ^ {y:e}");
            }
        }
        println!("pow {} {worst:.2} ulp", level.name());
    }
}

/// Compares with the double precision function, which knows them.
#[test]
fn special_values() {
    let xs =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, -1.0, 1.0, f32::MAX, f32::MIN, 1e-40, -1e-40, -2.0];
    type Exact = fn(f64) -> f64;
    let functions: [(Unary, Exact); 12] = [
        (Unary::Exp, f64::exp),
        (Unary::Expm1, f64::exp_m1),
        (Unary::Log, f64::ln),
        (Unary::Log1p, f64::ln_1p),
        (Unary::Tanh, f64::tanh),
        (Unary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Unary::Erf, libm::erf),
        (Unary::Sqrt, f64::sqrt),
        (Unary::Floor, f64::floor),
        (Unary::Ceil, f64::ceil),
        (Unary::Round, f64::round_ties_even),
        (Unary::Neg, |x| -x),
    ];
    for level in Level::all() {
        for (op, f) in functions {
            for (&x, &y) in xs.iter().zip(&apply1(level, op, &xs)) {
                let want = f(f64::from(x));
                assert!(ulps(y, want) <= 2.0, "{} of {x} is {y}, not {want}", op.name());
                if want == 0.0 && y == 0.0 && x == 0.0 {
                    assert_eq!(y.is_sign_negative(), want.is_sign_negative(), "sign of {} of {x}", op.name());
                }
            }
        }
        for op in [Unary::Sin, Unary::Cos] {
            assert!(apply1(level, op, &xs[..3]).iter().all(|y| y.is_nan()));
        }
    }
}

#[test]
fn half_floats_round_to_nearest_even() {
    use crate::math::*;
    for h in 0..=u16::MAX {
        let want = half::f16::from_bits(h).to_f32();
        assert!(f16_to_f32(h).to_bits() == want.to_bits() || want.is_nan() && f16_to_f32(h).is_nan(), "{h:x}");
    }
    for bits in (0..=u32::MAX).step_by(997) {
        let x = f32::from_bits(bits);
        let (half, brain) = (half::f16::from_f32(x), half::bf16::from_f32(x));
        if x.is_nan() {
            assert!(half::f16::from_bits(f32_to_f16(x)).is_nan() && half::bf16::from_bits(f32_to_bf16(x)).is_nan());
        } else {
            assert_eq!(f32_to_f16(x), half.to_bits(), "{x:e}");
            assert_eq!(f32_to_bf16(x), brain.to_bits(), "{x:e}");
        }
    }
}

/// `cargo test --release -p ibex-cpu speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed_of_functions() {
    let x: Vec<f32> = (0..1024).map(|i| (i as f32 - 512.0) * 0.01).collect();
    let mut out = vec![0f32; x.len()];
    for level in Level::all() {
        for &op in Unary::ALL.iter().filter(|&&op| op != Unary::Not) {
            let kernel = unary(level, op, Reg::F32).unwrap();
            let args = [Arg { ptr: x.as_ptr().cast(), step: 1 }, Arg::NONE, Arg::NONE];
            let mut best = f64::INFINITY;
            for _ in 0..20 {
                let start = std::time::Instant::now();
                for _ in 0..50 {
                    // SAFETY: slices of equal length.
                    unsafe { kernel(Map { out: out.as_mut_ptr().cast(), args, n: x.len(), imm: 0 }) };
                }
                best = best.min(start.elapsed().as_secs_f64() / 50.0);
            }
            println!("{:9} {:8} {:.3} ns an element", level.name(), op.name(), best * 1e9 / x.len() as f64);
        }
        for &op in &[Binary::Add, Binary::Max, Binary::Pow, Binary::Rem] {
            let kernel = binary(level, op, Reg::F32).unwrap();
            let a = Arg { ptr: x.as_ptr().cast(), step: 1 };
            let start = std::time::Instant::now();
            for _ in 0..200 {
                // SAFETY: slices of equal length.
                unsafe { kernel(Map { out: out.as_mut_ptr().cast(), args: [a, a, a], n: x.len(), imm: 0 }) };
            }
            let each = start.elapsed().as_secs_f64() * 1e9 / 200.0 / x.len() as f64;
            println!("{:9} {:8} {each:.3} ns an element", level.name(), op.name());
        }
    }
}
