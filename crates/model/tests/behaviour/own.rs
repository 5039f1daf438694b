//! Losses, metrics and optimizers of one's own, in files, and training steps of one's own.

use crate::common::{Folder, devices};
use crate::{classifier, points};
use ibex::losses::IntoLosses;
use ibex::metrics::IntoMetrics;
use ibex::prelude::*;
use ibex::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Squared errors, so many times.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stretched {
    factor: f32,
}

impl Loss for Stretched {
    fn class_name(&self) -> &'static str {
        "Stretched"
    }
    fn config(&self) -> Result<Config> {
        config::save(self)
    }
    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        Ok((y_pred - y_true.cast(DType::F32)).square().mean(&[-1]) * self.factor)
    }
}

/// The mean absolute error.
#[derive(Clone, Debug)]
struct Distance;

impl Metric for Distance {
    fn name(&self) -> String {
        "distance".into()
    }
    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        Ok((y_pred - y_true.cast(DType::F32)).abs())
    }
}

fn model(device: &Device) -> Result<(Model, Tensor, Tensor)> {
    let (x, _) = points(64);
    let y = x.sum(&[-1]).unsqueeze(-1).eval()?;
    let mut model = Sequential::new([4]).on(device).add(Dense::new(8).activation(Tanh)).add(Dense::new(1));
    model.compile(Adam::new(0.02), Stretched { factor: 3.0 }, (Distance.weighted(), Distance))?;
    model.fit((&x, &y), fit())?;
    Ok((model, x, y))
}

fn fit() -> Fit<'static> {
    Fit::epochs(2).batch_size(16).verbose(0)
}

/// Whatever is not known is given again, and training goes on where it was.
#[test]
fn training_goes_on_with_a_loss_and_a_metric_of_ones_own() -> Result<()> {
    let folder = Folder::new("own-losses");
    for device in devices() {
        let (first, x, y) = model(&device)?;
        for file in ["m.safetensors", "m.keras", "m.h5"] {
            let path = folder.0.join(file);
            first.save(&path)?;
            let loaded = Model::load(&path)?.on(&device);
            assert_eq!((loaded.iterations()?, loaded.learning_rate()?), (8, 0.02), "{file}");
            // A copy of what is not understood loses nothing.
            let copy = folder.0.join(format!("copy-{file}"));
            loaded.save(&copy)?;
            let mut loaded = Model::load(&copy)?.on(&device);
            let text = |result: Result<()>| result.expect_err("it is not known").to_string();
            let unknown = text(loaded.fit((&x, &y), fit()).map(drop));
            let words =
                ["the file's loss can not be used here", "recompile(None, Some(losses), None)", "\"Stretched\""];
            assert!(words.iter().all(|word| unknown.contains(word)), "{unknown}");
            loaded.recompile(None, Some(Stretched { factor: 3.0 }.into_losses()), None)?;
            let unknown = text(loaded.evaluate((&x, &y), 16).map(drop));
            let words =
                ["the file's metric can not be used here", "recompile(None, None, Some(metrics))", "\"Distance\""];
            assert!(words.iter().all(|word| unknown.contains(word)), "{unknown}");
            assert!(text(loaded.train_on_batch((&x, &y)).map(drop)).contains(words[0]));
            loaded.recompile(None, None, Some((Distance.weighted(), Distance).into_metrics()))?;
            assert_eq!(loaded.iterations()?, 8, "{file}");

            let mut again = Model::from_bytes(&ibex::core::backend::block_on(first.to_bytes())?)?.on(&device);
            again.recompile(None, Some(Stretched { factor: 3.0 }.into_losses()), Some(Vec::new()))?;
            loaded.fit((&x, &y), fit().shuffle(false))?;
            again.fit((&x, &y), fit().shuffle(false))?;
            assert_eq!(loaded.get_weights()?, again.get_weights()?, "{file}: the optimizer's state came along");
        }
        let mut gone = Model::from_json(&first.to_json()?)?.on(&device);
        gone.recompile(None, Some(Stretched { factor: 3.0 }.into_losses()), Some(Vec::new()))?;
        gone.fit((&x, &y), fit())?;
    }
    Ok(())
}

