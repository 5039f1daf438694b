//! The ceiling of the processor's arithmetic, for benchmarks to be held against.

use crate::simd::{Kernel, Level};
use crate::threads::{parallel, threads};
use std::hint::black_box;

/// Chains of multiply-adds, each waiting for itself only: enough to hide their latency, few enough to stay in registers.
const CHAINS: usize = 12;

/// `CHAINS` vectors of `LANES`, the width of one register.
struct Chains<const LANES: usize>;

impl<const LANES: usize> Kernel<(usize, *mut f32)> for Chains<LANES> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>((rounds, sum): (usize, *mut f32)) {
        let (factor, term) = black_box((0.999_f32, 0.001_f32));
        let mut chains: [[f32; LANES]; CHAINS] =
            std::array::from_fn(|c| std::array::from_fn(|l| (c * LANES + l) as f32));
        for _ in 0..rounds {
            for x in chains.as_flattened_mut() {
                *x = if FMA { x.mul_add(factor, term) } else { *x * factor + term };
            }
        }
        // SAFETY: the caller's promise.
        unsafe { *sum = chains.as_flattened().iter().sum() };
    }
}

/// Keeps every core busy with `rounds` of multiply-adds that nothing but the processor's arithmetic can slow down, and returns how many
/// floating-point operations that were.
pub fn multiply_adds(rounds: usize) -> f64 {
    let level = Level::get();
    let (run, lanes) = match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => (level.compile::<_, Chains<16>>(), 16),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => (level.compile::<_, Chains<8>>(), 8),
        Level::Baseline => (level.compile::<_, Chains<4>>(), 4),
    };
    parallel(threads(), |_| {
        let mut sum = 0.0;
        // SAFETY: `sum` may be written.
        unsafe { run((rounds, &raw mut sum)) };
        black_box(sum);
    });
    2.0 * (rounds * CHAINS * lanes * threads()) as f64
}
