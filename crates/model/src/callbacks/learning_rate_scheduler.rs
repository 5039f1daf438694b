//! A learning rate for every epoch.

use super::{Callback, Logs, Run};
use crate::progress::say;
use ibex_core::Result;
use std::fmt;

/// Sets the learning rate before every epoch, from the number of the epoch (from 0) and the rate so far. The history gets `learning_rate`.
///
/// Schedules by steps belong to the optimizer: see [`schedules`](crate::optimizers::schedules).
///
/// ```
/// use ibex::prelude::*;
/// use ibex::callbacks::LearningRateScheduler;
///
/// let halve = LearningRateScheduler::new(|epoch, rate| if epoch < 10 { rate } else { rate / 2.0 });
/// let fit = Fit::epochs(20).callback(halve);
/// ```
pub struct LearningRateScheduler<'a> {
    schedule: Box<dyn FnMut(usize, f32) -> f32 + 'a>,
    verbose: u8,
}

impl<'a> LearningRateScheduler<'a> {
    /// The rate of an epoch, given its number and the rate before.
    pub fn new(schedule: impl FnMut(usize, f32) -> f32 + 'a) -> Self {
        LearningRateScheduler { schedule: Box::new(schedule), verbose: 0 }
    }

    /// 1: says which rate it sets. 0, the default: silent.
    #[must_use]
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }
}

impl fmt::Debug for LearningRateScheduler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("LearningRateScheduler").field("verbose", &self.verbose).finish_non_exhaustive()
    }
}

impl Callback for LearningRateScheduler<'_> {
    fn on_epoch_begin(&mut self, epoch: usize, run: &mut Run) -> Result<()> {
        let rate = (self.schedule)(epoch, run.model.learning_rate()?);
        run.model.set_learning_rate(rate).map_err(|e| e.context("LearningRateScheduler"))?;
        if self.verbose > 0 {
            say(&format!("Epoch {}: LearningRateScheduler setting learning rate to {rate}.", epoch + 1));
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, _epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        logs.insert("learning_rate".into(), f64::from(run.model.learning_rate()?));
        Ok(())
    }
}
