//! Layers and training under mixed policies, and dynamic loss scaling step by step.

use crate::common::{TOLERANCE, TRAINING_TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, Linear, LossConfig, ModelConfig, OptimizerConfig, Prediction, cases, compile, loss, read};
use ibex::config::Config;
use ibex::core::backend::block_on;
use ibex::layers::Layer;
use ibex::optimizers::LossScaleOptimizer;
use ibex::{DType, DTypePolicy, Data, Device, Fit, Plan, Result, Sequential, Tensor, layers};
use serde::Deserialize;

/// Largest difference of a layer, and after six steps of training. One rounding is 2^-12 in `f16` and 2^-9 in `bf16`. Keras's own numbers are up to
/// 4.5e-3 and 3.6e-2 from those in `f32` (the kernel gradient of `conv_tanh`), mostly about 5e-4 and 5e-3.
fn tolerances(policy: DTypePolicy) -> [f64; 2] {
    match policy {
        DTypePolicy::Float32 => [TOLERANCE, TRAINING_TOLERANCE],
        DTypePolicy::MixedFloat16 => [4e-3, 4e-3],
        DTypePolicy::MixedBfloat16 => [4e-2, 5e-2],
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    layer: String,
    config: Config,
    policy: DTypePolicy,
    training: bool,
    inputs: Vec<Array>,
    weights: Vec<Array>,
    output: Array,
    output_dtype: String,
    upstream: Array,
    input_grads: Vec<Option<Array>>,
    weight_grads: Vec<Option<Array>>,
    weights_after: Option<Vec<Array>>,
}

#[test]
fn layers_under_mixed_policies() {
    every_case(&cases("mixed.json"), |case: &Case| &case.name, check);
}

fn check(case: &Case, device: &Device) -> Result<()> {
    let input = &case.inputs[0];
    let layer = layers::from_config(&case.layer, case.config.clone())?;
    let mut model = Sequential::with_dtype(&input.shape[1..], input.dtype()).dtype_policy(case.policy);
    model = model.on(device).add(layer);
    model.set_weights(&case.weights.iter().map(Array::numbers).collect::<Vec<_>>())?;

    let variables: Vec<_> = model.weights().map(|w| w.variable.clone()).collect();
    assert!(variables.iter().all(|v| v.dtype() == DType::F32), "weights are f32");
    let plan = Plan::trace(device, &[input.spec()], |args| {
        let mut at: Vec<Tensor> = case.input_grads[0].iter().map(|_| args[0].clone()).collect();
        at.extend(variables.iter().zip(&case.weight_grads).filter(|(_, g)| g.is_some()).map(|(v, _)| v.value()));
        let y = model.call(&args[0], case.training)?;
        let gradients = y.vjp(&case.upstream.tensor().cast(y.dtype()), &at)?;
        Ok([vec![y], gradients.into_iter().flatten().collect()].concat())
    })?;
    let results = plan.run(&mut [ibex::Arg::Tensor(input.tensor())])?;
    let dtype = match &case.output_dtype[..] {
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        other => panic!("output type {other}"),
    };
    assert_eq!(results[0].dtype(), dtype);

    let [tolerance, _] = tolerances(case.policy);
    let same = |what: &str, got: &Tensor, want: &Array| -> Result<()> {
        assert_eq!(got.shape()[..], want.shape[..], "{} {what}: shape", case.name);
        assert_close(&format!("{} {what}", case.name), &device.read_now(got)?.to_f64(), &want.data, tolerance);
        Ok(())
    };
    same("output", &results[0], &case.output)?;
    let gradients = case.input_grads.iter().chain(&case.weight_grads).flatten();
    assert_eq!(gradients.clone().count(), results.len() - 1);
    for (i, want) in gradients.enumerate() {
        assert_eq!(results[i + 1].dtype(), DType::F32, "gradients of f32 are f32");
        same(&format!("gradient {i}"), &results[i + 1], want)?;
    }
    for (i, want) in case.weights_after.iter().flatten().enumerate() {
        same(&format!("weight {i} after"), &variables[i].value(), want)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Trained {
    training: Vec<Training>,
}

#[derive(Deserialize)]
struct Training {
    name: String,
    policy: DTypePolicy,
    model: ModelConfig,
    optimizer: OptimizerConfig,
    loss: LossConfig,
    wrapped: String,
    loss_scale: f32,
    optimizer_params: usize,
    losses: Vec<f64>,
    initial_weights: Vec<Array>,
    final_weights: Vec<Array>,
    batches: Vec<Batch>,
}

#[derive(Deserialize)]
struct Batch {
    x: Array,
    y: Array,
}

#[test]
fn training_under_mixed_policies() {
    every_case(&read::<Trained>("mixed.json").training, |case| &case.name, train);
}

fn train(case: &Training, device: &Device) -> Result<()> {
    let mut model = case.model.model()?.on(device).dtype_policy(case.policy);
    compile(&mut model, &case.optimizer, loss(&case.loss)?, ())?;
    model.set_weights(&case.initial_weights.iter().map(Array::numbers).collect::<Vec<_>>())?;
    let mut losses = Vec::new();
    for batch in &case.batches {
        let fit = Fit::epochs(1).verbose(0).shuffle(false);
        losses.extend(model.fit((&batch.x.tensor(), &batch.y.tensor()), fit)?.last("loss"));
    }
    let [_, tolerance] = tolerances(case.policy);
    assert_close(&format!("{} on {device:?}: loss", case.name), &losses, &case.losses, tolerance);
    for ((got, want), weight) in model.get_weights()?.iter().zip(&case.final_weights).zip(model.weights()) {
        let what = format!("{} on {device:?}: {}", case.name, weight.variable.name());
        assert_close(&what, &got.to_f64(), &want.data, tolerance);
    }
    assert_eq!(model.loss_scale()?, case.loss_scale);
    let summary = model.summary();
    let counted = summary.lines().find_map(|line| line.strip_prefix(" Optimizer params: ")).unwrap_or_default();
    let counted: String = counted.chars().take_while(|c| *c != ' ').filter(char::is_ascii_digit).collect();
    // Keras's wrapper also counts a learning rate and an iteration of its own, which it never uses.
    let unused = if case.wrapped == "LossScaleOptimizer" { 2 } else { 0 };
    assert_eq!(counted, (case.optimizer_params - unused).to_string(), "{}: {}", case.name, case.wrapped);
    Ok(())
}

#[derive(Deserialize)]
struct Scaling {
    name: String,
    #[serde(flatten)]
    optimizer: OptimizerConfig,
    scaling: ScalingConfig,
    initial: Vec<Array>,
    grads: Vec<Vec<Array>>,
    steps: Vec<Step>,
}

#[derive(Default, Deserialize)]
struct ScalingConfig {
    initial_scale: Option<f32>,
    dynamic_growth_steps: Option<i32>,
}

#[derive(Deserialize)]
struct Step {
    after: Vec<Array>,
    dynamic_scale: f32,
    step_counter: i32,
    iteration: i32,
}

/// Fourteen steps of given gradients, some of which overflow `f32` once they are scaled.
#[test]
fn loss_scaling_is_that_of_keras() {
    every_case(&cases("loss_scale.json"), |case: &Scaling| &case.name, scaled);
}

fn scaled(case: &Scaling, device: &Device) -> Result<()> {
    let mut model = Sequential::new([17]).on(device).add(Linear.named("l"));
    model.set_weights(&case.initial.iter().map(Array::numbers).collect::<Vec<_>>())?;
    let inner = case.optimizer.boxed()?;
    let mut optimizer = LossScaleOptimizer::new(inner);
    if let Some(scale) = case.scaling.initial_scale {
        optimizer = optimizer.initial_scale(scale);
    }
    if let Some(steps) = case.scaling.dynamic_growth_steps {
        optimizer = optimizer.dynamic_growth_steps(steps);
    }
    model.compile(optimizer, Prediction, ())?;
    for (number, (grads, want)) in case.grads.iter().zip(&case.steps).enumerate() {
        let before = model.get_weights()?;
        let x: Vec<f32> = grads.iter().flat_map(|g| &g.data).map(|&v| v as f32).collect();
        let overflows = x.iter().any(|&v| v > 1e38);
        let (x, y) = (Tensor::from_vec(x, [1, 17]), Tensor::from_vec(vec![0f32], [1]));
        model.fit((&x, &y), Fit::epochs(1).verbose(0))?;
        let what = format!("{} step {number}", case.name);
        let after = model.get_weights()?;
        for (i, (got, want)) in after.iter().zip(&want.after).enumerate() {
            assert_close(&format!("{what} weight {i}"), &got.to_f64(), &want.data, TOLERANCE);
        }
        assert_eq!(after == before, overflows, "{what}: weights stay where a gradient overflows, bit for bit");
        assert_eq!(model.loss_scale()?, want.dynamic_scale, "{what}: scale");
        let bytes = block_on(model.to_bytes())?;
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a file");
        for (name, want) in [("step_counter", want.step_counter), ("iteration", want.iteration)] {
            let view = file.tensor(&format!("optimizer/{name}")).expect(name);
            assert_eq!(Data::from_bytes(DType::I32, view.data())?, Data::I32(vec![want]), "{what}: {name}");
        }
    }
    Ok(())
}
