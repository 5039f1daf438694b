//! Forms of loops on odd shapes.

use super::{compare, elementwise, load, numbers, store, view};
use crate::codegen::Reductions;
use crate::dispatch::Traits;
use crate::tune::Tuning;
use ibex_core::graph::{Binary, Compare, Reduce, Unary};
use ibex_core::program::{Body, Instr, KernelKind, Loop, ValueId, View};
use ibex_core::{DType, Data, Scalar, Shape};
use std::sync::Arc;

const F: DType = DType::F32;

fn v(n: usize) -> ValueId {
    ValueId(n)
}

fn strides(dims: &[usize]) -> Vec<i64> {
    Shape::from(dims).strides()
}

/// The strides of `dims` with zeros where `keep` is false, as a buffer of the kept axes has them.
fn kept(dims: &[usize], keep: impl Fn(usize) -> bool) -> View {
    let mut all = vec![0; dims.len()];
    let mut step = 1;
    for d in (0..dims.len()).rev() {
        if keep(d) {
            all[d] = step;
            step *= dims[d] as i64;
        }
    }
    view(0, &all)
}

/// Shapes `(outer, reduce, inside)` that meet every way of spreading a loop over threads.
const SHAPES: &[(&[usize], usize, usize)] = &[
    (&[7], 0, 1),
    (&[1], 0, 1),
    (&[1024], 0, 1),
    (&[5000], 0, 1),
    (&[3, 5], 1, 1),
    (&[300, 4], 1, 1),
    (&[5, 1000], 1, 1),
    (&[9, 515], 1, 1),
    (&[257, 64], 1, 1),
    (&[2, 3, 40, 12], 2, 2),
    (&[33, 7], 0, 1),
    (&[100, 4], 0, 1),
    (&[1000, 12], 0, 1),
    (&[700, 513], 0, 1),
    (&[3, 50, 8], 1, 1),
    (&[3, 50, 7], 1, 1),
    (&[2, 6, 5, 16, 3], 1, 2),
    (&[4, 0], 1, 1),
    (&[0, 4], 1, 1),
    (&[1, 1, 1], 1, 1),
];

#[test]
fn reductions_of_every_form() {
    for &(dims, outer, reduce) in SHAPES {
        for op in [Reduce::Sum, Reduce::Max, Reduce::Min, Reduce::Prod] {
            for dtype in [F, DType::I32, DType::U32] {
                if op != Reduce::Sum && dims.iter().product::<usize>() > 100_000 {
                    continue;
                }
                let len = dims.iter().product();
                // Products stay near 1, integer sums wrap.
                let (low, high) = match (op, dtype) {
                    (Reduce::Prod, F) => (0.98, 1.02),
                    (_, F) => (0.5, 2.0),
                    _ => (0.0, 4e9),
                };
                let data = numbers(dtype, len, low, high);
                let point = kept(dims, |d| !(outer..outer + reduce).contains(&d));
                let points: usize =
                    (0..dims.len()).filter(|d| !(outer..outer + reduce).contains(d)).map(|d| dims[d]).product();
                let body = Body {
                    loads: vec![load(0, dtype, view(0, &strides(dims)))],
                    iotas: vec![],
                    instrs: vec![Instr::Load(0), Instr::Reduce(op, v(0))],
                    stores: vec![store(1, 1, dtype, point)],
                };
                let kernel = Loop { dims: dims.to_vec(), outer, reduce, body };
                let tolerance = if dtype == F { 1e-4 } else { 0.0 };
                compare(kernel, vec![data, Data::zeros(dtype, points)], tolerance);
            }
        }
    }
}

#[test]
fn any_and_all() {
    for dims in [[5, 12], [6, 1001]] {
        let data = numbers(DType::Bool, dims[0] * dims[1], 0.0, 1.0);
        for op in [Reduce::Max, Reduce::Min] {
            let body = Body {
                loads: vec![load(0, DType::Bool, view(0, &strides(&dims)))],
                iotas: vec![],
                instrs: vec![Instr::Load(0), Instr::Reduce(op, v(0))],
                stores: vec![store(1, 1, DType::Bool, view(0, &[1, 0]))],
            };
            let kernel = Loop { dims: dims.to_vec(), outer: 1, reduce: 1, body };
            compare(kernel, vec![data.clone(), Data::zeros(DType::Bool, dims[0])], 0.0);
        }
    }
}

