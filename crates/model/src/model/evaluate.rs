//! Evaluation over whole data sets.

use super::fit::Supply;
use super::{Model, Source, step::Kind};
use crate::callbacks::Logs;
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::in_user_code;
use crate::progress::Progress;
use ibex_core::{Error, Result};
use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::panic::Location;

/// How to evaluate: `Evaluate::batch_size(256).verbose(1)`. A number is a batch size.
#[derive(Clone, Copy, Debug)]
pub struct Evaluate {
    batch_size: usize,
    steps: Option<usize>,
    verbose: u8,
}

impl Evaluate {
    /// Samples in one step.
    pub fn batch_size(batch_size: usize) -> Self {
        Evaluate { batch_size, steps: None, verbose: 0 }
    }

    /// Evaluates so many batches only.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = Some(steps);
        self
    }

    /// 0, the default: silent. 1: a progress bar. 2: a line at the end.
    #[must_use]
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }
}

impl From<usize> for Evaluate {
    fn from(batch_size: usize) -> Self {
        Evaluate::batch_size(batch_size)
    }
}

impl Model {
    /// The loss and the metrics on data, by name. How is a batch size, or [`Evaluate`]. Not there in a browser, where it is `evaluate_async(..).await`.
    ///
    /// # Errors
    /// As [`Model::fit`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn evaluate(&mut self, data: impl Source, how: impl Into<Evaluate>) -> Result<Logs> {
        let site = Location::caller();
        ibex_core::backend::block_on(self.evaluate_async(data, how)).map_err(|e| in_user_code(e, site))
    }

    /// [`Model::evaluate`], waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Model::fit`].
    pub async fn evaluate_async(&mut self, data: impl Source, how: impl Into<Evaluate>) -> Result<Logs> {
        self.ready()?;
        let Evaluate { batch_size, steps, verbose } = how.into();
        let batch_size = self.batch_size(batch_size);
        if batch_size == 0 {
            return Err(Error::value("evaluate: batch_size must be at least 1"));
        }
        let feed = data.feed().map_err(|e| e.context("evaluate"))?;
        let mut supply = self.supply(feed, "evaluate").await?;
        self.evaluate_supply(&mut supply, batch_size, steps, verbose).await
    }

    pub(super) async fn evaluate_supply(
        &mut self,
        supply: &mut Supply,
        batch_size: usize,
        limit: Option<usize>,
        verbose: u8,
    ) -> Result<Logs> {
        self.reset_metrics()?;
        let mut progress = Progress::new(verbose, supply.count(batch_size, limit));
        let classes = BTreeMap::new();
        let mut steps = supply.steps(batch_size, limit, None, &classes);
        let mut step = 0;
        while steps.next(self, Kind::Evaluate, "evaluate").await? {
            step += 1;
            if progress.due(step) {
                let logs = self.running_totals().await?;
                progress.show(step, &logs);
            }
        }
        if step == 0 {
            return Err(Error::value("evaluate: the data has no batches"));
        }
        let logs = self.totals().await?;
        progress.finish(step, &logs);
        Ok(logs)
    }
}
