//! Areas under curves.

use super::confusion::{Counts, Rule, counts, even_thresholds};
use super::define::{described, metric};
use super::{Batch, Metric, ratio};
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::convert::identity;

/// Which curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Curve {
    /// True positive rate over false positive rate.
    #[default]
    ROC,
    /// Precision over recall.
    PR,
}

/// How the area is summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Summation {
    /// Trapezoids for ROC; for PR, true positives are interpolated rather than precision (Davis and Goadrich 2006).
    #[default]
    Interpolation,
    /// The smaller height of each interval.
    Minoring,
    /// The larger height of each interval.
    Majoring,
}

metric! {
    /// Area under the ROC or the precision-recall curve, from 0 to 1: of all predictions together, or the mean over labels with
    /// [`multi_label`](AUC::multi_label). The curve is known at the thresholds only, so that it is approximate, as in Keras.
    AUC "auc" {
        /// Thresholds, evenly from 0 to 1; 200 by default.
        num_thresholds: usize = 200, usize => identity;
        /// ROC by default.
        curve: Curve = Curve::ROC, Curve => identity;
        /// Interpolation by default.
        summation_method: Summation = Summation::Interpolation, Summation => identity;
        /// Thresholds of your own between 0 and 1, without the ends.
        thresholds: Option<Vec<f64>> = None, Vec<f64> => Some;
        /// Each label (of the last axis) has a curve. Off by default.
        multi_label: bool = false, bool => identity;
        /// Weights of labels: of their areas with [`multi_label`](AUC::multi_label), else of their predictions.
        label_weights: Option<Vec<f64>> = None, Vec<f64> => Some;
        /// Predictions are logits. Off by default.
        from_logits: bool = false, bool => identity;
    }
}

impl AUC {
    fn rule(&self) -> Rule<'_> {
        let mut thresholds = match &self.thresholds {
            Some(own) => {
                let mut all = [&[0.0], &own[..], &[1.0]].concat();
                all.sort_by(f64::total_cmp);
                all
            }
            None => even_thresholds(self.num_thresholds),
        };
        // The ends are a little outside, so that every prediction is on the one side of each.
        if let [first, .., last] = &mut thresholds[..] {
            (*first, *last) = (-1e-7, 1.0 + 1e-7);
        }
        let label_weights = self.label_weights.as_deref();
        Rule { name: &self.name, thresholds, multi_label: self.multi_label, label_weights, ..Rule::default() }
    }

    fn area(&self, c: &Counts) -> f64 {
        let (x, y) = match (self.curve, self.summation_method) {
            (Curve::PR, Summation::Interpolation) => return interpolated(c),
            (Curve::PR, _) => (c.recall(), c.precision()),
            (Curve::ROC, _) => (c.fp.iter().map(|fp| ratio(*fp, c.negatives)).collect(), c.recall()),
        };
        let height = |a: f64, b: f64| match self.summation_method {
            Summation::Interpolation => (a + b) / 2.0,
            Summation::Minoring => a.min(b),
            Summation::Majoring => a.max(b),
        };
        x.windows(2).zip(y.windows(2)).map(|(x, y)| (x[0] - x[1]) * height(y[0], y[1])).sum()
    }
}

/// Between two thresholds both true positives and positive predictions change linearly; the integral of their ratio has a logarithm.
fn interpolated(c: &Counts) -> f64 {
    let all: Vec<f64> = c.tp.iter().zip(&c.fp).map(|(tp, fp)| tp + fp).collect();
    let part = |(tp, all): (&[f64], &[f64])| {
        let gained = tp[0] - tp[1];
        let slope = ratio(gained, (all[0] - all[1]).max(0.0));
        let intercept = tp[1] - slope * all[1];
        let log = if all[0] > 0.0 && all[1] > 0.0 { (all[0] / all[1]).ln() } else { 0.0 };
        ratio(slope * (gained + intercept * log), c.positives)
    };
    c.tp.windows(2).zip(all.windows(2)).map(part).sum()
}

impl Metric for AUC {
    described!(Some(true));

    fn state(&self, pred: &Shape) -> Result<Vec<Shape>> {
        if self.thresholds.is_none() && self.num_thresholds < 2 {
            return Err(Error::value(format!("{}: num_thresholds must be at least 2", self.name)));
        }
        match (&pred[..], self.multi_label) {
            (&[labels], true) => match &self.label_weights {
                Some(w) if w.len() != labels => {
                    Err(Error::shape(format!("{}: {} label weights for {labels} labels", self.name, w.len())))
                }
                _ => self.rule().state(Some(labels)),
            },
            (_, true) => Err(Error::shape(format!("{}: multi_label takes predictions (batch, labels)", self.name))),
            _ => self.rule().state(None),
        }
    }

    fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        let p = if self.from_logits { batch.y_pred.sigmoid() } else { batch.y_pred.clone() };
        self.rule().update(batch, &p)
    }

    fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        let areas: Vec<f64> = counts(sums).iter().map(|c| self.area(c)).collect();
        let even = vec![1.0; areas.len()];
        let weights = self.label_weights.as_ref().filter(|_| self.multi_label).unwrap_or(&even);
        let weighted = areas.iter().zip(weights).map(|(a, w)| a * w).sum::<f64>();
        vec![ratio(weighted, weights.iter().sum())]
    }
}
