//! The innermost loops: one tile of the result in registers.

// Loops over constant ranges become straight-line code on registers.
#![allow(clippy::needless_range_loop)]

use crate::epilogue::Finish;
use std::sync::OnceLock;

/// Longest run of the contraction that is packed at once: a panel of it fits the first-level cache.
pub(crate) const KC: usize = 256;
/// Floats between rows of a row-major left panel: one line more than `KC`, so that rows fall into different cache sets.
pub(crate) const ROW_STRIDE: usize = KC + 16;
/// Most rows any kernel has.
pub(crate) const MAX_ROWS: usize = 14;
/// Most columns any kernel has.
pub(crate) const MAX_COLS: usize = 32;

/// `c[r*ldc + j] (+)= sum over p < k of a(r, p) * b[p*step + j]` for `r` below the kernel's rows and `j < n`.
/// Then what `finish` says. Arguments: `k, a, b, step, c, ldc, n, add, finish`. Rows of `b` are readable to the width of a full tile (half of it where `n` is no more).
pub(crate) type Kernel = unsafe fn(usize, *const f32, *const f32, usize, *mut f32, usize, usize, bool, &Finish);

/// As [`Kernel`] with a left operand that is read where it lies: `a(r, p)` is `a[rows[r] + steps[p]]`.
/// Arguments: `k, a, rows, steps, b, c, ldc, n, add, finish`; rows of `b` follow each other.
pub(crate) type Indirect =
    unsafe fn(usize, *const f32, *const isize, *const isize, *const f32, *mut f32, usize, usize, bool, &Finish);

/// How a kernel reads its left operand.
trait Left: Copy {
    /// Where element `(r, p)` is.
    ///
    /// # Safety
    /// `r` is below the kernel's rows, `p` below `k`.
    unsafe fn at(self, r: usize, p: usize) -> *const f32;
}

/// A packed panel: element `(r, p)` at `r*RS + p*KS`.
#[derive(Clone, Copy)]
struct Packed<const RS: usize, const KS: usize>(*const f32);

impl<const RS: usize, const KS: usize> Left for Packed<RS, KS> {
    #[inline(always)]
    unsafe fn at(self, r: usize, p: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(r * RS + p * KS) }
    }
}

/// Where each row begins, and how far from there each step of the contraction lies.
#[derive(Clone, Copy)]
struct Scattered<const R: usize> {
    rows: [*const f32; R],
    steps: *const isize,
}

impl<const R: usize> Scattered<R> {
    /// # Safety
    /// `rows` holds `R` offsets that lie in the memory of `a`.
    #[inline(always)]
    unsafe fn new(a: *const f32, rows: *const isize, steps: *const isize) -> Self {
        // SAFETY: the caller's promise.
        Scattered { rows: std::array::from_fn(|r| unsafe { a.offset(*rows.add(r)) }), steps }
    }
}

impl<const R: usize> Left for Scattered<R> {
    #[inline(always)]
    unsafe fn at(self, r: usize, p: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        unsafe { self.rows[r].offset(*self.steps.add(p)) }
    }
}

/// The kernels of one instruction set, by layout of the left panel (row-major, k-major), rows - 1, and vectors - 1.
#[derive(Debug)]
pub(crate) struct Isa {
    /// Rows of a full tile; also the width of a k-major left panel.
    pub(crate) rows: usize,
    /// Columns of a full tile; the width of a right panel.
    pub(crate) cols: usize,
    /// True if kernels finish sums in registers; others pass over them again, which loops behind them do as well.
    pub(crate) finishes: bool,
    kernels: [&'static [[Kernel; 2]]; 2],
    indirect: &'static [[Indirect; 2]],
}

impl Isa {
    /// The kernel for a tile of `rows` by `cols`, each at most the full tile's.
    pub(crate) fn kernel(&self, k_major: bool, rows: usize, cols: usize) -> Kernel {
        self.kernels[usize::from(k_major)][rows - 1][usize::from(2 * cols > self.cols)]
    }

