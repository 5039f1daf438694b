//! What `compile` sets: how the model learns, and the state that belongs to it.

use super::Model;
use crate::graph::in_user_code;
use crate::losses::{IntoLosses, Loss};
use crate::metrics::{IntoMetrics, Metric, Totals};
use crate::optimizers::{LossScale, LossScaleOptimizer, Optimizer, RMSprop, State, Trained};
use ibex_core::{DType, Error, Result, Shape, Tensor, Variable};
use std::panic::Location;
use std::sync::{Arc, Mutex};

/// What `compile` sets.
#[derive(Debug)]
pub(crate) struct Training {
    pub optimizer: Arc<dyn Optimizer>,
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

/// What a file sets of a training that can not begin: its optimizer or its state can not be used.
#[derive(Debug)]
pub(crate) struct Uncompiled {
    error: Error,
    losses: Vec<Arc<dyn Loss>>,
    metrics: Vec<Arc<dyn Metric>>,
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

/// Losses as a model shares them with its programs, if their settings are good.
fn checked_losses(losses: Vec<Box<dyn Loss>>) -> Result<Vec<Arc<dyn Loss>>> {
    losses.iter().try_for_each(|l| l.check().map_err(|e| e.context(format!("loss {}", l.class_name()))))?;
    Ok(losses.into_iter().map(Arc::from).collect())
}

/// Metrics likewise.
fn checked_metrics(metrics: Vec<Box<dyn Metric>>) -> Result<Vec<Arc<dyn Metric>>> {
    metrics.iter().try_for_each(|m| m.check().map_err(|e| e.context(format!("metric {}", m.name()))))?;
    Ok(metrics.into_iter().map(Arc::from).collect())
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
        let (losses, metrics) = (losses.into_losses(), metrics.into_metrics());
        let compiled = checked_losses(losses).and_then(|losses| {
            self.compile_shared(self.scaled(Box::new(optimizer)), losses, checked_metrics(metrics)?)
        });
        compiled.map_err(|e| in_user_code(e, site))
    }

    /// Replaces some of what [`Model::compile`] set, and keeps the rest: for a model from a file, of which the program need not know more. An optimizer
    /// that is kept goes on from its state.
    ///
    /// # Errors
    /// As [`Model::compile`], and then nothing is changed; `Model` if nothing was set before and the loss is not given. Without an optimizer it is then
    /// `RMSprop`, as in Keras. A file's loss or metric that is your own is given so after loading: what stands in the file is no error unless it is kept and
    /// the model shall be trained.
    pub fn recompile(
        &mut self,
        optimizer: Option<Box<dyn Optimizer>>,
        losses: Option<Vec<Box<dyn Loss>>>,
        metrics: Option<Vec<Box<dyn Metric>>>,
    ) -> Result<()> {
        let keeps = optimizer.is_none();
        let (old, waiting) = (self.training.as_ref(), self.uncompiled.as_ref());
        let optimizer: Arc<dyn Optimizer> = match (optimizer, old, waiting) {
            (Some(new), ..) => self.scaled(new),
            (None, Some(t), _) => t.optimizer.clone(),
            (None, None, Some(w)) => return Err(w.error.clone().context("recompile: give the optimizer")),
            (None, None, None) => self.scaled(Box::new(RMSprop::new(1e-3))),
        };
        let (old_losses, old_metrics) = match (old, waiting) {
            (Some(t), _) => (t.losses.clone(), t.metrics.clone()),
            (None, Some(w)) => (w.losses.clone(), w.metrics.clone()),
            (None, None) => (Vec::new(), Vec::new()),
        };
        let losses = losses.map_or(Ok(old_losses), checked_losses)?;
        let metrics = metrics.map_or(Ok(old_metrics), checked_metrics)?;
        if losses.is_empty() {
            return Err(match waiting {
                Some(w) => w.error.clone().context("recompile: give the loss"),
                None => Error::model("the model was not compiled before: give a loss"),
            });
        }
        let old = self.training.take();
        if let Err(error) = self.compile_shared(optimizer, losses, metrics) {
            self.training = old;
            return Err(error);
        }
        if let (true, Some(old), Some(new)) = (keeps, old, &mut self.training) {
            let ids = |t: &Training| t.trained.iter().map(|t| t.variable.id()).collect::<Vec<_>>();
            if ids(&old) == ids(new) {
                (new.state, new.scaling) = (old.state, old.scaling);
            }
        }
        Ok(())
    }

    /// Compiles the model as its file says. What can not be used is reported when the model shall be trained, and the rest is kept for
    /// [`Model::recompile`].
    pub(crate) fn compile_read(
        &mut self,
        optimizer: Result<Box<dyn Optimizer>>,
        losses: Vec<Box<dyn Loss>>,
        metrics: Vec<Box<dyn Metric>>,
    ) {
        let losses: Vec<Arc<dyn Loss>> = losses.into_iter().map(Arc::from).collect();
        let metrics: Vec<Arc<dyn Metric>> = metrics.into_iter().map(Arc::from).collect();
        let compiled = optimizer.and_then(|o| self.compile_shared(self.scaled(o), losses.clone(), metrics.clone()));
        if let Err(error) = compiled {
            let error = error.context("the file's settings for training can not be used; compile the model");
            self.uncompiled = Some(Uncompiled { error, losses, metrics });
        }
    }

    /// Gives up the optimizer with its state for a reason; false if there is none.
    pub(crate) fn leave_uncompiled(&mut self, error: Error) -> bool {
        let Some(Training { losses, metrics, .. }) = self.training.take() else { return false };
        self.uncompiled = Some(Uncompiled { error, losses, metrics });
        true
    }

    /// With loss scaling where a layer computes in `f16`.
    fn scaled(&self, optimizer: Box<dyn Optimizer>) -> Arc<dyn Optimizer> {
        let policy = self.policy();
        let narrow = |i: &crate::Instance| i.policy().unwrap_or(policy).compute_dtype() == DType::F16;
        match optimizer.loss_scale() {
            None if self.layers().iter().any(|n| narrow(n.instance())) => Arc::new(LossScaleOptimizer::new(optimizer)),
            _ => optimizer.into(),
        }
    }

    fn compile_shared(
        &mut self,
        optimizer: Arc<dyn Optimizer>,
        losses: Vec<Arc<dyn Loss>>,
        metrics: Vec<Arc<dyn Metric>>,
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
            losses,
            metrics,
            trained,
            scaling,
        });
        self.uncompiled = None;
        self.plans = Mutex::default();
        Ok(())
    }

    /// The optimizer's learning rate from now on.
    ///
    /// # Errors
    /// `Model` before `compile`, and if the optimizer's rate follows a schedule; `Value` if it is negative or no number.
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
            Some(waiting) => waiting.error.clone(),
            None => Error::model("compile the model before training or evaluating it"),
        })
    }

    /// [`Model::training`], if losses and metrics can be computed.
    pub(crate) fn ready(&self) -> Result<&Training> {
        let training = self.training()?;
        training.losses.iter().try_for_each(|loss| loss.check())?;
        training.metrics.iter().try_for_each(|metric| metric.check())?;
        Ok(training)
    }
}
