//! The same layer at every step.

use super::{Config, Context, Layer, LayerBox, Weights, below};
use crate::config;
use ibex_core::{Data, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Applies a layer to every step of a sequence: `(batch, steps, ..)` to `(batch, steps, ..)`, where the layer sees `(batch, ..)`.
///
/// It sees all steps at once, as one batch of `batch * steps` samples, and no mask. So a batch normalization takes its statistics over all steps.
///
/// Weights: those of the layer, as `layer/kernel`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TimeDistributed {
    layer: LayerBox,
}

impl TimeDistributed {
    /// This layer at every step.
    pub fn new(layer: impl Layer) -> Self {
        TimeDistributed { layer: LayerBox::new(layer) }
    }
}

/// The shape of all steps as one batch.
fn joined(shape: &Shape) -> Result<Shape> {
    match shape[..] {
        [batch, steps, _, ..] => Ok([&[batch * steps], &shape[2..]].concat().into()),
        _ => Err(Error::shape(format!("takes sequences (batch, steps, ..) of at least 3 axes, got input {shape}"))),
    }
}

impl Layer for TimeDistributed {
    fn class_name(&self) -> &'static str {
        "TimeDistributed"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        let inputs: Vec<Shape> = inputs.iter().map(joined).collect::<Result<_>>()?;
        weights.within("layer", |weights| self.layer.build_all(weights, &inputs))
    }

    fn keras_place(&self, weight: &str) -> String {
        match weight.split_once('/') {
            Some((inner, weight)) => below(inner, &self.layer.keras_place(weight)),
            None => String::new(),
        }
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        let first = super::one(&inputs[..inputs.len().min(1)])?;
        let (batch, steps) = (first.dim(0), first.dim(1));
        let joined = inputs.iter().map(|x| Ok(x.reshape(joined(x.shape())?)));
        let joined: Vec<Tensor> = joined.collect::<Result<_>>()?;
        let ys = cx.within("layer", |cx| cx.unmasked(|cx| self.layer.call_all(&joined, cx)))?;
        let apart = |y: &Tensor| match y.shape().split_first() {
            Some((_, rest)) => y.reshape([&[batch, steps], rest].concat()),
            None => y.clone(),
        };
        Ok(ys.iter().map(apart).collect())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn check_data(&self, data: &Data) -> Result<()> {
        self.layer.check_data(data)
    }
}
