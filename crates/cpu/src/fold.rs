//! Reductions of registers into accumulators.
//!
//! Within a tile many lanes accumulate side by side; across tiles sums accumulate in `f64`. So the sum of sixteen million ones is
//! exact, and errors grow with the length of a tile only.

use crate::simd::{Kernel, Level};
use bytemuck::Pod;
use ibex_core::graph::Reduce;
use ibex_core::program::Reg;
use std::marker::PhantomData;
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// Reduces a tile of `groups` x `rows` x `cols` elements over its rows into `groups` x `cols` accumulators. With `apart`, it is one row of
/// one group in four pieces of `rows / 4` elements whose beginnings lie so far apart: memory delivers several streams faster than one.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub acc: *mut u64,
    pub from: *const u32,
    pub groups: usize,
    pub rows: usize,
    pub cols: usize,
    pub apart: Option<usize>,
}

/// `n` accumulators merged with others (`from` is `*const u64`), or finished into a register (`to`).
#[derive(Clone, Copy)]
pub(crate) struct Merge {
    pub acc: *mut u64,
    pub from: *const u64,
    pub to: *mut u32,
    pub n: usize,
}

/// The functions of one kind of reduction. Accumulators are `u64` words whose meaning is theirs. Their safety: pointers are valid for
/// as many elements as the arguments say.
#[derive(Clone, Copy)]
pub(crate) struct Fold {
    /// An accumulator of nothing.
    pub empty: u64,
    /// Adds a tile of one column.
    rows: unsafe fn(Tile),
    /// Adds four pieces.
    pieces: unsafe fn(Tile),
    /// Adds a tile of several columns.
    columns: unsafe fn(Tile),
    /// `acc = acc + from`
    pub merge: unsafe fn(Merge),
    /// `to = acc`
    pub finish: unsafe fn(Merge),
}

impl Fold {
    /// Adds a tile.
    ///
    /// # Safety
    /// Pointers are valid for as many elements as the tile says.
    pub(crate) unsafe fn tile(&self, tile: Tile) {
        let kernel = match (tile.apart, tile.cols) {
            (Some(_), _) => self.pieces,
            (None, 1) => self.rows,
            (None, _) => self.columns,
        };
        // SAFETY: the caller's promise.
        unsafe { kernel(tile) }
    }
}

trait Reducer {
    /// A register element.
    type Lane: Pod;
    const EMPTY: Self::Lane;
    /// What is reduced of an element.
    #[inline(always)]
    fn term(x: Self::Lane) -> Self::Lane {
        x
    }
    fn add(a: Self::Lane, b: Self::Lane) -> Self::Lane;
    /// `add` for operands of which none is NaN.
    #[inline(always)]
    fn add_numbers(a: Self::Lane, b: Self::Lane) -> Self::Lane {
        Self::add(a, b)
    }
    /// Is an element NaN, where that matters to `add`?
    #[inline(always)]
    fn has_nan(_: &[Self::Lane]) -> bool {
        false
    }
    /// Accumulators.
    fn open(word: u64) -> Self::Lane;
    fn absorb(word: u64, lane: Self::Lane) -> u64;
    fn merge(a: u64, b: u64) -> u64;
    fn word(lane: Self::Lane) -> u64;
}

/// Kernels of their own, since a function of many loops is vectorised badly.
struct Rows<R>(PhantomData<R>);
struct Pieces<R>(PhantomData<R>);
struct Columns<R>(PhantomData<R>);

/// A reducer of elements of which none is NaN: one that looks for NaN at every step is not vectorised.
struct Numbers<R>(PhantomData<R>);

impl<R: Reducer> Reducer for Numbers<R> {
    type Lane = R::Lane;
    const EMPTY: R::Lane = R::EMPTY;
    #[inline(always)]
    fn term(x: R::Lane) -> R::Lane {
        R::term(x)
    }
    #[inline(always)]
    fn add(a: R::Lane, b: R::Lane) -> R::Lane {
        R::add_numbers(a, b)
    }
    #[inline(always)]
    fn open(word: u64) -> R::Lane {
        R::open(word)
    }
    #[inline(always)]
    fn absorb(word: u64, lane: R::Lane) -> u64 {
        R::absorb(word, lane)
    }
    #[inline(always)]
    fn merge(a: u64, b: u64) -> u64 {
        R::merge(a, b)
    }
    #[inline(always)]
    fn word(lane: R::Lane) -> u64 {
        R::word(lane)
    }
}

