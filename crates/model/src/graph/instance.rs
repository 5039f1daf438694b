//! A layer with its name, its policy and its weights.

use super::symbolic::{Place, Spec, SymbolicInputs, SymbolicTensor};
use crate::layers::{Context, Draw, Layer, Pass, Weight, Weights, floats_as};
use crate::model::{batched, snake_case};
use crate::policy::DTypePolicy;
use ibex_core::{DType, Error, Result, Shape, Tensor};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A layer with its name, its policy and its weights. Clones are the same layer: where one is applied several times, or in several models, its weights
/// are shared.
///
/// ```
/// use ibex::prelude::*;
///
/// # fn main() -> ibex::Result<()> {
/// let encode = Dense::new(8).named("encode");
/// let (a, b) = (Input::new([4]), Input::new([4]));
/// let model = Model::new([&a, &b], &Add::new().apply([&encode.apply(&a), &encode.apply(&b)]))?;
/// assert_eq!(model.count_params(), 4 * 8 + 8);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Instance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    layer: Arc<dyn Layer>,
    name: Option<String>,
    policy: Option<DTypePolicy>,
    trainable: Arc<AtomicBool>,
    age: u64,
    /// The shapes it was first applied to, and weights of the right shapes without values.
    sketch: OnceLock<(Vec<Shape>, Vec<Weight>)>,
    /// The real ones, from when a model has it.
    weights: OnceLock<Vec<Weight>>,
}

static AGE: AtomicU64 = AtomicU64::new(0);

impl<L: Layer> From<L> for Instance {
    fn from(layer: L) -> Self {
        Instance::new(Arc::new(layer), None, None, true)
    }
}

impl From<Box<dyn Layer>> for Instance {
    fn from(layer: Box<dyn Layer>) -> Self {
        Instance::new(layer.into(), None, None, true)
    }
}

impl From<&Instance> for Instance {
    fn from(instance: &Instance) -> Self {
        instance.clone()
    }
}

impl Instance {
    fn new(layer: Arc<dyn Layer>, name: Option<String>, policy: Option<DTypePolicy>, trainable: bool) -> Self {
        let age = AGE.fetch_add(1, Ordering::Relaxed);
        let trainable = Arc::new(AtomicBool::new(trainable));
        Instance(Arc::new(Inner {
            layer,
            name,
            policy,
            trainable,
            age,
            sketch: OnceLock::new(),
            weights: OnceLock::new(),
        }))
    }

