//! Convolutions, poolings and what else changes space, beside Keras.

use crate::common::{TOLERANCE, assert_close, devices, every_case};
use crate::fixture::{Array, cases, read};
use crate::layers::{Case, check};
use ibex::prelude::*;
use ibex::{Arg, Plan, Result, layers};
use serde::Deserialize;

fn all() -> Vec<Case> {
    ["space.json", "conv.json"].into_iter().flat_map(cases).collect()
}

#[test]
fn convolutions_and_poolings_are_those_of_keras() {
    every_case(&all(), |case| &case.name, check);
}

#[test]
fn their_configurations_make_them_again() -> Result<()> {
    for case in all() {
        let config = layers::from_config(&case.layer, case.config.clone())?.config()?;
        // All that the case says is in it, and nothing is lost on the way.
        for field in case.config.keys() {
            assert!(config.contains_key(field), "{}: {field} in {config:?}", case.name);
        }
        let again = layers::from_config(&case.layer, config.clone())?;
        assert_eq!(again.class_name(), case.layer);
        assert_eq!(again.config()?, config, "{}", case.name);
        let wrong = serde_json::json!({"data_format": "channels_first"});
        if let (true, Some(wrong)) = (config.contains_key("data_format"), wrong.as_object()) {
            let error = layers::from_config(&case.layer, wrong.clone()).map(drop).expect_err(&case.name);
            assert!(error.to_string().contains("channels_first"), "{error}");
        }
    }
    Ok(())
}

#[test]
fn ten_steps_with_regularizers_and_constraints() {
    crate::training::ten_steps("train_conv.json");
}

#[derive(Deserialize)]
struct Masked {
    x: Array,
    mask: Array,
    output: Array,
    upstream: Array,
    grad: Array,
}

#[derive(Deserialize)]
struct File {
    masked: Masked,
}

/// Gives its first input the mask that its second input is.
#[derive(Debug)]
struct WithMask;

impl Layer for WithMask {
    fn class_name(&self) -> &'static str {
        "WithMask"
    }

    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }

    fn build_all(&self, _weights: &mut Weights, _inputs: &[Shape]) -> Result<()> {
        Ok(())
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        cx.set_mask(Some(inputs[1].gt(0.5)));
        Ok(vec![inputs[0].clone()])
    }
}

#[test]
fn an_average_of_the_steps_that_count() -> Result<()> {
    let case = read::<File>("space.json").masked;
    for device in devices() {
        let (x, mask) = (Input::new(&case.x.shape[1..]), Input::new(&case.mask.shape[1..]));
        let y = GlobalAveragePooling1D::new().apply(WithMask.apply([&x, &mask]));
        let model = Model::new([&x, &mask], [&y])?.on(&device);
        let plan = Plan::trace(&device, &[case.x.spec(), (case.mask.spec().0, DType::F32)], |args| {
            let y = model.call_all(args, false)?.remove(0);
            let [grad] = (&y * case.upstream.tensor()).sum(&[]).grad([&args[0]]);
            Ok(vec![y, grad])
        })?;
        let mask = case.mask.tensor().cast(DType::F32);
        let results = plan.run(&mut [Arg::Tensor(case.x.tensor()), Arg::Tensor(mask)])?;
        for (what, got, want) in [("output", &results[0], &case.output), ("gradient", &results[1], &case.grad)] {
            assert_close(what, &device.read_now(got)?.to_f64(), &want.data, TOLERANCE);
        }
    }
    Ok(())
}
