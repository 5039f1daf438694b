//! Going on after an interruption.

use super::{Callback, Logs, Run};
use ibex_core::{Error, Result};
use ibex_data::io::{failed, write_atomic};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Keeps the training state in a folder after every epoch. If the program is killed and runs again, `fit` with the same folder goes on with the epoch
/// that was not finished, and the result is the one of a training without interruption, bit for bit. After the last epoch the folder is emptied.
///
/// The model is built and compiled as before, and the data are the same. State of other callbacks (the patience of `EarlyStopping`, say) is not kept,
/// and the history has the epochs of its own run only, as in Keras. [`Batches`](crate::Batches) start from their beginning.
#[derive(Clone, Debug)]
pub struct BackupAndRestore {
    folder: PathBuf,
    every: usize,
    keep: bool,
}

const NAME: (&str, &str) = ("epoch-", ".safetensors");

impl BackupAndRestore {
    /// A folder for one training and nothing else; it is made if it is not there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        BackupAndRestore { folder: folder.into(), every: 1, keep: false }
    }

    /// Keeps the state after every so many epochs only.
    #[must_use]
    pub fn save_freq(mut self, epochs: usize) -> Self {
        self.every = epochs.max(1);
        self
    }

    /// Leaves the last state in the folder when training has ended (`false`); by default it is deleted.
    #[must_use]
    pub fn delete_checkpoint(mut self, delete: bool) -> Self {
        self.keep = !delete;
        self
    }

    /// The states in the folder by the number of epochs that they have done.
    fn states(&self) -> Result<Vec<(usize, PathBuf)>> {
        let failed = |e| failed("read folder", &self.folder, &e);
        let mut states = Vec::new();
        if !self.folder.exists() {
            return Ok(states);
        }
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|n| n.to_str());
            let number = name.and_then(|n| n.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?.parse().ok());
            states.extend(number.map(|n| (n, path)));
        }
        states.sort();
        Ok(states)
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|e| failed("remove", path, &e))
}

impl Callback for BackupAndRestore {
    fn on_train_begin(&mut self, run: &mut Run) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|e| failed("create folder", &self.folder, &e))?;
        let state = self.folder.join(format!("{}0{}", NAME.0, NAME.1));
        run.model.check_saving(&state).map_err(|e| e.context("BackupAndRestore"))?;
        let Some((epochs, path)) = self.states()?.pop() else { return Ok(()) };
        let bytes = fs::read(&path).map_err(|e| failed("read", &path, &e))?;
        run.model.restore_bytes(&bytes).map_err(|e| {
            let advice = "remove it to start anew, or build and compile the model as it was";
            Error::format(format!("BackupAndRestore: can not go on from {}: {e}; {advice}", path.display()))
        })?;
        run.initial_epoch = epochs;
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, _logs: &mut Logs, run: &mut Run) -> Result<()> {
        let done = epoch + 1;
        if !done.is_multiple_of(self.every) {
            return Ok(());
        }
        let bytes = ibex_core::backend::block_on(run.model.to_bytes())?;
        // The number of epochs stands in the name: one file says all, at every moment.
        write_atomic(self.folder.join(format!("{}{done}{}", NAME.0, NAME.1)), |file| file.write_all(&bytes))?;
        self.states()?.iter().filter(|(n, _)| *n != done).try_for_each(|(_, path)| remove(path))
    }

    fn on_train_end(&mut self, _run: &mut Run) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        self.states()?.iter().try_for_each(|(_, path)| remove(path))?;
        // Something else may lie in the folder: then it stays.
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }
}
