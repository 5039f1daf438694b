//! Models: layers between inputs and outputs, with their training and prediction.

mod batches;
mod compile;
mod evaluate;
mod fit;
mod predict;
mod profile;
mod rows;
mod sequential;
mod source;
mod step;
mod summary;

pub use batches::Batches;
pub use evaluate::Evaluate;
pub use fit::Fit;
pub use predict::{Inputs, Predict};
pub use profile::{KernelTime, Profile};
pub use sequential::Sequential;
pub use source::{Examples, Feed, Source, Tensors};

pub(crate) use compile::Training;

use crate::device::default_device;
use crate::graph::{Graph, Instance, Nested, Node, SymbolicInputs, SymbolicTensor};
use crate::layers::{Draw, Weight, set_all};
use crate::policy::DTypePolicy;
use ibex_core::{DType, Data, Device, Error, Plan, Result, Shape, Tensor, Variable, random};
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::{Arc, Mutex, OnceLock};

/// Shapes and element types of a program's arguments.
type Specs = Vec<(Shape, DType)>;

/// Layers between inputs and outputs, with everything that trains and runs them.
///
/// [`Sequential::new`] makes one of layers in a row; [`Model::new`] one of any shape:
///
/// ```
/// use ibex::prelude::*;
///
/// # fn main() -> ibex::Result<()> {
/// let image = Input::new([8, 8, 3]);
/// let age = Input::new([1]).named("age");
/// let seen = Flatten::new().apply(&Conv2D::new(4, 3).activation(Relu).apply(&image));
/// let both = Concatenate::new().apply([&seen, &age]);
/// let score = Dense::new(1).named("score").apply(&both);
/// let mut model = Model::new([&image, &age], &score)?;
/// model.compile(Adam::new(1e-3), MeanSquaredError::new(), ())?;
///
/// let (images, ages) = (Tensor::rand([16, 8, 8, 3], 0), Tensor::rand([16, 1], 1));
/// model.fit(([&images, &ages], &ages), Fit::epochs(1).verbose(0))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Model {
    name: String,
    sequential: bool,
    pub(crate) graph: Arc<Graph>,
    seed: u64,
    policy: DTypePolicy,
    /// Epochs of training so far, which number the orders of shuffling.
    epochs: u32,
    broken: Option<Error>,
    device: OnceLock<Device>,
    /// `u32 (2,)`: the seed and the number of training steps, the key of all random numbers.
    key: OnceLock<Variable>,
    pub(crate) training: Option<Training>,
    /// Why a loaded model could not be compiled, and what of its settings is known.
    uncompiled: Option<compile::Uncompiled>,
    plans: Mutex<HashMap<(step::Kind, Specs), Arc<Plan>>>,
    /// The model as a layer of others.
    layer: OnceLock<Instance>,
}

impl Model {
    /// A model of all layers between some inputs and some outputs.
    ///
    /// # Errors
    /// The first mistake that was made on the way to the outputs, with its place; `Model` if an output depends on an input that is not given, or if
    /// two layers have one name.
    #[track_caller]
    pub fn new(inputs: impl SymbolicInputs, outputs: impl SymbolicInputs) -> Result<Model> {
        let site = Location::caller();
        let made = Graph::new(inputs.list(), outputs.list()).and_then(|graph| {
            graph.draw(Draw::Seed(0, 0))?;
            Ok(Model::of(graph, "functional", false))
        });
        made.map_err(|e| e.at(site))
    }

    pub(crate) fn of(graph: Graph, name: &str, sequential: bool) -> Model {
        Model::of_shared(Arc::new(graph), name, sequential)
    }

    pub(crate) fn of_shared(graph: Arc<Graph>, name: &str, sequential: bool) -> Model {
        Model {
            name: name.into(),
            sequential,
            graph,
            seed: 0,
            policy: DTypePolicy::default(),
            epochs: 0,
            broken: None,
            device: OnceLock::new(),
            key: OnceLock::new(),
            training: None,
            uncompiled: None,
            plans: Mutex::default(),
            layer: OnceLock::new(),
        }
    }

