//! Adadelta.

use super::{Optimizer, Slot, Step, complement, head, optimizer};
use ibex_core::{Shape, Tensor};

optimizer! {
    /// Steps in the proportion of past steps to past gradients (Zeiler 2012): `a = rho * a + (1 - rho) * g^2`,
    /// `d = g * sqrt(s + epsilon) / sqrt(a + epsilon)`, `s = rho * s + (1 - rho) * d^2`, `w -= lr * d`. The paper has a rate of 1.
    Adadelta, learning_rate 0.001 {
        /// Decay of both means; 0.95 by default.
        rho: f32 = 0.95,
        /// Added under the roots; 1e-7 by default.
        epsilon: f32 = 1e-7,
    }
}

impl Optimizer for Adadelta {
    head!("Adadelta");

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        vec![Slot::zeros("accumulated_grad", weight), Slot::zeros("accumulated_delta_var", weight)]
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let mix = |old: &Tensor, new: &Tensor| old * self.rho + new.square() * complement(self.rho);
        let root = |square: &Tensor| (square + self.epsilon).sqrt();
        let gradients = mix(&slots[0], gradient);
        let change = gradient * root(&slots[1]) / root(&gradients);
        let changes = mix(&slots[1], &change);
        (weight - change * &step.learning_rate, vec![gradients, changes])
    }
}
