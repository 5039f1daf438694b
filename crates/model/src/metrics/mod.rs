//! Metrics: numbers people look at, exact over an epoch. Their sums live on the device and are read when somebody looks.

mod accuracy;
mod auc;
mod confusion;
mod define;
mod f_score;
mod iou;
mod mean;
mod totals;

pub use accuracy::{
    Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy, SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
};
pub use auc::{AUC, Curve, Summation};
pub use confusion::{
    FalseNegatives, FalsePositives, Precision, PrecisionAtRecall, Recall, RecallAtPrecision, SensitivityAtSpecificity,
    SpecificityAtSensitivity, TrueNegatives, TruePositives,
};
pub use f_score::{Average, F1Score, FBetaScore};
pub use iou::{BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU};
pub use mean::{
    BinaryCrossentropy, CategoricalCrossentropy, CategoricalHinge, ConcordanceCorrelation, CosineSimilarity, Hinge,
    KLDivergence, LogCoshError, Mean, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError,
    MeanSquaredLogarithmicError, PearsonCorrelation, Poisson, R2Score, RootMeanSquaredError,
    SparseCategoricalCrossentropy, SquaredHinge, Sum,
};
pub(crate) use totals::Totals;

use crate::config::{Config, Part};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use std::fmt::Debug;

/// A batch, as a metric sees it. Inside of a compiled step none of this has numbers yet.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Targets, as the user gave them.
    pub y_true: &'a Tensor,
    /// Predictions in `f32`, with the batch axis first.
    pub y_pred: &'a Tensor,
    /// A weight for every sample, or for every step of it: leading axes of the predictions.
    pub weights: Option<&'a Tensor>,
    /// Does the loss take class numbers as targets?
    pub sparse: bool,
}

/// A number computed over all batches of an epoch.
///
/// Most are a mean of something: they give its [`values`](Metric::values). Others say which numbers they add up over an epoch
/// ([`state`](Metric::state)), what a batch adds to them ([`update`](Metric::update), traced into the compiled step), and what to make of
/// the sums ([`result`](Metric::result), computed on the host when somebody looks). Sums are compensated: counts are exact up to 2^47, as long as one
/// batch adds less than 2^24.
#[diagnostic::on_unimplemented(message = "`{Self}` is no metric", label = "no metric")]
pub trait Metric: Debug + Send + Sync + 'static {
    /// The name in logs: `"accuracy"`. If a model has several of one name, the second becomes `accuracy_1`, and so on.
    fn name(&self) -> String;

    /// The class name in files; that of the type if this is not given.
    fn class_name(&self) -> &'static str {
        let name = std::any::type_name::<Self>();
        name.rsplit("::").next().unwrap_or(name)
    }

    /// Its configuration; empty if this is not given.
    ///
    /// # Errors
    /// If it can not be written to a file.
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }

    /// Looks at its settings when [`Model::compile`](crate::Model::compile) is given it, and before a model is trained or evaluated with it; by default
    /// all are good.
    ///
    /// # Errors
    /// `Value` naming the one that is out of its domain.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The value of every sample, or of every element of a prediction: the metric is their mean, weighted where samples have weights. `sparse`
    /// says that the loss takes class numbers.
    ///
    /// # Errors
    /// If targets and predictions do not fit, naming both shapes.
    fn values(&self, _y_true: &Tensor, _y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        Err(Error::unsupported(format!("metric {} has neither `values` nor `update`; implement one", self.name())))
    }

    /// Shapes of the numbers that it adds up over an epoch; `pred` is the shape of one prediction without the batch axis. By default a sum and
    /// a count.
    ///
    /// # Errors
    /// If the metric does not fit such predictions, or an option is out of its domain.
    fn state(&self, _pred: &Shape) -> Result<Vec<Shape>> {
        Ok(vec![Shape::from([]), Shape::from([])])
    }

    /// What a batch adds to each of these numbers. By default the weighted sum of [`values`](Metric::values) and the sum of the weights.
    ///
    /// # Errors
    /// If targets, predictions and weights do not fit, naming the shapes.
    fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        let values = self.values(batch.y_true, batch.y_pred, batch.sparse)?;
        let values = values.check()?.cast(DType::F32);
        let Some(weights) = batch.weights else {
            let count = Tensor::full([], values.shape().elements() as f64, DType::F32);
            return Ok(vec![values.sum(&[]), count]);
        };
        let weights = weights_as(weights, values.shape())?;
        Ok(vec![(values * &weights).sum(&[]), weights.sum(&[])])
    }

    /// The metric, from the sums over all batches: one number, or several where it is a list (they are logged as `name[0]`, `name[1]`, ...).
    /// By default sum over count, 0 if nothing was counted.
    fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        vec![ratio(sums[0][0], sums[1][0])]
    }

    /// Are larger values better (or smaller ones)? `None` if nobody can say.
    fn direction(&self) -> Option<bool> {
        None
    }

    /// Do sample weights count? Not by default: as in Keras, those are for losses.
    fn takes_weights(&self) -> bool {
        false
    }

    /// The output of the model that it looks at, if not at all of them.
    fn output(&self) -> Option<&str> {
        None
    }

    /// The metric with sample weights counted (Keras's `weighted_metrics`).
    fn weighted(self) -> Attached<Self>
    where
        Self: Sized,
    {
        let output = self.output().map(str::to_string);
        Attached { metric: self, weighted: true, output }
    }

    /// The metric of one output of a model that has several, by the name of the layer that makes it.
    fn of(self, output: impl Into<String>) -> Attached<Self>
    where
        Self: Sized,
    {
        let weighted = self.takes_weights();
        Attached { metric: self, weighted, output: Some(output.into()) }
    }
}