    /// The seed of initial weights, dropout and shuffling; 0 by default. Weights are drawn anew.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.key = OnceLock::new();
        self.plans = Mutex::default();
        if let Err(error) = self.graph.draw(Draw::Again(seed, 0)) {
            self.broken.get_or_insert(error);
        }
        self
    }

    /// Mixed precision: what layers compute in, unless they have a policy of their own; `Float32` by default. A model that was compiled must be compiled again.
    #[must_use]
    #[doc(alias = "mixed_precision")]
    #[doc(alias = "set_dtype_policy")]
    pub fn dtype_policy(mut self, policy: DTypePolicy) -> Self {
        self.policy = policy;
        self.leave_uncompiled(Error::model("the dtype policy was changed after compile; compile the model again"));
        self.plans = Mutex::default();
        self
    }

    /// The model's name in summaries, and as a layer.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.layer = OnceLock::new();
        self
    }

    /// The device to run on; the default device if this is not called.
    #[must_use]
    pub fn on(mut self, device: &Device) -> Self {
        self.device = device.clone().into();
        self.plans = Mutex::default();
        self
    }

    /// Adds a layer after the output, named after its class: `dense`, `dense_1`, ... It is built at once. A mistake (an input that the layer does not
    /// take) is kept and reported by whatever is called next, so that models read without `?`.
    #[must_use]
    #[track_caller]
    #[allow(clippy::should_implement_trait, reason = "Keras's name")]
    pub fn add(mut self, layer: impl Into<Instance>) -> Self {
        let site = Location::caller();
        self.plans = Mutex::default();
        if self.broken.is_none()
            && let Err(error) = self.try_add(layer.into(), site)
        {
            self.broken = Some(error.at(site));
        }
        self
    }

    fn try_add(&mut self, instance: Instance, site: &'static Location<'static>) -> Result<()> {
        if self.training.is_some() {
            return Err(Error::model(
                "add layers before compile: the optimizer keeps state for the weights of all layers",
            ));
        }
        let [output] = &self.graph.outputs[..] else {
            return Err(Error::model("a layer can be added to a model with one output"));
        };
        let class = snake_case(instance.layer().class_name());
        let label = instance.name().map_or_else(|| self.free_name(&class), str::to_string);
        let mut outputs = instance.place(&label, vec![output.clone()], site)?;
        outputs.truncate(1);
        let graph = Graph::new(self.graph.inputs.clone(), outputs)?;
        graph.draw(Draw::Seed(self.seed, 0))?;
        self.graph = Arc::new(graph);
        self.layer = OnceLock::new();
        Ok(())
    }

    fn free_name(&self, base: &str) -> String {
        let taken = |name: &str| self.graph.nodes.iter().any(|n| n.name() == name);
        let numbered = (1..).map(|i| format!("{base}_{i}"));
        std::iter::once(base.to_string()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
    }

    /// The model as a layer, applied to symbolic tensors: its weights are shared with the new model. Of several outputs the first.
    #[track_caller]
    pub fn apply(&self, inputs: impl SymbolicInputs) -> SymbolicTensor {
        let site = Location::caller();
        self.as_layer(site).map_or_else(SymbolicTensor::broken, |l| l.apply_at(inputs, site))
    }

    /// [`Model::apply`] for all outputs.
    #[track_caller]
    pub fn apply_all(&self, inputs: impl SymbolicInputs) -> Vec<SymbolicTensor> {
        let site = Location::caller();
        self.as_layer(site).map_or_else(|e| vec![SymbolicTensor::broken(e)], |l| l.apply_all_at(inputs, site))
    }

    fn as_layer(&self, site: &'static Location<'static>) -> Result<&Instance> {
        self.check().map_err(|e| e.at(site))?;
        let nested = || Nested { graph: self.graph.clone(), sequential: self.sequential };
        Ok(self.layer.get_or_init(|| Instance::from(nested()).named(&self.name)))
    }

    /// Freezes all layers or lets them be trained. As in Keras, this takes effect with the next `compile`.
    pub fn set_trainable(&self, trainable: bool) {
        self.graph.nodes.iter().for_each(|n| n.set_trainable(trainable));
    }

    /// The first mistake made while layers were added.
    ///
    /// # Errors
    /// That mistake; `Model` if there are no layers.
    pub fn check(&self) -> Result<()> {
        match &self.broken {
            Some(error) => Err(error.clone()),
            None if self.graph.nodes.is_empty() => Err(Error::model("the model has no layers; add some")),
            None => Ok(()),
        }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Was it made as layers in a row, by [`Sequential::new`]?
    pub fn is_sequential(&self) -> bool {
        self.sequential
    }

    /// Shape of the (first) input without the batch axis; an axis of any length has [`Shape::ANY`].
    pub fn input_shape(&self) -> &Shape {
        self.graph.inputs[0].shape()
    }

    /// Shape of the (first) output without the batch axis.
    pub fn output_shape(&self) -> &Shape {
        self.graph.outputs[0].shape()
    }

    /// The inputs, for models of your own.
    pub fn inputs(&self) -> &[SymbolicTensor] {
        &self.graph.inputs
    }

    /// The outputs, for models of your own.
    pub fn outputs(&self) -> &[SymbolicTensor] {
        &self.graph.outputs
    }

    /// Names of the inputs.
    pub fn input_names(&self) -> &[String] {
        &self.graph.input_names
    }

    /// Names of the outputs: of the layers that make them.
    pub fn output_names(&self) -> Vec<String> {
        self.graph.output_names()
    }

    /// The layers, in the order of their weights.
    pub fn layers(&self) -> &[Node] {
        &self.graph.nodes
    }

    /// The layer of a name.
    ///
    /// # Errors
    /// `Value` if there is none, naming those that there are.
    pub fn get_layer(&self, name: &str) -> Result<&Node> {
        self.graph.nodes.iter().find(|n| n.name() == name).ok_or_else(|| {
            let known: Vec<&str> = self.graph.nodes.iter().map(Node::name).collect();
            Error::value(format!("the model has no layer {name:?}; its layers are {}", known.join(", ")))
        })
    }

    /// All weights, in the order of layers, within a layer as declared; shared ones once.
    pub fn weights(&self) -> impl Iterator<Item = &Weight> {
        self.named_weights().into_iter().map(|(_, weight)| weight)
    }

    /// All weights with their names in this model: `dense/kernel`.
    pub(crate) fn named_weights(&self) -> Vec<(String, &Weight)> {
        let mut seen = HashSet::new();
        let all = self.graph.nodes.iter().flat_map(|n| n.weights().iter().map(move |w| (n, w)));
        let all = all.filter(|(_, w)| !w.is_transient());
        let first = all.filter(|(_, w)| seen.insert(w.variable.id()));
        first.map(|(n, w)| (format!("{}/{}", n.name(), w.name()), w)).collect()
    }

    /// Number of all elements of all weights.
    pub fn count_params(&self) -> usize {
        self.weights().map(|w| w.variable.shape().elements()).sum()
    }

    /// The numbers of all weights, in the order of [`Model::weights`], read or computed by the model's device. Not there in a browser.
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
        set_all("the model", &self.named_weights(), values)
    }

    /// Makes the states of stateful layers zeros: what comes next goes on from nothing.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn reset_states(&mut self) -> Result<()> {
        let mut all = self.graph.nodes.iter().flat_map(Node::weights).filter(|w| w.is_transient());
        all.try_for_each(|w| w.variable.assign(Tensor::zeros(w.variable.shape(), w.variable.dtype())))
    }

    /// The size of batches: that of the model if it is fixed.
    pub(crate) fn batch_size(&self, asked: usize) -> usize {
        self.inputs().iter().find_map(SymbolicTensor::batch_size).unwrap_or(asked)
    }

    /// The device it runs on.
    pub(crate) fn open(&self) -> Result<Device> {
        self.device.get().cloned().map_or_else(default_device, Ok)
    }

    pub(crate) fn key(&self) -> Result<Variable> {
        if let Some(key) = self.key.get() {
            return Ok(key.clone());
        }
        let [mixed, _] = random::threefry([self.seed as u32, (self.seed >> 32) as u32], [0, 0]);
        let key = Variable::new("random_key", Tensor::from_vec(vec![mixed, 0], [2]))?;
        Ok(self.key.get_or_init(|| key).clone())
    }

    pub(crate) fn seed_value(&self) -> u64 {
        self.seed
    }

    pub(crate) fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
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

/// `(None, 28, 28, 1)`
pub(crate) fn batched(shape: &[usize]) -> String {
    Shape::from([&[Shape::ANY], shape].concat()).to_string()
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
