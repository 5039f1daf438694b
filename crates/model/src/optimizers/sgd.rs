//! Stochastic gradient descent.

use super::{Optimizer, Slot, Step, head, optimizer};
use ibex_core::{Shape, Tensor};

optimizer! {
    /// `w -= lr * g`, or with momentum `v = momentum * v - lr * g`, `w += v` (Nesterov: `w += momentum * v - lr * g`; Sutskever et al. 2013).
    SGD, learning_rate 0.01 {
        /// Share of the last step that is kept; 0 by default.
        momentum: f32 = 0.0,
        /// Nesterov's form of momentum.
        nesterov: bool = false,
    }
}

impl Optimizer for SGD {
    head!("SGD");

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        if self.momentum == 0.0 { vec![] } else { vec![Slot::zeros("momentum", weight)] }
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let scaled = gradient * &step.learning_rate;
        let [velocity] = slots else { return (weight - scaled, vec![]) };
        let velocity = velocity * self.momentum - &scaled;
        let change = if self.nesterov { &velocity * self.momentum - scaled } else { velocity.clone() };
        (weight + change, vec![velocity])
    }
}
