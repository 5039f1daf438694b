//! Fused loops of all forms against a naive evaluation.

mod support;

use ibex_core::graph::{Binary, Compare, Reduce, Unary};
use ibex_core::program::{Instr, ValueId, View};
use ibex_core::{DType, Data, Scalar};
use support::{Builder, check, naive, numbers, run};

/// Row-major over the axes that `kept` names, 0 along the others.
fn view_of(dims: &[usize], kept: impl Fn(usize) -> bool) -> (View, usize) {
    let mut view = View::scalar(dims.len());
    let mut len = 1;
    for d in (0..dims.len()).rev().filter(|&d| kept(d)) {
        view.strides[d] = len as i64;
        len *= dims[d];
    }
    (view, len)
}

struct Dice(u32, u32);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        ibex_core::random::threefry([self.0, 99], [self.1, 0])[0] as usize % n
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// A view that permutes, repeats, reverses, skips and pads at random, and the elements it needs.
fn random_view(dice: &mut Dice, dims: &[usize]) -> (View, usize) {
    let mut view = View::contiguous(dims);
    let mut len: usize = dims.iter().map(|d| d.max(&1)).product();
    if dice.below(3) == 0 || dims.is_empty() {
        return (view, len.max(1));
    }
    let mut axes: Vec<usize> = (0..dims.len()).collect();
    if dice.below(3) == 0 {
        let (i, j) = (dice.below(dims.len()), dice.below(dims.len()));
        axes.swap(i, j);
    }
    len = 1;
    for &d in axes.iter().rev() {
        let step = if dice.below(5) == 0 { 2 } else { 1 };
        if dice.below(3) == 0 {
            view.strides[d] = 0;
            continue;
        }
        view.strides[d] = (len * step) as i64;
        len *= dims[d].max(1) * step;
        if dice.below(5) == 0 {
            view.offset += view.strides[d] * (dims[d].max(1) as i64 - 1);
            view.strides[d] = -view.strides[d];
        }
    }
    if dice.below(3) == 0 {
        view.bounds = dims.iter().map(|&n| (dice.below(3) as i64 - 1, n as i64 + 1 - dice.below(4) as i64)).collect();
    }
    (view, len.max(1))
}

