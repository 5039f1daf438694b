//! Group normalisation.

use super::affine::{Affine, affine_options};
use super::{Config, Context, Layer, Weights};
use crate::{Constraint, Initializer, Regularizer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with mean and (biased) variance over everything in a sample but one axis, which is cut
/// into groups, each of which has its own (Wu and He 2018). Any shape with that axis; the shape stays.
///
/// Computes in `f32` under every policy, and rounds its result.
///
/// Weights, both of the axis' length: `gamma`, ones; `beta`, zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupNormalization {
    groups: isize,
    axis: isize,
    epsilon: f64,
    #[serde(flatten)]
    affine: Affine,
}

impl Default for GroupNormalization {
    fn default() -> Self {
        GroupNormalization { groups: 32, axis: -1, epsilon: 1e-3, affine: Affine::default() }
    }
}

impl GroupNormalization {
    /// So many groups along the last axis; -1 makes each of its elements a group.
    pub fn new(groups: isize) -> Self {
        GroupNormalization { groups, ..GroupNormalization::default() }
    }

    /// The axis, and how many groups it has.
    fn groups(&self, input: &Shape) -> Result<(usize, usize)> {
        let axis = input.axis(self.axis).filter(|&axis| axis > 0);
        let axis = axis.ok_or_else(|| {
            Error::shape(format!("input {input} has no axis {} to cut into groups; the batch axis 0 is none", self.axis))
        })?;
        let groups = if self.groups == -1 { input[axis] } else { usize::try_from(self.groups).unwrap_or(0) };
        if groups == 0 || !input[axis].is_multiple_of(groups) {
            return Err(Error::shape(format!(
                "axis {axis} of input {input} can not be cut into {} equal groups; choose a divisor of {} (32 is the default)",
                self.groups, input[axis]
            )));
        }
        Ok((axis, groups))
    }
}

options! { GroupNormalization {
    /// The axis that is cut into groups; counts from the end if negative. -1 by default.
    axis: isize,
    /// Added to the variance; 0.001 by default.
    epsilon: f64,
} }

affine_options!(GroupNormalization);

impl Layer for GroupNormalization {
    fn class_name(&self) -> &'static str {
        "GroupNormalization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let (axis, _) = self.groups(input)?;
        self.affine.build(weights, &[input[axis]])
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let (axis, groups) = self.groups(x.shape())?;
        // The axis becomes two: the group, and the place in it.
        let cut = |shape: &[usize]| {
            let mut cut = shape.to_vec();
            cut.splice(axis..=axis, [groups, x.shape()[axis] / groups]);
            cut
        };
        let aligned = cut(&vec![1; x.rank()]);
        let grouped = x.cast(DType::F32).reshape(cut(x.shape()));
        let within: Vec<isize> = (1..aligned.len()).filter(|&i| i != axis).map(|i| i as isize).collect();
        let [mean, variance] = grouped.moments_keep(&within);
        let y = self.affine.apply(grouped - mean, (variance + self.epsilon).rsqrt(), &aligned, cx);
        Ok(y.reshape(x.shape()))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
