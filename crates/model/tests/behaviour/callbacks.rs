//! Callbacks in real trainings.

use crate::common::devices;
use crate::{classifier, points};
use ibex::callbacks::{Logs, Run};
use ibex::prelude::*;
use ibex::{Data, Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ibex-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn files(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir(folder).map(|all| all.flatten().map(|f| f.file_name()).collect::<Vec<_>>());
    let mut names: Vec<String> = all.unwrap_or_default().into_iter().map(|f| f.into_string().expect("text")).collect();
    names.sort();
    names
}

/// Killed in the middle of an epoch and started again, the result is that of one training.
#[test]
fn going_on_after_an_interruption() -> Result<()> {
    for device in devices() {
        let (x, y) = points(50);
        let mut whole = classifier(&device)?;
        let fit = || Fit::epochs(5).batch_size(16).verbose(0);
        let history = whole.fit((&x, &y), fit())?;

        let folder = folder("backup");
        let backup = || BackupAndRestore::new(&folder);
        let mut epoch = 0;
        let kill = LambdaCallback::new().on_train_batch_end(|batch, run| {
            epoch += usize::from(batch == 0);
            // In the second step of the fourth epoch.
            let now = epoch == 4 && batch == 1;
            assert_eq!((run.epochs, run.steps), (5, Some(4)));
            if now { Err(Error::value("killed")) } else { Ok(()) }
        });
        let mut kept = History::default();
        let killed = classifier(&device)?.fit((&x, &y), fit().callback(backup()).callback(kill).callback(&mut kept));
        assert!(killed.is_err_and(|e| e.to_string().contains("killed")));
        assert_eq!(files(&folder), ["epoch-3.safetensors"]);
        assert_eq!((&kept["loss"], kept.epochs), (&history["loss"][..3], 5), "a history outlives an error");

        // The other program has another seed: the one of the training counts.
        let mut again = classifier(&device)?.seed(99);
        let rest = again.fit((&x, &y), fit().callback(backup()))?;
        assert_eq!(rest.epoch, [3, 4]);
        assert_eq!(rest["loss"], history["loss"][3..], "bit for bit");
        assert_eq!(again.get_weights()?, whole.get_weights()?);
        assert!(!folder.exists(), "nothing is left");

        // Another model can not go on, and says why.
        classifier(&device)?.fit((&x, &y), fit().callback(backup().delete_checkpoint(false)))?;
        assert_eq!(files(&folder), ["epoch-5.safetensors"]);
        let mut other = Sequential::new([4]).on(&device).add(Dense::new(3)).add(Dense::new(2));
        other.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), ())?;
        let error = other.fit((&x, &y), fit().callback(backup())).expect_err("another model").to_string();
        assert!(error.contains("epoch-5.safetensors") && error.contains("remove it"), "{error}");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
    Ok(())
}

#[test]
fn checkpoints_by_steps() -> Result<()> {
    let device = &devices()[0];
    let (x, y) = points(50);
    let folder = folder("steps");
    let path = folder.join("{epoch}-{batch}-{accuracy:.1f}.safetensors");
    let checkpoint = || ModelCheckpoint::new(path.to_str().expect("text")).save_freq(3);
    let mut model = classifier(device)?;
    model.fit((&x, &y), Fit::epochs(2).batch_size(16).verbose(0).callback(checkpoint()))?;
    let names = files(&folder);
    assert_eq!(names.iter().map(|n| &n[..4]).collect::<Vec<_>>(), ["1-3-", "2-2-"], "after 3 and 6 of 8 steps");
    assert_eq!(Model::load(folder.join(&names[1]))?.iterations()?, 6);
    let impossible = Fit::epochs(1).verbose(0).validation((&x, &y)).callback(checkpoint().save_best_only(true));
    assert!(model.fit((&x, &y), impossible).is_err_and(|e| e.to_string().contains("val_loss")));
    std::fs::remove_dir_all(&folder).expect("removed");
    Ok(())
}

