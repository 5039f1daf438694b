//! Layers: one small file each, with the layer's configuration, its weights and its computation.
//!
//! To add one, write its file and its line in the `layers!` list below.

mod window;

pub use window::Pair;

use crate::config::{self, Config};
use crate::initializers::Initializer;
use crate::model::Named;
use crate::policy::DTypePolicy;
use ibex_core::{DType, Data, Error, ErrorKind, Result, Shape, Tensor, Variable};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{PoisonError, RwLock};

/// Declares the layer files and makes their layers known to [`from_config`].
macro_rules! layers {
    ($($module:ident: $($layer:ident),+;)+) => {
        $(mod $module;
        pub use $module::{$($layer),+};)+

        fn built_in(class_name: &str) -> Option<Loader> {
            match class_name {
                $($(stringify!($layer) => Some(load::<$layer>),)+)+
                _ => None,
            }
        }
    };
}

layers! {
    activation: Activation;
    batch_normalization: BatchNormalization;
    conv2d: Conv2D;
    dense: Dense;
    dropout: Dropout;
    embedding: Embedding;
    flatten: Flatten;
    lstm: LSTM;
    pooling2d: MaxPooling2D, AveragePooling2D;
    reshape: Reshape;
}

/// A step of a model: what weights it has, and how it computes its output.
///
/// A layer holds its configuration only. Its weights belong to the model and are found by name, so that a layer of your own is one `impl`:
/// see `examples/custom_layer.rs`.
pub trait Layer: Debug + Send + Sync + 'static {
    /// The class name in summaries and files: `"Dense"`.
    fn class_name(&self) -> &'static str;

    /// The configuration that [`FromConfig`] makes an equal layer from. [`config::save`] writes any
    /// `Serialize` type.
    ///
    /// # Errors
    /// If the layer can not be written to a file.
    fn config(&self) -> Result<Config>;

    /// Declares the weights for inputs of the given shape, whose first axis is the batch.
    ///
    /// # Errors
    /// If the layer does not take such inputs. The model adds the layer's name.
    fn build(&self, _weights: &mut Weights, _input: &Shape) -> Result<()> {
        Ok(())
    }

    /// Looks at the numbers that the model is given, if this is its first layer, before anything runs on them.
    ///
    /// # Errors
    /// `Value` for a number that the layer does not take, saying which.
    fn check_data(&self, _data: &Data) -> Result<()> {
        Ok(())
    }

    /// Computes the output. An invalid tensor operation needs no `?`: the model finds it in the result. A float input comes in the
    /// [compute type](Context::compute_dtype).
    ///
    /// # Errors
    /// If the layer can not do with such an input.
    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor>;

    /// The layer under a policy of its own, whatever the model's is: `.add(Dense::new(10).dtype(Float32))`.
    fn dtype(self, policy: DTypePolicy) -> Named
    where
        Self: Sized,
    {
        Named::new(Box::new(self), Some(policy))
    }
}

/// A layer that can be made from its configuration, and so be loaded from a file.
pub trait FromConfig: Layer + Sized {
    /// The layer that [`Layer::config`] describes.
    ///
    /// # Errors
    /// If a field is missing, has the wrong type, or a value out of its domain.
    fn from_config(config: Config) -> Result<Self>;
}

impl<L: Layer + serde::de::DeserializeOwned> FromConfig for L {
    fn from_config(config: Config) -> Result<Self> {
        config::load(config)
    }
}

/// A weight that a layer declared.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its variable; the name is `layer/weight`.
    pub variable: Variable,
    /// Does the optimizer change it?
    pub trainable: bool,
}

/// The weights of a layer while it is built.
#[derive(Debug)]
pub struct Weights<'a> {
    layer: &'a str,
    seed: u64,
    /// Number of weights that the layers before have.
    before: usize,
    list: Vec<Weight>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(layer: &'a str, seed: u64, before: usize) -> Self {
        Weights { layer, seed, before, list: Vec::new() }
    }

    pub(crate) fn into_list(self) -> Vec<Weight> {
        self.list
    }

    /// Declares an `f32` weight that the optimizer trains.
    ///
    /// # Errors
    /// `Value` if the layer has a weight of this name already.
    pub fn add(&mut self, name: &str, shape: impl Into<Shape>, initializer: Initializer) -> Result<()> {
        self.push(name, self.draw(shape, initializer), true)
    }

    /// Declares an `f32` weight that only the layer itself changes: a moving average. It is `f32` in [`Context::weight`] under every policy.
    ///
    /// # Errors
    /// As [`Weights::add`].
    pub fn add_state(&mut self, name: &str, shape: impl Into<Shape>, initializer: Initializer) -> Result<()> {
        self.push(name, self.draw(shape, initializer), false)
    }

    /// Initial numbers for the next weight to be declared, for those that need more than an initializer.
    ///
    /// Poisoned if there is no memory for so many.
    pub fn draw(&self, shape: impl Into<Shape>, initializer: Initializer) -> Tensor {
        let shape = shape.into();
        // Drawn in `f64`: asked for first, since a file may name any size.
        let count = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
        if count.is_none_or(|count| Vec::<f64>::new().try_reserve_exact(count).is_err()) {
            return Tensor::poisoned(Error::out_of_memory(format!("no memory for a weight of shape {shape}")));
        }
        initializer.tensor(&shape, self.seed, (self.before + self.list.len()) as u32)
    }

    /// Declares a weight with a given initial value.
    ///
    /// # Errors
    /// As [`Weights::add`]; the error of a poisoned value.
    pub fn push(&mut self, name: &str, initial: Tensor, trainable: bool) -> Result<()> {
        let name = format!("{}/{name}", self.layer);
        if self.list.iter().any(|w| w.variable.name() == name) {
            return Err(Error::value(format!("weight {name} is declared twice")));
        }
        self.list.push(Weight { variable: Variable::new(name, initial)?, trainable });
        Ok(())
    }
}

