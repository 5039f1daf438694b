//! Adafactor.

use super::{Optimizer, Slot, Step, head, optimizer};
use ibex_core::{Error, Result, Shape, Tensor};

optimizer! {
    /// Second moments from those of rows and columns, and steps relative to the size of the weight (Shazeer and Stern 2018), as Keras computes it:
    /// `w -= max(epsilon_2, rms(w)) * min(lr, 1 / sqrt(t)) * u / max(1, rms(u) / clip_threshold)` with `u = g / sqrt(v)`. Of a weight with two axes or
    /// more, `v` is the product of the moments along its last two, divided by their mean.
    Adafactor, learning_rate 0.001 {
        /// The second moments decay by `1 - t^beta_2_decay`; -0.8 by default.
        beta_2_decay: f32 = -0.8,
        /// Added to the square of the gradient; 1e-30 by default.
        epsilon_1: f32 = 1e-30,
        /// The least size of a weight that steps are relative to; 1e-3 by default.
        epsilon_2: f32 = 1e-3,
        /// The largest root mean square of a step before it is scaled; 1 by default.
        clip_threshold: f32 = 1.0,
        /// Of Keras's configuration. It changes nothing there: the rate is at most `1 / sqrt(t)` without it too.
        relative_step: bool = true,
    }
}

fn rms(x: &Tensor) -> Tensor {
    x.square().mean(&[]).sqrt()
}

impl Optimizer for Adafactor {
    head!("Adafactor");

    fn check(&self) -> Result<()> {
        if self.beta_2_decay > 0.0 {
            return Err(Error::value(format!("beta_2_decay is {}, it must not be above 0", self.beta_2_decay)));
        }
        if self.clip_threshold <= 0.0 {
            return Err(Error::value(format!("clip_threshold is {}, it must be above 0", self.clip_threshold)));
        }
        self.options.check()
    }

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        let velocity = Slot::zeros("velocity", weight);
        match &weight[..] {
            [further @ .., rows, columns] => {
                let moment = |name, last: &usize| Slot::zeros(name, &[further, &[*last]].concat().into());
                vec![moment("row_moment", rows), moment("column_moment", columns), velocity]
            }
            _ => vec![velocity],
        }
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let rate = step.learning_rate.minimum(1.0 / step.number.sqrt());
        let kept = 1.0 - step.number.pow(self.beta_2_decay);
        let mix = |old: &Tensor, new: &Tensor| old * &kept + new * (1.0 - &kept);
        let square = gradient.square() + self.epsilon_1;
        let new = match slots {
            [rows, columns, _] => {
                let (rows, columns) = (mix(rows, &square.mean(&[-1])), mix(columns, &square.mean(&[-2])));
                let velocity = (&rows / rows.mean_keep(&[-1])).unsqueeze(-1) * columns.unsqueeze(-2);
                vec![rows, columns, velocity]
            }
            slots => slots.iter().map(|velocity| mix(velocity, &square)).collect(),
        };
        let direction = new.last().map_or_else(|| gradient.clone(), |velocity| gradient / velocity.sqrt());
        let direction = &direction / (rms(&direction) / self.clip_threshold).maximum(1.0);
        (weight - direction * (rms(weight).maximum(self.epsilon_2) * rate), new)
    }
}
