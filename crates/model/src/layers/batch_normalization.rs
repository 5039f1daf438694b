//! Batch normalisation.

use super::affine::{Affine, affine_options};
use super::{Config, Context, Layer, Weights};
use crate::losses::EPSILON;
use crate::{Constraint, Initializer, Regularizer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta` along one axis (Ioffe and Szegedy 2015). Any shape with a batch and that axis.
///
/// While training, mean and (biased) variance are those of the batch, and the moving averages become `moving * momentum + batch * (1 - momentum)`;
/// otherwise they are the moving averages; a frozen layer uses those in training too, as in Keras.
/// Steps that a mask takes out do not count in the moments of the batch.
///
/// Computes in `f32` under every policy, and rounds its result.
///
/// Weights, all of the axis' length: `gamma`, ones; `beta`, zeros; not trained: `moving_mean`, zeros; `moving_variance`, ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchNormalization {
    axis: isize,
    momentum: f64,
    epsilon: f64,
    #[serde(flatten)]
    affine: Affine,
    moving_mean_initializer: Initializer,
    moving_variance_initializer: Initializer,
}

impl Default for BatchNormalization {
    fn default() -> Self {
        BatchNormalization {
            axis: -1,
            momentum: 0.99,
            epsilon: 1e-3,
            affine: Affine::default(),
            moving_mean_initializer: Initializer::Zeros,
            moving_variance_initializer: Initializer::Ones,
        }
    }
}

impl BatchNormalization {
    /// Along the last axis.
    pub fn new() -> Self {
        BatchNormalization::default()
    }

    fn position(&self, input: &Shape) -> Result<usize> {
        let axis = input.axis(self.axis).filter(|&axis| axis > 0);
        axis.ok_or_else(|| {
            Error::shape(format!("input {input} has no axis {} to normalise; the batch axis 0 is none", self.axis))
        })
    }
}

options! { BatchNormalization {
    /// The axis whose elements are normalised each for itself; counts from the end if negative. -1 by default.
    axis: isize,
    /// Share of the moving averages that is kept in a step; 0.99 by default.
    momentum: f64,
    /// Added to the variance; 0.001 by default.
    epsilon: f64,
    /// How the moving mean starts.
    moving_mean_initializer: Initializer,
    /// How the moving variance starts.
    moving_variance_initializer: Initializer,
} }

affine_options!(BatchNormalization);

impl Layer for BatchNormalization {
    fn class_name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let len = input[self.position(input)?];
        self.affine.build(weights, &[len])?;
        weights.add_state("moving_mean", [len], self.moving_mean_initializer)?;
        weights.add_state("moving_variance", [len], self.moving_variance_initializer)?;
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let axis = self.position(x.shape())?;
        let x = x.cast(DType::F32);
        let others: Vec<isize> = (0..x.rank()).filter(|&a| a != axis).map(|a| a as isize).collect();
        let mut aligned = vec![1; x.rank()];
        aligned[axis] = x.shape()[axis];
        let moving = |cx: &Context, name: &str| cx.weight(name).reshape(&aligned[..]);

        let (mean, variance) = if cx.training() && cx.trainable() {
            let [mean, variance] = match cx.mask(0) {
                Some(mask) => masked_moments(&x, &mask, &others)?,
                None => x.moments_keep(&others),
            };
            for (name, batch) in [("moving_mean", &mean), ("moving_variance", &variance)] {
                let batch = batch.stop_gradient().reshape([x.shape()[axis]]);
                cx.assign(name, &(cx.weight(name) * self.momentum + batch * (1.0 - self.momentum)))?;
            }
            (mean, variance)
        } else {
            (moving(cx, "moving_mean"), moving(cx, "moving_variance"))
        };
        // Subtracting the mean first keeps what a large mean would round away.
        Ok(self.affine.apply(x - mean, (variance + self.epsilon).rsqrt(), &aligned, cx))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}

/// Mean and variance of the steps that count.
fn masked_moments(x: &Tensor, mask: &Tensor, axes: &[isize]) -> Result<[Tensor; 2]> {
    if mask.rank() + 1 != x.rank() {
        let text = format!("the mask {} must have one axis less than the input {}", mask.shape(), x.shape());
        return Err(Error::shape(text));
    }
    let mask = mask.unsqueeze(-1).broadcast_to(x.shape());
    let count = mask.cast(DType::F32).sum_keep(axes) + EPSILON;
    let mean = mask.select(x, 0.0).sum_keep(axes) / &count;
    let variance = mask.select(x - &mean, 0.0).square().sum_keep(axes) / count;
    Ok([mean, variance])
}
