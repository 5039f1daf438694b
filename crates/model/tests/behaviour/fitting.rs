//! `fit`, `evaluate`, `predict` and callbacks.

use crate::common::devices;
use crate::{classifier, points};
use ibex::callbacks::{Logs, Run};
use ibex::prelude::*;
use ibex::{Data, Result};

#[test]
fn learns_and_keeps_history() -> Result<()> {
    for device in devices() {
        let (x, y) = points(203);
        let mut model = classifier(&device)?;
        let history = model.fit((&x, &y), Fit::epochs(12).validation_split(0.2).verbose(0))?;
        assert!(history.history.keys().eq(["accuracy", "loss", "val_accuracy", "val_loss"]));
        assert_eq!((history.epoch.len(), history.epochs, history.steps), (12, 12, 162usize.div_ceil(32)));
        assert!(history.last("val_accuracy").is_some_and(|a| a > 0.9), "{history:?}");
        assert!(history["loss"][0] > history["loss"][11]);
        assert!(history.get("nothing").is_none());

        // The last epoch's validation is what `evaluate` says of the same rows.
        let (_, rest) = Dataset::new(x.clone(), y.clone())?.split_at(162)?;
        let logs = model.evaluate(rest, 32)?;
        assert_eq!(Some(logs["loss"]), history.last("val_loss"));
        assert_eq!(Some(logs["accuracy"]), history.last("val_accuracy"));

        // Predictions do not depend on the batches they are made in.
        let all = device.to_vec::<f32>(&model.predict(&x)?)?;
        let by_seven = ibex::core::backend::block_on(model.predict_async(Predict::new(&x).batch_size(7)))?;
        for (a, b) in device.to_vec::<f32>(&by_seven)?.iter().zip(&all) {
            assert!((a - b).abs() < 1e-5);
        }
    }
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_weights() -> Result<()> {
    for device in devices() {
        let (x, y) = points(77);
        let train = |seed: u64| -> Result<Vec<Data>> {
            let mut model = Sequential::new([4])
                .seed(seed)
                .on(&device)
                .add(Dense::new(8))
                .add(Dropout::new(0.5))
                .add(Dense::new(2));
            model.compile(Adam::new(0.01), SparseCategoricalCrossentropy::from_logits(), ())?;
            model.fit((&x, &y), Fit::epochs(3).batch_size(16).verbose(0))?;
            model.get_weights()
        };
        assert_eq!(train(5)?, train(5)?, "bit for bit");
        assert_ne!(train(5)?, train(6)?);
    }
    Ok(())
}

#[test]
fn dropout_differs_in_every_step() -> Result<()> {
    for device in devices() {
        let model = Sequential::new([1000]).on(&device).add(Dropout::new(0.3));
        let ones = Tensor::ones([2, 1000], DType::F32);
        let y = device.to_vec::<f32>(&model.call(&ones, true)?)?;
        let kept = y.iter().filter(|&&v| v != 0.0).count();
        assert!(y.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6), "scaled by 1 / 0.7");
        assert!((kept as f64 / 2000.0 - 0.7).abs() < 0.05, "{kept} of 2000 kept");
        assert_ne!(y[..1000], y[1000..], "other elements in every sample");
        assert!(device.to_vec::<f32>(&model.call(&ones, false)?)?.iter().all(|&v| v == 1.0));

        // Training shows what the loss was in each step; with all weights fixed only dropout changes it.
        let mut model = Sequential::new([100]).on(&device).add(Dropout::new(0.5)).add(Dense::new(1));
        model.compile(SGD::new(0.0), MeanSquaredError::new(), ())?;
        let (x, y) = (ones.reshape([20, 100]), Tensor::zeros([20, 1], DType::F32));
        let (x, y) = (device.eval(&[x])?.remove(0), device.eval(&[y])?.remove(0));
        let history = model.fit((&x, &y), Fit::epochs(4).batch_size(20).verbose(0))?;
        let losses = &history["loss"];
        assert!(losses.iter().enumerate().all(|(i, a)| losses[..i].iter().all(|b| a != b)), "{losses:?}");
    }
    Ok(())
}

/// Says what the validation loss shall have been.
#[derive(Debug)]
struct Script(Vec<f64>);

