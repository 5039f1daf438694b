//! Elementary functions of `f32` without branches, so that loops over them vectorise.
//!
//! Each reduces its argument, evaluates a polynomial fitted by least squares on Chebyshev nodes, and scales back. `FMA` says
//! whether a fused multiply-add is one instruction; without one, `mul_add` would be a library call.
//! Errors are at most about 2 units in the last place: see the tests.

/// `a * b + c`.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The polynomial with these coefficients, highest power first.
#[inline(always)]
fn poly<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    let mut i = 1;
    while i < N {
        sum = fma::<FMA>(sum, x, coefficients[i]);
        i += 1;
    }
    sum
}

/// `if condition { a } else { b }`, written so that both sides are values.
#[inline(always)]
fn pick(condition: bool, a: f32, b: f32) -> f32 {
    if condition { a } else { b }
}

/// Adding it rounds a float below 2^22 to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `ln 2` in two parts; the first has few bits, so that its product with an exponent is exact.
const LN2: [f32; 2] = [6.931_152_3e-1, 3.194_618_5e-5];

/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp_reduce<const FMA: bool>(x: f32) -> (i32, f32) {
    let t = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = fma::<FMA>(n, -LN2[1], fma::<FMA>(n, -LN2[0], x));
    ((t.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32), r)
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `e^x`; 0 where that is no normal number any more.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // The logarithms of the largest float and of the smallest normal one.
    const RANGE: [f32; 2] = [-87.336_54, 88.722_84];
    let t = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = fma::<FMA>(n, -LN2[1], fma::<FMA>(n, -LN2[0], x));
    let q = poly::<FMA, 5>(r, [1.393_454_5e-3, 8.363_777e-3, 4.166_645_6e-2, 1.666_657_3e-1, 0.5]);
    let p = fma::<FMA>(r * r, q, r) + 1.0;
    // `n`, in the low bits of `t`, is added to the exponent; what that makes of numbers out of range is not used.
    let y = f32::from_bits(p.to_bits().wrapping_add(t.to_bits() << 23));
    // Infinite above the range, and NaN stays.
    let y = pick(x <= RANGE[1], y, x + f32::INFINITY);
    pick(x < RANGE[0], 0.0, y)
}

/// `e^x - 1`
#[inline(always)]
pub(crate) fn expm1<const FMA: bool>(x: f32) -> f32 {
    let clamped = pick(x > 89.0, 89.0, pick(x < -30.0, -30.0, x));
    let (n, r) = exp_reduce::<FMA>(clamped);
    let q = poly::<FMA, 6>(r, [1.990_044_4e-4, 1.393_454_5e-3, 8.333_297e-3, 4.166_645_6e-2, 1.666_666_7e-1, 0.5]);
    let p = fma::<FMA>(r * r, q, r);
    let s = power_of_two(n.wrapping_sub(1));
    let y = 2.0 * fma::<FMA>(s, p, s - 0.5);
    f32::from_bits(y.to_bits() | (x.to_bits() & 0x8000_0000))
}

/// `ln(1 + f)` for `f` between `sqrt(1/2) - 1` and `sqrt(2) - 1`, plus `e ln 2`.
#[inline(always)]
fn log_poly<const FMA: bool>(f: f32, e: f32) -> f32 {
    const C: [f32; 9] = [
        7.150_257_4e-2,
        -1.158_939_75e-1,
        1.166_909_4e-1,
        -1.240_902_8e-1,
        1.424_905e-1,
        -1.666_854_2e-1,
        2.000_073_2e-1,
        -2.499_998_8e-1,
        3.333_333e-1,
    ];
    let square = f * f;
    let tail = fma::<FMA>(poly::<FMA, 9>(f, C) * f, square, e * LN2[1]);
    fma::<FMA>(e, LN2[0], fma::<FMA>(-0.5, square, tail) + f)
}

/// `x = m 2^e` for positive normal `x`, `sqrt(1/2) <= m < sqrt(2)`.
#[inline(always)]
fn log_reduce(x: f32) -> (i32, f32) {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    let bits = (x.to_bits() as i32).wrapping_sub(SQRT_HALF);
    (bits >> 23, f32::from_bits((bits & 0x007f_ffff).wrapping_add(SQRT_HALF) as u32))
}

/// Natural logarithm.
#[inline(always)]
pub(crate) fn log<const FMA: bool>(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let (e, m) = log_reduce(pick(tiny, x * 8_388_608.0, x));
    let y = log_poly::<FMA>(m - 1.0, e as f32 - pick(tiny, 23.0, 0.0));
    let y = pick(x == 0.0, f32::NEG_INFINITY, pick(x == f32::INFINITY, x, y));
    pick(x >= 0.0, y, f32::NAN)
}