/// Plain gradient descent.
#[derive(Debug)]
struct Descent(SGD);

impl Optimizer for Descent {
    fn class_name(&self) -> &'static str {
        "Descent"
    }
    fn config(&self) -> Result<Config> {
        self.0.config()
    }
    fn options(&self) -> &ibex::optimizers::Options {
        self.0.options()
    }
    fn slots(&self, weight: &Shape) -> Vec<ibex::optimizers::Slot> {
        self.0.slots(weight)
    }
    fn update(
        &self,
        step: &ibex::optimizers::Step,
        weight: &Tensor,
        gradient: &Tensor,
        slots: &[Tensor],
    ) -> (Tensor, Vec<Tensor>) {
        self.0.update(step, weight, gradient, slots)
    }
}

/// Its state can not be known, all else is.
#[test]
fn an_optimizer_of_ones_own_is_given_again() -> Result<()> {
    let folder = Folder::new("own-optimizer");
    let (x, y) = points(64);
    let mut model = classifier(&devices()[0])?;
    model.recompile(Some(Box::new(Descent(SGD::new(0.1)))), None, None)?;
    model.fit((&x, &y), fit())?;
    let scores = model.evaluate((&x, &y), 32)?;
    for file in ["m.safetensors", "m.keras", "m.h5"] {
        let path = folder.0.join(file);
        model.save(&path)?;
        let mut loaded = Model::load(&path)?.on(&devices()[0]);
        let error = loaded.recompile(None, Some(MeanSquaredError::new().into_losses()), None).expect_err("unknown");
        assert!(error.to_string().contains("give the optimizer") && error.to_string().contains("Descent"), "{error}");
        loaded.recompile(Some(Box::new(Descent(SGD::new(0.1)))), None, None)?;
        let again = loaded.evaluate((&x, &y), 32)?;
        assert!((again["loss"] - scores["loss"]).abs() < 1e-6 && again["accuracy"] == scores["accuracy"], "{file}");
    }
    Ok(())
}

/// A checkpoint that could not be written is refused before the first epoch.
#[test]
fn checkpoints_that_can_not_be_written() -> Result<()> {
    let folder = Folder::new("own-checkpoints");
    let (x, y) = points(32);
    let square = Lambda::new("square", |x: &Tensor| x.square());
    let mut model = Sequential::new([4]).on(&devices()[0]).add(Dense::new(2)).add(square);
    model.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), ())?;
    let before = model.get_weights()?;
    for file in ["{epoch}.keras", "{epoch}.h5", "{epoch}.safetensors", "{epoch}.npz"] {
        let path = folder.0.join(file).display().to_string();
        let error = model.fit((&x, &y), fit().callback(ModelCheckpoint::new(&path))).expect_err("a closure");
        let kind = if file.ends_with("npz") { ErrorKind::Value } else { ErrorKind::Unsupported };
        let text = error.to_string();
        assert!(error.kind() == kind && text.contains("ModelCheckpoint: ") && text.contains(&path), "{text}");
        assert_eq!(model.get_weights()?, before, "nothing was trained");
    }
    let backup = BackupAndRestore::new(folder.0.join("backup"));
    let error = model.fit((&x, &y), fit().callback(backup)).expect_err("a closure").to_string();
    assert!(error.starts_with("BackupAndRestore: can not write ") && error.contains("layer lambda"), "{error}");
    let weights = ModelCheckpoint::new(folder.0.join("w.npz").display().to_string()).save_weights_only(true);
    model.fit((&x, &y), fit().callback(weights))?;
    Ok(())
}

