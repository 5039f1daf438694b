//! Ends training when it no longer helps.

use super::{Callback, Logs, Run};
use ibex_core::{Error, Result, Tensor, Variable};

/// Ends training when a monitored value has not improved for a number of epochs. Semantics of Keras 3: best weights, if asked for, are restored
/// at the end of training whether or not it ended early.
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    monitor: String,
    patience: usize,
    min_delta: f64,
    maximize: Option<bool>,
    baseline: Option<f64>,
    restore_best_weights: bool,
    start_from_epoch: usize,
    best: Option<f64>,
    wait: usize,
    stopped_epoch: Option<usize>,
    kept: Vec<(Variable, Tensor)>,
}

impl EarlyStopping {
    /// Watches a value by name, such as `val_loss`. Patience is 0: the first epoch without improvement ends training.
    pub fn new(monitor: impl Into<String>) -> Self {
        EarlyStopping {
            monitor: monitor.into(),
            patience: 0,
            min_delta: 0.0,
            maximize: None,
            baseline: None,
            restore_best_weights: false,
            start_from_epoch: 0,
            best: None,
            wait: 0,
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
        self.min_delta = delta.abs();
        self
    }

    /// Larger values are better (or smaller). Found from the name if this is not called: losses and errors fall, accuracies rise.
    #[must_use]
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.maximize = Some(maximize);
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

    /// The epoch after which training ended early, from 0.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.stopped_epoch
    }

    fn rises(&self) -> Result<bool> {
        let name = self.monitor.trim_start_matches("val_");
        match self.maximize {
            Some(maximize) => Ok(maximize),
            None if name == "loss" || name.contains("error") => Ok(false),
            None if name.contains("accuracy") => Ok(true),
            None => Err(Error::value(format!(
                "EarlyStopping: is a larger {name:?} better? Say so with `maximize(true)` or `maximize(false)`"
            ))),
        }
    }
}

impl Callback for EarlyStopping {
    fn on_train_begin(&mut self, _run: &mut Run) -> Result<()> {
        (self.wait, self.best, self.stopped_epoch) = (0, None, None);
        self.kept.clear();
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        if epoch < self.start_from_epoch {
            return Ok(());
        }
        let rises = self.rises()?;
        let Some(&value) = logs.get(&self.monitor) else {
            let known = logs.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(Error::value(format!("EarlyStopping: no value named {:?}; there are: {known}", self.monitor)));
        };
        let better = |than: f64| if rises { value - self.min_delta > than } else { value + self.min_delta < than };
        self.wait += 1;
        let improved = self.best.is_none_or(better);
        let beats_baseline = self.baseline.is_none_or(better);
        if improved {
            self.best = Some(value);
            if self.restore_best_weights {
                let weights = run.model.weights().map(|w| &w.variable);
                self.kept = weights.map(|v| (v.clone(), v.value())).collect();
            }
            if beats_baseline {
                self.wait = 0;
            }
        } else if self.wait >= self.patience && epoch > 0 {
            self.stopped_epoch = Some(epoch);
            run.stop = true;
        }
        Ok(())
    }

    fn on_train_end(&mut self, _run: &mut Run) -> Result<()> {
        self.kept.drain(..).try_for_each(|(variable, value)| variable.assign(value))
    }
}
