//! Running values of metrics.

use crate::common::{TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, cases};
use ibex::config::Config;
use ibex::metrics::{
    BinaryAccuracy, CategoricalAccuracy, MeanAbsoluteErrorMetric, MeanSquaredErrorMetric, Metric,
    SparseCategoricalAccuracy,
};
use ibex::{Device, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    metric: String,
    config: Config,
    batches: Vec<Batch>,
    results: Vec<f64>,
}

#[derive(Deserialize)]
struct Batch {
    y_true: Array,
    y_pred: Array,
    sample_weight: Option<Array>,
}

/// `None` for what Ibex has not: Keras's class `Accuracy` compares class numbers; ours is what Keras makes of the word "accuracy".
fn metric(case: &Case) -> Option<Box<dyn Metric>> {
    Some(match &case.metric[..] {
        "BinaryAccuracy" => {
            let threshold = case.config.get("threshold").and_then(|v| v.as_f64()).unwrap_or(0.5);
            Box::new(BinaryAccuracy::new().threshold(threshold as f32))
        }
        "CategoricalAccuracy" => Box::new(CategoricalAccuracy::new()),
        "SparseCategoricalAccuracy" => Box::new(SparseCategoricalAccuracy::new()),
        "MeanSquaredError" => Box::new(MeanSquaredErrorMetric::new()),
        "MeanAbsoluteError" => Box::new(MeanAbsoluteErrorMetric::new()),
        _ => return None,
    })
}

#[test]
fn metrics_are_those_of_keras() {
    let cases: Vec<Case> = cases("metrics.json");
    let known: Vec<_> = cases.iter().filter_map(|c| Some((c, metric(c)?))).collect();
    assert_eq!(known.len(), cases.iter().filter(|c| c.metric != "Accuracy").count());
    every_case(&known, |(case, _)| &case.name, |(case, metric), device| check(case, &**metric, device));
}

fn check(case: &Case, metric: &dyn Metric, device: &Device) -> Result<()> {
    let (mut sum, mut count, mut running) = (0.0, 0.0, Vec::new());
    for batch in &case.batches {
        let sparse = case.metric.starts_with("Sparse");
        let values = metric.values(&batch.y_true.tensor(), &batch.y_pred.tensor(), sparse)?;
        let numbers = device.read_now(&values)?.to_f64();
        // A weight counts for all values of its sample, or of its step.
        let weights = batch.sample_weight.as_ref().map_or(vec![1.0], |w| w.data.clone());
        let each = numbers.len() / weights.len();
        sum += numbers.iter().enumerate().map(|(i, v)| v * weights[i / each]).sum::<f64>();
        count += weights.iter().sum::<f64>() * each as f64;
        running.push(if count == 0.0 { 0.0 } else { sum / count });
    }
    assert_close(&case.name, &running, &case.results, TOLERANCE);
    Ok(())
}
