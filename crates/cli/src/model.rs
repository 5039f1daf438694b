//! Commands on a model's file: `summary`, `predict`, `evaluate`, `train`, `convert`.

use crate::Failure;
use crate::arrays::{self, Examples, Given};
use ibex::callbacks::{LambdaCallback, Logs};
use ibex::config::Config;
use ibex::losses::Loss;
use ibex::metrics::Metric;
use ibex::{ErrorKind, Evaluate, Fit, Model, Predict, losses, metrics, optimizers};
use lexopt::prelude::*;
use serde_json::json;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub const SUMMARY: &str = "summary FILE [--json]
    the layers of a model with their shapes and numbers of weights; --json: its architecture as Keras writes it.
    FILE is .keras, .h5, .safetensors, or an architecture as .json";

pub const PREDICT: &str = "predict FILE --input x.npy [--input NAME=x.npy ...] --output y.npy
          [--target COLUMN] [--batch-size N] [--device ID] [--json]
    writes what the model makes of the inputs; several outputs go to y.npy, y_1.npy, ..., or to one .npz
      --input FILE     .npy, .npz or .csv; NAME=FILE for each input of a model with several
      --target COLUMN  a column of the .csv file that is no input: the one that the model predicts";

/// What `evaluate` and `train` take.
macro_rules! data {
    () => {
        "
      --x FILE         .npy, .npz or .csv; NAME=FILE for each input of a model with several
      --y FILE         the same for outputs; class numbers must be integers
      --target COLUMN  the column of the .csv file of --x that is to be predicted, instead of --y"
    };
}

pub const EVALUATE: &str = concat!(
    "evaluate FILE --x x.npy --y y.npy
           [--loss L] [--metrics M,M] [--batch-size N] [--device ID] [--json]
    the loss and the metrics on data",
    data!()
);

pub const TRAIN: &str = concat!(
    "train FILE --x x.npy --y y.npy --save OUT [--epochs N] [--batch-size N] [--optimizer O] [--learning-rate R]
        [--loss L] [--metrics M,M] [--validation-split S] [--no-shuffle] [--seed N] [--device ID] [--json]
    trains a model and saves it. Without --loss and --optimizer it is trained as the file says, and goes on from the
    optimizer state in it",
    data!(),
    "
      --loss L         mse, sparse_categorical_crossentropy, ...; L,L for each output. Names are those of Keras
      --optimizer O    adam, sgd, ..."
);

pub const CONVERT: &str = "convert IN OUT [--weights FILE]
    a model as another kind of file: .keras, .h5, .safetensors, .onnx, .json (architecture alone), .weights.h5 and .npz
    (weights alone)
      --weights FILE   weights that replace those of IN";

/// What these commands share.
#[derive(Default)]
struct Options {
    files: Vec<PathBuf>,
    device: Option<String>,
    json: bool,
    batch_size: Option<usize>,
    examples: Examples,
    optimizer: Option<String>,
    learning_rate: Option<f32>,
    loss: Option<String>,
    metrics: Option<String>,
    inputs: Vec<Given>,
    output: Option<PathBuf>,
    save: Option<PathBuf>,
    weights: Option<PathBuf>,
    epochs: Option<usize>,
    validation_split: Option<f64>,
    no_shuffle: bool,
    seed: Option<u64>,
}

impl Options {
    /// Reads arguments, of which a command knows some.
    fn parse(mut args: lexopt::Parser, known: &[&str]) -> Result<Options, Failure> {
        let mut o = Options::default();
        while let Some(arg) = args.next()? {
            let name = match arg {
                Value(file) => {
                    o.files.push(file.into());
                    continue;
                }
                Long(name) if known.contains(&name) => name.to_string(),
                other => return Err(other.unexpected().into()),
            };
            match &name[..] {
                "json" => o.json = true,
                "no-shuffle" => o.no_shuffle = true,
                "device" => o.device = Some(args.value()?.string()?),
                "batch-size" => o.batch_size = Some(number(&mut args, &name)?),
                "optimizer" => o.optimizer = Some(args.value()?.string()?),
                "learning-rate" => o.learning_rate = Some(number(&mut args, &name)?),
                "loss" => o.loss = Some(args.value()?.string()?),
                "metrics" => o.metrics = Some(args.value()?.string()?),
                "input" => o.inputs.push(args.value()?.into()),
                "output" => o.output = Some(args.value()?.into()),
                "save" => o.save = Some(args.value()?.into()),
                "weights" => o.weights = Some(args.value()?.into()),
                "epochs" => o.epochs = Some(number(&mut args, &name)?),
                "validation-split" => o.validation_split = Some(number(&mut args, &name)?),
                "seed" => o.seed = Some(number(&mut args, &name)?),
                "x" => o.examples.x.push(args.value()?.into()),
                "y" => o.examples.y.push(args.value()?.into()),
                _ => o.examples.target = Some(args.value()?.string()?),
            }
        }
        Ok(o)
    }

