//! Things that are called while a model trains.

#[cfg(not(target_arch = "wasm32"))]
mod backup_and_restore;
#[cfg(not(target_arch = "wasm32"))]
mod csv_logger;
mod early_stopping;
mod lambda;
#[cfg(not(target_arch = "wasm32"))]
mod learning_rate_scheduler;
mod logs;
#[cfg(not(target_arch = "wasm32"))]
mod model_checkpoint;
mod monitor;
#[cfg(not(target_arch = "wasm32"))]
mod reduce_lr_on_plateau;
#[cfg(not(target_arch = "wasm32"))]
mod tensorboard;
#[cfg(not(target_arch = "wasm32"))]
mod terminate_on_nan;

pub use crate::history::History;
#[cfg(not(target_arch = "wasm32"))]
pub use backup_and_restore::BackupAndRestore;
#[cfg(not(target_arch = "wasm32"))]
pub use csv_logger::CSVLogger;
pub use early_stopping::EarlyStopping;
pub use lambda::LambdaCallback;
#[cfg(not(target_arch = "wasm32"))]
pub use learning_rate_scheduler::LearningRateScheduler;
pub use logs::Logs;
pub(crate) use logs::unknown;
#[cfg(not(target_arch = "wasm32"))]
pub use model_checkpoint::ModelCheckpoint;
#[cfg(not(target_arch = "wasm32"))]
pub use reduce_lr_on_plateau::ReduceLROnPlateau;
#[cfg(not(target_arch = "wasm32"))]
pub use tensorboard::TensorBoard;
#[cfg(not(target_arch = "wasm32"))]
pub use terminate_on_nan::TerminateOnNaN;

use crate::model::Model;
use ibex_core::Result;
use std::fmt::Debug;

/// A training run, as callbacks see it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Run<'a> {
    /// The model being trained.
    pub model: &'a mut Model,
    /// Set to end training after this step, or after this epoch if it has no more.
    pub stop: bool,
    /// Epochs that were asked for.
    pub epochs: usize,
    /// The number of the first epoch, from 0; `on_train_begin` may change it.
    pub initial_epoch: usize,
    /// Steps of an epoch, if that is known before the first.
    pub steps: Option<usize>,
    /// Is there data for validation?
    pub validates: bool,
}

impl Run<'_> {
    /// The loss and the metrics of this epoch so far. This waits for the device to finish the step: on a GPU, to look after every step takes away what
    /// is gained by queueing the next ones. Not there in a browser.
    ///
    /// # Errors
    /// Whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn logs(&self) -> Result<Logs> {
        ibex_core::backend::block_on(self.model.totals())
    }
}

/// Something to be called while a model trains. Callbacks may add to the logs of an epoch: the history and the progress line show it.
pub trait Callback: Debug {
    /// Before the first epoch.
    ///
    /// # Errors
    /// Ends training; so do errors of the other methods.
    fn on_train_begin(&mut self, _run: &mut Run) -> Result<()> {
        Ok(())
    }

    /// Before an epoch; the first is 0.
    ///
    /// # Errors
    /// Ends training.
    fn on_epoch_begin(&mut self, _epoch: usize, _run: &mut Run) -> Result<()> {
        Ok(())
    }

    /// After a training step was started; the first is 0. Nothing has been read back by then: [`Run::logs`] does.
    ///
    /// # Errors
    /// Ends training.
    fn on_train_batch_end(&mut self, _batch: usize, _run: &mut Run) -> Result<()> {
        Ok(())
    }

    /// After an epoch and its validation.
    ///
    /// # Errors
    /// Ends training.
    fn on_epoch_end(&mut self, _epoch: usize, _logs: &mut Logs, _run: &mut Run) -> Result<()> {
        Ok(())
    }

    /// After the last epoch; not after an error.
    ///
    /// # Errors
    /// Is reported by `fit`.
    fn on_train_end(&mut self, _run: &mut Run) -> Result<()> {
        Ok(())
    }
}

impl<C: Callback + ?Sized> Callback for &mut C {
    fn on_train_begin(&mut self, run: &mut Run) -> Result<()> {
        (**self).on_train_begin(run)
    }

    fn on_epoch_begin(&mut self, epoch: usize, run: &mut Run) -> Result<()> {
        (**self).on_epoch_begin(epoch, run)
    }

    fn on_train_batch_end(&mut self, batch: usize, run: &mut Run) -> Result<()> {
        (**self).on_train_batch_end(batch, run)
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        (**self).on_epoch_end(epoch, logs, run)
    }

    fn on_train_end(&mut self, run: &mut Run) -> Result<()> {
        (**self).on_train_end(run)
    }
}

/// As Python's `repr` writes a float: the shortest digits that read back the same.
#[cfg(not(target_arch = "wasm32"))]
fn repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    match value.abs() {
        0.0 | 1e-4..1e16 => format!("{value:?}"),
        f64::INFINITY => format!("{value}"),
        _ => crate::progress::python_exponent(&format!("{value:e}")),
    }
}
