//! What layers declare: their weights.

use crate::constraints::Constraint;
use crate::initializers::Initializer;
use crate::regularizers::Regularizer;
use ibex_core::{Data, Error, Result, Shape, Tensor, Variable};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A weight that a layer declared.
#[derive(Clone, Debug)]
pub struct Weight {
    name: String,
    /// Its variable.
    pub variable: Variable,
    trainable: bool,
    transient: bool,
    /// Of its layer, and of the models that this stands in: are they trained?
    owners: Vec<Arc<AtomicBool>>,
    /// A term that it adds to the loss while it is trained.
    pub regularizer: Option<Regularizer>,
    /// What it must fulfil after every step.
    pub constraint: Option<Constraint>,
}

impl Weight {
    /// The name within its layer: `"kernel"`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does the optimizer change it? Not if it is state, such as a moving average, or its layer is frozen.
    pub fn trainable(&self) -> bool {
        self.trainable && self.owners.iter().all(|owner| owner.load(Ordering::Relaxed))
    }

    /// With a term of the loss, if there is one: `weights.add("kernel", ..)?.regularized(self.kernel_regularizer)`.
    pub fn regularized(&mut self, regularizer: Option<Regularizer>) -> &mut Self {
        self.regularizer = regularizer;
        self
    }

    /// With a constraint, if there is one.
    pub fn constrained(&mut self, constraint: Option<Constraint>) -> &mut Self {
        self.constraint = constraint;
        self
    }

    /// Of one run of batches, not of the model: it is not among the model's weights nor in its files, and
    /// [`Model::reset_states`](crate::Model::reset_states) makes it zeros.
    pub fn transient(&mut self) -> &mut Self {
        self.transient = true;
        self
    }

    pub(crate) fn is_transient(&self) -> bool {
        self.transient
    }

    /// Does only the layer itself change it, as a moving average?
    pub fn is_state(&self) -> bool {
        !self.trainable
    }
}

/// Replaces the numbers of all weights of a thing, or of none.
///
/// # Errors
/// `Shape` if there are not as many arrays as weights, or one does not fit, naming the weight.
pub(crate) fn set_all(owner: &str, weights: &[(String, &Weight)], values: &[Data]) -> Result<()> {
    let count = weights.len();
    if values.len() != count {
        return Err(Error::shape(format!("{owner} has {count} weights, got {} arrays", values.len())));
    }
    for ((name, w), data) in weights.iter().zip(values) {
        if data.len() != w.variable.shape().elements() || data.dtype() != w.variable.dtype() {
            return Err(Error::shape(format!(
                "weight {name} is {} {}, got {} numbers of type {}; nothing was changed",
                w.variable.dtype(),
                w.variable.shape(),
                data.len(),
                data.dtype()
            )));
        }
    }
    weights.iter().zip(values).try_for_each(|((_, w), data)| w.variable.set(data))
}

/// Where initial values come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Draw {
    /// Zeros of the right shape, while only shapes matter.
    Sketch,
    /// Zeros, where the values come from a file.
    Zeros,
    /// Drawn by a seed, after so many weights of the layers before.
    Seed(u64, usize),
    /// [`Draw::Seed`], also for weights inside that have values.
    Again(u64, usize),
}

impl Draw {
    /// After so many weights more.
    pub fn after(self, more: usize) -> Draw {
        match self {
            Draw::Seed(seed, before) => Draw::Seed(seed, before + more),
            Draw::Again(seed, before) => Draw::Again(seed, before + more),
            zeros => zeros,
        }
    }
}

/// The weights of a layer while it is built.
#[derive(Debug)]
pub struct Weights<'a> {
    layer: &'a str,
    draw: Draw,
    owner: Arc<AtomicBool>,
    /// `forward_layer/` within a layer inside of the layer.
    scope: String,
    list: Vec<Weight>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(layer: &'a str, draw: Draw, owner: Arc<AtomicBool>) -> Self {
        Weights { layer, draw, owner, scope: String::new(), list: Vec::new() }
    }

    pub(crate) fn into_list(self) -> Vec<Weight> {
        self.list
    }

    /// Declares an `f32` weight that the optimizer trains.
    ///
    /// # Errors
    /// `Value` if the layer has a weight of this name already.
    pub fn add(&mut self, name: &str, shape: impl Into<Shape>, initializer: Initializer) -> Result<&mut Weight> {
        self.push(name, self.draw(shape, initializer), true)
    }

    /// Declares an `f32` weight that only the layer itself changes: a moving average. It is `f32` in
    /// [`Context::weight`](super::Context::weight) under every policy.
    ///
    /// # Errors
    /// As [`Weights::add`].
    pub fn add_state(&mut self, name: &str, shape: impl Into<Shape>, initializer: Initializer) -> Result<&mut Weight> {
        self.push(name, self.draw(shape, initializer), false)
    }

    /// Initial numbers for the next weight to be declared, for those that need more than an initializer.
    ///
    /// Poisoned if there is no memory for so many.
    pub fn draw(&self, shape: impl Into<Shape>, initializer: Initializer) -> Tensor {
        let shape = shape.into();
        let (seed, before) = match self.draw {
            Draw::Sketch | Draw::Zeros => return Tensor::zeros(shape, ibex_core::DType::F32),
            Draw::Seed(seed, before) | Draw::Again(seed, before) => (seed, before),
        };
        // Drawn in `f64`: asked for first, since a file may name any size.
        let count = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
        if count.is_none_or(|count| Vec::<f64>::new().try_reserve_exact(count).is_err()) {
            return Tensor::poisoned(Error::out_of_memory(format!("no memory for a weight of shape {shape}")));
        }
        initializer.tensor(&shape, seed, (before + self.list.len()) as u32)
    }

    /// Declares a weight with a given initial value.
    ///
    /// # Errors
    /// As [`Weights::add`]; the error of a poisoned value.
    pub fn push(&mut self, name: &str, initial: Tensor, trainable: bool) -> Result<&mut Weight> {
        let variable = Variable::new(format!("{}/{}{name}", self.layer, self.scope), initial)?;
        self.adopt(
            name,
            &Weight {
                name: String::new(),
                variable,
                trainable,
                transient: false,
                owners: Vec::new(),
                regularizer: None,
                constraint: None,
            },
        )
    }

    /// Declares the weights of a layer inside of this one, with the layer's name before theirs.
    ///
    /// # Errors
    /// Those of `declare`.
    pub fn within(&mut self, name: &str, declare: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let outer = self.scope.len();
        self.scope += name;
        self.scope.push('/');
        let result = declare(self);
        self.scope.truncate(outer);
        result
    }

    /// Takes in a weight that lives elsewhere too.
    pub(crate) fn adopt(&mut self, name: &str, weight: &Weight) -> Result<&mut Weight> {
        let name = format!("{}{name}", self.scope);
        if self.list.iter().any(|w| w.name == name) {
            return Err(Error::value(format!("weight {}/{name} is declared twice", self.layer)));
        }
        let mut owners = weight.owners.clone();
        owners.push(self.owner.clone());
        let at = self.list.len();
        self.list.push(Weight { name, owners, ..weight.clone() });
        Ok(&mut self.list[at])
    }

    /// How weights are drawn, and after how many others.
    pub(crate) fn drawing(&self) -> Draw {
        self.draw.after(self.list.len())
    }
}
