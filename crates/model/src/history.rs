//! What happened during training.

use crate::callbacks::{Callback, Logs, Run, unknown};
use ibex_core::Result;
use std::collections::BTreeMap;
use std::ops::Index;

/// The loss and the metrics of every epoch: what `fit` returns. Given to it as a callback, it keeps the epochs before an error too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// By name (`loss`, `accuracy`, `val_loss`, ...) a value for each epoch.
    pub history: BTreeMap<String, Vec<f64>>,
    /// The numbers of the epochs, from 0.
    pub epoch: Vec<usize>,
    /// Epochs that were asked for.
    pub epochs: usize,
    /// Steps of one epoch.
    pub steps: usize,
}

impl History {
    pub(crate) fn new(epochs: usize, steps: usize) -> Self {
        History { history: BTreeMap::new(), epoch: Vec::new(), epochs, steps }
    }

    pub(crate) fn push(&mut self, epoch: usize, logs: &Logs) {
        self.epoch.push(epoch);
        for (name, value) in logs {
            self.history.entry(name.clone()).or_default().push(*value);
        }
    }

    /// The values of one name, if there is one. An index, `history["loss"]`, says which names there are if it is none of them.
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.history.get(name).map(Vec::as_slice)
    }

    /// The last value of one name.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.get(name)?.last().copied()
    }
}

impl Index<&str> for History {
    type Output = [f64];

    /// The values of one name.
    ///
    /// # Panics
    /// For a name that there is not, saying those that there are.
    #[track_caller]
    fn index(&self, name: &str) -> &[f64] {
        match self.get(name) {
            Some(values) => values,
            None => unknown(name, self.history.keys()),
        }
    }
}

impl Callback for History {
    fn on_train_begin(&mut self, run: &mut Run) -> Result<()> {
        *self = History::new(run.epochs, run.steps.unwrap_or(0));
        Ok(())
    }

    fn on_train_batch_end(&mut self, batch: usize, _run: &mut Run) -> Result<()> {
        self.steps = self.steps.max(batch + 1);
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, _run: &mut Run) -> Result<()> {
        self.push(epoch, logs);
        Ok(())
    }
}
