//! True and false positives and negatives at thresholds.

use super::define::{described, metric};
use super::{Batch, Metric, misfit, ratio, weights_as};
use crate::losses::dense_targets;
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::convert::identity;

/// What `top_k` makes of the other predictions, and its threshold.
const OUT: f64 = -1e10;

/// Which predictions count as positive.
#[derive(Default)]
pub(super) struct Rule<'a> {
    pub name: &'a str,
    pub thresholds: Vec<f64>,
    pub top_k: Option<usize>,
    pub class_id: Option<usize>,
    /// A matrix over labels, of which each is counted alone.
    pub multi_label: bool,
    pub label_weights: Option<&'a [f64]>,
}

/// Sums over an epoch: for every threshold the weight of true and of false positives, and the weight of all positives and negatives.
#[derive(Clone)]
pub(super) struct Counts {
    pub tp: Vec<f64>,
    pub fp: Vec<f64>,
    pub positives: f64,
    pub negatives: f64,
}

impl Counts {
    pub fn recall(&self) -> Vec<f64> {
        self.tp.iter().map(|tp| ratio(*tp, self.positives)).collect()
    }

    pub fn precision(&self) -> Vec<f64> {
        self.tp.iter().zip(&self.fp).map(|(tp, fp)| ratio(*tp, tp + fp)).collect()
    }

    pub fn specificity(&self) -> Vec<f64> {
        self.fp.iter().map(|fp| ratio(self.negatives - fp, self.negatives)).collect()
    }
}

impl Rule<'_> {
    /// The shapes of [`Counts`]; `labels` where each label is counted alone.
    pub fn state(&self, labels: Option<usize>) -> Result<Vec<Shape>> {
        if self.thresholds.len() > MOST_THRESHOLDS {
            return Err(Error::value(format!("{}: more than {MOST_THRESHOLDS} thresholds", self.name)));
        }
        let inside = |t: &f64| (-1e-6..=1.0 + 1e-6).contains(t) || (self.top_k.is_some() && *t == OUT);
        if let Some(t) = self.thresholds.iter().find(|t| !inside(t)) {
            return Err(Error::value(format!("{}: threshold {t} is not between 0 and 1", self.name)));
        }
        if self.thresholds.is_empty() || self.top_k == Some(0) {
            return Err(Error::value(format!("{}: thresholds and top_k must not be empty or 0", self.name)));
        }
        let each: Vec<usize> = labels.into_iter().collect();
        let all = Shape::from([&[self.thresholds.len()], &each[..]].concat());
        Ok(vec![all.clone(), all, Shape::from(&each[..]), Shape::from(&each[..])])
    }

    /// Does the prediction pass each threshold? `(thresholds, ..)` for predictions `(1, ..)`.
    fn passes(&self, y_pred: &Tensor) -> Tensor {
        let n = self.thresholds.len();
        let mut shape = vec![1; y_pred.rank()];
        shape[0] = n;
        let even = |(i, t): (usize, &f64)| {
            let want = i as f64 / (n as f64 - 1.0);
            (t - want).abs() <= 1e-7 + 1e-5 * want + 1e-12
        };
        if n < 3 || !self.thresholds.iter().enumerate().all(even) {
            let thresholds = self.thresholds.iter().map(|t| *t as f32).collect();
            return y_pred.gt(Tensor::from_vec::<f32>(thresholds, shape));
        }
        // Keras compares numbers of buckets where thresholds are even, which rounds differently.
        let mut bucket = (y_pred.clamp(0.0, 1.0) * (n as f64 - 1.0)).ceil() - 1.0;
        if self.thresholds[0] < 0.0 || self.thresholds[n - 1] > 1.0 {
            bucket = bucket.relu();
        }
        bucket.ge(Tensor::from_vec::<f32>((0..n).map(|i| i as f32).collect(), shape))
    }

    pub fn update(&self, batch: &Batch, y_pred: &Tensor) -> Result<Vec<Tensor>> {
        let mut y = dense_targets(self.name, batch.y_true, y_pred)?.ne(0.0).cast(DType::F32);
        let mut p = y_pred.clone();
        let mut w = batch.weights.map(|w| weights_as(w, p.shape())).transpose()?;
        if let Some(weights) = self.label_weights.filter(|_| !self.multi_label) {
            if weights.len() != p.dim(-1) {
                let text = format!("{}: {} label weights for predictions {}", self.name, weights.len(), p.shape());
                return Err(Error::shape(text));
            }
            let weights = weights.iter().map(|w| *w as f32).collect();
            let weights = Tensor::from_vec::<f32>(weights, [p.dim(-1)]).broadcast_to(p.shape());
            w = Some(w.map_or(weights.clone(), |w| w * weights));
        }
        if let Some(k) = self.top_k {
            p = top_k_only(&p, k);
        }
        if let Some(class) = self.class_id {
            if p.rank() < 2 || class >= p.dim(-1) {
                return Err(Error::shape(format!("{}: predictions {} have no class {class}", self.name, p.shape())));
            }
            let pick = |t: &Tensor| t.narrow(-1, class, 1);
            (y, p, w) = (pick(&y), pick(&p), w.as_ref().map(pick));
        }
        let shape = if self.multi_label { [&[1], &p.shape()[..]].concat() } else { vec![1, p.shape().elements()] };
        if self.multi_label && p.rank() != 2 {
            return Err(misfit(self.name, batch.y_true, y_pred));
        }
        let flat = |t: &Tensor| t.reshape(&shape[..]);
        let (y, p) = (flat(&y), flat(&p));
        let w = w.map_or_else(|| Tensor::ones(&shape[..], DType::F32), |w| flat(&w));
        let (true_weights, false_weights) = (&y * &w, (1.0 - &y) * &w);
        let passes = self.passes(&p);
        let count = |weights: &Tensor| passes.select(weights, 0.0).sum(&[1]);
        let total = |weights: &Tensor| weights.sum(&[0, 1]);
        Ok(vec![count(&true_weights), count(&false_weights), total(&true_weights), total(&false_weights)])
    }
}

