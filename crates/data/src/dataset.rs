//! Examples with their targets, and parts of them.

use crate::host::host;
use crate::rows::{gather_rows, shuffled_indices};
use ibex_core::{Data, Error, Result, Tensor};
use std::ops::Range;

/// Examples with their targets: row `i` of `y` is what a model shall say of row `i` of `x`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dataset {
    /// What goes into a model; the first axis counts the examples.
    pub x: Tensor,
    /// What shall come out; the first axis counts the examples.
    pub y: Tensor,
}

/// A dataset in two parts: one to learn from, and one to see how well that went.
#[derive(Clone, Debug)]
pub struct Split {
    /// Examples to learn from.
    pub train: Dataset,
    /// Examples held out.
    pub test: Dataset,
}

/// A run of rows of a dataset, sharing its memory.
#[derive(Clone, Debug)]
pub struct View {
    data: Dataset,
    rows: Range<u32>,
}

impl Dataset {
    /// A dataset of examples and their targets.
    ///
    /// # Errors
    /// `Shape` unless both have a first axis, of the same length.
    pub fn new(x: Tensor, y: Tensor) -> Result<Dataset> {
        let (xs, ys) = (x.check()?.shape(), y.check()?.shape());
        let (Some(&x_len), Some(&y_len)) = (xs.first(), ys.first()) else {
            return Err(Error::shape(format!(
                "a dataset needs a first axis that counts the examples, but x has shape {xs} and y has shape {ys}"
            )));
        };
        if x_len != y_len {
            return Err(Error::shape(format!(
                "x has {x_len} examples, shape {xs}, but y has {y_len}, shape {ys}; give one row of y for each row of x"
            )));
        }
        if u32::try_from(x_len).is_err() {
            return Err(Error::shape(format!("x has shape {xs}; a dataset holds at most {} examples", u32::MAX)));
        }
        Ok(Dataset { x, y })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.x.shape().first().copied().unwrap_or(0)
    }

    /// True when there are no examples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rows.
    pub fn view(&self) -> View {
        View { data: self.clone(), rows: 0..u32::try_from(self.len()).unwrap_or(u32::MAX) }
    }

    /// The rows before `middle`, and the rows from there on. Nothing is copied.
    ///
    /// # Errors
    /// `Value` if there are fewer rows.
    pub fn split_at(&self, middle: usize) -> Result<(View, View)> {
        self.view().split_at(middle)
    }

    /// A copy of the rows at `indices`, in that order.
    ///
    /// # Errors
    /// `Value` if an index is no row, or the tensors are not computed yet.
    pub fn take(&self, indices: &[u32]) -> Result<Dataset> {
        Dataset::new(
            take(&self.x, indices).map_err(|e| e.context("x"))?,
            take(&self.y, indices).map_err(|e| e.context("y"))?,
        )
    }
}

impl View {
    /// The dataset with all its rows.
    pub fn dataset(&self) -> &Dataset {
        &self.data
    }

    /// Which rows of the dataset.
    pub fn rows(&self) -> Range<u32> {
        self.rows.clone()
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
    ///
    /// # Errors
    /// `Value` if there are fewer rows.
    pub fn split_at(&self, middle: usize) -> Result<(View, View)> {
        let at = u32::try_from(middle).ok().filter(|_| middle <= self.len()).map(|m| self.rows.start + m);
        let Some(at) = at else {
            return Err(Error::value(format!("{} examples can not be split at {middle}", self.len())));
        };
        let part = |rows: Range<u32>| View { data: self.data.clone(), rows };
        Ok((part(self.rows.start..at), part(at..self.rows.end)))
    }

    /// The rows in order, as [`gather_rows`] takes them; `.chunks(batch_size)` of it are the batches.
    pub fn indices(&self) -> Vec<u32> {
        self.rows.clone().collect()
    }

    /// The rows in the random order of one epoch; see [`shuffled_indices`].
    pub fn shuffled(&self, seed: u64, epoch: u32) -> Vec<u32> {
        let mut indices = shuffled_indices(self.rows.end - self.rows.start, seed, epoch);
        indices.iter_mut().for_each(|i| *i += self.rows.start);
        indices
    }
}

impl From<&Dataset> for View {
    fn from(data: &Dataset) -> View {
        data.view()
    }
}

/// Shuffles, and holds out a fraction for the test: `train_test_split(&all, 0.2, 42)` gives four rows of five to the training.
///
/// The rows are copied. [`Dataset::split_at`] copies nothing, where the data is in random order already.
///
/// # Errors
/// `Value` unless `fraction` lies between 0 and 1, there are two examples at least, and they are numbers on the host.
pub fn train_test_split(data: &Dataset, fraction: f64, seed: u64) -> Result<Split> {
    let len = data.len();
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::value(format!(
            "train_test_split: the fraction is {fraction}; give a number between 0 and 1"
        )));
    }
    if len < 2 {
        return Err(Error::value(format!("train_test_split: {len} examples can not be divided; give at least 2")));
    }
    let held_out = ((len as f64 * fraction).round() as usize).clamp(1, len - 1);
    let order = data.view().shuffled(seed, 0);
    let (test, train) = order.split_at(held_out);
    Ok(Split { train: data.take(train)?, test: data.take(test)? })
}

fn take(tensor: &Tensor, indices: &[u32]) -> Result<Tensor> {
    let data = host(tensor)?;
    let mut shape = tensor.shape().to_vec();
    let row: usize = shape.iter().skip(1).product();
    if let Some(rows) = shape.first_mut() {
        *rows = indices.len();
    }
    let mut taken = Data::zeros(data.dtype(), row * indices.len());
    gather_rows(data, row, indices, taken.as_bytes_mut())?;
    Ok(match taken {
        Data::F32(v) => Tensor::from_vec(v, shape),
        Data::F16(v) => Tensor::from_vec(v, shape),
        Data::BF16(v) => Tensor::from_vec(v, shape),
        Data::I32(v) => Tensor::from_vec(v, shape),
        Data::U32(v) => Tensor::from_vec(v, shape),
        Data::Bool(v) => Tensor::from_vec(v.into_iter().map(|v| v != 0).collect::<Vec<bool>>(), shape),
    })
}
