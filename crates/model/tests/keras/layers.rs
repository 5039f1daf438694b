//! Outputs, gradients and moving averages of layers.

use crate::common::{TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, cases};
use ibex::config::Config;
use ibex::{Device, Plan, Result, Sequential, Tensor, layers};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    layer: String,
    config: Config,
    training: bool,
    inputs: Vec<Array>,
    weights: Vec<Array>,
    output: Array,
    upstream: Array,
    input_grads: Vec<Option<Array>>,
    weight_grads: Vec<Option<Array>>,
    weights_after: Option<Vec<Array>>,
}

/// Mean 300 and variance 1: the numbers of Keras themselves are off by 2e-4.
const LARGE_MEAN: (&str, f64) = ("batch_norm_large_mean_training", 1e-3);

#[test]
fn layers_are_those_of_keras() {
    every_case(&cases("layers.json"), |case: &Case| &case.name, check);
}

#[test]
fn activations_are_those_of_keras() {
    let cases: Vec<Case> = cases("rules_activations.json");
    every_case(&cases, |case| &case.name, check);
    let tested = |name: &str| {
        ["layers.json", "rules_activations.json"].iter().any(|file| {
            crate::fixture::cases::<Case>(file)
                .iter()
                .any(|case| case.config.get("activation").is_some_and(|a| a == name))
        })
    };
    for activation in ibex::Activation::all() {
        assert!(tested(activation.name()), "{activation} is compared with Keras");
        assert_eq!(activation.name().parse::<ibex::Activation>().expect("its own name"), activation);
    }
}

pub fn check(case: &Case, device: &Device) -> Result<()> {
    let input = &case.inputs[0];
    let layer = layers::from_config(&case.layer, case.config.clone())?;
    let mut model = Sequential::with_dtype(&input.shape[1..], input.dtype()).on(device).add(layer);
    let weights: Vec<_> = case.weights.iter().map(Array::numbers).collect();
    model.set_weights(&weights)?;

    // What has a gradient: the input unless it is integers, and the weights that are trained.
    let wanted = |i: usize| case.weight_grads[i].is_some();
    let variables: Vec<_> = model.weights().map(|w| w.variable.clone()).collect();
    let plan = Plan::trace(device, &[input.spec()], |args| {
        let mut at: Vec<Tensor> = case.input_grads[0].iter().map(|_| args[0].clone()).collect();
        at.extend(variables.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, v)| v.value()));
        let y = model.call(&args[0], case.training)?;
        let mut results = vec![y.clone()];
        let gradients = y.vjp(&case.upstream.tensor(), &at)?;
        for (gradient, at) in gradients.into_iter().zip(&at) {
            results.push(gradient.unwrap_or_else(|| Tensor::zeros(at.shape(), at.dtype())));
        }
        Ok(results)
    })?;
    let results = plan.run(&mut [ibex::Arg::Tensor(input.tensor())])?;

    let tolerance = if case.name == LARGE_MEAN.0 { LARGE_MEAN.1 } else { TOLERANCE };
    let same = |what: &str, got: &Tensor, want: &Array| -> Result<()> {
        assert_eq!(got.shape()[..], want.shape[..], "{} {what}: shape", case.name);
        assert_close(&format!("{} {what}", case.name), &device.read_now(got)?.to_f64(), &want.data, tolerance);
        Ok(())
    };
    same("output", &results[0], &case.output)?;
    let gradients = case.input_grads.iter().chain(&case.weight_grads).flatten();
    assert_eq!(gradients.clone().count(), results.len() - 1);
    for (i, want) in gradients.enumerate() {
        same(&format!("gradient {i}"), &results[i + 1], want)?;
    }
    for (i, want) in case.weights_after.iter().flatten().enumerate() {
        same(&format!("weight {i} after"), &variables[i].value(), want)?;
    }
    Ok(())
}