/// A step that does what `fit` does has the same result; each run has random numbers of its own.
#[test]
fn training_steps_of_ones_own() -> Result<()> {
    for device in devices() {
        let make = || -> Result<Model> {
            let mut model = Sequential::new([4]).on(&device).add(Dense::new(8).activation(Tanh)).add(Dense::new(2));
            model.compile(Adam::new(0.02).clipnorm(0.3), SparseCategoricalCrossentropy::from_logits(), ())?;
            Ok(model)
        };
        let (x, y) = points(32);
        let (mut wanted, model) = (make()?, Arc::new(make()?));
        let history = wanted.fit((&x, &y), Fit::epochs(4).batch_size(32).shuffle(false).verbose(0))?;
        let trained = model.clone();
        let step = Function::from_slice(&device, move |args| {
            let [x, y] = args else { return Err(Error::value("takes x and y")) };
            let loss = -trained.call(x, true)?.log_softmax(-1).pick(y).mean(&[]);
            trained.minimize(&loss)?;
            Ok(vec![loss])
        });
        for want in &history["loss"] {
            let got = f64::from(device.to_vec::<f32>(&step.call(&[&x, &y])?[0])?[0]);
            assert!((got - want).abs() < 1e-5, "{got}, by fit {want}");
        }
        assert_eq!(model.iterations()?, 4);
        for (got, want) in model.get_weights()?.iter().zip(wanted.get_weights()?) {
            assert!(got.to_f64().iter().zip(want.to_f64()).all(|(a, b)| (a - b).abs() < 1e-4), "the weights of fit");
        }
        let loss = model.call(&x, true)?.mean(&[]);
        let text = model.minimize(&loss).expect_err("no function").to_string();
        assert_eq!(text, "minimize: a training step is traced once and replayed; call this inside of a Function");

        let noisy = Arc::new(Sequential::new([4]).on(&device).add(Dropout::new(0.5)));
        let ones = Tensor::ones([50, 4], DType::F32);
        let eager = || -> Result<Vec<f32>> { device.to_vec(&noisy.call(&ones, true)?) };
        let (first, second) = (eager()?, eager()?);
        let inside = noisy.clone();
        let twice = Function::from_slice(&device, move |args| {
            Ok(vec![inside.call(&args[0], true)?, inside.call(&args[0], true)?])
        });
        let mut all = vec![first, second];
        for _ in 0..2 {
            all.extend(twice.call(&[&ones])?.iter().map(|y| device.to_vec(y)).collect::<Result<Vec<_>>>()?);
        }
        assert!((1..6).all(|i| !all[..i].contains(&all[i])), "each call draws anew");
    }
    Ok(())
}

