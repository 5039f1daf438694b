//! Values and gradients of losses.

use crate::common::{TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, LossConfig, cases, loss};
use ibex::{DType, Device, Result, losses};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(flatten)]
    loss: LossConfig,
    y_true: Array,
    y_pred: Array,
    sample_weight: Option<Array>,
    /// Of the predictions.
    #[serde(default)]
    mask: Option<Array>,
    value: Value,
    grad: Array,
}

/// A number, or the losses themselves.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Losses(Array),
}

/// Where the derivative is a choice: jax lets `|x|` rise at 0, Ibex (as TensorFlow) takes 0 there.
const OTHER_CHOICE: &str = "mae_equal_elements_kink";

#[test]
fn losses_are_those_of_keras() {
    every_case(&cases("losses.json"), |case: &Case| &case.name, check);
}

#[test]
fn all_losses_are_those_of_keras() {
    every_case(&cases("rules_losses.json"), |case: &Case| &case.name, check);
}

fn check(case: &Case, device: &Device) -> Result<()> {
    let loss = loss(&case.loss)?;
    let y_pred = case.y_pred.tensor();
    let y_true = case.y_true.tensor();
    let [weights, mask] = [&case.sample_weight, &case.mask].map(|array| array.as_ref().map(Array::tensor));
    let each = loss.call(&y_true, &y_pred)?;
    let mask = match (loss.mask(&y_true, &y_pred, &each), mask) {
        (Some(own), Some(mask)) => Some(own.and(mask.cast(DType::Bool))),
        (own, mask) => own.or(mask),
    };
    let value = loss.reduction().apply(&each, weights.as_ref(), mask.as_ref());
    let [gradient] = value.sum(&[]).grad([&y_pred]);
    let (shape, want) = match &case.value {
        Value::Number(number) => (&[][..], std::slice::from_ref(number)),
        Value::Losses(losses) => (&losses.shape[..], &losses.data[..]),
    };
    for (what, got, shape, want) in
        [("value", value, shape, want), ("gradient", gradient, &case.grad.shape[..], &case.grad.data[..])]
    {
        if what == "gradient" && case.name == OTHER_CHOICE {
            continue;
        }
        assert_eq!(&got.check()?.shape()[..], shape, "{} {what}: shape", case.name);
        assert_close(&format!("{} {what}", case.name), &device.read_now(&got)?.to_f64(), want, TOLERANCE);
    }
    // What is written reads back equal.
    let config = loss.config()?;
    assert_eq!(losses::from_config(loss.class_name(), config.clone())?.config()?, config, "{}", case.name);
    Ok(())
}