fn random_case(seed: u32) -> support::Case {
    let dice = &mut Dice(seed, 0);
    let (outer, reduce, inside) = (dice.below(3), dice.below(3), dice.below(3));
    let inside = if reduce == 0 { 0 } else { inside };
    let rank = outer + reduce + inside;
    let mut dims: Vec<usize> = (0..rank).map(|_| dice.of(&[1, 2, 3, 4, 5, 7, 10, 16, 17, 33])).collect();
    if rank > 0 && dice.below(2) == 0 {
        let d = dice.below(rank);
        dims[d] = dice.of(&[0, 64, 100, 784, 1000, 1025, 3000, 9001, 20_000]);
    }
    while dims.iter().product::<usize>() > 120_000 {
        let d = (0..rank).max_by_key(|&d| if d % 2 == 0 { dims[d] / 8 } else { dims[d] }).unwrap();
        dims[d] = dims[d] / 2 + 1;
    }
    let mut b = Builder::default();
    // Values of type f32, and whether they are small.
    let mut floats: Vec<ValueId> = Vec::new();
    for i in 0..1 + dice.below(4) {
        let (view, len) = random_view(dice, &dims);
        let dtype = dice.of(&[DType::F32, DType::F32, DType::F32, DType::F16, DType::BF16, DType::I32, DType::Bool]);
        let data = Data::from_f64(dtype, &numbers(seed * 10 + i as u32, len));
        let id = b.buffer(data);
        let mut v = b.load(id, view);
        if !dtype.is_float() {
            v = b.push(Instr::Cast(DType::F32, v));
        }
        floats.push(v);
    }
    if dice.below(3) == 0 {
        b.body.iotas.push(random_view(dice, &dims).0);
        let iota = b.push(Instr::Iota(b.body.iotas.len() - 1));
        let x = b.push(Instr::Cast(DType::F32, iota));
        let scale = b.value(1.0 / 4096.0);
        let x = b.binary(Binary::Mul, x, scale);
        floats.push(x);
    }
    floats.push(b.value(0.5));
    let sources = floats.len();
    for _ in 0..dice.below(12) {
        let (x, y) = (dice.of(&floats), dice.of(&floats));
        let v = match dice.below(if reduce > 0 { 9 } else { 6 }) {
            0 => b.unary(Unary::Tanh, x),
            1 => b.unary(Unary::Sigmoid, x),
            2 => b.binary(Binary::Max, x, y),
            3 => {
                let sum = b.binary(Binary::Sub, x, y);
                b.unary(Unary::Tanh, sum)
            }
            4 => {
                let (p, q) = (floats[dice.below(sources)], b.value(0.25));
                let c = b.push(Instr::Compare(dice.of(Compare::ALL), p, q));
                b.push(Instr::Select(c, x, y))
            }
            5 => {
                let x = b.unary(Unary::Tanh, x);
                b.binary(Binary::Mul, x, y)
            }
            _ => {
                let r = b.reduce(dice.of(&[Reduce::Sum, Reduce::Sum, Reduce::Max, Reduce::Min]), x);
                b.unary(Unary::Tanh, r)
            }
        };
        floats.push(v);
    }
    if reduce > 0 {
        let x = dice.of(&floats);
        floats.push(b.reduce(Reduce::Sum, x));
    }
    let count = 1 + dice.below(3);
    for i in 0..count {
        let v = if i == 0 { floats[floats.len() - 1] } else { dice.of(&floats) };
        let k = ibex_core::program::Loop { dims: dims.clone(), outer, reduce, body: b.body.clone() };
        let row = reduce == 0 || k.row_level()[v.0];
        let (mut view, mut len) = view_of(&dims, |d| row || d < outer || d >= outer + reduce);
        if dice.below(4) == 0 {
            view.strides.iter_mut().for_each(|s| *s *= 3);
            view.offset = 1;
            len = len * 3 + 1;
        }
        b.store(v, dice.of(&[DType::F32, DType::F32, DType::F16, DType::BF16]), len, view);
    }
    b.done(&dims, outer, reduce)
}

#[test]
fn random_loops() {
    for seed in 0..1500 {
        let case = random_case(seed);
        check(&case, &format!("seed {seed}, dims {:?}, {} outer, {} reduce", case.k.dims, case.k.outer, case.k.reduce));
    }
}

/// Softmax over `reduce`, stored row by row, with the row's logarithm of the sum stored point by point.
fn softmax(dims: &[usize], outer: usize, reduce: usize) -> support::Case {
    let mut b = Builder::default();
    let (all, len) = view_of(dims, |_| true);
    let (point, points) = view_of(dims, |d| d < outer || d >= outer + reduce);
    let x = b.buffer(Data::from_f64(DType::F32, &numbers(3, len)));
    let x = b.load(x, all.clone());
    let max = b.reduce(Reduce::Max, x);
    let shifted = b.binary(Binary::Sub, x, max);
    let e = b.unary(Unary::Exp, shifted);
    let sum = b.reduce(Reduce::Sum, e);
    let y = b.binary(Binary::Div, e, sum);
    let log = b.unary(Unary::Log, sum);
    b.store(y, DType::F32, len, all);
    b.store(log, DType::F32, points, point);
    b.done(dims, outer, reduce)
}

#[test]
fn softmax_of_all_forms() {
    for (dims, outer, reduce) in [
        (vec![128, 10], 1, 1),
        (vec![64, 1000], 1, 1),
        (vec![3, 20_000], 1, 1),
        (vec![50_000], 0, 1),
        (vec![10, 4096], 0, 1),
        (vec![20_000, 32], 0, 1),
        (vec![4, 5, 3000], 1, 1),
        (vec![300, 3, 2], 1, 1),
        (vec![7, 3000, 5, 3], 1, 2),
        (vec![1, 1], 1, 1),
        (vec![0, 5], 1, 1),
    ] {
        check(&softmax(&dims, outer, reduce), &format!("softmax {dims:?}"));
    }
}

