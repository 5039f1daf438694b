//! Losses of margins.

use super::{Loss, aligned, head, loss, mean};
use ibex_core::{DType, Result, Tensor};

loss! {
    /// Mean over the last axis of `max(1 - y_true * y_pred, 0)`. Targets are -1 and 1; where all of a batch are 0 or 1, 0 counts as -1.
    Hinge {}
}

loss! {
    /// Mean over the last axis of `max(1 - y_true * y_pred, 0)^2`, with targets as for [`Hinge`].
    SquaredHinge {}
}

loss! {
    /// `max(neg - pos + 1, 0)` with `pos = sum(y_true * y_pred)` and `neg = max((1 - y_true) * y_pred)` over the last axis; targets are one-hot.
    CategoricalHinge {}
}

/// How far each prediction is from its margin.
fn distance(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
    let (y, p) = aligned(name, y_true, y_pred)?;
    let binary = y.eq(0.0).or(y.eq(1.0)).cast(DType::F32).min(&[]).eq(1.0);
    let y = binary.select(&y * 2.0 - 1.0, y);
    Ok((1.0 - y * p).maximum(0.0))
}

impl Loss for Hinge {
    head!("Hinge");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        Ok(mean(distance("hinge", y_true, y_pred)?))
    }
}

impl Loss for SquaredHinge {
    head!("SquaredHinge");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        Ok(mean(distance("squared_hinge", y_true, y_pred)?.square()))
    }
}

impl Loss for CategoricalHinge {
    head!("CategoricalHinge");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (y, p) = aligned("categorical_hinge", y_true, y_pred)?;
        let right = (&y * &p).sum(&[-1]);
        let wrong = ((1.0 - y) * p).max(&[-1]);
        Ok((wrong - right + 1.0).maximum(0.0))
    }
}
