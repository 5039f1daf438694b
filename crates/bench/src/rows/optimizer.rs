//! The update of a model's weights.

use super::at;
use crate::row::{Program, Row};
use ibex::optimizers::{Adam, Optimizer, Step};
use ibex::{Tensor, Variable};

/// Weights of a model with about four million parameters.
const SHAPES: [[usize; 2]; 8] =
    [[784, 1024], [1, 1024], [1024, 1024], [1, 1024], [1024, 1024], [1, 1024], [1024, 1000], [1, 1000]];

const RATE: f32 = 1e-3;

/// One step of Adam, its first, with given gradients.
fn adam() -> ibex::Result<Row> {
    let number = |v: f32| Tensor::from_vec(vec![v], [1]).reshape([]);
    let gradient = |(i, shape): (usize, &[usize; 2])| Tensor::randn(shape.as_slice(), i as u64);
    let args: Vec<Tensor> =
        [number(RATE), number(1.0)].into_iter().chain(SHAPES.iter().enumerate().map(gradient)).collect();
    // For every weight: itself, its first and its second moment.
    let mut state = Vec::new();
    for (i, shape) in SHAPES.iter().enumerate() {
        let random = |seed: usize| Tensor::rand(shape.as_slice(), (100 * seed + i) as u64);
        for (slot, value) in [random(1), random(2) * 0.1, random(3) * 0.1].into_iter().enumerate() {
            state.push(Variable::new(format!("{i}.{slot}"), value)?);
        }
    }
    let variables = state.clone();
    let f = move |x: &[Tensor]| {
        let step = Step { learning_rate: x[0].clone(), number: x[1].clone(), scalars: vec![] };
        for (group, gradient) in variables.chunks(3).zip(&x[2..]) {
            let slots = [group[1].value(), group[2].value()];
            let (weight, new) = Adam::new(RATE).update(&step, &group[0].value(), gradient, &slots);
            group[0].assign(weight)?;
            group[1..].iter().zip(new).try_for_each(|(variable, value)| variable.assign(value))?;
        }
        Ok(vec![])
    };
    let truth = |x: &[Vec<f32>], result: usize, i: usize| {
        let weight = result / 3;
        let g = at(&x[2 + weight], i);
        let old = |slot: usize| at(&x[2 + SHAPES.len() + 3 * weight + slot], i);
        let (m, v) = (old(1) + (g - old(1)) * 0.1, old(2) + (g * g - old(2)) * 0.001);
        let alpha = f64::from(RATE) * 0.001f64.sqrt() / 0.1;
        Some([old(0) - m * alpha / (v.sqrt() + 1e-7), m, v][result % 3])
    };
    Ok(Program::new(args, f, truth).state(state).row("adam_4M"))
}

pub(super) fn rows() -> Vec<Row> {
    // No value above is poisoned, so there is nothing that could fail.
    adam().into_iter().collect()
}
