//! The three programs of a model: a training step, an evaluation step, a prediction.

use super::{Scaling, Sequential, Training};
use crate::layers::floats_as;
use crate::losses;
use ibex_core::{DType, Error, Plan, Result, Shape, Tensor};
use std::sync::Arc;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// `(x, y)`, no results: weights, optimizer state, loss and metrics are updated in place.
    Train,
    /// `(x, y)`, no results: loss and metrics are updated in place.
    Evaluate,
    /// `(x)` to predictions.
    Predict,
}

impl Sequential {
    /// The compiled program for arguments of the given shapes, traced now if it is not there.
    pub(crate) fn plan(&mut self, kind: Kind, specs: &[(Shape, DType)]) -> Result<Arc<Plan>> {
        let at = (kind, specs.to_vec());
        if let Some(plan) = self.plans.get(&at) {
            return Ok(plan.clone());
        }
        let device = self.open()?;
        // Plans belong to a device: what is the default later no longer matters.
        self.device = Some(device.clone());
        let key = self.key()?;
        let plan = Plan::trace(&device, specs, |args| {
            let training = kind == Kind::Train;
            let key_value = key.value();
            let mut losses = Vec::new();
            let y_pred = self.forward(&args[0], training, &key_value, &mut losses)?;
            if kind == Kind::Predict {
                return Ok(vec![floats_as(y_pred, DType::F32)]);
            }
            let t = self.training()?;
            let loss = self.loss(t, args, &y_pred, &losses)?;
            if training {
                self.update(t, &loss)?;
                // The second word counts steps.
                key.assign(&key_value + Tensor::from_vec(vec![0u32, 1], [2]))?;
            }
            Ok(vec![])
        })?;
        let plan = Arc::new(plan);
        self.plans.insert(at, plan.clone());
        Ok(plan)
    }

    /// The model's output for `x` as a tensor: for functions of your own, or for its gradients. It has the compute type of the last layer. Terms that
    /// layers add to the loss are left out.
    ///
    /// # Errors
    /// If the input does not fit the model.
    pub fn call(&mut self, x: &Tensor, training: bool) -> Result<Tensor> {
        self.check()?;
        self.check_input(x, "call")?;
        let key = self.key()?.value();
        self.forward(x, training, &key, &mut Vec::new())
    }

    fn forward(&self, x: &Tensor, training: bool, key: &Tensor, losses: &mut Vec<Tensor>) -> Result<Tensor> {
        let (mut y, mut stream) = (x.clone(), 0);
        for node in self.nodes() {
            y = node.call(&y, training, key, &mut stream, losses)?;
        }
        Ok(y)
    }

    /// The scalar loss; also adds the batch to the sums of the loss and of every metric.
    fn loss(&self, t: &Training, args: &[Tensor], y_pred: &Tensor, extra: &[Tensor]) -> Result<Tensor> {
        // As in Keras, losses and metrics are computed in `f32` under every policy.
        let (y_true, y_pred) = (&args[1], &floats_as(y_pred.clone(), DType::F32));
        let mut loss = losses::value(&*t.loss, y_true, y_pred, None, None)
            .map_err(|e| e.context(format!("loss {} of the model's output", t.loss.class_name())))?;
        for term in extra {
            loss = loss + floats_as(term.clone(), DType::F32);
        }
        let batch = y_pred.dim(0) as f32;
        add_to(&t.totals[0], &(&loss * batch), batch)?;
        for (metric, total) in t.metrics.iter().zip(&t.totals[1..]) {
            let values = metric.values(y_true, y_pred, t.loss.sparse_targets()).and_then(|v| v.check().cloned());
            let values = values.map_err(|e| e.context(format!("metric {}", metric.name())))?;
            add_to(total, &values.sum(&[]), values.shape().elements() as f32)?;
        }
        Ok(loss)
    }

    fn update(&self, t: &Training, loss: &Tensor) -> Result<()> {
        let weights: Vec<_> = self.trainable().collect();
        let values: Vec<Tensor> = weights.iter().map(|v| v.value()).collect();
        let mut gradients = Vec::new();
        let scaled = t.scaling.as_ref().map(|s| loss * s.scale.value());
        for (gradient, variable) in scaled.as_ref().unwrap_or(loss).gradients(&values)?.into_iter().zip(&weights) {
            gradients.push(gradient.ok_or_else(|| {
                Error::model(format!(
                    "the loss does not depend on weight {}, so it can not be trained: is its layer's output used?",
                    variable.name()
                ))
            })?);
        }
        let finite = t.scaling.as_ref().map(|s| unscale(s, &mut gradients)).transpose()?;
        // A step whose gradients overflowed changes nothing but the scale.
        t.state.step(&*t.optimizer, &weights, gradients, finite.as_ref())
    }
}

/// Divides gradients of the scaled loss by the scale, which changes for the next step. Gives whether all of them are finite.
fn unscale(scaling: &Scaling, gradients: &mut [Tensor]) -> Result<Tensor> {
    let (scale, steps) = (scaling.scale.value(), scaling.steps.value());
    // NaN wins every maximum.
    let largest = gradients.iter().map(|g| g.abs().max(&[])).reduce(|a, b| a.maximum(b));
    let finite = largest.map_or(Tensor::ones([], DType::Bool), |largest| largest.le(f32::MAX));
    gradients.iter_mut().for_each(|g| *g = &*g / &scale);
    let (next, count) = scaling.rule.next(&scale, &steps, &finite);
    scaling.scale.assign(next)?;
    scaling.steps.assign(count)?;
    Ok(finite)
}

/// `total += (sum, count)`.
fn add_to(total: &ibex_core::Variable, sum: &Tensor, count: f32) -> Result<()> {
    let sum = sum.cast(DType::F32).stop_gradient().reshape([1]);
    total.assign(total.value() + Tensor::concat(&[sum, Tensor::full([1], f64::from(count), DType::F32)], 0))
}
