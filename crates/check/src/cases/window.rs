//! Convolutions and poolings with their gradients.

use crate::case::{Case, Grad};
use crate::tolerance::Class;
use ibex_core::{DType, Padding, Tensor, Window};

fn window(size: &[usize], strides: &[usize], dilation: &[usize], padding: Padding) -> Window {
    Window { size: size.to_vec(), strides: strides.to_vec(), dilation: dilation.to_vec(), padding }
}

pub(super) fn add(all: &mut Vec<Case>) {
    use Padding::{Same, Valid};
    // Name, input, kernel, strides, dilation, padding, groups.
    type Conv = (&'static str, &'static [usize], &'static [usize], &'static [usize], &'static [usize], Padding, usize);
    let convs: [Conv; 17] = [
        ("1d", &[2, 7, 3], &[3, 3, 2], &[1], &[1], Valid, 1),
        ("1d_same_stride", &[1, 8, 2], &[3, 2, 3], &[2], &[1], Same, 1),
        ("1d_dilated", &[1, 9, 2], &[3, 2, 2], &[1], &[2], Valid, 1),
        ("1d_dilated_same", &[1, 7, 1], &[3, 1, 2], &[1], &[3], Same, 1),
        ("1d_point", &[2, 5, 3], &[1, 3, 4], &[1], &[1], Valid, 1),
        ("2d", &[2, 5, 6, 2], &[3, 3, 2, 3], &[1, 1], &[1, 1], Valid, 1),
        ("2d_same", &[1, 4, 5, 2], &[3, 2, 2, 3], &[1, 1], &[1, 1], Same, 1),
        ("2d_stride", &[1, 7, 6, 2], &[3, 3, 2, 2], &[2, 3], &[1, 1], Valid, 1),
        ("2d_stride_same", &[1, 7, 6, 1], &[4, 3, 1, 2], &[3, 2], &[1, 1], Same, 1),
        ("2d_stride_over_kernel", &[1, 7, 7, 1], &[2, 1, 1, 2], &[3, 2], &[1, 1], Valid, 1),
        ("2d_dilated", &[1, 7, 6, 1], &[3, 2, 1, 2], &[1, 1], &[2, 3], Same, 1),
        ("2d_groups", &[1, 4, 4, 4], &[3, 3, 2, 6], &[1, 1], &[1, 1], Same, 2),
        ("2d_depthwise", &[2, 4, 3, 3], &[2, 2, 1, 3], &[1, 1], &[1, 1], Valid, 3),
        ("2d_depth_multiplier", &[1, 3, 3, 2], &[2, 2, 1, 4], &[1, 1], &[1, 1], Valid, 2),
        ("3d", &[1, 3, 4, 3, 2], &[2, 2, 3, 2, 2], &[1, 1, 1], &[1, 1, 1], Valid, 1),
        ("3d_stride_same", &[1, 3, 4, 5, 1], &[2, 3, 2, 1, 2], &[2, 1, 2], &[1, 1, 1], Same, 1),
        ("2d_empty_batch", &[0, 4, 4, 1], &[2, 2, 1, 2], &[1, 1], &[1, 1], Valid, 1),
    ];
    for (name, input, kernel, strides, dilation, padding, groups) in convs {
        let shape = window(&vec![1; strides.len()], strides, dilation, padding);
        let terms = kernel[..kernel.len() - 1].iter().product();
        let conv = shape.clone();
        all.push(
            Case::new(format!("conv/{name}"), move |i| vec![i.normal(input).conv(i.normal(kernel), &conv, groups)])
                .class(Class::Sum(terms))
                .grad(Grad::Second),
        );
        all.push(
            Case::new(format!("conv_grad/{name}"), move |i| {
                let (x, w) = (i.normal(input), i.normal(kernel));
                let y = x.conv(&w, &shape, groups);
                let g = i.normal(y.shape());
                let [dx, dw] = (y * g).sum(&[]).grad([&x, &w]);
                vec![dx, dw]
            })
            .class(Class::Sum(terms.max(64))),
        );
    }
    // Name, input, kernel, strides, dilation, padding, elements more at the end.
    type Transposed = (
        &'static str,
        &'static [usize],
        &'static [usize],
        &'static [usize],
        &'static [usize],
        Padding,
        Option<&'static [usize]>,
    );
    let transposed: [Transposed; 7] = [
        ("1d", &[2, 4, 3], &[3, 2, 3], &[2], &[1], Valid, None),
        ("1d_dilated_same", &[1, 5, 2], &[3, 2, 2], &[1], &[2], Same, None),
        ("2d", &[2, 3, 4, 2], &[3, 3, 3, 2], &[1, 1], &[1, 1], Valid, None),
        ("2d_stride_same", &[1, 3, 4, 2], &[3, 2, 3, 2], &[2, 3], &[1, 1], Same, None),
        ("2d_stride_over_kernel", &[1, 3, 2, 1], &[2, 1, 2, 1], &[3, 2], &[1, 1], Valid, None),
        ("2d_more", &[1, 3, 3, 2], &[3, 2, 2, 2], &[3, 2], &[1, 1], Same, Some(&[2, 0])),
        ("3d", &[1, 2, 3, 2, 2], &[2, 2, 3, 2, 2], &[1, 2, 1], &[1, 1, 1], Valid, None),
    ];
    for (name, input, kernel, strides, dilation, padding, more) in transposed {
        let shape = window(&vec![1; strides.len()], strides, dilation, padding);
        all.push(
            Case::new(format!("conv_transpose/{name}"), move |i| {
                vec![i.normal(input).conv_transpose(i.normal(kernel), &shape, more)]
            })
            .class(Class::Sum(kernel.iter().product()))
            .grad(Grad::Second),
        );
    }
    for (n, size, cin, cout) in [(3, 17, 5, 19), (2, 12, 32, 33), (1, 28, 1, 32)] {
        all.push(
            Case::new(format!("conv/large/{n}x{size}x{cin}x{cout}"), move |i| {
                let (x, w) = (i.normal([n, size, size, cin]), i.normal([3, 3, cin, cout]));
                let same = window(&[3, 3], &[1, 1], &[1, 1], Same);
                let y = (x.conv(&w, &same, 1) + i.normal([cout])).relu();
                let g = i.normal(y.shape());
                let [dx, dw] = (&y * g).sum(&[]).grad([&x, &w]);
                vec![y, dx, dw]
            })
            .class(Class::Sum(n * size * size + 9 * cin)),
        );
    }
    all.push(
        Case::new("conv/f16", |i| {
            let (x, w) = (i.typed(DType::F16, [1, 5, 5, 2], -1.0, 1.0), i.typed(DType::F16, [3, 3, 2, 3], -1.0, 1.0));
            vec![x.conv(&w, &Window::new([3, 3]), 1)]
        })
        .class(Class::Sum(18)),
    );
    all.push(
        Case::new("conv/epilogue", |i| {
            let x = i.normal([2, 5, 5, 2]);
            let y = x.conv(i.uniform([3, 3, 2, 4], -0.3, 0.3), &Window::new([3, 3]), 1);
            let scaled = (&y * i.normal([4]) + i.normal([4])).tanh();
            vec![scaled.clone(), scaled.flatten(1), y.sum(&[0, 1, 2]), scaled.permute(&[0, 3, 1, 2])]
        })
        .class(Class::Sum(64))
        .grad(Grad::First),
    );
    all.push(
        Case::new("conv/of_view", |i| {
            let x = i.normal([2, 2, 6, 5]);
            let (w, same) = (i.normal([2, 3, 3, 2]).flip(&[0, 1]), window(&[3, 3], &[1, 1], &[1, 1], Same));
            vec![x.permute(&[0, 2, 3, 1]).narrow(1, 1, 4).conv(w.permute(&[1, 2, 3, 0]).narrow(2, 0, 2), &same, 1)]
        })
        .class(Class::Sum(18))
        .grad(Grad::First),
    );

    type Pool = (&'static str, &'static [usize], &'static [usize], &'static [usize], Padding);
    let pools: [Pool; 10] = [
        ("1d", &[2, 7, 3], &[2], &[2], Valid),
        ("1d_overlap", &[1, 7, 2], &[3], &[1], Valid),
        ("1d_same", &[1, 7, 2], &[3], &[2], Same),
        ("2d", &[2, 6, 4, 2], &[2, 2], &[2, 2], Valid),
        ("2d_remainder", &[1, 7, 5, 3], &[2, 2], &[2, 2], Valid),
        ("2d_same", &[1, 5, 4, 2], &[3, 2], &[2, 2], Same),
        ("2d_gaps", &[1, 7, 7, 1], &[2, 2], &[3, 3], Valid),
        ("2d_overlap", &[1, 5, 5, 2], &[3, 3], &[1, 2], Same),
        ("3d", &[1, 4, 3, 4, 2], &[2, 2, 2], &[2, 1, 2], Same),
        ("2d_global", &[2, 4, 4, 3], &[4, 4], &[1, 1], Valid),
    ];
    for (name, input, size, strides, padding) in pools {
        let shape = window(size, strides, &vec![1; size.len()], padding);
        let terms = size.iter().product();
        type Kind = fn(&Tensor, &Window) -> Tensor;
        let kinds: [(&str, Kind, Grad); 3] = [
            ("max_pool", Tensor::max_pool, Grad::First),
            ("sum_pool", Tensor::sum_pool, Grad::Second),
            ("average_pool", Tensor::average_pool, Grad::Second),
        ];
        for (kind, pool, grad) in kinds {
            let (a, b) = (shape.clone(), shape.clone());
            all.push(
                Case::new(format!("{kind}/{name}"), move |i| vec![pool(&i.distinct(input), &a)])
                    .class(Class::Sum(terms))
                    .grad(grad),
            );
            all.push(
                Case::new(format!("{kind}_grad/{name}"), move |i| {
                    let x = i.distinct(input);
                    let y = pool(&x, &b);
                    let g = i.normal(y.shape());
                    let [dx] = (y.square() * &g).sum(&[]).grad([&x]);
                    // A gradient of the gradient pools something else than what decides.
                    let [ddg] = (&dx * i.normal(input)).sum(&[]).grad([&g]);
                    vec![dx, ddg]
                })
                .class(Class::Sum(4 * terms)),
            );
        }
    }
    all.push(
        Case::new("max_pool/ties", |i| {
            let x = i.typed(DType::I32, [2, 6, 6, 3], 0.0, 2.0).cast(DType::F32);
            let y = x.max_pool(&window(&[3, 3], &[2, 2], &[1, 1], Same));
            let [g] = (&y * i.normal(y.shape())).sum(&[]).grad([&x]);
            vec![y, g]
        })
        .class(Class::Sum(9)),
    );
    all.push(
        Case::new("max_pool/negative_same", |i| {
            // Padding must not win over negative numbers.
            vec![i.uniform([1, 3, 3, 2], -5.0, -1.0).max_pool(&window(&[2, 2], &[2, 2], &[1, 1], Same))]
        })
        .class(Class::Exact),
    );
    all.push(
        Case::new("max_pool/epilogue", |i| {
            let x = i.distinct([2, 4, 4, 3]);
            let y = x.max_pool(&window(&[2, 2], &[2, 2], &[1, 1], Valid));
            vec![(&y + i.normal([3])).tanh(), y.flatten(1)]
        })
        .grad(Grad::First),
    );
    for dtype in [DType::F16, DType::BF16] {
        all.push(
            Case::new(format!("pool/{dtype}"), move |i| {
                let x = i.typed(dtype, [1, 6, 6, 2], -2.0, 2.0);
                let shape = window(&[2, 2], &[2, 2], &[1, 1], Valid);
                vec![x.max_pool(&shape), x.sum_pool(&shape), x.average_pool(&shape)]
            })
            .class(Class::Sum(4)),
        );
    }
}