    /// The model of the only file.
    fn model(&self) -> Result<Model, Failure> {
        let [file] = &self.files[..] else {
            return Err(Failure::Usage(format!("takes one model's file, got {}", self.files.len())));
        };
        if let Some(id) = &self.device {
            ibex::set_default_device(&ibex::device(id).map_err(|e| e.context("--device"))?);
        }
        Ok(Model::load(file)?)
    }

    /// [`Options::model`] for what computes nothing: no GPU is opened for it.
    fn description(&self) -> Result<Model, Failure> {
        ibex::set_default_device(&ibex::device("cpu")?);
        self.model()
    }

    /// What to say of a model's file with which no loss comes.
    fn nothing_set(&self, trains: bool) -> String {
        let file = self.files.iter().map(|file| file.display().to_string()).collect::<String>();
        let list = |what: &str, names: &[&str]| format!("\n  {what}: {}", names.join(", "));
        let losses = list("losses", losses::NAMES);
        match trains {
            true => format!(
                "{file} has no settings for training: give --loss, and --optimizer if it shall not be RMSprop{losses}{}",
                list("optimizers", optimizers::NAMES)
            ),
            false => format!("{file} has no settings for training: give --loss{losses}"),
        }
    }

    /// Replaces the settings for training that are named.
    fn compile(&self, model: &mut Model) -> Result<(), Failure> {
        let list = |names: &String| names.split(',').map(str::trim).map(String::from).collect::<Vec<_>>();
        let rate = || self.learning_rate.map(|rate| ("learning_rate".to_string(), json!(rate)));
        let optimizer = self.optimizer.as_ref().map(|name| optimizers::from_config(name, rate().into_iter().collect()));
        let optimizer = optimizer.map(|o| o.map_err(|e| e.context("--optimizer")));
        let loss = |name: String| losses::from_config(&name, Config::new()).map_err(|e| e.context("--loss"));
        let losses = self
            .loss
            .as_ref()
            .map(|names| list(names).into_iter().map(loss).collect::<ibex::Result<Vec<Box<dyn Loss>>>>());
        let metric = |name: String| metrics::get(&name).map_err(|e| e.context("--metrics"));
        let metrics = self
            .metrics
            .as_ref()
            .map(|names| list(names).into_iter().map(metric).collect::<ibex::Result<Vec<Box<dyn Metric>>>>());
        let (optimizer, losses, metrics) = (optimizer.transpose()?, losses.transpose()?, metrics.transpose()?);
        let trains = self.save.is_some();
        let optimizer = match model.iterations() {
            Err(error) if error.kind() == ErrorKind::Model && losses.is_none() => {
                return Err(Failure::Usage(self.nothing_set(trains)));
            }
            Err(error) if error.kind() != ErrorKind::Model && optimizer.is_none() && trains => {
                return Err(error.context("give --optimizer and --loss").into());
            }
            Err(error) if error.kind() != ErrorKind::Model && losses.is_none() && !trains => {
                return Err(error.context("give --loss").into());
            }
            // What evaluates runs no optimizer.
            Err(_) if !trains => Some(optimizers::from_config("RMSprop", Config::new())?),
            _ => optimizer,
        };
        if optimizer.is_some() || losses.is_some() || metrics.is_some() {
            model.recompile(optimizer, losses, metrics)?;
        }
        if let (Some(rate), None) = (self.learning_rate, &self.optimizer) {
            model.set_learning_rate(rate)?;
        }
        Ok(())
    }
}

/// What to do where the file's own loss or metric is not known.
fn advised(error: ibex::Error) -> ibex::Error {
    let option = ["loss", "metric"].into_iter().find(|what| error.message().starts_with(&format!("unknown {what} ")));
    match option {
        Some("loss") => error.context("give --loss"),
        Some(_) => error.context("give --metrics"),
        None => error,
    }
}

/// The number that an option takes.
fn number<T: FromStr>(args: &mut lexopt::Parser, name: &str) -> Result<T, Failure>
where
    T::Err: Display,
{
    let text = args.value()?.string()?;
    text.parse().map_err(|e| Failure::Usage(format!("--{name} takes a number, not {text:?}: {e}")))
}

pub fn summary(args: lexopt::Parser) -> Result<bool, Failure> {
    let options = Options::parse(args, &["json"])?;
    let model = options.description()?;
    if options.json {
        println!("{}", model.to_json()?)
    } else {
        println!("{}", model.summary())
    }
    Ok(true)
}