/// The sums of one label, or of all together.
pub(super) fn counts(sums: &[Vec<f64>]) -> Vec<Counts> {
    let labels = sums[2].len();
    let column = |v: &[f64], l: usize| v.iter().skip(l).step_by(labels).copied().collect();
    let of =
        |l| Counts { tp: column(&sums[0], l), fp: column(&sums[1], l), positives: sums[2][l], negatives: sums[3][l] };
    (0..labels).map(of).collect()
}

/// The `k` largest predictions of each row, the first of equals; the others become `OUT`.
fn top_k_only(p: &Tensor, k: usize) -> Tensor {
    let mut left = p.clone();
    let mut chosen = Tensor::zeros(p.shape(), DType::Bool);
    for _ in 0..k.min(p.dim(-1)) {
        let next = left.argmax(-1).one_hot(p.dim(-1), DType::Bool);
        left = next.select(f64::from(f32::NEG_INFINITY), &left);
        chosen = chosen.or(next);
    }
    chosen.select(p, OUT)
}

/// A threshold or a list of them, as Keras writes both.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Thresholds {
    One(f64),
    Many(Vec<f64>),
}

impl Thresholds {
    fn list(&self) -> Vec<f64> {
        match self {
            Thresholds::One(t) => vec![*t],
            Thresholds::Many(all) => all.clone(),
        }
    }
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $class:ident $label:literal $of:expr;)+) => { $(
        metric! { $(#[$doc])* $class $label {
            /// Predictions above it are positive; 0.5 by default. One number for each threshold.
            thresholds: Option<Thresholds> = None, Vec<f64> => |t| Some(Thresholds::Many(t));
        } }

        impl $class {
            fn rule(&self) -> Rule<'_> {
                let thresholds = self.thresholds.as_ref().map_or_else(|| vec![0.5], Thresholds::list);
                Rule { name: &self.name, thresholds, ..Rule::default() }
            }
        }

        impl Metric for $class {
            described!(None);

            fn state(&self, _pred: &Shape) -> Result<Vec<Shape>> {
                self.rule().state(None)
            }

            fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
                self.rule().update(batch, batch.y_pred)
            }

            fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
                let of: fn(&Counts) -> Vec<f64> = $of;
                of(&counts(sums)[0])
            }
        }
    )+ };
}

conditions! {
    /// Number (or weight) of targets 1 that are predicted as positive.
    TruePositives "true_positives" |c| c.tp.clone();
    /// Number (or weight) of targets 0 that are predicted as positive.
    FalsePositives "false_positives" |c| c.fp.clone();
    /// Number (or weight) of targets 0 that are predicted as negative.
    TrueNegatives "true_negatives" |c| c.fp.iter().map(|fp| c.negatives - fp).collect();
    /// Number (or weight) of targets 1 that are predicted as negative.
    FalseNegatives "false_negatives" |c| c.tp.iter().map(|tp| c.positives - tp).collect();
}

