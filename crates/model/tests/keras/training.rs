//! Training of whole models, step by step and by `fit`.

use crate::common::{TOLERANCE, TRAINING_TOLERANCE, assert_close, devices};
use crate::fixture::{Array, LossConfig, ModelConfig, OptimizerConfig, compile, read};
use ibex::losses::{BinaryCrossentropy, SparseCategoricalCrossentropy};
use ibex::metrics::Accuracy;
use ibex::{Data, Device, Fit, Model, Result, Tensor, config};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Steps {
    model: ModelConfig,
    optimizer: OptimizerConfig,
    loss: LossConfig,
    trainable: Vec<bool>,
    losses: Vec<f64>,
    accuracy: Vec<f64>,
    initial_weights: Vec<Array>,
    final_weights: Vec<Array>,
    batches: Vec<Batch>,
}

#[derive(Deserialize)]
struct Batch {
    x: Array,
    y: Array,
}

fn numbers(arrays: &[Array]) -> Vec<Data> {
    arrays.iter().map(Array::numbers).collect()
}

fn compiled(model: &ModelConfig, optimizer: &OptimizerConfig, loss: &LossConfig, device: &Device) -> Result<Model> {
    let mut model = model.model()?.on(device);
    let fields = loss.config.clone();
    match &loss.loss[..] {
        "BinaryCrossentropy" => {
            compile(&mut model, optimizer, config::load::<BinaryCrossentropy>(fields)?, [Accuracy::new()])?;
        }
        _ => compile(&mut model, optimizer, config::load::<SparseCategoricalCrossentropy>(fields)?, [Accuracy::new()])?,
    }
    Ok(model)
}

pub fn ten_steps(file: &str) {
    let case: Steps = read(file);
    for device in devices() {
        let run = || -> Result<()> {
            let mut model = compiled(&case.model, &case.optimizer, &case.loss, &device)?;
            assert!(model.weights().map(|w| w.trainable()).eq(case.trainable.iter().copied()), "{file}: trainable");
            model.set_weights(&numbers(&case.initial_weights))?;
            let (mut losses, mut accuracy) = (Vec::new(), Vec::new());
            for batch in &case.batches {
                let history =
                    model.fit((&batch.x.tensor(), &batch.y.tensor()), Fit::epochs(1).verbose(0).shuffle(false))?;
                losses.extend(history.last("loss"));
                accuracy.extend(history.last("accuracy"));
            }
            assert_close(&format!("{file} on {device:?}: loss"), &losses, &case.losses, TRAINING_TOLERANCE);
            assert_close(&format!("{file} on {device:?}: accuracy"), &accuracy, &case.accuracy, TOLERANCE);
            for ((got, want), weight) in model.get_weights()?.iter().zip(&case.final_weights).zip(model.weights()) {
                let what = format!("{file} on {device:?}: {}", weight.variable.name());
                assert_close(&what, &got.to_f64(), &want.data, TRAINING_TOLERANCE);
            }
            Ok(())
        };
        run().expect(file);
    }
}

#[test]
fn ten_steps_of_an_mlp() {
    ten_steps("train_mlp.json");
}

#[test]
fn ten_steps_of_a_cnn() {
    ten_steps("train_cnn.json");
}

#[test]
fn ten_steps_of_an_lstm() {
    ten_steps("train_lstm.json");
}

#[derive(Deserialize)]
struct Partial {
    model: ModelConfig,
    optimizer: OptimizerConfig,
    loss: LossConfig,
    fit: FitArguments,
    x: Array,
    y: Array,
    initial_weights: Vec<Array>,
    weights_after_epoch: Vec<Vec<Array>>,
    history: BTreeMap<String, Vec<f64>>,
    predict: Predict,
    evaluate: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct FitArguments {
    batch_size: usize,
    epochs: usize,
    shuffle: bool,
    validation_split: f64,
}

#[derive(Deserialize)]
struct Predict {
    output: Array,
}

/// Remembers the weights of every epoch.
#[derive(Debug, Default)]
struct Snapshots(Vec<Vec<Data>>);

impl ibex::callbacks::Callback for Snapshots {
    fn on_epoch_end(
        &mut self,
        _epoch: usize,
        _logs: &mut ibex::callbacks::Logs,
        run: &mut ibex::callbacks::Run,
    ) -> Result<()> {
        self.0.push(run.model.get_weights()?);
        Ok(())
    }
}

/// Fifteen samples in batches of eight, validation split off: partial batches count by their samples.
#[test]
fn fit_with_partial_batches() {
    let case: Partial = read("fit_partial.json");
    for device in devices() {
        let run = || -> Result<()> {
            let mut model = compiled(&case.model, &case.optimizer, &case.loss, &device)?;
            model.set_weights(&numbers(&case.initial_weights))?;
            let (x, y): (Tensor, Tensor) = (case.x.tensor(), case.y.tensor());
            let arguments = &case.fit;
            let mut snapshots = Snapshots::default();
            let fit = Fit::epochs(arguments.epochs)
                .batch_size(arguments.batch_size)
                .shuffle(arguments.shuffle)
                .validation_split(arguments.validation_split)
                .verbose(0)
                .callback(&mut snapshots);
            let history = model.fit((&x, &y), fit)?;
            assert!(history.history.keys().eq(case.history.keys()), "{:?}", history.history.keys());
            for (name, want) in &case.history {
                assert_close(&format!("history {name}"), &history[name], want, TRAINING_TOLERANCE);
            }
            for (epoch, (got, want)) in snapshots.0.iter().zip(&case.weights_after_epoch).enumerate() {
                for (i, (got, want)) in got.iter().zip(want).enumerate() {
                    assert_close(&format!("epoch {epoch} weight {i}"), &got.to_f64(), &want.data, TRAINING_TOLERANCE);
                }
            }
            let predictions = model.predict(&x)?;
            let got = device.read_now(&predictions)?.to_f64();
            assert_close("predict", &got, &case.predict.output.data, TRAINING_TOLERANCE);
            let logs = model.evaluate((&x, &y), arguments.batch_size)?;
            for (name, got) in logs {
                assert_close(&format!("evaluate {name}"), &[got], &[case.evaluate[&name]], TRAINING_TOLERANCE);
            }
            Ok(())
        };
        run().expect("fit_partial.json");
    }
}
