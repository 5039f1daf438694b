//! What models are made of: many primitives, so that there is much to fuse.

use crate::case::{Case, Grad};
use crate::tolerance::Class;
use ibex_core::{DType, Padding, Tensor, Window};

pub(super) fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Tensor {
    let [mean, variance] = x.moments_keep(&[-1]);
    (x - mean) * (variance + 1e-3).rsqrt() * gain + bias
}

pub(super) fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    -logits.log_softmax(-1).pick(labels).mean(&[])
}

pub(super) fn dropout(x: &Tensor, key: &Tensor, rate: f32) -> Tensor {
    let keep = Tensor::random_uniform(key, 0, x.shape()).ge(rate);
    keep.select(x * (1.0 / (1.0 - rate)), 0.0)
}

pub(super) fn add(all: &mut Vec<Case>) {
    let mut case = |name: &str, terms: usize, grad: Grad, build: fn(&mut crate::Inputs) -> Vec<Tensor>| {
        all.push(Case::new(format!("composed/{name}"), build).class(Class::Sum(terms)).grad(grad));
    };
    case("softmax", 16, Grad::Second, |i| {
        let x = i.normal([4, 7]);
        vec![x.softmax(-1), x.softmax(0)]
    });
    case("softmax_3d", 16, Grad::Second, |i| vec![i.normal([2, 5, 3]).softmax(1)]);
    case("softmax_long", 3000, Grad::None, |i| {
        let x = i.normal([3, 3001]);
        vec![x.softmax(-1), x.log_softmax(-1)]
    });
    case("softmax_of_one", 16, Grad::First, |i| vec![i.normal([4, 1]).softmax(-1)]);
    case("log_softmax", 16, Grad::Second, |i| {
        let x = i.normal([4, 7]) * 3.0;
        vec![x.log_softmax(-1), x.logsumexp_keep(-1)]
    });
    case("layer_norm", 64, Grad::Second, |i| vec![layer_norm(&i.normal([5, 8]), &i.normal([8]), &i.normal([8]))]);
    case("layer_norm_twice", 256, Grad::First, |i| {
        let (x, gain, bias) = (i.normal([2, 3, 8]), i.normal([8]), i.normal([8]));
        let once = layer_norm(&x, &gain, &bias);
        vec![layer_norm(&(once.gelu() + &x), &gain, &bias), once]
    });
    case("rms_norm", 16, Grad::Second, |i| {
        let (x, gain) = (i.normal([4, 6]), i.normal([6]));
        vec![&x * (x.square().mean_keep(&[-1]) + 1e-3).rsqrt() * gain]
    });
    case("cross_entropy", 64, Grad::Second, |i| {
        let (logits, labels) = (i.normal([6, 5]), i.typed(DType::I32, [6], 0.0, 4.0));
        vec![cross_entropy(&logits, &labels)]
    });
    case("cross_entropy_with_gradient", 64, Grad::First, |i| {
        let (logits, labels) = (i.normal([6, 5]), i.typed(DType::I32, [6], 0.0, 4.0));
        let loss = cross_entropy(&logits, &labels);
        let [g] = loss.grad([&logits]);
        let right = logits.argmax(-1).eq(&labels).cast(DType::F32).mean(&[]);
        vec![loss, g, right]
    });
    case("cross_entropy_wide", 5000, Grad::None, |i| {
        let (logits, labels) = (i.normal([9, 1003]), i.typed(DType::I32, [9], 0.0, 1002.0));
        let loss = cross_entropy(&logits, &labels);
        let [g] = loss.grad([&logits]);
        vec![loss, g]
    });
    case("binary_cross_entropy", 16, Grad::Second, |i| {
        let (x, y) = (i.normal([7]) * 3.0, i.typed(DType::Bool, [7], 0.0, 1.0).cast(DType::F32));
        vec![(x.softplus() - &x * y).mean(&[])]
    });
    case("activations", 16, Grad::First, |i| {
        let x = i.normal([3, 11]);
        vec![
            x.gelu(),
            x.silu(),
            x.relu(),
            x.softplus(),
            x.clamp(-1.0, 1.0),
            x.sigmoid() * x.tanh(),
            x.gt(0.0).select(&x, x.expm1()),
        ]
    });
    case("argmax", 1, Grad::None, |i| {
        let x = i.distinct([4, 3, 9]);
        vec![x.argmax(-1), x.argmax(1), x.argmax(0), x.argmax(-1).one_hot(9, DType::F32) * x]
    });
    case("top_k", 16, Grad::First, |i| {
        let x = i.distinct([4, 3, 9]);
        let [values, _] = x.top_k(4);
        vec![values, x.cast(DType::F32).narrow(-1, 0, 1).top_k(1)[0].clone()]
    });
    case("batch_norm", 256, Grad::Second, |i| {
        let (x, gain, bias) = (i.normal([3, 2, 4, 3]), i.normal([3]), i.normal([3]));
        let [mean, variance] = x.moments_keep(&[0, 1, 2]);
        vec![(&x - &mean) * (&variance + 1e-3).rsqrt() * gain + bias, mean.reshape([3]) * 0.1, variance.reshape([3])]
    });
    case("batch_norm_large", 4096, Grad::None, |i| {
        let (x, gain, bias) = (i.normal([8, 15, 17, 6]), i.normal([6]), i.normal([6]));
        let [mean, variance] = x.moments_keep(&[0, 1, 2]);
        let y = ((&x - &mean) * (&variance + 1e-3).rsqrt() * &gain + &bias).relu();
        let w = i.normal(y.shape());
        let grads = (&y * w).sum(&[]).grad([&x, &gain, &bias]);
        [vec![y, mean, variance], grads.to_vec()].concat()
    });
    case("dropout", 16, Grad::First, |i| {
        let x = i.normal([5, 7]);
        vec![dropout(&x, &Tensor::random_key(3), 0.3), dropout(&x.exp(), &Tensor::random_key(4), 0.5).sum(&[0])]
    });
    case("residual_chain", 64, Grad::First, |i| {
        let mut x = i.normal([4, 6]);
        for _ in 0..6 {
            x = &x + (x.matmul(i.uniform([6, 6], -0.3, 0.3)) + i.normal([6])).tanh();
        }
        vec![x]
    });
    case("long_chain", 64, Grad::None, |i| {
        let mut x = i.normal([33]);
        for k in 0..150 {
            x = (&x * 0.9 + (k as f32) * 0.01).sin() + &x * 0.1;
        }
        vec![x]
    });
    case("wide_sum", 64, Grad::First, |i| {
        let parts: Vec<Tensor> = (0..30).map(|_| i.normal([5])).collect();
        vec![parts.iter().fold(Tensor::zeros([5], DType::F32), |sum, x| sum + x.tanh())]
    });
    case("balanced_sum", 64, Grad::First, |i| {
        let mut level: Vec<Tensor> = (0..32).map(|_| i.normal([5])).collect();
        let masks: Vec<Tensor> = (0..2).map(|_| i.typed(DType::Bool, [5], 0.0, 1.0)).collect();
        while level.len() > 1 {
            level = level.chunks(2).map(|pair| &pair[0] * 0.9 + &pair[1]).collect();
        }
        let wide = |k: usize| (0..6).fold(i.made()[k].clone(), |sum, j| sum + &i.made()[k + j]);
        vec![level.remove(0), masks[0].and(&masks[1]).select(wide(0), wide(8)).broadcast_to([2, 5]) * wide(16)]
    });
    case("many_outputs", 64, Grad::None, |i| {
        let x = i.normal([9]);
        (1..25).map(|k| (&x * k as f32).sin()).collect()
    });
    case("diamond", 64, Grad::Second, |i| {
        let x = i.normal([4, 5]);
        let (row, column) = (x.sum_keep(&[1]), x.sum_keep(&[0]));
        let y = (&x - row.tanh()) * (&x + column.sin());
        vec![y.sum(&[1]) * row.reshape([4]), y.sum(&[0]) + column.reshape([5]), y]
    });
    case("masked_mean", 16, Grad::First, |i| {
        let (x, mask) = (i.normal([4, 6]), i.typed(DType::Bool, [4, 6], 0.0, 1.0));
        let count = mask.cast(DType::F32).sum(&[1]).maximum(1.0);
        vec![mask.select(&x, 0.0).sum(&[1]) / count]
    });
    case("embedding", 64, Grad::First, |i| {
        let (table, at) = (i.normal([6, 4]), i.typed(DType::I32, [3, 5], 0.0, 5.0));
        let rows = table.gather(&at);
        let loss = (rows.mean(&[1]).tanh() * i.normal([3, 4])).sum(&[]);
        let [g] = loss.grad([&table]);
        vec![loss, g]
    });
    case("cnn_forward", 512, Grad::None, |i| {
        let x = i.normal([3, 12, 12, 2]);
        let pool = Window { strides: vec![2, 2], ..Window::new([2, 2]) };
        let same = Window { padding: Padding::Same, ..Window::new([3, 3]) };
        let y = (x.conv(i.uniform([3, 3, 2, 6], -0.3, 0.3), &same, 1) + i.normal([6])).relu().max_pool(&pool);
        let y = (y.conv(i.uniform([3, 3, 6, 5], -0.3, 0.3), &Window::new([3, 3]), 1)).relu().average_pool(&pool);
        vec![(y.flatten(1).matmul(i.normal([20, 4])) + i.normal([4])).softmax(-1)]
    });
    case("gradient_penalty", 256, Grad::First, |i| {
        let (x, w) = (i.normal([3, 4]), i.uniform([4, 4], -0.5, 0.5));
        let y = x.matmul(&w).tanh().sum(&[]);
        let [gx] = y.grad([&x]);
        let penalty = gx.square().sum(&[]);
        let [gw] = penalty.grad([&w]);
        vec![penalty, gw]
    });
    for dtype in [DType::F16, DType::BF16] {
        all.push(
            Case::new(format!("composed/model/{dtype}"), move |i| {
                let mut make = |shape: &[usize]| i.typed(dtype, shape, -1.0, 1.0);
                let (x, w, bias) = (make(&[4, 6]), make(&[6, 5]), make(&[5]));
                let y = (x.matmul(&w) + bias).relu();
                let loss = y.cast(DType::F32).square().mean(&[]);
                let [g] = loss.grad([&w]);
                vec![y.softmax(-1), loss, g]
            })
            .class(Class::Through(dtype, 64)),
        );
    }
}
