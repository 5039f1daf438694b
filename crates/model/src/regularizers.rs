//! Penalties for large weights, which are added to the loss.

use crate::config::Described;
use crate::losses::EPSILON;
use ibex_core::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// What is added to the loss for a weight. Formulas are those of Keras 3; in files it is a name or an object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config", try_from = "Described")]
pub enum Regularizer {
    /// `l1 * sum(|w|)`
    L1 {
        /// Factor; 0.01 by default.
        l1: f32,
    },
    /// `l2 * sum(w^2)`
    L2 {
        /// Factor; 0.01 by default.
        l2: f32,
    },
    /// `l1 * sum(|w|) + l2 * sum(w^2)`
    L1L2 {
        /// Factor of sizes; 0 by default.
        l1: f32,
        /// Factor of squares; 0 by default.
        l2: f32,
    },
    /// `factor` times the mean of `|cos|` over all pairs of rows (or columns) of a matrix: small if they are orthogonal.
    #[serde(rename = "OrthogonalRegularizer")]
    Orthogonal {
        /// Factor; 0.01 by default.
        factor: f32,
        /// Which vectors; rows by default.
        mode: OrthogonalMode,
    },
}

/// Which vectors of a matrix [`Regularizer::Orthogonal`] compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrthogonalMode {
    /// The rows.
    #[default]
    Rows,
    /// The columns.
    Columns,
}

impl Regularizer {
    /// [`Regularizer::L1`]
    pub fn l1(l1: f32) -> Self {
        Regularizer::L1 { l1 }
    }

    /// [`Regularizer::L2`]
    pub fn l2(l2: f32) -> Self {
        Regularizer::L2 { l2 }
    }

    /// [`Regularizer::L1L2`]
    pub fn l1_l2(l1: f32, l2: f32) -> Self {
        Regularizer::L1L2 { l1, l2 }
    }

    /// [`Regularizer::Orthogonal`] for rows.
    pub fn orthogonal(factor: f32) -> Self {
        Regularizer::Orthogonal { factor, mode: OrthogonalMode::Rows }
    }

    /// The scalar that a weight adds to the loss. An error if the weight of [`Regularizer::Orthogonal`] is no matrix.
    #[track_caller]
    pub fn penalty(&self, weight: &Tensor) -> Tensor {
        let sizes = |factor: f32| weight.abs().sum(&[]) * factor;
        let squares = |factor: f32| weight.square().sum(&[]) * factor;
        match *self {
            Regularizer::L1 { l1 } => sizes(l1),
            Regularizer::L2 { l2 } => squares(l2),
            Regularizer::L1L2 { l1, l2 } => sizes(l1) + squares(l2),
            Regularizer::Orthogonal { factor, mode } => match (weight.check().is_ok(), weight.rank()) {
                (true, 2) => {
                    let rows = if mode == OrthogonalMode::Rows { weight.clone() } else { weight.t() };
                    orthogonal(&rows) * factor
                }
                (false, _) => weight.clone(),
                _ => Tensor::poisoned(Error::shape(format!(
                    "OrthogonalRegularizer: the weight must be a matrix, not {}",
                    weight.shape()
                ))),
            },
        }
    }
}

/// The mean of `|cos|` over pairs of rows.
fn orthogonal(rows: &Tensor) -> Tensor {
    let unit = rows * rows.square().sum_keep(&[-1]).maximum(EPSILON * EPSILON).rsqrt();
    let n = rows.dim(0);
    let itself = Tensor::iota([n, n], 0).eq(Tensor::iota([n, n], 1));
    // Each pair stands there twice.
    let pairs = n as f32 * (n as f32 - 1.0);
    itself.select(0.0, unit.matmul(unit.t())).abs().sum(&[]) / pairs
}

impl TryFrom<Described> for Regularizer {
    type Error = Error;

    fn try_from(described: Described) -> Result<Self> {
        let factor = |field: &str, default: f32| described.factor(field, default);
        Ok(match &*described.plain() {
            "l1" => Regularizer::L1 { l1: factor("l1", 0.01)? },
            "l2" => Regularizer::L2 { l2: factor("l2", 0.01)? },
            "l1l2" => Regularizer::L1L2 { l1: factor("l1", 0.0)?, l2: factor("l2", 0.0)? },
            "orthogonal" | "orthogonalregularizer" => Regularizer::Orthogonal {
                factor: factor("factor", 0.01)?,
                mode: described.field("mode", OrthogonalMode::Rows)?,
            },
            _ => {
                return Err(Error::unsupported(format!(
                    "unknown regularizer {:?}; known are L1, L2, L1L2, OrthogonalRegularizer",
                    described.class_name
                )));
            }
        })
    }
}