    /// The layer under a name of your choice; one that was applied already becomes another layer with weights of its own.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Instance::new(self.0.layer.clone(), Some(name.into()), self.0.policy, self.is_trainable())
    }

    /// The layer under a policy of its own, whatever the model's is; else as [`Instance::named`].
    #[must_use]
    pub fn dtype(self, policy: DTypePolicy) -> Self {
        Instance::new(self.0.layer.clone(), self.0.name.clone(), Some(policy), self.is_trainable())
    }

    /// The layer with weights that training changes, or (`false`) keeps as they are.
    #[must_use]
    pub fn trainable(self, trainable: bool) -> Self {
        self.set_trainable(trainable);
        self
    }

    /// Freezes the layer or lets it be trained. As in Keras, this takes effect with the next `compile`.
    pub fn set_trainable(&self, trainable: bool) {
        self.0.trainable.store(trainable, Ordering::Relaxed);
    }

    /// Does training change its weights?
    pub fn is_trainable(&self) -> bool {
        self.0.trainable.load(Ordering::Relaxed)
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The layer's configuration and code.
    pub fn layer(&self) -> &dyn Layer {
        &*self.0.layer
    }

    /// The policy of its own.
    pub fn policy(&self) -> Option<DTypePolicy> {
        self.0.policy
    }

    /// Its weights, as declared: none before it stands in a model.
    pub fn weights(&self) -> &[Weight] {
        self.0.weights.get().map_or(&[], Vec::as_slice)
    }

    /// Its weights, or as long as there are none some of the same shapes.
    pub(crate) fn any_weights(&self) -> &[Weight] {
        let sketched = || self.0.sketch.get().map_or(&[][..], |(_, weights)| weights);
        self.0.weights.get().map_or_else(sketched, Vec::as_slice)
    }

    /// The output for symbolic tensors; of several outputs the first. A mistake is kept in the result.
    #[track_caller]
    pub fn apply(&self, inputs: impl SymbolicInputs) -> SymbolicTensor {
        self.apply_at(inputs, Location::caller())
    }

    /// All outputs for symbolic tensors. A mistake is kept in the result: then there is one.
    #[track_caller]
    pub fn apply_all(&self, inputs: impl SymbolicInputs) -> Vec<SymbolicTensor> {
        self.apply_all_at(inputs, Location::caller())
    }

    pub(crate) fn apply_at(&self, inputs: impl SymbolicInputs, site: &'static Location<'static>) -> SymbolicTensor {
        self.apply_all_at(inputs, site).swap_remove(0)
    }

    pub(crate) fn apply_all_at(
        &self,
        inputs: impl SymbolicInputs,
        site: &'static Location<'static>,
    ) -> Vec<SymbolicTensor> {
        let label = self.0.name.clone().unwrap_or_else(|| snake_case(self.layer().class_name()));
        self.place(&label, inputs.list(), site).unwrap_or_else(|error| vec![SymbolicTensor::broken(error.at(site))])
    }

    /// Applies the layer, called so in messages.
    pub(crate) fn place(
        &self,
        label: &str,
        inputs: Vec<SymbolicTensor>,
        site: &'static Location<'static>,
    ) -> Result<Vec<SymbolicTensor>> {
        for input in &inputs {
            input.check()?;
        }
        let outputs = self.outputs(label, &inputs, site)?;
        let place = Arc::new(Place::Call { instance: self.clone(), inputs, outputs: outputs.clone(), site });
        Ok(outputs.iter().enumerate().map(|(i, spec)| SymbolicTensor::output(&place, i, spec)).collect())
    }

    /// What the layer gives for inputs. Axes that may have any length are tried with two: what differs then may have any length too.
    fn outputs(&self, label: &str, inputs: &[SymbolicTensor], site: &'static Location<'static>) -> Result<Vec<Spec>> {
        let fixed = inputs.iter().find_map(SymbolicTensor::batch_size);
        let [first, second] = PROBES.map(|probe| Probe { batch: fixed.unwrap_or(probe.batch), ..probe });
        let mut made = match self.probe(label, inputs, &first, site) {
            Ok(made) => made,
            Err(error) => {
                let other = self.probe(label, inputs, &second, site).err();
                return Err(other.map_or(error.clone(), |other| error.generalized(&other)));
            }
        };
        if inputs.iter().any(|t| t.shape().contains(&Shape::ANY)) {
            let other = self.probe(label, inputs, &second, site)?;
            made = made.general(&other).map_err(|e| e.context(self.describe(label, &ANY.samples(inputs))))?;
        }
        let _ = self.0.sketch.set((first.samples(inputs), made.weights));
        Ok(made.outputs.into_iter().map(|(shape, dtype)| Spec { shape, dtype, batch: fixed }).collect())
    }

    /// Builds the layer and computes with it, but for the numbers.
    fn probe(
        &self,
        label: &str,
        inputs: &[SymbolicTensor],
        probe: &Probe,
        site: &'static Location<'static>,
    ) -> Result<Probed> {
        let samples = probe.samples(inputs);
        let describe = |e: Error| e.context(self.describe(label, &samples));
        let weights = match self.0.sketch.get() {
            Some((_, weights)) => weights.clone(),
            None => self.declare("", Draw::Sketch, &samples).map_err(describe)?,
        };
        let zeros = samples.iter().zip(inputs).map(|(s, t)| Tensor::zeros(s, t.dtype()).stop_gradient());
        let key = Tensor::random_key(0);
        let mut pass = Pass { sketch: true, ..Pass::new(false, DTypePolicy::Float32, &key) };
        let masks = vec![None; inputs.len()];
        let (ys, _) = self.call(label, &weights, &zeros.collect::<Vec<_>>(), &masks, &mut pass, site)?;
        let outputs = ys.iter().map(|y| match y.shape().split_first() {
            Some((&batch, rest)) if batch == probe.batch => Ok((Shape::from(rest), y.dtype())),
            _ => Err(describe(Error::shape(format!("its output {} has lost the batch axis", y.shape())))),
        });
        Ok(Probed { weights, outputs: outputs.collect::<Result<_>>()? })
    }

    /// `layer dense (Dense) for input (None, 4)`
    fn describe(&self, label: &str, inputs: &[Shape]) -> String {
        let shapes: Vec<String> = inputs.iter().map(|s| batched(s.get(1..).unwrap_or_default())).collect();
        let word = if inputs.len() == 1 { "input" } else { "inputs" };
        format!("layer {label} ({}) for {word} {}", self.layer().class_name(), shapes.join(", "))
    }

    fn declare(&self, name: &str, draw: Draw, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let mut weights = Weights::new(name, draw, self.0.trainable.clone());
        self.0.layer.build_all(&mut weights, inputs)?;
        Ok(weights.into_list())
    }

    /// Draws the weights if there are none yet.
    pub(crate) fn draw(&self, name: &str, seed: u64, before: usize) -> Result<()> {
        let (None, Some((inputs, _))) = (self.0.weights.get(), self.0.sketch.get()) else { return Ok(()) };
        let weights = self.declare(name, Draw::Seed(seed, before), inputs)?;
        self.0.weights.get_or_init(|| weights);
        Ok(())
    }

    /// Draws the values of the weights anew.
    pub(crate) fn draw_again(&self, name: &str, seed: u64, before: usize) -> Result<()> {
        let (Some(weights), Some((inputs, _))) = (self.0.weights.get(), self.0.sketch.get()) else { return Ok(()) };
        let drawn = self.declare(name, Draw::Seed(seed, before), inputs)?;
        weights.iter().zip(&drawn).try_for_each(|(old, new)| old.variable.assign(new.variable.value()))
    }

    /// Computes the outputs, the mask of the first, and finds mistakes in them.
    pub(crate) fn call(
        &self,
        label: &str,
        weights: &[Weight],
        xs: &[Tensor],
        masks: &[Option<Tensor>],
        pass: &mut Pass,
        site: &'static Location<'static>,
    ) -> Result<(Vec<Tensor>, Option<Tensor>)> {
        let compute = self.0.policy.unwrap_or(pass.policy).compute_dtype();
        let layer = self.layer();
        let trainable = self.is_trainable() && !pass.frozen;
        let inputs: Vec<Tensor> = xs.iter().map(|x| floats_as(x.clone(), compute)).collect();
        let mut cx = Context::new(weights, compute, trainable, masks, pass);
        let ys = layer.call_all(&inputs, &mut cx);
        let mask = cx.mask.unwrap_or_else(|| masks.first().filter(|_| layer.supports_masking()).cloned().flatten());
        let ys = ys.and_then(|ys| match ys.iter().find_map(|y| y.check().err()) {
            Some(error) => Err(error),
            None if ys.is_empty() => Err(Error::model("it has no output")),
            None => Ok(ys),
        });
        let ys = ys.map_err(|e| {
            let shapes: Vec<Shape> = xs.iter().map(|x| x.shape().clone()).collect();
            // The user's own layers show where they went wrong, ours where they were added.
            in_user_code(e.context(self.describe(label, &shapes)), site)
        })?;
        Ok((ys, mask))
    }

    /// Is it the same layer?
    pub(crate) fn is(&self, other: &Instance) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Later ones are larger.
    pub(crate) fn age(&self) -> u64 {
        self.0.age
    }
}

