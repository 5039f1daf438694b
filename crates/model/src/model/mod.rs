//! Models: layers in a row, with their weights, training and prediction.

mod fit;
mod profile;
mod source;
mod step;
mod summary;

pub use fit::Fit;
pub use profile::{KernelTime, Profile};
pub use source::Source;

use crate::device::default_device;
use crate::layers::{Context, Layer, Weight, Weights, floats_as};
use crate::losses::Loss;
use crate::metrics::{IntoMetrics, Metric};
use crate::optimizers::{self, LossScale, LossScaleOptimizer, Optimizer};
use crate::policy::DTypePolicy;
use ibex_core::{DType, Data, Device, Error, Plan, Result, Shape, Tensor, Variable, random};
use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

/// Shapes and element types of a program's arguments.
type Specs = Vec<(Shape, DType)>;

/// Layers in a row.
///
/// Adding a layer builds it at once. A mistake (an input that a layer does not take) is kept and reported by whatever is called next, so that
/// models read without `?`.
#[derive(Debug)]
pub struct Sequential {
    name: String,
    input: Shape,
    input_dtype: DType,
    seed: u64,
    policy: DTypePolicy,
    /// Epochs of training so far, which number the orders of shuffling.
    epochs: u32,
    nodes: Vec<Node>,
    broken: Option<Error>,
    device: Option<Device>,
    /// `u32 (2,)`: the seed and the number of training steps, the key of all random numbers.
    key: Option<Variable>,
    pub(crate) training: Option<Training>,
    /// Why a loaded model could not be compiled.
    uncompiled: Option<Error>,
    plans: HashMap<(step::Kind, Specs), Arc<Plan>>,
}

/// A layer in its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub name: String,
    pub layer: Box<dyn Layer>,
    pub weights: Vec<Weight>,
    /// Its own policy, if it does not follow the model's.
    pub policy: Option<DTypePolicy>,
    /// What it computes in.
    compute: DType,
    /// Output shape without the batch axis.
    pub output: Shape,
    /// Element type of the output.
    dtype: DType,
    /// Where it was added.
    site: &'static Location<'static>,
}

/// What `compile` sets.
#[derive(Debug)]
pub(crate) struct Training {
    pub optimizer: Box<dyn Optimizer>,
    pub loss: Box<dyn Loss>,
    pub metrics: Vec<Box<dyn Metric>>,
    /// What the optimizer keeps: steps done, the learning rate, and slots for every trainable weight.
    pub state: optimizers::State,
    /// With an optimizer that scales the loss.
    pub scaling: Option<Scaling>,
    /// `f32 (2,)` each: sum and count of the loss, then of every metric.
    pub totals: Vec<Variable>,
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

/// A layer with its name and its policy, for [`Sequential::add`].
#[derive(Debug)]
pub struct Named {
    name: Option<String>,
    policy: Option<DTypePolicy>,
    layer: Box<dyn Layer>,
}

impl Named {
    /// A layer that follows its own policy, or else the model's.
    pub(crate) fn new(layer: Box<dyn Layer>, policy: Option<DTypePolicy>) -> Self {
        Named { name: None, policy, layer }
    }
}

impl<L: Layer> From<L> for Named {
    fn from(layer: L) -> Self {
        Named::new(Box::new(layer), None)
    }
}

impl From<Box<dyn Layer>> for Named {
    fn from(layer: Box<dyn Layer>) -> Self {
        Named::new(layer, None)
    }
}

impl Sequential {
    /// A model for inputs of the given shape (without the batch axis), `f32`.
    pub fn new(input: impl Into<Shape>) -> Self {
        Sequential::with_dtype(input, DType::F32)
    }

    /// A model for inputs of the given shape (without the batch axis) and element type: `I32` before an `Embedding`.
    pub fn with_dtype(input: impl Into<Shape>, dtype: DType) -> Self {
        Sequential {
            name: "sequential".into(),
            input: input.into(),
            input_dtype: dtype,
            seed: 0,
            policy: DTypePolicy::default(),
            epochs: 0,
            nodes: Vec::new(),
            broken: None,
            device: None,
            key: None,
            training: None,
            uncompiled: None,
            plans: HashMap::new(),
        }
    }

