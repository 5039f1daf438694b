//! Evaluation and prediction over whole data sets.

use super::fit::Supply;
use super::source::Tensors;
use super::{Model, Source, step::Kind};
use crate::callbacks::Logs;
use crate::progress::Progress;
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::in_user_code;
use ibex_core::{DType, Data, Error, Result, Shape, Tensor};
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
        self.training()?;
        let Evaluate { batch_size, steps, verbose } = how.into();
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

    /// Predictions for inputs `(n, ..)`, in batches of 32 as in Keras, and `f32` under every policy (Keras gives the last layer's compute type). For
    /// models with several outputs use [`Model::predict_all`]. Not there in a browser, where it is `predict_async(..).await`.
    ///
    /// # Errors
    /// If the inputs do not fit the model; whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn predict(&mut self, inputs: impl Tensors) -> Result<Tensor> {
        let site = Location::caller();
        ibex_core::backend::block_on(self.predict_async(inputs, 32)).map_err(|e| in_user_code(e, site))
    }

    /// The predictions of all outputs. Not there in a browser.
    ///
    /// # Errors
    /// As [`Model::predict`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn predict_all(&mut self, inputs: impl Tensors) -> Result<Vec<Tensor>> {
        let site = Location::caller();
        ibex_core::backend::block_on(self.predict_all_async(inputs, 32)).map_err(|e| in_user_code(e, site))
    }

    /// The predictions of all outputs for inputs that are one batch. Not there in a browser.
    ///
    /// # Errors
    /// As [`Model::predict`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn predict_on_batch(&mut self, inputs: impl Tensors) -> Result<Vec<Tensor>> {
        let site = Location::caller();
        ibex_core::backend::block_on(self.predict_all_async(inputs, usize::MAX)).map_err(|e| in_user_code(e, site))
    }

    /// [`Model::predict`] with a batch size, waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Model::predict`]; `Model` if there are several outputs.
    pub async fn predict_async(&mut self, inputs: impl Tensors, batch_size: usize) -> Result<Tensor> {
        self.check()?;
        let names = self.output_names();
        if names.len() > 1 {
            let text = format!("predict: the model has the outputs {}; use `predict_all`", names.join(", "));
            return Err(Error::model(text));
        }
        Ok(self.predict_all_async(inputs, batch_size).await?.swap_remove(0))
    }

    /// [`Model::predict_all`] with a batch size, waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub async fn predict_all_async(&mut self, inputs: impl Tensors, batch_size: usize) -> Result<Vec<Tensor>> {
        self.check()?;
        let inputs = inputs.list();
        let device = self.open()?;
        let rows = self.input_rows(&inputs, "predict").await?;
        let n = inputs[0].dim(0);
        if let Some(other) = inputs.iter().find(|x| x.dim(0) != n) {
            return Err(Error::shape(format!(
                "predict: inputs have {n} and {} samples; give as many of each",
                other.dim(0)
            )));
        }
        let batch_size = self.inputs().iter().find_map(|i| i.batch_size()).unwrap_or(batch_size.max(1));
        let all: Vec<u32> =
            (0..u32::try_from(n).map_err(|_| Error::shape("predict: more than 2^32 samples"))?).collect();
        let mut done: Vec<Predictions> = self.outputs().iter().map(|o| Predictions::new(o.shape())).collect();
        // Results are read one batch behind, while the device works on the next.
        let mut pending: Vec<Tensor> = Vec::new();
        for batch in all.chunks(batch_size) {
            let plan = self.plan(Kind::Predict, &rows.specs(batch.len()))?;
            let next = rows.run(&plan, batch)?;
            for (output, into) in std::mem::replace(&mut pending, next).iter().zip(&mut done) {
                into.add(output, &device.read(output).await?);
            }
        }
        for (output, into) in pending.iter().zip(&mut done) {
            into.add(output, &device.read(output).await?);
        }
        done.into_iter().map(|p| p.tensor(n)).collect()
    }
}

/// The predictions of one output so far.
struct Predictions {
    row: Shape,
    dtype: DType,
    bytes: Vec<u8>,
}

impl Predictions {
    fn new(row: &Shape) -> Self {
        Predictions { row: row.clone(), dtype: DType::F32, bytes: Vec::new() }
    }

    fn add(&mut self, output: &Tensor, data: &Data) {
        (self.row, self.dtype) = (Shape::from(&output.shape()[1..]), output.dtype());
        self.bytes.extend_from_slice(data.as_bytes());
    }

    fn tensor(self, rows: usize) -> Result<Tensor> {
        Ok(Tensor::from_data(Data::from_bytes(self.dtype, &self.bytes)?, [&[rows], &self.row[..]].concat()))
    }
}