    /// The kernel that reads its left operand in place.
    pub(crate) fn indirect(&self, rows: usize, cols: usize) -> Indirect {
        self.indirect[rows - 1][usize::from(2 * cols > self.cols)]
    }
}

/// An instruction set's kernels from its `tile`: every number of rows, with one and two vectors.
macro_rules! isa {
    ($tile:ident, $vector:literal, $most:literal, $(#[$features:meta])? $($rows:literal)*) => {{
        $(#[$features])?
        #[allow(clippy::too_many_arguments)]
        unsafe fn packed<const R: usize, const V: usize, const RS: usize, const KS: usize>(
            k: usize,
            a: *const f32,
            b: *const f32,
            step: usize,
            c: *mut f32,
            ldc: usize,
            n: usize,
            add: bool,
            finish: &Finish,
        ) {
            // SAFETY: the caller's promise.
            unsafe { $tile::<R, V, _>(k, Packed::<RS, KS>(a), b, step, c, ldc, n, add, finish) }
        }
        $(#[$features])?
        #[allow(clippy::too_many_arguments)]
        unsafe fn indirect<const R: usize, const V: usize>(
            k: usize,
            a: *const f32,
            rows: *const isize,
            steps: *const isize,
            b: *const f32,
            c: *mut f32,
            ldc: usize,
            n: usize,
            add: bool,
            finish: &Finish,
        ) {
            // SAFETY: the caller's promise.
            unsafe { $tile::<R, V, _>(k, Scattered::<R>::new(a, rows, steps), b, 2 * $vector, c, ldc, n, add, finish) }
        }
        Isa {
            rows: $most,
            cols: 2 * $vector,
            finishes: $vector == 16,
            kernels: [
                &[$([packed::<$rows, 1, ROW_STRIDE, 1> as Kernel, packed::<$rows, 2, ROW_STRIDE, 1>]),*],
                &[$([packed::<$rows, 1, 1, $most> as Kernel, packed::<$rows, 2, 1, $most>]),*],
            ],
            indirect: &[$([indirect::<$rows, 1> as Indirect, indirect::<$rows, 2>]),*],
        }
    }};
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Finish, Indirect, Isa, Kernel, Left, Packed, ROW_STRIDE, Scattered, finish_rows};
    use std::arch::asm;
    use std::arch::x86_64::*;

    pub(super) static AVX512: Isa =
        isa!(avx512, 16, 14, #[target_feature(enable = "avx512f")] 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    pub(super) static AVX2: Isa = isa!(avx2, 8, 6, #[target_feature(enable = "avx2,fma")] 1 2 3 4 5 6);

    /// `acc += x * y`. Two vectors are added by instructions in a fixed order: the compiler loads the elements of all rows first, and then
    /// has no registers left for sums, which makes convolutions take 1.4 times as long.
    ///
    /// # Safety
    /// `x` is valid.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn add_row<const V: usize>(acc: &mut [__m512; V], x: *const f32, y: [__m512; V]) {
        // SAFETY: the caller's promise; nothing but registers is written.
        unsafe {
            if let ([a0, a1], [y0, y1]) = (&mut acc[..], &y[..]) {
                asm!(
                    "vbroadcastss {x}, dword ptr [{at}]",
                    "vfmadd231ps {a0}, {x}, {y0}",
                    "vfmadd231ps {a1}, {x}, {y1}",
                    at = in(reg) x,
                    x = out(zmm_reg) _,
                    a0 = inout(zmm_reg) *a0,
                    a1 = inout(zmm_reg) *a1,
                    y0 = in(zmm_reg) *y0,
                    y1 = in(zmm_reg) *y1,
                    // Not `preserves_flags`: arithmetic sets those of MXCSR.
                    options(nostack, readonly)
                );
            } else {
                let x = _mm512_set1_ps(*x);
                for v in 0..V {
                    acc[v] = _mm512_fmadd_ps(x, y[v], acc[v]);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    #[allow(clippy::too_many_arguments)]
    unsafe fn avx512<const R: usize, const V: usize, L: Left>(
        k: usize,
        a: L,
        b: *const f32,
        step: usize,
        c: *mut f32,
        ldc: usize,
        n: usize,
        add: bool,
        finish: &Finish,
    ) {
        let mut acc = [[_mm512_setzero_ps(); V]; R];
        // SAFETY: the caller's panels hold `k` steps, its tile R rows of n <= 32 columns; lanes beyond n are masked off.
        unsafe {
            for p in 0..k {
                let mut y = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    y[v] = _mm512_loadu_ps(b.add(p * step + v * 16));
                }
                for r in 0..R {
                    add_row(&mut acc[r], a.at(r, p), y);
                }
            }
            let mask: [__mmask16; V] = std::array::from_fn(|v| (((1u64 << n) - 1) >> (16 * v)) as __mmask16);
            let old =
                |at: *const f32, v: usize| if add { _mm512_maskz_loadu_ps(mask[v], at) } else { _mm512_setzero_ps() };
            if finish.is_none() {
                for r in 0..R {
                    for v in 0..V {
                        let at = c.add(r * ldc + v * 16);
                        _mm512_mask_storeu_ps(at, mask[v], _mm512_add_ps(acc[r][v], old(at, v)));
                    }
                }
                return;
            }
            let mut bias = [_mm512_setzero_ps(); V];
            for v in (0..V).filter(|_| !finish.bias.is_null()) {
                bias[v] = _mm512_maskz_loadu_ps(mask[v], finish.bias.add(v * 16));
            }
            let least = _mm512_set1_ps(finish.least);
            for r in 0..R {
                for v in 0..V {
                    let at = r * ldc + v * 16;
                    let sum = _mm512_add_ps(_mm512_add_ps(acc[r][v], old(c.add(at), v)), bias[v]);
                    // The second operand where one is not a number.
                    let mut result = _mm512_max_ps(least, sum);
                    if !finish.mask.is_null() {
                        let chosen = _mm512_maskz_loadu_ps(mask[v], finish.mask.add(at));
                        let chosen = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(chosen, _mm512_setzero_ps());
                        result = _mm512_maskz_mov_ps(chosen, result);
                    }
                    _mm512_mask_storeu_ps(c.add(at), mask[v], result);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    #[allow(clippy::too_many_arguments)]
    unsafe fn avx2<const R: usize, const V: usize, L: Left>(
        k: usize,
        a: L,
        b: *const f32,
        step: usize,
        c: *mut f32,
        ldc: usize,
        n: usize,
        add: bool,
        finish: &Finish,
    ) {
        let mut acc = [[_mm256_setzero_ps(); V]; R];
        // SAFETY: as above with 16 columns; a partial row goes through `line`.
        unsafe {
            for p in 0..k {
                let mut y = [_mm256_setzero_ps(); V];
                for v in 0..V {
                    y[v] = _mm256_loadu_ps(b.add(p * step + v * 8));
                }
                for r in 0..R {
                    let x = _mm256_set1_ps(*a.at(r, p));
                    for v in 0..V {
                        acc[r][v] = _mm256_fmadd_ps(x, y[v], acc[r][v]);
                    }
                }
            }
            for r in 0..R {
                let at = c.add(r * ldc);
                if n == V * 8 {
                    for v in 0..V {
                        let old = if add { _mm256_loadu_ps(at.add(v * 8)) } else { _mm256_setzero_ps() };
                        _mm256_storeu_ps(at.add(v * 8), _mm256_add_ps(acc[r][v], old));
                    }
                } else {
                    let mut line = [0f32; 16];
                    for v in 0..V {
                        _mm256_storeu_ps(line.as_mut_ptr().add(v * 8), acc[r][v]);
                    }
                    for (j, value) in line.iter().enumerate().take(n) {
                        *at.add(j) = if add { *at.add(j) + value } else { *value };
                    }
                }
            }
            finish_rows(R, c, ldc, n, finish);
        }
    }
}

/// Four vectors of four lanes in two: what SSE2, NEON and wasm SIMD have registers for.
static PORTABLE: Isa = isa!(portable, 4, 4, 1 2 3 4);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn portable<const R: usize, const V: usize, L: Left>(
    k: usize,
    a: L,
    b: *const f32,
    step: usize,
    c: *mut f32,
    ldc: usize,
    n: usize,
    add: bool,
    finish: &Finish,
) {
    let mut acc = [[[0f32; 4]; V]; R];
    // SAFETY: the caller's panels hold `k` steps, its tile R rows of n <= 8 columns.
    unsafe {
        for p in 0..k {
            let y: [[f32; 4]; V] = *b.add(p * step).cast();
            for r in 0..R {
                let x = *a.at(r, p);
                for v in 0..V {
                    for j in 0..4 {
                        acc[r][v][j] += x * y[v][j];
                    }
                }
            }
        }
        for (r, line) in acc.iter().enumerate() {
            let at = c.add(r * ldc);
            for (j, value) in line.as_flattened().iter().enumerate().take(n) {
                *at.add(j) = if add { *at.add(j) + value } else { *value };
            }
        }
        finish_rows(R, c, ldc, n, finish);
    }
}

/// Finishes a tile of `rows` by `n` sums that was just stored.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
unsafe fn finish_rows(rows: usize, c: *mut f32, ldc: usize, n: usize, finish: &Finish) {
    if finish.is_none() {
        return;
    }
    for r in 0..rows {
        for j in 0..n {
            let place = r * ldc + j;
            // SAFETY: the caller's promise.
            unsafe { *c.add(place) = finish.apply(*c.add(place), j, place) };
        }
    }
}

/// The kernels of this machine.
pub(crate) fn isa() -> &'static Isa {
    static ISA: OnceLock<&'static Isa> = OnceLock::new();
    ISA.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return &x86::AVX512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return &x86::AVX2;
            }
        }
        &PORTABLE
    })
}

/// Every instruction set this machine has.
#[cfg(test)]
pub(crate) fn all() -> Vec<&'static Isa> {
    let mut all = vec![&PORTABLE];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            all.push(&x86::AVX2);
        }
        if is_x86_feature_detected!("avx512f") {
            all.push(&x86::AVX512);
        }
    }
    all
}
