//! Smaller steps where training no longer gets on.

use super::monitor::Monitor;
use super::{Callback, Logs, Run, repr};
use crate::progress::say;
use ibex_core::{Error, Result};

/// Multiplies the learning rate by a factor when a monitored value has not improved for a number of epochs. Semantics and defaults of Keras 3;
/// the history gets `learning_rate`, that of the epoch.
#[derive(Clone, Debug)]
#[doc(alias = "ReduceLearningRateOnPlateau")]
pub struct ReduceLROnPlateau {
    monitor: Monitor,
    factor: f64,
    patience: usize,
    cooldown: usize,
    min_lr: f64,
    verbose: u8,
    cooling: usize,
    wait: usize,
}

impl ReduceLROnPlateau {
    /// Watches a value by name, such as `val_loss`. A tenth of the rate after 10 epochs in which it did not get better by `1e-4`.
    pub fn new(monitor: impl Into<String>) -> Self {
        let monitor = Monitor { min_delta: 1e-4, ..Monitor::new("ReduceLROnPlateau", monitor) };
        ReduceLROnPlateau {
            monitor,
            factor: 0.1,
            patience: 10,
            cooldown: 0,
            min_lr: 0.0,
            verbose: 0,
            cooling: 0,
            wait: 0,
        }
    }

    /// What the rate is multiplied by, below 1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Epochs without improvement after which the rate is reduced.
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

    /// Epochs after a reduction that do not count.
    #[must_use]
    pub fn cooldown(mut self, epochs: usize) -> Self {
        self.cooldown = epochs;
        self
    }

    /// The rate is never made smaller than this.
    #[must_use]
    pub fn min_lr(mut self, rate: f64) -> Self {
        self.min_lr = rate;
        self
    }

    /// 1: says when it reduces the rate. 0, the default: silent.
    #[must_use]
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }
}

impl Callback for ReduceLROnPlateau {
    fn on_train_begin(&mut self, _run: &mut Run) -> Result<()> {
        if !(self.factor > 0.0 && self.factor < 1.0) {
            let text = format!("ReduceLROnPlateau: the factor is {}, it must lie between 0 and 1", self.factor);
            return Err(Error::value(text));
        }
        (self.monitor.best, self.cooling, self.wait) = (None, 0, 0);
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        let old = run.model.learning_rate()?;
        logs.insert("learning_rate".into(), f64::from(old));
        let Some(value) = self.monitor.value(logs, run)? else { return Ok(()) };
        if self.cooling > 0 {
            self.cooling -= 1;
            self.wait = 0;
        }
        if self.monitor.improves(value, self.monitor.best, run)? {
            (self.monitor.best, self.wait) = (Some(value), 0);
        } else if self.cooling == 0 {
            self.wait += 1;
            if self.wait >= self.patience && old > self.min_lr as f32 {
                let new = (f64::from(old) * self.factor).max(self.min_lr);
                run.model.set_learning_rate(new as f32).map_err(|e| e.context("ReduceLROnPlateau"))?;
                if self.verbose > 0 {
                    let text = format!("ReduceLROnPlateau reducing learning rate to {}.", repr(new));
                    say(&format!("Epoch {}: {text}", epoch + 1));
                }
                (self.cooling, self.wait) = (self.cooldown, 0);
            }
        }
        Ok(())
    }
}
