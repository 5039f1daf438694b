//! LAMB.

use super::{Optimizer, Slot, Step, complement, head, optimizer};
use ibex_core::{Shape, Tensor};

optimizer! {
    /// Adam whose step for each weight has the weight's norm, for large batches (You et al. 2020): with Adam's direction
    /// `d = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon)`, `w -= lr * d * |w| / |d|`.
    Lamb, learning_rate 0.001 {
        /// Decay of the first moment; 0.9 by default.
        beta_1: f32 = 0.9,
        /// Decay of the second moment; 0.999 by default.
        beta_2: f32 = 0.999,
        /// Added to the root of the second moment; 1e-7 by default.
        epsilon: f32 = 1e-7,
    }
}

impl Optimizer for Lamb {
    head!("Lamb");

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        vec![Slot::zeros("momentum", weight), Slot::zeros("velocity", weight)]
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let m = &slots[0] + (gradient - &slots[0]) * complement(self.beta_1);
        let v = &slots[1] + (gradient.square() - &slots[1]) * complement(self.beta_2);
        let second = (&v / (1.0 - step.power(self.beta_2))).sqrt() + self.epsilon;
        let direction = &m / (1.0 - step.power(self.beta_1)) / second;
        let norm = |x: &Tensor| x.square().sum(&[]).sqrt();
        let (long, short) = (norm(weight), norm(&direction));
        let ratio = long.gt(0.0).and(short.gt(0.0)).select(long / short, 1.0);
        (weight - direction * (ratio * &step.learning_rate), vec![m, v])
    }
}
