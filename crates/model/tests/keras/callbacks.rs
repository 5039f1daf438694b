//! Callbacks: what they decide, write and say for the same logs.

use crate::fixture::read;
use ibex::callbacks::Logs;
use ibex::prelude::*;
use ibex::{Data, Result};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

#[derive(Deserialize)]
struct File {
    decisions: Vec<Decision>,
    checkpoints: Vec<Checkpoint>,
    csv: Vec<Csv>,
}

#[derive(Deserialize)]
struct Decision {
    name: String,
    callback: String,
    config: Value,
    values: Vec<f64>,
    rates: Vec<f64>,
    stopped: Option<usize>,
    kernel: f64,
    text: String,
}

#[derive(Deserialize)]
struct Checkpoint {
    name: String,
    config: Value,
    values: Vec<f64>,
    files: Vec<String>,
    text: String,
}

#[derive(Deserialize)]
struct Csv {
    separator: char,
    append: bool,
    /// Numbers as text, since JSON has no NaN.
    runs: [Vec<std::collections::BTreeMap<String, String>>; 2],
    texts: [String; 2],
}

fn model() -> Result<Model> {
    let mut model = Sequential::new([1]).on(&ibex::device("cpu")?).add(Dense::new(1));
    model.compile(SGD::new(0.01), MeanSquaredError::new(), [BinaryAccuracy::new()])?;
    Ok(model)
}

/// Trains epochs that have such logs.
fn epochs(model: &mut Model, all: &[Logs], callback: impl Callback, after: impl Callback) -> Result<History> {
    let zero = Tensor::zeros([1, 1], DType::F32);
    let script = LambdaCallback::new().on_epoch_end(|epoch, logs, run| {
        *logs = all[epoch].clone();
        // The weights tell the epoch.
        run.model.set_weights(&[Data::F32(vec![epoch as f32]), Data::F32(vec![0.0])])
    });
    model.fit((&zero, &zero), Fit::epochs(all.len()).verbose(0).callback(script).callback(callback).callback(after))
}

fn monitored(monitor: &str, values: &[f64]) -> Vec<Logs> {
    values.iter().map(|&v| Logs::from([(monitor.to_string(), v)])).collect()
}

fn mode(config: &Value) -> Option<bool> {
    config.get("mode").map(|mode| mode == "max")
}

impl Decision {
    /// The rates after all epochs, when it stopped, the kernel.
    fn run(&self, verbose: u8) -> Result<(Vec<f64>, Option<usize>, f64)> {
        let mut model = model()?;
        let config = &self.config;
        let whole = |name: &str| config.get(name).and_then(Value::as_u64).map(|v| v as usize);
        let real = |name: &str| config.get(name).and_then(Value::as_f64);
        // Keras's name for it in this model is the one of the fixture.
        let name = config["monitor"].as_str().expect("a name");
        let monitor = name.replace("val_accuracy", "val_binary_accuracy");
        let logs = monitored(&monitor, &self.values);
        let mut rates = Vec::new();
        let look = LambdaCallback::new().on_epoch_end(|_, _, run| {
            rates.push(f64::from(run.model.learning_rate()?));
            Ok(())
        });
        let stopped = if self.callback == "EarlyStopping" {
            let mut c = EarlyStopping::new(&monitor).verbose(verbose).patience(whole("patience").unwrap_or(0));
            c = c.min_delta(real("min_delta").unwrap_or(0.0)).start_from_epoch(whole("start_from_epoch").unwrap_or(0));
            c = c.restore_best_weights(config.get("restore_best_weights").is_some());
            c = real("baseline").map_or(c.clone(), |b| c.baseline(b));
            c = mode(config).map_or(c.clone(), |m| c.maximize(m));
            epochs(&mut model, &logs, &mut c, look)?;
            c.stopped_epoch()
        } else {
            let mut c = ReduceLROnPlateau::new(&monitor).verbose(verbose).patience(whole("patience").unwrap_or(10));
            c = c.factor(real("factor").unwrap_or(0.1)).min_delta(real("min_delta").unwrap_or(1e-4));
            c = c.cooldown(whole("cooldown").unwrap_or(0)).min_lr(real("min_lr").unwrap_or(0.0));
            c = mode(config).map_or(c.clone(), |m| c.maximize(m));
            epochs(&mut model, &logs, &mut c, look)?;
            None
        };
        Ok((rates, stopped, model.get_weights()?[0].to_f64()[0]))
    }
}

