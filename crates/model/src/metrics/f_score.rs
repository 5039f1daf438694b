//! F scores.

use super::define::{described, metric};
use super::{Batch, Metric, misfit, weights_as};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::convert::identity;

/// How the scores of classes become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Average {
    /// All classes are counted together.
    Micro,
    /// Mean of the scores.
    Macro,
    /// Mean of the scores, weighted by how often each class occurs.
    Weighted,
}

macro_rules! f_scores {
    ($($(#[$doc:meta])* $class:ident $label:literal { $($(#[$set:meta])* $field:ident: $ty:ty = $default:expr;)* } $beta:expr;)+) => { $(
        metric! { $(#[$doc])* $class $label {
            /// One number for all classes; without it there is one for each.
            average: Option<Average> = None, Average => Some;
            $($(#[$set])* $field: $ty = $default, $ty => identity;)*
            /// Predictions above it are positive. Without it, the largest prediction of each row is.
            threshold: Option<f64> = None, f64 => Some;
        } }

        impl Metric for $class {
            described!(Some(true));

            fn state(&self, pred: &Shape) -> Result<Vec<Shape>> {
                let beta: fn(&Self) -> f64 = $beta;
                if beta(self).is_nan() || beta(self) <= 0.0 || self.threshold.is_some_and(|t| !(t > 0.0 && t <= 1.0)) {
                    return Err(Error::value(format!("{}: need beta > 0 and 0 < threshold <= 1", self.name)));
                }
                state(&self.name, self.average, pred)
            }

            fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
                update(&self.name, self.average, self.threshold, batch)
            }

            fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
                let beta: fn(&Self) -> f64 = $beta;
                result(self.average, beta(self), sums)
            }
        }
    )+ };
}

f_scores! {
    /// Harmonic mean of precision and recall, `2 precision recall / (precision + recall)`, from 0 to 1, with one-hot (or several-hot) targets. One
    /// number for each class unless there is an [`average`](F1Score::average).
    F1Score "f1_score" {} |_| 1.0;
    /// `(1 + beta^2) precision recall / (beta^2 precision + recall)`, from 0 to 1; otherwise as [`F1Score`].
    FBetaScore "fbeta_score" {
        /// How many times as much recall counts as precision; 1 by default.
        beta: f64 = 1.0;
    } |m| m.beta;
}

/// True positives, positive predictions, positive targets.
fn state(name: &str, average: Option<Average>, pred: &Shape) -> Result<Vec<Shape>> {
    let &[classes] = &pred[..] else {
        return Err(Error::shape(format!("{name} takes predictions (batch, classes), one of the model is {pred}")));
    };
    let each = if average == Some(Average::Micro) { Shape::from([]) } else { Shape::from([classes]) };
    Ok(vec![each; 3])
}

fn update(name: &str, average: Option<Average>, threshold: Option<f64>, batch: &Batch) -> Result<Vec<Tensor>> {
    let p = batch.y_pred;
    if batch.y_true.shape() != p.shape() || p.rank() != 2 {
        return Err(misfit(name, batch.y_true, p));
    }
    let y = batch.y_true.cast(DType::F32);
    let positive = match threshold {
        Some(threshold) => p.gt(threshold),
        // All of equals, but nothing in a row of zeros.
        None => p.ge(p.max_keep(&[-1])).and(p.abs().gt(1e-9)),
    };
    let positive = positive.cast(DType::F32);
    let w = batch.weights.map(|w| weights_as(w, p.shape())).transpose()?;
    let axes: &[isize] = if average == Some(Average::Micro) { &[] } else { &[0] };
    let total = |t: Tensor| w.as_ref().map_or_else(|| t.clone(), |w| &t * w).sum(axes);
    Ok(vec![total(&positive * &y), total(positive.clone()), total(y)])
}

fn result(average: Option<Average>, beta: f64, sums: &[Vec<f64>]) -> Vec<f64> {
    let squared = beta * beta;
    let score = |i: usize| {
        let (tp, predicted, targets) = (sums[0][i], sums[1][i], sums[2][i]);
        let (precision, recall) = (tp / (predicted + 1e-7), tp / (targets + 1e-7));
        precision * recall / (squared * precision + recall + 1e-7) * (1.0 + squared)
    };
    let scores: Vec<f64> = (0..sums[0].len()).map(score).collect();
    match average {
        None => scores,
        Some(Average::Weighted) => {
            let all = sums[2].iter().sum::<f64>() + 1e-7;
            vec![scores.iter().zip(&sums[2]).map(|(s, n)| s * n / all).sum()]
        }
        Some(_) => vec![scores.iter().sum::<f64>() / scores.len() as f64],
    }
}
