//! Lion.

use super::{Optimizer, Slot, Step, head, optimizer};
use ibex_core::{Error, Result, Shape, Tensor};

optimizer! {
    /// The sign of a momentum (Chen et al. 2023): `w -= lr * sign(b1 * m + (1 - b1) * g)`, `m = b2 * m + (1 - b2) * g`. Wants a learning
    /// rate 3 to 10 times smaller than Adam's.
    Lion, learning_rate 0.001 {
        /// Share of the momentum in the step's direction, above 0 and at most 1; 0.9 by default.
        beta_1: f32 = 0.9,
        /// Decay of the momentum; 0.99 by default.
        beta_2: f32 = 0.99,
    }
}

impl Optimizer for Lion {
    head!("Lion");

    fn check(&self) -> Result<()> {
        if !(self.beta_1 > 0.0 && self.beta_1 <= 1.0) {
            return Err(Error::value(format!("beta_1 is {}, it must lie above 0 and at most at 1", self.beta_1)));
        }
        self.options.check()
    }

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        vec![Slot::zeros("momentum", weight)]
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let mix = |beta: f32| &slots[0] * beta + gradient * (1.0 - beta);
        (weight - mix(self.beta_1).sign() * &step.learning_rate, vec![mix(self.beta_2)])
    }
}
