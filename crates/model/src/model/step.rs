//! The three programs of a model: a training step, an evaluation step, a prediction.

use super::Model;
use super::compile::{Scaling, Training, Watched};
use crate::graph::{Masked, Node};
use crate::layers::{Pass, floats_as};
use crate::losses;
use crate::metrics::Batch;
use ibex_core::{DType, Error, Function, Plan, Result, Shape, Tensor, Variable};
use std::sync::{Arc, PoisonError};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Inputs, targets and maybe sample weights, no results: weights, optimizer state, loss and metrics are updated in place.
    Train,
    /// As `Train`, no results: loss and metrics are updated in place.
    Evaluate,
    /// Inputs to predictions.
    Predict,
}

impl Model {
    /// The compiled program for arguments of the given shapes, traced now if it is not there.
    pub(crate) fn plan(&self, kind: Kind, specs: &[(Shape, DType)]) -> Result<Arc<Plan>> {
        let at = (kind, specs.to_vec());
        // A map of plans is whole whatever a panicking thread did with it.
        let plans = || self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let known = plans().get(&at).cloned();
        if let Some(plan) = known {
            return Ok(plan);
        }
        let device = self.open()?;
        // Plans belong to a device: what is the default later no longer matters.
        let device = self.device.get_or_init(|| device);
        let key = self.key()?;
        let plan = Plan::trace(device, specs, |args| {
            let key_value = key.value();
            let mut pass = Pass::new(kind == Kind::Train, self.policy, &key_value);
            let (inputs, rest) = args.split_at(self.graph.inputs.len());
            if kind == Kind::Predict {
                return self.predictions(inputs, &mut pass);
            }
            let outputs = self.forward(inputs, &mut pass)?;
            let t = self.training()?;
            let (targets, weights) = rest.split_at(outputs.len());
            let loss = self.loss(t, targets, weights, &outputs, &pass.losses)?;
            if kind == Kind::Train {
                self.update(t, &loss)?;
                key.assign(next_step(&key_value))?;
            }
            Ok(vec![])
        })?;
        let plan = Arc::new(plan);
        plans().insert(at, plan.clone());
        Ok(plan)
    }

    /// The model's (first) output for `x` as a tensor: for functions of your own, or for its gradients. It has the compute type of the last layer. Terms
    /// that layers add to the loss are left out. With `training`, each call (or run of the [`Function`] that makes it) has other random numbers. A
    /// function that is called later can share the model by an [`Arc`]; [`Model::minimize`] trains it there. Meanwhile the model can predict, and be saved;
    /// where more is wanted, `Arc::into_inner(model)` gives it back once all such functions are dropped.
    ///
    /// # Errors
    /// If the input does not fit the model.
    pub fn call(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        Ok(self.call_all(std::slice::from_ref(x), training)?.swap_remove(0))
    }

    /// [`Model::call`] for all inputs and outputs.
    ///
    /// # Errors
    /// As [`Model::call`].
    pub fn call_all(&self, inputs: &[Tensor], training: bool) -> Result<Vec<Tensor>> {
        self.check()?;
        self.check_inputs(inputs, "call")?;
        let key = self.key()?;
        let key_value = key.value();
        let inputs: Vec<Tensor> = inputs.iter().zip(self.inputs()).map(|(x, input)| x.cast(input.dtype())).collect();
        let before = self.values(&key);
        let outputs = self.forward(&inputs, &mut Pass::new(training, self.policy, &key_value))?;
        if training {
            key.assign(next_step(&key_value))?;
        }
        if !Function::is_traced() {
            self.settle(before)?;
        }
        Ok(outputs.into_iter().map(|(y, _)| y).collect())
    }

    /// The key and all that layers keep, with their values.
    fn values(&self, key: &Variable) -> Vec<(Variable, Tensor)> {
        let kept = self.graph.nodes.iter().flat_map(Node::weights).map(|weight| &weight.variable);
        kept.chain([key]).map(|variable| (variable.clone(), variable.value())).collect()
    }

    /// Computes now what has another value than before: the next call would add to what is not computed yet, and so on without an end.
    fn settle(&self, before: Vec<(Variable, Tensor)>) -> Result<()> {
        let now = before.into_iter().map(|(variable, old)| (variable.value(), variable, old));
        let (values, changed): (Vec<_>, Vec<_>) =
            now.filter(|(new, _, old)| new.id() != old.id()).map(|(new, variable, _)| (new, variable)).unzip();
        if values.is_empty() {
            return Ok(());
        }
        changed.iter().zip(self.open()?.eval(&values)?).try_for_each(|(variable, value)| variable.assign(value))
    }

    /// One step of the optimizer that [`Model::compile`] set, down the gradient of a scalar loss: for training steps of your own, inside of a
    /// [`Function`]. All that the optimizer does otherwise is done here too, clipping and loss scaling for instance, and its state is the model's. Penalties
    /// of regularizers and what layers add to the loss are not in it unless you add them.
    ///
    /// ```
    /// use ibex::prelude::*;
    /// use std::sync::Arc;
    ///
    /// # fn main() -> ibex::Result<()> {
    /// let mut model = Sequential::new([2]).add(Dense::new(1));
    /// model.compile(Adam::new(0.1), MeanSquaredError::new(), ())?;
    /// let model = Arc::new(model);
    /// let trained = model.clone();
    /// let step = Function::from_slice(&ibex::default_device()?, move |args| {
    ///     let [x, y] = args else { return Err(ibex::Error::value("takes x and y")) };
    ///     let loss = (trained.call(x, true)? - y).abs().mean(&[]);
    ///     trained.minimize(&loss)?;
    ///     Ok(vec![loss])
    /// });
    /// let (x, y) = (Tensor::rand([8, 2], 0), Tensor::rand([8, 1], 1));
    /// let before: f32 = step.call(&[&x, &y])?[0].item()?;
    /// assert!(step.call(&[&x, &y])?[0].item::<f32>()? < before);
    /// assert_eq!(model.iterations()?, 2);
    ///
    /// // The function has the model too: without it, the model is one's own again.
    /// drop(step);
    /// let mut model = Arc::into_inner(model).ok_or_else(|| ibex::Error::value("it is shared"))?;
    /// model.fit((&x, &y), Fit::epochs(1).verbose(0))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Model` before `compile`, outside of a function, or naming a trained weight that the loss does not depend on; `Shape` if the loss is no scalar.
    pub fn minimize(&self, loss: &Tensor) -> Result<()> {
        let training = self.training()?;
        if !Function::is_traced() {
            let text = "minimize: a training step is traced once and replayed; call this inside of a Function";
            return Err(Error::model(text));
        }
        self.update(training, loss)
    }