impl Callback for Script {
    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, _run: &mut Run) -> Result<()> {
        logs.insert("val_loss".into(), self.0[epoch]);
        Ok(())
    }
}

/// Sets all weights to the number of the epoch.
#[derive(Debug)]
struct Mark;

impl Callback for Mark {
    fn on_epoch_end(&mut self, epoch: usize, _logs: &mut Logs, run: &mut Run) -> Result<()> {
        let values: Vec<Data> =
            run.model.weights().map(|w| Data::F32(vec![epoch as f32; w.variable.shape().elements()])).collect();
        run.model.set_weights(&values)
    }
}

#[test]
fn early_stopping() -> Result<()> {
    let device = &devices()[0];
    let (x, y) = points(40);
    let run = |losses: &[f64], stop: EarlyStopping| -> Result<(Option<usize>, usize, f64)> {
        let mut model = classifier(device)?;
        let mut stop = stop;
        let fit = Fit::epochs(losses.len()).verbose(0);
        let fit = fit.callback(Script(losses.to_vec())).callback(Mark).callback(&mut stop);
        let history = model.fit((&x, &y), fit)?;
        assert_eq!(history["val_loss"], losses[..history.epoch.len()]);
        Ok((stop.stopped_epoch(), history.epoch.len(), model.get_weights()?[0].to_f64()[0]))
    };
    let watch = || EarlyStopping::new("val_loss");
    let losses = [5.0, 4.0, 4.5, 4.2, 3.0, 3.5, 3.4, 3.3, 1.0];
    // The first epoch without improvement; the last weights stay.
    assert_eq!(run(&losses, watch())?, (Some(2), 3, 2.0));
    assert_eq!(run(&losses, watch().patience(2))?, (Some(3), 4, 3.0));
    assert_eq!(run(&losses, watch().patience(2).restore_best_weights(true))?, (Some(3), 4, 1.0));
    assert_eq!(run(&losses, watch().patience(3))?, (Some(7), 8, 7.0));
    // Best weights come back also when nothing was stopped.
    assert_eq!(run(&losses[..8], watch().patience(9).restore_best_weights(true))?, (None, 8, 4.0));
    assert_eq!(run(&losses, watch().patience(3).min_delta(1.5))?, (Some(3), 4, 3.0));
    assert_eq!(run(&losses, watch().patience(1).maximize(true))?, (Some(1), 2, 1.0));
    assert_eq!(run(&losses, watch().start_from_epoch(2))?, (Some(5), 6, 5.0));
    let unknown = run(&losses, EarlyStopping::new("val_mood").maximize(true)).map_err(|e| e.to_string());
    assert!(unknown.is_err_and(|e| e.contains("val_mood") && e.contains("val_loss")));
    Ok(())
}

/// A partial batch compiles once more, and then never again; an epoch allocates nothing and reads only its totals.
#[test]
fn steady_state() -> Result<()> {
    for device in devices() {
        let (x, y) = points(50);
        let mut model = classifier(&device)?;
        model.fit((&x, &y), Fit::epochs(2).batch_size(16).verbose(0))?;
        let before = device.counters();
        model.fit((&x, &y), Fit::epochs(3).batch_size(16).verbose(0))?;
        let after = device.counters();
        assert_eq!(after.allocations, before.allocations, "allocations");
        assert_eq!(after.reads - before.reads, 3 * 3, "the three parts of all sums, once an epoch");
        // On a GPU a read is a submission too.
        let reads = if device.backend().reads_are_free() { 0 } else { after.reads - before.reads };
        assert_eq!(after.submissions - before.submissions - reads, 3 * 4, "one for each step");
    }
    Ok(())
}

/// Data that ends because its thread did is not all of the data.
#[test]
fn a_prefetching_iterator_that_panics_is_an_error() -> Result<()> {
    let mut model = classifier(&devices()[0])?;
    let batches = Batches::new(|| {
        (0..5).map(|i| {
            assert!(i < 2, "no more digits");
            let (x, y) = points(8);
            Examples::new(&x, &y)
        })
    });
    let error = model.evaluate(batches.prefetch(1), 8).map(drop);
    assert!(error.is_err_and(|e| e.to_string().contains("no more digits")));
    Ok(())
}
