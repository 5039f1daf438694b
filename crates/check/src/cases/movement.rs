//! Views, and views of views.

use crate::case::{Case, Grad};
use crate::tolerance::Class;
use ibex_core::{DType, Tensor};

type View = fn(&Tensor) -> Tensor;

pub(super) fn add(all: &mut Vec<Case>) {
    // Each takes a tensor of shape (3, 4, 5).
    let views: [(&str, View); 34] = [
        ("reshape", |x| x.reshape([5, 12])),
        ("reshape_flat", |x| x.flatten(0)),
        ("reshape_split", |x| x.reshape([3, 2, 2, 5])),
        ("unsqueeze", |x| x.unsqueeze(1).unsqueeze(-1)),
        ("permute", |x| x.permute(&[2, 0, 1])),
        ("transpose", |x| x.t()),
        ("broadcast", |x| x.unsqueeze(0).broadcast_to([2, 3, 4, 5])),
        ("broadcast_inside", |x| x.unsqueeze(2).broadcast_to([3, 4, 3, 5])),
        ("broadcast_last", |x| x.unsqueeze(-1).broadcast_to([3, 4, 5, 2])),
        ("slice", |x| x.slice(&[1, 0, 2], &[2, 3, 2])),
        ("slice_empty", |x| x.slice(&[1, 4, 2], &[2, 0, 2])),
        ("index", |x| x.index(1, 2)),
        ("pad", |x| x.pad(&[(1, 0), (0, 2), (3, 1)])),
        ("pad_pad", |x| x.pad(&[(1, 0), (0, 2), (0, 0)]).pad(&[(0, 1), (2, 0), (1, 1)])),
        ("flip", |x| x.flip(&[0, -1])),
        ("flip_flip", |x| x.flip(&[0]).flip(&[0, 1])),
        ("permute_reshape", |x| x.permute(&[1, 0, 2]).reshape([6, 10])),
        ("permute_flatten", |x| x.permute(&[2, 1, 0]).flatten(0)),
        ("reshape_permute_reshape", |x| x.reshape([6, 2, 5]).permute(&[1, 0, 2]).reshape([12, 5])),
        ("split_awkward", |x| x.reshape([12, 5]).t().reshape([4, 15])),
        ("slice_of_permute", |x| x.permute(&[2, 0, 1]).slice(&[1, 1, 1], &[3, 2, 2])),
        ("slice_of_pad", |x| x.pad(&[(1, 1), (1, 1), (1, 1)]).slice(&[0, 2, 1], &[4, 4, 3])),
        ("slice_of_permute_of_pad", |x| {
            x.pad(&[(2, 0), (0, 1), (1, 1)]).permute(&[1, 2, 0]).slice(&[1, 0, 1], &[4, 6, 3])
        }),
        ("pad_of_slice", |x| x.slice(&[1, 1, 1], &[2, 2, 3]).pad(&[(0, 1), (2, 0), (1, 1)])),
        ("pad_of_flip", |x| x.flip(&[2]).pad(&[(0, 0), (1, 0), (2, 2)])),
        ("flip_of_pad", |x| x.pad(&[(0, 2), (1, 0), (0, 1)]).flip(&[0, 2])),
        ("reshape_of_pad", |x| x.pad(&[(0, 0), (1, 1), (0, 1)]).reshape([6, 18])),
        ("pad_of_reshape", |x| x.reshape([15, 4]).pad(&[(1, 2), (1, 1)])),
        ("flatten_of_slice", |x| x.slice(&[0, 1, 1], &[3, 2, 3]).flatten(0)),
        ("reshape_of_broadcast", |x| x.unsqueeze(1).broadcast_to([3, 2, 4, 5]).reshape([6, 20])),
        ("broadcast_of_slice", |x| x.narrow(1, 2, 1).broadcast_to([3, 6, 5])),
        ("reshape_of_flip", |x| x.flip(&[1]).reshape([3, 20])),
        ("reshape_of_reshape_of_permute", |x| x.permute(&[1, 2, 0]).reshape([2, 10, 3]).reshape([20, 3]).t()),
        ("deep", |x| {
            x.pad(&[(1, 1), (0, 0), (0, 0)])
                .flip(&[0, 2])
                .permute(&[2, 0, 1])
                .slice(&[0, 1, 0], &[5, 3, 4])
                .reshape([5, 12])
                .pad(&[(0, 0), (2, 2)])
        }),
    ];
    for (name, view) in views {
        let f32_case = Case::new(format!("movement/{name}/f32"), move |i| vec![view(&i.normal([3, 4, 5]))]);
        all.push(f32_case.class(Class::Exact).grad(Grad::First));
        for dtype in [DType::F16, DType::I32, DType::Bool] {
            let case = Case::new(format!("movement/{name}/{dtype}"), move |i| {
                vec![view(&i.typed(dtype, [3, 4, 5], -9.0, 9.0))]
            });
            all.push(case.class(Class::Exact));
        }
        // Fused with what comes before (which is not zero at zero) and behind, and read by a reduction.
        all.push(
            Case::new(format!("movement/{name}/fused"), move |i| {
                let x = i.uniform([3, 4, 5], 0.5, 2.0);
                let y = view(&(x.log() + 1.0));
                vec![y.exp(), y.sum(&[-1]), y.sum(&[0])]
            })
            .class(Class::Sum(8))
            .grad(Grad::Second),
        );
    }
    all.push(
        Case::new("movement/concat", |i| {
            let (a, b, c) = (i.normal([2, 3]), i.normal([2, 1]), i.normal([2, 0]));
            let d = i.normal([4, 3]);
            vec![
                Tensor::concat(&[a.clone(), b.clone(), c], 1),
                Tensor::concat(&[a.clone(), d], 0),
                Tensor::concat(std::slice::from_ref(&a), 0),
                Tensor::stack(&[a.clone(), a.exp(), a.neg()], 1),
                Tensor::stack(&[b.clone(), b], -1),
            ]
        })
        .grad(Grad::First),
    );
    all.push(Case::new("movement/concat_nan", |i| {
        let a = i.list(DType::F32, &[f64::NAN, f64::INFINITY, -0.0], [3]);
        let b = i.list(DType::F32, &[1.0, f64::NEG_INFINITY], [2]);
        vec![Tensor::concat(&[a.clone(), b.clone()], 0), Tensor::concat(&[a.recip(), b.log()], 0)]
    }));
    for dtype in [DType::I32, DType::U32, DType::Bool, DType::BF16] {
        all.push(Case::new(format!("movement/concat/{dtype}"), move |i| {
            let (a, b) = (i.typed(dtype, [2, 3], 0.0, 9.0), i.typed(dtype, [2, 2], 0.0, 9.0));
            vec![Tensor::concat(&[b, a], 1)]
        }));
    }
    all.push(
        Case::new("movement/concat_many", |i| {
            let parts: Vec<Tensor> = (0..12).map(|k| i.normal([3, k + 1])).collect();
            let all = Tensor::concat(&parts, 1);
            vec![all.tanh(), all.sum(&[1])]
        })
        .class(Class::Sum(78))
        .grad(Grad::First),
    );
    all.push(
        Case::new("movement/concat_then_slice", |i| {
            let (a, b) = (i.normal([3, 4]), i.normal([3, 2]));
            let joined = Tensor::concat(&[a.exp(), b], 1);
            vec![joined.narrow(1, 1, 2), joined.narrow(1, 3, 3), joined.narrow(1, 4, 2).square(), joined.t()]
        })
        .grad(Grad::Second),
    );
    all.push(
        Case::new("movement/same_input_many_views", |i| {
            let x = i.normal([6, 6]);
            vec![&x + x.t(), &x * x.flip(&[0]), x.narrow(0, 0, 3) - x.narrow(0, 3, 3), x.t().sum(&[1]) + x.sum(&[1])]
        })
        .class(Class::Sum(6))
        .grad(Grad::Second),
    );
    all.push(Case::new("movement/iota", |i| {
        let x = i.normal([4, 6]);
        let index = Tensor::iota([4, 6], 1);
        let wide = Tensor::iota([2, 3, 4], -2);
        vec![
            index.clone(),
            Tensor::iota([1], 0),
            Tensor::arange(0),
            wide.permute(&[2, 1, 0]).reshape([6, 4]),
            Tensor::arange(24).reshape([2, 3, 4]).flip(&[1]).pad(&[(0, 0), (1, 0), (0, 2)]),
            (index.pad(&[(1, 0), (0, 1)]) + 1).narrow(0, 0, 4),
            index.cast(DType::F32) * x,
            Tensor::eye(5),
        ]
    }));
    all.push(Case::new("movement/lower_triangle", |i| vec![i.normal([2, 4, 4]).lower_triangle()]).grad(Grad::First));
    all.push(Case::new("movement/outputs", |i| {
        let x = i.normal([3, 4]);
        let y = x.exp();
        // One value handed out several times, under several shapes, and an input itself.
        vec![y.clone(), y.clone(), y.reshape([12]), x.clone(), x.reshape([4, 3]), y.sum(&[]), x.t()]
    }));
    all.push(Case::new("movement/constants", |_| {
        let half = Tensor::full([2, 3], 0.5, DType::F32);
        vec![
            half.clone(),
            half.exp(),
            half.pad(&[(1, 0), (0, 1)]),
            half.t(),
            Tensor::zeros([0, 2], DType::I32),
            Tensor::ones([], DType::Bool),
        ]
    }));
}
