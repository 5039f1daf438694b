//! Matrix products: sizes, layouts, batches, what is fused behind them.

use super::named;
use crate::case::{Case, Grad};
use crate::tolerance::Class;
use ibex_core::{DType, Tensor};

pub(super) fn add(all: &mut Vec<Case>) {
    let shapes: [(&[usize], &[usize]); 22] = [
        (&[1, 1], &[1, 1]),
        (&[2, 3], &[3, 4]),
        (&[5, 1], &[1, 7]),
        (&[1, 6], &[6, 1]),
        (&[3], &[3]),
        (&[3], &[3, 2]),
        (&[2, 3], &[3]),
        (&[2, 4, 3], &[3]),
        (&[4], &[2, 4, 3]),
        (&[2, 3, 4], &[4, 5]),
        (&[3, 4], &[2, 4, 5]),
        (&[2, 3, 4], &[2, 4, 5]),
        (&[2, 1, 3, 4], &[3, 4, 2]),
        (&[1, 3, 4], &[2, 4, 5]),
        (&[2, 2, 3, 4], &[1, 2, 4, 3]),
        (&[2, 0], &[0, 3]),
        (&[0, 2], &[2, 3]),
        (&[2, 3], &[3, 0]),
        (&[2, 2, 0], &[2, 0, 3]),
        (&[33, 17], &[17, 65]),
        (&[130, 70], &[70, 129]),
        (&[3, 600], &[600, 2]),
    ];
    for (a, b) in shapes {
        let small = a.iter().chain(b).product::<usize>() <= 600;
        let k = *a.last().unwrap_or(&1);
        all.push(
            Case::new(format!("matmul/{}_{}", named(a), named(b)), move |i| vec![i.normal(a).matmul(i.normal(b))])
                .class(Class::Sum(k))
                .grad(if small { Grad::Second } else { Grad::None }),
        );
    }
    for dtype in [DType::F16, DType::BF16] {
        all.push(
            Case::new(format!("matmul/{dtype}"), move |i| {
                let (a, b) = (i.typed(dtype, [9, 20], -1.0, 1.0), i.typed(dtype, [20, 7], -1.0, 1.0));
                vec![a.matmul(&b), a.matmul(&b).tanh() + 1.0, a.cast(DType::F32).matmul(b.cast(DType::F32))]
            })
            .class(Class::Sum(20)),
        );
    }
    // Operands that are views: some a kernel can read where they lie, some it can not.
    type Views = fn(&Tensor, &Tensor) -> Tensor;
    let views: [(&str, Views); 14] = [
        ("nt", |a, b| a.matmul(b.reshape([6, 4]).t())),
        ("tn", |a, b| a.reshape([4, 5]).t().matmul(b)),
        ("tt", |a, b| a.reshape([4, 5]).t().matmul(b.reshape([6, 4]).t())),
        ("sliced", |a, b| a.slice(&[1, 1], &[3, 3]).matmul(b.slice(&[0, 2], &[3, 3]))),
        ("sliced_rows", |a, b| a.narrow(0, 2, 2).matmul(b)),
        ("sliced_transposed", |a, b| a.narrow(0, 1, 4).t().matmul(b.narrow(1, 1, 4))),
        ("padded", |a, b| a.pad(&[(1, 0), (0, 2)]).matmul(b.pad(&[(2, 0), (0, 1)]))),
        ("flipped", |a, b| a.flip(&[1]).matmul(b.flip(&[0]))),
        ("broadcast", |a, b| a.narrow(0, 0, 1).broadcast_to([3, 4]).matmul(b.narrow(1, 0, 1).broadcast_to([4, 3]))),
        ("reshaped", |a, b| a.t().reshape([5, 4]).matmul(b.t().reshape([4, 6]))),
        ("batch_of_slices", |a, b| {
            a.reshape([1, 5, 4]).broadcast_to([2, 5, 4]).matmul(b.reshape([4, 2, 3]).permute(&[1, 0, 2]))
        }),
        ("expressions", |a, b| a.exp().matmul(b + 1.0)),
        ("shared", |a, _| a.matmul(a.t())),
        ("column", |a, b| a.narrow(1, 2, 1).t().matmul(a.narrow(1, 1, 1)).matmul(b.narrow(0, 1, 1))),
    ];
    for (name, view) in views {
        all.push(
            Case::new(format!("matmul/view/{name}"), move |i| vec![view(&i.normal([5, 4]), &i.normal([4, 6]))])
                .class(Class::Sum(6))
                .grad(Grad::Second),
        );
    }
    type Epilogue = fn(Tensor, &Tensor, &Tensor) -> Vec<Tensor>;
    let epilogues: [(&str, Epilogue); 10] = [
        ("bias_relu", |y, bias, _| vec![(y + bias).relu()]),
        ("bias_tanh_residual", |y, bias, r| vec![(y + bias).tanh() + r]),
        ("column_bias", |y, _, r| vec![y + r.narrow(1, 0, 1)]),
        ("also_raw", |y, bias, _| vec![(&y + bias).exp(), y]),
        ("two_users", |y, bias, r| vec![&y * bias, y.sigmoid() * r]),
        ("transposed_user", |y, _, r| vec![y.t() + r.t()]),
        ("reduced", |y, bias, _| vec![(y + bias).softmax(-1)]),
        ("reshaped", |y, _, r| vec![(y.reshape([35]) + r.reshape([35])).sin()]),
        ("sliced", |y, _, r| vec![y.narrow(0, 1, 3) * r.narrow(0, 1, 3)]),
        ("padded", |y, _, _| vec![(y + 1.0).pad(&[(1, 1), (0, 1)])]),
    ];
    for (name, epilogue) in epilogues {
        all.push(
            Case::new(format!("matmul/epilogue/{name}"), move |i| {
                let y = i.uniform([5, 4], -1.0, 1.0).matmul(i.uniform([4, 7], -1.0, 1.0));
                epilogue(y, &i.normal([7]), &i.normal([5, 7]))
            })
            .class(Class::Sum(16))
            .grad(Grad::First),
        );
    }
    all.push(
        Case::new("matmul/chain", |i| {
            let (a, b, c) = (i.normal([3, 4]), i.normal([4, 5]), i.normal([5, 3]));
            vec![a.matmul(&b).relu().matmul(&c), a.matmul(b.matmul(&c))]
        })
        .class(Class::Sum(64))
        .grad(Grad::First),
    );
    all.push(
        Case::new("matmul/attention", |i| {
            let (q, k, v) = (i.normal([2, 3, 5, 4]), i.normal([2, 3, 6, 4]), i.normal([2, 3, 6, 4]));
            vec![(q.matmul(k.t()) * 0.5).softmax(-1).matmul(&v).permute(&[0, 2, 1, 3]).reshape([2, 5, 12])]
        })
        .class(Class::Sum(64))
        .grad(Grad::First),
    );
}
