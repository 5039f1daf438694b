//! Focal losses: cross-entropies that count less where the model is sure already (Lin et al. 2017).

use super::{EPSILON, Loss, aligned, head, loss};
use ibex_core::{Result, Tensor};

loss! {
    /// Mean over an axis of `(1 - p_t)^gamma` times the binary cross-entropy, with `p_t` the probability of the right answer.
    BinaryFocalCrossentropy [from_logits] {
        /// Weighs ones with `alpha` and zeros with `1 - alpha`; false by default.
        apply_class_balancing: bool = false,
        /// The weight of ones; 0.25 by default.
        alpha: f32 = 0.25,
        /// How much sure predictions lose; 2 by default, 0 gives the cross-entropy.
        gamma: f32 = 2.0,
        /// Moves targets toward one half by this share.
        label_smoothing: f32 = 0.0,
        /// The axis of the mean; -1 by default.
        axis: isize = -1,
    }
}

loss! {
    /// `-sum(alpha * (1 - p)^gamma * y_true * ln p)` over the classes, with one-hot (or soft) targets.
    CategoricalFocalCrossentropy [from_logits] {
        /// A factor for all classes; 0.25 by default.
        alpha: f32 = 0.25,
        /// How much sure predictions lose; 2 by default, 0 gives the cross-entropy.
        gamma: f32 = 2.0,
        /// Moves targets toward the uniform distribution by this share.
        label_smoothing: f32 = 0.0,
        /// The axis of the classes; -1 by default.
        axis: isize = -1,
    }
}

impl Loss for BinaryFocalCrossentropy {
    head!("BinaryFocalCrossentropy");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (mut y, mut p) = aligned("binary_focal_crossentropy", y_true, y_pred)?;
        if self.label_smoothing != 0.0 {
            y = y * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing;
        }
        if self.from_logits {
            p = p.sigmoid();
        }
        let cut = p.clamp(EPSILON, 1.0 - EPSILON);
        let entropy = -(&y * cut.log() + (1.0 - &y) * (1.0 - cut).log());
        let right = &y * &p + (1.0 - &y) * (1.0 - &p);
        let mut each = (1.0 - right).pow(self.gamma) * entropy;
        if self.apply_class_balancing {
            each = (&y * self.alpha + (1.0 - &y) * (1.0 - self.alpha)) * each;
        }
        Ok(if each.rank() == 0 { each } else { each.mean(&[self.axis]) })
    }
}

impl Loss for CategoricalFocalCrossentropy {
    head!("CategoricalFocalCrossentropy");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (mut y, mut p) = aligned("categorical_focal_crossentropy", y_true, y_pred)?;
        if self.label_smoothing != 0.0 {
            y = y * (1.0 - self.label_smoothing) + self.label_smoothing / p.dim(-1) as f32;
        }
        let along = &[self.axis];
        if self.from_logits {
            p = p.softmax(self.axis);
        }
        let p = (&p / p.sum_keep(along)).clamp(EPSILON, 1.0 - EPSILON);
        let entropy = -(y * p.log());
        Ok(((1.0 - p).pow(self.gamma) * self.alpha * entropy).sum(along))
    }
}
