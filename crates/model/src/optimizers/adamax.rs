//! Adamax.

use super::{Optimizer, Slot, Step, complement, head, optimizer};
use ibex_core::{Shape, Tensor};

optimizer! {
    /// Adam with the largest gradient in place of the mean square (Kingma and Ba 2015, section 7.1): `m = b1 * m + (1 - b1) * g`,
    /// `u = max(b2 * u, |g|)`, `w -= lr / (1 - b1^t) * m / (u + epsilon)`.
    Adamax, learning_rate 0.001 {
        /// Decay of the first moment; 0.9 by default.
        beta_1: f32 = 0.9,
        /// Decay of the largest gradient; 0.999 by default.
        beta_2: f32 = 0.999,
        /// Added to the largest gradient; 1e-7 by default.
        epsilon: f32 = 1e-7,
    }
}

impl Optimizer for Adamax {
    head!("Adamax");

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        vec![Slot::zeros("momentum", weight), Slot::zeros("norm", weight)]
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let m = &slots[0] + (gradient - &slots[0]) * complement(self.beta_1);
        let u = (&slots[1] * self.beta_2).maximum(gradient.abs());
        let alpha = &step.learning_rate / (1.0 - step.power(self.beta_1));
        (weight - &m * alpha / (&u + self.epsilon), vec![m, u])
    }
}
