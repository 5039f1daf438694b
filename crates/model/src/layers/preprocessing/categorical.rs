//! Numbers of categories as what a layer gives out.

use super::{Error, Result, Tensor};
use ibex_core::DType;
use serde::{Deserialize, Serialize};

/// What becomes of the numbers of categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// The numbers themselves, `i32`.
    #[default]
    Int,
    /// A vector for each number, with a 1 at its place: `(.., n)` to `(.., n, categories)`, `(.., 1)` to `(.., categories)`.
    OneHot,
    /// One vector for each sample, with a 1 at every number that it has: `(batch, n)` to `(batch, categories)`.
    #[serde(alias = "binary")]
    MultiHot,
    /// One vector for each sample, of how often it has each number: `(batch, n)` to `(batch, categories)`.
    Count,
    /// [`OutputMode::Count`] times the weight of each number, which is larger for those that fewer samples have. For
    /// [`IntegerLookup`](super::IntegerLookup), which learns the weights.
    #[serde(alias = "tf-idf")]
    TfIdf,
}

impl OutputMode {
    /// `index` (`i32`, with a batch) so encoded; one that is no category counts as none. The second axis is summed over, as in Keras; `(batch,)` counts
    /// as one number a sample.
    pub(super) fn encode(self, index: &Tensor, categories: usize, counts: Option<&Tensor>, dtype: DType) -> Result<Tensor> {
        let rank = index.check()?.rank();
        let one_hot = |index: &Tensor| index.one_hot(categories, dtype);
        let sample = |index: &Tensor| if rank == 1 { index.unsqueeze(-1) } else { index.clone() };
        Ok(match self {
            OutputMode::Int => index.clone(),
            OutputMode::OneHot if rank > 1 && index.dim(-1) == 1 => one_hot(&index.squeeze(-1)),
            OutputMode::OneHot => one_hot(index),
            OutputMode::MultiHot => one_hot(&sample(index)).max(&[1]),
            OutputMode::Count | OutputMode::TfIdf => match counts {
                None => one_hot(&sample(index)).sum(&[1]),
                Some(counts) if counts.shape() == index.shape() => {
                    (one_hot(&sample(index)) * sample(counts).cast(dtype).unsqueeze(-1)).sum(&[1])
                }
                Some(counts) => {
                    return Err(Error::shape(format!(
                        "the weights of counts have shape {}, the numbers {}; give a weight for each number",
                        counts.shape(),
                        index.shape()
                    )));
                }
            },
        })
    }
}

/// Integers, or floats that are whole.
pub(super) fn integers(x: &Tensor) -> Tensor {
    x.cast(DType::I32)
}
