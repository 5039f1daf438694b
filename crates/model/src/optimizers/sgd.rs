//! Stochastic gradient descent.

use super::{Optimizer, Options, Step, option_setters};
use crate::config::{self, Config};
use ibex_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// `w -= lr * g`, or with momentum `v = momentum * v - lr * g`, `w += v` (Nesterov: `w += momentum * v - lr * g`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SGD {
    #[serde(flatten)]
    options: Options,
    momentum: f32,
    nesterov: bool,
}

impl Default for SGD {
    fn default() -> Self {
        SGD { options: Options::new(0.01), momentum: 0.0, nesterov: false }
    }
}

impl SGD {
    /// With a learning rate; Keras's default is 0.01.
    pub fn new(learning_rate: f32) -> Self {
        SGD { options: Options::new(learning_rate), ..SGD::default() }
    }

    /// Share of the last step that is kept; 0 by default.
    pub fn momentum(self, momentum: f32) -> Self {
        SGD { momentum, ..self }
    }

    /// Nesterov's form of momentum.
    pub fn nesterov(self, nesterov: bool) -> Self {
        SGD { nesterov, ..self }
    }

    option_setters!();
}

impl Optimizer for SGD {
    fn class_name(&self) -> &'static str {
        "SGD"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn slots(&self) -> Vec<&'static str> {
        if self.momentum == 0.0 { vec![] } else { vec!["momentum"] }
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let scaled = gradient * &step.learning_rate;
        let [velocity] = slots else { return (weight - scaled, vec![]) };
        let velocity = velocity * self.momentum - &scaled;
        let change = if self.nesterov { &velocity * self.momentum - scaled } else { velocity.clone() };
        (weight + change, vec![velocity])
    }
}
