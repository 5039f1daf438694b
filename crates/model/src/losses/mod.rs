//! Losses: what training makes small. Formulas, constants and reductions are those of Keras 3.

mod crossentropy;
mod outputs;
mod regression;

pub use crossentropy::{BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy};
pub use outputs::{IntoLosses, Weighted};
pub use regression::{MeanAbsoluteError, MeanSquaredError};

use crate::config::Config;
use ibex_core::{Data, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Keras's fuzz factor: probabilities are clipped to `[EPSILON, 1 - EPSILON]`.
pub(crate) const EPSILON: f32 = 1e-7;

/// How the losses of samples become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Sum of weighted losses over their number (not over the sum of the weights).
    #[default]
    SumOverBatchSize,
    /// Sum of weighted losses.
    Sum,
    /// Sum of weighted losses over the sum of the weights.
    MeanWithSampleWeight,
}

impl Reduction {
    /// Reduces `losses`; `weights` has leading axes of it, and maybe axes of length 1 after them.
    pub fn apply(self, losses: &Tensor, weights: Option<&Tensor>) -> Tensor {
        let weights = weights.map(|w| {
            let mut w = w.clone();
            while w.rank() > losses.rank() && w.dim(-1) == 1 {
                w = w.squeeze(-1);
            }
            while w.rank() < losses.rank() {
                w = w.unsqueeze(-1);
            }
            w.broadcast_to(losses.shape())
        });
        let weighted = match &weights {
            Some(w) => losses * w,
            None => losses.clone(),
        };
        match (self, &weights) {
            (Reduction::Sum, _) => weighted.sum(&[]),
            (Reduction::MeanWithSampleWeight, Some(w)) => {
                let total = w.sum(&[]);
                total.eq(0.0).select(0.0, weighted.sum(&[]) / &total)
            }
            _ => weighted.mean(&[]),
        }
    }
}

/// A loss function.
pub trait Loss: Debug + Send + Sync + 'static {
    /// The class name in files: `"MeanSquaredError"`.
    fn class_name(&self) -> &'static str;

    /// Its configuration.
    ///
    /// # Errors
    /// If it can not be written to a file.
    fn config(&self) -> Result<Config>;

    /// The loss of every sample (of every position, for sequences): predictions without their last axis.
    ///
    /// # Errors
    /// If targets and predictions do not fit, naming both shapes.
    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor>;

    /// How the losses of samples become one number.
    fn reduction(&self) -> Reduction {
        Reduction::default()
    }

    /// Looks at target values before training starts; `pred` is the shape of one prediction without the batch axis.
    ///
    /// # Errors
    /// `Value` for a target out of its domain, saying which.
    fn check_targets(&self, _targets: &Data, _pred: &Shape) -> Result<()> {
        Ok(())
    }

    /// Are targets class numbers?
    fn sparse_targets(&self) -> bool {
        false
    }

    /// How many times it counts in the sum over all outputs.
    fn weight(&self) -> f32 {
        1.0
    }

    /// The loss with a weight in the sum over all outputs (Keras's `loss_weights`): `(a, b.weighted(0.3))`.
    fn weighted(self, weight: f32) -> Weighted<Self>
    where
        Self: Sized,
    {
        Weighted { loss: self, weight }
    }
}

/// One that is chosen at run time.
impl Loss for Box<dyn Loss> {
    fn class_name(&self) -> &'static str {
        (**self).class_name()
    }

    fn config(&self) -> Result<Config> {
        (**self).config()
    }

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        (**self).call(y_true, y_pred)
    }

    fn reduction(&self) -> Reduction {
        (**self).reduction()
    }

    fn check_targets(&self, targets: &Data, pred: &Shape) -> Result<()> {
        (**self).check_targets(targets, pred)
    }

    fn sparse_targets(&self) -> bool {
        (**self).sparse_targets()
    }

    fn weight(&self) -> f32 {
        (**self).weight()
    }
}

/// Makes `(n,)` targets fit `(n, 1)` predictions, and the other way round, as Keras does.
pub(crate) fn squeeze_or_expand(y_true: &Tensor, y_pred: &Tensor) -> Tensor {
    if y_true.rank() + 1 == y_pred.rank() && y_pred.dim(-1) == 1 {
        y_true.unsqueeze(-1)
    } else if y_true.rank() == y_pred.rank() + 1 && y_true.dim(-1) == 1 {
        y_true.squeeze(-1)
    } else {
        y_true.clone()
    }
}

/// Dense targets as floats, with the shape of the predictions.
pub(crate) fn dense_targets(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
    let y = squeeze_or_expand(y_true, y_pred).cast(y_pred.dtype());
    if y.shape() != y_pred.shape() {
        return Err(Error::shape(format!(
            "{name}: targets {} do not fit predictions {}",
            y_true.shape(),
            y_pred.shape()
        )));
    }
    Ok(y)
}

/// The loss of a class name and a configuration.
///
/// # Errors
/// `Unsupported` if no such class is known.
pub(crate) fn from_config(class_name: &str, config: Config) -> Result<Box<dyn Loss>> {
    use crate::config::load;
    Ok(match class_name {
        "SparseCategoricalCrossentropy" => Box::new(load::<SparseCategoricalCrossentropy>(config)?),
        "CategoricalCrossentropy" => Box::new(load::<CategoricalCrossentropy>(config)?),
        "BinaryCrossentropy" => Box::new(load::<BinaryCrossentropy>(config)?),
        "MeanSquaredError" => Box::new(load::<MeanSquaredError>(config)?),
        "MeanAbsoluteError" => Box::new(load::<MeanAbsoluteError>(config)?),
        other => {
            return Err(Error::unsupported(format!("unknown loss {other:?}; compile the model again after loading")));
        }
    })
}
