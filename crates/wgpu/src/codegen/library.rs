//! WGSL functions for what the language leaves inexact, undefined, or to a compiler that may assume that NaN and infinity do
//! not exist. Each stands once, for scalars and for vectors of four: `$` is the width, and `F$ I$ U$ B$` are the types.
//!
//! Inf and NaN are made and recognised by their bits, and only behind function parameters, since a constant expression must not
//! yield them.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Helper functions used so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Library(BTreeSet<(usize, usize)>);

impl Library {
    /// The name by which to call a helper at this width. It is then part of [`Library::source`].
    pub fn name(&mut self, name: &str, width: usize) -> String {
        if let Some(index) = FUNCTIONS.iter().position(|(n, _)| *n == name)
            && self.0.insert((index, width))
        {
            for (other, _) in FUNCTIONS {
                if *other != name && FUNCTIONS[index].1.contains(&format!("ibex_{other}$(")) {
                    self.name(other, width);
                }
            }
        }
        format!("ibex_{name}{width}")
    }

    /// Type names and all functions used.
    pub fn source(&self) -> String {
        let mut text = String::from(
            "alias F1 = f32;\nalias I1 = i32;\nalias U1 = u32;\nalias B1 = bool;\n\
             alias F4 = vec4<f32>;\nalias I4 = vec4<i32>;\nalias U4 = vec4<u32>;\nalias B4 = vec4<bool>;\n",
        );
        for &(index, width) in &self.0 {
            let _ = writeln!(text, "{}", FUNCTIONS[index].1.trim().replace('$', &width.to_string()));
        }
        text
    }
}

