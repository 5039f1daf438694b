//! Reductions of tiles against plain loops, with NaN in every place.

use crate::fold::{Fold, Merge, Tile, fold, fold_squares};
use crate::simd::Level;
use ibex_core::graph::Reduce;
use ibex_core::program::Reg;

/// The reduction of a tile that stands in memory, with four pieces `apart`.
fn run(fold: Fold, x: &[f32], groups: usize, cols: usize, apart: bool) -> Vec<f32> {
    let rows = x.len() / groups / cols;
    let mut acc = vec![fold.empty; groups * cols];
    let mut out = vec![0f32; groups * cols];
    let apart = apart.then_some(rows / 4);
    // SAFETY: the tile is the slice, and there is an accumulator for each group and column.
    unsafe {
        fold.tile(Tile { acc: acc.as_mut_ptr(), from: x.as_ptr().cast(), groups, rows, cols, apart });
        (fold.finish)(Merge { acc: acc.as_mut_ptr(), from: acc.as_ptr(), to: out.as_mut_ptr().cast(), n: acc.len() });
    }
    out
}

fn want(reduce: Reduce, x: &[f32], groups: usize, cols: usize) -> Vec<f32> {
    let rows = x.len() / groups / cols;
    let column = |i: usize| (0..rows).map(move |r| x[(i / cols * rows + r) * cols + i % cols]);
    let of = |i: usize| match reduce {
        _ if column(i).any(f32::is_nan) => f32::NAN,
        Reduce::Max => column(i).fold(f32::NEG_INFINITY, f32::max),
        Reduce::Min => column(i).fold(f32::INFINITY, f32::min),
        _ => column(i).sum(),
    };
    (0..groups * cols).map(of).collect()
}

#[test]
fn tiles_of_every_form_and_nan_in_every_place() {
    for (groups, rows, cols, apart) in [
        (1, 1, 1, false),
        (3, 7, 1, false),
        (2, 63, 1, false),
        (2, 200, 1, false),
        (1, 256, 1, true),
        (2, 9, 13, false),
    ] {
        let n: usize = groups * rows * cols;
        let plain: Vec<f32> = (0..n).map(|i| (i * 7919 % 101) as f32 - 50.0).collect();
        for level in Level::all() {
            for reduce in [Reduce::Max, Reduce::Min, Reduce::Sum] {
                for bad in (0..n).step_by(n.div_ceil(40)).map(Some).chain([None]) {
                    for nan in [f32::NAN, -f32::NAN] {
                        let mut x = plain.clone();
                        if let Some(at) = bad {
                            x[at] = nan;
                        }
                        let check = |fold: Fold, terms: &[f32]| {
                            let (got, want) = (run(fold, &x, groups, cols, apart), want(reduce, terms, groups, cols));
                            let equal = got.iter().zip(&want).all(|(g, w)| g == w || g.is_nan() && w.is_nan());
                            assert!(
                                equal,
                                "{reduce:?} of {groups}x{rows}x{cols}, NaN at {bad:?}: {got:?}, not {want:?}"
                            );
                        };
                        check(fold(level, reduce, Reg::F32), &x);
                        if reduce == Reduce::Sum {
                            check(fold_squares(level), &x.iter().map(|x| x * x).collect::<Vec<_>>());
                        }
                    }
                }
            }
        }
    }
}
