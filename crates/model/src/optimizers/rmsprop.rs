//! RMSprop.

use super::{Optimizer, Slot, Step, complement, head, optimizer};
use ibex_core::{Shape, Tensor};

optimizer! {
    /// RMSprop (Hinton 2012) as Keras computes it, with `epsilon` inside of the root: `v = rho * v + (1 - rho) * g^2`,
    /// `w -= lr * g / sqrt(v + epsilon)`; centered subtracts the square of the mean gradient from `v`.
    RMSprop, learning_rate 0.001 {
        /// Decay of the mean square; 0.9 by default.
        rho: f32 = 0.9,
        /// Share of the last step that is kept; 0 by default.
        momentum: f32 = 0.0,
        /// Added under the root; 1e-7 by default.
        epsilon: f32 = 1e-7,
        /// Normalises by the variance of gradients instead of their mean square.
        centered: bool = false,
    }
}

impl Optimizer for RMSprop {
    head!("RMSprop");

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        let mut slots = vec![Slot::zeros("velocity", weight)];
        if self.momentum > 0.0 {
            slots.push(Slot::zeros("momentum", weight));
        }
        if self.centered {
            slots.push(Slot::zeros("average_gradient", weight));
        }
        slots
    }

    fn keeps_slots_apart(&self) -> bool {
        true
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let mix = |old: &Tensor, new: &Tensor| old * self.rho + new * complement(self.rho);
        let velocity = mix(&slots[0], &gradient.square());
        let mut new = vec![velocity.clone()];
        let mut spread = velocity + self.epsilon;
        let average = slots.last().filter(|_| self.centered).map(|old| mix(old, gradient));
        if let Some(average) = &average {
            spread = spread - average.square();
        }
        let mut change = gradient * &step.learning_rate / spread.sqrt();
        if self.momentum > 0.0 {
            change = &slots[1] * self.momentum + change;
            new.push(change.clone());
        }
        new.extend(average);
        (weight - change, new)
    }
}
