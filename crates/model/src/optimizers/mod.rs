//! Optimizers: how gradients change weights. Formulas, constants and the order of steps are those of Keras 3.
//!
//! An optimizer says what it does to one weight; the model traces that for all weights into the training program.

mod adam;
mod loss_scale;
mod rmsprop;
mod sgd;

pub use adam::Adam;
pub use loss_scale::{LossScale, LossScaleOptimizer};
pub use rmsprop::RMSprop;
pub use sgd::SGD;

use crate::config::Config;
use ibex_core::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// What every optimizer has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Step size.
    pub learning_rate: f32,
    /// Weights shrink by this times the learning rate before each step.
    pub weight_decay: Option<f32>,
    /// Largest norm of the gradient of each weight.
    pub clipnorm: Option<f32>,
    /// Largest norm of all gradients together.
    pub global_clipnorm: Option<f32>,
    /// Largest absolute value in a gradient.
    pub clipvalue: Option<f32>,
}

impl Options {
    pub(crate) fn new(learning_rate: f32) -> Self {
        Options { learning_rate, ..Options::default() }
    }
}

/// Setters for [`Options`] on an optimizer that keeps them in its field `options`.
macro_rules! option_setters {
    () => {
        /// Weights shrink by this times the learning rate before each step.
        pub fn weight_decay(mut self, rate: f32) -> Self {
            self.options.weight_decay = Some(rate);
            self
        }

        /// Scales the gradient of each weight down to this norm.
        pub fn clipnorm(mut self, norm: f32) -> Self {
            self.options.clipnorm = Some(norm);
            self
        }

        /// Scales all gradients down so that their common norm is at most this.
        pub fn global_clipnorm(mut self, norm: f32) -> Self {
            self.options.global_clipnorm = Some(norm);
            self
        }

        /// Cuts gradients to `[-value, value]`.
        pub fn clipvalue(mut self, value: f32) -> Self {
            self.options.clipvalue = Some(value);
            self
        }
    };
}
pub(crate) use option_setters;

/// A rule that changes a weight by its gradient.
pub trait Optimizer: Debug + Send + Sync + 'static {
    /// The class name in files: `"Adam"`.
    fn class_name(&self) -> &'static str;

    /// Its configuration.
    ///
    /// # Errors
    /// If it can not be written to a file.
    fn config(&self) -> Result<Config>;

    /// What every optimizer has.
    fn options(&self) -> &Options;

    /// Names of the tensors it keeps for each weight; they have the weight's shape and start at zero.
    fn slots(&self) -> Vec<&'static str>;

    /// The new value of a weight, and the new values of its slots.
    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>);

    /// How the loss is scaled, if it is: by [`LossScaleOptimizer`].
    fn loss_scale(&self) -> Option<LossScale> {
        None
    }
}

/// One that is chosen at run time.
impl Optimizer for Box<dyn Optimizer> {
    fn class_name(&self) -> &'static str {
        (**self).class_name()
    }

    fn config(&self) -> Result<Config> {
        (**self).config()
    }

    fn options(&self) -> &Options {
        (**self).options()
    }

    fn slots(&self) -> Vec<&'static str> {
        (**self).slots()
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        (**self).update(step, weight, gradient, slots)
    }

    fn loss_scale(&self) -> Option<LossScale> {
        (**self).loss_scale()
    }
}

/// What an update sees beside the weight: scalars on the device.
#[derive(Clone, Debug)]
pub struct Step {
    /// `f32`.
    pub learning_rate: Tensor,
    /// Number of this step as `f32`, from 1 on.
    pub number: Tensor,
}

/// `1 - x` as Keras has it: of the decimal number, rounded once.
pub(crate) fn complement(x: f32) -> f32 {
    let decimal: f64 = x.to_string().parse().unwrap_or(f64::from(x));
    (1.0 - decimal) as f32
}

/// The gradients after clipping, and the weights after decay: what precedes every optimizer's own rule.
pub(crate) fn prepare(
    options: &Options,
    step: &Step,
    weights: &[Tensor],
    gradients: &[Tensor],
) -> (Vec<Tensor>, Vec<Tensor>) {
    let norm = |g: &Tensor| g.square().sum(&[]);
    let scaled = |g: &Tensor, square: &Tensor, limit: f32| {
        // Unchanged where the norm is within the limit, and no division by zero.
        let norm = square.sqrt();
        let factor = norm.gt(limit).select(limit / norm.maximum(limit), 1.0);
        g * factor
    };
    let mut gradients = gradients.to_vec();
    if let Some(limit) = options.clipnorm {
        gradients = gradients.iter().map(|g| scaled(g, &norm(g), limit)).collect();
    } else if let Some(limit) = options.global_clipnorm {
        let total = gradients.iter().map(norm).reduce(|a, b| a + b);
        if let Some(total) = total {
            gradients = gradients.iter().map(|g| scaled(g, &total, limit)).collect();
        }
    } else if let Some(limit) = options.clipvalue {
        gradients = gradients.iter().map(|g| g.clamp(-limit, limit)).collect();
    }
    let weights = match options.weight_decay {
        Some(rate) => weights.iter().map(|w| w - w * rate * &step.learning_rate).collect(),
        None => weights.to_vec(),
    };
    (weights, gradients)
}

/// The optimizer of a class name and a configuration.
///
/// # Errors
/// `Unsupported` if no such class is known.
pub(crate) fn from_config(class_name: &str, config: Config) -> Result<Box<dyn Optimizer>> {
    use crate::config::load_or_default as load;
    Ok(match class_name {
        "SGD" => Box::new(load::<SGD>(config)?),
        "RMSprop" => Box::new(load::<RMSprop>(config)?),
        "Adam" => Box::new(load::<Adam>(config)?),
        "LossScaleOptimizer" => Box::new(LossScaleOptimizer::from_config(config)?),
        other => {
            return Err(Error::unsupported(format!(
                "unknown optimizer {other:?}; compile the model again after loading"
            )));
        }
    })
}