#[test]
fn decisions() -> Result<()> {
    let cases = read::<File>("callbacks.json").decisions;
    assert!(cases.len() > 50);
    for case in &cases {
        let (rates, stopped, kernel) = case.run(0)?;
        assert_eq!(rates, case.rates, "{}: learning rates", case.name);
        assert_eq!(stopped, case.stopped, "{}: the epoch", case.name);
        if case.callback == "EarlyStopping" {
            assert_eq!(kernel, case.kernel, "{}: whose weights", case.name);
        }
    }
    Ok(())
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ibex-callbacks-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

impl Checkpoint {
    fn run(&self, folder: &std::path::Path, verbose: u8) -> Result<Vec<String>> {
        let path = folder.join("{epoch:02d}-{val_loss:.2f}.safetensors");
        let mut c = ModelCheckpoint::new(path.to_str().expect("a name")).save_best_only(true).verbose(verbose);
        c = mode(&self.config).map_or(c.clone(), |m| c.maximize(m));
        let threshold = self.config.get("initial_value_threshold").and_then(Value::as_f64);
        c = threshold.map_or(c.clone(), |t| c.initial_value_threshold(t));
        epochs(&mut model()?, &monitored("val_loss", &self.values), c, LambdaCallback::new())?;
        let files =
            std::fs::read_dir(folder).map(|all| all.flatten().map(|f| f.file_name().into_string())).expect("made");
        let mut files: Vec<String> = files.map(|f| f.expect("a name")).collect();
        files.sort();
        Ok(files)
    }
}

#[test]
fn checkpoints() -> Result<()> {
    let cases = read::<File>("callbacks.json").checkpoints;
    assert!(cases.len() >= 9);
    let folder = folder("best");
    for case in &cases {
        assert_eq!(case.run(&folder, 0)?, case.files, "{}", case.name);
        // Each is a model of its epoch.
        let last = folder.join(case.files.last().expect("one at least"));
        let mut epoch: f64 = case.files.last().and_then(|f| f[..2].parse().ok()).expect("a number");
        epoch -= 1.0;
        assert_eq!(Model::load(last)?.get_weights()?[0].to_f64(), [epoch]);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
    Ok(())
}

#[test]
fn csv() -> Result<()> {
    let cases = read::<File>("callbacks.json").csv;
    let folder = folder("csv");
    std::fs::create_dir_all(&folder).expect("made");
    for (i, case) in cases.iter().enumerate() {
        let path = folder.join(format!("{i}.csv"));
        for (run, want) in case.runs.iter().zip(&case.texts) {
            let number = |(k, v): (&String, &String)| (k.clone(), v.parse::<f64>().expect("a number"));
            let logs: Vec<Logs> = run.iter().map(|epoch| epoch.iter().map(number).collect()).collect();
            let csv = CSVLogger::new(&path).separator(case.separator).append(case.append);
            epochs(&mut model()?, &logs, csv, LambdaCallback::new())?;
            assert_eq!(&std::fs::read_to_string(&path).expect("written"), want);
        }
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    let nowhere =
        epochs(&mut model()?, &[Logs::new()], CSVLogger::new("/no/such/folder/log.csv"), LambdaCallback::new());
    assert!(nowhere.is_err_and(|e| e.kind() == ibex::ErrorKind::Io));
    Ok(())
}

const SPEAKER: &str = "IBEX_TEST_SPEAKER";

/// What the other process of [`messages`] says: not a test of its own.
#[test]
fn speaker() -> Result<()> {
    let Some(place) = std::env::var_os(SPEAKER) else { return Ok(()) };
    let file: File = read("callbacks.json");
    for case in &file.decisions {
        println!("== {}", case.name);
        case.run(1)?;
    }
    let folder = PathBuf::from(place);
    for case in &file.checkpoints {
        println!("== {}", case.name);
        case.run(&folder, 1)?;
        std::fs::remove_dir_all(&folder).expect("removed");
    }
    println!("== fit");
    let (x, y) = (Tensor::zeros([8, 1], DType::F32), Tensor::zeros([8, 1], DType::F32));
    model()?.fit((&x, &y), Fit::epochs(2).batch_size(1).validation((&x, &y)))?;
    println!("== evaluate");
    model()?.evaluate((&x, &y), Evaluate::batch_size(2).verbose(1).steps(3))?;
    println!("== end");
    Ok(())
}

/// In a log file: every message of Keras on a line of its own, a line for every epoch, and no control characters.
#[test]
fn messages() {
    let folder = folder("said");
    let program = std::env::current_exe().expect("this test");
    let run = Command::new(program)
        .args(["callbacks::speaker", "--exact", "--nocapture", "--test-threads=1"])
        .env(SPEAKER, &folder)
        .output()
        .expect("runs");
    assert!(run.status.success(), "{run:?}");
    let said = String::from_utf8(run.stdout).expect("text");
    let mut parts = said.split("== ").skip(1).map(|part| part.split_once('\n').expect("a name")).map(|(name, text)| {
        let text = text.replace(&format!("{}/", folder.display()), "");
        (name, text.lines().filter(|l| !l.is_empty()).map(str::to_string).collect::<Vec<_>>())
    });
    let file: File = read("callbacks.json");
    let decisions = file.decisions.iter().map(|c| (&c.name, c.text.replace("val_accuracy", "val_binary_accuracy")));
    for (name, text) in decisions.chain(file.checkpoints.iter().map(|c| (&c.name, c.text.clone()))) {
        let (said_name, lines) = parts.next().expect("a part for each case");
        assert_eq!(said_name, name);
        assert_eq!(lines, text.lines().filter(|l| !l.is_empty()).collect::<Vec<_>>(), "{name}");
    }
    let (_, fit) = parts.next().expect("the training");
    assert_eq!((fit.len(), &fit[0][..], &fit[2][..]), (4, "Epoch 1/2", "Epoch 2/2"), "{fit:?}");
    for line in [&fit[1], &fit[3]] {
        let values =
            " - binary_accuracy: 1.0000 - loss: 0.0000e+00 - val_binary_accuracy: 1.0000 - val_loss: 0.0000e+00";
        assert!(line.starts_with("8/8 - 0s - ") && line.ends_with(&format!("/step{values}")), "{line}");
    }
    let (_, evaluate) = parts.next().expect("the evaluation");
    assert!(evaluate.len() == 1 && evaluate[0].starts_with("3/3 - 0s - "), "{evaluate:?}");
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
}