/// The total of a short row, in a few lanes, four of each added to each other first.
#[inline(always)]
fn total<R: Reducer>(row: &[R::Lane]) -> R::Lane {
    const N: usize = 8;
    let mut lanes = [R::EMPTY; N];
    let (chunks, rest) = row.as_chunks::<N>();
    let (fours, chunks) = chunks.as_chunks::<4>();
    for [a, b, c, d] in fours {
        for i in 0..N {
            let [a, b, c, d] = [a[i], b[i], c[i], d[i]].map(R::term);
            lanes[i] = R::add(lanes[i], R::add(R::add(a, b), R::add(c, d)));
        }
    }
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = R::add(*lane, R::term(x));
        }
    }
    one_by_one::<R>(sum_of_lanes::<R, N>(lanes), rest)
}

/// `sum` and a row, in its order.
#[inline(always)]
fn one_by_one<R: Reducer>(sum: R::Lane, row: &[R::Lane]) -> R::Lane {
    row.iter().fold(sum, |sum, &x| R::add(sum, R::term(x)))
}

/// The total of lanes, halves added to halves.
#[inline(always)]
fn sum_of_lanes<R: Reducer, const N: usize>(mut lanes: [R::Lane; N]) -> R::Lane {
    let mut width = N / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(a, b)| *a = R::add(*a, *b));
        width /= 2;
    }
    lanes[0]
}

/// Lanes of [`Four`]: loops over fewer are unrolled first, and then become instructions of two lanes.
const WIDE: usize = 32;

/// Totals of four streams side by side.
struct Four<R: Reducer>([[R::Lane; WIDE]; 4]);

impl<R: Reducer> Four<R> {
    const EMPTY: Four<R> = Four([[R::EMPTY; WIDE]; 4]);

    #[inline(always)]
    fn add(&mut self, [a, b, c, d]: [&[R::Lane; WIDE]; 4]) {
        let [p, q, r, s] = &mut self.0;
        for i in 0..WIDE {
            (p[i], q[i]) = (R::add(p[i], R::term(a[i])), R::add(q[i], R::term(b[i])));
            (r[i], s[i]) = (R::add(r[i], R::term(c[i])), R::add(s[i], R::term(d[i])));
        }
    }

    #[inline(always)]
    fn total(self) -> R::Lane {
        let [mut p, q, r, s] = self.0;
        for i in 0..WIDE {
            p[i] = R::add(R::add(p[i], r[i]), R::add(q[i], s[i]));
        }
        sum_of_lanes::<R, WIDE>(p)
    }
}

/// The total of a long row.
#[inline(always)]
fn total_of_long<R: Reducer>(row: &[R::Lane]) -> R::Lane {
    let mut four = Four::<R>::EMPTY;
    let (blocks, rest) = row.as_chunks::<WIDE>();
    let (blocks, others) = blocks.as_chunks::<4>();
    for [a, b, c, d] in blocks {
        four.add([a, b, c, d]);
    }
    let rest = total::<R>(&row[row.len() - rest.len() - others.len() * WIDE..]);
    R::add(four.total(), rest)
}

/// The total of four pieces of equal length that lie far apart, side by side.
#[inline(always)]
fn total_of_four<R: Reducer>(pieces: [&[R::Lane]; 4]) -> R::Lane {
    let mut four = Four::<R>::EMPTY;
    let [a, b, c, d] = pieces.map(|piece| piece.as_chunks::<WIDE>().0);
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        four.add([a, b, c, d]);
    }
    let rest = pieces.map(|piece| total::<R>(piece.as_chunks::<WIDE>().1));
    R::add(four.total(), R::add(R::add(rest[0], rest[2]), R::add(rest[1], rest[3])))
}

/// Totals of `N` adjacent columns from `from` on, four rows side by side.
///
/// # Safety
/// `from` is valid for `rows` rows of `stride` elements, `acc` for `N` accumulators.
#[inline(always)]
unsafe fn columns<R: Reducer, const N: usize>(acc: *mut u64, from: *const R::Lane, rows: usize, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let row = |r: usize| &*from.add(r * stride).cast::<[R::Lane; N]>();
        let mut sums = [[R::EMPTY; N]; 4];
        let whole = rows / 4 * 4;
        for r in (0..whole).step_by(4) {
            for (i, sum) in sums.iter_mut().enumerate() {
                for (lane, &x) in sum.iter_mut().zip(row(r + i)) {
                    *lane = R::add(*lane, R::term(x));
                }
            }
        }
        for r in whole..rows {
            for (lane, &x) in sums[r - whole].iter_mut().zip(row(r)) {
                *lane = R::add(*lane, R::term(x));
            }
        }
        let acc = from_raw_parts_mut(acc, N);
        for (i, acc) in acc.iter_mut().enumerate() {
            let lane = R::add(R::add(sums[0][i], sums[2][i]), R::add(sums[1][i], sums[3][i]));
            *acc = R::absorb(*acc, lane);
        }
    }
}

