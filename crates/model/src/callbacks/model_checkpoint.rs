//! Model files while training.

use super::monitor::Monitor;
use super::{Callback, Logs, Run, repr};
use crate::progress::{python_exponent, say};
use ibex_core::{Error, Result};
use ibex_data::io::failed;
use std::path::Path;

/// Writes the model with its training state to a file after every epoch, or after a number of steps; only when it is better than before, if asked for.
/// Every file is written whole or not at all. [`Model::load`](crate::Model::load) reads it, and training can go on.
///
/// The path may have fields as in Keras: `{epoch}` (from 1), `{batch}` (from 1, when saving by steps), and values by name, with a format:
/// `checkpoints/{epoch:02d}-{val_loss:.2f}.safetensors`. Folders are made as needed.
#[derive(Clone, Debug)]
pub struct ModelCheckpoint {
    path: String,
    monitor: Monitor,
    best_only: bool,
    #[cfg(feature = "keras")]
    weights_only: bool,
    steps: Option<usize>,
    verbose: u8,
    epoch: usize,
    unsaved: usize,
}

impl ModelCheckpoint {
    /// A file for every epoch.
    pub fn new(path: impl Into<String>) -> Self {
        ModelCheckpoint {
            path: path.into(),
            monitor: Monitor::new("ModelCheckpoint", "val_loss"),
            best_only: false,
            #[cfg(feature = "keras")]
            weights_only: false,
            steps: None,
            verbose: 0,
            epoch: 0,
            unsaved: 0,
        }
    }

    /// The value that says which model is better; `val_loss` by default.
    #[must_use]
    pub fn monitor(mut self, name: impl Into<String>) -> Self {
        self.monitor.name = name.into();
        self
    }

    /// Larger values are better (or smaller). If this is not called, metrics say it themselves; losses fall.
    #[must_use]
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.monitor.maximize = Some(maximize);
        self
    }

    /// Writes only models that are better than all before, those of earlier calls of `fit` included.
    #[must_use]
    pub fn save_best_only(mut self, best_only: bool) -> Self {
        self.best_only = best_only;
        self
    }

    /// Writes the weights alone, as [`Model::save_weights`](crate::Model::save_weights) does: end the path with `.weights.h5`, `.h5`, `.npz` or
    /// `.safetensors`.
    #[cfg(feature = "keras")]
    #[must_use]
    pub fn save_weights_only(mut self, weights_only: bool) -> Self {
        self.weights_only = weights_only;
        self
    }

    /// Writes after every so many steps, counted over all epochs, instead of after every epoch. With
    /// [`save_best_only`](ModelCheckpoint::save_best_only) the value is that of the epoch so far.
    #[must_use]
    pub fn save_freq(mut self, steps: usize) -> Self {
        self.steps = Some(steps.max(1));
        self
    }

    /// The value that the first model must be better than.
    #[must_use]
    pub fn initial_value_threshold(mut self, value: f64) -> Self {
        self.monitor.best = Some(value);
        self
    }

    /// 1: says what it does. 0, the default: silent.
    #[must_use]
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }

    /// The best value so far.
    pub fn best(&self) -> Option<f64> {
        self.monitor.best
    }

    fn save(&mut self, batch: Option<usize>, logs: &Logs, run: &mut Run) -> Result<()> {
        let epoch = self.epoch + 1;
        let path = path_of(&self.path, epoch, batch.map(|b| b + 1), logs)?;
        let note = |text: String| {
            if self.verbose > 0 {
                say(&format!("Epoch {epoch}: {text}"));
            }
        };
        if self.best_only {
            let Some(value) = self.monitor.value(logs, run)? else { return Ok(()) };
            let (name, best) = (&self.monitor.name, self.monitor.best);
            let before = best.map_or("None".into(), |b| format!("{b:.5}"));
            if !self.monitor.improves(value, best, run)? {
                note(format!("{name} did not improve from {before}"));
                return Ok(());
            }
            note(format!("{name} improved from {before} to {value:.5}, saving model to {path}"));
            self.monitor.best = Some(value);
        } else {
            note(format!("saving model to {path}"));
        }
        if let Some(folder) = Path::new(&path).parent() {
            std::fs::create_dir_all(folder).map_err(|e| failed("create folder", folder, &e))?;
        }
        self.write(&path, run).map_err(|e| e.context("ModelCheckpoint"))?;
        if self.verbose > 0 {
            say(&format!("Epoch {epoch}: finished saving model to {path}"));
        }
        Ok(())
    }

    fn write(&self, path: &str, run: &mut Run) -> Result<()> {
        #[cfg(feature = "keras")]
        if self.weights_only {
            return run.model.save_weights(path);
        }
        run.model.save(path)
    }
}

impl Callback for ModelCheckpoint {
    fn on_train_begin(&mut self, run: &mut Run) -> Result<()> {
        if self.best_only && self.steps.is_some() && self.monitor.name.starts_with("val_") {
            return Err(Error::value(format!(
                "ModelCheckpoint: {} is known at the end of an epoch only; watch another value, or save after every epoch",
                self.monitor.name
            )));
        }
        let fits = |endings: &[&str]| endings.iter().any(|ending| self.path.to_lowercase().ends_with(ending));
        self.unsaved = 0;
        #[cfg(feature = "keras")]
        if self.weights_only {
            if fits(&[".h5", ".npz", ".safetensors"]) {
                return Ok(());
            }
            let text = format!(
                "ModelCheckpoint: weights alone go to .weights.h5, .npz or .safetensors, not to {:?}",
                self.path
            );
            return Err(Error::value(text));
        }
        if !fits(&[".safetensors", ".keras", ".h5", ".hdf5"]) {
            let text = format!("ModelCheckpoint: models go to .safetensors, .keras or .h5, not to {:?}", self.path);
            return Err(Error::value(text));
        }
        run.model.check_saving(Path::new(&self.path)).map_err(|e| e.context("ModelCheckpoint"))
    }

