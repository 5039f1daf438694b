//! Training, evaluation and prediction over whole data sets.

use super::{Sequential, Source, step::Kind};
use crate::callbacks::{Callback, Logs, Run};
use crate::history::History;
use crate::progress::Progress;
use ibex_core::{Arg, DType, Data, Device, Error, Result, Shape, Tensor};
use ibex_data::{View, gather_rows};
use std::sync::Arc;

/// How to train: `Fit::epochs(5).batch_size(128).validation(&test)`.
#[derive(Debug)]
pub struct Fit<'a> {
    epochs: usize,
    batch_size: usize,
    validation: Option<Result<View>>,
    validation_split: f64,
    shuffle: bool,
    verbose: u8,
    callbacks: Vec<Box<dyn Callback + 'a>>,
}

impl<'a> Fit<'a> {
    /// Trains for so many passes over the data. Defaults as in Keras: batches of 32, shuffled in every epoch, a progress bar.
    pub fn epochs(epochs: usize) -> Self {
        Fit {
            epochs,
            batch_size: 32,
            validation: None,
            validation_split: 0.0,
            shuffle: true,
            verbose: 1,
            callbacks: Vec::new(),
        }
    }

    /// Samples in one step; the last batch of an epoch may be smaller.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Data to evaluate after every epoch.
    #[must_use]
    pub fn validation(mut self, data: impl Source) -> Self {
        self.validation = Some(data.view());
        self
    }

    /// Keeps this last share of the data, before shuffling, for evaluation after every epoch. Ignored if
    /// [`Fit::validation`] gives data.
    #[must_use]
    pub fn validation_split(mut self, share: f64) -> Self {
        self.validation_split = share;
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

/// Rows of host memory, ready to be gathered into batches.
pub(super) struct Rows {
    pub x: Column,
    pub y: Column,
}

pub(super) struct Column {
    data: Arc<Data>,
    /// Shape of one row.
    row: Shape,
}

impl Column {
    pub fn spec(&self, batch: usize) -> (Shape, DType) {
        (Shape::from([&[batch], &self.row[..]].concat()), self.data.dtype())
    }

    pub fn gather(&self, indices: &[u32], out: &mut [u8], error: &mut Option<Error>) {
        if let Err(e) = gather_rows(&self.data, self.row.elements(), indices, out) {
            error.get_or_insert(e);
        }
    }
}

/// The tensor's numbers in host memory.
async fn column(device: &Device, tensor: &Tensor) -> Result<Column> {
    let row = Shape::from(tensor.check()?.shape().get(1..).unwrap_or_default());
    let data = match tensor.data() {
        Some(data) => data.clone(),
        None => Arc::new(device.read(tensor).await?),
    };
    Ok(Column { data, row })
}

impl Sequential {
    /// Trains the model. Not there in a browser, where it is `fit_async(..).await`.
    ///
    /// # Errors
    /// If data and model do not fit, a label is out of range, or a number is NaN or infinite: before the first step, naming what is wrong.
    /// Whatever the device or a callback reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn fit(&mut self, data: impl Source, fit: Fit) -> Result<History> {
        ibex_core::backend::block_on(self.fit_async(data, fit))
    }

    /// [`Sequential::fit`], waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Sequential::fit`].
    pub async fn fit_async(&mut self, data: impl Source, fit: Fit<'_>) -> Result<History> {
        self.training()?;
        let Fit { epochs, batch_size, validation, validation_split, shuffle, verbose, mut callbacks } = fit;
        if batch_size == 0 {
            return Err(Error::value("fit: batch_size must be at least 1"));
        }
        let mut view = data.view().map_err(|e| e.context("fit"))?;
        let mut held_out = validation.transpose().map_err(|e| e.context("fit: validation data"))?;
        if held_out.is_none() && validation_split != 0.0 {
            let (train, rest) = split(&view, validation_split)?;
            (view, held_out) = (train, Some(rest));
        }
        let rows = self.rows(&view, "fit").await?;
        let held_out = match held_out {
            Some(view) => Some((self.rows(&view, "fit: validation data").await?, view)),
            None => None,
        };

        let steps = view.len().div_ceil(batch_size);
        let mut history = History::new(epochs, steps);
        let mut run = Run { model: self, stop: false };
        for callback in &mut callbacks {
            callback.on_train_begin(&mut run)?;
        }
        for epoch in 0..epochs {
            for callback in &mut callbacks {
                callback.on_epoch_begin(epoch, &mut run)?;
            }
            let mut progress = Progress::new(verbose, steps);
            progress.epoch(epoch, epochs);
            let seed = run.model.seed_value();
            let order = if shuffle { view.shuffled(seed, run.model.epochs()) } else { view.indices() };
            run.model.reset_totals()?;
            for (i, batch) in order.chunks(batch_size).enumerate() {
                run.model.step(Kind::Train, &rows, batch)?;
                if progress.due(i + 1) {
                    let logs = run.model.running_totals().await?;
                    progress.show(i + 1, &logs);
                }
                for callback in &mut callbacks {
                    callback.on_train_batch_end(i, &mut run)?;
                }
            }
            run.model.set_epochs(run.model.epochs().wrapping_add(1));
            let mut logs = run.model.totals().await?;
            if let Some((rows, view)) = &held_out {
                let values =
                    run.model.evaluate_rows(rows, &view.indices(), batch_size, &mut Progress::new(0, 0)).await?;
                logs.extend(values.into_iter().map(|(name, value)| (format!("val_{name}"), value)));
            }
            for callback in &mut callbacks {
                callback.on_epoch_end(epoch, &mut logs, &mut run)?;
            }
            history.push(epoch, &logs);
            progress.finish(&logs);
            if run.stop {
                break;
            }
        }
        if !history.epoch.is_empty() {
            run.model.training()?.state.finish(run.model.trainable())?;
        }
        for callback in &mut callbacks {
            callback.on_train_end(&mut run)?;
        }
        Ok(history)
    }

    /// The loss and the metrics on data, by name. Not there in a browser, where it is `evaluate_async(..).await`.
    ///
    /// # Errors
    /// As [`Sequential::fit`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn evaluate(&mut self, data: impl Source, batch_size: usize) -> Result<Logs> {
        ibex_core::backend::block_on(self.evaluate_async(data, batch_size))
    }

