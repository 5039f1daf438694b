//! What `compile` sets: how the model learns, and the state that belongs to it.

use super::Model;
use crate::graph::in_user_code;
use crate::losses::{IntoLosses, Loss};
use crate::metrics::{IntoMetrics, Metric, Totals};
use crate::optimizers::{LossScale, LossScaleOptimizer, Optimizer, State, Trained};
use ibex_core::{DType, Error, Result, Shape, Tensor, Variable};
use std::panic::Location;
use std::sync::Arc;

/// What `compile` sets.
#[derive(Debug)]
pub(crate) struct Training {
    pub optimizer: Box<dyn Optimizer>,
    /// As they were given: one for all outputs, or one for each.
    pub losses: Vec<Arc<dyn Loss>>,
    /// As they were given.
    pub metrics: Vec<Arc<dyn Metric>>,
    /// The weights that are trained.
    pub trained: Vec<Trained>,
    /// What the optimizer keeps: steps done, the learning rate, and slots for every trained weight.
    pub state: State,
    /// With an optimizer that scales the loss.
    pub scaling: Option<Scaling>,
    /// Number of samples, sum of the loss, sums of the losses of all outputs if there are several, then the state of every metric.
    pub totals: Totals,
    /// Names of the losses in logs.
    pub loss_names: Vec<String>,
    /// Every metric of every output.
    pub watched: Vec<Watched>,
}

/// A metric of an output.
#[derive(Debug)]
pub(crate) struct Watched {
    pub metric: Arc<dyn Metric>,
    pub output: usize,
    /// The one in logs.
    pub name: String,
    /// How many numbers it adds up.
    pub states: usize,
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
    /// The loss of an output.
    pub fn loss(&self, output: usize) -> &dyn Loss {
        &**self.losses.get(output).unwrap_or(&self.losses[0])
    }
}

impl Model {
    /// Sets the optimizer, the loss and the metrics. One loss is for all outputs; a tuple has one for each. Metrics are one kind in an array, or several
    /// in a tuple, and look at every output unless they are [of](Metric::of) one. Where a layer computes in `f16`, the optimizer becomes a [`LossScaleOptimizer`] if it is none.
    ///
    /// # Errors
    /// The mistake of a layer that was added before; `Model` if there are no layers, or not as many losses as outputs; `Value` for an option out of
    /// its domain.
    #[track_caller]
    pub fn compile(
        &mut self,
        optimizer: impl Optimizer,
        losses: impl IntoLosses,
        metrics: impl IntoMetrics,
    ) -> Result<()> {
        let site = Location::caller();
        let compiled = self.compile_boxed(Box::new(optimizer), losses.into_losses(), metrics.into_metrics());
        compiled.map_err(|e| in_user_code(e, site))
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
            let scale = Variable::new("dynamic_scale", Tensor::scalar(rule.initial))?;
            Ok(Scaling { rule, scale, steps: Variable::new("step_counter", Tensor::scalar(0i32))? })
        });
        let scaling = scaling.transpose()?;
        let weights = self.named_weights().into_iter().filter(|(_, w)| w.trainable());
        let trained =
            weights.map(|(name, w)| Trained { name, variable: w.variable.clone(), constraint: w.constraint.clone() });
        let trained: Vec<Trained> = trained.collect();
        let state = State::new(&*optimizer, &trained)?;
        let several = outputs.len() > 1;
        let mut loss_names = vec!["loss".to_string()];
        loss_names.extend(outputs.iter().filter(|_| several).map(|name| format!("{name}_loss")));
        let mut shapes = vec![Shape::from([]); 1 + loss_names.len()];
        let metrics: Vec<Arc<dyn Metric>> = metrics.into_iter().map(Arc::from).collect();
        if let Some(name) = metrics.iter().find_map(|m| m.output().filter(|name| !outputs.iter().any(|o| o == name))) {
            let text =
                format!("compile: a metric is of output {name:?}; the model's outputs are {}", outputs.join(", "));
            return Err(Error::model(text));
        }
        let mut watched: Vec<Watched> = Vec::new();
        for (output, output_name) in outputs.iter().enumerate() {
            for metric in metrics.iter().filter(|m| m.output().is_none_or(|name| name == output_name)) {
                let name = if several { format!("{output_name}_{}", metric.name()) } else { metric.name() };
                // A second metric of one name is `auc_1`, as in Keras.
                let taken = |n: &String| watched.iter().any(|w| w.name == *n);
                let numbered = (1..).map(|i| format!("{name}_{i}"));
                let name = std::iter::once(name.clone()).chain(numbered).find(|n| !taken(n)).unwrap_or_default();
                let state = metric.state(self.outputs()[output].shape());
                let state = state.and_then(|all| match all.iter().find(|s| s.contains(&Shape::ANY)) {
                    None => Ok(all),
                    Some(shape) => Err(Error::shape(format!(
                        "it would keep {shape} numbers of output {output_name}, so None can not be the length of that axis: give it"
                    ))),
                });
                let state = state.map_err(|e| e.context(format!("metric {name}")))?;
                watched.push(Watched { metric: metric.clone(), output, name, states: state.len() });
                shapes.extend(state);
            }
        }
        self.training = Some(Training {
            state,
            totals: Totals::new(shapes)?,
            loss_names,
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
    /// `Model` before `compile`, and if the optimizer's rate follows a schedule.
    pub fn set_learning_rate(&self, rate: f32) -> Result<()> {
        self.training()?.state.set_learning_rate(rate)
    }

    /// The optimizer's learning rate: of a schedule, that of the next step. Not there in a browser.
    ///
    /// # Errors
    /// `Model` before `compile`; whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn learning_rate(&self) -> Result<f32> {
        let t = self.training()?;
        let rate = self.open()?.read_now(&t.state.learning_rate(t.optimizer.options()))?;
        Ok(rate.to_f64()[0] as f32)
    }

    /// How many steps the optimizer has done. Not there in a browser.
    ///
    /// # Errors
    /// `Model` before `compile`; whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn iterations(&self) -> Result<usize> {
        let steps = self.open()?.read_now(&self.training()?.state.iterations.value())?;
        Ok(steps.to_f64()[0] as usize)
    }

    /// Are larger values of a loss or a metric better? `None` if nobody can say, or there is none of that name.
    pub(crate) fn direction(&self, name: &str) -> Option<bool> {
        let t = self.training.as_ref()?;
        if t.loss_names.iter().any(|n| n == name) {
            return Some(false);
        }
        // Of a metric that is a list, one number.
        let is = |w: &&Watched| name.strip_prefix(&w.name).is_some_and(|r| r.is_empty() || r.starts_with('['));
        t.watched.iter().find(is)?.metric.direction()
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