impl<R: Reducer> Kernel<Tile> for Rows<R> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(t: Tile) {
        // SAFETY: see `Fold`.
        unsafe {
            for g in 0..t.groups {
                let row = from_raw_parts(t.from.cast::<R::Lane>().add(g * t.rows), t.rows);
                let sum = match t.rows {
                    0..8 => one_by_one::<R>(R::EMPTY, row),
                    _ if R::has_nan(row) => one_by_one::<R>(R::EMPTY, row),
                    8..128 => total::<Numbers<R>>(row),
                    _ => total_of_long::<Numbers<R>>(row),
                };
                *t.acc.add(g) = R::absorb(*t.acc.add(g), sum);
            }
        }
    }
}

impl<R: Reducer> Kernel<Tile> for Pieces<R> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(t: Tile) {
        // SAFETY: see `Fold`.
        unsafe {
            let piece = |i: usize| from_raw_parts(t.from.cast::<R::Lane>().add(i * t.apart.unwrap_or(0)), t.rows / 4);
            let pieces = [piece(0), piece(1), piece(2), piece(3)];
            let sum = if pieces.iter().any(|piece| R::has_nan(piece)) {
                pieces.into_iter().fold(R::EMPTY, one_by_one::<R>)
            } else {
                total_of_four::<Numbers<R>>(pieces)
            };
            *t.acc = R::absorb(*t.acc, sum);
        }
    }
}

impl<R: Reducer> Kernel<Tile> for Columns<R> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(t: Tile) {
        // SAFETY: see `Fold`.
        unsafe {
            let all = from_raw_parts(t.from.cast::<R::Lane>(), t.groups * t.rows * t.cols);
            if R::has_nan(all) { all_columns::<R>(t) } else { all_columns::<Numbers<R>>(t) }
        }
    }
}

/// The totals of all columns of a tile.
///
/// # Safety
/// See `Fold`.
#[inline(always)]
unsafe fn all_columns<R: Reducer>(t: Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        for g in 0..t.groups {
            let (from, acc) = (t.from.cast::<R::Lane>().add(g * t.rows * t.cols), t.acc.add(g * t.cols));
            let mut c = 0;
            // A cache line at a time.
            while t.cols - c >= 16 {
                columns::<R, 16>(acc.add(c), from.add(c), t.rows, t.cols);
                c += 16;
            }
            if t.cols - c >= 8 {
                columns::<R, 8>(acc.add(c), from.add(c), t.rows, t.cols);
                c += 8;
            }
            if t.cols - c >= 4 {
                columns::<R, 4>(acc.add(c), from.add(c), t.rows, t.cols);
                c += 4;
            }
            while c < t.cols {
                columns::<R, 1>(acc.add(c), from.add(c), t.rows, t.cols);
                c += 1;
            }
        }
    }
}

struct Merging<R>(PhantomData<R>);
struct Finish<R>(PhantomData<R>);

impl<R: Reducer> Kernel<Merge> for Merging<R> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(m: Merge) {
        // SAFETY: see `Fold`.
        unsafe {
            for (acc, &from) in from_raw_parts_mut(m.acc, m.n).iter_mut().zip(from_raw_parts(m.from, m.n)) {
                *acc = R::merge(*acc, from);
            }
        }
    }
}

impl<R: Reducer> Kernel<Merge> for Finish<R> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(m: Merge) {
        // SAFETY: see `Fold`.
        unsafe {
            let to = from_raw_parts_mut(m.to.cast::<R::Lane>(), m.n);
            for (to, &acc) in to.iter_mut().zip(from_raw_parts(m.acc.cast_const(), m.n)) {
                *to = R::open(acc);
            }
        }
    }
}