#[test]
fn validation_in_some_epochs_only() -> Result<()> {
    let device = &devices()[0];
    let (x, y) = points(50);
    let fit = || Fit::epochs(6).verbose(0);
    let some = || fit().validation((&x, &y)).validation_freq(3);
    let (mut stop, reduce) = (EarlyStopping::new("val_accuracy"), ReduceLROnPlateau::new("val_loss"));
    let history = classifier(device)?.fit((&x, &y), some().callback(&mut stop).callback(reduce))?;
    assert_eq!(history["learning_rate"].len(), history.epoch.len());
    // Without validation the same is a mistake, and so is a name that nobody has.
    let error = classifier(device)?.fit((&x, &y), fit().callback(EarlyStopping::new("val_loss"))).expect_err("no data");
    assert!(error.to_string().contains("accuracy, loss; give `fit` data for validation"), "{error}");
    let invented = LambdaCallback::new().on_epoch_end(|_, logs, _| {
        logs.insert("mood".into(), 1.0);
        Ok(())
    });
    let error = classifier(device)?.fit((&x, &y), fit().callback(invented).callback(EarlyStopping::new("mood")));
    assert!(error.is_err_and(|e| e.to_string().contains("maximize(true)")));
    let never = ReduceLROnPlateau::new("loss").factor(1.0);
    assert!(classifier(device)?.fit((&x, &y), fit().callback(never)).is_err_and(|e| e.kind() == ErrorKind::Value));
    Ok(())
}

#[test]
fn rates_by_epoch() -> Result<()> {
    for device in devices() {
        let (x, y) = points(20);
        let mut model = classifier(&device)?;
        let halve = LearningRateScheduler::new(|epoch, rate| if epoch == 0 { rate } else { rate / 2.0 });
        let history = model.fit((&x, &y), Fit::epochs(3).verbose(0).callback(halve))?;
        let rates: Vec<f64> = [0.05f32, 0.025, 0.0125].map(f64::from).to_vec();
        assert_eq!(history["learning_rate"], rates[..]);
        assert_eq!((model.learning_rate()?, model.iterations()?), (0.0125, 3));

        // The rate of a schedule can be read, but not set.
        let schedule = ExponentialDecay::new(0.1, 1, 0.5);
        model.compile(SGD::new(schedule), SparseCategoricalCrossentropy::from_logits(), ())?;
        model.fit((&x, &y), Fit::epochs(2).verbose(0))?;
        assert!((model.learning_rate()? - 0.025).abs() < 1e-7);
        let keep = LearningRateScheduler::new(|_, rate| rate);
        let error = model.fit((&x, &y), Fit::epochs(1).verbose(0).callback(keep)).expect_err("a schedule");
        assert!(error.to_string().contains("LearningRateScheduler"), "{error}");
    }
    Ok(())
}

/// Makes the weights infinite after a step.
#[derive(Debug)]
struct Break(usize);

impl Callback for Break {
    fn on_train_batch_end(&mut self, batch: usize, run: &mut Run) -> Result<()> {
        if batch != self.0 {
            return Ok(());
        }
        let values = run.model.weights().map(|w| Data::F32(vec![f32::INFINITY; w.variable.shape().elements()]));
        let values: Vec<Data> = values.collect();
        run.model.set_weights(&values)
    }
}

#[test]
fn no_number_ends_training() -> Result<()> {
    for device in devices() {
        let (x, y) = points(160);
        for (look, steps) in
            [(TerminateOnNaN::new(), 4), (TerminateOnNaN::new().every(3), 6), (TerminateOnNaN::new().every(50), 10)]
        {
            let mut done = 0;
            let count = LambdaCallback::new().on_train_batch_end(|batch, _| {
                done = batch + 1;
                Ok(())
            });
            let fit = Fit::epochs(3).batch_size(16).verbose(0).callback(Break(2)).callback(look).callback(count);
            let history = classifier(&device)?.fit((&x, &y), fit)?;
            assert_eq!(history.epoch.len(), 1);
            assert!(!history["loss"][0].is_finite());
            assert_eq!(done, steps);
        }
    }
    Ok(())
}

/// A protocol buffer's fields: number, bytes (or a number's).
fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut all = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let value = match key & 7 {
            0 => varint(&mut data).to_le_bytes().to_vec(),
            wire => {
                let length = if wire == 1 { 8 } else { varint(&mut data) as usize };
                let (value, rest) = data.split_at(length);
                data = rest;
                value.to_vec()
            }
        };
        all.push((key >> 3, value));
    }
    all
}

fn field(data: &[u8], number: u64) -> Vec<u8> {
    fields(data).into_iter().find(|(n, _)| *n == number).map(|(_, v)| v).unwrap_or_default()
}