/// A metric that counts sample weights, or looks at one output: [`Metric::weighted`] and [`Metric::of`] make it.
#[derive(Clone, Debug)]
pub struct Attached<M> {
    metric: M,
    weighted: bool,
    output: Option<String>,
}

/// [`Attached`] in a file.
#[derive(serde::Serialize, serde::Deserialize)]
struct AttachedConfig {
    metric: Part,
    weighted: bool,
    output: Option<String>,
}

impl<M: Metric> Metric for Attached<M> {
    fn name(&self) -> String {
        // The name says it once.
        if self.weighted && !self.metric.takes_weights() {
            format!("weighted_{}", self.metric.name())
        } else {
            self.metric.name()
        }
    }

    fn class_name(&self) -> &'static str {
        "Attached"
    }

    fn config(&self) -> Result<Config> {
        let metric = Part { class_name: self.metric.class_name().into(), config: self.metric.config()? };
        crate::config::save(&AttachedConfig { metric, weighted: self.weighted, output: self.output.clone() })
    }

    fn check(&self) -> Result<()> {
        self.metric.check()
    }

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, sparse: bool) -> Result<Tensor> {
        self.metric.values(y_true, y_pred, sparse)
    }

    fn state(&self, pred: &Shape) -> Result<Vec<Shape>> {
        self.metric.state(pred)
    }

    fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        self.metric.update(batch)
    }

    fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        self.metric.result(sums)
    }

    fn direction(&self) -> Option<bool> {
        self.metric.direction()
    }

    fn takes_weights(&self) -> bool {
        self.weighted
    }

    fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }
}

/// One that is chosen at run time.
impl Metric for Box<dyn Metric> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn class_name(&self) -> &'static str {
        (**self).class_name()
    }

    fn config(&self) -> Result<Config> {
        (**self).config()
    }

    fn check(&self) -> Result<()> {
        (**self).check()
    }

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, sparse: bool) -> Result<Tensor> {
        (**self).values(y_true, y_pred, sparse)
    }

    fn state(&self, pred: &Shape) -> Result<Vec<Shape>> {
        (**self).state(pred)
    }

    fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        (**self).update(batch)
    }

    fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        (**self).result(sums)
    }

    fn direction(&self) -> Option<bool> {
        (**self).direction()
    }

    fn takes_weights(&self) -> bool {
        (**self).takes_weights()
    }

    fn output(&self) -> Option<&str> {
        (**self).output()
    }
}

/// `a / b`, and 0 if `b` is 0.
pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

