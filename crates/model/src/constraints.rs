//! What weights are made to keep to after each step.

use crate::config::{Axes, Described};
use crate::losses::EPSILON;
use ibex_core::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// What a weight becomes after each step. Norms are those of the vectors along `axis`, which is 0 by default: for a dense kernel what goes into
/// one unit. Formulas are those of Keras 3, with 1e-7 added to norms that divide; in files it is a name or an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config", try_from = "Described")]
pub enum Constraint {
    /// `max(w, 0)`
    NonNeg,
    /// Vectors that are longer than `max_value` are shortened to it (Srivastava et al. 2014).
    MaxNorm {
        /// The largest norm; 2 by default.
        max_value: f32,
        /// Along which axes.
        axis: Axes,
    },
    /// Vectors get length 1.
    UnitNorm {
        /// Along which axes.
        axis: Axes,
    },
    /// Norms move into a range.
    MinMaxNorm {
        /// The smallest norm; 0 by default.
        min_value: f32,
        /// The largest norm; 1 by default.
        max_value: f32,
        /// How far they move in a step, from 0 to 1 (all the way, the default).
        rate: f32,
        /// Along which axes.
        axis: Axes,
    },
}

impl Constraint {
    /// [`Constraint::MaxNorm`] along axis 0.
    pub fn max_norm(max_value: f32) -> Self {
        Constraint::MaxNorm { max_value, axis: Axes::One(0) }
    }

    /// [`Constraint::UnitNorm`] along axis 0.
    pub fn unit_norm() -> Self {
        Constraint::UnitNorm { axis: Axes::One(0) }
    }

    /// [`Constraint::MinMaxNorm`] along axis 0, all the way in each step.
    pub fn min_max_norm(min_value: f32, max_value: f32) -> Self {
        Constraint::MinMaxNorm { min_value, max_value, rate: 1.0, axis: Axes::One(0) }
    }

    /// The weight under the constraint.
    #[track_caller]
    pub fn constrain(&self, weight: &Tensor) -> Tensor {
        let norms = |axis: &Axes| weight.square().sum_keep(axis.list()).sqrt();
        match self {
            Constraint::NonNeg => weight.maximum(0.0),
            Constraint::MaxNorm { max_value, axis } => {
                let norms = norms(axis);
                weight * (norms.clamp(0.0, *max_value) / (norms + EPSILON))
            }
            Constraint::UnitNorm { axis } => weight / (norms(axis) + EPSILON),
            Constraint::MinMaxNorm { min_value, max_value, rate, axis } => {
                let norms = norms(axis);
                let wanted = norms.clamp(*min_value, *max_value) * *rate + &norms * (1.0 - rate);
                weight * (wanted / (norms + EPSILON))
            }
        }
    }
}

impl TryFrom<Described> for Constraint {
    type Error = Error;

    fn try_from(described: Described) -> Result<Self> {
        let factor = |field: &str, default: f32| described.factor(field, default);
        let axis = || described.field("axis", Axes::One(0));
        Ok(match &*described.plain() {
            "nonneg" => Constraint::NonNeg,
            "maxnorm" => Constraint::MaxNorm { max_value: factor("max_value", 2.0)?, axis: axis()? },
            "unitnorm" => Constraint::UnitNorm { axis: axis()? },
            "minmaxnorm" => Constraint::MinMaxNorm {
                min_value: factor("min_value", 0.0)?,
                max_value: factor("max_value", 1.0)?,
                rate: factor("rate", 1.0)?,
                axis: axis()?,
            },
            _ => {
                return Err(Error::unsupported(format!(
                    "unknown constraint {:?}; known are NonNeg, MaxNorm, UnitNorm, MinMaxNorm",
                    described.class_name
                )));
            }
        })
    }
}
