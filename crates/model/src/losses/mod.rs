//! Losses: what training makes small. Formulas, constants and reductions are those of Keras 3.

mod crossentropy;
mod distribution;
mod focal;
mod hinge;
mod outputs;
mod regression;
mod similarity;

pub use crossentropy::{
    BinaryCrossentropy, CategoricalCrossentropy, CategoricalGeneralizedCrossEntropy, SparseCategoricalCrossentropy,
};
pub use distribution::{KLDivergence, Poisson};
pub use focal::{BinaryFocalCrossentropy, CategoricalFocalCrossentropy};
pub use hinge::{CategoricalHinge, Hinge, SquaredHinge};
pub use outputs::{IntoLosses, Weighted};
pub use regression::{
    Huber, LogCosh, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError,
};
pub use similarity::{Circle, CosineSimilarity, Dice, Tversky};

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
    /// Another name of [`Reduction::SumOverBatchSize`].
    Mean,
    /// Sum of weighted losses over the sum of the weights, each counted once also where it stands for several losses.
    MeanWithSampleWeight,
    /// The weighted losses themselves. A model can not be trained with it.
    None,
}

impl Reduction {
    /// Reduces `losses`. `weights` and `mask` (of any type, zero drops a loss) have leading axes of it, and maybe axes of length 1 after
    /// them. Under the mean reductions without weights in the divisor a mask counts kept losses only: each weighs `all / kept`.
    pub fn apply(self, losses: &Tensor, weights: Option<&Tensor>, mask: Option<&Tensor>) -> Tensor {
        let float = |t: &Tensor| t.cast(losses.dtype());
        let mean = matches!(self, Reduction::SumOverBatchSize | Reduction::Mean);
        let mask = mask.map(|mask| {
            let kept = mask.cast(ibex_core::DType::Bool).cast(losses.dtype());
            if !mean {
                return kept;
            }
            let (all, count) = (kept.shape().elements() as f32, kept.sum(&[]));
            let share = count.eq(0.0).select(0.0, all / &count);
            kept * share
        });
        let weights = match (weights.map(float), mask) {
            (Some(weights), Some(mask)) => {
                let rank = weights.rank().max(mask.rank());
                Some(with_rank(&weights, rank) * with_rank(&mask, rank))
            }
            (weights, mask) => weights.or(mask),
        };
        let weights = weights.map(|w| with_rank(&w, losses.rank()));
        let weighted = match &weights {
            Some(w) => losses * w,
            None => losses.clone(),
        };
        match (self, &weights) {
            (Reduction::None, _) => weighted,
            (Reduction::Sum, _) => weighted.sum(&[]),
            (Reduction::MeanWithSampleWeight, Some(w)) => {
                let total = w.sum(&[]);
                let none = total.eq(0.0);
                // Chosen before the division too: the gradient of what is not chosen must not be NaN.
                none.select(0.0, weighted.sum(&[]) / none.select(1.0, &total))
            }
            _ => weighted.mean(&[]),
        }
    }
}

/// Without axes of length 1 at the end that are too many, or with them if there are too few.
fn with_rank(t: &Tensor, rank: usize) -> Tensor {
    let mut t = t.clone();
    while t.rank() > rank && t.dim(-1) == 1 {
        t = t.squeeze(-1);
    }
    while t.rank() < rank {
        t = t.unsqueeze(-1);
    }
    t
}

/// The scalar loss of a batch, with sample weights and a mask of predictions, if there are some.
///
/// # Errors
/// If targets, predictions, weights and mask do not fit; `Value` if the loss is not to be reduced.
pub(crate) fn value(
    loss: &dyn Loss,
    y_true: &Tensor,
    y_pred: &Tensor,
    weights: Option<&Tensor>,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let each = loss.call(y_true, y_pred)?;
    each.check()?;
    let mask = match (loss.mask(y_true, y_pred, &each), mask) {
        (Some(own), Some(mask)) => {
            let rank = own.rank().max(mask.rank());
            Some(with_rank(&own, rank).and(with_rank(&mask.cast(ibex_core::DType::Bool), rank)))
        }
        (own, mask) => own.or(mask.cloned()),
    };
    let value = loss.reduction().apply(&each, weights, mask.as_ref());
    match value.check()?.rank() {
        0 => Ok(value),
        _ => Err(Error::value(format!(
            "the reduction 'none' leaves losses {}, training needs one number; use another reduction",
            value.shape()
        ))),
    }
}