    /// The seed of initial weights, dropout and shuffling; 0 by default. Set it before adding layers.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        if !self.nodes.is_empty() {
            self.broken
                .get_or_insert(Error::model("set the seed before adding layers: their weights are drawn already"));
        }
        self.seed = seed;
        self
    }

    /// Mixed precision: what layers compute in, unless they have a policy of their own; `Float32` by default. A model that was compiled must be compiled again.
    #[must_use]
    #[doc(alias = "mixed_precision")]
    #[doc(alias = "set_dtype_policy")]
    pub fn dtype_policy(mut self, policy: DTypePolicy) -> Self {
        self.policy = policy;
        for node in &mut self.nodes {
            node.compute = node.policy.unwrap_or(policy).compute_dtype();
        }
        if self.training.take().is_some() {
            self.uncompiled = Some(Error::model("the dtype policy was changed after compile; compile the model again"));
        }
        self.plans.clear();
        self
    }

    /// The model's name in summaries.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The device to run on; the default device if this is not called.
    #[must_use]
    pub fn on(mut self, device: &Device) -> Self {
        self.device = Some(device.clone());
        self.plans.clear();
        self
    }

    /// Adds a layer, named after its class: `dense`, `dense_1`, ...
    #[must_use]
    #[track_caller]
    #[allow(clippy::should_implement_trait, reason = "Keras's name")]
    pub fn add(self, layer: impl Into<Named>) -> Self {
        self.push(layer.into(), Location::caller())
    }

    /// Adds a layer under a name of your choice.
    #[must_use]
    #[track_caller]
    pub fn add_named(self, name: impl Into<String>, layer: impl Into<Named>) -> Self {
        self.push(Named { name: Some(name.into()), ..layer.into() }, Location::caller())
    }

    fn push(mut self, named: Named, site: &'static Location<'static>) -> Self {
        self.plans.clear();
        if self.broken.is_none()
            && let Err(error) = self.try_push(named, site)
        {
            self.broken = Some(error.at(site));
        }
        self
    }

    fn try_push(&mut self, named: Named, site: &'static Location<'static>) -> Result<()> {
        let Named { name, policy, layer } = named;
        if self.training.is_some() {
            return Err(Error::model(
                "add layers before compile: the optimizer keeps state for the weights of all layers",
            ));
        }
        let name = name.unwrap_or_else(|| self.free_name(&snake_case(layer.class_name())));
        if self.nodes.iter().any(|n| n.name == name) {
            return Err(Error::model(format!("two layers are named {name:?}; give one another name")));
        }
        let class = layer.class_name();
        let describe = |input: &Shape| format!("layer {name} ({class}) for input {}", batched(input));
        let input = self.nodes.last().map_or(&self.input, |n| &n.output).clone();
        let before = self.nodes.iter().map(|n| n.weights.len()).sum();
        // A batch of 2 stands for any: axes of length 1 broadcast and would hide mistakes.
        let sample = Shape::from([&[2], &input[..]].concat());
        let mut weights = Weights::new(&name, self.seed, before);
        layer.build(&mut weights, &sample).map_err(|e| e.context(describe(&input)))?;
        let weights = weights.into_list();
        let compute = policy.unwrap_or(self.policy).compute_dtype();
        let (output, dtype) = (Shape::default(), compute);
        let node = Node { name: name.clone(), layer, weights, policy, compute, output, dtype, site };
        let dtype = self.nodes.last().map_or(self.input_dtype, |n| n.dtype);
        let x = Tensor::zeros(sample, dtype).stop_gradient();
        let y = node.call(&x, false, &Tensor::random_key(0), &mut 0, &mut Vec::new())?;
        let output = match y.shape().split_first() {
            Some((2, rest)) => Shape::from(rest),
            _ => {
                return Err(
                    Error::shape(format!("its output {} has lost the batch axis", y.shape())).context(describe(&input))
                );
            }
        };
        self.nodes.push(Node { output, dtype: y.dtype(), ..node });
        Ok(())
    }

    fn free_name(&self, base: &str) -> String {
        let taken = |name: &str| self.nodes.iter().any(|n| n.name == name);
        if !taken(base) {
            return base.to_string();
        }
        (1..).map(|i| format!("{base}_{i}")).find(|name| !taken(name)).unwrap_or_default()
    }

    /// Sets the optimizer, the loss and the metrics: one kind in an array, or several in a tuple. Where a layer computes in `f16`, the optimizer
    /// becomes a [`LossScaleOptimizer`] if it is none.
    ///
    /// # Errors
    /// The mistake of a layer that was added before; `Model` if there are no layers; `Value` for an option out of its domain.
    pub fn compile(&mut self, optimizer: impl Optimizer, loss: impl Loss, metrics: impl IntoMetrics) -> Result<()> {
        self.compile_boxed(Box::new(optimizer), Box::new(loss), metrics.into_metrics())
    }

    pub(crate) fn compile_boxed(
        &mut self,
        optimizer: Box<dyn Optimizer>,
        loss: Box<dyn Loss>,
        metrics: Vec<Box<dyn Metric>>,
    ) -> Result<()> {
        self.check()?;
        let narrow = self.nodes.iter().any(|n| n.compute == DType::F16);
        let optimizer = match optimizer.loss_scale() {
            None if narrow => Box::new(LossScaleOptimizer::new(optimizer)),
            _ => optimizer,
        };
        let scaling = optimizer.loss_scale().map(|rule| -> Result<Scaling> {
            let scale = Variable::new("dynamic_scale", Tensor::scalar(rule.initial))?;
            Ok(Scaling { rule, scale, steps: Variable::new("step_counter", Tensor::scalar(0i32))? })
        });
        let scaling = scaling.transpose()?;
        let state = optimizers::State::new(&*optimizer, self.trainable())?;
        let zeros = |name: &str| Variable::new(name, Tensor::from_vec(vec![0f32; 2], [2]));
        let names = std::iter::once("loss".to_string()).chain(metrics.iter().map(|m| m.name()));
        self.training = Some(Training {
            totals: names.map(|name| zeros(&name)).collect::<Result<_>>()?,
            optimizer,
            loss,
            metrics,
            state,
            scaling,
        });
        self.plans.clear();
        Ok(())
    }

    /// The first mistake made while layers were added.
    ///
    /// # Errors
    /// That mistake; `Model` if there are no layers.
    pub fn check(&self) -> Result<()> {
        match &self.broken {
            Some(error) => Err(error.clone()),
            None if self.nodes.is_empty() => Err(Error::model("the model has no layers; add some")),
            None => Ok(()),
        }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape of an input without the batch axis.
    pub fn input_shape(&self) -> &Shape {
        &self.input
    }

    /// Shape of an output without the batch axis.
    pub fn output_shape(&self) -> &Shape {
        self.nodes.last().map_or(&self.input, |n| &n.output)
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn input_dtype(&self) -> DType {
        self.input_dtype
    }

    /// All weights, in the order of layers, within a layer as declared.
    pub fn weights(&self) -> impl Iterator<Item = &Weight> {
        self.nodes.iter().flat_map(|n| &n.weights)
    }

    /// The variables that training changes by their gradients.
    pub(crate) fn trainable(&self) -> impl Iterator<Item = &Variable> {
        self.weights().filter(|w| w.trainable).map(|w| &w.variable)
    }

    /// Number of all elements of all weights.
    pub fn count_params(&self) -> usize {
        self.weights().map(|w| w.variable.shape().elements()).sum()
    }

    /// The numbers of all weights, in the order of [`Sequential::weights`]. Not there in a browser.
    ///
    /// # Errors
    /// Whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn get_weights(&self) -> Result<Vec<Data>> {
        let device = self.open()?;
        self.weights().map(|w| device.read_now(&w.variable.value())).collect()
    }

    /// Replaces the numbers of all weights.
    ///
    /// # Errors
    /// `Shape` if there are not as many arrays as weights, or one does not fit, naming the weight.
    pub fn set_weights(&mut self, values: &[Data]) -> Result<()> {
        let count = self.weights().count();
        if values.len() != count {
            return Err(Error::shape(format!("the model has {count} weights, got {} arrays", values.len())));
        }
        self.weights().zip(values).try_for_each(|(w, data)| w.variable.set(data))
    }

    /// The optimizer's learning rate from now on.
    ///
    /// # Errors
    /// `Model` before `compile`, and if the optimizer's rate follows a schedule.
    pub fn set_learning_rate(&self, rate: f32) -> Result<()> {
        self.training()?.state.set_learning_rate(rate)
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

    pub(crate) fn leave_uncompiled(&mut self, error: Error) {
        self.uncompiled = Some(error);
    }

    /// The device it runs on.
    pub(crate) fn open(&self) -> Result<Device> {
        self.device.clone().map_or_else(default_device, Ok)
    }

    pub(crate) fn key(&mut self) -> Result<Variable> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let [mixed, _] = random::threefry([self.seed as u32, (self.seed >> 32) as u32], [0, 0]);
        let key = Variable::new("random_key", Tensor::from_vec(vec![mixed, 0], [2]))?;
        Ok(self.key.insert(key).clone())
    }

    pub(crate) fn seed_value(&self) -> u64 {
        self.seed
    }

    pub(crate) fn policy(&self) -> DTypePolicy {
        self.policy
    }

    pub(crate) fn epochs(&self) -> u32 {
        self.epochs
    }

    pub(crate) fn set_epochs(&mut self, epochs: u32) {
        self.epochs = epochs;
    }
}

