//! Saving and loading.

use crate::common::{Folder, devices};
use crate::{classifier, points};
use ibex::core::backend::block_on;
use ibex::layers::register;
use ibex::prelude::*;
use ibex::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// One of every layer that images can go through.
fn every_layer() -> Model {
    Sequential::new([8, 8, 1])
        .named("every layer")
        .add(Conv2D::new(4, (3, 2)).strides((1, 2)).padding(Padding::Same).activation(Relu))
        .add(BatchNormalization::new().momentum(0.9))
        .add(MaxPooling2D::new(2))
        .add(AveragePooling2D::new((2, 1)).strides(1))
        .add(Reshape::new([-1, 4]).named("seq"))
        .add(LSTM::new(3).return_sequences(true))
        .add(LSTM::new(5).activation(Relu).go_backwards(true))
        .add(Tanh)
        .add(Flatten::new())
        .add(Dropout::new(0.25))
        .add(Dense::new(3).activation(Softmax))
}

#[test]
fn round_trip_of_every_layer() -> Result<()> {
    for device in devices() {
        let folder = Folder::new("round-trip");
        let path = folder.0.join("model.safetensors");
        let x = device.eval(&[Tensor::randn([6, 8, 8, 1], 1)])?.remove(0);
        let y = Tensor::from_vec(vec![0i32, 1, 2, 0, 1, 2], [6]);
        let mut model = every_layer().on(&device);
        model.compile(RMSprop::new(0.01).momentum(0.5), SparseCategoricalCrossentropy::new(), [Accuracy::new()])?;
        model.fit((&x, &y), Fit::epochs(2).batch_size(4).verbose(0))?;
        model.save(&path)?;

        let mut loaded = Model::load(&path)?.on(&device);
        assert_eq!(loaded.summary(), model.summary());
        assert_eq!(loaded.get_weights()?, model.get_weights()?);
        let predict = |m: &mut Model| -> Result<Vec<f32>> { device.to_vec(&m.predict(&x)?) };
        assert_eq!(predict(&mut loaded)?, predict(&mut model)?, "predictions");
        // Optimizer state, step count and random numbers go on where they were.
        let fit = || Fit::epochs(2).batch_size(4).verbose(0);
        let (a, b) = (model.fit((&x, &y), fit())?, loaded.fit((&x, &y), fit())?);
        assert_eq!(a, b, "training continues");
        assert_eq!(loaded.get_weights()?, model.get_weights()?);
        assert_eq!(block_on(loaded.to_bytes())?, block_on(model.to_bytes())?);
    }
    Ok(())
}

#[test]
fn models_that_are_not_compiled() -> Result<()> {
    let bytes = block_on(every_layer().to_bytes())?;
    let mut loaded = Model::from_bytes(&bytes)?;
    assert_eq!(loaded.predict(&Tensor::zeros([1, 8, 8, 1], DType::F32))?.shape()[..], [1, 3]);
    let error = loaded.evaluate((&Tensor::zeros([1, 8, 8, 1], DType::F32), &Tensor::from_vec(vec![0i32], [1])), 1);
    assert!(error.is_err_and(|e| e.to_string().contains("compile the model")));
    Ok(())
}

/// Whatever happens to a file, loading it is an error and no panic; and no damage goes unseen.
#[test]
fn damaged_files() -> Result<()> {
    let device = &devices()[0];
    let model = classifier(device)?;
    let bytes = block_on(model.to_bytes())?;
    assert!(Model::from_bytes(&bytes).is_ok());
    for len in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        assert!(Model::from_bytes(&bytes[..len]).is_err(), "cut to {len} bytes");
    }
    for bit in (0..bytes.len() * 8).step_by(11) {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        if let Ok(same) = Model::from_bytes(&bad) {
            // Only what says the same in other letters may pass.
            assert_eq!(same.get_weights()?, model.get_weights()?, "bit {bit}");
            assert_eq!(same.summary(), model.summary(), "bit {bit}");
        }
    }
    let longer = [&bytes[..], &[0; 8]].concat();
    assert!(Model::from_bytes(&longer).is_err(), "bytes after the end");
    let error = Model::from_bytes(&bytes[..bytes.len() - 1]).map(drop);
    assert!(error.is_err_and(|e| e.kind() == ErrorKind::Format));
    Ok(())
}

#[test]
fn files_that_can_not_be_written_or_read() -> Result<()> {
    let folder = Folder::new("unwritable");
    let model = classifier(&devices()[0])?;
    let path = folder.0.join("none").join("model.safetensors");
    assert!(model.save(&path).is_err_and(|e| e.kind() == ErrorKind::Io && e.to_string().contains("none")));
    assert!(Model::load(&path).is_err_and(|e| e.kind() == ErrorKind::Io && e.to_string().contains("none")));
    let unknown = model.save(folder.0.join("m.kears"));
    assert!(unknown.is_err_and(|e| e.kind() == ErrorKind::Value && e.to_string().contains(".safetensors, .keras")));
    let keras = folder.0.join("none").join("m.keras");
    assert!(model.save(&keras).is_err_and(|e| e.kind() == ErrorKind::Io && e.to_string().contains("none")));
    // A disk that is full: the old file stays.
    #[cfg(target_os = "linux")]
    if std::path::Path::new("/dev/full").exists() {
        let full = folder.0.join("full.safetensors");
        std::os::unix::fs::symlink("/dev/full", &full).expect("a link");
        assert!(model.save(&full).is_err_and(|e| e.kind() == ErrorKind::Io));
    }
    Ok(())
}

