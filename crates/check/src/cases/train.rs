//! Compiled steps that update variables in place, called several times.

use super::composed::{cross_entropy, dropout};
use crate::case::Case;
use crate::tolerance::Class;
use ibex_core::{DType, Padding, Tensor, Window};

/// One Adam update: new parameters, first and second moments, given the gradients and the step number.
fn adam(parameters: &[Tensor], m: &[Tensor], v: &[Tensor], grads: &[Tensor], step: &Tensor) -> [Vec<Tensor>; 3] {
    let t = step.cast(DType::F32) + 1.0;
    let power = |beta: f32| (&t * beta.ln()).exp();
    let rate = (1.0 - power(0.999)).sqrt() / (1.0 - power(0.9)) * 1e-2;
    let m: Vec<Tensor> = m.iter().zip(grads).map(|(m, g)| m + (g - m) * 0.1).collect();
    let v: Vec<Tensor> = v.iter().zip(grads).map(|(v, g)| v + (g.square() - v) * 0.001).collect();
    let moved = parameters.iter().zip(m.iter().zip(&v)).map(|(p, (m, v))| p - m * &rate / (v.sqrt() + 1e-3));
    [moved.collect(), m, v]
}

/// A training step with Adam of a model whose loss `loss` gives, over state `[parameters, m, v, step]`.
fn trained(
    state: &[Tensor],
    args: &[Tensor],
    count: usize,
    loss: impl Fn(&[Tensor], &[Tensor]) -> Tensor,
) -> (Vec<Tensor>, Vec<Tensor>) {
    let (parameters, rest) = state.split_at(count);
    let loss = loss(parameters, args);
    let grads: Vec<Tensor> = match loss.gradients(parameters) {
        Ok(grads) => grads.into_iter().zip(parameters).map(|(g, p)| g.unwrap_or_else(|| p * 0.0)).collect(),
        Err(error) => parameters.iter().map(|_| Tensor::poisoned(error.clone())).collect(),
    };
    let step = &rest[2 * count];
    let [parameters, m, v] = adam(parameters, &rest[..count], &rest[count..2 * count], &grads, step);
    (vec![loss], [parameters, m, v, vec![step + 1]].concat())
}

/// Parameters of these shapes, with moments of zero and a step counter.
fn state(i: &mut crate::Inputs, shapes: &[&[usize]]) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = shapes.iter().map(|&s| i.uniform(s, -0.4, 0.4)).collect();
    for _ in 0..2 {
        all.extend(shapes.iter().map(|&s| Tensor::zeros(s, DType::F32)));
    }
    all.push(i.list(DType::I32, &[0.0], []));
    all
}

/// Updates that backends may run as one pass, with weights and gradients of every origin.
fn updates(all: &mut Vec<Case>) {
    type Weight = fn(&Tensor) -> Tensor;
    type Gradient = fn(&[Tensor], &Tensor) -> Tensor;
    let weights: [(&str, Weight); 3] =
        [("kept", |p| p.clone()), ("scaled", |p| p * 0.99), ("decayed", |p| p - p * 0.04 * 0.5)];
    // And whether it is a result too: then it has memory of its own.
    let gradients: [(&str, Gradient, bool); 5] = [
        ("given", |x, _| x[0].clone(), false),
        ("computed", |x, _| (&x[0] * 0.5).tanh(), true),
        ("of_a_product", |x, _| x[1].matmul(&x[2]), false),
        ("of_a_product_that_is_a_result", |x, _| x[1].matmul(&x[2]), true),
        ("of_a_product_with_penalty", |x, p| x[1].matmul(&x[2]) + p * 0.1, false),
    ];
    let shape = [61, 300];
    for (weight, before) in weights {
        for (gradient, gradient_of, result) in gradients {
            let step = move |v: &[Tensor], x: &[Tensor]| {
                let gradient = gradient_of(x, &v[0]);
                let [p, m, s] = adam(&[before(&v[0])], &v[1..2], &v[2..3], std::slice::from_ref(&gradient), &v[3]);
                (if result { vec![gradient] } else { vec![] }, [p, m, s, vec![&v[3] + 1]].concat())
            };
            let args =
                move |i: &mut crate::Inputs| [shape, [61, 8], [8, 300]].map(|s| i.uniform(s, -1.0, 1.0)).to_vec();
            let name = format!("train/adam_{weight}_{gradient}");
            all.push(Case::train(name, 3, move |i| state(i, &[&shape]), args, step).class(Class::Sum(64)));
        }
    }
    let shape: &[usize] = &[2000];
    all.push(
        Case::train(
            "train/adam_of_two_that_are_multiplied",
            3,
            move |i| state(i, &[shape, shape]),
            |_| vec![],
            |v, x| trained(v, x, 2, |p, _| (&p[0] * &p[1]).sum(&[])),
        )
        .class(Class::Sum(4096)),
    );
}

