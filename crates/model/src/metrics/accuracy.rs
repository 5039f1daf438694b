//! How often predictions are right.

use super::Metric;
use crate::config::{self, Config};
use crate::losses::squeeze_or_expand;
use ibex_core::{DType, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// Share of right predictions, in the kind that fits targets and predictions, as Keras resolves `"accuracy"`: binary if predictions
/// have one output, sparse if targets are class numbers, else categorical.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Accuracy {}

impl Accuracy {
    /// The metric, named `accuracy`.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".into()
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn direction(&self) -> Option<bool> {
        Some(true)
    }

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

fn misfit(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Error {
    Error::shape(format!("{name}: targets {} do not fit predictions {}", y_true.shape(), y_pred.shape()))
}

/// Share of predictions on the right side of a threshold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BinaryAccuracy {
    threshold: f32,
}

impl Default for BinaryAccuracy {
    fn default() -> Self {
        BinaryAccuracy { threshold: 0.5 }
    }
}

impl BinaryAccuracy {
    /// With threshold 0.5.
    pub fn new() -> Self {
        BinaryAccuracy::default()
    }

    /// Predictions above the threshold count as 1.
    pub fn threshold(self, threshold: f32) -> Self {
        BinaryAccuracy { threshold }
    }
}

impl Metric for BinaryAccuracy {
    fn name(&self) -> String {
        "binary_accuracy".into()
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn direction(&self) -> Option<bool> {
        Some(true)
    }

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        let y = squeeze_or_expand(y_true, y_pred).cast(y_pred.dtype());
        if y.shape() != y_pred.shape() {
            return Err(misfit("binary_accuracy", y_true, y_pred));
        }
        Ok(y.eq(y_pred.gt(self.threshold).cast(y_pred.dtype())).cast(DType::F32))
    }
}

/// Share of rows whose largest prediction is at the largest target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CategoricalAccuracy {}

impl CategoricalAccuracy {
    /// The metric.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for CategoricalAccuracy {
    fn name(&self) -> String {
        "categorical_accuracy".into()
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn direction(&self) -> Option<bool> {
        Some(true)
    }

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        if y_true.shape() != y_pred.shape() || y_pred.rank() == 0 {
            return Err(misfit("categorical_accuracy", y_true, y_pred));
        }
        Ok(y_true.argmax(-1).eq(y_pred.argmax(-1)).cast(DType::F32))
    }
}

/// Share of rows whose largest prediction is at the label.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SparseCategoricalAccuracy {}

impl SparseCategoricalAccuracy {
    /// The metric.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for SparseCategoricalAccuracy {
    fn name(&self) -> String {
        "sparse_categorical_accuracy".into()
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn direction(&self) -> Option<bool> {
        Some(true)
    }

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        let labels =
            if y_true.rank() == y_pred.rank() && y_true.dim(-1) == 1 { y_true.squeeze(-1) } else { y_true.clone() };
        if labels.rank() + 1 != y_pred.rank() || labels.shape()[..] != y_pred.shape()[..labels.rank()] {
            return Err(misfit("sparse_categorical_accuracy", y_true, y_pred));
        }
        Ok(labels.cast(DType::I32).eq(y_pred.argmax(-1)).cast(DType::F32))
    }
}
