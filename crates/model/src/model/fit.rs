//! Training over whole data sets.

use super::compile::Watched;
use super::rows::Rows;
use super::source::{self, Feed};
use super::{Batches, Examples, Model, Source, step::Kind};
use crate::callbacks::{Callback, Logs, Run};
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::in_user_code;
use crate::history::History;
use crate::metrics;
use crate::progress::Progress;
use ibex_core::{Error, Result, Tensor};
use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::panic::Location;

/// How to train: `Fit::epochs(5).batch_size(128).validation(&test)`.
#[derive(Debug)]
pub struct Fit<'a> {
    epochs: usize,
    initial_epoch: usize,
    batch_size: usize,
    steps_per_epoch: Option<usize>,
    validation: Option<Result<Feed>>,
    validation_split: f64,
    validation_batch_size: Option<usize>,
    validation_freq: usize,
    validation_steps: Option<usize>,
    class_weight: BTreeMap<i64, f32>,
    shuffle: bool,
    verbose: u8,
    callbacks: Vec<Box<dyn Callback + 'a>>,
}

impl<'a> Fit<'a> {
    /// Trains for so many passes over the data. Defaults as in Keras: batches of 32, shuffled in every epoch, a progress bar.
    pub fn epochs(epochs: usize) -> Self {
        Fit {
            epochs,
            initial_epoch: 0,
            batch_size: 32,
            steps_per_epoch: None,
            validation: None,
            validation_split: 0.0,
            validation_batch_size: None,
            validation_freq: 1,
            validation_steps: None,
            class_weight: BTreeMap::new(),
            shuffle: true,
            verbose: 1,
            callbacks: Vec::new(),
        }
    }

    /// Samples in one step; the last batch of an epoch may be smaller. [`Batches`] have sizes of their own.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// The number of the first epoch, from 0, to go on with a training: as many are trained as are missing to [`Fit::epochs`].
    #[must_use]
    pub fn initial_epoch(mut self, epoch: usize) -> Self {
        self.initial_epoch = epoch;
        self
    }

    /// Ends an epoch after so many steps. [`Batches`] go on from there in the next; arrays begin anew, in another order if they are shuffled.
    #[must_use]
    pub fn steps_per_epoch(mut self, steps: usize) -> Self {
        self.steps_per_epoch = Some(steps);
        self
    }

    /// Data to evaluate after every epoch.
    #[must_use]
    pub fn validation(mut self, data: impl Source) -> Self {
        self.validation = Some(data.feed());
        self
    }

    /// Keeps this last share of the data, before shuffling, for evaluation after every epoch. Ignored if
    /// [`Fit::validation`] gives data.
    #[must_use]
    pub fn validation_split(mut self, share: f64) -> Self {
        self.validation_split = share;
        self
    }

    /// Samples in one step of evaluation; [`Fit::batch_size`] by default.
    #[must_use]
    pub fn validation_batch_size(mut self, batch_size: usize) -> Self {
        self.validation_batch_size = Some(batch_size);
        self
    }

    /// Evaluates after every so many epochs only.
    #[must_use]
    pub fn validation_freq(mut self, epochs: usize) -> Self {
        self.validation_freq = epochs.max(1);
        self
    }

    /// Evaluates so many batches only.
    #[must_use]
    pub fn validation_steps(mut self, steps: usize) -> Self {
        self.validation_steps = Some(steps);
        self
    }

    /// How much the loss of samples of a class counts: `[(0, 1.0), (1, 5.0)]`; of other classes 1. For models with one output, whose targets are class
    /// numbers or one-hot. Weights of samples stand in the data: `(x, y, sample_weight)`.
    #[must_use]
    pub fn class_weight(mut self, weights: impl IntoIterator<Item = (i64, f32)>) -> Self {
        self.class_weight = weights.into_iter().collect();
        self
    }

    /// New order of the samples in every epoch; on by default.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// 0: silent. 1: a progress bar. 2: a line for every epoch.
    #[must_use]
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }

    /// Something to be called along the way; a `&mut` of one can be looked at afterwards.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }
}