/// NaN wins in every way to combine lanes, wherever it stands; infinities and zeros of either sign are ordinary numbers.
#[test]
fn largest_and_smallest_of_special_numbers() {
    let dims = [4, 1030];
    let mut values = vec![0.25f32; dims[0] * dims[1]];
    (values[700], values[1030 + 5], values[2 * 1030 + 1029]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    values[3 * 1030..].fill(-0.0);
    let data = Data::F32(values);
    for op in [Reduce::Max, Reduce::Min] {
        let body = Body {
            loads: vec![load(0, F, view(0, &strides(&dims)))],
            iotas: vec![],
            instrs: vec![Instr::Load(0), Instr::Reduce(op, v(0))],
            stores: vec![store(1, 1, F, view(0, &[1, 0]))],
        };
        let kernel = Loop { dims: dims.to_vec(), outer: 1, reduce: 1, body };
        compare(kernel, vec![data.clone(), Data::zeros(F, dims[0])], 0.0);
    }
}

/// Rows for which a thread alone would need more iterations than llvmpipe runs.
#[test]
fn long_rows() {
    let Some([backend, _]) = super::backends() else { return };
    let dims = [301, 70_001];
    let body = Body {
        loads: vec![load(0, F, view(0, &[0, 1]))],
        iotas: vec![],
        instrs: vec![Instr::Load(0), Instr::Reduce(Reduce::Sum, v(0))],
        stores: vec![store(1, 1, F, view(0, &[1, 0]))],
    };
    let kernel = Loop { dims: dims.to_vec(), outer: 1, reduce: 1, body };
    let data = [Data::F32(vec![1.0; 70_001]), Data::zeros(F, 301)];
    let program = super::program(&[(F, 70_001), (F, 301)], &[], vec![KernelKind::Loop(kernel.clone())]);
    assert_eq!(super::run(backend, program.clone(), &data)[1].to_f64(), vec![70_001.0; 301]);
    let short = Traits { max_iterations: 100, ..backend.device.traits.clone() };
    let error = crate::codegen::lower(&kernel, "sum", &program, &short).unwrap_err();
    assert!(error.to_string().contains("longer than software GPUs can run"), "{error}");
}

/// The forms above are combined by subgroups where that is asked for and each row has a workgroup of its own, and nowhere else.
#[test]
fn when_subgroups_combine() {
    let Some([backend, _]) = super::backends() else { return };
    let plain = Traits { software: false, subgroups: Some((8, 32)), reductions: None, ..backend.device.traits.clone() };
    let forced = Traits { reductions: Some(Reductions::Subgroup), ..plain.clone() };
    let tuned = Tuning { reductions: Some(Reductions::Subgroup), ..Tuning::default() };
    let tuned = Traits { tuning: Some(Arc::new(tuned)), ..plain.clone() };
    let without = Traits { subgroups: None, ..tuned.clone() };
    let wide = Traits { subgroups: Some((64, 128)), ..forced.clone() };
    for (traits, dims, expected) in [
        (&forced, [40, 1024], true),
        (&tuned, [40, 1024], true),
        (&plain, [40, 1024], false),
        (&without, [40, 1024], false),
        // Fewer lanes than a subgroup may have threads.
        (&forced, [40, 60], false),
        (&wide, [40, 1024], false),
    ] {
        let body = Body {
            loads: vec![load(0, F, view(0, &strides(&dims)))],
            iotas: vec![],
            instrs: vec![Instr::Load(0), Instr::Reduce(Reduce::Sum, v(0))],
            stores: vec![store(1, 1, F, view(0, &[1, 0]))],
        };
        let kernel = Loop { dims: dims.to_vec(), outer: 1, reduce: 1, body };
        let sizes = [(F, dims[0] * dims[1]), (F, dims[0])];
        let program = super::program(&sizes, &[], vec![KernelKind::Loop(kernel.clone())]);
        let lowered = crate::codegen::lower(&kernel, "sum", &program, traits).unwrap();
        let [dispatch] = &lowered.dispatches[..] else { panic!("{} dispatches", lowered.dispatches.len()) };
        assert_eq!(dispatch.source.contains("subgroupAdd("), expected, "{dims:?} {traits:?}");
        assert_eq!(dispatch.workgroups == [dims[0] as u32, 1, 1], expected, "{dims:?} {traits:?}");
    }
}

/// Softmax along the reduce axes: three phases, a row-level store, point-level stores of both reductions.
#[test]
fn softmax_in_every_direction() {
    for &(dims, outer, reduce) in SHAPES {
        let len: usize = dims.iter().product();
        let all = view(0, &strides(dims));
        let point = kept(dims, |d| !(outer..outer + reduce).contains(&d));
        let points: usize = (0..dims.len()).filter(|d| !(outer..outer + reduce).contains(d)).map(|d| dims[d]).product();
        let instrs = vec![
            Instr::Load(0),
            Instr::Reduce(Reduce::Max, v(0)),
            Instr::Binary(Binary::Sub, v(0), v(1)),
            Instr::Unary(Unary::Exp, v(2)),
            Instr::Reduce(Reduce::Sum, v(3)),
            Instr::Binary(Binary::Div, v(3), v(4)),
            Instr::Unary(Unary::Sqrt, v(4)),
        ];
        for in_place in [false, true] {
            let target = usize::from(!in_place);
            let body = Body {
                loads: vec![load(0, F, all.clone())],
                iotas: vec![],
                instrs: instrs.clone(),
                stores: vec![
                    store(5, target, F, all.clone()),
                    store(1, 2, F, point.clone()),
                    store(6, 3, F, point.clone()),
                ],
            };
            let kernel = Loop { dims: dims.to_vec(), outer, reduce, body };
            let zeros = Data::zeros(F, points);
            let data = vec![numbers(F, len, -5.0, 5.0), Data::zeros(F, len), zeros.clone(), zeros];
            compare(kernel, data, 2e-5);
        }
    }
}

/// Layer-norm shape: two sums, a point-level input that is updated in place, and values reused along the row.
#[test]
fn moments_with_in_place_point_values() {
    for &(dims, outer, reduce) in SHAPES.iter().filter(|s| !s.0.contains(&0)) {
        let len: usize = dims.iter().product();
        let row: usize = dims[outer..outer + reduce].iter().product();
        let all = view(0, &strides(dims));
        let point = kept(dims, |d| !(outer..outer + reduce).contains(&d));
        let body = Body {
            loads: vec![load(0, F, all.clone()), load(1, F, point.clone())],
            iotas: vec![],
            instrs: vec![
                Instr::Load(0),
                Instr::Load(1),
                Instr::Reduce(Reduce::Sum, v(0)),
                Instr::Const(Scalar::Float(1.0 / row as f32)),
                Instr::Binary(Binary::Mul, v(2), v(3)),
                Instr::Binary(Binary::Sub, v(0), v(4)),
                Instr::Binary(Binary::Mul, v(5), v(5)),
                Instr::Reduce(Reduce::Sum, v(6)),
                Instr::Binary(Binary::Add, v(1), v(7)),
                Instr::Binary(Binary::Add, v(5), v(1)),
            ],
            stores: vec![store(8, 1, F, point), store(9, 2, F, all)],
        };
        let kernel = Loop { dims: dims.to_vec(), outer, reduce, body };
        let points = len / row;
        let data = vec![numbers(F, len, 10.0, 20.0), numbers(F, points, 30.0, 40.0), Data::zeros(F, len)];
        compare(kernel, data, 2e-5);
    }
}

/// Strided, reversed, broadcast and bounded views, with lengths that do and do not allow vectors.
#[test]
fn views() {
    for (h, w) in [(6, 8), (5, 7), (3, 12), (1, 4), (9, 1)] {
        let (hi, wi) = (h as i64, w as i64);
        let padded = |lo: i64, hi_bound: i64| View {
            offset: -2 * wi - lo,
            strides: vec![wi, 1],
            bounds: vec![(2, hi + 1), (lo, hi_bound)],
        };
        let views = [
            view(0, &[wi, 1]),
            view(0, &[1, hi]),
            view(hi * wi - 1, &[-wi, -1]),
            view((hi - 1) * wi, &[-wi, 1]),
            view(0, &[0, 1]),
            view(0, &[wi, 0]),
            view(3, &[0, 0]),
            View { offset: 0, strides: vec![wi, 1], bounds: vec![(0, hi), (0, wi - 1)] },
            View { offset: 0, strides: vec![wi, 1], bounds: vec![(1, hi), (0, 4.min(wi))] },
            View { offset: 0, strides: vec![wi, 1], bounds: vec![(2, 2), (0, wi)] },
            padded(0, wi),
            padded(1.min(wi - 1), wi),
        ];
        for dtype in [F, DType::F16, DType::BF16, DType::I32, DType::Bool] {
            for (n, seen) in views.iter().enumerate() {
                let data = numbers(dtype, (h * w).max(4), 1.0, 100.0);
                let body = Body {
                    loads: vec![load(0, dtype, seen.clone())],
                    iotas: vec![seen.clone()],
                    instrs: vec![Instr::Load(0), Instr::Iota(0)],
                    stores: vec![
                        store(0, 1, dtype, view(0, &[wi, 1])),
                        store(1, 2, DType::I32, view(0, &[1, hi])),
                        // Reversed halves: neighbours of one word are written by different threads.
                        store(0, 3, dtype, view(hi * wi - 1, &[-1, -hi])),
                    ],
                };
                let start = vec![
                    data,
                    numbers(dtype, h * w, 0.0, 1.0),
                    Data::zeros(DType::I32, h * w),
                    numbers(dtype, h * w, 0.0, 1.0),
                ];
                println!("view {n} of {h} x {w} {dtype}");
                compare(elementwise(&[h, w], body), start, 0.0);
            }
        }
    }
}

/// Half types through row reductions, column reductions and row-level stores.
#[test]
fn half_rows() {
    for dtype in [DType::F16, DType::BF16] {
        for &(dims, outer, reduce) in &SHAPES[..12] {
            let len: usize = dims.iter().product();
            let all = view(0, &strides(dims));
            let point = kept(dims, |d| !(outer..outer + reduce).contains(&d));
            let points = (0..dims.len()).filter(|d| !(outer..outer + reduce).contains(d)).map(|d| dims[d]).product();
            let body = Body {
                loads: vec![load(0, dtype, all.clone())],
                iotas: vec![],
                instrs: vec![Instr::Load(0), Instr::Reduce(Reduce::Max, v(0)), Instr::Binary(Binary::Sub, v(0), v(1))],
                stores: vec![store(2, 1, dtype, all), store(1, 2, dtype, point)],
            };
            let kernel = Loop { dims: dims.to_vec(), outer, reduce, body };
            let data = vec![numbers(dtype, len, -8.0, 8.0), Data::zeros(dtype, len), Data::zeros(dtype, points)];
            compare(kernel, data, 1e-2);
        }
    }
}

/// NaN and infinity go through maxima, sums and comparisons.
#[test]
fn wild_numbers_in_rows() {
    for width in [5, 64, 1000] {
        let mut rows = vec![vec![1.0; width]; 6];
        rows[0][width / 2] = f64::NAN;
        rows[1][width - 1] = f64::INFINITY;
        rows[2][0] = f64::NEG_INFINITY;
        rows[3][1] = f64::INFINITY;
        rows[3][3] = f64::NEG_INFINITY;
        rows[4].fill(f64::NEG_INFINITY);
        let data = Data::from_f64(F, &rows.concat());
        let at = view(0, &[1, 0]);
        let body = Body {
            loads: vec![load(0, F, view(0, &[width as i64, 1]))],
            iotas: vec![],
            instrs: vec![
                Instr::Load(0),
                Instr::Reduce(Reduce::Max, v(0)),
                Instr::Reduce(Reduce::Min, v(0)),
                Instr::Reduce(Reduce::Sum, v(0)),
                Instr::Compare(Compare::Eq, v(1), v(1)),
            ],
            stores: vec![
                store(1, 1, F, at.clone()),
                store(2, 2, F, at.clone()),
                store(3, 3, F, at.clone()),
                store(4, 4, DType::Bool, at),
            ],
        };
        let kernel = Loop { dims: vec![6, width], outer: 1, reduce: 1, body };
        let z = Data::zeros(F, 6);
        compare(kernel, vec![data, z.clone(), z.clone(), z, Data::zeros(DType::Bool, 6)], 1e-6);
    }
}

/// An optimiser's update: several buffers read and written in place.
#[test]
fn in_place_updates() {
    for len in [1000, 1003] {
        let at = view(0, &[1]);
        let body = Body {
            loads: vec![load(0, F, at.clone()), load(1, F, at.clone()), load(2, F, at.clone())],
            iotas: vec![],
            instrs: vec![
                Instr::Load(0),
                Instr::Load(1),
                Instr::Load(2),
                Instr::Const(Scalar::Float(0.9)),
                Instr::Binary(Binary::Mul, v(1), v(3)),
                Instr::Binary(Binary::Add, v(4), v(2)),
                Instr::Binary(Binary::Sub, v(0), v(5)),
            ],
            stores: vec![store(6, 0, F, at.clone()), store(5, 1, F, at)],
        };
        let data = vec![numbers(F, len, 10.0, 20.0), numbers(F, len, 1.0, 2.0), numbers(F, len, 0.0, 1.0)];
        compare(elementwise(&[len], body), data, 1e-6);
    }
}

/// More workgroups than one axis of a dispatch has.
#[test]
fn two_dimensional_grids() {
    let len = 65535 * 256 + 77;
    let Some(backends) = super::backends() else { return };
    let at = view(0, &[1]);
    let body = Body {
        loads: vec![],
        iotas: vec![at.clone()],
        instrs: vec![Instr::Iota(0)],
        stores: vec![store(0, 0, DType::I32, at)],
    };
    let kernel = ibex_core::program::KernelKind::Loop(elementwise(&[len], body));
    let program = super::program(&[(DType::I32, len)], &[], vec![kernel]);
    let Data::I32(got) = super::run(&backends[0], program, &[Data::zeros(DType::I32, len)]).remove(0) else {
        unreachable!()
    };
    assert!(got.iter().enumerate().all(|(i, &g)| g == i as i32));
}
