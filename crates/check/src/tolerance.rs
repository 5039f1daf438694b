//! How far a device may be from the truth.

use ibex_core::DType;

/// What kind of error a case may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Class {
    /// None: numbers are only moved, compared or chosen.
    Exact,
    /// That of elementwise functions, relative to the result or to 0.1, whichever is larger: near a zero of `sin` or `log` drivers
    /// promise an absolute error only.
    Elementwise,
    /// Relative to the result however small it is: for functions that exist to be exact near zero.
    Relative,
    /// That of sums of this many terms, in relation to the result, to the root mean square of the whole tensor, or to 0.1, whichever
    /// is largest: terms are of order one and cancel.
    Sum(usize),
    /// As [`Class::Sum`], of numbers that were rounded to this type on their way: the reference rounds nothing in between.
    Through(DType, usize),
}

/// The allowed error of one tensor.
///
/// | type | relative error | reason |
/// | --- | --- | --- |
/// | `f32` | 1e-5 | about 80 units in the last place: WGSL lets `exp`, `pow` and `tanh` be that far off |
/// | `f16` | 4e-3 | 4 units of 2^-10: a fused value is rounded once, an unfused one after every operation |
/// | `bf16` | 3.2e-2 | 4 units of 2^-7, for the same reason |
/// | integers, `bool` | 0 | exact everywhere |
///
/// Sums of `k` terms get `sqrt(k) / 4` times that (at least once): rounding errors of a sum add up like a random walk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    relative: f64,
    /// Results are taken to be at least this large.
    scale: f64,
}

impl Tolerance {
    /// The tolerance for a tensor with these true values.
    pub fn new(class: Class, dtype: DType, want: &[f64]) -> Tolerance {
        let through = if let Class::Through(through, _) = class { through } else { dtype };
        let unit = match if dtype.is_float() { through } else { dtype } {
            DType::F32 => 1e-5,
            DType::F16 => 4e-3,
            DType::BF16 => 3.2e-2,
            DType::I32 | DType::U32 | DType::Bool => 0.0,
        };
        let finite = || want.iter().filter(|v| v.is_finite());
        let rms = || (finite().map(|v| v * v).sum::<f64>() / finite().count().max(1) as f64).sqrt();
        match class {
            Class::Exact => Tolerance { relative: 0.0, scale: 0.0 },
            Class::Elementwise => Tolerance { relative: unit, scale: 0.1 },
            // Below the smallest normal number devices may flush to zero.
            Class::Relative => Tolerance { relative: unit, scale: f64::from(f32::MIN_POSITIVE) / unit.max(1e-9) },
            Class::Sum(k) | Class::Through(_, k) => {
                Tolerance { relative: unit * ((k as f64).sqrt() / 4.0).max(1.0), scale: rms().max(0.1) }
            }
        }
    }

    /// The error of `got` as a multiple of what is allowed; at most 1 passes. Both NaN, or the same infinity, is no error, nor is
    /// the sign of a zero.
    pub fn error(&self, got: f64, want: f64) -> f64 {
        if got == want || got.is_nan() && want.is_nan() {
            return 0.0;
        }
        let allowed = self.relative * want.abs().max(self.scale);
        let error = (got - want).abs() / allowed;
        if error.is_nan() || !want.is_finite() { f64::INFINITY } else { error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_values() {
        let t = Tolerance::new(Class::Elementwise, DType::F32, &[1.0]);
        assert_eq!(t.error(f64::NAN, f64::NAN), 0.0);
        assert_eq!(t.error(f64::INFINITY, f64::INFINITY), 0.0);
        assert_eq!(t.error(-0.0, 0.0), 0.0);
        for (got, want) in [(1.0, f64::NAN), (f64::NAN, 1.0), (1e38, f64::INFINITY), (f64::INFINITY, 1e38)] {
            assert!(t.error(got, want) > 1.0, "{got} {want}");
        }
        assert!(t.error(1.00002, 1.0) > 1.0 && t.error(1.000009, 1.0) < 1.0);
        let exact = Tolerance::new(Class::Exact, DType::F32, &[1.0]);
        assert!(exact.error(1.0 + 1e-7, 1.0) > 1.0 && exact.error(1.0, 1.0) == 0.0);
    }
}