    /// [`Sequential::evaluate`], waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Sequential::fit`].
    pub async fn evaluate_async(&mut self, data: impl Source, batch_size: usize) -> Result<Logs> {
        self.training()?;
        if batch_size == 0 {
            return Err(Error::value("evaluate: batch_size must be at least 1"));
        }
        let view = data.view().map_err(|e| e.context("evaluate"))?;
        let rows = self.rows(&view, "evaluate").await?;
        self.evaluate_rows(&rows, &view.indices(), batch_size, &mut Progress::new(0, 0)).await
    }

    async fn evaluate_rows(
        &mut self,
        rows: &Rows,
        order: &[u32],
        batch: usize,
        progress: &mut Progress,
    ) -> Result<Logs> {
        self.reset_totals()?;
        for (i, batch) in order.chunks(batch).enumerate() {
            self.step(Kind::Evaluate, rows, batch)?;
            if progress.due(i + 1) {
                progress.show(i + 1, &Logs::new());
            }
        }
        self.totals().await
    }

    /// Predictions for inputs `(n, ..)`, in batches of 32 as in Keras, and `f32` under every policy (Keras gives the last layer's compute type).
    /// Not there in a browser, where it is `predict_async(..).await`.
    ///
    /// # Errors
    /// If the inputs do not fit the model; whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn predict(&mut self, x: &Tensor) -> Result<Tensor> {
        ibex_core::backend::block_on(self.predict_async(x, 32))
    }

    /// [`Sequential::predict`] with a batch size, waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Sequential::predict`].
    pub async fn predict_async(&mut self, x: &Tensor, batch_size: usize) -> Result<Tensor> {
        self.check()?;
        let device = self.open()?;
        self.check_input(x, "predict")?;
        let column = column(&device, x).await?;
        self.check_data(&column, "predict")?;
        let n = x.dim(0);
        let all: Vec<u32> =
            (0..u32::try_from(n).map_err(|_| Error::shape("predict: more than 2^32 samples"))?).collect();
        let mut bytes = Vec::new();
        let mut row = self.output_shape().clone();
        let mut dtype = DType::F32;
        // Results are read one batch behind, while the device works on the next.
        let mut pending: Option<Tensor> = None;
        for batch in all.chunks(batch_size.max(1)) {
            let plan = self.plan(Kind::Predict, &[column.spec(batch.len())])?;
            let mut error = None;
            let mut fill = |out: &mut [u8]| column.gather(batch, out, &mut error);
            let mut outputs = plan.run(&mut [Arg::Fill(&mut fill)])?;
            error.map_or(Ok(()), Err)?;
            let next = outputs.pop();
            if let Some(done) = std::mem::replace(&mut pending, next) {
                bytes.extend_from_slice(device.read(&done).await?.as_bytes());
            }
        }
        if let Some(last) = pending {
            (row, dtype) = (Shape::from(&last.shape()[1..]), last.dtype());
            bytes.extend_from_slice(device.read(&last).await?.as_bytes());
        }
        Ok(Tensor::from_data(Data::from_bytes(dtype, &bytes)?, [&[n], &row[..]].concat()))
    }

    pub(super) fn check_input(&self, x: &Tensor, what: &str) -> Result<()> {
        let x = x.check().map_err(|e| e.context(what))?;
        if x.rank() == 0 || x.shape()[1..] != self.input_shape()[..] {
            let want = super::batched(self.input_shape());
            return Err(Error::shape(format!("{what}: inputs have shape {}, the model takes {want}", x.shape())));
        }
        if x.dtype() != self.input_dtype() {
            let want = self.input_dtype();
            return Err(Error::dtype(format!("{what}: inputs are {}, the model takes {want}; cast them", x.dtype())));
        }
        Ok(())
    }

    /// Lets the first layer look at the inputs.
    fn check_data(&self, x: &Column, what: &str) -> Result<()> {
        let first = self.nodes().first().map_or(Ok(()), |node| {
            node.layer
                .check_data(&x.data)
                .map_err(|e| e.context(format!("layer {} ({})", node.name, node.layer.class_name())))
        });
        first.map_err(|e| e.context(format!("{what}: x")))
    }

    /// Checks data against the model and brings it to host memory.
    pub(super) async fn rows(&mut self, view: &View, what: &str) -> Result<Rows> {
        let device = self.open()?;
        let data = view.dataset();
        self.check_input(&data.x, what)?;
        if view.is_empty() {
            return Err(Error::value(format!("{what}: there are no samples")));
        }
        let rows = Rows { x: column(&device, &data.x).await?, y: column(&device, &data.y).await? };
        let order = view.indices();
        let used = order.first().map_or(0..0, |&first| first as usize..first as usize + order.len());
        finite(&rows.x, used.clone()).map_err(|e| e.context(format!("{what}: x")))?;
        finite(&rows.y, used).map_err(|e| e.context(format!("{what}: y")))?;
        self.check_data(&rows.x, what)?;
        let loss = &self.training()?.loss;
        loss.check_targets(&rows.y.data, self.output_shape()).map_err(|e| e.context(format!("{what}: y")))?;
        Ok(rows)
    }

    fn step(&mut self, kind: Kind, rows: &Rows, batch: &[u32]) -> Result<()> {
        let plan = self.plan(kind, &[rows.x.spec(batch.len()), rows.y.spec(batch.len())])?;
        let (mut x_error, mut y_error) = (None, None);
        let mut x = |out: &mut [u8]| rows.x.gather(batch, out, &mut x_error);
        let mut y = |out: &mut [u8]| rows.y.gather(batch, out, &mut y_error);
        plan.run(&mut [Arg::Fill(&mut x), Arg::Fill(&mut y)])?;
        x_error.or(y_error).map_or(Ok(()), Err)
    }

    fn reset_totals(&self) -> Result<()> {
        self.training()?.totals.iter().try_for_each(|v| v.set(&Data::F32(vec![0.0; 2])))
    }

    /// The loss and the metrics so far, if looking costs nothing.
    async fn running_totals(&self) -> Result<Logs> {
        if self.open()?.backend().reads_are_free() { self.totals().await } else { Ok(Logs::new()) }
    }

    /// The loss and the metrics of the epoch.
    async fn totals(&self) -> Result<Logs> {
        let device = self.open()?;
        let mut logs = Logs::new();
        for total in &self.training()?.totals {
            let value = total.value();
            let data = device.read(&value).await?.to_f64();
            logs.insert(total.name().to_string(), data[0] / data[1]);
        }
        Ok(logs)
    }
}

