//! Mixed precision as users meet it: policies, overflow, saving, accuracy.

use crate::common::devices;
use crate::points;
use ibex::core::backend::block_on;
use ibex::prelude::*;
use ibex::{Data, ErrorKind, Result};
use serde::{Deserialize, Serialize};

fn mixed(device: &Device, policy: DTypePolicy) -> Result<Model> {
    let mut model = Sequential::new([4])
        .seed(3)
        .on(device)
        .dtype_policy(policy)
        .add(Dense::new(8).activation(Tanh))
        .add(BatchNormalization::new())
        .add(Dropout::new(0.1))
        .add(Dense::new(2).dtype(Float32));
    model.compile(Adam::new(0.05), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    Ok(model)
}

#[test]
fn names() {
    for policy in DTypePolicy::ALL {
        assert_eq!(policy.name().parse::<DTypePolicy>().expect("a name"), policy);
        assert_eq!(serde_json::to_value(policy).expect("a string"), policy.to_string());
    }
    let error = "float16".parse::<DTypePolicy>().expect_err("unknown");
    assert!(error.to_string().contains("mixed_float16"), "{error}");
}

#[test]
fn learns_under_every_policy() -> Result<()> {
    for device in devices() {
        let (x, y) = points(203);
        for policy in DTypePolicy::ALL {
            let mut model = mixed(&device, policy)?;
            let history = model.fit((&x, &y), Fit::epochs(12).verbose(0))?;
            assert!(history.last("accuracy").is_some_and(|a| a > 0.85), "{policy}: {history:?}");
            assert!(model.weights().all(|w| w.variable.dtype() == DType::F32));
            assert_eq!(model.loss_scale()?, if policy == MixedFloat16 { 32768.0 } else { 1.0 }, "{policy}");
            // Reading predictions does not depend on the policy.
            let predictions = device.to_vec::<f32>(&model.predict(&x)?)?;
            assert!(predictions.iter().all(|p| p.is_finite()));
        }
    }
    Ok(())
}

#[test]
fn where_which_type_is() -> Result<()> {
    let device = &devices()[0];
    let x = Tensor::ones([2, 4], DType::F32);
    let dtype = |model: Model| -> Result<DType> { Ok(model.on(device).call(&x, false)?.dtype()) };
    let model = || Sequential::new([4]).dtype_policy(MixedFloat16).add(Dense::new(3));
    assert_eq!(dtype(model())?, DType::F16);
    assert_eq!(dtype(model().add(Dense::new(2).dtype(Float32)))?, DType::F32);
    assert_eq!(dtype(model().add(Softmax.dtype(MixedBfloat16).named("last")))?, DType::BF16);
    assert_eq!(dtype(model().dtype_policy(Float32))?, DType::F32, "the policy may change later");
    assert_eq!(dtype(model().add(Relu.dtype(MixedBfloat16)).dtype_policy(Float32))?, DType::BF16);
    assert_eq!(dtype(Sequential::new([4]).add(Dense::new(3).dtype(MixedFloat16)))?, DType::F16);
    // Narrow inputs under the default policy are cast too.
    let narrow = Sequential::with_dtype([4], DType::F16).on(device).add(Dense::new(3));
    assert_eq!(narrow.call(&x.cast(DType::F16), false)?.dtype(), DType::F32);
    // Predictions are `f32` all the same.
    assert_eq!(model().on(device).predict(&x)?.dtype(), DType::F32);
    Ok(())
}

/// Loss scaling comes with `f16`, wherever that is, and only there.
#[test]
fn loss_scaling_is_added() -> Result<()> {
    let device = &devices()[0];
    let scale = |model: Model, optimizer: LossScaleOptimizer| -> Result<f32> {
        let mut model = model.on(device);
        model.compile(optimizer, MeanSquaredError::new(), ())?;
        model.loss_scale()
    };
    let compiled = |model: Model| -> Result<f32> {
        let mut model = model.on(device);
        model.compile(SGD::new(0.1), MeanSquaredError::new(), ())?;
        model.loss_scale()
    };
    let model = |policy| Sequential::new([4]).dtype_policy(policy).add(Dense::new(1));
    assert_eq!(compiled(model(Float32))?, 1.0);
    assert_eq!(compiled(model(MixedBfloat16))?, 1.0);
    assert_eq!(compiled(model(MixedFloat16))?, 32768.0);
    assert_eq!(compiled(model(Float32).add(Dense::new(1).dtype(MixedFloat16)))?, 32768.0);
    assert_eq!(scale(model(MixedFloat16), LossScaleOptimizer::new(SGD::new(0.1)).initial_scale(64.0))?, 64.0, "once");
    assert_eq!(scale(model(Float32), LossScaleOptimizer::new(SGD::new(0.1)))?, 32768.0, "asked for");
    for bad in [0.0, -1.0, f32::INFINITY, f32::NAN] {
        let error = scale(model(Float32), LossScaleOptimizer::new(SGD::new(0.1)).initial_scale(bad));
        assert!(error.is_err_and(|e| e.kind() == ErrorKind::Value && e.to_string().contains("initial_scale")));
    }
    let mut changed = model(Float32);
    changed.compile(SGD::new(0.1), MeanSquaredError::new(), ())?;
    let error = changed.dtype_policy(MixedFloat16).loss_scale();
    assert!(error.is_err_and(|e| e.kind() == ErrorKind::Model && e.to_string().contains("compile the model again")));
    Ok(())
}

/// A product that `f16` can not hold is infinite, also where it is widened in the same kernel.
#[test]
fn overflow_is_seen() -> Result<()> {
    for device in devices() {
        let a = Tensor::full([3, 4], 200.0, DType::F16);
        let (b, bias) = (Tensor::full([4, 5], 100.0, DType::F16), Tensor::ones([5], DType::F16));
        let y = a.matmul(&b);
        let results = device.eval(&[
            y.clone(),
            (&y + bias).cast(DType::F32),
            y.cast(DType::F32) * 0.5,
            a.sum(&[]).cast(DType::F32),
        ])?;
        for y in &results[..3] {
            assert!(
                device.read_now(y)?.to_f64().iter().all(|v| *v == f64::INFINITY),
                "{:?} on {device:?}",
                device.read_now(y)?
            );
        }
        assert_eq!(device.read_now(&results[3])?.to_f64(), [2400.0]);
    }
    Ok(())
}

/// With a scale that is far too large, steps change nothing but the scale until gradients fit `f16`.
#[test]
fn steps_that_overflow_are_skipped() -> Result<()> {
    for device in devices() {
        let (x, y) = points(32);
        let mut model = Sequential::new([4])
            .on(&device)
            .dtype_policy(MixedFloat16)
            .add(Dense::new(16).activation(Tanh))
            .add(Dense::new(2).dtype(Float32));
        let optimizer = LossScaleOptimizer::new(Adam::new(0.05)).initial_scale(2f32.powi(26)).dynamic_growth_steps(3);
        model.compile(optimizer, SparseCategoricalCrossentropy::from_logits(), ())?;
        let (mut skipped, mut good) = (0, 0);
        let mut scale = model.loss_scale()?;
        for step in 0..24 {
            let before = (model.get_weights()?, optimizer_state(&mut model)?);
            let history = model.fit((&x, &y), Fit::epochs(1).verbose(0))?;
            assert!(history.last("loss").is_some_and(f64::is_finite), "the loss that is shown is not scaled");
            let after = (model.get_weights()?, optimizer_state(&mut model)?);
            let next = model.loss_scale()?;
            if next == scale / 2.0 {
                assert_eq!(after, before, "step {step}");
                (skipped, good) = (skipped + 1, 0);
            } else {
                assert_ne!(after.0, before.0, "step {step}");
                good += 1;
                let grown = good == 3;
                assert_eq!(next, if grown { scale * 2.0 } else { scale }, "step {step}");
                good = if grown { 0 } else { good };
            }
            scale = next;
        }
        assert!((4..20).contains(&skipped), "{skipped} skipped");
    }
    Ok(())
}

/// The scale neither vanishes while nothing is finite, nor becomes infinite while nothing overflows.
#[test]
fn the_scale_has_limits() -> Result<()> {
    for device in devices() {
        for (weight, scale) in [(1e30, 2f32.powi(-126)), (0.0, 2f32.powi(126))] {
            let mut model = Sequential::new([4]).on(&device).dtype_policy(MixedFloat16).add(Dense::new(1));
            model.set_weights(&[Data::F32(vec![weight; 4]), Data::F32(vec![0.0])])?;
            let optimizer = LossScaleOptimizer::new(SGD::new(0.1)).initial_scale(scale).dynamic_growth_steps(1);
            model.compile(optimizer, MeanSquaredError::new(), ())?;
            model.fit(
                (&Tensor::ones([8, 4], DType::F32), &Tensor::zeros([8, 1], DType::F32)),
                Fit::epochs(3).batch_size(4).verbose(0),
            )?;
            assert_eq!(model.loss_scale()?, scale, "{device:?}");
        }
    }
    Ok(())
}

/// Slots and the count of steps.
fn optimizer_state(model: &mut Model) -> Result<Vec<(String, Data)>> {
    let bytes = block_on(model.to_bytes())?;
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a file");
    let scaling = ["optimizer/dynamic_scale", "optimizer/step_counter"];
    let names = file.names().into_iter().filter(|n| n.starts_with("optimizer/") && !scaling.contains(n));
    let mut state = Vec::new();
    for name in names {
        let view = file.tensor(name).expect(name);
        state.push((name.to_string(), Data::from_bytes(DType::U32, view.data())?));
    }
    state.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(state)
}

#[test]
fn saved_training_goes_on() -> Result<()> {
    for device in devices() {
        let (x, y) = points(70);
        let fit = || Fit::epochs(2).batch_size(16).verbose(0);
        for policy in DTypePolicy::ALL {
            let mut model = mixed(&device, policy)?;
            let optimizer =
                LossScaleOptimizer::new(Adam::new(0.05)).initial_scale(2f32.powi(24)).dynamic_growth_steps(3);
            model.compile(optimizer, SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
            model.fit((&x, &y), fit())?;
            let mut loaded = Model::from_bytes(&block_on(model.to_bytes())?)?.on(&device);
            assert_eq!(loaded.loss_scale()?, model.loss_scale()?);
            assert_eq!(loaded.summary(), model.summary());
            assert_eq!(model.fit((&x, &y), fit())?, loaded.fit((&x, &y), fit())?, "{policy}");
            assert_eq!(block_on(loaded.to_bytes())?, block_on(model.to_bytes())?, "{policy}");
            let dtype = |model: &mut Model| -> Result<DType> { Ok(model.call(&x, false)?.dtype()) };
            assert_eq!(dtype(&mut loaded)?, DType::F32, "the last layer has a policy of its own");
        }
        // The policy of the model, too.
        let model = Sequential::new([4]).dtype_policy(MixedBfloat16).add(Dense::new(2));
        let loaded = Model::from_bytes(&block_on(model.to_bytes())?)?.on(&device);
        assert_eq!(loaded.call(&x, false)?.dtype(), DType::BF16);
    }
    Ok(())
}

/// Keeps a moving average of what it sees, as a user would write it.
#[derive(Debug, Serialize, Deserialize)]
struct Average;

impl Layer for Average {
    fn class_name(&self) -> &'static str {
        "Average"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn build(&self, weights: &mut Weights, _input: &Shape) -> Result<()> {
        weights.add("gain", [1], Initializer::Ones)?;
        weights.add_state("average", [], Initializer::Ones)?;
        Ok(())
    }
    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        assert_eq!((x.dtype(), cx.weight("gain").dtype()), (cx.compute_dtype(), cx.compute_dtype()));
        assert_eq!((cx.weight("average").dtype(), cx.weight_as("gain", DType::F32).dtype()), (DType::F32, DType::F32));
        if cx.training() {
            let average = cx.weight("average") * 0.999 + x.mean(&[]).cast(DType::F32) * 0.001;
            cx.assign("average", &average)?;
            // Narrow values fit as well.
            cx.assign("average", &average.cast(cx.compute_dtype()).cast(DType::F32).maximum(&average))?;
        }
        Ok(x * cx.weight("gain"))
    }
}

#[test]
fn layers_of_ones_own() -> Result<()> {
    for device in devices() {
        let (x, y) = points(40);
        let mut model = Sequential::new([4]).on(&device).dtype_policy(MixedFloat16).add(Average).add(Dense::new(2));
        model.compile(Adam::new(0.05), SparseCategoricalCrossentropy::from_logits(), ())?;
        model.fit((&x, &y), Fit::epochs(1).verbose(0))?;
        let weights = model.get_weights()?;
        assert!(weights[1].to_f64()[0] > 0.9 && weights[1].to_f64()[0] != 1.0, "{weights:?}");
    }
    Ok(())
}

/// The example's model on real digits: the policies reach the same accuracy.
#[test]
fn digits_as_accurately_as_f32() -> Result<()> {
    let mnist = ibex::data::mnist_subset()?;
    for device in devices() {
        let software = !device.backend().reads_are_free();
        let (train, _) = mnist.train.split_at(if software { 1024 } else { 2048 })?;
        let (test, _) = mnist.test.split_at(500)?;
        let accuracy = |policy: DTypePolicy| -> Result<f64> {
            let mut model = Sequential::new([28, 28, 1])
                .on(&device)
                .dtype_policy(policy)
                .add(Conv2D::new(8, 3).activation(Relu))
                .add(MaxPooling2D::new(2))
                .add(Flatten::new())
                .add(Dense::new(32).activation(Relu))
                .add(Dense::new(10).dtype(Float32));
            model.compile(Adam::new(3e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
            model.fit(&train, Fit::epochs(2).batch_size(64).verbose(0))?;
            Ok(model.evaluate(&test, 100)?["accuracy"])
        };
        let full = accuracy(Float32)?;
        assert!(full > 0.8, "{full}");
        for policy in [MixedFloat16, MixedBfloat16] {
            let half = accuracy(policy)?;
            assert!((half - full).abs() <= 0.02, "{policy} on {device:?}: {half}, float32: {full}");
        }
    }
    Ok(())
}