const FUNCTIONS: &[(&str, &str)] = &[
    ("bits", "fn ibex_bits$(u: U$) -> F$ { return bitcast<F$>(u); }"),
    ("nan", "fn ibex_nan$(x: F$) -> B$ { return (bitcast<U$>(x) & U$(0x7fffffffu)) > U$(0x7f800000u); }"),
    // Infinite or NaN.
    ("wild", "fn ibex_wild$(x: F$) -> B$ { return (bitcast<U$>(x) & U$(0x7fffffffu)) >= U$(0x7f800000u); }"),
    (
        "copysign",
        "fn ibex_copysign$(x: F$, s: F$) -> F$ {
    return bitcast<F$>((bitcast<U$>(x) & U$(0x7fffffffu)) | (bitcast<U$>(s) & U$(0x80000000u)));
}",
    ),
    // What drivers take for 0 or 1 whatever `x` is.
    (
        "times_zero",
        "fn ibex_times_zero$(x: F$, zero: F$) -> F$ {
    let sign = (bitcast<U$>(x) ^ bitcast<U$>(zero)) & U$(0x80000000u);
    return bitcast<F$>(select(sign, U$(0x7fc00000u), ibex_wild$(x)));
}",
    ),
    (
        "minus_itself",
        "fn ibex_minus_itself$(x: F$) -> F$ { return bitcast<F$>(select(U$(0u), U$(0x7fc00000u), ibex_wild$(x))); }",
    ),
    (
        "over_itself",
        "fn ibex_over_itself$(x: F$) -> F$ {
    return bitcast<F$>(select(U$(0x3f800000u), U$(0x7fc00000u), ibex_wild$(x) | (x == F$(0.0))));
}",
    ),
    ("sign", "fn ibex_sign$(x: F$) -> F$ { return select(sign(x), x, ibex_nan$(x)); }"),
    ("max", "fn ibex_max$(a: F$, b: F$) -> F$ { return select(select(max(a, b), b, ibex_nan$(b)), a, ibex_nan$(a)); }"),
    ("min", "fn ibex_min$(a: F$, b: F$) -> F$ { return select(select(min(a, b), b, ibex_nan$(b)), a, ibex_nan$(a)); }"),
    // 2^n for n in -252..=254, in two steps so that results may be subnormal or overflow.
    (
        "scale",
        "fn ibex_scale$(x: F$, n: F$) -> F$ {
    let i = I$(n);
    let h = i >> U$(1u);
    let one = bitcast<F$>((h + I$(127)) << U$(23u));
    let two = bitcast<F$>((i - h + I$(127)) << U$(23u));
    return (x * one) * two;
}",
    ),
    // (e^r - 1) for |r| <= 0.35.
    (
        "exp_core",
        "fn ibex_exp_core$(r: F$) -> F$ {
    var p = F$(1.9841270e-4);
    p = p * r + F$(1.3888889e-3);
    p = p * r + F$(8.3333333e-3);
    p = p * r + F$(4.1666667e-2);
    p = p * r + F$(0.16666667);
    p = p * r + F$(0.5);
    return p * (r * r) + r;
}",
    ),
    (
        "exp",
        "fn ibex_exp$(x: F$) -> F$ {
    let c = clamp(x, F$(-104.0), F$(89.0));
    let n = round(c * F$(1.44269504));
    let r = (c - n * F$(0.693359375)) - n * F$(-2.12194440e-4);
    return select(ibex_scale$(F$(1.0) + ibex_exp_core$(r), n), x, ibex_nan$(x));
}",
    ),
    (
        "expm1",
        "fn ibex_expm1$(x: F$) -> F$ {
    let c = clamp(x, F$(-20.0), F$(20.0));
    let n = round(c * F$(1.44269504));
    let r = (c - n * F$(0.693359375)) - n * F$(-2.12194440e-4);
    let s = bitcast<F$>((I$(n) + I$(127)) << U$(23u));
    let y = s * ibex_exp_core$(r) + (s - F$(1.0));
    return select(select(y, ibex_exp$(x), x > F$(20.0)), x, ibex_nan$(x));
}",
    ),
    // ln(1 + f) for -0.3 < f < 0.42, by the series of 2 atanh(f / (2 + f)).
    (
        "log_core",
        "fn ibex_log_core$(f: F$) -> F$ {
    let s = f / (F$(2.0) + f);
    let z = s * s;
    var p = F$(0.18181818);
    p = p * z + F$(0.22222222);
    p = p * z + F$(0.28571429);
    p = p * z + F$(0.4);
    p = p * z + F$(0.66666667);
    return f - s * (f - p * z);
}",
    ),
    (
        "log",
        "fn ibex_log$(x: F$) -> F$ {
    let tiny = x < F$(1.17549435e-38);
    let u = bitcast<U$>(select(x, x * F$(33554432.0), tiny)) - U$(0x3f3504f3u);
    let k = F$(bitcast<I$>(u) >> U$(23u)) - select(F$(0.0), F$(25.0), tiny);
    let m = bitcast<F$>((u & U$(0x7fffffu)) + U$(0x3f3504f3u));
    let y = k * F$(0.693359375) + (ibex_log_core$(m - F$(1.0)) + k * F$(-2.12194440e-4));
    let bits = bitcast<U$>(x);
    let zero = (bits << U$(1u)) == U$(0u);
    let low = select(ibex_bits$(U$(0x7fc00000u)), ibex_bits$(U$(0xff800000u)), zero);
    return select(select(y, low, zero | (bits > U$(0x80000000u))), x, bits - U$(0x7f800000u) < U$(0x800000u));
}",
    ),
    (
        "log1p",
        "fn ibex_log1p$(x: F$) -> F$ {
    return select(ibex_log$(F$(1.0) + x), ibex_log_core$(x), (x > F$(-0.29)) & (x < F$(0.41)));
}",
    ),
    (
        "tanh",
        "fn ibex_tanh$(x: F$) -> F$ {
    let e = ibex_expm1$(F$(-2.0) * abs(x));
    return ibex_copysign$(e / (e + F$(2.0)), x);
}",
    ),
    (
        "sigmoid",
        "fn ibex_sigmoid$(x: F$) -> F$ {
    let e = ibex_exp$(-abs(x));
    return select(F$(1.0), e, x < F$(0.0)) / (F$(1.0) + e);
}",
    ),
    // x - j pi/2, and j.
    (
        "reduce",
        "fn ibex_reduce$(x: F$) -> F$ {
    let j = round(x * F$(0.63661977));
    return ((x - j * F$(1.5703125)) - j * F$(4.8375129699707e-4)) - j * F$(7.549789948768648e-8);
}",
    ),
    (
        "circle",
        "fn ibex_circle$(x: F$, ahead: i32) -> F$ {
    let r = ibex_reduce$(x);
    let q = I$(round(clamp(x, F$(-1e9), F$(1e9)) * F$(0.63661977))) + I$(ahead);
    let z = r * r;
    let s = r + r * z * (F$(-0.16666667) + z * (F$(8.3333333e-3) + z * (F$(-1.9841270e-4) + z * F$(2.7557319e-6))));
    let t = F$(-0.5) + z * (F$(4.1666667e-2) + z * (F$(-1.3888889e-3) + z * (F$(2.4801587e-5) - z * F$(2.7557319e-7))));
    let y = select(s, F$(1.0) + z * t, (q & I$(1)) != I$(0));
    let w = select(y, -y, (q & I$(2)) != I$(0));
    return select(w, ibex_bits$(U$(0x7fc00000u)), ibex_wild$(x));
}",
    ),
    ("sin", "fn ibex_sin$(x: F$) -> F$ { return ibex_circle$(x, 0); }"),
    ("cos", "fn ibex_cos$(x: F$) -> F$ { return ibex_circle$(x, 1); }"),
    // Below 1 the Taylor series; above, 1 - exp(-x^2) p(1 / (1 + x)) with p interpolated at Chebyshev nodes.
    (
        "erf",
        "fn ibex_erf$(x: F$) -> F$ {
    let a = min(abs(x), F$(4.0));
    let z = a * a;
    var s = F$(1.3122533e-8);
    s = s * z + F$(-1.4503852e-7);
    s = s * z + F$(1.4589169e-6);
    s = s * z + F$(-1.3227513e-5);
    s = s * z + F$(1.0683761e-4);
    s = s * z + F$(-7.5757576e-4);
    s = s * z + F$(4.6296296e-3);
    s = s * z + F$(-2.3809524e-2);
    s = s * z + F$(0.1);
    s = s * z + F$(-0.33333333);
    s = (s * z + F$(1.0)) * (a * F$(1.12837917));
    let t = F$(1.0) / (F$(1.0) + a);
    var p = F$(0.54670572);
    p = p * t + F$(-1.18477654);
    p = p * t + F$(0.57796794);
    p = p * t + F$(0.51195329);
    p = p * t + F$(0.56898344);
    p = p * t + F$(-1.7837710e-4);
    let y = select(F$(1.0) - ibex_exp$(-z) * p, s, a < F$(1.0));
    return select(ibex_copysign$(y, x), x, ibex_nan$(x));
}",
    ),
    // exp2(b log2 |a|), with the exponent of `a` and the leading bits of `b` multiplied exactly, so that large results stay exact.
    (
        "pow_core",
        "fn ibex_pow_core$(x: F$, b: F$) -> F$ {
    let tiny = x < F$(1.17549435e-38);
    let u = bitcast<U$>(select(x, x * F$(33554432.0), tiny)) - U$(0x3f3504f3u);
    let e = F$(bitcast<I$>(u) >> U$(23u)) - select(F$(0.0), F$(25.0), tiny);
    let m = bitcast<F$>((u & U$(0x7fffffu)) + U$(0x3f3504f3u));
    let l = ibex_log_core$(m - F$(1.0)) * F$(1.44269504);
    let c = clamp(b, F$(-1e10), F$(1e10));
    let high = bitcast<F$>(bitcast<U$>(c) & U$(0xfffff000u));
    let lh = bitcast<F$>(bitcast<U$>(l) & U$(0xfffff000u));
    let p = high * e;
    let q = high * lh;
    let rest = (c - high) * (e + l) + high * (l - lh);
    let n = round(p + q + rest);
    let f = clamp(((p - n) + q) + rest, F$(-1.0), F$(1.0));
    return ibex_scale$(F$(1.0) + ibex_exp_core$(f * F$(0.69314718)), clamp(n, F$(-200.0), F$(200.0)));
}",
    ),
    (
        "pow",
        "fn ibex_pow$(a: F$, b: F$) -> F$ {
    let x = abs(a);
    let bits = bitcast<U$>(x);
    let zero = bits == U$(0u);
    let ends = zero | (bits == U$(0x7f800000u));
    let inf = ibex_bits$(U$(0x7f800000u));
    let grows = zero != (b > F$(0.0));
    var y = select(ibex_pow_core$(x, b), select(F$(0.0), inf, grows), ends);
    let whole = floor(b) == b;
    let small = abs(b) < F$(16777216.0);
    let odd = whole & small & ((I$(clamp(b, F$(-16777216.0), F$(16777216.0))) & I$(1)) != I$(0));
    let negative = bitcast<U$>(a) >= U$(0x80000000u);
    y = select(y, -y, negative & odd);
    y = select(y, ibex_bits$(U$(0x7fc00000u)), (negative & !ends & !whole) | ibex_nan$(a) | ibex_nan$(b));
    return select(y, F$(1.0), ((b == F$(0.0)) & !ibex_nan$(b)) | (bitcast<U$>(a) == U$(0x3f800000u)));
}",
    ),
    // The quotient is rounded, so the remainder can be one divisor off.
    (
        "rem",
        "fn ibex_rem$(a: F$, b: F$) -> F$ {
    let x = abs(a);
    let d = abs(b);
    let q = trunc(x / d);
    let qh = bitcast<F$>(bitcast<U$>(q) & U$(0xfffff000u));
    let dh = bitcast<F$>(bitcast<U$>(d) & U$(0xfffff000u));
    var r = (((x - qh * dh) - qh * (d - dh)) - (q - qh) * dh) - (q - qh) * (d - dh);
    r = select(r, r + d, r < F$(0.0));
    r = select(r, r - d, r >= d);
    r = select(r, x, x < d);
    r = select(r, ibex_bits$(U$(0x7fc00000u)), ibex_wild$(a) | (d == F$(0.0)) | ibex_nan$(b));
    return ibex_copysign$(r, a);
}",
    ),
    // The quotient that overflows is the dividend itself: divided by 1 it stays.
    (
        "idiv",
        "fn ibex_idiv$(a: I$, b: I$) -> I$ {
    let zero = b == I$(0);
    let over = (a == I$(-2147483648)) & (b == I$(-1));
    return select(a / select(b, I$(1), zero | over), I$(0), zero);
}",
    ),
    (
        "irem",
        "fn ibex_irem$(a: I$, b: I$) -> I$ {
    return a % select(b, I$(1), (b == I$(0)) | (b == I$(-1)));
}",
    ),
    (
        "udiv",
        "fn ibex_udiv$(a: U$, b: U$) -> U$ {
    let zero = b == U$(0u);
    return select(a / select(b, U$(1u), zero), U$(0u), zero);
}",
    ),
    ("urem", "fn ibex_urem$(a: U$, b: U$) -> U$ { return a % select(b, U$(1u), b == U$(0u)); }"),
    (
        "to_i32",
        "fn ibex_to_i32$(x: F$) -> I$ {
    let y = I$(clamp(select(x, F$(0.0), ibex_nan$(x)), F$(-2147483648.0), F$(2147483520.0)));
    return select(y, I$(2147483647), (x >= F$(2147483648.0)) & !ibex_nan$(x));
}",
    ),
    (
        "to_u32",
        "fn ibex_to_u32$(x: F$) -> U$ {
    let y = U$(clamp(select(x, F$(0.0), ibex_nan$(x)), F$(0.0), F$(4294967040.0)));
    return select(y, U$(4294967295u), (x >= F$(4294967296.0)) & !ibex_nan$(x));
}",
    ),
    ("to_bool", "fn ibex_to_bool$(x: F$) -> B$ { return (bitcast<U$>(x) & U$(0x7fffffffu)) != U$(0u); }"),
    // The bits of the nearest bf16 (ties to even) in the upper half.
    (
        "bf16_bits",
        "fn ibex_bf16_bits$(x: F$) -> U$ {
    let u = bitcast<U$>(x);
    let r = u + U$(0x7fffu) + ((u >> U$(16u)) & U$(1u));
    return select(r, u | U$(0x400000u), ibex_nan$(x)) & U$(0xffff0000u);
}",
    ),
    ("round_bf16", "fn ibex_round_bf16$(x: F$) -> F$ { return bitcast<F$>(ibex_bf16_bits$(x)); }"),
    // The nearest f16 (ties to even), as f32.
    (
        "round_f16",
        "fn ibex_round_f16$(x: F$) -> F$ {
    let a = bitcast<U$>(x) & U$(0x7fffffffu);
    let n = (a + U$(0xfffu) + ((a >> U$(13u)) & U$(1u))) & U$(0xffffe000u);
    let small = bitcast<U$>(round(abs(x) * F$(16777216.0)) * F$(5.9604645e-8));
    var r = select(n, small, a < U$(0x38800000u));
    r = select(r, U$(0x7f800000u), r >= U$(0x47800000u));
    return select(bitcast<F$>(r | (bitcast<U$>(x) & U$(0x80000000u))), x, ibex_nan$(x));
}",
    ),
    // Its 16 bits.
    (
        "f16_bits",
        "fn ibex_f16_bits$(x: F$) -> U$ {
    let r = ibex_round_f16$(x);
    let a = bitcast<U$>(r) & U$(0x7fffffffu);
    var h = select((a - U$(0x38000000u)) >> U$(13u), U$(abs(r) * F$(16777216.0)), a < U$(0x38800000u));
    h = select(h, U$(0x7c00u), a == U$(0x7f800000u));
    h = select(h, U$(0x7e00u), ibex_nan$(x));
    return h | ((bitcast<U$>(x) >> U$(16u)) & U$(0x8000u));
}",
    ),
    (
        "threefry",
        "fn ibex_threefry$(k0: U$, k1: U$, c0: U$, c1: U$) -> U$ {
    let k2 = k0 ^ k1 ^ U$(0x1bd11bdau);
    var a = c0 + k0;
    var b = c1 + k1;
    a += b; b = ((b << U$(13u)) | (b >> U$(19u))) ^ a;
    a += b; b = ((b << U$(15u)) | (b >> U$(17u))) ^ a;
    a += b; b = ((b << U$(26u)) | (b >> U$(6u))) ^ a;
    a += b; b = ((b << U$(6u)) | (b >> U$(26u))) ^ a;
    a += k1; b += k2 + U$(1u);
    a += b; b = ((b << U$(17u)) | (b >> U$(15u))) ^ a;
    a += b; b = ((b << U$(29u)) | (b >> U$(3u))) ^ a;
    a += b; b = ((b << U$(16u)) | (b >> U$(16u))) ^ a;
    a += b; b = ((b << U$(24u)) | (b >> U$(8u))) ^ a;
    a += k2; b += k0 + U$(2u);
    a += b; b = ((b << U$(13u)) | (b >> U$(19u))) ^ a;
    a += b; b = ((b << U$(15u)) | (b >> U$(17u))) ^ a;
    a += b; b = ((b << U$(26u)) | (b >> U$(6u))) ^ a;
    a += b; b = ((b << U$(6u)) | (b >> U$(26u))) ^ a;
    a += k0; b += k1 + U$(3u);
    a += b; b = ((b << U$(17u)) | (b >> U$(15u))) ^ a;
    a += b; b = ((b << U$(29u)) | (b >> U$(3u))) ^ a;
    a += b; b = ((b << U$(16u)) | (b >> U$(16u))) ^ a;
    a += b; b = ((b << U$(24u)) | (b >> U$(8u))) ^ a;
    a += k1; b += k2 + U$(4u);
    a += b; b = ((b << U$(13u)) | (b >> U$(19u))) ^ a;
    a += b; b = ((b << U$(15u)) | (b >> U$(17u))) ^ a;
    a += b; b = ((b << U$(26u)) | (b >> U$(6u))) ^ a;
    a += b; b = ((b << U$(6u)) | (b >> U$(26u))) ^ a;
    a += k2; b += k0 + U$(5u);
    return a;
}",
    ),
];
