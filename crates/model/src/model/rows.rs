//! Examples in host memory, checked against a model and ready to be gathered into batches.

use super::{Examples, Model, batched};
use crate::graph::SymbolicTensor;
use ibex_core::{Arg, DType, Data, Device, Error, Plan, Result, Shape, Tensor};
use ibex_data::gather_rows;
use std::ops::Range;
use std::sync::Arc;

/// The arguments of a program, as columns: inputs, targets, sample weights.
pub(super) struct Rows {
    columns: Vec<Column>,
}

struct Column {
    data: Arc<Data>,
    /// Shape of one row.
    row: Shape,
}

impl Rows {
    /// Shapes and element types for batches of a size.
    pub fn specs(&self, batch: usize) -> Vec<(Shape, DType)> {
        self.columns.iter().map(|c| (Shape::from([&[batch], &c.row[..]].concat()), c.data.dtype())).collect()
    }

    /// Calls `run` with arguments that write the given rows.
    pub fn with_args<T>(&self, batch: &[u32], run: impl FnOnce(&mut [Arg]) -> Result<T>) -> Result<T> {
        let mut errors: Vec<Option<Error>> = self.columns.iter().map(|_| None).collect();
        let mut fills: Vec<_> = self.columns.iter().zip(&mut errors).map(|(c, error)| c.fill(batch, error)).collect();
        let mut args: Vec<Arg> = fills.iter_mut().map(|fill| Arg::Fill(fill)).collect();
        let result = run(&mut args)?;
        drop(args);
        drop(fills);
        errors.into_iter().flatten().next().map_or(Ok(result), Err)
    }

    /// Runs a program for some rows.
    pub fn run(&self, plan: &Plan, batch: &[u32]) -> Result<Vec<Tensor>> {
        self.with_args(batch, |args| plan.run(args))
    }
}

impl Column {
    /// As an input takes it, which may be of floats while these are whole numbers.
    fn cast(self, input: &SymbolicTensor) -> Result<Column> {
        let (from, to) = (self.data.dtype(), input.dtype());
        if from == to {
            return Ok(self);
        }
        let values = self.data.to_f64();
        if let Some(at) = values.iter().position(|&v| f64::from(v as f32) != v && !v.is_nan()) {
            let value = values[at];
            return Err(Error::value(format!(
                "{from} number {value} at position {at} is too large for the model's input of {to}; make the model with \
                 `Sequential::with_dtype(shape, DType::{from:?})` or `Input::with_dtype`"
            )));
        }
        Ok(Column { data: Arc::new(Data::from_f64(to, &values)), row: self.row })
    }

    fn fill<'a>(&'a self, batch: &'a [u32], error: &'a mut Option<Error>) -> impl FnMut(&mut [u8]) + 'a {
        move |out: &mut [u8]| {
            if let Err(e) = gather_rows(&self.data, self.row.elements(), batch, out) {
                error.get_or_insert(e);
            }
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

impl Model {
    /// Checks inputs against the model.
    pub(super) fn check_inputs(&self, inputs: &[Tensor], what: &str) -> Result<()> {
        let wanted = self.inputs();
        if inputs.len() != wanted.len() {
            let names = self.input_names().join(", ");
            return Err(Error::model(format!(
                "{what}: got {} inputs, the model takes {}: {names}",
                inputs.len(),
                wanted.len()
            )));
        }
        for ((x, want), name) in inputs.iter().zip(wanted).zip(self.input_names()) {
            let which = if inputs.len() == 1 { "inputs".to_string() } else { format!("inputs for {name}") };
            let x = x.check().map_err(|e| e.context(what))?;
            let (got, shape) = (x.shape(), batched(want.shape()));
            if x.rank() == 0 || !want.shape().admits(&got[1..]) {
                return Err(Error::shape(format!("{what}: {which} have shape {got}, the model takes {shape}")));
            }
            // As in Keras, whatever is given to an input of floats becomes one.
            if x.dtype() != want.dtype() && want.dtype() != DType::F32 {
                let (got, want) = (x.dtype(), want.dtype());
                return Err(Error::dtype(format!("{what}: {which} are {got}, the model takes {want}; cast them")));
            }
            if let Some(size) = want.batch_size().filter(|size| !got[0].is_multiple_of(*size)) {
                return Err(Error::shape(format!(
                    "{what}: {which} are {} samples, which can not be divided into the model's batches of {size}",
                    got[0]
                )));
            }
        }
        Ok(())
    }

    /// Brings inputs to host memory and lets the layers that read them first look at them.
    pub(super) async fn input_rows(&self, inputs: &[Tensor], what: &str) -> Result<Rows> {
        self.check_inputs(inputs, what)?;
        let device = self.open()?;
        let mut columns = Vec::new();
        for (i, (tensor, name)) in inputs.iter().zip(self.input_names()).enumerate() {
            let which = if inputs.len() == 1 { "x" } else { name };
            let input = &self.inputs()[i];
            let column =
                column(&device, tensor).await?.cast(input).map_err(|e| e.context(format!("{what}: {which}")))?;
            for node in self.graph.readers(i) {
                node.layer().check_data(&column.data).map_err(|e| {
                    e.context(format!("layer {} ({})", node.name(), node.layer().class_name()))
                        .context(format!("{what}: {which}"))
                })?;
            }
            columns.push(column);
        }
        Ok(Rows { columns })
    }

    /// Checks examples against the model and its losses and brings them to host memory.
    pub(super) async fn rows(&self, examples: &Examples, what: &str) -> Result<Rows> {
        let (training, names) = (self.training()?, self.output_names());
        let Examples { inputs, targets, weights, .. } = examples;
        let used = examples.used();
        if examples.is_empty() {
            return Err(Error::value(format!("{what}: there are no samples")));
        }
        let mut rows = self.input_rows(inputs, what).await?;
        for (column, name) in rows.columns.iter().zip(self.input_names()) {
            let which = if inputs.len() == 1 { "x" } else { name };
            finite(column, used.clone()).map_err(|e| e.context(format!("{what}: {which}")))?;
        }
        if targets.len() != names.len() {
            let (got, want) = (targets.len(), names.len());
            return Err(Error::model(format!(
                "{what}: got {got} targets, the model has {want} outputs: {}",
                names.join(", ")
            )));
        }
        let device = self.open()?;
        for (i, (tensor, name)) in targets.iter().zip(&names).enumerate() {
            let which = if targets.len() == 1 { "y".to_string() } else { format!("y of output {name}") };
            let column = column(&device, tensor).await?;
            let loss = training.loss(i);
            let fits = loss.check_targets(&column.data, self.outputs()[i].shape());
            let fits = fits.map_err(|e| e.context(format!("loss {} of {}", loss.class_name(), self.output_label(i))));
            let checked = finite(&column, used.clone()).and(fits);
            checked.map_err(|e| e.context(format!("{what}: {which}")))?;
            rows.columns.push(column);
        }
        if weights.len() > 1 && weights.len() != targets.len() {
            let (got, want) = (weights.len(), targets.len());
            return Err(Error::model(format!(
                "{what}: got {got} sample weights for {want} outputs; give one for all, or one for each"
            )));
        }
        for tensor in weights {
            let column = column(&device, &tensor.cast(DType::F32)).await?;
            finite(&column, used.clone()).map_err(|e| e.context(format!("{what}: sample_weight")))?;
            rows.columns.push(column);
        }
        Ok(rows)
    }
}

/// Looks for NaN and infinities in some samples.
fn finite(column: &Column, samples: Range<usize>) -> Result<()> {
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
