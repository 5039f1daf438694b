//! Reductions: every function, axes in front, inside and behind, long ones.

use super::named;
use crate::case::{Case, Grad};
use crate::tolerance::Class;
use ibex_core::graph::Reduce;
use ibex_core::{DType, Tensor};

fn reduce(op: Reduce, x: &Tensor, axes: &[isize]) -> Tensor {
    match op {
        Reduce::Sum => x.sum(axes),
        Reduce::Max => x.max(axes),
        Reduce::Min => x.min(axes),
        Reduce::Prod => x.prod(axes),
    }
}

fn input(op: Reduce, shape: &[usize], i: &mut crate::Inputs) -> Tensor {
    match op {
        Reduce::Sum => i.normal(shape),
        Reduce::Prod => i.uniform(shape, 0.5, 1.5),
        Reduce::Max | Reduce::Min => i.distinct(shape),
    }
}

pub(super) fn add(all: &mut Vec<Case>) {
    let shapes: [(&[usize], &[isize]); 16] = [
        (&[], &[]),
        (&[1], &[0]),
        (&[9], &[0]),
        (&[4, 5], &[]),
        (&[4, 5], &[0]),
        (&[4, 5], &[1]),
        (&[2, 3, 4], &[1]),
        (&[2, 3, 4], &[0, 2]),
        (&[2, 3, 4], &[0, 1]),
        (&[3, 2, 2, 5], &[1, 3]),
        (&[3, 2, 2, 5], &[0, 2]),
        (&[3, 1, 4], &[1]),
        (&[2, 2, 4], &[0, 2]),
        (&[0, 3], &[0]),
        (&[3, 0], &[0]),
        (&[0], &[]),
    ];
    for &op in Reduce::ALL {
        for (shape, axes) in shapes {
            let name = format!("reduce/{}/{}/{axes:?}", op.name(), named(shape));
            let grad = if op == Reduce::Sum { Grad::Second } else { Grad::First };
            let build = move |i: &mut crate::Inputs| vec![reduce(op, &input(op, shape, i), axes)];
            all.push(Case::new(name, build).class(Class::Sum(16)).grad(grad));
        }
        for dtype in [DType::F16, DType::BF16, DType::I32, DType::U32, DType::Bool] {
            if dtype == DType::Bool && matches!(op, Reduce::Sum | Reduce::Prod) {
                continue;
            }
            let build = move |i: &mut crate::Inputs| {
                let (lo, hi) = match (op, dtype.is_float()) {
                    (Reduce::Prod, true) => (0.7, 1.4),
                    (_, true) => (-2.0, 2.0),
                    // Sums and products that wrap.
                    (Reduce::Prod, _) => (1.0, 1000.0),
                    _ => (0.0, 1e9),
                };
                let x = i.typed(dtype, [4, 13, 3], lo, hi);
                vec![
                    reduce(op, &x, &[1]),
                    reduce(op, &x, &[]),
                    reduce(op, &x, &[0, 2]),
                    reduce(op, &x.narrow(1, 0, 0), &[1]),
                ]
            };
            all.push(Case::new(format!("reduce/{}/{dtype}", op.name()), build).class(Class::Sum(256)));
        }
        // Long rows, long columns, one long row, many short rows, lengths that nothing divides.
        let long: [(&[usize], &[isize]); 7] = [
            (&[3, 4099], &[1]),
            (&[4099, 3], &[0]),
            (&[70_001], &[0]),
            (&[5000, 3], &[1]),
            (&[7, 301, 11], &[1]),
            (&[7, 301, 11], &[0, 2]),
            (&[3, 5, 64, 9], &[0, 1]),
        ];
        for (shape, axes) in long {
            let build = move |i: &mut crate::Inputs| {
                let x = if op == Reduce::Prod { i.uniform(shape, 0.98, 1.02) } else { i.normal(shape) };
                vec![reduce(op, &x, axes)]
            };
            let class = Class::Sum(axes.iter().map(|&a| shape[a as usize]).product());
            all.push(Case::new(format!("reduce/{}/long/{}/{axes:?}", op.name(), named(shape)), build).class(class));
        }
    }
    for (shape, axes) in [
        (vec![1 << 20], vec![0]),
        (vec![1 << 10, 1 << 10], vec![0]),
        (vec![1 << 10, 1 << 10], vec![1]),
        (vec![1 << 8, 1 << 12], vec![]),
    ] {
        let name = format!("reduce/sum/million/{}/{axes:?}", named(&shape));
        // Computed from a counter: a million inputs need not be uploaded.
        let build = move |_: &mut crate::Inputs| {
            let count = shape.iter().product();
            let x = (Tensor::arange(count) % 1009).cast(DType::F32) * (1.0 / 1009.0) - 0.25;
            vec![x.reshape(&shape[..]).sum(&axes)]
        };
        all.push(Case::new(name, build).class(Class::Sum(1 << 20)));
    }
    all.push(
        Case::new("reduce/of_expression", |i| {
            let (x, y) = (i.normal([6, 1, 5]), i.normal([4, 5]));
            vec![(&x * &y).tanh().sum(&[2]), (&x - &y).square().sum(&[0]), (&x + &y).sum(&[1]).exp()]
        })
        .class(Class::Sum(16))
        .grad(Grad::Second),
    );
    all.push(
        Case::new("reduce/several_of_one", |i| {
            let x = i.distinct([5, 8]);
            vec![x.sum(&[1]), x.max(&[1]), x.min(&[1]), x.mean(&[1]), x.square().sum(&[1]), x.sum(&[0]), x.sum(&[])]
        })
        .class(Class::Sum(16))
        .grad(Grad::First),
    );
    all.push(
        Case::new("reduce/of_reduce", |i| {
            let x = i.normal([3, 4, 5]);
            vec![x.sum(&[1]).square().sum(&[1]), x.sum(&[2]).max(&[0]), x.max(&[0]).sum(&[0]), x.sum(&[2]).sum(&[1])]
        })
        .class(Class::Sum(64))
        .grad(Grad::First),
    );
    all.push(
        Case::new("reduce/prod_zeros", |i| {
            let x = i.list(DType::F32, &[2.0, 0.0, 3.0, 0.0, 0.0, 5.0, 1.5, 2.0, -1.0], [3, 3]);
            vec![x.prod(&[1])]
        })
        .grad(Grad::First),
    );
    all.push(Case::new("reduce/constant", |_| {
        let x = Tensor::full([3, 5], 2.0, DType::F32);
        let big = Tensor::full([70_000], 70_000.0, DType::I32);
        vec![x.sum(&[1]), x.prod(&[0]), x.max(&[]), big.sum(&[]), Tensor::full([9], 3e9, DType::U32).sum(&[])]
    }));
    all.push(Case::new("reduce/argmax_ties", |i| {
        let x = i.typed(DType::I32, [7, 9], 0.0, 3.0);
        vec![x.argmax(0), x.argmax(1), x.cast(DType::F32).argmax(-1), i.distinct([2, 300, 3]).argmax(1)]
    }));
}