/// Data on the host: rows to be gathered, or batches as they come.
pub(super) enum Supply {
    Rows(Rows, Examples),
    Batches(Batches),
}

/// The steps of one epoch over a supply.
pub(super) struct Steps<'s> {
    supply: &'s mut Supply,
    order: Vec<u32>,
    batch_size: usize,
    limit: Option<usize>,
    done: usize,
    class_weight: &'s BTreeMap<i64, f32>,
}

impl Supply {
    /// The steps of an epoch, shuffled by a seed and the number of the epoch.
    pub fn steps<'s>(
        &'s mut self,
        batch_size: usize,
        limit: Option<usize>,
        shuffle: Option<(u64, u32)>,
        class_weight: &'s BTreeMap<i64, f32>,
    ) -> Steps<'s> {
        let order = match (&*self, shuffle) {
            (Supply::Rows(_, examples), Some((seed, epoch))) => examples.shuffled(seed, epoch),
            (Supply::Rows(_, examples), None) => examples.indices(),
            (Supply::Batches(_), _) => Vec::new(),
        };
        if let (Supply::Batches(batches), None) = (&mut *self, limit) {
            batches.restart();
        }
        Steps { supply: self, order, batch_size, limit, done: 0, class_weight }
    }

    /// The number of steps of an epoch, if it is known before.
    pub fn count(&self, batch_size: usize, limit: Option<usize>) -> Option<usize> {
        match self {
            Supply::Rows(_, examples) => Some(examples.len().div_ceil(batch_size).min(limit.unwrap_or(usize::MAX))),
            Supply::Batches(_) => limit,
        }
    }
}

impl Steps<'_> {
    /// Starts the next step on the device; false when the epoch is over.
    pub async fn next(&mut self, model: &mut Model, kind: Kind, what: &str) -> Result<bool> {
        if self.limit.is_some_and(|limit| self.done >= limit) {
            return Ok(false);
        }
        match &mut *self.supply {
            Supply::Rows(rows, _) => {
                let Some(batch) = self.order.chunks(self.batch_size).nth(self.done) else { return Ok(false) };
                model.step(kind, rows, batch)?;
            }
            Supply::Batches(batches) => {
                let Some(batch) = batches.next(self.limit.is_some()) else { return Ok(false) };
                let batch = weigh(model, batch.map_err(|e| e.context(what))?, self.class_weight).await?;
                let rows = model.rows(&batch, what).await?;
                model.step(kind, &rows, &batch.indices())?;
            }
        }
        self.done += 1;
        Ok(true)
    }
}

