//! What `compile` sets: how the model learns, and the state that belongs to it.

use super::Model;
use crate::losses::{IntoLosses, Loss};
use crate::metrics::{IntoMetrics, Metric};
use crate::optimizers::{LossScale, LossScaleOptimizer, Optimizer};
use ibex_core::{DType, Data, Error, Result, Tensor, Variable};
use std::collections::HashMap;
use std::sync::Arc;

/// What `compile` sets.
#[derive(Debug)]
pub(crate) struct Training {
    pub optimizer: Box<dyn Optimizer>,
    /// As they were given: one for all outputs, or one for each.
    pub losses: Vec<Arc<dyn Loss>>,
    /// As they were given.
    pub metrics: Vec<Arc<dyn Metric>>,
    /// `i32`, `f32`: steps done, and the learning rate.
    pub iterations: Variable,
    pub learning_rate: Variable,
    /// The weights that are trained, with their slots.
    pub trained: Vec<Trained>,
    /// With an optimizer that scales the loss.
    pub scaling: Option<Scaling>,
    /// `f32 (2,)`: sum and count of the loss.
    pub loss_total: Variable,
    /// The same of each output's loss, if there are several.
    pub loss_totals: Vec<Variable>,
    /// Every metric of every output.
    pub watched: Vec<Watched>,
}

/// A weight that is trained.
#[derive(Debug)]
pub(crate) struct Trained {
    pub variable: Variable,
    pub slots: Vec<Variable>,
}

/// A metric of an output.
#[derive(Debug)]
pub(crate) struct Watched {
    pub metric: Arc<dyn Metric>,
    pub output: usize,
    /// Sum and count; its name is the one in logs.
    pub total: Variable,
}

/// The state of dynamic loss scaling.
#[derive(Debug)]
pub(crate) struct Scaling {
    pub rule: LossScale,
    /// `f32`: the factor of the loss.
    pub scale: Variable,
    /// `i32`: steps with finite gradients since the factor changed.
    pub steps: Variable,
}

impl Training {
    /// Sums and counts of everything that logs show.
    pub fn totals(&self) -> impl Iterator<Item = &Variable> {
        std::iter::once(&self.loss_total).chain(&self.loss_totals).chain(self.watched.iter().map(|w| &w.total))
    }

    /// The loss of an output.
    pub fn loss(&self, output: usize) -> &dyn Loss {
        &**self.losses.get(output).unwrap_or(&self.losses[0])
    }
}

impl Model {
    /// Sets the optimizer, the loss and the metrics. One loss is for all outputs; a tuple has one for each. Metrics are one kind in an array, or several
    /// in a tuple, and look at every output. Where a layer computes in `f16`, the optimizer becomes a [`LossScaleOptimizer`] if it is none.
    ///
    /// # Errors
    /// The mistake of a layer that was added before; `Model` if there are no layers, or not as many losses as outputs; `Value` for an option out of
    /// its domain.
    pub fn compile(
        &mut self,
        optimizer: impl Optimizer,
        losses: impl IntoLosses,
        metrics: impl IntoMetrics,
    ) -> Result<()> {
        self.compile_boxed(Box::new(optimizer), losses.into_losses(), metrics.into_metrics())
    }

    pub(crate) fn compile_boxed(
        &mut self,
        optimizer: Box<dyn Optimizer>,
        losses: Vec<Box<dyn Loss>>,
        metrics: Vec<Box<dyn Metric>>,
    ) -> Result<()> {
        self.check()?;
        let outputs = self.output_names();
        if losses.len() != 1 && losses.len() != outputs.len() {
            return Err(Error::model(format!(
                "compile: got {} losses for {} outputs ({}); give one for all, or one for each",
                losses.len(),
                outputs.len(),
                outputs.join(", ")
            )));
        }
        let policy = self.policy();
        let narrow = |i: &crate::Instance| i.policy().unwrap_or(policy).compute_dtype() == DType::F16;
        let optimizer = match optimizer.loss_scale() {
            None if self.layers().iter().any(|n| narrow(n.instance())) => Box::new(LossScaleOptimizer::new(optimizer)),
            _ => optimizer,
        };
        let scaling = optimizer.loss_scale().map(|rule| -> Result<Scaling> {
            rule.check()?;
            let scale = Variable::new("dynamic_scale", Tensor::scalar(rule.initial))?;
            Ok(Scaling { rule, scale, steps: Variable::new("step_counter", Tensor::scalar(0i32))? })
        });
        let scaling = scaling.transpose()?;
        let mut trained = Vec::new();
        for (name, weight) in self.named_weights().into_iter().filter(|(_, w)| w.trainable()) {
            let v = &weight.variable;
            let slot = |slot: &&str| Variable::new(format!("{name}/{slot}"), Tensor::zeros(v.shape(), v.dtype()));
            let slots = optimizer.slots().iter().map(slot).collect::<Result<Vec<_>>>()?;
            trained.push(Trained { variable: v.clone(), slots });
        }
        let total = |name: String| Variable::new(name, Tensor::from_vec(vec![0f32; 2], [2]));
        let several = outputs.len() > 1;
        let loss_totals: Vec<Variable> = match several {
            true => outputs.iter().map(|name| total(format!("{name}_loss"))).collect::<Result<_>>()?,
            false => Vec::new(),
        };
        let metrics: Vec<Arc<dyn Metric>> = metrics.into_iter().map(Arc::from).collect();
        let mut watched = Vec::new();
        let mut used: HashMap<String, usize> = HashMap::new();
        for (output, output_name) in outputs.iter().enumerate() {
            for metric in &metrics {
                let name = if several { format!("{output_name}_{}", metric.name()) } else { metric.name() };
                let count = used.entry(name.clone()).or_insert(0);
                // A second metric of one name is `auc_1`, as in Keras.
                let name = if *count == 0 { name } else { format!("{name}_{count}") };
                *count += 1;
                watched.push(Watched { metric: metric.clone(), output, total: total(name)? });
            }
        }
        let rate = optimizer.options().learning_rate;
        self.training = Some(Training {
            iterations: Variable::new("iteration", Tensor::scalar(0i32))?,
            learning_rate: Variable::new("learning_rate", Tensor::scalar(rate))?,
            loss_total: total("loss".into())?,
            loss_totals,
            watched,
            optimizer,
            losses: losses.into_iter().map(Arc::from).collect(),
            metrics,
            trained,
            scaling,
        });
        self.plans.clear();
        Ok(())
    }

    /// The optimizer's learning rate from now on.
    ///
    /// # Errors
    /// `Model` before `compile`.
    pub fn set_learning_rate(&self, rate: f32) -> Result<()> {
        self.training()?.learning_rate.set(&Data::F32(vec![rate]))
    }

    /// The factor that the loss is multiplied by at the moment, before gradients are computed and divided by it; 1 without
    /// [`LossScaleOptimizer`]. Not there in a browser.
    ///
    /// # Errors
    /// `Model` before `compile`; whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn loss_scale(&self) -> Result<f32> {
        let Some(scaling) = &self.training()?.scaling else { return Ok(1.0) };
        let scale = self.open()?.read_now(&scaling.scale.value())?;
        Ok(scale.to_f64()[0] as f32)
    }

    pub(crate) fn training(&self) -> Result<&Training> {
        self.check()?;
        self.training.as_ref().ok_or_else(|| match &self.uncompiled {
            Some(error) => error.clone(),
            None => Error::model("compile the model before training or evaluating it"),
        })
    }
}