/// A loss function.
#[diagnostic::on_unimplemented(message = "`{Self}` is no loss", label = "no loss")]
pub trait Loss: Debug + Send + Sync + 'static {
    /// The class name in files: `"MeanSquaredError"`.
    fn class_name(&self) -> &'static str;

    /// Its configuration.
    ///
    /// # Errors
    /// If it can not be written to a file.
    fn config(&self) -> Result<Config>;

    /// Looks at its settings when [`Model::compile`](crate::Model::compile) is given it, and before a model is trained or evaluated with it; by default
    /// all are good.
    ///
    /// # Errors
    /// `Value` naming the one that is out of its domain.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The loss of every sample (of every position, for sequences): predictions without their last axis.
    ///
    /// # Errors
    /// If targets and predictions do not fit, naming both shapes.
    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor>;

    /// Which of the losses that [`Loss::call`] gave count, as `bool`; all of them if there is no mask.
    fn mask(&self, _y_true: &Tensor, _y_pred: &Tensor, _losses: &Tensor) -> Option<Tensor> {
        None
    }

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

    fn check(&self) -> Result<()> {
        (**self).check()
    }

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        (**self).call(y_true, y_pred)
    }

    fn mask(&self, y_true: &Tensor, y_pred: &Tensor, losses: &Tensor) -> Option<Tensor> {
        (**self).mask(y_true, y_pred, losses)
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

/// A loss's struct, its defaults and its setters. `head!` writes the beginning of its `impl Loss`.
macro_rules! loss {
    (
        $(#[$doc:meta])*
        $name:ident $([$logits:ident])? {
            $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($logits: bool,)?
            $($field: $ty,)*
            reduction: $crate::losses::Reduction,
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($logits: false,)? $($field: $default,)* reduction: $crate::losses::Reduction::default() }
            }
        }

        impl $name {
            /// The loss with Keras's defaults.
            pub fn new() -> Self {
                Self::default()
            }

            $(/// Predictions are logits: the model's last layer has no softmax or sigmoid. More accurate.
            pub fn $logits() -> Self {
                Self { $logits: true, ..Self::default() }
            })?

            $($(#[$field_doc])*
            #[must_use]
            pub fn $field(self, $field: $ty) -> Self {
                Self { $field, ..self }
            })*

            /// How the losses of samples become one number.
            #[must_use]
            pub fn with_reduction(mut self, reduction: $crate::losses::Reduction) -> Self {
                self.reduction = reduction;
                self
            }
        }
    };
}
use loss;

/// The first functions of an `impl Loss`.
macro_rules! head {
    ($name:literal) => {
        fn class_name(&self) -> &'static str {
            $name
        }

        fn config(&self) -> ibex_core::Result<$crate::config::Config> {
            $crate::config::save(self)
        }

        fn reduction(&self) -> $crate::losses::Reduction {
            self.reduction
        }
    };
}
use head;

/// Dense targets as floats, with the shape of the predictions.
pub(crate) fn dense_targets(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
    let y = squeeze_or_expand(y_true, y_pred).cast(y_pred.dtype());
    if y.shape() != y_pred.shape() {
        let (got, want) = (y_true.shape(), y_pred.shape());
        return Err(Error::shape(format!("{name}: targets {got} do not fit predictions {want}")));
    }
    Ok(y)
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

/// Targets as floats, and predictions, with one shape. As in Keras a vector gets a last axis of length 1 where the other has it; of longer
/// shapes that axis goes away.
fn aligned(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Result<(Tensor, Tensor)> {
    let (mut y, mut p) = (y_true.cast(y_pred.dtype()), y_pred.clone());
    let (short, long) = if y.rank() < p.rank() { (&mut y, &mut p) } else { (&mut p, &mut y) };
    if short.rank() + 1 == long.rank() && long.dim(-1) == 1 {
        if short.rank() == 1 {
            *short = short.unsqueeze(-1);
        } else {
            *long = long.squeeze(-1);
        }
    }
    if y.shape() != p.shape() {
        return Err(Error::shape(format!(
            "{name}: targets {} do not fit predictions {}",
            y_true.shape(),
            y_pred.shape()
        )));
    }
    Ok((y, p))
}

/// Mean over the last axis; of a scalar itself.
fn mean(each: Tensor) -> Tensor {
    if each.rank() == 0 { each } else { each.mean(&[-1]) }
}

macro_rules! losses {
    ($($class:ident $snake:literal $($short:literal)?),+ $(,)?) => {
        /// The classes that [`from_config`] knows.
        pub const NAMES: &[&str] = &[$(stringify!($class)),+];

        /// The loss of a class name, of Keras's function (`"mean_squared_error"`) or its short form (`"mse"`), and of a configuration.
        ///
        /// # Errors
        /// `Unsupported` if no such class is known, with a list of those that are; `Format` naming a field that is wrong.
        pub fn from_config(name: &str, config: Config) -> Result<Box<dyn Loss>> {
            let short = ["MSE", "MAE", "MAPE", "MSLE", "BCE", "KLD"].contains(&name);
            let name = if short { &name.to_lowercase() } else { name };
            match name {
                $(stringify!($class) | $snake $(| $short)? => Ok(Box::new(crate::config::load::<$class>(config)?)),)+
                _ => Err(Error::unsupported(format!("unknown loss {name:?}; known are {}", NAMES.join(", ")))),
            }
        }
    };
}

losses! {
    MeanSquaredError "mean_squared_error" "mse",
    MeanAbsoluteError "mean_absolute_error" "mae",
    MeanAbsolutePercentageError "mean_absolute_percentage_error" "mape",
    MeanSquaredLogarithmicError "mean_squared_logarithmic_error" "msle",
    Huber "huber",
    LogCosh "log_cosh",
    CosineSimilarity "cosine_similarity",
    KLDivergence "kl_divergence" "kld",
    Poisson "poisson",
    Hinge "hinge",
    SquaredHinge "squared_hinge",
    CategoricalHinge "categorical_hinge",
    BinaryCrossentropy "binary_crossentropy" "bce",
    BinaryFocalCrossentropy "binary_focal_crossentropy",
    CategoricalCrossentropy "categorical_crossentropy",
    CategoricalFocalCrossentropy "categorical_focal_crossentropy",
    CategoricalGeneralizedCrossEntropy "categorical_generalized_cross_entropy",
    SparseCategoricalCrossentropy "sparse_categorical_crossentropy",
    Dice "dice",
    Tversky "tversky",
    Circle "circle",
}