/// What a layer sees while it computes.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) layer: &'a str,
    pub(crate) weights: &'a [Weight],
    pub(crate) training: bool,
    /// The element type of the layer's policy.
    pub(crate) compute: DType,
    /// `u32 (2,)`: differs in every training step.
    pub(crate) key: &'a Tensor,
    /// The next stream of random numbers.
    pub(crate) stream: &'a mut u32,
    /// Sum of the terms that layers add to the loss.
    pub(crate) losses: &'a mut Vec<Tensor>,
}

impl Context<'_> {
    /// True while the model is trained, false while it is evaluated or predicts.
    pub fn training(&self) -> bool {
        self.training
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
            Ok(weight) if weight.trainable => floats_as(weight.variable.value(), self.compute),
            Ok(weight) => weight.variable.value(),
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

    /// Gives a weight a new value in every training step: for moving averages. Other floats are cast to the weight's type.
    ///
    /// # Errors
    /// `Value` if there is no such weight, `Shape` or `DType` if the value does not fit.
    #[track_caller]
    pub fn assign(&self, name: &str, value: &Tensor) -> Result<()> {
        let variable = &self.find(name)?.variable;
        variable.assign(floats_as(value.clone(), variable.dtype()))
    }

    /// Uniform `f32` numbers in `[0, 1)`, others in every training step and for every call.
    #[track_caller]
    pub fn uniform(&mut self, shape: impl Into<Shape>) -> Tensor {
        let stream = *self.stream;
        *self.stream += 1;
        Tensor::random_uniform(self.key, stream, shape)
    }

    /// Adds a scalar term to the loss.
    pub fn add_loss(&mut self, loss: Tensor) {
        self.losses.push(loss);
    }

    fn find(&self, name: &str) -> Result<&Weight> {
        let full = format!("{}/{name}", self.layer);
        let found = self.weights.iter().find(|w| w.variable.name() == full);
        found.ok_or_else(|| Error::value(format!("no weight {name:?}; `build` must declare it")))
    }
}

/// Floats of any width in another; everything else as it is.
#[track_caller]
pub(crate) fn floats_as(x: Tensor, dtype: DType) -> Tensor {
    if x.dtype().is_float() && dtype.is_float() { x.cast(dtype) } else { x }
}

type Loader = fn(Config) -> Result<Box<dyn Layer>>;

fn load<L: FromConfig>(config: Config) -> Result<Box<dyn Layer>> {
    Ok(Box::new(L::from_config(config)?))
}

static REGISTERED: RwLock<BTreeMap<String, Loader>> = RwLock::new(BTreeMap::new());

/// Makes a layer of your own known by its class name, so that files with it can be loaded.
pub fn register<L: FromConfig>(class_name: &str) {
    REGISTERED.write().unwrap_or_else(PoisonError::into_inner).insert(class_name.to_string(), load::<L>);
}

/// The layer of a class name and a configuration.
///
/// # Errors
/// `Unsupported` if no such class is known, naming it and how to make it known.
pub fn from_config(class_name: &str, config: Config) -> Result<Box<dyn Layer>> {
    let own = REGISTERED.read().unwrap_or_else(PoisonError::into_inner).get(class_name).copied();
    match own.or_else(|| built_in(class_name)) {
        Some(loader) => loader(config),
        None => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "unknown layer class {class_name:?}; if it is your own, call `ibex::layers::register::<{class_name}>({class_name:?})` before loading"
            ),
        )),
    }
}

/// The last axis of an input, which must be there.
pub(crate) fn features(input: &Shape) -> Result<usize> {
    match &input[..] {
        [_, .., last] => Ok(*last),
        _ => Err(Error::shape(format!("needs at least a batch and a feature axis, got input {input}"))),
    }
}
