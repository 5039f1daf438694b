//! Adam and AdamW.

use super::{Optimizer, Slot, Step, complement, head, optimizer};
use ibex_core::{Error, Result, Shape, Tensor};

optimizer! {
    /// Adam (Kingma and Ba 2015) as Keras computes it: `epsilon` stands outside of the bias correction,
    /// `w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)`.
    Adam, learning_rate 0.001 {
        /// Decay of the first moment; 0.9 by default.
        beta_1: f32 = 0.9,
        /// Decay of the second moment; 0.999 by default.
        beta_2: f32 = 0.999,
        /// Added to the root of the second moment; 1e-7 by default.
        epsilon: f32 = 1e-7,
        /// Divides by the largest second moment so far (Reddi et al. 2018).
        amsgrad: bool = false,
    }
}

impl Optimizer for Adam {
    head!("Adam");

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        let names: &[_] =
            if self.amsgrad { &["momentum", "velocity", "velocity_hat"] } else { &["momentum", "velocity"] };
        names.iter().map(|name| Slot::zeros(name, weight)).collect()
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let alpha = &step.learning_rate * (1.0 - step.power(self.beta_2)).sqrt() / (1.0 - step.power(self.beta_1));
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

optimizer! {
    /// [`Adam`] with a weight decay of 0.004 that is no part of the gradient: `w -= lr * weight_decay * w` before each step
    /// (Loshchilov and Hutter 2019).
    AdamW, learning_rate 0.001, weight_decay 0.004 {
        /// Decay of the first moment; 0.9 by default.
        beta_1: f32 = 0.9,
        /// Decay of the second moment; 0.999 by default.
        beta_2: f32 = 0.999,
        /// Added to the root of the second moment; 1e-7 by default.
        epsilon: f32 = 1e-7,
        /// Divides by the largest second moment so far (Reddi et al. 2018).
        amsgrad: bool = false,
    }
}

impl AdamW {
    fn adam(&self) -> Adam {
        let AdamW { options, beta_1, beta_2, epsilon, amsgrad } = self.clone();
        Adam { options, beta_1, beta_2, epsilon, amsgrad }
    }
}

impl Optimizer for AdamW {
    head!("AdamW");

    fn check(&self) -> Result<()> {
        if self.options.weight_decay.is_none() {
            return Err(Error::value("weight_decay must be a number; use Adam without one"));
        }
        self.options.check()
    }

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        self.adam().slots(weight)
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        self.adam().update(step, weight, gradient, slots)
    }
}
