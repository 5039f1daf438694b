//! Losses of overlaps and angles.

use super::{EPSILON, Loss, aligned, head, loss};
use crate::config::Axes;
use ibex_core::{DType, Error, Result, Tensor};

loss! {
    /// Minus the cosine of the angle between targets and predictions, from -1 (same direction) to 1.
    CosineSimilarity {
        /// The axis of the vectors; -1 by default.
        axis: isize = -1,
    }
}

loss! {
    /// `1 - 2 * sum(y_true * y_pred) / (sum(y_true) + sum(y_pred) + 1e-7)`, for masks of images (Milletari et al. 2016).
    Dice {
        /// The axes of the sums; all by default, which gives one number for a batch.
        axis: Axes = Axes::All,
    }
}

loss! {
    /// `1 - tp / (tp + alpha * fp + beta * fn + 1e-7)` with `tp = sum(y_true * y_pred)`, and as in Keras `fp = sum(y_true * (1 - y_pred))`,
    /// `fn = sum((1 - y_true) * y_pred)` (Salehi et al. 2017). With both factors 0.5 it is [`Dice`].
    Tversky {
        /// The factor of `fp`; 0.5 by default.
        alpha: f32 = 0.5,
        /// The factor of `fn`; 0.5 by default.
        beta: f32 = 0.5,
        /// The axes of the sums; all by default, which gives one number for a batch.
        axis: Axes = Axes::All,
    }
}

loss! {
    /// Circle loss (Sun et al. 2020) of embeddings `(batch, n)` of length 1, with integer labels `(batch,)`: pairs of one label are drawn
    /// together, others apart, each pair with a weight that grows with its distance from the optimum. Samples with a loss of 0 do not count.
    Circle {
        /// Scale of similarities; 80 by default.
        gamma: f32 = 80.0,
        /// How far from the optimum pairs may stay; 0.4 by default.
        margin: f32 = 0.4,
        /// A sample is no pair with itself; true by default.
        remove_diagonal: bool = true,
    }
}

impl Loss for CosineSimilarity {
    head!("CosineSimilarity");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (y, p) = aligned("cosine_similarity", y_true, y_pred)?;
        let along = &[self.axis];
        let unit = |x: &Tensor| x * x.square().sum_keep(along).maximum(EPSILON * EPSILON).rsqrt();
        Ok(-(unit(&y) * unit(&p)).sum(along))
    }
}

impl Loss for Dice {
    head!("Dice");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (y, p) = aligned("dice", y_true, y_pred)?;
        let sum = |x: &Tensor| x.sum(self.axis.list());
        Ok(1.0 - sum(&(&y * &p)) * 2.0 / (sum(&y) + sum(&p) + EPSILON))
    }
}

impl Loss for Tversky {
    head!("Tversky");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (y, p) = aligned("tversky", y_true, y_pred)?;
        let sum = |x: Tensor| x.sum(self.axis.list());
        let both = sum(&y * &p);
        let (missed, wrong) = (sum((1.0 - &p) * &y), sum((1.0 - &y) * &p));
        Ok(1.0 - &both / (&both + missed * self.alpha + wrong * self.beta + EPSILON))
    }
}

impl Loss for Circle {
    head!("Circle");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let labels = y_true.cast(DType::I32);
        let n = y_pred.dim(0);
        if y_pred.rank() != 2 || labels.shape().elements() != n {
            return Err(Error::shape(format!(
                "circle: labels {} do not fit embeddings {}: need one label for each row of numbers",
                y_true.shape(),
                y_pred.shape()
            )));
        }
        let same = labels.reshape([n, 1]).eq(labels.reshape([1, n]));
        let other = same.logical_not();
        let itself = Tensor::iota([n, n], 0).eq(Tensor::iota([n, n], 1));
        let same = if self.remove_diagonal { same.and(itself.logical_not()) } else { same };
        let distance = (1.0 - y_pred.matmul(y_pred.t())).maximum(0.0);
        let margin = self.margin;
        let pull = (&distance + margin) * (margin - &distance) * -self.gamma;
        let push = (1.0 + margin - &distance).maximum(0.0) * (1.0 - margin - &distance) * self.gamma;
        // In place of minus infinity, which not every device computes with: nothing beside any loss.
        let total = |pairs: &Tensor, losses: Tensor| pairs.select(losses, -1e30).logsumexp_keep(-1).squeeze(-1);
        Ok((total(&same, pull) + total(&other, push)).softplus())
    }

    fn mask(&self, _y_true: &Tensor, _y_pred: &Tensor, losses: &Tensor) -> Option<Tensor> {
        Some(losses.gt(0.0))
    }
}
