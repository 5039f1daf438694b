//! Ten steps of every optimizer with given gradients, through `compile` and `fit`.

use crate::common::{TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, Linear, OptimizerConfig, Prediction, cases, compile};
use ibex::prelude::*;
use ibex::{Result, Tensor};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(flatten)]
    optimizer: OptimizerConfig,
    initial: Vec<Array>,
    grads: Vec<Vec<Array>>,
    /// After every step; after all steps in one call of `fit` if there is but one entry.
    after: Vec<Vec<Array>>,
    state: Vec<State>,
}

#[derive(Deserialize)]
struct State {
    name: String,
    value: Array,
}

#[test]
fn optimizers_are_those_of_keras() {
    every_case(&cases("optimizers.json"), |case: &Case| &case.name, check);
}

#[test]
fn all_optimizers_are_those_of_keras() {
    every_case(&cases("rules_optimizers.json"), |case: &Case| &case.name, check);
    every_case(&cases("rules_adafactor.json"), |case: &Case| &case.name, check);
}

/// Averages, accumulation, schedules, and what they do together.
#[test]
fn options_are_those_of_keras() {
    every_case(&cases("rules_options.json"), |case: &Case| &case.name, check);
}

fn check(case: &Case, device: &Device) -> Result<()> {
    let mut model = Sequential::new([17]).on(device).add(Linear.named("l"));
    model.set_weights(&case.initial.iter().map(Array::numbers).collect::<Vec<_>>())?;
    compile(&mut model, &case.optimizer, Prediction, ())?;
    let steps = case.grads.len() / case.after.len();
    for (step, (grads, after)) in case.grads.chunks(steps).zip(&case.after).enumerate() {
        let x: Vec<f32> = grads.iter().flatten().flat_map(|g| &g.data).map(|&v| v as f32).collect();
        let (x, y) = (Tensor::from_vec(x, [steps, 17]), Tensor::from_vec(vec![0f32; steps], [steps]));
        model.fit((&x, &y), Fit::epochs(1).batch_size(1).shuffle(false).verbose(0))?;
        for (i, (got, want)) in model.get_weights()?.iter().zip(after).enumerate() {
            assert_close(&format!("{} step {step} weight {i}", case.name), &got.to_f64(), &want.data, TOLERANCE);
        }
    }
    let bytes = ibex::core::backend::block_on(model.to_bytes())?;
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a file");
    for State { name, value } in &case.state {
        // `a_momentum` of Keras is `l/a/momentum` here.
        let ours = match name.split_once('_') {
            Some((weight @ ("a" | "b"), slot)) => format!("optimizer/l/{weight}/{slot}"),
            _ => format!("optimizer/{name}"),
        };
        let view = file.tensor(&ours).unwrap_or_else(|e| panic!("{} {ours}: {e}", case.name));
        let got = ibex::Data::from_bytes(value.dtype(), view.data())?.to_f64();
        assert_close(&format!("{} {name}", case.name), &got, &value.data, TOLERANCE);
    }
    let slots = file.names().iter().filter(|n| n.starts_with("optimizer/")).count();
    assert_eq!(slots, case.state.len(), "{}: state", case.name);
    // What is written reads back equal.
    let optimizer = case.optimizer.boxed()?;
    let config = optimizer.config()?;
    let again = ibex::optimizers::from_config(optimizer.class_name(), config.clone())?;
    assert_eq!((again.options(), again.config()?), (optimizer.options(), config), "{}", case.name);
    Ok(())
}
