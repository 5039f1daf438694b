//! Ends training when the loss is no number any more.

use super::{Callback, Logs, Run};
use crate::progress::say;
use ibex_core::Result;

/// Ends training when the loss is NaN or infinite.
///
/// To know the loss it must be read, and reading waits for the device: on a GPU every step that is looked at costs a round trip, and the next steps
/// are not queued meanwhile. Since the mean of an epoch stays NaN once it is, looking at every hundredth step with
/// [`every`](TerminateOnNaN::every) finds the same, only later. On the CPU reading is free.
#[derive(Clone, Debug)]
pub struct TerminateOnNaN {
    every: usize,
}

impl Default for TerminateOnNaN {
    fn default() -> Self {
        TerminateOnNaN::new()
    }
}

impl TerminateOnNaN {
    /// Looks after every step.
    pub fn new() -> Self {
        TerminateOnNaN { every: 1 }
    }

    /// Looks after every so many steps, and at the end of an epoch.
    #[must_use]
    pub fn every(mut self, steps: usize) -> Self {
        self.every = steps.max(1);
        self
    }
}

impl Callback for TerminateOnNaN {
    fn on_train_batch_end(&mut self, batch: usize, run: &mut Run) -> Result<()> {
        if (batch + 1).is_multiple_of(self.every) && run.logs()?.get("loss").is_some_and(|loss| !loss.is_finite()) {
            say(&format!("Batch {batch}: Invalid loss, terminating training"));
            run.stop = true;
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        if !run.stop && logs.get("loss").is_some_and(|loss| !loss.is_finite()) {
            say(&format!("Epoch {}: Invalid loss, terminating training", epoch + 1));
            run.stop = true;
        }
        Ok(())
    }
}