/// Empty rows have results, and empty outputs have none.
#[test]
fn empty_reductions() {
    for (op, want) in
        [(Reduce::Sum, 0.0), (Reduce::Prod, 1.0), (Reduce::Max, f64::NEG_INFINITY), (Reduce::Min, f64::INFINITY)]
    {
        for dims in [vec![3, 0], vec![3, 0, 4]] {
            let mut b = Builder::default();
            let (view, _) = view_of(&dims, |_| true);
            let x = b.buffer(Data::zeros(DType::F32, 0));
            let x = b.load(x, view);
            let r = b.reduce(op, x);
            let (view, len) = view_of(&dims, |d| d != 1);
            b.store(r, DType::F32, len, view);
            let out = run(&b.done(&dims, 1, 1)).pop().unwrap();
            assert_eq!(out.to_f64(), vec![want; len]);
        }
    }
}

#[test]
fn integer_and_bool_reductions() {
    for dims in [vec![5, 700], vec![2, 9001], vec![2, 300, 7], vec![1, 5000, 40]] {
        for dtype in [DType::I32, DType::U32, DType::Bool] {
            for &op in Reduce::ALL {
                if dtype == DType::Bool && matches!(op, Reduce::Sum | Reduce::Prod) {
                    continue;
                }
                let mut b = Builder::default();
                let (view, len) = view_of(&dims, |_| true);
                let scale = if dtype == DType::I32 { 1e9 } else { 1.5e9 };
                let x: Vec<f64> = numbers(8, len)
                    .iter()
                    .map(|x| (x.abs() * scale).trunc() * if dtype == DType::I32 { x.signum() } else { 1.0 })
                    .collect();
                let x = b.buffer(Data::from_f64(dtype, &x));
                let x = b.load(x, view);
                let r = b.reduce(op, x);
                let (view, len) = view_of(&dims, |d| d != 1);
                b.store(r, dtype, len, view);
                check(&b.done(&dims, 1, 1), &format!("{} of {dtype}", op.name()));
            }
        }
    }
}

/// Max and min of a row with one NaN are NaN, wherever it stands.
#[test]
fn nan_in_reductions() {
    for n in [3, 70, 1000, 30_000] {
        for at in [0, n / 2, n - 1] {
            for op in [Reduce::Max, Reduce::Min, Reduce::Sum] {
                for inside in [1, 6] {
                    let dims = [n, inside];
                    let mut x = vec![1.0; n * inside];
                    x[at * inside] = f64::NAN;
                    let mut b = Builder::default();
                    let x = b.buffer(Data::from_f64(DType::F32, &x));
                    let x = b.load(x, View::contiguous(&dims));
                    let r = b.reduce(op, x);
                    b.store(r, DType::F32, inside, view_of(&dims, |d| d == 1).0);
                    let out = run(&b.done(&dims, 0, 1)).pop().unwrap().to_f64();
                    assert!(out[0].is_nan() && out[1..].iter().all(|x| !x.is_nan()));
                }
            }
        }
    }
}

#[test]
fn sums_are_accurate() {
    let n = 1 << 24;
    let mut b = Builder::default();
    let x = b.buffer(Data::F32(vec![1.0; n]));
    let x = b.load(x, View::contiguous(&[n]));
    let r = b.reduce(Reduce::Sum, x);
    b.store(r, DType::F32, 1, View::scalar(1));
    assert_eq!(run(&b.done(&[n], 0, 1)).pop().unwrap(), Data::F32(vec![n as f32]));

    let (rows, cols) = (1 << 18, 3);
    let x: Vec<f64> = numbers(4, rows * cols).iter().map(|x| x.abs() + 1.0).collect();
    let mut b = Builder::default();
    let x = b.buffer(Data::from_f64(DType::F32, &x));
    let x = b.load(x, View::contiguous(&[rows, cols]));
    let r = b.reduce(Reduce::Sum, x);
    b.store(r, DType::F32, cols, view_of(&[rows, cols], |d| d == 1).0);
    let case = b.done(&[rows, cols], 0, 1);
    let (got, want) = (run(&case), naive(&case));
    for (g, w) in got[1].to_f64().iter().zip(&want[1]) {
        assert!((g - w).abs() / w < 2e-7, "{g} {w}");
    }
}