impl Node {
    /// Computes the layer's output and finds mistakes in it.
    pub fn call(
        &self,
        x: &Tensor,
        training: bool,
        key: &Tensor,
        stream: &mut u32,
        losses: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let (layer, weights, compute) = (&self.name, &self.weights, self.compute);
        let mut cx = Context { layer, weights, training, compute, key, stream, losses };
        let y = self.layer.call(&floats_as(x.clone(), compute), &mut cx).and_then(|y| y.check().cloned());
        y.map_err(|e| {
            let what = format!(
                "layer {} ({}) for input {}",
                self.name,
                self.layer.class_name(),
                batched(x.shape().get(1..).unwrap_or_default())
            );
            // The user's own layers show where they went wrong, ours where they were added.
            let ours = e.site().is_none_or(|s| s.file().starts_with(SOURCES));
            let e = e.context(what);
            if ours { e.moved_to(self.site) } else { e }
        })
    }
}

/// The folder of this crate's sources, as places in code name it.
const SOURCES: &str = file!().split_at(file!().len() - "model/mod.rs".len()).0;

/// `(None, 28, 28, 1)`
pub(crate) fn batched(shape: &[usize]) -> String {
    let rest: String = shape.iter().map(|d| format!(", {d}")).collect();
    if shape.is_empty() { "(None,)".into() } else { format!("(None{rest})") }
}

/// Keras's rule for layer names: `MaxPooling2D` is `max_pooling2d`.
pub(crate) fn snake_case(class_name: &str) -> String {
    let chars: Vec<char> = class_name.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|j| chars[j]);
        let after = chars.get(i + 1);
        let starts_word = c.is_uppercase()
            && before.is_some_and(|b| b.is_lowercase() || (b != '_' && after.is_some_and(|a| a.is_lowercase())));
        if starts_word {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    /// Names that real Keras gives (keras-facts, section 2.2).
    #[test]
    fn layer_names() {
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ReLU", "re_lu"),
            ("ELU", "elu"),
            ("LSTM", "lstm"),
            ("SimpleRNN", "simple_rnn"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("MaxPooling2D", "max_pooling2d"),
            ("BatchNormalization", "batch_normalization"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