impl Model {
    /// Trains the model. Not there in a browser, where it is `fit_async(..).await`.
    ///
    /// # Errors
    /// If data and model do not fit, a label is out of range, or a number is NaN or infinite: before the first step, naming what is wrong.
    /// Whatever the device or a callback reports.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn fit(&mut self, data: impl Source, fit: Fit) -> Result<History> {
        let site = Location::caller();
        ibex_core::backend::block_on(self.fit_async(data, fit)).map_err(|e| in_user_code(e, site))
    }

    /// [`Model::fit`], waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Model::fit`].
    pub async fn fit_async(&mut self, data: impl Source, fit: Fit<'_>) -> Result<History> {
        self.ready()?;
        let Fit { epochs, initial_epoch, batch_size, steps_per_epoch, shuffle, verbose, .. } = fit;
        let Fit { validation_freq, validation_steps, class_weight, mut callbacks, .. } = fit;
        let batch_size = self.batch_size(batch_size);
        let validation_batch_size = self.batch_size(fit.validation_batch_size.unwrap_or(batch_size));
        if batch_size == 0 || validation_batch_size == 0 {
            return Err(Error::value("fit: batch_size must be at least 1"));
        }
        let mut feed = data.feed().map_err(|e| e.context("fit"))?;
        let mut held_out = fit.validation.transpose().map_err(|e| e.context("fit: validation data"))?;
        if held_out.is_none() && fit.validation_split != 0.0 {
            let (train, rest) = split(feed, fit.validation_split)?;
            (feed, held_out) = (train, Some(rest));
        }
        if let source::Kind::Examples(examples) = feed.0 {
            feed = weigh(self, examples, &class_weight).await?.into();
        }
        let mut supply = self.supply(feed, "fit").await?;
        let mut held_out = match held_out {
            Some(feed) => Some(self.supply(feed, "fit: validation data").await?),
            None => None,
        };

        let mut steps = supply.count(batch_size, steps_per_epoch);
        let mut history = History::new(epochs, steps.unwrap_or(0));
        let validates = held_out.is_some();
        let mut run = Run { model: self, stop: false, epochs, initial_epoch, steps, validates };
        for callback in &mut callbacks {
            callback.on_train_begin(&mut run)?;
        }
        for epoch in run.initial_epoch..epochs {
            for callback in &mut callbacks {
                callback.on_epoch_begin(epoch, &mut run)?;
            }
            let mut progress = Progress::new(verbose, steps);
            progress.epoch(epoch, epochs);
            let order = shuffle.then(|| (run.model.seed_value(), run.model.epochs()));
            run.model.reset_metrics()?;
            let mut epoch_steps = supply.steps(batch_size, steps_per_epoch, order, &class_weight);
            let mut step = 0;
            while !run.stop && epoch_steps.next(run.model, Kind::Train, "fit").await? {
                step += 1;
                if progress.due(step) {
                    let logs = run.model.running_totals().await?;
                    progress.show(step, &logs);
                }
                for callback in &mut callbacks {
                    callback.on_train_batch_end(step - 1, &mut run)?;
                }
            }
            if step == 0 && !run.stop {
                return Err(Error::value("fit: the data has no batches for this epoch"));
            }
            (steps, history.steps) = (Some(step), step);
            run.model.set_epochs(run.model.epochs().wrapping_add(1));
            let mut logs = run.model.totals().await?;
            if let Some(held_out) = held_out.as_mut().filter(|_| (epoch + 1).is_multiple_of(validation_freq)) {
                let values = run.model.evaluate_supply(held_out, validation_batch_size, validation_steps, 0).await?;
                logs.extend(values.into_iter().map(|(name, value)| (format!("val_{name}"), value)));
            }
            for callback in &mut callbacks {
                callback.on_epoch_end(epoch, &mut logs, &mut run)?;
            }
            history.push(epoch, &logs);
            progress.finish(step, &logs);
            if run.stop {
                break;
            }
        }
        if !history.epoch.is_empty() {
            let t = run.model.training()?;
            t.state.finish(&t.trained)?;
        }
        for callback in &mut callbacks {
            callback.on_train_end(&mut run)?;
        }
        Ok(history)
    }

    pub(super) async fn supply(&self, feed: Feed, what: &str) -> Result<Supply> {
        Ok(match feed.0 {
            source::Kind::Examples(examples) => Supply::Rows(self.rows(&examples, what).await?, examples),
            source::Kind::Batches(batches) => Supply::Batches(batches),
        })
    }

    fn step(&mut self, kind: Kind, rows: &Rows, batch: &[u32]) -> Result<()> {
        let plan = self.plan(kind, &rows.specs(batch.len()))?;
        rows.run(&plan, batch).map(drop)
    }

    /// One training step on a batch: the loss and the metrics of this batch, before its update. Not there in a browser.
    ///
    /// # Errors
    /// As [`Model::fit`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn train_on_batch(&mut self, batch: impl Source) -> Result<Logs> {
        self.on_batch(batch, Kind::Train, "train_on_batch")
    }

    /// One evaluation step on a batch; else as [`Model::train_on_batch`].
    ///
    /// # Errors
    /// As [`Model::evaluate`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn test_on_batch(&mut self, batch: impl Source) -> Result<Logs> {
        self.on_batch(batch, Kind::Evaluate, "test_on_batch")
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    fn on_batch(&mut self, batch: impl Source, kind: Kind, what: &str) -> Result<Logs> {
        let site = Location::caller();
        ibex_core::backend::block_on(self.on_batch_async(batch, kind, what)).map_err(|e| in_user_code(e, site))
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn on_batch_async(&mut self, batch: impl Source, kind: Kind, what: &str) -> Result<Logs> {
        self.ready()?;
        let examples = batch.feed().and_then(Feed::first).map_err(|e| e.context(what))?;
        let rows = self.rows(&examples, what).await?;
        self.reset_metrics()?;
        self.step(kind, &rows, &examples.indices())?;
        self.totals().await
    }

    /// Starts the averages of the loss and the metrics anew, as every epoch does.
    ///
    /// # Errors
    /// `Model` before `compile`.
    pub(super) fn reset_metrics(&self) -> Result<()> {
        self.training()?.totals.reset()
    }

    /// The loss and the metrics so far, if looking costs nothing.
    pub(super) async fn running_totals(&self) -> Result<Logs> {
        if self.open()?.backend().reads_are_free() { self.totals().await } else { Ok(Logs::new()) }
    }

    /// The loss and the metrics of the epoch.
    pub(crate) async fn totals(&self) -> Result<Logs> {
        let t = self.training()?;
        let sums = t.totals.read(&self.open()?).await?;
        let (losses, mut sums) = sums.split_at(1 + t.loss_names.len());
        let mean = |sum: &Vec<f64>| sum[0] / losses[0][0];
        let mut logs: Logs = t.loss_names.iter().cloned().zip(losses[1..].iter().map(mean)).collect();
        for Watched { metric, name, states, .. } in &t.watched {
            let (own, rest) = sums.split_at(*states);
            logs.extend(metrics::logged(name, &**metric, own));
            sums = rest;
        }
        Ok(logs)
    }
}

