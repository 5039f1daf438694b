//! Ends training when it no longer helps.

use super::monitor::Monitor;
use super::{Callback, Logs, Run};
use crate::progress::print;
use ibex_core::{Result, Tensor, Variable};

/// Ends training when a monitored value has not improved for a number of epochs. Semantics of Keras 3: best weights, if asked for, are restored
/// at the end of training whether or not it ended early.
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    monitor: Monitor,
    patience: usize,
    baseline: Option<f64>,
    restore_best_weights: bool,
    start_from_epoch: usize,
    verbose: u8,
    wait: usize,
    best_epoch: usize,
    stopped_epoch: Option<usize>,
    kept: Vec<(Variable, Tensor)>,
}

impl EarlyStopping {
    /// Watches a value by name, such as `val_loss`. Patience is 0: the first epoch without improvement ends training.
    pub fn new(monitor: impl Into<String>) -> Self {
        EarlyStopping {
            monitor: Monitor::new("EarlyStopping", monitor),
            patience: 0,
            baseline: None,
            restore_best_weights: false,
            start_from_epoch: 0,
            verbose: 0,
            wait: 0,
            best_epoch: 0,
            stopped_epoch: None,
            kept: Vec::new(),
        }
    }

    /// Epochs without improvement after which training ends.
    #[must_use]
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }

    /// The least change that counts as improvement.
    #[must_use]
    pub fn min_delta(mut self, delta: f64) -> Self {
        self.monitor.min_delta = delta.abs();
        self
    }

    /// Larger values are better (or smaller). If this is not called, metrics say it themselves; losses fall.
    #[must_use]
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.monitor.maximize = Some(maximize);
        self
    }

    /// A value that must be beaten too before the count of epochs starts again.
    #[must_use]
    pub fn baseline(mut self, value: f64) -> Self {
        self.baseline = Some(value);
        self
    }

    /// Gives the model the weights of its best epoch at the end of training.
    #[must_use]
    pub fn restore_best_weights(mut self, restore: bool) -> Self {
        self.restore_best_weights = restore;
        self
    }

    /// The first epoch that is looked at.
    #[must_use]
    pub fn start_from_epoch(mut self, epoch: usize) -> Self {
        self.start_from_epoch = epoch;
        self
    }

    /// 1: says when it stops, and which weights it restores. 0, the default: silent.
    #[must_use]
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }

    /// The epoch after which training ended early, from 0.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.stopped_epoch
    }
}

impl Callback for EarlyStopping {
    fn on_train_begin(&mut self, _run: &mut Run) -> Result<()> {
        (self.wait, self.monitor.best, self.stopped_epoch) = (0, None, None);
        self.kept.clear();
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        let Some(value) = self.monitor.value(logs, run)? else { return Ok(()) };
        if epoch < self.start_from_epoch {
            return Ok(());
        }
        self.wait += 1;
        if self.monitor.improves(value, self.monitor.best, run)? {
            (self.monitor.best, self.best_epoch) = (Some(value), epoch);
            if self.restore_best_weights {
                let weights = run.model.weights().map(|w| &w.variable);
                self.kept = weights.map(|v| (v.clone(), v.value())).collect();
            }
            if self.monitor.improves(value, self.baseline, run)? {
                self.wait = 0;
            }
        } else if self.wait >= self.patience && epoch > 0 {
            self.stopped_epoch = Some(epoch);
            run.stop = true;
        }
        Ok(())
    }

    fn on_train_end(&mut self, _run: &mut Run) -> Result<()> {
        if let Some(epoch) = self.stopped_epoch.filter(|_| self.verbose > 0) {
            print(&format!("Epoch {}: early stopping\n", epoch + 1));
        }
        if !self.kept.is_empty() && self.verbose > 0 {
            let best = self.best_epoch + 1;
            print(&format!("Restoring model weights from the end of the best epoch: {best}.\n"));
        }
        self.kept.drain(..).try_for_each(|(variable, value)| variable.assign(value))
    }
}