pub fn predict(args: lexopt::Parser) -> Result<bool, Failure> {
    let options = Options::parse(args, &["input", "target", "output", "batch-size", "device", "json"])?;
    let Some(output) = options.output.as_ref().filter(|_| !options.inputs.is_empty()) else {
        return Err(Failure::Usage("predict takes --input and --output".into()));
    };
    if !arrays::is_written(output) {
        return Err(Failure::Usage(format!("--output {}: predictions go to .npy or .npz", output.display())));
    }
    let model = options.model()?;
    let inputs = arrays::inputs(&model, &options.inputs, options.examples.target.as_deref())?;
    let outputs = model.predict_all(Predict::new(inputs).batch_size(options.batch_size.unwrap_or(32)))?;
    let names = model.output_names();
    let files = arrays::write(output, &names, &outputs)?;
    let described = names.iter().zip(&outputs).zip(&files);
    if options.json {
        let all = described.map(|((name, y), file)| json!({"name": name, "shape": y.shape().to_vec(), "file": file}));
        println!("{}", json!({"outputs": all.collect::<Vec<_>>()}));
    } else {
        described.for_each(|((name, y), file)| println!("{name} {}: {}", y.shape(), file.display()));
    }
    Ok(true)
}

/// The numbers of a run on standard output.
fn print_logs(logs: &Logs) {
    logs.iter().for_each(|(name, value)| println!("{name}: {value}"));
}

pub fn evaluate(args: lexopt::Parser) -> Result<bool, Failure> {
    let known = ["x", "y", "target", "loss", "metrics", "batch-size", "device", "json"];
    let options = Options::parse(args, &known)?;
    let mut model = options.model()?;
    options.compile(&mut model)?;
    let examples = options.examples.load(&model)?;
    let logs = model.evaluate(examples, Evaluate::batch_size(options.batch_size.unwrap_or(32))).map_err(advised)?;
    if options.json {
        println!("{}", json!(logs))
    } else {
        print_logs(&logs)
    }
    Ok(true)
}

pub fn train(args: lexopt::Parser) -> Result<bool, Failure> {
    let known = [
        "x",
        "y",
        "target",
        "save",
        "epochs",
        "batch-size",
        "optimizer",
        "learning-rate",
        "loss",
        "metrics",
        "validation-split",
        "no-shuffle",
        "seed",
        "device",
        "json",
    ];
    let options = Options::parse(args, &known)?;
    let Some(out) = &options.save else { return Err(Failure::Usage("train takes --save".into())) };
    // Before hours of training.
    if !holds_training(out) {
        return Err(Failure::Usage(format!("--save {}: models go to .keras, .h5 or .safetensors", out.display())));
    }
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(
            ibex::Error::io(format!("--save {}: there is no folder {}", out.display(), folder.display())).into()
        );
    }
    let mut model = options.model()?;
    if let Some(seed) = options.seed {
        let drawn = is_json(&options.files[0]);
        let kept = if drawn { None } else { Some(model.get_weights()?) };
        model = model.seed(seed);
        if let Some(weights) = kept {
            model.set_weights(&weights)?;
        }
    }
    options.compile(&mut model)?;
    let examples = options.examples.load(&model)?;
    let epochs = options.epochs.unwrap_or(1);
    let progress = LambdaCallback::new().on_epoch_end(|epoch, logs, _| {
        let logs: Vec<String> = logs.iter().map(|(name, value)| format!("{name}: {value:.4}")).collect();
        eprintln!("Epoch {}/{epochs} - {}", epoch + 1, logs.join(" - "));
        Ok(())
    });
    let mut fit = Fit::epochs(epochs).batch_size(options.batch_size.unwrap_or(32)).verbose(0);
    fit = fit.shuffle(!options.no_shuffle).callback(progress);
    if let Some(share) = options.validation_split {
        fit = fit.validation_split(share);
    }
    let history = model.fit(examples, fit).map_err(advised)?;
    model.save(out)?;
    if options.json {
        println!("{}", json!({"epoch": history.epoch, "history": history.history}));
    } else {
        let last = history.history.iter().filter_map(|(name, values)| Some((name.clone(), *values.last()?)));
        print_logs(&last.collect());
    }
    Ok(true)
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json")
}

/// Is it a kind of file from which training goes on?
fn holds_training(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    [".keras", ".h5", ".hdf5", ".safetensors"].iter().any(|ending| name.ends_with(ending))
        && !name.ends_with(".weights.h5")
}

pub fn convert(args: lexopt::Parser) -> Result<bool, Failure> {
    let mut options = Options::parse(args, &["weights"])?;
    let (Some(out), 1) = (options.files.pop(), options.files.len()) else {
        return Err(Failure::Usage("convert takes a model's file and the file to write".into()));
    };
    let mut model = options.description()?;
    if let Some(weights) = &options.weights {
        model.load_weights(weights)?;
    }
    let name = out.to_string_lossy().to_lowercase();
    if name.ends_with(".weights.h5") || name.ends_with(".npz") {
        model.save_weights(&out)?;
    } else if is_json(&out) {
        let text = model.to_json()?;
        ibex::data::io::write_atomic(&out, |file| std::io::Write::write_all(file, text.as_bytes()))?;
    } else if holds_training(&out) || name.ends_with(".onnx") {
        model.save(&out)?;
    } else {
        let text = format!(
            "what kind of file shall {} be? Its name ends in none of .keras .h5 .safetensors .onnx .json .weights.h5 .npz",
            out.display()
        );
        return Err(Failure::Usage(text));
    }
    Ok(true)
}
