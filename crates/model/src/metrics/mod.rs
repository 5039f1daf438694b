//! Metrics: numbers people look at, exact over an epoch. Their sums live on the device and are read when somebody looks.

mod accuracy;
mod mean;

pub use accuracy::{Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy};
pub use mean::{MeanAbsoluteErrorMetric, MeanSquaredErrorMetric};

use ibex_core::{Error, Result, Tensor};
use std::fmt::Debug;

/// A number computed over all batches of an epoch as `sum(values) / count`.
pub trait Metric: Debug + Send + Sync + 'static {
    /// The name in logs: `"accuracy"`.
    fn name(&self) -> String;

    /// The value of every sample, or of every element of a prediction: the metric is their mean. `sparse` says that the loss
    /// takes class numbers.
    ///
    /// # Errors
    /// If targets and predictions do not fit, naming both shapes.
    fn values(&self, y_true: &Tensor, y_pred: &Tensor, sparse: bool) -> Result<Tensor>;
}

/// What `compile` takes as metrics: `()`, an array of one kind, a tuple of several kinds, or a vector of boxes.
pub trait IntoMetrics {
    /// As boxes.
    fn into_metrics(self) -> Vec<Box<dyn Metric>>;
}

impl IntoMetrics for () {
    fn into_metrics(self) -> Vec<Box<dyn Metric>> {
        Vec::new()
    }
}

impl IntoMetrics for Vec<Box<dyn Metric>> {
    fn into_metrics(self) -> Vec<Box<dyn Metric>> {
        self
    }
}

impl<M: Metric, const N: usize> IntoMetrics for [M; N] {
    fn into_metrics(self) -> Vec<Box<dyn Metric>> {
        self.into_iter().map(|m| Box::new(m) as Box<dyn Metric>).collect()
    }
}

macro_rules! tuples {
    ($(($($name:ident $field:tt),+))+) => { $(
        impl<$($name: Metric),+> IntoMetrics for ($($name,)+) {
            fn into_metrics(self) -> Vec<Box<dyn Metric>> {
                vec![$(Box::new(self.$field)),+]
            }
        }
    )+ };
}

tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

/// The metric of a name.
///
/// # Errors
/// `Unsupported` if no such metric is known.
pub(crate) fn from_name(name: &str) -> Result<Box<dyn Metric>> {
    let all: [Box<dyn Metric>; 6] = [
        Box::new(Accuracy::new()),
        Box::new(BinaryAccuracy::new()),
        Box::new(CategoricalAccuracy::new()),
        Box::new(SparseCategoricalAccuracy::new()),
        Box::new(MeanSquaredErrorMetric::new()),
        Box::new(MeanAbsoluteErrorMetric::new()),
    ];
    let found = all.into_iter().find(|m| m.name() == name);
    found.ok_or_else(|| Error::unsupported(format!("unknown metric {name:?}; compile the model again after loading")))
}
