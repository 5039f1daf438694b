//! Prediction over whole data sets.

use super::source::Tensors;
use super::{Batches, Examples, Model, step::Kind};
use crate::callbacks::Logs;
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::in_user_code;
use crate::progress::Progress;
use ibex_core::{DType, Data, Device, Error, Result, Shape, Tensor};
#[cfg(not(target_arch = "wasm32"))]
use std::panic::Location;

/// What to predict from, and how: `Predict::new(&x).batch_size(256).verbose(1)`. Where that is all, inputs alone will do: `model.predict(&x)`.
#[derive(Debug)]
pub struct Predict {
    inputs: Feed,
    batch_size: usize,
    steps: Option<usize>,
    verbose: u8,
}

#[derive(Debug)]
enum Feed {
    Tensors(Vec<Tensor>),
    Batches(Batches),
}

/// What a model predicts from: one tensor, several in an array, a slice or a vector, or [`Batches`] from an iterator, of which the targets are not
/// looked at: they may be an empty `Vec`.
pub trait Inputs {
    /// In batches of 32, as in Keras.
    fn predict(self) -> Predict;
}

impl<T: Tensors> Inputs for T {
    fn predict(self) -> Predict {
        Predict { inputs: Feed::Tensors(self.list()), batch_size: 32, steps: None, verbose: 0 }
    }
}

impl Inputs for Batches {
    fn predict(self) -> Predict {
        Predict { inputs: Feed::Batches(self), batch_size: 32, steps: None, verbose: 0 }
    }
}

impl<T: Inputs> From<T> for Predict {
    fn from(inputs: T) -> Predict {
        inputs.predict()
    }
}

impl Predict {
    /// Predicts from these inputs, in batches of 32.
    pub fn new(inputs: impl Inputs) -> Predict {
        inputs.predict()
    }

    /// Samples in one step; batches from an iterator have their own size.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Predicts so many batches only.
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

impl Model {
    /// Predictions for inputs `(n, ..)`, in batches of 32 unless [`Predict`] says otherwise, and `f32` under every policy (Keras gives the last layer's
    /// compute type). For models with several outputs use [`Model::predict_all`]. Not there in a browser, where it is `predict_async(..).await`.
    ///
    /// # Errors
    /// If the inputs do not fit the model; `Model` if there are several outputs; whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn predict(&self, inputs: impl Into<Predict>) -> Result<Tensor> {
        let site = Location::caller();
        ibex_core::backend::block_on(self.predict_async(inputs)).map_err(|e| in_user_code(e, site))
    }

    /// The predictions of all outputs. Not there in a browser.
    ///
    /// # Errors
    /// As [`Model::predict`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn predict_all(&self, inputs: impl Into<Predict>) -> Result<Vec<Tensor>> {
        let site = Location::caller();
        ibex_core::backend::block_on(self.predict_all_async(inputs)).map_err(|e| in_user_code(e, site))
    }

    /// The predictions of all outputs for inputs that are one batch. Not there in a browser.
    ///
    /// # Errors
    /// As [`Model::predict`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn predict_on_batch(&self, inputs: impl Tensors) -> Result<Vec<Tensor>> {
        self.predict_all(Predict::new(inputs).batch_size(usize::MAX))
    }

    /// [`Model::predict`], waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub async fn predict_async(&self, inputs: impl Into<Predict>) -> Result<Tensor> {
        self.check()?;
        let names = self.output_names();
        if names.len() > 1 {
            let text = format!("predict: the model has the outputs {}; use `predict_all`", names.join(", "));
            return Err(Error::model(text));
        }
        Ok(self.predict_all_async(inputs).await?.swap_remove(0))
    }

    /// [`Model::predict_all`], waiting for the device without blocking the thread.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub async fn predict_all_async(&self, inputs: impl Into<Predict>) -> Result<Vec<Tensor>> {
        self.check()?;
        let Predict { inputs, batch_size, steps, verbose } = inputs.into();
        if batch_size == 0 {
            return Err(Error::value("predict: batch_size must be at least 1"));
        }
        let most = steps.unwrap_or(usize::MAX);
        let mut done = Reader::new(self)?;
        match inputs {
            Feed::Tensors(inputs) => {
                let rows = self.input_rows(&inputs, "predict").await?;
                let examples = Examples::new(inputs, Vec::new()).map_err(|e| e.context("predict"))?;
                let batch_size = self.inputs().iter().find_map(|i| i.batch_size()).unwrap_or(batch_size);
                let all = examples.indices();
                let mut progress = Progress::new(verbose, Some(all.len().div_ceil(batch_size).min(most)));
                for batch in all.chunks(batch_size).take(most) {
                    let plan = self.plan(Kind::Predict, &rows.specs(batch.len()))?;
                    done.push(rows.run(&plan, batch)?, &mut progress).await?;
                }
                done.finish(&mut progress).await
            }
            Feed::Batches(mut batches) => {
                let mut progress = Progress::new(verbose, steps);
                for _ in 0..most {
                    let Some(batch) = batches.next(false) else { break };
                    let batch = batch.map_err(|e| e.context("predict"))?;
                    let rows = self.input_rows(&batch.inputs, "predict").await?;
                    let plan = self.plan(Kind::Predict, &rows.specs(batch.len()))?;
                    done.push(rows.run(&plan, &batch.indices())?, &mut progress).await?;
                }
                done.finish(&mut progress).await
            }
        }
    }
}