macro_rules! shares {
    ($($(#[$doc:meta])* $class:ident $label:literal $of:expr;)+) => { $(
        metric! { $(#[$doc])* $class $label {
            /// Predictions above it are positive; 0.5 by default. One number for each threshold.
            thresholds: Option<Thresholds> = None, Vec<f64> => |t| Some(Thresholds::Many(t));
            /// Only the so many largest predictions of a row can be positive, and without thresholds they are.
            top_k: Option<usize> = None, usize => Some;
            /// Only this class (of the last axis) counts.
            class_id: Option<usize> = None, usize => Some;
        } }

        impl $class {
            fn rule(&self) -> Rule<'_> {
                let default = if self.top_k.is_some() { OUT } else { 0.5 };
                let thresholds = self.thresholds.as_ref().map_or_else(|| vec![default], Thresholds::list);
                Rule { name: &self.name, thresholds, top_k: self.top_k, class_id: self.class_id, ..Rule::default() }
            }
        }

        impl Metric for $class {
            described!(Some(true));

            fn state(&self, _pred: &Shape) -> Result<Vec<Shape>> {
                self.rule().state(None)
            }

            fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
                self.rule().update(batch, batch.y_pred)
            }

            fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
                let of: fn(&Counts) -> Vec<f64> = $of;
                of(&counts(sums)[0])
            }
        }
    )+ };
}

shares! {
    /// Share of right ones among positive predictions, `tp / (tp + fp)`, from 0 to 1; 0 if there are none.
    Precision "precision" Counts::precision;
    /// Share of positive targets that are found, `tp / (tp + fn)`, from 0 to 1; 0 if there are none.
    Recall "recall" Counts::recall;
}

/// More would need too much memory.
const MOST_THRESHOLDS: usize = 1 << 20;

/// `n` even thresholds from 0 to 1; of too many, as many as `Rule::state` refuses.
pub(super) fn even_thresholds(n: usize) -> Vec<f64> {
    let n = n.min(MOST_THRESHOLDS + 1);
    if n == 1 { vec![0.5] } else { (0..n).map(|i| i as f64 / (n as f64 - 1.0)).collect() }
}

macro_rules! at_least {
    ($($(#[$doc:meta])* $class:ident $label:literal $field:ident $constrained:expr, $wanted:expr;)+) => { $(
        metric! { required $(#[$doc])* $class $label { $field: f64 = f64::NAN; } {
            /// Thresholds that are tried, evenly from 0 to 1; 200 by default.
            num_thresholds: usize = 200, usize => identity;
            /// Only this class (of the last axis) counts.
            class_id: Option<usize> = None, usize => Some;
        } }

        impl $class {
            /// With the least value that is asked for, from 0 to 1.
            pub fn new($field: f64) -> Self {
                $class { $field, ..Self::default() }
            }

            fn rule(&self) -> Rule<'_> {
                let thresholds = even_thresholds(self.num_thresholds);
                Rule { name: &self.name, thresholds, class_id: self.class_id, ..Rule::default() }
            }
        }

        impl Metric for $class {
            described!(Some(true));

            fn state(&self, _pred: &Shape) -> Result<Vec<Shape>> {
                if !(0.0..=1.0).contains(&self.$field) {
                    let text = format!("{}: {} {} is not between 0 and 1", self.name, stringify!($field), self.$field);
                    return Err(Error::value(text));
                }
                self.rule().state(None)
            }

            fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
                self.rule().update(batch, batch.y_pred)
            }

            fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
                let (constrained, wanted): (fn(&Counts) -> Vec<f64>, fn(&Counts) -> Vec<f64>) = ($constrained, $wanted);
                let c = &counts(sums)[0];
                // Keras compares f32 with f32.
                let enough = |v: &f64| *v as f32 >= self.$field as f32;
                let good = constrained(c).into_iter().zip(wanted(c)).filter(|(v, _)| enough(v));
                vec![good.map(|(_, wanted)| wanted).fold(0.0, f64::max)]
            }
        }
    )+ };
}

at_least! {
    /// The best precision at a threshold whose recall is at least the given one, from 0 to 1.
    PrecisionAtRecall "precision_at_recall" recall Counts::recall, Counts::precision;
    /// The best recall at a threshold whose precision is at least the given one, from 0 to 1.
    RecallAtPrecision "recall_at_precision" precision Counts::precision, Counts::recall;
    /// The best sensitivity (recall) at a threshold whose specificity `tn / (tn + fp)` is at least the given one, from 0 to 1.
    SensitivityAtSpecificity "sensitivity_at_specificity" specificity Counts::specificity, Counts::recall;
    /// The best specificity `tn / (tn + fp)` at a threshold whose sensitivity (recall) is at least the given one, from 0 to 1.
    SpecificityAtSensitivity "specificity_at_sensitivity" sensitivity Counts::recall, Counts::specificity;
}
