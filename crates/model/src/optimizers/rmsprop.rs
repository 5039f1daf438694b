//! RMSprop.

use super::{Optimizer, Options, Step, complement, option_setters};
use crate::config::{self, Config};
use ibex_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// RMSprop (Hinton 2012) as Keras computes it, with `epsilon` inside of the root: `v = rho * v + (1 - rho) * g^2`,
/// `w -= lr * g / sqrt(v + epsilon)`; centered subtracts the square of the mean gradient from `v`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RMSprop {
    #[serde(flatten)]
    options: Options,
    rho: f32,
    momentum: f32,
    epsilon: f32,
    centered: bool,
}

impl Default for RMSprop {
    fn default() -> Self {
        RMSprop { options: Options::new(1e-3), rho: 0.9, momentum: 0.0, epsilon: 1e-7, centered: false }
    }
}

impl RMSprop {
    /// With a learning rate; Keras's default is 0.001.
    pub fn new(learning_rate: f32) -> Self {
        RMSprop { options: Options::new(learning_rate), ..RMSprop::default() }
    }

    /// Decay of the mean square; 0.9 by default.
    pub fn rho(self, rho: f32) -> Self {
        RMSprop { rho, ..self }
    }

    /// Share of the last step that is kept; 0 by default.
    pub fn momentum(self, momentum: f32) -> Self {
        RMSprop { momentum, ..self }
    }

    /// Added under the root; 1e-7 by default.
    pub fn epsilon(self, epsilon: f32) -> Self {
        RMSprop { epsilon, ..self }
    }

    /// Normalises by the variance of gradients instead of their mean square.
    pub fn centered(self, centered: bool) -> Self {
        RMSprop { centered, ..self }
    }

    option_setters!();
}

impl Optimizer for RMSprop {
    fn class_name(&self) -> &'static str {
        "RMSprop"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn slots(&self) -> Vec<&'static str> {
        let mut slots = vec!["velocity"];
        if self.momentum > 0.0 {
            slots.push("momentum");
        }
        if self.centered {
            slots.push("average_gradient");
        }
        slots
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