pub(super) fn add(all: &mut Vec<Case>) {
    updates(all);
    all.push(Case::train(
        "train/count",
        3,
        |i| vec![i.list(DType::I32, &[5.0], []), i.normal([4])],
        |i| vec![i.normal([4])],
        |v, x| (vec![&v[0] * 2, &v[1] + &x[0]], vec![&v[0] + 1, &v[1] * 0.5 + &x[0]]),
    ));
    all.push(Case::train(
        "train/swap",
        3,
        |i| vec![i.normal([5]), i.normal([5])],
        |_| vec![],
        |v, _| (vec![&v[0] - &v[1]], vec![v[1].clone(), v[0].clone()]),
    ));
    all.push(Case::train(
        "train/rotate_and_scale",
        4,
        |i| vec![i.normal([3, 2]), i.normal([3, 2]), i.normal([3, 2])],
        |_| vec![],
        |v, _| (vec![], vec![v[1].clone(), &v[2] * 2.0, v[0].clone()]),
    ));
    all.push(Case::train(
        "train/swap_expressions",
        3,
        |i| vec![i.normal([5]), i.normal([5])],
        |_| vec![],
        |v, _| (vec![v[0].clone()], vec![v[1].tanh(), v[0].sin() + &v[1]]),
    ));
    all.push(Case::train(
        "train/take_old_value",
        3,
        |i| vec![i.normal([5]), i.normal([5])],
        |i| vec![i.normal([5])],
        |v, x| (vec![], vec![&v[0] * 2.0 + &x[0], v[0].clone()]),
    ));
    all.push(Case::train(
        "train/take_old_value_first",
        3,
        |i| vec![i.normal([5]), i.normal([5])],
        |i| vec![i.normal([5])],
        |v, x| (vec![], vec![v[1].clone(), &v[1] * 2.0 + &x[0]]),
    ));
    all.push(Case::train(
        "train/same_value_twice",
        2,
        |i| vec![i.normal([5]), i.normal([5]), i.normal([5])],
        |i| vec![i.normal([5])],
        |v, x| {
            let value = (&v[0] + &x[0]).tanh();
            (vec![value.clone()], vec![value.clone(), value.clone(), x[0].clone()])
        },
    ));
    all.push(Case::train(
        "train/views_of_itself",
        3,
        |i| vec![i.normal([4, 4]), i.normal([6]), i.normal([4])],
        |_| vec![],
        |v, _| (vec![], vec![v[0].t() + &v[0], v[1].flip(&[0]), &v[2] * v[2].sum(&[])]),
    ));
    all.push(Case::train(
        "train/shift_buffer",
        4,
        |i| vec![i.normal([5, 3])],
        |i| vec![i.normal([1, 3])],
        |v, x| (vec![v[0].sum(&[0])], vec![Tensor::concat(&[v[0].narrow(0, 1, 4), x[0].clone()], 0)]),
    ));
    all.push(Case::train(
        "train/matmul_into_itself",
        3,
        |i| vec![i.uniform([4, 4], -0.5, 0.5), i.normal([4])],
        |i| vec![i.uniform([4, 4], -0.5, 0.5)],
        |v, x| (vec![v[0].matmul(&v[1])], vec![v[0].matmul(&x[0]) + &v[0], v[0].matmul(&v[1])]),
    ));
    all.push(Case::train(
        "train/reshaped_update",
        3,
        |i| vec![i.normal([2, 6]), i.normal([12])],
        |_| vec![],
        |v, _| (vec![], vec![(v[1].sin() + 1.0).reshape([2, 6]), v[0].reshape([12])]),
    ));
    all.push(Case::train(
        "train/constant_and_unread",
        2,
        |i| vec![i.normal([3]), i.normal([3]), i.normal([0, 2])],
        |i| vec![i.normal([3])],
        |v, x| (vec![], vec![Tensor::zeros([3], DType::F32), &x[0] * 2.0, &v[2] + 1.0]),
    ));
    all.push(Case::train(
        "train/random_key",
        3,
        |i| vec![i.list(DType::U32, &[1.0, 2.0], [2]), i.normal([40])],
        |_| vec![],
        |v, _| {
            let noise = Tensor::random_uniform(&v[0], 0, [40]);
            (vec![dropout(&v[1], &v[0], 0.5)], vec![Tensor::random_bits(&v[0], 9, [2]), &v[1] * 0.9 + noise])
        },
    ));
    all.push(
        Case::train(
            "train/momentum",
            4,
            |i| vec![i.normal([6]), i.uniform([6], -0.1, 0.1)],
            |i| vec![i.normal([6])],
            |v, x| {
                let [g] = (&v[0] - &x[0]).square().sum(&[]).grad([&v[0]]);
                let velocity = &v[1] * 0.9 - g * 0.1;
                (vec![], vec![&v[0] + &velocity * 0.9 - &velocity * 0.1, velocity])
            },
        )
        .class(Class::Sum(64)),
    );
    all.push(
        Case::train(
            "train/batch_norm_statistics",
            3,
            |i| vec![i.normal([3]), i.uniform([3], 0.5, 1.0)],
            |i| vec![i.normal([8, 3])],
            |v, x| {
                let [mean, variance] = x[0].moments_keep(&[0]);
                let y = (&x[0] - &mean) * (&variance + 1e-3).rsqrt();
                let moving = |old: &Tensor, new: Tensor| old * 0.99 + new.reshape([3]) * 0.01;
                (vec![y], vec![moving(&v[0], mean), moving(&v[1], variance)])
            },
        )
        .class(Class::Sum(64)),
    );
    let mlp: [&[usize]; 4] = [&[6, 16], &[16], &[16, 4], &[4]];
    all.push(
        Case::train(
            "train/mlp",
            5,
            move |i| state(i, &mlp),
            |i| vec![i.normal([8, 6]), i.typed(DType::I32, [8], 0.0, 3.0)],
            move |v, x| {
                trained(v, x, 4, |p, x| {
                    let hidden = (x[0].matmul(&p[0]) + &p[1]).relu();
                    let hidden = dropout(&hidden, &Tensor::random_key(5), 0.2);
                    cross_entropy(&(hidden.matmul(&p[2]) + &p[3]), &x[1])
                })
            },
        )
        .class(Class::Sum(4096)),
    );
    let cnn: [&[usize]; 6] = [&[3, 3, 1, 4], &[4], &[3, 3, 4, 5], &[5], &[20, 3], &[3]];
    all.push(
        Case::train(
            "train/cnn",
            3,
            move |i| state(i, &cnn),
            |i| vec![i.normal([4, 10, 10, 1]), i.typed(DType::I32, [4], 0.0, 2.0)],
            move |v, x| {
                trained(v, x, 6, |p, x| {
                    let pool = Window { strides: vec![2, 2], ..Window::new([2, 2]) };
                    let same = Window { padding: Padding::Same, ..Window::new([3, 3]) };
                    let y = (x[0].conv(&p[0], &same, 1) + &p[1]).relu().max_pool(&pool);
                    let y = (y.conv(&p[2], &same, 1) + &p[3]).tanh().average_pool(&pool);
                    cross_entropy(&(y.flatten(1).matmul(&p[4]) + &p[5]), &x[1])
                })
            },
        )
        .class(Class::Sum(16_384)),
    );
    let lstm: [&[usize]; 6] = [&[7, 4], &[4, 20], &[5, 20], &[20], &[5, 1], &[1]];
    all.push(
        Case::train(
            "train/lstm",
            3,
            move |i| state(i, &lstm),
            |i| vec![i.typed(DType::I32, [4, 6], 0.0, 6.0), i.typed(DType::Bool, [4], 0.0, 1.0).cast(DType::F32)],
            move |v, x| {
                trained(v, x, 6, |p, x| {
                    let z = p[0].gather(&x[0]).matmul(&p[1]) + &p[3];
                    let zero = Tensor::zeros([4, 5], DType::F32);
                    let [h, _] = z.lstm(&p[2], &zero, &zero);
                    let logit = (h.index(1, 5).matmul(&p[4]) + &p[5]).reshape([4]);
                    (logit.softplus() - &logit * &x[1]).mean(&[])
                })
            },
        )
        .class(Class::Sum(16_384)),
    );
    let shared: [&[usize]; 2] = [&[5, 5], &[5]];
    all.push(
        Case::train(
            "train/shared_weights",
            3,
            move |i| state(i, &shared),
            |i| vec![i.normal([3, 5])],
            move |v, x| {
                trained(v, x, 2, |p, x| {
                    let mut y = x[0].clone();
                    for _ in 0..4 {
                        y = (y.matmul(&p[0]) + &p[1]).tanh();
                    }
                    y.square().sum(&[]) + p[0].square().sum(&[]) * 1e-3
                })
            },
        )
        .class(Class::Sum(4096)),
    );
}
