//! One source for every instruction set: a kernel is a plain loop in a generic function, compiled once for each level, and the
//! best level is chosen at run time. On other processors than x86-64 the baseline has the vector unit already.

use std::sync::OnceLock;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// What every processor of the target has.
    Baseline,
    /// AVX2 and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best of this processor.
    pub(crate) fn get() -> Level {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| Level::all().last().copied().unwrap_or(Level::Baseline))
    }

    /// All that this processor has, best last.
    pub(crate) fn all() -> Vec<Level> {
        #[allow(unused_mut, reason = "only x86-64 has more than one")]
        let mut levels = vec![Level::Baseline];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            levels.push(Level::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                levels.push(Level::Avx512);
            }
        }
        levels
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "AVX2",
            Level::Baseline if cfg!(target_arch = "aarch64") => "NEON",
            Level::Baseline if cfg!(target_arch = "wasm32") => "wasm",
            Level::Baseline => "baseline",
        }
    }

    /// The kernel compiled for this level.
    pub(crate) fn compile<A, K: Kernel<A>>(self) -> unsafe fn(A) {
        match self {
            Level::Baseline => baseline::<A, K>,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2::<A, K>,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512::<A, K>,
        }
    }
}

/// A loop over arguments `A`.
pub(crate) trait Kernel<A> {
    /// Must be `#[inline(always)]`, to be compiled with the caller's instruction set. `FMA`: a fused multiply-add is one instruction.
    ///
    /// # Safety
    /// The arguments must be valid as the kernel says.
    unsafe fn run<const FMA: bool>(args: A);
}

unsafe fn baseline<A, K: Kernel<A>>(args: A) {
    // SAFETY: the caller's promise.
    unsafe { K::run::<{ cfg!(any(target_arch = "aarch64", target_feature = "fma")) }>(args) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<A, K: Kernel<A>>(args: A) {
    // SAFETY: the caller's promise.
    unsafe { K::run::<true>(args) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<A, K: Kernel<A>>(args: A) {
    // SAFETY: the caller's promise.
    unsafe { K::run::<true>(args) }
}

/// Asks for memory that is read soon, or written: 32-bit words from `at` on. So loops work on one tile while the next one arrives. It may lie
/// anywhere.
#[inline(always)]
pub(crate) fn prefetch(at: *const u32, words: usize, written: bool) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..words).step_by(16).map(|i| at.wrapping_add(i)) {
        use std::arch::asm;
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch changes nothing that can be seen, and does not fault. The compiler has no intrinsic that becomes `prefetchw`; every
        // 64-bit processor takes it, those that cannot do it as an instruction without effect.
        unsafe {
            if written {
                asm!("prefetchw [{at}]", at = in(reg) line, options(nostack, preserves_flags, readonly));
            } else {
                _mm_prefetch::<_MM_HINT_T1>(line.cast());
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, words, written);
}