/// The first part, and the last `share`, rounded as Keras rounds.
fn split(view: &View, share: f64) -> Result<(View, View)> {
    let n = view.len();
    let middle = (n as f64 * (1.0 - share)).floor();
    if !(share > 0.0 && share < 1.0) || middle < 1.0 || middle as usize >= n {
        return Err(Error::value(format!("fit: validation_split {share} of {n} samples leaves one part empty")));
    }
    view.split_at(middle as usize)
}

/// Looks for NaN and infinities in some samples.
fn finite(column: &Column, samples: std::ops::Range<usize>) -> Result<()> {
    let width = column.row.elements();
    let range = samples.start * width..samples.end * width;
    let bad = match &*column.data {
        Data::F32(v) => {
            v[range.clone()].iter().position(|v| !v.is_finite()).map(|i| (i, v[range.start + i].to_string()))
        }
        Data::F16(_) | Data::BF16(_) => {
            let v = &column.data.to_f64()[range.clone()];
            v.iter().position(|v| !v.is_finite()).map(|i| (i, v[i].to_string()))
        }
        _ => None,
    };
    match bad {
        None => Ok(()),
        Some((at, value)) => {
            let sample = samples.start + at / width.max(1);
            Err(Error::value(format!(
                "sample {sample} holds {value}; training needs finite numbers, so clean the data first"
            )))
        }
    }
}