/// The first part, and the last `share`, rounded as Keras rounds.
fn split(feed: Feed, share: f64) -> Result<(Feed, Feed)> {
    let source::Kind::Examples(examples) = feed.0 else {
        return Err(Error::value(
            "fit: validation_split needs data in arrays; give batches to validate on by `validation`",
        ));
    };
    let n = examples.len();
    let middle = (n as f64 * (1.0 - share)).floor();
    if !(share > 0.0 && share < 1.0) || middle < 1.0 || middle as usize >= n {
        return Err(Error::value(format!("fit: validation_split {share} of {n} samples leaves one part empty")));
    }
    let (train, rest) = examples.split_at(middle as usize);
    Ok((train.into(), rest.into()))
}

/// Gives every example the weight of its class.
async fn weigh(model: &Model, mut examples: Examples, class_weight: &BTreeMap<i64, f32>) -> Result<Examples> {
    if class_weight.is_empty() {
        return Ok(examples);
    }
    let [y] = &examples.targets[..] else {
        return Err(Error::value("fit: class_weight is for models with one output; give sample weights instead"));
    };
    if !examples.weights.is_empty() {
        return Err(Error::value("fit: class_weight and sample weights are both given; multiply them yourself"));
    }
    let (shape, rows) = (y.shape().clone(), y.dim(0));
    let data = model.open()?.read(y).await?;
    let values = data.to_f64();
    let width = values.len().checked_div(rows).unwrap_or(0);
    if width > 1 && shape.rank() > 2 {
        return Err(Error::shape(format!("fit: class_weight needs one class for a sample, y has shape {shape}")));
    }
    examples.targets = vec![Tensor::from_data(data, shape)];
    let class = |row: &[f64]| match row {
        [one] => one.round() as i64,
        _ => (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).map_or(0, |i| i as i64),
    };
    let weights: Vec<f32> =
        values.chunks(width.max(1)).map(|row| *class_weight.get(&class(row)).unwrap_or(&1.0)).collect();
    examples.weights = vec![Tensor::from_vec(weights, [rows])];
    Ok(examples)
}
