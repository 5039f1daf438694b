//! What a layer sees while it computes.

use super::Weight;
use crate::policy::DTypePolicy;
use crate::regularizers::Regularizer;
use ibex_core::{DType, Error, Result, Tensor};

/// One trace through a model, which all of its layers share.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    pub training: bool,
    /// Are only shapes wanted? Then nothing is assigned.
    pub sketch: bool,
    /// Within a frozen model.
    pub frozen: bool,
    /// Of layers that have no policy of their own.
    pub policy: DTypePolicy,
    /// `u32 (2,)`: differs in every training step.
    pub key: &'a Tensor,
    /// The next stream of random numbers.
    pub stream: u32,
    /// The terms that layers add to the loss.
    pub losses: Vec<Tensor>,
    /// What layers gave, if somebody wants to know.
    pub record: Option<Record>,
}

/// What the layers of a model gave, in the order in which they ran; the layers of a model inside of the model come before it.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Names of the layers that run: of a model, and of one inside of it.
    scope: Vec<String>,
    /// Names (`encoder/dense`) and outputs.
    pub layers: Vec<(String, Vec<Tensor>)>,
}

impl<'a> Pass<'a> {
    pub fn new(training: bool, policy: DTypePolicy, key: &'a Tensor) -> Self {
        Pass { training, sketch: false, frozen: false, policy, key, stream: 0, losses: Vec::new(), record: None }
    }

    /// A layer begins to run.
    pub fn enter(&mut self, name: &str) {
        if let Some(record) = &mut self.record {
            record.scope.push(name.into());
        }
    }

    /// The layer that began last has run.
    pub fn leave(&mut self, outputs: &[Tensor]) {
        if let Some(record) = &mut self.record {
            record.layers.push((record.scope.join("/"), outputs.to_vec()));
            record.scope.pop();
        }
    }
}

/// What a layer sees while it computes.
#[derive(Debug)]
pub struct Context<'a, 'p> {
    weights: &'a [Weight],
    /// The element type of the layer's policy.
    compute: DType,
    /// Does training change the layer?
    trainable: bool,
    masks: &'a [Option<Tensor>],
    pub(crate) mask: Option<Option<Tensor>>,
    /// `forward_layer/` within a layer inside of the layer.
    scope: String,
    pub(crate) pass: &'a mut Pass<'p>,
}

impl<'a, 'p> Context<'a, 'p> {
    pub(crate) fn new(
        weights: &'a [Weight],
        compute: DType,
        trainable: bool,
        masks: &'a [Option<Tensor>],
        pass: &'a mut Pass<'p>,
    ) -> Self {
        Context { weights, compute, trainable, masks, mask: None, scope: String::new(), pass }
    }

    /// True while the model is trained, false while it is evaluated or predicts.
    pub fn training(&self) -> bool {
        self.pass.training
    }

    /// Does training change the layer's weights? False for a frozen layer.
    pub fn trainable(&self) -> bool {
        self.trainable
    }

    /// The element type that the layer computes in: `f32` unless a [`DTypePolicy`] says otherwise.
    pub fn compute_dtype(&self) -> DType {
        self.compute
    }

    /// The value of a weight by the name it was declared with, poisoned if there is none: in the compute type if it is trained, as it is
    /// stored if it is state, which `f16` would make too coarse to be averaged.
    #[track_caller]
    pub fn weight(&self, name: &str) -> Tensor {
        match self.find(name) {
            Ok(weight) if weight.is_state() => weight.variable.value(),
            Ok(weight) => floats_as(weight.variable.value(), self.compute),
            Err(error) => Tensor::poisoned(error),
        }
    }

    /// The value of a weight in an element type of your choice: for layers that compute in `f32` inside under every policy.
    #[track_caller]
    pub fn weight_as(&self, name: &str, dtype: DType) -> Tensor {
        match self.find(name) {
            Ok(weight) => weight.variable.value().cast(dtype),
            Err(error) => Tensor::poisoned(error),
        }
    }

    /// Gives a weight a new value each time that the program runs: for moving averages. Other floats are cast to the weight's type.
    ///
    /// # Errors
    /// `Value` if there is no such weight, `Shape` or `DType` if the value does not fit.
    #[track_caller]
    pub fn assign(&self, name: &str, value: &Tensor) -> Result<()> {
        let variable = &self.find(name)?.variable;
        if self.pass.sketch {
            return Ok(());
        }
        variable.assign(floats_as(value.clone(), variable.dtype()))
    }

    /// The mask of an input: `bool (batch, steps)`, false where a step does not count.
    pub fn mask(&self, input: usize) -> Option<Tensor> {
        self.masks.get(input).cloned().flatten()
    }

    /// Sets the mask of the (first) output, or takes it away.
    pub fn set_mask(&mut self, mask: Option<Tensor>) {
        self.mask = Some(mask);
    }

    /// Computes with a layer inside of this one, whose weights were declared [within](super::Weights::within) the same name.
    pub fn within<T>(&mut self, name: &str, compute: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.scope.len();
        self.scope += name;
        self.scope.push('/');
        let result = compute(self);
        self.scope.truncate(outer);
        result
    }

    /// Computes with a layer inside of this one that sees other samples, for which the masks do not hold.
    pub(crate) fn unmasked<T>(&mut self, compute: impl FnOnce(&mut Context<'_, 'p>) -> T) -> T {
        let mut inside = Context::new(self.weights, self.compute, self.trainable, &[], self.pass);
        inside.scope.clone_from(&self.scope);
        compute(&mut inside)
    }

    /// Uniform `f32` numbers in `[0, 1)`, others in every training step and for every call.
    #[track_caller]
    pub fn uniform(&mut self, shape: impl Into<ibex_core::Shape>) -> Tensor {
        Tensor::random_uniform(self.pass.key, self.streams(1), shape)
    }

    /// Standard normal `f32` numbers, others in every training step and for every call.
    #[track_caller]
    pub fn normal(&mut self, shape: impl Into<ibex_core::Shape>) -> Tensor {
        // Two uniform numbers make a normal one.
        Tensor::random_normal(self.pass.key, self.streams(2), shape)
    }

    /// The first of so many streams of random numbers that nobody else has.
    fn streams(&mut self, count: u32) -> u32 {
        self.pass.stream += count;
        self.pass.stream - count
    }

    /// Adds a scalar term to the loss.
    pub fn add_loss(&mut self, loss: Tensor) {
        self.pass.losses.push(loss);
    }

    /// Adds what a regularizer gives for an output, divided by the size of the batch: Keras's `activity_regularizer`.
    pub fn penalize(&mut self, regularizer: Option<Regularizer>, output: &Tensor) {
        if let Some(regularizer) = regularizer {
            let batch = output.shape().first().map_or(1.0, |&batch| batch.max(1) as f32);
            self.add_loss(regularizer.penalty(&output.cast(DType::F32)) / batch);
        }
    }

    fn find(&self, name: &str) -> Result<&Weight> {
        let full = format!("{}{name}", self.scope);
        let found = self.weights.iter().find(|w| w.name() == full);
        found.ok_or_else(|| Error::value(format!("no weight {full:?}; `build` must declare it")))
    }
}

/// Floats of any width in another; everything else as it is.
#[track_caller]
pub(crate) fn floats_as(x: Tensor, dtype: DType) -> Tensor {
    if x.dtype().is_float() && dtype.is_float() { x.cast(dtype) } else { x }
}
