//! Means of a value of every sample: errors, similarities, losses.

use super::define::{described, metric};
use super::{Batch, Metric, misfit, ratio, weights_as};
use crate::losses::{self, EPSILON, Loss, dense_targets};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use std::convert::identity;
use std::fmt;
use std::sync::Arc;

/// Metrics that are the mean of a loss.
macro_rules! means {
    ($($(#[$doc:meta])* $class:ident $label:literal $loss:ident;)+) => { $(
        metric! { $(#[$doc])* $class $label {} }

        impl Metric for $class {
            described!(Some(false));

            fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
                losses::$loss::new().call(y_true, y_pred)
            }
        }
    )+ };
}

means! {
    /// Mean of `(y_pred - y_true)^2`, from 0.
    MeanSquaredError "mean_squared_error" MeanSquaredError;
    /// Mean of `|y_pred - y_true|`, from 0.
    MeanAbsoluteError "mean_absolute_error" MeanAbsoluteError;
    /// Mean of `100 |y_true - y_pred| / max(|y_true|, 1e-7)`, from 0.
    MeanAbsolutePercentageError "mean_absolute_percentage_error" MeanAbsolutePercentageError;
    /// Mean of `(ln(1 + y_true) - ln(1 + y_pred))^2`, both at least 1e-7. From 0.
    MeanSquaredLogarithmicError "mean_squared_logarithmic_error" MeanSquaredLogarithmicError;
    /// Mean of `ln(cosh(y_pred - y_true))`, from 0.
    LogCoshError "logcosh" LogCosh;
    /// Mean of `max(1 - y_true * y_pred, 0)`, from 0. Targets are -1 or 1; a batch of nothing but 0 and 1 is understood as such.
    Hinge "hinge" Hinge;
    /// Mean of `max(1 - y_true * y_pred, 0)^2`, from 0. Targets as for [`Hinge`].
    SquaredHinge "squared_hinge" SquaredHinge;
    /// Mean of `max(1 + max((1 - y_true) * y_pred) - sum(y_true * y_pred), 0)`, from 0, with one-hot targets.
    CategoricalHinge "categorical_hinge" CategoricalHinge;
    /// Mean of `sum(y_true * ln(y_true / y_pred))` over the last axis, both clipped to 1e-7..1. From 0.
    KLDivergence "kl_divergence" KLDivergence;
    /// Mean of `y_pred - y_true * ln(y_pred + 1e-7)`.
    Poisson "poisson" Poisson;
}

metric! {
    /// Square root of the mean of `(y_pred - y_true)^2`, from 0.
    RootMeanSquaredError "root_mean_squared_error" {}
}

impl Metric for RootMeanSquaredError {
    described!(Some(false));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        Ok((y_pred - dense_targets(&self.name, y_true, y_pred)?).square())
    }

    fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        vec![ratio(sums[0][0], sums[1][0]).sqrt()]
    }
}

macro_rules! along_axis {
    ($($(#[$doc:meta])* $class:ident $label:literal $of:expr;)+) => { $(
        metric! { $(#[$doc])* $class $label {
            /// The axis of what is compared; the last by default.
            axis: isize = -1, isize => identity;
        } }

        impl Metric for $class {
            described!(Some(true));

            fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
                let y = dense_targets(&self.name, y_true, y_pred)?;
                let of: fn(&Tensor, &Tensor, isize) -> Tensor = $of;
                Ok(of(&y, y_pred, self.axis))
            }
        }
    )+ };
}

