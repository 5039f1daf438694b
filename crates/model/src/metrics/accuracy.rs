//! How often predictions are right.

use super::define::{described, metric};
use super::{Metric, misfit};
use crate::losses::squeeze_or_expand;
use ibex_core::{DType, Result, Tensor};
use std::convert::identity;

metric! {
    /// Share of right predictions, in the kind that fits targets and predictions, as Keras resolves `"accuracy"`: binary if predictions
    /// have one output, sparse if targets are class numbers, else categorical. From 0 to 1.
    Accuracy "accuracy" {}
}

impl Metric for Accuracy {
    described!(Some(true));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, sparse: bool) -> Result<Tensor> {
        if y_pred.dim(-1) == 1 && !sparse {
            BinaryAccuracy::new().values(y_true, y_pred, sparse)
        } else if sparse || y_true.rank() < y_pred.rank() || y_true.dim(-1) == 1 {
            SparseCategoricalAccuracy::new().values(y_true, y_pred, sparse)
        } else {
            CategoricalAccuracy::new().values(y_true, y_pred, sparse)
        }
    }
}

metric! {
    /// Share of predictions on the right side of a threshold: `y_true == (y_pred > threshold)`. From 0 to 1.
    BinaryAccuracy "binary_accuracy" {
        /// Predictions above it count as 1; 0.5 by default.
        threshold: f64 = 0.5, f64 => identity;
    }
}

impl Metric for BinaryAccuracy {
    described!(Some(true));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        let y = squeeze_or_expand(y_true, y_pred).cast(y_pred.dtype());
        if y.shape() != y_pred.shape() {
            return Err(misfit(&self.name, y_true, y_pred));
        }
        Ok(y.eq(y_pred.gt(self.threshold).cast(y_pred.dtype())).cast(DType::F32))
    }
}

metric! {
    /// Share of rows whose largest prediction is at the largest target (the first of equals). From 0 to 1.
    CategoricalAccuracy "categorical_accuracy" {}
}

impl Metric for CategoricalAccuracy {
    described!(Some(true));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        if y_true.shape() != y_pred.shape() || y_pred.rank() == 0 {
            return Err(misfit(&self.name, y_true, y_pred));
        }
        Ok(y_true.argmax(-1).eq(y_pred.argmax(-1)).cast(DType::F32))
    }
}

metric! {
    /// Share of rows whose largest prediction (the first of equals) is at the label. From 0 to 1.
    SparseCategoricalAccuracy "sparse_categorical_accuracy" {}
}

/// Class numbers `(n, ..)` or `(n, .., 1)` for predictions `(n, .., classes)`.
fn labels(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
    let labels =
        if y_true.rank() == y_pred.rank() && y_true.dim(-1) == 1 { y_true.squeeze(-1) } else { y_true.clone() };
    if labels.rank() + 1 != y_pred.rank() || labels.shape()[..] != y_pred.shape()[..labels.rank()] {
        return Err(misfit(name, y_true, y_pred));
    }
    Ok(labels.cast(DType::I32))
}

impl Metric for SparseCategoricalAccuracy {
    described!(Some(true));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        Ok(labels(&self.name, y_true, y_pred)?.eq(y_pred.argmax(-1)).cast(DType::F32))
    }
}

metric! {
    /// Share of rows whose largest target is among the `k` largest predictions. From 0 to 1. A prediction equal to the last one of them counts as
    /// among them, however many there are.
    TopKCategoricalAccuracy "top_k_categorical_accuracy" {
        /// How many predictions count; 5 by default.
        k: usize = 5, usize => identity;
    }
}

/// Is the prediction at the label among the `k` largest? So it is if fewer than `k` are larger: no sort is needed.
fn in_top_k(labels: &Tensor, y_pred: &Tensor, k: usize) -> Tensor {
    let at = y_pred.pick(labels);
    let at = at.is_nan().select(f64::from(f32::NEG_INFINITY), &at).unsqueeze(-1);
    y_pred.gt(at).cast(DType::I32).sum(&[-1]).lt(k as f64).cast(DType::F32)
}

impl Metric for TopKCategoricalAccuracy {
    described!(Some(true));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        if y_true.shape() != y_pred.shape() || y_pred.rank() == 0 {
            return Err(misfit(&self.name, y_true, y_pred));
        }
        Ok(in_top_k(&y_true.argmax(-1), y_pred, self.k))
    }
}

metric! {
    /// Share of rows whose label is among the `k` largest predictions. From 0 to 1; equals as in [`TopKCategoricalAccuracy`].
    SparseTopKCategoricalAccuracy "sparse_top_k_categorical_accuracy" {
        /// How many predictions count; 5 by default.
        k: usize = 5, usize => identity;
        /// Predictions are class numbers already, the most likely first. Off by default.
        from_sorted_ids: bool = false, bool => identity;
    }
}

impl Metric for SparseTopKCategoricalAccuracy {
    described!(Some(true));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        let labels = labels(&self.name, y_true, y_pred)?;
        if !self.from_sorted_ids {
            return Ok(in_top_k(&labels, y_pred, self.k));
        }
        let first = y_pred.narrow(-1, 0, self.k.min(y_pred.dim(-1)));
        Ok(first.cast(DType::I32).eq(labels.unsqueeze(-1)).cast(DType::F32).max(&[-1]))
    }
}