/// What a function shares can be saved and can predict, and is one's own again when the function is gone.
#[test]
fn a_shared_model_is_saved() -> Result<()> {
    let folder = Folder::new("own-shared");
    for device in devices() {
        let (x, y) = points(32);
        let model = Arc::new(classifier(&device)?);
        let trained = model.clone();
        let step = Function::from_slice(&device, move |args| {
            let [x, y] = args else { return Err(Error::value("takes x and y")) };
            let loss = -trained.call(x, true)?.log_softmax(-1).pick(y).mean(&[]);
            trained.minimize(&loss)?;
            Ok(vec![loss])
        });
        step.call(&[&x, &y])?;
        for file in ["m.safetensors", "m.keras", "m.h5"] {
            let path = folder.0.join(file);
            model.save(&path)?;
            let loaded = Model::load(&path)?.on(&device);
            assert_eq!(loaded.iterations()?, 1, "{file}");
            let both = [loaded.predict(&x)?, model.predict(&x)?].map(|y| device.to_vec::<f32>(&y));
            let [loaded, own] = both;
            assert_eq!(loaded?, own?, "{file}");
        }
        // Predictions are those of the weights as they are, after more steps too.
        let before = device.to_vec::<f32>(&model.predict(&x)?)?;
        step.call(&[&x, &y])?;
        assert_ne!(device.to_vec::<f32>(&model.predict(&x)?)?, before);
        let threads: Vec<Result<Vec<f32>>> = std::thread::scope(|scope| {
            let predict = || model.predict(&x).and_then(|y| device.to_vec(&y));
            let all: Vec<_> = (0..4).map(|_| scope.spawn(predict)).collect();
            all.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let wanted = device.to_vec::<f32>(&model.predict(&x)?)?;
        assert!(threads.into_iter().all(|got| got.is_ok_and(|got| got == wanted)), "from several threads");
        drop(step);
        let mut model = Arc::into_inner(model).expect("it is not shared any more");
        model.fit((&x, &y), fit())?;
    }
    Ok(())
}

/// What layers keep is computed by every call outside of a function, and does not wait as an ever longer expression.
#[test]
fn calls_leave_nothing_behind() -> Result<()> {
    for device in devices() {
        let model = Sequential::new([3]).on(&device).add(BatchNormalization::new()).add(Dropout::new(0.5));
        let x = Tensor::rand([6, 3], 0).eval()?;
        let trained = model.get_layer("batch_normalization")?.weights()[1].variable.value();
        for _ in 0..3 {
            model.call(&x, true)?;
            for weight in model.weights() {
                assert!(weight.variable.value().inputs().is_empty(), "{}", weight.name());
            }
        }
        let kept = |name: &str| {
            let weights = model.get_layer("batch_normalization")?.weights();
            let weight = weights.iter().find(|w| w.name() == name).expect("a weight");
            device.to_vec::<f32>(&weight.variable.value())
        };
        let means = device.to_vec::<f32>(&x.mean(&[0]))?;
        let share = 1.0 - 0.99f32.powi(3);
        assert!(kept("moving_mean")?.iter().zip(means).all(|(got, mean)| (got - mean * share).abs() < 1e-6));
        // What no layer changed is what it was, so that gradients of what was computed from it can be asked for.
        let now = model.get_layer("batch_normalization")?.weights()[1].variable.value();
        assert_eq!(now.id(), trained.id());

        let cell = GRU::new(2).stateful(true).return_sequences(true);
        let input = Input::new([4, 3]).batches_of(2);
        let model = Model::new(&input, cell.apply(&input))?.on(&device);
        let x = Tensor::rand([2, 4, 3], 1);
        for _ in 0..2 {
            model.call(&x, false)?;
        }
        let states: Vec<_> = model.layers().iter().flat_map(|node| node.weights()).collect();
        assert!(states.iter().all(|w| w.variable.value().inputs().is_empty()), "the state of a recurrent layer");
        let node = &model.layers()[0];
        assert_eq!(node.get_weights()?, model.get_weights()?, "which is none of its weights");
        assert_eq!(node.get_weights()?.len() + 1, node.weights().len());
    }
    Ok(())
}

/// A loss that takes no settings at all.
#[derive(Clone, Debug)]
struct Refused;

impl Loss for Refused {
    fn class_name(&self) -> &'static str {
        "Refused"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn check(&self) -> Result<()> {
        Err(Error::value("factor must be positive"))
    }
    fn call(&self, _y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        Ok(y_pred.mean(&[-1]))
    }
}

impl Metric for Refused {
    fn name(&self) -> String {
        "refused".into()
    }
    fn check(&self) -> Result<()> {
        Err(Error::value("share must be positive"))
    }
}

/// By `compile`, which then changes nothing.
#[test]
fn settings_are_looked_at_first() -> Result<()> {
    let mut model = classifier(&devices()[0])?;
    let texts = [
        model.compile(SGD::new(0.1), Refused, ()),
        model.recompile(None, Some(Refused.into_losses()), None),
        model.compile(SGD::new(0.1), MeanSquaredError::new(), Metric::weighted(Refused)),
    ];
    let wanted = [
        "loss Refused: factor must be positive",
        "loss Refused: factor must be positive",
        "metric weighted_refused: share must be positive",
    ];
    for (got, wanted) in texts.into_iter().zip(wanted) {
        let text = got.expect_err("it is refused").to_string();
        assert!(text.contains(wanted), "{text}");
    }
    let (x, y) = points(8);
    assert!(model.evaluate((&x, &y), 8)?.get("accuracy").is_some(), "it is as it was");
    Ok(())
}
