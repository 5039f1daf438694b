//! Cross-entropies.

use super::{EPSILON, Loss, Reduction, dense_targets};
use crate::config::{self, Config};
use ibex_core::{DType, Data, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Fields and setters that the three have in common.
macro_rules! crossentropy {
    ($name:ident $doc:literal { $($field:ident: $ty:ty, $set:literal;)* }) => {
        #[doc = $doc]
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            from_logits: bool,
            $($field: $ty,)*
            reduction: Reduction,
        }

        impl $name {
            /// Predictions are probabilities.
            pub fn new() -> Self {
                Self::default()
            }

            /// Predictions are logits: the model's last layer has no softmax or sigmoid. More accurate.
            pub fn from_logits() -> Self {
                Self { from_logits: true, ..Self::default() }
            }

            $(#[doc = $set]
            pub fn $field(self, $field: $ty) -> Self {
                Self { $field, ..self }
            })*

            /// How the losses of samples become one number.
            pub fn with_reduction(self, reduction: Reduction) -> Self {
                Self { reduction, ..self }
            }
        }
    };
}

crossentropy!(SparseCategoricalCrossentropy
    "`-log p[label]`, with integer labels `(batch,)` or `(batch, 1)` and predictions `(batch, .., classes)`." {});
crossentropy!(CategoricalCrossentropy
"`-sum(y_true * log p)` over the last axis, with one-hot (or soft) targets." {
    label_smoothing: f32, "Moves targets toward the uniform distribution by this share.";
});
crossentropy!(BinaryCrossentropy
"`-(y log p + (1 - y) log(1 - p))`, mean over the last axis." {
    label_smoothing: f32, "Moves targets toward one half by this share.";
});

/// Logarithms of class probabilities. Probabilities are first divided by their sum and clipped, as in Keras.
fn log_probabilities(y_pred: &Tensor, from_logits: bool) -> Tensor {
    if from_logits {
        return y_pred.log_softmax(-1);
    }
    let p = y_pred / y_pred.sum_keep(&[-1]);
    p.clamp(EPSILON, 1.0 - EPSILON).log()
}

impl Loss for SparseCategoricalCrossentropy {
    fn class_name(&self) -> &'static str {
        "SparseCategoricalCrossentropy"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let labels =
            if y_true.rank() == y_pred.rank() && y_true.dim(-1) == 1 { y_true.squeeze(-1) } else { y_true.clone() };
        if labels.shape()[..] != y_pred.shape()[..y_pred.rank().saturating_sub(1)] {
            return Err(Error::shape(format!(
                "sparse_categorical_crossentropy: labels {} do not fit predictions {}: need one label for each row of classes",
                y_true.shape(),
                y_pred.shape()
            )));
        }
        Ok(-log_probabilities(y_pred, self.from_logits).pick(labels.cast(DType::I32)))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn sparse_targets(&self) -> bool {
        true
    }

    fn check_targets(&self, targets: &Data, pred: &Shape) -> Result<()> {
        let classes = pred.last().copied().unwrap_or(0);
        let fits = |label: f64| label >= 0.0 && label < classes as f64 && label.fract() == 0.0;
        let bad = match targets {
            Data::I32(v) => v.iter().position(|&l| !fits(f64::from(l))).map(|i| (i, v[i].to_string())),
            Data::U32(v) | Data::Bool(v) => v.iter().position(|&l| !fits(f64::from(l))).map(|i| (i, v[i].to_string())),
            other => {
                let v = other.to_f64();
                v.iter().position(|&l| !fits(l)).map(|i| (i, v[i].to_string()))
            }
        };
        match bad {
            None => Ok(()),
            Some((at, label)) => Err(Error::value(format!(
                "label {label} at position {at} is out of range: the model has {classes} classes, so labels are 0 to {}",
                classes.saturating_sub(1)
            ))),
        }
    }
}

impl Loss for CategoricalCrossentropy {
    fn class_name(&self) -> &'static str {
        "CategoricalCrossentropy"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        if y_true.shape() != y_pred.shape() {
            return Err(Error::shape(format!(
                "categorical_crossentropy: targets {} do not fit predictions {}; for integer labels use SparseCategoricalCrossentropy",
                y_true.shape(),
                y_pred.shape()
            )));
        }
        let mut y = y_true.cast(y_pred.dtype());
        if self.label_smoothing != 0.0 {
            y = y * (1.0 - self.label_smoothing) + self.label_smoothing / y_pred.dim(-1) as f32;
        }
        Ok(-(y * log_probabilities(y_pred, self.from_logits)).sum(&[-1]))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

impl Loss for BinaryCrossentropy {
    fn class_name(&self) -> &'static str {
        "BinaryCrossentropy"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let mut y = dense_targets("binary_crossentropy", y_true, y_pred)?;
        if self.label_smoothing != 0.0 {
            y = y * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing;
        }
        let each = if self.from_logits {
            y_pred.softplus() - y_pred * y
        } else {
            let p = y_pred.clamp(EPSILON, 1.0 - EPSILON);
            -(&y * p.log() + (1.0 - &y) * (1.0 - p).log())
        };
        Ok(if each.rank() == 0 { each } else { each.mean(&[-1]) })
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check_targets(&self, targets: &Data, _pred: &Shape) -> Result<()> {
        let values = targets.to_f64();
        match values.iter().position(|v| !(0.0..=1.0).contains(v)) {
            None => Ok(()),
            Some(at) => Err(Error::value(format!(
                "target {} at position {at} is out of range: binary cross-entropy takes probabilities from 0 to 1",
                values[at]
            ))),
        }
    }
}