fn misfit(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Error {
    Error::shape(format!("{name}: targets {} do not fit predictions {}", y_true.shape(), y_pred.shape()))
}

/// Weights of samples, or of leading axes, for values of the given shape.
fn weights_as(weights: &Tensor, shape: &Shape) -> Result<Tensor> {
    let mut w = weights.check()?.cast(DType::F32);
    while w.rank() > shape.rank() && w.dim(-1) == 1 {
        w = w.squeeze(-1);
    }
    while w.rank() < shape.rank() {
        w = w.unsqueeze(-1);
    }
    if w.shape().broadcast(shape).as_ref() != Some(shape) {
        return Err(Error::shape(format!("sample weights {} do not fit values {shape}", weights.shape())));
    }
    Ok(w.broadcast_to(shape))
}

/// What a metric logs under its name, from its sums.
pub(crate) fn logged(name: &str, metric: &dyn Metric, sums: &[Vec<f64>]) -> Vec<(String, f64)> {
    match metric.result(sums)[..] {
        [value] => vec![(name.to_string(), value)],
        ref values => values.iter().enumerate().map(|(i, v)| (format!("{name}[{i}]"), *v)).collect(),
    }
}

/// What `compile` takes as metrics: one, `()`, an array of one kind, a tuple of several kinds, or a vector of boxes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no metric, nor an array, a tuple or a vector of them",
    label = "no metrics",
    note = "several metrics of different kinds go into a tuple: `(Accuracy::new(), AUC::new())`; none is `()`",
    note = "losses have metrics of the same name: `metrics::MeanAbsoluteError::new()`; a name becomes a metric by `metrics::get(\"mae\")`"
)]
pub trait IntoMetrics {
    /// As boxes.
    fn into_metrics(self) -> Vec<Box<dyn Metric>>;
}

impl IntoMetrics for () {
    fn into_metrics(self) -> Vec<Box<dyn Metric>> {
        Vec::new()
    }
}

impl<M: Metric> IntoMetrics for M {
    fn into_metrics(self) -> Vec<Box<dyn Metric>> {
        vec![Box::new(self)]
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

tuples! {
    (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6) (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

/// The metric of a name or a class name, with its defaults: `"accuracy"`, `"mse"`, `"AUC"`.
///
/// # Errors
/// `Unsupported` if no such metric is known, naming those that are.
pub fn get(name: &str) -> Result<Box<dyn Metric>> {
    let name = match name {
        "acc" => "Accuracy",
        "bce" | "BCE" => "BinaryCrossentropy",
        "mse" | "MSE" => "MeanSquaredError",
        "mae" | "MAE" => "MeanAbsoluteError",
        "mape" | "MAPE" => "MeanAbsolutePercentageError",
        "msle" | "MSLE" => "MeanSquaredLogarithmicError",
        other => other,
    };
    from_config(name, Config::new())
}

macro_rules! metrics {
    ($($class:ident)+) => {
        /// The metric of a class name (or of its name in logs) and a configuration, where missing fields have their defaults.
        ///
        /// # Errors
        /// `Unsupported` if no such class is known, naming those that are; `Format` for a wrong field.
        pub fn from_config(class_name: &str, config: Config) -> Result<Box<dyn Metric>> {
            if class_name == "Attached" {
                let AttachedConfig { metric, weighted, output } = crate::config::load(config)?;
                let metric = crate::saving::unknown::metric(&metric.class_name, metric.config);
                return Ok(Box::new(Attached { metric, weighted, output }));
            }
            $(if class_name == stringify!($class) || class_name == $class::default().name() {
                return Ok(Box::new(crate::config::load::<$class>(config)?));
            })+
            let known = [$(stringify!($class)),+].join(", ");
            Err(Error::unsupported(format!("unknown metric {class_name:?}; known are {known}")))
        }
    };
}

metrics! {
    Accuracy BinaryAccuracy CategoricalAccuracy SparseCategoricalAccuracy TopKCategoricalAccuracy SparseTopKCategoricalAccuracy
    TruePositives FalsePositives TrueNegatives FalseNegatives Precision Recall
    PrecisionAtRecall RecallAtPrecision SensitivityAtSpecificity SpecificityAtSensitivity AUC F1Score FBetaScore
    MeanSquaredError MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredLogarithmicError RootMeanSquaredError LogCoshError
    CosineSimilarity PearsonCorrelation ConcordanceCorrelation R2Score Hinge SquaredHinge CategoricalHinge KLDivergence Poisson
    BinaryCrossentropy CategoricalCrossentropy SparseCategoricalCrossentropy
    IoU MeanIoU OneHotIoU OneHotMeanIoU BinaryIoU
}