/// `ln(1 + x)`
#[inline(always)]
pub(crate) fn log1p<const FMA: bool>(x: f32) -> f32 {
    let u = 1.0 + x;
    // What the sum lost, exactly.
    let part = u - 1.0;
    let lost = (1.0 - (u - part)) + (x - part);
    let (e, m) = log_reduce(u);
    let scale = f32::from_bits(((127i32.wrapping_sub(e)).clamp(1, 254) as u32) << 23);
    let y = log_poly::<FMA>(fma::<FMA>(lost, scale, m - 1.0), e as f32);
    let y = pick(x == -1.0, f32::NEG_INFINITY, pick(x == f32::INFINITY, x, y));
    let y = pick(x >= -1.0, y, f32::NAN);
    pick(x.abs() < 1e-8, x, y)
}

/// Hyperbolic tangent, as `(e^2|x| - 1) / (e^2|x| + 1)`.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    // From here on the result is 1; the quotient below stays finite.
    let a = pick(a > 10.0, 10.0, a);
    let (n, r) = exp_reduce::<FMA>(a + a);
    let q = poly::<FMA, 6>(r, [1.990_044_4e-4, 1.393_454_5e-3, 8.333_297e-3, 4.166_645_6e-2, 1.666_666_7e-1, 0.5]);
    let s = power_of_two(n);
    let e = fma::<FMA>(s, fma::<FMA>(r * r, q, r), s - 1.0);
    let y = e / (e + 2.0);
    f32::from_bits(y.to_bits() | (x.to_bits() & 0x8000_0000))
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    // Above, the result is 1. From about -88.4 down, where it is no normal number any more, the power of two is infinite and the result 0.
    let x = pick(x > 88.0, 88.0, pick(x < -89.0, -89.0, x));
    let (n, r) = exp_reduce::<FMA>(-x);
    let q = poly::<FMA, 5>(r, [1.393_454_5e-3, 8.363_777e-3, 4.166_645_6e-2, 1.666_657_3e-1, 0.5]);
    let p = fma::<FMA>(r * r, q, r) + 1.0;
    1.0 / fma::<FMA>(p, power_of_two(n), 1.0)
}

/// `tanh(x) / (1 + e^-y)`, what a gate lets through, with one division.
#[inline(always)]
pub(crate) fn tanh_sigmoid<const FMA: bool>(x: f32, y: f32) -> f32 {
    // As in `tanh` and `sigmoid`, but `e^2|x| - 1` over 2^15: so the product below is infinite only where the result is next to no normal number.
    const DOWN: f32 = 1.0 / 32768.0;
    let a = x.abs();
    // From here on the tangent is 1.
    let a = pick(a > 9.1, 9.1, a);
    let (n, r) = exp_reduce::<FMA>(a + a);
    let q = poly::<FMA, 6>(r, [1.990_044_4e-4, 1.393_454_5e-3, 8.333_297e-3, 4.166_645_6e-2, 1.666_666_7e-1, 0.5]);
    let s = power_of_two(n.wrapping_sub(15));
    let e = fma::<FMA>(s, fma::<FMA>(r * r, q, r), s - DOWN);
    let y = pick(y > 88.0, 88.0, pick(y < -89.0, -89.0, y));
    let (m, t) = exp_reduce::<FMA>(-y);
    let q = poly::<FMA, 5>(t, [1.393_454_5e-3, 8.363_777e-3, 4.166_645_6e-2, 1.666_657_3e-1, 0.5]);
    let p = fma::<FMA>(t * t, q, t) + 1.0;
    let z = e / ((e + 2.0 * DOWN) * fma::<FMA>(p, power_of_two(m), 1.0));
    f32::from_bits(z.to_bits() | (x.to_bits() & 0x8000_0000))
}

/// Gauss error function.
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let s = x * x;
    let near = [-5.963_932_5e-4, 4.989_652e-3, -2.676_586_2e-2, 1.128_186_3e-1, -3.761_251e-1, 1.283_791_5e-1];
    let near = fma::<FMA>(poly::<FMA, 6>(s, near), x, x);
    let t = pick(a > 4.0, 4.0, a);
    let far =
        [1.178_474_7e-5, -3.279_827_7e-4, 3.662_031_6e-3, -2.380_030_8e-2, 1.062_776_4e-1, 6.351_288_6e-1, 1.128_653_5];
    let far = 1.0 - exp::<FMA>(-(t * poly::<FMA, 7>(t, far)));
    let far = f32::from_bits(far.to_bits() | (x.to_bits() & 0x8000_0000));
    pick(a > 0.93, far, near)
}

/// Beyond this, [`sin`] and [`cos`] lose digits.
pub(crate) const TRIG_LIMIT: f32 = 3e3;

/// Sine of `x + quarter pi/2`.
#[inline(always)]
fn sin_shifted<const FMA: bool>(x: f32, quarter: i32) -> f32 {
    // In parts of 13 bits, whose products with the number of quarter turns are exact with or without fused multiply-add.
    const HALF_PI: [f32; 3] = [1.570_556_6, 2.396_702_8e-4, 1.589_325_5e-8];
    let t = fma::<FMA>(x, std::f32::consts::FRAC_2_PI, ROUND);
    let n = t - ROUND;
    let r = fma::<FMA>(n, -HALF_PI[0], x);
    let r = fma::<FMA>(n, -HALF_PI[2], fma::<FMA>(n, -HALF_PI[1], r));
    let q = (t.to_bits() as i32).wrapping_add(quarter);
    let s = r * r;
    let sin = fma::<FMA>(r * s, poly::<FMA, 4>(s, [2.725_246_8e-6, -1.984_012_9e-4, 8.333_332e-3, -1.666_666_7e-1]), r);
    let cos = poly::<FMA, 4>(s, [-2.730_307_4e-7, 2.480_063_4e-5, -1.388_888_8e-3, 4.166_666_8e-2]);
    let cos = fma::<FMA>(s * s, cos, fma::<FMA>(-0.5, s, 1.0));
    let y = pick(q & 1 == 0, sin, cos);
    f32::from_bits(y.to_bits() ^ (((q & 2) as u32) << 30))
}

