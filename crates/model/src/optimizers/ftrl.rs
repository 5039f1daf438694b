//! FTRL.

use super::{Optimizer, Slot, Step, head, optimizer};
use ibex_core::{Error, Result, Shape, Tensor};

optimizer! {
    /// Follow the regularised leader (McMahan et al. 2013), for sparse linear models: with `n' = n + g^2` and
    /// `z += g + 2 * shrinkage * w - (n'^-p - n^-p) / lr * w`, the new weight is `(clip(z, -l1, l1) - z) / (n'^-p / lr + 2 * l2)`.
    Ftrl, learning_rate 0.001 {
        /// How the rate falls with the sum of squares, at most 0; `p` above, -0.5 by default.
        learning_rate_power: f32 = -0.5,
        /// Where the sums of squares start, at least 0; 0.1 by default.
        initial_accumulator_value: f32 = 0.1,
        /// `l1` above, at least 0; 0 by default.
        l1_regularization_strength: f32 = 0.0,
        /// `l2` above, at least 0; 0 by default.
        l2_regularization_strength: f32 = 0.0,
        /// Shrinks weights whose gradient is not 0, at least 0; 0 by default.
        l2_shrinkage_regularization_strength: f32 = 0.0,
        /// Adds `beta / (2 * lr)` to `l2`; 0 by default.
        beta: f32 = 0.0,
    }
}

impl Optimizer for Ftrl {
    head!("Ftrl");

    fn check(&self) -> Result<()> {
        let wrong = |name: &str, value: f32, sign: &str| {
            Err(Error::value(format!("{name} is {value}, it must be {sign} or zero")))
        };
        for (name, value) in [
            ("initial_accumulator_value", self.initial_accumulator_value),
            ("l1_regularization_strength", self.l1_regularization_strength),
            ("l2_regularization_strength", self.l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", self.l2_shrinkage_regularization_strength),
        ] {
            if value < 0.0 {
                return wrong(name, value, "positive");
            }
        }
        if self.learning_rate_power > 0.0 {
            return wrong("learning_rate_power", self.learning_rate_power, "negative");
        }
        self.options.check()
    }

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        vec![Slot::full("accumulator", weight, self.initial_accumulator_value), Slot::zeros("linear", weight)]
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let (rate, l1) = (&step.learning_rate, self.l1_regularization_strength);
        let sum = &slots[0] + gradient.square();
        let power = |x: &Tensor| x.pow(-self.learning_rate_power);
        let shrunk = gradient + weight * (2.0 * self.l2_shrinkage_regularization_strength);
        let linear = &slots[1] + shrunk - (power(&sum) - power(&slots[0])) / rate * weight;
        let l2 = self.beta / (rate * 2.0) + self.l2_regularization_strength;
        let quadratic = power(&sum) / rate + l2 * 2.0;
        ((linear.clamp(-l1, l1) - &linear) / quadratic, vec![sum, linear])
    }
}
