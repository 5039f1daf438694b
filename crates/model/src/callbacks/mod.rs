//! Things that are called while a model trains.

mod early_stopping;

pub use early_stopping::EarlyStopping;

use crate::model::Model;
use ibex_core::Result;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The loss and the metrics by name.
pub type Logs = BTreeMap<String, f64>;

/// A training run, as callbacks see it.
#[derive(Debug)]
pub struct Run<'a> {
    /// The model being trained.
    pub model: &'a mut Model,
    /// Set to end training after this epoch.
    pub stop: bool,
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

    /// After a training step was started; the first is 0. Nothing has been read back by then.
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

    /// After the last epoch.
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