    fn on_epoch_begin(&mut self, epoch: usize, _run: &mut Run) -> Result<()> {
        self.epoch = epoch;
        Ok(())
    }

    fn on_train_batch_end(&mut self, batch: usize, run: &mut Run) -> Result<()> {
        self.unsaved += 1;
        if self.steps.is_none_or(|steps| self.unsaved < steps) {
            return Ok(());
        }
        self.unsaved = 0;
        self.save(Some(batch), &run.logs()?, run)
    }

    fn on_epoch_end(&mut self, _epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        if self.steps.is_none() { self.save(None, logs, run) } else { Ok(()) }
    }
}

/// The path with its fields filled in, as Python's `format` does it.
fn path_of(pattern: &str, epoch: usize, batch: Option<usize>, logs: &Logs) -> Result<String> {
    let wrong = |why: String| Error::value(format!("ModelCheckpoint: path {pattern:?}: {why}"));
    let (mut path, mut rest) = (String::new(), pattern);
    while let Some(at) = rest.find(['{', '}']) {
        path += &rest[..at];
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            // A double brace stands for one.
            path += brace;
            rest = after;
            continue;
        }
        let Some((field, after)) = rest.split_once('}').filter(|_| brace == "{") else {
            return Err(wrong(format!("a {brace} without its other half; write {brace}{brace} for the sign itself")));
        };
        rest = after;
        let (name, format) = field.split_once(':').unwrap_or((field, ""));
        let whole = if name == "epoch" { Some(epoch) } else { batch.filter(|_| name == "batch") };
        let filled = match (whole, logs.get(name)) {
            (Some(whole), _) => whole_number(whole, format),
            (None, Some(&value)) => real_number(value, format),
            (None, None) => {
                let known: Vec<&str> = ["epoch"].into_iter().chain(batch.map(|_| "batch")).collect();
                let known: Vec<&str> = known.into_iter().chain(logs.keys().map(String::as_str)).collect();
                return Err(wrong(format!("there is no value {name:?}; there are: {}", known.join(", "))));
            }
        };
        let advice = "write for example {epoch:02d} for whole numbers, {val_loss:.2f} or {val_loss:.3e} for others";
        path += &filled.ok_or_else(|| wrong(format!("unknown format {format:?} of {name}; {advice}")))?;
    }
    Ok(path + rest)
}

/// `02d`, `5d`, `03`, nothing, or the format of a real number.
fn whole_number(value: usize, format: &str) -> Option<String> {
    let width = format.strip_suffix('d').unwrap_or(format);
    match width.chars().all(|c| c.is_ascii_digit()) {
        true => padded(value.to_string(), width),
        false => real_number(value as f64, format),
    }
}

/// `.2f`, `08.3f`, `.3e`, `.1%`, or nothing.
fn real_number(value: f64, format: &str) -> Option<String> {
    if format.is_empty() {
        return Some(repr(value));
    }
    let kind = format.chars().last()?;
    let (width, digits) = match format[..format.len() - kind.len_utf8()].split_once('.') {
        Some((width, digits)) => (width, digits.parse::<usize>().ok().filter(|&d| d <= 100)?),
        None => (&format[..format.len() - kind.len_utf8()], 6),
    };
    let text = match kind {
        _ if !value.is_finite() => format!("{value}").to_lowercase(),
        'f' => format!("{value:.digits$}"),
        'e' => python_exponent(&format!("{value:.digits$e}")),
        '%' => format!("{:.digits$}%", value * 100.0),
        _ => return None,
    };
    padded(text, width)
}

fn padded(text: String, width: &str) -> Option<String> {
    let zeros = width.starts_with('0');
    let width = if width.is_empty() { 0 } else { width.parse::<usize>().ok().filter(|&w| w <= 100)? };
    let missing = width.saturating_sub(text.len());
    if !zeros {
        return Some(" ".repeat(missing) + &text);
    }
    // Zeros go behind the sign.
    let (sign, digits) = text.split_at(usize::from(text.starts_with('-')));
    Some(format!("{sign}{}{digits}", "0".repeat(missing)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        pattern: String,
        epoch: usize,
        batch: Option<usize>,
        logs: Logs,
        path: String,
    }

    #[derive(Deserialize)]
    struct File {
        paths: Vec<Case>,
    }

    #[test]
    fn paths_of_keras() {
        let file: File = serde_json::from_str(include_str!("../../tests/keras/callbacks.json")).expect("the fixture");
        assert!(file.paths.len() >= 10);
        for case in &file.paths {
            let batch = case.batch.map(|b| b + 1);
            let got = path_of(&case.pattern, case.epoch + 1, batch, &case.logs).expect("a path");
            assert_eq!(got, case.path, "{}", case.pattern);
        }
    }

    #[test]
    fn mistakes_in_paths() {
        let logs = Logs::from([("loss".into(), 0.5), ("val_loss".into(), 0.25)]);
        for (pattern, words) in [
            ("{val_los:.2f}.x", ["\"val_los\"", "epoch, loss, val_loss"]),
            ("{batch}.x", ["\"batch\"", "epoch, loss"]),
            ("{loss:d}.x", ["\"d\"", ":.2f"]),
            ("{loss:.2é}.x", [".2é", ":.2f"]),
            ("{epoch:999d}.x", ["999d", "02d"]),
            ("{epoch", ["a {", "{{"]),
            ("epoch}", ["a }", "}}"]),
        ] {
            let error = path_of(pattern, 1, None, &logs).expect_err(pattern).to_string();
            assert!(words.iter().all(|w| error.contains(w)), "{error}");
        }
    }
}