along_axis! {
    /// Mean of `sum(y_true * y_pred) / (|y_true| |y_pred|)` along an axis, from -1 to 1; 0 for a vector of zeros.
    CosineSimilarity "cosine_similarity" |y, p, axis| {
        // The loss is small where vectors are alike.
        losses::CosineSimilarity::new().axis(axis).call(y, p).map_or_else(Tensor::poisoned, |loss| -loss)
    };
    /// Mean of the correlation `cov(y_true, y_pred) / (std(y_true) std(y_pred))` along an axis, from -1 to 1.
    PearsonCorrelation "pearson_correlation" |y, p, axis| {
        let normal = |x: &Tensor| {
            let d = x - x.mean_keep(&[axis]);
            &d / d.square().mean_keep(&[axis]).sqrt()
        };
        (normal(y) * normal(p)).mean(&[axis])
    };
    /// Mean of `2 cov(y_true, y_pred) / (var(y_true) + var(y_pred) + (mean(y_true) - mean(y_pred))^2 + 1e-7)` along an axis, from -1 to 1.
    ConcordanceCorrelation "concordance_correlation" |y, p, axis| {
        let ([ym, yv], [pm, pv]) = (y.moments_keep(&[axis]), p.moments_keep(&[axis]));
        let norm = yv + pv + (ym - &pm).square() + EPSILON;
        ((y - &pm) * (p - &pm) * 2.0 / norm).mean(&[axis])
    };
}

metric! {
    /// Mean of `-(y ln p + (1 - y) ln(1 - p))`, from 0.
    BinaryCrossentropy "binary_crossentropy" {
        /// Predictions are logits. Off by default.
        from_logits: bool = false, bool => identity;
        /// Moves targets toward one half by this share; 0 by default.
        label_smoothing: f64 = 0.0, f64 => identity;
    }
}

impl Metric for BinaryCrossentropy {
    described!(Some(false));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        use losses::BinaryCrossentropy as Loss_;
        let loss = if self.from_logits { Loss_::from_logits() } else { Loss_::new() };
        loss.label_smoothing(self.label_smoothing as f32).call(y_true, y_pred)
    }
}

metric! {
    /// Mean of `-sum(y_true * ln p)` over the last axis, from 0.
    CategoricalCrossentropy "categorical_crossentropy" {
        /// Predictions are logits. Off by default.
        from_logits: bool = false, bool => identity;
        /// Moves targets toward the uniform distribution by this share; 0 by default.
        label_smoothing: f64 = 0.0, f64 => identity;
    }
}

impl Metric for CategoricalCrossentropy {
    described!(Some(false));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        use losses::CategoricalCrossentropy as Loss_;
        let loss = if self.from_logits { Loss_::from_logits() } else { Loss_::new() };
        loss.label_smoothing(self.label_smoothing as f32).call(y_true, y_pred)
    }
}

metric! {
    /// Mean of `-ln p[label]`, from 0.
    SparseCategoricalCrossentropy "sparse_categorical_crossentropy" {
        /// Predictions are logits. Off by default.
        from_logits: bool = false, bool => identity;
    }
}

impl Metric for SparseCategoricalCrossentropy {
    described!(Some(false));

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        use losses::SparseCategoricalCrossentropy as Loss_;
        let loss = if self.from_logits { Loss_::from_logits() } else { Loss_::new() };
        loss.call(y_true, y_pred)
    }
}

type Values = dyn Fn(&Tensor, &Tensor) -> Tensor + Send + Sync;

/// Mean of what a function of targets and predictions gives, weighted where samples have weights. It can not be saved.
#[derive(Clone)]
pub struct Mean {
    name: String,
    of: Arc<Values>,
}

/// Sum of what a function of targets and predictions gives, weighted where samples have weights. It can not be saved.
#[derive(Clone)]
pub struct Sum {
    name: String,
    of: Arc<Values>,
}

macro_rules! closures {
    ($($class:ident)+) => { $(
        impl $class {
            /// Of the values that `of(y_true, y_pred)` gives for every sample.
            pub fn new(name: impl Into<String>, of: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static) -> Self {
                $class { name: name.into(), of: Arc::new(of) }
            }
        }

        impl fmt::Debug for $class {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($class), self.name)
            }
        }
    )+ };
}

closures! { Mean Sum }

fn closure_config(name: &str) -> Result<crate::config::Config> {
    let text = format!("metric {name} is a function, which can not be saved; implement Metric for a type of your own");
    Err(Error::unsupported(text))
}