/// Tag, step, value.
type Point = (String, usize, f32);

/// All scalars in a folder's only file, and the tags of histograms with their counts.
fn events(folder: &Path) -> (Vec<Point>, Vec<(String, f64)>) {
    let [name] = &files(folder)[..] else { panic!("one file in {}", folder.display()) };
    let bytes = std::fs::read(folder.join(name)).expect("read");
    let (mut rest, mut scalars, mut histograms) = (&bytes[..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().expect("8")) as usize;
        let event = &rest[12..12 + length];
        rest = &rest[16 + length..];
        let value = field(&field(event, 5), 1);
        if value.is_empty() {
            assert_eq!(field(event, 3), b"brain.Event:2");
            continue;
        }
        let tag = String::from_utf8(field(&value, 1)).expect("text");
        let step = field(event, 2).first().map_or(0, |&b| usize::from(b));
        let tensor = field(&value, 8);
        match &field(&field(&field(&value, 9), 1), 1)[..] {
            b"scalars" => scalars.push((tag, step, f32::from_le_bytes(field(&tensor, 5).try_into().expect("4")))),
            _ => {
                let content = field(&tensor, 4);
                let count = content.chunks(8).skip(2).step_by(3);
                histograms.push((tag, count.map(|b| f64::from_le_bytes(b.try_into().expect("8"))).sum()));
            }
        }
    }
    (scalars, histograms)
}

/// The files were also read by TensorBoard's own `EventAccumulator` when this was written.
#[test]
fn tensorboard() -> Result<()> {
    for device in devices() {
        let (x, y) = points(50);
        let folder = std::env::var_os("IBEX_TEST_TENSORBOARD").map_or_else(|| folder("tensorboard"), PathBuf::from);
        let board = TensorBoard::new(&folder).histogram_freq(2).update_freq(4);
        let mut model = classifier(&device)?;
        let fit = Fit::epochs(3).batch_size(16).validation((&x, &y)).verbose(0).callback(board);
        let history = model.fit((&x, &y), fit)?;
        let (train, histograms) = events(&folder.join("train"));
        let named = |all: &[Point], tag: &str| -> Vec<(usize, f64)> {
            all.iter().filter(|(t, ..)| t == tag).map(|&(_, step, value)| (step, f64::from(value))).collect()
        };
        let curve = |name: &str, steps: [usize; 3]| -> Vec<(usize, f64)> {
            steps.into_iter().zip(history[name].iter().map(|&v| f64::from(v as f32))).collect()
        };
        assert_eq!(named(&train, "epoch_loss"), curve("loss", [0, 1, 2]));
        assert_eq!(named(&train, "epoch_accuracy"), curve("accuracy", [0, 1, 2]));
        assert_eq!(named(&train, "epoch_learning_rate").len(), 3);
        assert_eq!(named(&train, "batch_loss"), curve("loss", [4, 8, 12]), "each the last step of an epoch");
        let (validation, _) = events(&folder.join("validation"));
        assert_eq!(named(&validation, "epoch_loss"), curve("val_loss", [0, 1, 2]));
        assert_eq!(named(&validation, "evaluation_accuracy_vs_iterations"), curve("val_accuracy", [4, 8, 12]));
        let names: Vec<&str> = histograms.iter().map(|(tag, _)| &tag[..]).collect();
        assert_eq!(names[..2], ["dense/kernel/histogram", "dense/bias/histogram"]);
        assert_eq!((histograms.len(), histograms[0].1), (8, 32.0), "in two of three epochs");
        if std::env::var_os("IBEX_TEST_TENSORBOARD").is_some() {
            break;
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }
    Ok(())
}

#[test]
fn how_to_evaluate() -> Result<()> {
    let (x, y) = points(50);
    let mut model = classifier(&devices()[0])?;
    let all: Logs = model.evaluate((&x, &y), 10)?;
    assert_eq!(model.evaluate((&x, &y), Evaluate::batch_size(10))?, all);
    let (first, _) = Dataset::new(x.clone(), y.clone())?.split_at(20)?;
    assert_eq!(model.evaluate((&x, &y), Evaluate::batch_size(10).steps(2))?, model.evaluate(first, 10)?);
    Ok(())
}
