//! What models learn from and are tested on.

use super::Batches;
use ibex_core::{Error, Result, Tensor};
use ibex_data::{Dataset, View, shuffled_indices};
use std::ops::Range;

/// Rows of inputs, targets and sample weights: row `i` of every tensor belongs to example `i`.
#[derive(Clone, Debug)]
pub struct Examples {
    /// One for each input of the model.
    pub(super) inputs: Vec<Tensor>,
    /// One for each output.
    pub(super) targets: Vec<Tensor>,
    /// None, one for all outputs, or one for each.
    pub(super) weights: Vec<Tensor>,
    rows: Range<u32>,
}

impl Examples {
    /// Examples for models with any number of inputs and outputs.
    ///
    /// # Errors
    /// `Shape` unless all tensors have a first axis, of the same length.
    pub fn new(inputs: impl Tensors, targets: impl Tensors) -> Result<Examples> {
        Examples::weighted(inputs, targets, Vec::new())
    }

    /// Examples with weights: of the samples `(n,)`, or of their steps `(n, steps)`; one tensor for all outputs, or one for each.
    ///
    /// # Errors
    /// As [`Examples::new`].
    pub fn weighted(inputs: impl Tensors, targets: impl Tensors, weights: impl Tensors) -> Result<Examples> {
        let (inputs, targets, weights) = (inputs.list(), targets.list(), weights.list());
        let mut len = None;
        let named = [("x", &inputs), ("y", &targets), ("sample_weight", &weights)];
        for (what, tensors) in named {
            for (i, tensor) in tensors.iter().enumerate() {
                let name = if tensors.len() == 1 { what.to_string() } else { format!("{what}[{i}]") };
                let shape = tensor.check().map_err(|e| e.context(name.clone()))?.shape();
                let Some(&rows) = shape.first() else {
                    return Err(Error::shape(format!(
                        "{name} has shape {shape}, but needs a first axis that counts the examples"
                    )));
                };
                let (first, first_name) = len.get_or_insert((rows, name.clone()));
                if *first != rows {
                    return Err(Error::shape(format!(
                        "{first_name} has {first} examples, but {name} has {rows}, shape {shape}; give one row for each example"
                    )));
                }
            }
        }
        let Some((rows, _)) = len else { return Err(Error::value("there are no inputs")) };
        let rows =
            u32::try_from(rows).map_err(|_| Error::shape(format!("at most {} examples can be given", u32::MAX)))?;
        Ok(Examples { inputs, targets, weights, rows: 0..rows })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when there are no examples.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows before `middle`, and the rows from there on. Nothing is copied.
    pub(super) fn split_at(&self, middle: usize) -> (Examples, Examples) {
        let at = self.rows.start + middle.min(self.len()) as u32;
        let part = |rows: Range<u32>| Examples { rows, ..self.clone() };
        (part(self.rows.start..at), part(at..self.rows.end))
    }

    /// The rows that count, of all that the tensors have.
    pub(super) fn used(&self) -> Range<usize> {
        self.rows.start as usize..self.rows.end as usize
    }

    /// The rows in order.
    pub(super) fn indices(&self) -> Vec<u32> {
        self.rows.clone().collect()
    }

    /// The rows in the random order of one epoch.
    pub(super) fn shuffled(&self, seed: u64, epoch: u32) -> Vec<u32> {
        let mut indices = shuffled_indices(self.rows.end - self.rows.start, seed, epoch);
        indices.iter_mut().for_each(|i| *i += self.rows.start);
        indices
    }
}

/// Inputs, targets, and maybe sample weights: a data set, a view of one, a pair `(x, y)` or a triple `(x, y, sample_weight)` of tensors; for models
/// with several inputs or outputs each may be an array: `([&a, &b], &y)`. Or [`Batches`] from an iterator.
#[doc(alias = "sample_weight")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no data with targets",
    label = "no inputs with targets",
    note = "give `(&x, &y)`, tensors or vectors of them for several inputs or outputs, a `Dataset` or `Batches`",
    note = "numbers become a tensor by `Tensor::from_vec(values, [rows, columns])`"
)]
pub trait Source {
    /// As training takes it.
    ///
    /// # Errors
    /// If inputs and targets do not have the same length.
    fn feed(self) -> Result<Feed>;
}

/// Data as training takes it.
#[derive(Debug)]
pub struct Feed(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Examples(Examples),
    Batches(Batches),
}

impl Feed {
    /// All examples, or the first batch.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn first(self) -> Result<Examples> {
        match self.0 {
            Kind::Examples(examples) => Ok(examples),
            Kind::Batches(mut batches) => {
                batches.next(false).unwrap_or_else(|| Err(Error::value("there are no batches")))
            }
        }
    }
}

impl From<Examples> for Feed {
    fn from(examples: Examples) -> Feed {
        Feed(Kind::Examples(examples))
    }
}

impl Source for Examples {
    fn feed(self) -> Result<Feed> {
        Ok(self.into())
    }
}

impl Source for &Examples {
    fn feed(self) -> Result<Feed> {
        Ok(self.clone().into())
    }
}

impl Source for &Dataset {
    fn feed(self) -> Result<Feed> {
        Ok(Examples::new(&self.x, &self.y)?.into())
    }
}

impl Source for &View {
    fn feed(self) -> Result<Feed> {
        let data = self.dataset();
        Ok(Examples { rows: self.rows(), ..Examples::new(&data.x, &data.y)? }.into())
    }
}

impl Source for View {
    fn feed(self) -> Result<Feed> {
        (&self).feed()
    }
}

impl<X: Tensors, Y: Tensors> Source for (X, Y) {
    fn feed(self) -> Result<Feed> {
        Ok(Examples::new(self.0, self.1)?.into())
    }
}

impl<X: Tensors, Y: Tensors, W: Tensors> Source for (X, Y, W) {
    fn feed(self) -> Result<Feed> {
        Ok(Examples::weighted(self.0, self.1, self.2)?.into())
    }
}

/// One tensor, or several in an array, a slice or a vector.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tensor, nor several",
    label = "no tensors",
    note = "numbers become a tensor by `Tensor::from_vec(values, [rows, columns])`"
)]
pub trait Tensors {
    /// As a list.
    fn list(self) -> Vec<Tensor>;
}

impl Tensors for &Tensor {
    fn list(self) -> Vec<Tensor> {
        vec![self.clone()]
    }
}

impl<const N: usize> Tensors for [&Tensor; N] {
    fn list(self) -> Vec<Tensor> {
        self.into_iter().cloned().collect()
    }
}

impl Tensors for &[Tensor] {
    fn list(self) -> Vec<Tensor> {
        self.to_vec()
    }
}

impl Tensors for &Vec<Tensor> {
    fn list(self) -> Vec<Tensor> {
        self.clone()
    }
}

impl Tensors for Vec<Tensor> {
    fn list(self) -> Vec<Tensor> {
        self
    }
}