impl Metric for Mean {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn config(&self) -> Result<crate::config::Config> {
        closure_config(&self.name)
    }

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        Ok((self.of)(y_true, y_pred))
    }
}

impl Metric for Sum {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn config(&self) -> Result<crate::config::Config> {
        closure_config(&self.name)
    }

    fn state(&self, _pred: &Shape) -> Result<Vec<Shape>> {
        Ok(vec![Shape::from([])])
    }

    fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        let values = (self.of)(batch.y_true, batch.y_pred);
        let values = values.check()?;
        let weights = batch.weights.map(|w| weights_as(w, values.shape())).transpose()?;
        Ok(vec![weights.map_or_else(|| values.clone(), |w| values * w).sum(&[])])
    }

    fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        sums[0].clone()
    }
}

metric! {
    /// `1 - sum((y_true - y_pred)^2) / sum((y_true - mean(y_true))^2)`, at most 1, of every output; predictions have shape `(batch, outputs)`.
    R2Score "r2_score" {
        /// How outputs become one number: `"uniform_average"` (the default), `"variance_weighted_average"`, or `None` for one number each.
        class_aggregation: Option<String> = Some("uniform_average".into()), Option<&str> => |s: Option<&str>| s.map(String::from);
        /// Independent variables of the regression, for the adjusted score; 0 by default: not adjusted.
        num_regressors: usize = 0, usize => identity;
    }
}

impl Metric for R2Score {
    described!(Some(true));

    fn state(&self, pred: &Shape) -> Result<Vec<Shape>> {
        let known = [None, Some("uniform_average"), Some("variance_weighted_average")];
        if !known.contains(&self.class_aggregation.as_deref()) {
            let text = format!("r2_score: class_aggregation {:?}; it is one of {known:?}", self.class_aggregation);
            return Err(Error::value(text));
        }
        let &[outputs] = &pred[..] else {
            return Err(Error::shape(format!(
                "r2_score takes predictions (batch, outputs), one of the model is {pred}"
            )));
        };
        let each = Shape::from([outputs]);
        Ok(vec![each.clone(), each.clone(), each, Shape::from([]), Shape::from([])])
    }

    fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        let y = dense_targets(&self.name, batch.y_true, batch.y_pred)?;
        if y.rank() != 2 {
            return Err(misfit(&self.name, batch.y_true, batch.y_pred));
        }
        let rows = Shape::from([y.dim(0), 1]);
        let w = batch.weights.map_or_else(|| Ok(Tensor::ones(rows.clone(), DType::F32)), |w| weights_as(w, &rows))?;
        let (error, numbers) =
            ((&y - batch.y_pred).square(), Tensor::full([], y.shape().elements() as f64, DType::F32));
        Ok(vec![(&y * &w).sum(&[0]), (y.square() * &w).sum(&[0]), (error * &w).sum(&[0]), w.sum(&[]), numbers])
    }

    fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        let (count, numbers) = (sums[3][0], sums[4][0]);
        let totals: Vec<f64> = (0..sums[0].len()).map(|i| sums[1][i] - sums[0][i] * (sums[0][i] / count)).collect();
        let score =
            |(error, total): (&f64, &f64)| Some(1.0 - error / total).filter(|s| !s.is_infinite()).unwrap_or(0.0);
        let scores: Vec<f64> = sums[2].iter().zip(&totals).map(score).collect();
        let mut scores = match self.class_aggregation.as_deref() {
            None => scores,
            Some("uniform_average") => vec![scores.iter().sum::<f64>() / scores.len() as f64],
            Some(_) => {
                let weighted = scores.iter().zip(&totals).map(|(s, t)| s * t).sum::<f64>();
                vec![weighted / totals.iter().sum::<f64>()]
            }
        };
        let regressors = self.num_regressors as f64;
        // With too few samples it stays as it is, as in Keras.
        if regressors > 0.0 && regressors < numbers - 1.0 {
            scores.iter_mut().for_each(|s| *s = 1.0 - (1.0 - *s) * (numbers - 1.0) / (numbers - regressors - 1.0));
        }
        scores
    }
}
