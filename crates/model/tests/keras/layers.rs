//! Outputs, gradients and moving averages of layers.

use crate::common::{TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, cases, read};
use ibex::prelude::*;
use ibex::{Plan, Result, layers};
use serde::Deserialize;
use std::cell::RefCell;

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub layer: String,
    pub config: Config,
    training: bool,
    inputs: Vec<Array>,
    weights: Vec<Array>,
    output: Array,
    upstream: Array,
    input_grads: Vec<Option<Array>>,
    weight_grads: Vec<Option<Array>>,
    weights_after: Option<Vec<Array>>,
    /// Of the inputs.
    #[serde(default)]
    masks: Vec<Option<Array>>,
    output_mask: Option<Array>,
    /// The second output.
    second: Option<Array>,
}

/// A training step with the loss `mean(y * output)`.
#[derive(Deserialize)]
struct Step {
    name: String,
    layer: String,
    config: Config,
    inputs: Vec<Array>,
    weights: Vec<Array>,
    y: Array,
    loss: f64,
    weights_after: Vec<Array>,
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

#[test]
fn layers_with_masks_and_several_inputs_are_those_of_keras() {
    every_case(&cases("norm.json"), |case: &Case| &case.name, check);
    every_case(&cases("attention.json"), |case: &Case| &case.name, check);
    every_case(&cases("einsum.json"), |case: &Case| &case.name, check);
}

#[test]
fn regularizers_and_constraints_of_layers_are_those_of_keras() {
    #[derive(Deserialize)]
    struct Steps {
        steps: Vec<Step>,
    }
    for file in ["norm.json", "activity.json"] {
        every_case(&read::<Steps>(file).steps, |step| &step.name, check_step);
    }
}

/// The layer of a configuration that was written once more.
fn layer(class: &str, config: &Config) -> Result<Box<dyn Layer>> {
    layers::from_config(class, layers::from_config(class, config.clone())?.config()?)
}

/// Gives its first input the second as a mask.
#[derive(Debug)]
struct GiveMask;

impl Layer for GiveMask {
    fn class_name(&self) -> &'static str {
        "GiveMask"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn build_all(&self, _weights: &mut Weights, _inputs: &[Shape]) -> Result<()> {
        Ok(())
    }
    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        cx.set_mask(Some(inputs[1].clone()));
        Ok(vec![inputs[0].clone()])
    }
}

thread_local! {
    static MASK: RefCell<Option<Tensor>> = const { RefCell::new(None) };
}

/// Keeps the mask that comes with its input.
#[derive(Debug)]
struct KeepMask;

impl Layer for KeepMask {
    fn class_name(&self) -> &'static str {
        "KeepMask"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        MASK.set(cx.mask(0));
        Ok(x.clone())
    }
}

pub fn check(case: &Case, device: &Device) -> Result<()> {
    let mut args: Vec<&Array> = case.inputs.iter().collect();
    args.extend(case.masks.iter().flatten());
    let mut inputs: Vec<SymbolicTensor> =
        args.iter().map(|array| Input::with_dtype(&array.shape[1..], array.dtype())).collect();
    let all = inputs.clone();
    let masked = case.masks.iter().enumerate().filter(|(_, mask)| mask.is_some());
    for (mask, (i, _)) in masked.enumerate() {
        inputs[i] = GiveMask.apply([&all[i], &all[case.inputs.len() + mask]]);
    }
    let mut outputs = Instance::from(layer(&case.layer, &case.config)?).apply_all(&inputs[..case.inputs.len()]);
    outputs[0] = KeepMask.apply(&outputs[0]);
    let mut model = Model::new(&all, &outputs)?.on(device);
    let weights: Vec<_> = case.weights.iter().map(Array::numbers).collect();
    model.set_weights(&weights)?;

    // What has a gradient: the input unless it is integers, and the weights that are trained.
    let wanted = |i: usize| case.weight_grads[i].is_some();
    let variables: Vec<_> = model.weights().map(|w| w.variable.clone()).collect();
    let specs: Vec<_> = args.iter().map(|array| array.spec()).collect();
    let plan = Plan::trace(device, &specs, |args| {
        let floats = case.input_grads.iter().zip(args).filter(|(grad, _)| grad.is_some());
        let mut at: Vec<Tensor> = floats.map(|(_, x)| x.clone()).collect();
        at.extend(variables.iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, v)| v.value()));
        let mut results = model.call_all(args, case.training)?;
        let gradients = results[0].vjp(&case.upstream.tensor(), &at)?;
        for (gradient, at) in gradients.into_iter().zip(&at) {
            results.push(gradient.unwrap_or_else(|| Tensor::zeros(at.shape(), at.dtype())));
        }
        results.extend(MASK.take());
        Ok(results)
    })?;
    let results = plan.run(&mut args.iter().map(|array| ibex::Arg::Tensor(array.tensor())).collect::<Vec<_>>())?;

    let tolerance = if case.name == LARGE_MEAN.0 { LARGE_MEAN.1 } else { TOLERANCE };
    let same = |what: &str, got: &Tensor, want: &Array| -> Result<()> {
        assert_eq!(got.shape()[..], want.shape[..], "{} {what}: shape", case.name);
        assert_close(&format!("{} {what}", case.name), &device.read_now(got)?.to_f64(), &want.data, tolerance);
        Ok(())
    };
    let outputs = std::iter::once(&case.output).chain(&case.second);
    let gradients = case.input_grads.iter().chain(&case.weight_grads).flatten();
    let wanted: Vec<&Array> = outputs.chain(gradients).chain(&case.output_mask).collect();
    assert_eq!(wanted.len(), results.len(), "{}: results", case.name);
    for (i, want) in wanted.into_iter().enumerate() {
        same(&format!("result {i}"), &results[i], want)?;
    }
    for (i, want) in case.weights_after.iter().flatten().enumerate() {
        same(&format!("weight {i} after"), &variables[i].value(), want)?;
    }
    Ok(())
}

/// The mean of the product of targets and predictions.
#[derive(Debug)]
struct Product;

impl Loss for Product {
    fn class_name(&self) -> &'static str {
        "Product"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        Ok((y_true * y_pred).mean(&[-1]))
    }
}

fn check_step(step: &Step, device: &Device) -> Result<()> {
    let inputs: Vec<SymbolicTensor> = step.inputs.iter().map(|array| Input::new(&array.shape[1..])).collect();
    let output = Instance::from(layer(&step.layer, &step.config)?).apply(&inputs);
    let mut model = Model::new(&inputs, &output)?.on(device);
    model.set_weights(&step.weights.iter().map(Array::numbers).collect::<Vec<_>>())?;
    model.compile(SGD::new(0.5), Product, ())?;
    let xs: Vec<Tensor> = step.inputs.iter().map(Array::tensor).collect();
    let logs = model.train_on_batch((&xs, &step.y.tensor()))?;
    assert_close(&format!("{} loss", step.name), &[logs["loss"]], &[step.loss], TOLERANCE);
    for (weight, want) in model.weights().zip(&step.weights_after) {
        let got = device.read_now(&weight.variable.value())?.to_f64();
        assert_close(&format!("{} {}", step.name, weight.name()), &got, &want.data, TOLERANCE);
    }
    Ok(())
}
