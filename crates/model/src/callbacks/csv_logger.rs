//! The history as a CSV file.

use super::{Callback, Logs, Run, repr};
use ibex_core::{Error, Result};
use ibex_data::io::failed;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

/// Writes a row for every epoch to a CSV file, as it ends: the number of the epoch (from 0), the loss, the metrics. The file is that of Keras, byte for
/// byte: columns by name, `NA` where there is no value.
#[derive(Debug)]
pub struct CSVLogger {
    path: PathBuf,
    separator: char,
    append: bool,
    file: Option<File>,
    header: bool,
    keys: Vec<String>,
}

impl CSVLogger {
    /// A new file at the path, in a folder that is there; an old file is replaced.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        CSVLogger { path, separator: ',', append: false, file: None, header: true, keys: Vec::new() }
    }

    /// What stands between values; a comma by default.
    #[must_use]
    pub fn separator(mut self, separator: char) -> Self {
        self.separator = separator;
        self
    }

    /// Goes on with an old file if there is one.
    #[must_use]
    pub fn append(mut self, append: bool) -> Self {
        self.append = append;
        self
    }

    /// A row, with quotes where Python sets them.
    fn row(&self, values: impl Iterator<Item = String>) -> String {
        let special = |c: char| c == self.separator || matches!(c, '"' | '\r' | '\n');
        let quoted = |v: String| if v.contains(special) { format!("\"{}\"", v.replace('"', "\"\"")) } else { v };
        let cells: Vec<String> = values.map(quoted).collect();
        cells.join(&self.separator.to_string()) + "\r\n"
    }
}

impl Callback for CSVLogger {
    fn on_train_begin(&mut self, _run: &mut Run) -> Result<()> {
        let failed = |e| failed("write", &self.path, &e);
        let filled = self.append && fs::metadata(&self.path).is_ok_and(|m| m.len() > 0);
        let mut options = File::options();
        let options = if self.append { options.append(true) } else { options.write(true).truncate(true) };
        self.file = Some(options.create(true).open(&self.path).map_err(failed)?);
        self.header = !filled;
        self.keys.clear();
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, _run: &mut Run) -> Result<()> {
        let mut text = String::new();
        if self.keys.is_empty() {
            self.keys = logs.keys().cloned().collect();
            // There may be validation in a later epoch.
            if !self.keys.iter().any(|k| k.starts_with("val_")) {
                self.keys.extend(logs.keys().map(|k| format!("val_{k}")));
            }
            if std::mem::take(&mut self.header) {
                text = self.row(std::iter::once("epoch".to_string()).chain(self.keys.iter().cloned()));
            }
        }
        let value = |key: &String| logs.get(key).map_or("NA".into(), |&v| repr(v));
        text += &self.row(std::iter::once(epoch.to_string()).chain(self.keys.iter().map(value)));
        let file = self.file.as_mut().ok_or_else(|| Error::value("CSVLogger: the training has not begun"))?;
        file.write_all(text.as_bytes()).map_err(|e| failed("write", &self.path, &e))
    }

    fn on_train_end(&mut self, _run: &mut Run) -> Result<()> {
        self.file = None;
        Ok(())
    }
}
