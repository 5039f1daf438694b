//! Batch normalisation.

use super::{Config, Context, Layer, Weights};
use crate::{Initializer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `gamma * (x - mean) / sqrt(variance + epsilon) + beta` along one axis (Ioffe and Szegedy 2015). Any shape with a batch and that axis.
///
/// While training, mean and (biased) variance are those of the batch, and the moving averages become `moving * momentum + batch * (1 - momentum)`;
/// otherwise they are the moving averages; a frozen layer uses those in training too, as in Keras.
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
    center: bool,
    scale: bool,
    beta_initializer: Initializer,
    gamma_initializer: Initializer,
    moving_mean_initializer: Initializer,
    moving_variance_initializer: Initializer,
}

impl Default for BatchNormalization {
    fn default() -> Self {
        BatchNormalization {
            axis: -1,
            momentum: 0.99,
            epsilon: 1e-3,
            center: true,
            scale: true,
            beta_initializer: Initializer::Zeros,
            gamma_initializer: Initializer::Ones,
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

    /// The axis whose elements are normalised each for itself; counts from the end if negative. -1 by default.
    pub fn axis(self, axis: isize) -> Self {
        BatchNormalization { axis, ..self }
    }

    /// Share of the moving averages that is kept in a step; 0.99 by default.
    pub fn momentum(self, momentum: f64) -> Self {
        BatchNormalization { momentum, ..self }
    }

    /// Added to the variance; 0.001 by default.
    pub fn epsilon(self, epsilon: f64) -> Self {
        BatchNormalization { epsilon, ..self }
    }

    /// With or without `beta`; with by default.
    pub fn center(self, center: bool) -> Self {
        BatchNormalization { center, ..self }
    }

    /// With or without `gamma`; with by default.
    pub fn scale(self, scale: bool) -> Self {
        BatchNormalization { scale, ..self }
    }

    /// How `beta` starts.
    pub fn beta_initializer(self, beta_initializer: Initializer) -> Self {
        BatchNormalization { beta_initializer, ..self }
    }

    /// How `gamma` starts.
    pub fn gamma_initializer(self, gamma_initializer: Initializer) -> Self {
        BatchNormalization { gamma_initializer, ..self }
    }

    fn position(&self, input: &Shape) -> Result<usize> {
        let axis = input.axis(self.axis).filter(|&axis| axis > 0);
        axis.ok_or_else(|| {
            Error::shape(format!("input {input} has no axis {} to normalise; the batch axis 0 is none", self.axis))
        })
    }
}

impl Layer for BatchNormalization {
    fn class_name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let len = input[self.position(input)?];
        if self.scale {
            weights.add("gamma", [len], self.gamma_initializer)?;
        }
        if self.center {
            weights.add("beta", [len], self.beta_initializer)?;
        }
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
        let weight = |cx: &Context, name: &str| cx.weight_as(name, DType::F32).reshape(aligned.clone());

        let (mean, variance) = if cx.training() && cx.trainable() {
            let [mean, variance] = x.moments_keep(&others);
            for (name, batch) in [("moving_mean", &mean), ("moving_variance", &variance)] {
                let batch = batch.stop_gradient().reshape([x.shape()[axis]]);
                cx.assign(name, &(cx.weight(name) * self.momentum + batch * (1.0 - self.momentum)))?;
            }
            (mean, variance)
        } else {
            (weight(cx, "moving_mean"), weight(cx, "moving_variance"))
        };
        let mut factor = (variance + self.epsilon).rsqrt();
        if self.scale {
            factor = factor * weight(cx, "gamma");
        }
        // Subtracting the mean first keeps what a large mean would round away.
        let mut y = (x - mean) * factor;
        if self.center {
            y = y + weight(cx, "beta");
        }
        Ok(y.cast(cx.compute_dtype()))
    }
}