/// Sine, for `|x| <= TRIG_LIMIT`.
#[inline(always)]
pub(crate) fn sin<const FMA: bool>(x: f32) -> f32 {
    sin_shifted::<FMA>(x, 0)
}

/// Cosine, for `|x| <= TRIG_LIMIT`.
#[inline(always)]
pub(crate) fn cos<const FMA: bool>(x: f32) -> f32 {
    sin_shifted::<FMA>(x, 1)
}

/// `x^y`, through `f64`, whose digits the product of logarithm and exponent needs.
#[inline(always)]
pub(crate) fn pow<const FMA: bool>(x: f32, y: f32) -> f32 {
    let fma = |a: f64, b: f64, c: f64| if FMA { a.mul_add(b, c) } else { a * b + c };
    let pick = |condition: bool, a: f64, b: f64| if condition { a } else { b };
    let (ax, yd) = (f64::from(x.abs()), f64::from(y));

    // log2 |x| = e + 2/ln2 atanh((m-1)/(m+1))
    const SQRT_HALF: i64 = 0x3fe6_a09e_667f_3bcd;
    let bits = (ax.to_bits() as i64).wrapping_sub(SQRT_HALF);
    // The exponent as a float without an integer conversion, which AVX2 lacks.
    let e = f64::from((bits >> 52) as i32);
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(SQRT_HALF) as u64);
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];
    let mut sum = series[0];
    for &c in &series[1..] {
        sum = fma(sum, s2, c);
    }
    let log2 = fma(sum * s, 2.0 * std::f64::consts::LOG2_E, e);
    let log2 = pick(ax == 0.0, f64::NEG_INFINITY, pick(ax == f64::INFINITY, ax, log2));

    let t = yd * log2;
    let t = pick(log2 == 0.0, 0.0 * pick(yd.is_nan(), yd, 0.0), t);
    let t = pick(t > 200.0, 200.0, pick(t < -200.0, -200.0, t));
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let shifted = t + ROUND;
    let r = (t - (shifted - ROUND)) * std::f64::consts::LN_2;
    let series = [1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let mut p = series[0];
    for &c in &series[1..] {
        p = fma(p, r, c);
    }
    let n = (shifted.to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64);
    let value = (p * f64::from_bits((n.wrapping_add(1023) as u64) << 52)) as f32;

    // Magnitudes of 2^24 and more are even integers.
    let ay = y.abs();
    let large = ay >= 16_777_216.0;
    let whole = pick(large, 0.0, f64::from(ay)) as f32;
    let integer = whole as i32;
    let is_integer = integer as f32 == whole;
    let odd = is_integer && integer & 1 == 1;
    let negative = x.to_bits() >> 31 != 0;
    let value = if negative && odd { -value } else { value };
    let value = if x < 0.0 && x > f32::NEG_INFINITY && !is_integer { f32::NAN } else { value };
    let value = if x.is_nan() { x } else { value };
    if y == 0.0 || x == 1.0 { 1.0 } else { value }
}

/// The bits of the `f32` of an `f16`.
#[inline(always)]
pub(crate) fn f16_to_f32(h: u16) -> f32 {
    let magnitude = (u32::from(h) & 0x7fff) << 13;
    let exponent = magnitude & 0x0f80_0000;
    let normal = magnitude.wrapping_add(112 << 23);
    let special = magnitude.wrapping_add(224 << 23);
    // A denormal is its digits over the leading one of 2^-14, which is then taken away.
    let denormal = (f32::from_bits(magnitude.wrapping_add(113 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let bits = if exponent == 0x0f80_0000 { special } else { normal };
    let bits = if exponent == 0 { denormal } else { bits };
    f32::from_bits(bits | ((u32::from(h) & 0x8000) << 16))
}

/// The bits of the `f16` nearest to `x`, ties to even.
#[inline(always)]
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff).wrapping_add(odd) >> 13;
    // Adding 0.5 leaves the digits of a denormal, rounded, in the low bits.
    let denormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let special = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let half = if magnitude < 113 << 23 { denormal } else { normal };
    let half = if magnitude >= 143 << 23 { special } else { half };
    (half | (bits >> 16 & 0x8000)) as u16
}

/// The `f32` of a `bf16`.
#[inline(always)]
pub(crate) fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// The bits of the `bf16` nearest to `x`, ties to even.
#[inline(always)]
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if x.is_nan() { bits >> 16 | 0x40 } else { rounded }) as u16
}