/// Lengths that stand for those of axes that may have any: a batch, and the others.
#[derive(Clone, Copy)]
struct Probe {
    batch: usize,
    length: usize,
}

/// Not 1, which broadcasts and would hide mistakes; lengths of windows, dilated ones too, should be smaller, and so should their strides.
const PROBES: [Probe; 2] = [Probe { batch: 2, length: 127 }, Probe { batch: 3, length: 211 }];

/// For messages.
const ANY: Probe = Probe { batch: Shape::ANY, length: Shape::ANY };

impl Probe {
    /// Shapes with the batch axis.
    fn samples(&self, inputs: &[SymbolicTensor]) -> Vec<Shape> {
        let length = |&axis: &usize| if axis == Shape::ANY { self.length } else { axis };
        let axes = |t: &SymbolicTensor| -> Vec<usize> {
            std::iter::once(self.batch).chain(t.shape().iter().map(length)).collect()
        };
        inputs.iter().map(|t| axes(t).into()).collect()
    }
}

/// What a layer has and gives for the lengths of a probe.
struct Probed {
    weights: Vec<Weight>,
    /// Without the batch axis.
    outputs: Vec<(Shape, DType)>,
}

impl Probed {
    /// With any length where another probe gave another one, which weights can not have.
    fn general(mut self, other: &Probed) -> Result<Probed> {
        if self.weights.len() != other.weights.len() || self.outputs.len() != other.outputs.len() {
            return Err(Error::shape(
                "what it has or gives depends on the length of an axis, so None can not be its length",
            ));
        }
        for (ours, theirs) in self.weights.iter().zip(&other.weights) {
            let shape = general(ours.variable.shape(), theirs.variable.shape())?;
            if shape.contains(&Shape::ANY) {
                let text = "so the length of that axis can not be None: give it";
                return Err(Error::shape(format!("its weight {} would have the shape {shape}, {text}", ours.name())));
            }
        }
        for ((ours, _), (theirs, _)) in self.outputs.iter_mut().zip(&other.outputs) {
            *ours = general(ours, theirs)?;
        }
        Ok(self)
    }
}

/// The lengths that two shapes have in common.
fn general(a: &Shape, b: &Shape) -> Result<Shape> {
    if a.rank() != b.rank() {
        return Err(Error::shape("the number of axes would depend on the length of one, which can not be None"));
    }
    Ok(a.iter().zip(b.iter()).map(|(a, b)| if a == b { *a } else { Shape::ANY }).collect::<Vec<_>>().into())
}

/// The error at a place in the user's code, if it has none yet or one in ours.
pub(crate) fn in_user_code(error: Error, site: &'static Location<'static>) -> Error {
    let ours = error.site().is_none_or(|s| s.file().starts_with(SOURCES));
    if ours { error.moved_to(site) } else { error }
}

/// The folder of this crate's sources, as places in code name it.
const SOURCES: &str = file!().split_at(file!().len() - "graph/instance.rs".len()).0;
