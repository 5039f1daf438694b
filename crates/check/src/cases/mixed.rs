//! Mixed precision: contractions, windows, reductions and whole steps whose tensors are stored as `f16` or `bf16`, with casts around them.

use super::composed::{cross_entropy, layer_norm};
use crate::case::{Build, Case};
use crate::inputs::Inputs;
use crate::tolerance::Class;
use ibex_core::{DType, Padding, Tensor, Window};

fn window(size: [usize; 2], strides: [usize; 2], padding: Padding) -> Window {
    Window { strides: strides.to_vec(), padding, ..Window::new(size) }
}

/// Gradients of the sum of `y * weight` as a layer has them: `y` narrow, the loss `f32`.
fn with_gradients<const N: usize>(y: &Tensor, weight: &Tensor, at: [&Tensor; N]) -> Vec<Tensor> {
    let loss = (y.cast(DType::F32) * weight).sum(&[]);
    [vec![y.clone()], loss.grad(at).to_vec()].concat()
}

pub(super) fn add(all: &mut Vec<Case>) {
    for dtype in [DType::F16, DType::BF16] {
        let mut case = |name: &str, terms: usize, build: Box<Build>| {
            all.push(Case::new(format!("mixed/{name}/{dtype}"), build).class(Class::Through(dtype, terms)));
        };
        // Matrix products: layouts, batches, tiles, views, what follows.
        type Product = fn(&Tensor, &Tensor) -> Tensor;
        let products: [(&str, [usize; 2], [usize; 2], Product); 8] = [
            ("nn", [9, 20], [20, 7], |a, b| a.matmul(b)),
            ("nt", [9, 20], [7, 20], |a, b| a.matmul(b.t())),
            ("tn", [20, 9], [20, 7], |a, b| a.t().matmul(b)),
            ("tt", [20, 9], [7, 20], |a, b| a.t().matmul(b.t())),
            ("tiles", [130, 70], [70, 129], |a, b| a.matmul(b)),
            ("row", [1, 40], [40, 33], |a, b| a.matmul(b)),
            ("sliced", [9, 20], [20, 7], |a, b| a.narrow(0, 1, 5).matmul(b.narrow(1, 1, 5))),
            ("batch", [8, 6], [12, 5], |a, b| a.reshape([2, 4, 6]).matmul(b.reshape([2, 6, 5]))),
        ];
        for (name, a, b, product) in products {
            let build = move |i: &mut Inputs| {
                let (a, b) = (i.uniform(a, -1.0, 1.0), i.uniform(b, -1.0, 1.0));
                let y = product(&a.cast(dtype), &b.cast(dtype));
                let weight = i.uniform(y.shape(), -1.0, 1.0);
                with_gradients(&y, &weight, [&a, &b])
            };
            case(&format!("matmul/{name}"), 256, Box::new(build));
        }
        type Epilogue = fn(Tensor, &Tensor, &Tensor) -> Vec<Tensor>;
        let epilogues: [(&str, Epilogue); 7] = [
            ("bias_relu", |y, bias, _| vec![(y + bias).relu()]),
            ("also_raw", |y, bias, _| vec![(&y + bias).tanh(), y]),
            ("residual", |y, bias, r| vec![(y + bias).gelu() + r]),
            ("widened", |y, bias, r| vec![(y + bias).cast(DType::F32) * 3.0 - r.cast(DType::F32)]),
            ("both_widths", |y, bias, _| vec![y.cast(DType::F32).exp(), (y + bias).sigmoid()]),
            ("softmax", |y, bias, _| vec![(&y + bias).softmax(-1), (y + bias).log_softmax(-1)]),
            ("transposed", |y, _, r| vec![y.t() + r.t()]),
        ];
        for (name, epilogue) in epilogues {
            let build = move |i: &mut Inputs| {
                let mut make = |shape: &[usize]| i.typed(dtype, shape, -1.0, 1.0);
                let y = make(&[5, 16]).matmul(make(&[16, 7]));
                epilogue(y, &make(&[7]), &make(&[5, 7]))
            };
            case(&format!("epilogue/{name}"), 64, Box::new(build));
        }

        // Convolutions, poolings, and their gradients. Name, input, kernel, strides, padding, groups.
        type Conv = (&'static str, [usize; 4], [usize; 4], [usize; 2], Padding, usize);
        let convs: [Conv; 7] = [
            ("valid", [2, 6, 5, 3], [3, 3, 3, 4], [1, 1], Padding::Valid, 1),
            ("same_stride", [2, 7, 6, 2], [3, 2, 2, 5], [2, 2], Padding::Same, 1),
            ("point", [2, 4, 3, 5], [1, 1, 5, 4], [1, 1], Padding::Valid, 1),
            ("groups", [1, 5, 4, 4], [3, 3, 2, 6], [1, 1], Padding::Same, 2),
            ("depthwise", [2, 5, 4, 3], [3, 3, 1, 3], [1, 1], Padding::Same, 3),
            ("one_channel", [3, 12, 12, 1], [3, 3, 1, 16], [1, 1], Padding::Valid, 1),
            ("large", [2, 14, 14, 16], [3, 3, 16, 24], [1, 1], Padding::Same, 1),
        ];
        for (name, input, kernel, strides, padding, groups) in convs {
            let build = move |i: &mut Inputs| {
                let (x, w) = (i.uniform(input, -1.0, 1.0), i.uniform(kernel, -0.5, 0.5));
                let bias = i.uniform([kernel[3]], -1.0, 1.0);
                let at = window([kernel[0], kernel[1]], strides, padding);
                let y = (x.cast(dtype).conv(w.cast(dtype), &at, groups) + bias.cast(dtype)).tanh();
                let weight = i.uniform(y.shape(), -1.0, 1.0);
                with_gradients(&y, &weight, [&x, &w, &bias])
            };
            case(&format!("conv/{name}"), 512, Box::new(build));
        }
        for (name, size, strides, padding) in [
            ("side_by_side", [2, 2], [2, 2], Padding::Valid),
            ("overlap", [3, 2], [1, 2], Padding::Same),
            ("gaps", [2, 2], [3, 3], Padding::Valid),
        ] {
            let build = move |i: &mut Inputs| {
                // Small whole numbers, so that rounding makes no ties.
                let (x, at) = ((i.distinct([2, 7, 6, 2]) * 64.0), window(size, strides, padding));
                let [largest, mean] = [x.cast(dtype).max_pool(&at), (&x * 0.01).cast(dtype).average_pool(&at)];
                let weight = i.uniform(mean.shape(), -1.0, 1.0);
                [with_gradients(&largest, &weight, [&x]), with_gradients(&mean, &weight, [&x])].concat()
            };
            case(&format!("pool/{name}"), 9, Box::new(build));
        }

        // Rows, normalisation, the recurrence: `f32` inside.
        case(
            "embedding",
            64,
            Box::new(move |i| {
                let (table, at) = (i.uniform([7, 5], -1.0, 1.0), i.typed(DType::I32, [4, 3], 0.0, 6.0));
                let weight = i.uniform([4, 3, 5], -1.0, 1.0);
                let rounded = with_gradients(&table.gather(&at).cast(dtype), &weight, [&table]);
                [rounded, with_gradients(&table.cast(dtype).gather(&at), &weight, [&table])].concat()
            }),
        );
        case(
            "norm",
            64,
            Box::new(move |i| {
                let (x, gain, bias) = (i.typed(dtype, [6, 8], -2.0, 2.0), i.normal([8]), i.normal([8]));
                let y = layer_norm(&x.cast(DType::F32), &gain, &bias).cast(dtype);
                let weight = i.uniform([6, 8], -1.0, 1.0);
                with_gradients(&y, &weight, [&x, &gain, &bias])
            }),
        );
        case(
            "lstm",
            256,
            Box::new(move |i| {
                let (x, w, r) =
                    (i.uniform([3, 4, 5], -1.0, 1.0), i.uniform([5, 12], -0.5, 0.5), i.uniform([3, 12], -0.5, 0.5));
                let zero = Tensor::zeros([3, 3], DType::F32);
                let [h, _] = x.cast(dtype).matmul(w.cast(dtype)).cast(DType::F32).lstm(&r, &zero, &zero);
                let weight = i.uniform([3, 4, 3], -1.0, 1.0);
                with_gradients(&h.cast(dtype), &weight, [&x, &w, &r])
            }),
        );
        // The sums are beyond the range of `f16`, their means are not.
        case(
            "moments",
            1,
            Box::new(move |i| {
                let x = i.typed(dtype, [3, 4096], 90.0, 110.0);
                let [mean, variance] = x.moments_keep(&[-1]);
                vec![x.mean(&[-1]), x.mean_keep(&[0, 1]), mean, variance]
            }),
        );
        // Many partial sums, where reductions are split.
        case(
            "long_sum",
            1,
            Box::new(move |i| {
                vec![i.typed(dtype, [262_144], 0.0, 0.25).sum(&[]), i.typed(dtype, [2, 65_536], 0.0, 1.0).sum(&[1])]
            }),
        );
        case(
            "classifier",
            256,
            Box::new(move |i| {
                let (x, w, labels) =
                    (i.uniform([6, 10], -1.0, 1.0), i.uniform([10, 5], -1.0, 1.0), i.typed(DType::I32, [6], 0.0, 4.0));
                let logits = x.cast(dtype).matmul(w.cast(dtype));
                let loss = cross_entropy(&logits.cast(DType::F32), &labels);
                let scale = i.list(DType::F32, &[1024.0], []);
                let [g] = (&loss * &scale).grad([&w]);
                vec![loss, g / scale]
            }),
        );
    }

    all.push(Case::new("mixed/overflow", |i| {
        let (a, b) =
            (i.list(DType::F16, &[300.0, -300.0, 1.0, 0.0], [4, 1]), i.list(DType::F16, &[300.0, 2.0], [1, 2]));
        let image = i.list(DType::F16, &[6e4; 4], [1, 2, 2, 1]);
        let conv = image.conv(i.list(DType::F16, &[1.0; 4], [2, 2, 1, 1]), &Window::new([2, 2]), 1);
        vec![
            a.matmul(&b),
            image.sum(&[]),
            conv,
            i.list(DType::F32, &[65519.0, 65520.0, -1e9, 3e-8, 2e-8], [5]).cast(DType::F16),
        ]
    }));
    // Weights, momentum, scale and count of steps, as an optimizer with loss scaling keeps them; the gradient is the argument.
    for (name, bad) in [("finite", 0.5), ("infinite", f64::INFINITY), ("nan", f64::NAN)] {
        all.push(Case::train(
            format!("mixed/loss_scale/{name}"),
            5,
            |i| {
                vec![i.normal([3, 5]), i.normal([3, 5]), i.list(DType::F32, &[8.0], []), i.list(DType::I32, &[0.0], [])]
            },
            move |i| {
                let ordinary = i.normal([3, 4]);
                vec![Tensor::concat(&[ordinary, i.list(DType::F32, &[0.1, bad, -0.3], [3, 1])], 1)]
            },
            |v, x| {
                let [w, m, scale, steps] = [&v[0], &v[1], &v[2], &v[3]];
                let gradient = &x[0] * scale;
                let finite = gradient.abs().max(&[]).le(f32::MAX);
                let momentum = m * 0.9 + gradient / scale;
                let grows = steps.eq(1);
                let next = finite.select(grows.select(scale * 2.0, scale), scale * 0.5);
                let count = finite.select(grows.select(0, steps + 1), 0);
                (
                    vec![finite.clone()],
                    vec![finite.select(w - &momentum * 0.1, w), finite.select(&momentum, m), next, count],
                )
            },
        ));
    }
}
