//! Running values of metrics.

use crate::common::{TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, cases};
use ibex::config::Config;
use ibex::metrics::{self, Batch};
use ibex::{Arg, Device, Plan, Result, Shape};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case<R> {
    name: String,
    metric: String,
    config: Config,
    batches: Vec<Arrays>,
    results: Vec<R>,
    #[serde(default)]
    direction: Option<bool>,
}

#[derive(Deserialize)]
struct Arrays {
    y_true: Array,
    y_pred: Array,
    sample_weight: Option<Array>,
}

/// Keras's class `Accuracy` compares class numbers; ours is what Keras makes of the word "accuracy".
#[test]
fn metrics_are_those_of_keras() {
    let mut cases: Vec<Case<f64>> = cases("metrics.json");
    cases.retain(|c| c.metric != "Accuracy");
    every_case(
        &cases,
        |c| &c.name,
        |c, device| check(c, &c.results.iter().map(|r| vec![*r]).collect::<Vec<_>>(), device),
    );
}

#[test]
fn more_metrics_are_those_of_keras() {
    let cases: Vec<Case<Vec<f64>>> = cases("metrics_more.json");
    for case in &cases {
        let metric = metrics::from_config(&case.metric, case.config.clone()).unwrap();
        assert_eq!((metric.direction(), metric.class_name()), (case.direction, &case.metric[..]), "{}", case.name);
    }
    every_case(&cases, |c| &c.name, |c, device| check(c, &c.results, device));
}

fn check<R>(case: &Case<R>, results: &[Vec<f64>], device: &Device) -> Result<()> {
    let metric = metrics::from_config(&case.metric, case.config.clone())?;
    // What is written is read again.
    let metric = metrics::from_config(metric.class_name(), metric.config()?)?;
    let sparse = case.metric.starts_with("Sparse");
    let pred = Shape::from(&case.batches[0].y_pred.shape[1..]);
    let state = metric.state(&pred)?;
    let mut sums: Vec<Vec<f64>> = state.iter().map(|s| vec![0.0; s.elements()]).collect();
    for (batch, want) in case.batches.iter().zip(results) {
        let arrays = [Some(&batch.y_true), Some(&batch.y_pred), batch.sample_weight.as_ref()];
        let arrays: Vec<&Array> = arrays.into_iter().flatten().collect();
        let specs: Vec<_> = arrays.iter().map(|a| a.spec()).collect();
        let plan = Plan::trace(device, &specs, |args| {
            metric.update(&Batch { y_true: &args[0], y_pred: &args[1], weights: args.get(2), sparse })
        })?;
        let tensors: Vec<_> = arrays.iter().map(|a| a.tensor()).collect();
        let mut args: Vec<Arg> = tensors.into_iter().map(Arg::Tensor).collect();
        let added = plan.run(&mut args)?;
        assert_eq!(added.len(), state.len(), "{}", case.name);
        for ((sum, added), shape) in sums.iter_mut().zip(&added).zip(&state) {
            assert_eq!(added.shape(), shape, "{}", case.name);
            sum.iter_mut().zip(device.read_now(added)?.to_f64()).for_each(|(s, a)| *s += a);
        }
        assert_close(&case.name, &metric.result(&sums), want, TOLERANCE);
    }
    Ok(())
}

#[test]
fn unknown_names_list_the_known_ones() {
    let error = metrics::get("acuracy").unwrap_err().to_string();
    assert!(error.contains("acuracy") && error.contains("Accuracy") && error.contains("AUC"), "{error}");
}
