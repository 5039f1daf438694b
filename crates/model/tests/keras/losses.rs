//! Values and gradients of losses.

use crate::common::{TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, LossConfig, cases, loss};
use ibex::{Device, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(flatten)]
    loss: LossConfig,
    y_true: Array,
    y_pred: Array,
    sample_weight: Option<Array>,
    value: f64,
    grad: Array,
}

/// Where the derivative is a choice: jax lets `|x|` rise at 0, Ibex (as TensorFlow) takes 0 there.
const OTHER_CHOICE: &str = "mae_equal_elements_kink";

#[test]
fn losses_are_those_of_keras() {
    every_case(&cases("losses.json"), |case: &Case| &case.name, check);
}

fn check(case: &Case, device: &Device) -> Result<()> {
    let loss = loss(&case.loss)?;
    let y_pred = case.y_pred.tensor();
    let each = loss.call(&case.y_true.tensor(), &y_pred)?;
    let value = loss.reduction().apply(&each, case.sample_weight.as_ref().map(Array::tensor).as_ref());
    let [gradient] = value.grad([&y_pred]);
    for (what, got, shape, want) in
        [("value", value, &[][..], &[case.value][..]), ("gradient", gradient, &case.grad.shape, &case.grad.data)]
    {
        if what == "gradient" && case.name == OTHER_CHOICE {
            continue;
        }
        assert_eq!(&got.check()?.shape()[..], shape, "{} {what}: shape", case.name);
        assert_close(&format!("{} {what}", case.name), &device.read_now(&got)?.to_f64(), want, TOLERANCE);
    }
    Ok(())
}
