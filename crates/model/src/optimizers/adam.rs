//! Adam.

use super::{Optimizer, Options, Step, complement, option_setters};
use crate::config::{self, Config};
use ibex_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// Adam (Kingma and Ba 2015) as Keras computes it: `epsilon` stands outside of the bias correction,
/// `w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Adam {
    #[serde(flatten)]
    options: Options,
    beta_1: f32,
    beta_2: f32,
    epsilon: f32,
    amsgrad: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { options: Options::new(1e-3), beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, amsgrad: false }
    }
}

impl Adam {
    /// With a learning rate; Keras's default is 0.001.
    pub fn new(learning_rate: f32) -> Self {
        Adam { options: Options::new(learning_rate), ..Adam::default() }
    }

    /// Decay of the first moment; 0.9 by default.
    pub fn beta_1(self, beta_1: f32) -> Self {
        Adam { beta_1, ..self }
    }

    /// Decay of the second moment; 0.999 by default.
    pub fn beta_2(self, beta_2: f32) -> Self {
        Adam { beta_2, ..self }
    }

    /// Added to the root of the second moment; 1e-7 by default.
    pub fn epsilon(self, epsilon: f32) -> Self {
        Adam { epsilon, ..self }
    }

    /// Divides by the largest second moment so far (Reddi et al. 2018).
    pub fn amsgrad(self, amsgrad: bool) -> Self {
        Adam { amsgrad, ..self }
    }

    option_setters!();
}

impl Optimizer for Adam {
    fn class_name(&self) -> &'static str {
        "Adam"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn slots(&self) -> Vec<&'static str> {
        if self.amsgrad { vec!["momentum", "velocity", "velocity_hat"] } else { vec!["momentum", "velocity"] }
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let power = |beta: f32| Tensor::full([], f64::from(beta), weight.dtype()).pow(&step.number);
        let alpha = &step.learning_rate * (1.0 - power(self.beta_2)).sqrt() / (1.0 - power(self.beta_1));
        let m = &slots[0] + (gradient - &slots[0]) * complement(self.beta_1);
        let v = &slots[1] + (gradient.square() - &slots[1]) * complement(self.beta_2);
        let mut new = vec![m.clone(), v.clone()];
        let mut second = v;
        if self.amsgrad {
            second = slots[2].maximum(&second);
            new.push(second.clone());
        }
        (weight - m * alpha / (second.sqrt() + self.epsilon), new)
    }
}