/// Reads results one batch behind, while the device works on the next.
struct Reader {
    device: Device,
    pending: Vec<Tensor>,
    /// Of each output.
    all: Vec<Predictions>,
    steps: usize,
}

/// The predictions of one output so far.
struct Predictions {
    name: String,
    count: usize,
    /// Shape of one, and element type.
    row: Option<(Shape, DType)>,
    expected: Shape,
    bytes: Vec<u8>,
}

impl Reader {
    fn new(model: &Model) -> Result<Reader> {
        let outputs = model.outputs().iter().zip(model.output_names());
        // Where there are no samples, nobody knows the length of an axis that may have any.
        let closed = |shape: &Shape| -> Vec<usize> {
            shape.iter().map(|&axis| if axis == Shape::ANY { 0 } else { axis }).collect()
        };
        let all = outputs.map(|(o, name)| Predictions {
            name,
            count: 0,
            row: None,
            expected: closed(o.shape()).into(),
            bytes: Vec::new(),
        });
        Ok(Reader { device: model.open()?, pending: Vec::new(), all: all.collect(), steps: 0 })
    }

    async fn push(&mut self, next: Vec<Tensor>, progress: &mut Progress) -> Result<()> {
        self.steps += 1;
        let last = std::mem::replace(&mut self.pending, next);
        self.read(&last).await?;
        if progress.due(self.steps) {
            progress.show(self.steps, &Logs::new());
        }
        Ok(())
    }

    async fn read(&mut self, outputs: &[Tensor]) -> Result<()> {
        for (output, into) in outputs.iter().zip(&mut self.all) {
            into.add(output, &self.device.read(output).await?)?;
        }
        Ok(())
    }

    async fn finish(mut self, progress: &mut Progress) -> Result<Vec<Tensor>> {
        let last = std::mem::take(&mut self.pending);
        self.read(&last).await?;
        progress.finish(self.steps, &Logs::new());
        self.all.into_iter().map(Predictions::tensor).collect()
    }
}

impl Predictions {
    fn add(&mut self, output: &Tensor, data: &Data) -> Result<()> {
        let row = Shape::from(&output.shape()[1..]);
        let (first, _) = self.row.get_or_insert_with(|| (row.clone(), output.dtype()));
        if *first != row {
            return Err(Error::shape(format!(
                "predict: predictions of output {} are {first} in one batch and {row} in another, which make no one tensor; give inputs of \
                 one length, or use `predict_on_batch`",
                self.name
            )));
        }
        self.count += output.dim(0);
        self.bytes.extend_from_slice(data.as_bytes());
        Ok(())
    }

    fn tensor(self) -> Result<Tensor> {
        let (row, dtype) = self.row.unwrap_or((self.expected, DType::F32));
        Ok(Tensor::from_data(Data::from_bytes(dtype, &self.bytes)?, [&[self.count], &row[..]].concat()))
    }
}
