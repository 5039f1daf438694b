//! Nadam.

use super::{Optimizer, Slot, Step, head, optimizer};
use ibex_core::{Shape, Tensor};

optimizer! {
    /// Adam with Nesterov momentum (Dozat 2015). With `u(t) = b1 * (1 - 0.96^t / 2)` and `p` the product of all `u` up to `t`:
    /// `m' = u(t+1) * m / (1 - p * u(t+1)) + (1 - u(t)) * g / (1 - p)`, `w -= lr * m' / (sqrt(v / (1 - b2^t)) + epsilon)`.
    Nadam, learning_rate 0.001 {
        /// Decay of the first moment; 0.9 by default.
        beta_1: f32 = 0.9,
        /// Decay of the second moment; 0.999 by default.
        beta_2: f32 = 0.999,
        /// Added to the root of the second moment; 1e-7 by default.
        epsilon: f32 = 1e-7,
    }
}

impl Nadam {
    /// The momentum of step `t`, which grows to `beta_1`.
    fn momentum(&self, t: &Tensor) -> Tensor {
        (1.0 - Tensor::full([], 0.96, t.dtype()).pow(t) * 0.5) * self.beta_1
    }
}

impl Optimizer for Nadam {
    head!("Nadam");

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        vec![Slot::zeros("momentum", weight), Slot::zeros("velocity", weight)]
    }

    fn scalars(&self) -> Vec<(&'static str, f32)> {
        vec![("u_product", 1.0)]
    }

    fn advance(&self, number: &Tensor, scalars: &[Tensor]) -> Vec<Tensor> {
        scalars.iter().map(|product| product * self.momentum(number)).collect()
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let (now, next) = (self.momentum(&step.number), self.momentum(&(&step.number + 1.0)));
        let product = &step.scalars[0];
        let m = &slots[0] + (gradient - &slots[0]) * (1.0 - self.beta_1);
        let v = &slots[1] + (gradient.square() - &slots[1]) * (1.0 - self.beta_2);
        let ahead = &m * (&next / (1.0 - product * &next)) + gradient * ((1.0 - now) / (1.0 - product));
        let second = &v / (1.0 - step.power(self.beta_2));
        (weight - ahead * &step.learning_rate / (second.sqrt() + self.epsilon), vec![m, v])
    }
}