/// `x * scale + 1`, with a scale for each feature and a number of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Scaled {
    start: f32,
}

impl Layer for Scaled {
    fn class_name(&self) -> &'static str {
        "Scaled"
    }
    fn config(&self) -> Result<Config> {
        config::save(self)
    }
    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        weights.add("scale", [input[1]], Initializer::Constant { value: self.start })?;
        Ok(())
    }
    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        Ok(x * cx.weight("scale") + 1.0)
    }
}

#[test]
fn layers_of_ones_own() -> Result<()> {
    let device = &devices()[0];
    let (x, y) = points(40);
    let mut model = Sequential::new([4]).on(device).add(Scaled { start: 0.5 }).add(Dense::new(2));
    model.compile(Adam::new(0.05), SparseCategoricalCrossentropy::from_logits(), ())?;
    model.fit((&x, &y), Fit::epochs(1).verbose(0))?;
    assert!(model.get_weights()?[0].to_f64().iter().all(|&v| v != 0.5 && (v - 0.5).abs() < 0.2), "it is trained");
    let bytes = block_on(model.to_bytes())?;
    let unknown = Model::from_bytes(&bytes).map(drop).expect_err("not registered");
    assert_eq!(unknown.kind(), ErrorKind::Unsupported);
    assert!(unknown.to_string().contains("register::<Scaled>"), "{unknown}");
    register::<Scaled>("Scaled");
    assert_eq!(Model::from_bytes(&bytes)?.get_weights()?, model.get_weights()?);
    Ok(())
}

/// Frozen after `compile`: the weights are there, the optimizer's state belongs to other weights.
#[test]
fn a_model_that_was_frozen_after_compile() -> Result<()> {
    let device = &devices()[0];
    let mut model = classifier(device)?;
    let (x, y) = points(32);
    model.fit((&x, &y), Fit::epochs(1).verbose(0))?;
    model.layers()[0].set_trainable(false);
    let mut loaded = Model::from_bytes(&block_on(model.to_bytes())?)?.on(device);
    assert_eq!(loaded.get_weights()?, model.get_weights()?);
    let error = loaded.fit((&x, &y), Fit::epochs(1).verbose(0)).map(drop);
    assert!(error.is_err_and(|e| e.to_string().contains("optimizer state can not be used; compile the model")));
    Ok(())
}

/// What is not replaced stays, the optimizer's state too, and a mistake changes nothing.
#[test]
fn compiled_again_in_part() -> Result<()> {
    let mut model = classifier(&devices()[0])?;
    let (x, y) = points(64);
    model.fit((&x, &y), Fit::epochs(1).verbose(0))?;
    model.recompile(None, None, Some(vec![ibex::metrics::get("sparse_top_k_categorical_accuracy")?]))?;
    assert_eq!(model.iterations()?, 2);
    let logs = model.evaluate((&x, &y), 32)?;
    assert_eq!(logs.keys().collect::<Vec<_>>(), ["loss", "sparse_top_k_categorical_accuracy"]);
    let loss = || ibex::losses::from_config("mse", Config::new());
    assert!(model.recompile(None, Some(vec![loss()?, loss()?]), None).is_err());
    assert_eq!(model.evaluate((&x, &y), 32)?, logs);
    model.recompile(Some(ibex::optimizers::from_config("sgd", Config::new())?), None, None)?;
    assert_eq!((model.iterations()?, model.evaluate((&x, &y), 32)?), (0, logs));
    Ok(())
}

/// In order, nothing missing and nothing twice, wherever the numbers are.
#[test]
fn tensors_are_read_in_parts() -> Result<()> {
    for device in devices() {
        for dtype in [DType::F32, DType::F16, DType::Bool] {
            let lazy = Tensor::rand([2, 5], 7).gt(0.5).cast(dtype);
            let stored = device.eval(std::slice::from_ref(&lazy))?.remove(0);
            let whole = device.read_now(&lazy)?.to_f64();
            for (tensor, most) in
                [(&lazy, 3), (&stored, 3), (&stored, 1), (&stored, 10), (&stored, usize::MAX), (&stored, 0)]
            {
                let mut parts = Vec::new();
                device.read_parts(tensor, most, |part| {
                    assert!(part.dtype() == dtype && (1..=most.max(1)).contains(&part.len()));
                    parts.extend(part.to_f64());
                    Ok(())
                })?;
                assert_eq!(parts, whole, "{dtype} {most}");
            }
            let mut calls = 0;
            let stop = device.read_parts(&stored, 4, |_| {
                calls += 1;
                Err(Error::io("the disk is full"))
            });
            assert!(stop.is_err_and(|e| e.to_string().contains("the disk is full")) && calls == 1);
        }
    }
    Ok(())
}
