//! Optimizers: how gradients change weights. Formulas, constants and the order of steps are those of Keras 3.
//!
//! An optimizer says what it does to one weight; the model traces that for all weights into the training program. What all of them can do
//! (clipping, weight decay, averages, accumulation, schedules) is in [`Options`].

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod ftrl;
mod lamb;
mod lion;
mod loss_scale;
mod nadam;
mod options;
mod rmsprop;
pub mod schedules;
mod sgd;
mod state;

pub use adadelta::Adadelta;
pub use adafactor::Adafactor;
pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use adamax::Adamax;
pub use ftrl::Ftrl;
pub use lamb::Lamb;
pub use lion::Lion;
pub use loss_scale::{LossScale, LossScaleOptimizer};
pub use nadam::Nadam;
pub use options::Options;
pub use rmsprop::RMSprop;
pub use schedules::{LearningRate, Schedule};
pub use sgd::SGD;

pub(crate) use options::{complement, head, optimizer};
pub(crate) use state::{State, Trained};

use crate::config::{Config, load_or_default};
use ibex_core::{Error, Result, Shape, Tensor};
use std::fmt::Debug;

/// A rule that changes a weight by its gradient.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no optimizer",
    label = "no optimizer",
    note = "give a value such as `Adam::new(1e-3)`; a name becomes an optimizer by `optimizers::from_config(\"adam\", Config::new())`"
)]
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

    /// Looks at the settings when a model is compiled.
    ///
    /// # Errors
    /// `Value` naming the one that is out of its domain.
    fn check(&self) -> Result<()> {
        self.options().check()
    }

    /// The tensors it keeps for a weight of the given shape.
    fn slots(&self, weight: &Shape) -> Vec<Slot>;

    /// Names and initial values of the `f32` numbers that it keeps once, for all weights together.
    fn scalars(&self) -> Vec<(&'static str, f32)> {
        Vec::new()
    }

    /// The numbers of [`Optimizer::scalars`] for a step, from those of the step before: what [`Step::scalars`] is then. `number` counts
    /// steps from 1 on, as `f32`.
    fn advance(&self, _number: &Tensor, scalars: &[Tensor]) -> Vec<Tensor> {
        scalars.to_vec()
    }

    /// The new value of a weight, and the new values of its slots.
    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>);

    /// Do Keras's files have the first slots of all weights, then the second ones, and so on? Else those of one weight are beside each other.
    fn keeps_slots_apart(&self) -> bool {
        false
    }

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

    fn check(&self) -> Result<()> {
        (**self).check()
    }

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        (**self).slots(weight)
    }

    fn scalars(&self) -> Vec<(&'static str, f32)> {
        (**self).scalars()
    }

    fn advance(&self, number: &Tensor, scalars: &[Tensor]) -> Vec<Tensor> {
        (**self).advance(number, scalars)
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        (**self).update(step, weight, gradient, slots)
    }

    fn keeps_slots_apart(&self) -> bool {
        (**self).keeps_slots_apart()
    }

    fn loss_scale(&self) -> Option<LossScale> {
        (**self).loss_scale()
    }
}

/// A tensor that an optimizer keeps for a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Its name in files: `"momentum"`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// What all of its elements are at first.
    pub initial: f32,
}

impl Slot {
    /// Zeros.
    pub fn zeros(name: &'static str, shape: &Shape) -> Slot {
        Slot::full(name, shape, 0.0)
    }

    /// One value everywhere.
    pub fn full(name: &'static str, shape: &Shape, initial: f32) -> Slot {
        Slot { name, shape: shape.clone(), initial }
    }
}

/// What an update sees beside the weight: scalars on the device.
#[derive(Clone, Debug)]
pub struct Step {
    /// `f32`.
    pub learning_rate: Tensor,
    /// Number of this step as `f32`, from 1 on.
    pub number: Tensor,
    /// The optimizer's own numbers, see [`Optimizer::advance`].
    pub scalars: Vec<Tensor>,
}

impl Step {
    /// `base^number`
    pub(crate) fn power(&self, base: f32) -> Tensor {
        Tensor::full([], f64::from(base), self.number.dtype()).pow(&self.number)
    }
}

macro_rules! optimizers {
    ($($class:ident)+) => {
        /// The classes that [`from_config`] knows.
        pub const NAMES: &[&str] = &[$(stringify!($class),)+ "LossScaleOptimizer"];

        /// The optimizer of a class name, in any case (Keras reads `"adam"` too), and of a configuration, whose missing fields have the defaults.
        ///
        /// # Errors
        /// `Unsupported` if no such class is known, with a list of those that are; `Format` naming a field that is wrong.
        pub fn from_config(class_name: &str, config: Config) -> Result<Box<dyn Optimizer>> {
            if class_name.eq_ignore_ascii_case("LossScaleOptimizer") {
                return Ok(Box::new(LossScaleOptimizer::from_config(config)?));
            }
            $(if class_name.eq_ignore_ascii_case(stringify!($class)) {
                return Ok(Box::new(load_or_default::<$class>(config)?));
            })+
            let known = NAMES.join(", ");
            Err(Error::unsupported(format!("unknown optimizer {class_name:?}; known are {known}")))
        }
    };
}

optimizers!(SGD RMSprop Adam AdamW Adamax Nadam Adagrad Adadelta Adafactor Lion Lamb Ftrl);
