//! Adagrad.

use super::{Optimizer, Slot, Step, head, optimizer};
use ibex_core::{Shape, Tensor};

optimizer! {
    /// Steps that shrink with all gradients so far (Duchi et al. 2011): `a += g^2`, `w -= lr * g / sqrt(a + epsilon)`.
    Adagrad, learning_rate 0.001 {
        /// Where the sums of squares start; 0.1 by default.
        initial_accumulator_value: f32 = 0.1,
        /// Added under the root; 1e-7 by default.
        epsilon: f32 = 1e-7,
    }
}

impl Optimizer for Adagrad {
    head!("Adagrad");

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        vec![Slot::full("accumulator", weight, self.initial_accumulator_value)]
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let sum = &slots[0] + gradient.square();
        (weight - gradient * &step.learning_rate / (&sum + self.epsilon).sqrt(), vec![sum])
    }
}