macro_rules! reducers {
    ($($name:ident: $lane:ty, $empty:expr, |$a:ident, $b:ident| $add:expr, $wide:ty $(, numbers: $numbers:expr)? $(, term: $term:expr)?;)*) => {$(
        struct $name;
        impl Reducer for $name {
            type Lane = $lane;
            const EMPTY: $lane = $empty;
            $(
                #[inline(always)]
                fn term(x: $lane) -> $lane {
                    $term(x)
                }
            )?
            #[inline(always)]
            fn add($a: $lane, $b: $lane) -> $lane {
                $add
            }
            $(
                #[inline(always)]
                fn add_numbers($a: $lane, $b: $lane) -> $lane {
                    $numbers
                }
                #[inline(always)]
                fn has_nan(all: &[$lane]) -> bool {
                    // The largest magnitude as an integer, for which there is an instruction.
                    all.iter().fold(0, |most, x| (x.to_bits() & 0x7fff_ffff).max(most)) > f32::INFINITY.to_bits()
                }
            )?
            #[inline(always)]
            fn open(word: u64) -> $lane {
                <$wide>::from_word(word) as $lane
            }
            #[inline(always)]
            fn absorb(word: u64, lane: $lane) -> u64 {
                Self::merge(word, Self::word(lane))
            }
            #[inline(always)]
            fn merge(a: u64, b: u64) -> u64 {
                let ($a, $b) = (<$wide>::from_word(a), <$wide>::from_word(b));
                ($add).to_word()
            }
            #[inline(always)]
            fn word(lane: $lane) -> u64 {
                <$wide>::from(lane).to_word()
            }
        }
    )*};
}

/// A number in an accumulator.
trait Word {
    fn from_word(word: u64) -> Self;
    fn to_word(self) -> u64;
}

macro_rules! words {
    ($($ty:ty, |$w:ident| $from:expr, |$x:ident| $to:expr;)*) => {$(
        impl Word for $ty {
            #[inline(always)]
            fn from_word($w: u64) -> $ty {
                $from
            }
            #[inline(always)]
            fn to_word(self) -> u64 {
                let $x = self;
                $to
            }
        }
    )*};
}

words! {
    f64, |w| f64::from_bits(w), |x| x.to_bits();
    i32, |w| w as i32, |x| u64::from(x as u32);
    u32, |w| w as u32, |x| u64::from(x);
}

reducers! {
    Sum: f32, 0.0, |a, b| a + b, f64;
    SumSquares: f32, 0.0, |a, b| a + b, f64, term: |x: f32| x * x;
    Max: f32, f32::NEG_INFINITY, |a, b| { let m = if a > b { a } else { b }; if a.is_nan() { a } else { m } }, f64, numbers: if a > b { a } else { b };
    Min: f32, f32::INFINITY, |a, b| { let m = if a < b { a } else { b }; if a.is_nan() { a } else { m } }, f64, numbers: if a < b { a } else { b };
    Prod: f32, 1.0, |a, b| a * b, f64;
    SumInt: u32, 0, |a, b| a.wrapping_add(b), u32;
    ProdInt: u32, 1, |a, b| a.wrapping_mul(b), u32;
    MaxInt: i32, i32::MIN, |a, b| a.max(b), i32;
    MinInt: i32, i32::MAX, |a, b| a.min(b), i32;
    MaxUint: u32, 0, |a, b| a.max(b), u32;
    MinUint: u32, u32::MAX, |a, b| a.min(b), u32;
    All: u32, 1, |a, b| a & b, u32;
    Any: u32, 0, |a, b| a | b, u32;
}

/// The functions of a sum of squares of floats.
pub(crate) fn fold_squares(level: Level) -> Fold {
    make::<SumSquares>(level)
}

fn make<R: Reducer>(level: Level) -> Fold {
    Fold {
        empty: R::word(R::EMPTY),
        rows: level.compile::<Tile, Rows<R>>(),
        pieces: level.compile::<Tile, Pieces<R>>(),
        columns: level.compile::<Tile, Columns<R>>(),
        merge: level.compile::<Merge, Merging<R>>(),
        finish: level.compile::<Merge, Finish<R>>(),
    }
}

/// The functions of a reduction over registers of a type. On truth values, sum and maximum are `any`, product and minimum `all`.
pub(crate) fn fold(level: Level, reduce: Reduce, reg: Reg) -> Fold {
    match (reduce, reg) {
        (Reduce::Sum, Reg::F32) => make::<Sum>(level),
        (Reduce::Max, Reg::F32) => make::<Max>(level),
        (Reduce::Min, Reg::F32) => make::<Min>(level),
        (Reduce::Prod, Reg::F32) => make::<Prod>(level),
        (Reduce::Sum | Reduce::Max, Reg::Bool) => make::<Any>(level),
        (Reduce::Prod | Reduce::Min, Reg::Bool) => make::<All>(level),
        (Reduce::Sum, _) => make::<SumInt>(level),
        (Reduce::Prod, _) => make::<ProdInt>(level),
        (Reduce::Max, Reg::I32) => make::<MaxInt>(level),
        (Reduce::Min, Reg::I32) => make::<MinInt>(level),
        (Reduce::Max, Reg::U32) => make::<MaxUint>(level),
        (Reduce::Min, Reg::U32) => make::<MinUint>(level),
    }
}