    /// All outputs, as `f32` if they are floats.
    pub(crate) fn predictions(&self, inputs: &[Tensor], pass: &mut Pass) -> Result<Vec<Tensor>> {
        Ok(self.forward(inputs, pass)?.into_iter().map(|(y, _)| floats_as(y, DType::F32)).collect())
    }

    fn forward(&self, inputs: &[Tensor], pass: &mut Pass) -> Result<Vec<Masked>> {
        let inputs: Vec<Masked> = inputs.iter().map(|x| (x.clone(), None)).collect();
        self.graph.run(&inputs, pass)
    }

    /// The scalar loss; also adds the batch to the sums of the loss and of every metric.
    fn loss(
        &self,
        t: &Training,
        targets: &[Tensor],
        weights: &[Tensor],
        outputs: &[Masked],
        extra: &[Tensor],
    ) -> Result<Tensor> {
        // As in Keras, losses and metrics are computed in `f32` under every policy.
        let outputs: Vec<Masked> =
            outputs.iter().map(|(y, mask)| (floats_as(y.clone(), DType::F32), mask.clone())).collect();
        let samples = outputs[0].0.dim(0) as f32;
        // One weight is for all outputs.
        let weight = |output: usize| weights.get(output).or(weights.first());
        let mut values = Vec::new();
        for (i, (y_pred, mask)) in outputs.iter().enumerate() {
            let loss = t.loss(i);
            let value = losses::value(loss, &targets[i], y_pred, weight(i), mask.as_ref());
            let value =
                value.map_err(|e| e.context(format!("loss {} of {}", loss.class_name(), self.output_label(i))))?;
            values.push(value);
        }
        // The losses of outputs are reported without their weights, as in Keras.
        let weighted = values.iter().enumerate().map(|(i, value)| match t.loss(i).weight() {
            1.0 => value.clone(),
            weight => value * weight,
        });
        let mut loss = weighted.reduce(|a, b| a + b).unwrap_or_else(|| Tensor::zeros([], DType::F32));
        for term in extra {
            loss = loss + floats_as(term.clone(), DType::F32);
        }
        for (weight, rule) in self.weights().filter(|w| w.trainable()).filter_map(|w| Some((w, w.regularizer?))) {
            loss = loss + rule.penalty(&weight.variable.value());
        }
        let mut sums = vec![Tensor::scalar(samples), &loss * samples];
        if values.len() > 1 {
            sums.extend(values.iter().map(|l| l * samples));
        }
        for Watched { metric, output, name, .. } in &t.watched {
            let (y_pred, mask) = &outputs[*output];
            let own = weight(*output).filter(|_| metric.takes_weights());
            let mask = mask.as_ref().map(|m| m.cast(DType::F32));
            let weights = match (own, mask) {
                (Some(w), Some(m)) if w.rank() < m.rank() => Some(w.cast(DType::F32).unsqueeze(-1) * m),
                (Some(w), Some(m)) => Some(w.cast(DType::F32) * m),
                (own, mask) => own.cloned().or(mask),
            };
            let (y_true, sparse) = (&targets[*output], t.loss(*output).sparse_targets());
            let batch = Batch { y_true, y_pred, weights: weights.as_ref(), sparse };
            let added = metric.update(&batch).and_then(|all| all.iter().map(|s| s.check().cloned()).collect());
            sums.extend::<Vec<_>>(added.map_err(|e| e.context(format!("metric {name}")))?);
        }
        t.totals.add(&sums)?;
        Ok(loss)
    }

    /// An output in messages: by the layer that gives it.
    pub(super) fn output_label(&self, i: usize) -> String {
        let name = self.output_names().swap_remove(i);
        format!("output {name}")
    }

    fn update(&self, t: &Training, loss: &Tensor) -> Result<()> {
        let values: Vec<Tensor> = t.trained.iter().map(|t| t.variable.value()).collect();
        let mut gradients = Vec::new();
        let scaled = t.scaling.as_ref().map(|s| loss * s.scale.value());
        for (gradient, trained) in scaled.as_ref().unwrap_or(loss).gradients(&values)?.into_iter().zip(&t.trained) {
            gradients.push(gradient.ok_or_else(|| {
                Error::model(format!(
                    "the loss does not depend on weight {}, so it can not be trained: is its layer's output used?",
                    trained.name
                ))
            })?);
        }
        let finite = t.scaling.as_ref().map(|s| unscale(s, &mut gradients)).transpose()?;
        t.state.step(&*t.optimizer, &t.trained, gradients, finite.as_ref())
    }
}

/// The key of the next step, which its second word counts.
fn next_step(key: &Tensor) -> Tensor {
    key + Tensor::from_vec(vec![0u32, 1], [2])
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