/// An optimizer's update: buffers that are read and written, scalars, and a step counter.
#[test]
fn updates_in_place() {
    for n in [1, 7, 1024, 5000, 100_000] {
        let mut b = Builder::default();
        let view = View::contiguous(&[n]);
        let [p, m, g] = [1, 2, 3].map(|s| b.buffer(Data::from_f64(DType::F32, &numbers(s, n))));
        let rate = b.buffer(Data::F32(vec![0.125]));
        let (pv, mv, gv) = (b.load(p, view.clone()), b.load(m, view.clone()), b.load(g, view.clone()));
        let rate = b.load(rate, View::scalar(1));
        let beta = b.value(0.9);
        let decayed = b.binary(Binary::Mul, mv, beta);
        let moved = b.binary(Binary::Add, decayed, gv);
        let step = b.binary(Binary::Mul, moved, rate);
        let new = b.binary(Binary::Sub, pv, step);
        // Reads the old momentum after the new one is known.
        let change = b.binary(Binary::Sub, moved, mv);
        b.store_to(moved, m, view.clone());
        b.store_to(new, p, view.clone());
        b.store(change, DType::F32, n, view);
        check(&b.done(&[n], 1, 0), "update");
    }
    // Rows overwritten by a value that is needed again in a later sweep, and a total that is added to.
    for n in [100, 50_000] {
        let mut b = Builder::default();
        let view = View::contiguous(&[n]);
        let x = b.buffer(Data::from_f64(DType::F32, &numbers(5, n)));
        let total = b.buffer(Data::F32(vec![3.0]));
        let xv = b.load(x, view.clone());
        let old = b.load(total, View::scalar(1));
        let doubled = b.binary(Binary::Add, xv, xv);
        let sum = b.reduce(Reduce::Max, doubled);
        let rest = b.binary(Binary::Sub, doubled, sum);
        let again = b.reduce(Reduce::Sum, rest);
        let new = b.binary(Binary::Add, old, again);
        b.store_to(doubled, x, view.clone());
        b.store(rest, DType::F32, n, view);
        b.store_to(new, total, View::scalar(1));
        check(&b.done(&[n], 0, 1), "sweep in place");
    }
}

#[test]
fn random_bits_and_integers() {
    for n in [1, 100, 5000] {
        let mut b = Builder::default();
        let key = b.buffer(Data::U32(vec![5, 6]));
        let at = |offset| View { offset, ..View::scalar(1) };
        let (k0, k1) = (b.load(key, at(0)), b.load(key, at(1)));
        b.body.iotas.push(View::contiguous(&[n]));
        let i = b.push(Instr::Iota(0));
        let counter = b.push(Instr::Cast(DType::U32, i));
        let bits = b.push(Instr::Threefry([k0, k1], counter, 9));
        let mask = b.push(Instr::Const(Scalar::Uint(255)));
        let low = b.binary(Binary::And, bits, mask);
        let odd = b.push(Instr::Compare(Compare::Gt, low, mask));
        let not = b.unary(Unary::Not, odd);
        b.store(bits, DType::U32, n, View::contiguous(&[n]));
        b.store(low, DType::U32, n, View { offset: n as i64 - 1, strides: vec![-1], bounds: vec![] });
        b.store(not, DType::Bool, n, View::contiguous(&[n]));
        check(&b.done(&[n], 1, 0), "random bits");
    }
}

#[test]
fn the_same_result_every_time() {
    let case = softmax(&[200_000], 0, 1);
    let first = run(&case);
    for _ in 0..5 {
        assert_eq!(run(&case), first);
    }
}
