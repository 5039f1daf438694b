//! The layers of a Keras model, applied as the file says.

use super::arguments::{Taken, recurrent};
use super::layer::{plain, policy};
use super::network::{Argument, Arguments, Entry, Network, Place, wrong};
use super::{Built, BuiltLayer};
use crate::DTypePolicy;
use crate::graph::{Graph, Input, Instance, Nested, SymbolicTensor};
use crate::layers::{ApplyMask, dtype};
use ibex_core::{DType, Error, Result, Shape};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a model is built with beside its file.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// Of layers that have the policy of the model.
    pub policy: DTypePolicy,
    /// Shapes without the batch axis, by the name of the input, for lengths that the file leaves open.
    pub shapes: BTreeMap<String, Vec<usize>>,
}

/// The mask that a tensor has anyway, as far as can be told before anything runs.
#[derive(Clone, Debug, PartialEq)]
enum Mask {
    None,
    /// Where a tensor is not this number; with steps, where any of its features is not.
    Not {
        tensor: Key,
        number: f64,
        steps: bool,
    },
    Other,
}

type Key = (usize, usize, usize);

struct Builder<'a> {
    network: &'a Network,
    options: &'a Options,
    /// Layers by name.
    numbers: HashMap<&'a str, usize>,
    instances: Vec<Option<Instance>>,
    inner: Vec<Option<Built>>,
    /// What each call gives, with its mask.
    done: HashMap<(usize, usize), Vec<(SymbolicTensor, Mask)>>,
}

impl Network {
    /// The policy of most layers, which becomes that of the model.
    pub fn policy(&self) -> DTypePolicy {
        let mut policies = Vec::new();
        self.policies(&mut policies);
        let count = |policy: &DTypePolicy| policies.iter().filter(|p| *p == policy).count();
        DTypePolicy::ALL.into_iter().rev().max_by_key(count).filter(|p| count(p) > 0).unwrap_or_default()
    }

    fn policies(&self, all: &mut Vec<DTypePolicy>) {
        for entry in &self.layers {
            if entry.is_model() {
                // A damaged one is reported when it is built.
                if let Ok(network) = entry.network() {
                    network.policies(all);
                }
            } else if !entry.is_input() && !entry.is_operation() {
                all.extend(policy(&entry.config).ok().flatten());
            }
        }
    }

    /// Builds the model; `given` are the inputs that a model inside of another is called with.
    pub fn build(&self, options: &Options, given: Option<&[SymbolicTensor]>) -> Result<Built> {
        if self.sequential {
            return self.in_a_row(given)?.build_graph(options, given, true);
        }
        self.build_graph(options, given, false)
    }

    /// The calls that stand for layers in a row.
    fn in_a_row(&self, given: Option<&[SymbolicTensor]>) -> Result<Network> {
        let mut network = self.clone();
        if network.layers.first().is_none_or(|first| !first.is_input()) {
            let first = network.layers.first().ok_or_else(|| wrong("a Sequential has no layers"))?;
            let of_first = ["batch_input_shape", "batch_shape"].iter().find_map(|field| first.config.get(*field));
            let of_built = || first.config.get("build_input_shape");
            let shape = of_first.or(network.built.as_ref()).or_else(of_built).cloned().filter(|shape| !shape.is_null());
            let shape = match (shape, given) {
                (Some(shape), _) => shape,
                // Any lengths: those of the call.
                (None, Some([one])) => Value::Array(vec![Value::Null; 1 + one.shape().rank()]),
                (None, _) => {
                    return Err(Error::unsupported(format!(
                        "the model {} was saved before it knew the shape of its input; call it once in Keras before saving, or begin it with \
                         keras.Input",
                        self.name
                    )));
                }
            };
            let mut input =
                Entry { class_name: "InputLayer".into(), name: format!("{}_input", first.name), ..Entry::default() };
            input.config.insert("batch_shape".into(), shape);
            network.layers.insert(0, input);
        }
        let mut last = None;
        for entry in &mut network.layers {
            if let Some(layer) = last.replace(entry.name.clone()) {
                let place = Place { layer, node: 0, tensor: 0 };
                entry.calls = vec![Arguments { args: vec![Argument::Tensor(place)], kwargs: Vec::new() }];
            }
        }
        let end = |layer: Option<String>| layer.into_iter().map(|layer| Place { layer, node: 0, tensor: 0 }).collect();
        network.inputs = end(network.layers.first().map(|first| first.name.clone()));
        network.outputs = end(last);
        Ok(network)
    }

    fn build_graph(&self, options: &Options, given: Option<&[SymbolicTensor]>, sequential: bool) -> Result<Built> {
        let numbers: HashMap<&str, usize> = self.layers.iter().enumerate().map(|(i, l)| (&*l.name, i)).collect();
        let mut builder = Builder {
            network: self,
            options,
            numbers,
            instances: vec![None; self.layers.len()],
            inner: self.layers.iter().map(|_| None).collect(),
            done: HashMap::new(),
        };
        let mut inputs = Vec::new();
        for (i, place) in self.inputs.iter().enumerate() {
            let number = builder.number(place)?;
            let entry = &self.layers[number];
            let input = entry.input(given.and_then(|given| given.get(i)), options);
            let input = input.map_err(|e| e.context(format!("input {}", entry.name)))?;
            builder.done.insert((number, 0), vec![(input.clone(), Mask::None)]);
            inputs.push(input);
        }
        let inputs = builder.integers(inputs);
        for place in &self.outputs {
            let number = builder.number(place)?;
            builder.resolve((number, place.node))?;
        }
        let outputs = self.outputs.iter().map(|place| builder.get(place)).collect::<Result<Vec<_>>>()?;
        let outputs: Vec<SymbolicTensor> = outputs.into_iter().map(|(tensor, _)| tensor).collect();
        let mut graph = if sequential && self.layers.len() == 1 {
            Graph::empty(inputs.first().cloned().ok_or_else(|| wrong("it has no inputs"))?)
        } else {
            Graph::new(inputs, outputs)?
        };
        let names: Vec<&str> = self.layers.iter().map(|entry| &*entry.name).collect();
        graph.reorder(&names);
        let layers = self.layers.iter().zip(builder.instances).zip(builder.inner);
        let layers = layers.map(|((entry, instance), inner)| BuiltLayer {
            name: entry.name.clone(),
            instance,
            inner: inner.map(|built| built.layers).unwrap_or_default(),
        });
        if !self.trainable {
            graph.nodes.iter().for_each(|node| node.set_trainable(false));
        }
        Ok(Built { name: self.name.clone(), sequential, layers: layers.collect(), graph: graph.into() })
    }
}

impl Entry {
    /// The model that it is.
    pub fn network(&self) -> Result<Network> {
        Network::read(&self.class_name, Value::Object(self.config.clone()))
    }

    /// The input that it is; lengths that the file leaves open are those that the user gave, those of the tensor
    /// that it is called with, or any.
    fn input(&self, given: Option<&SymbolicTensor>, options: &Options) -> Result<SymbolicTensor> {
        if !self.is_input() {
            return Err(Error::unsupported(format!(
                "it is the output of a {}; begin models with keras.Input",
                self.class_name
            )));
        }
        let shape = ["batch_shape", "batch_input_shape"].iter().find_map(|field| self.config.get(*field));
        let shape = shape.cloned().map(plain);
        let lengths = shape.as_ref().and_then(Value::as_array).and_then(|shape| shape.split_first());
        let Some((batch, lengths)) = lengths else { return Err(wrong("it has no shape")) };
        let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let own = given.is_none().then(|| options.shapes.get(&self.name)).flatten();
        if let Some(own) = own.filter(|own| own.len() != lengths.len()) {
            let text = format!("the file has {} lengths beside the batch, got {own:?}", lengths.len());
            return Err(Error::shape(text));
        }
        let mut known = Vec::new();
        for (i, length) in lengths.iter().enumerate() {
            let open = || {
                own.and_then(|own| own.get(i).copied())
                    .or_else(|| given.and_then(|given| given.shape().get(i).copied()))
            };
            match (number(length), length.is_null()) {
                (Some(length), _) if own.is_none_or(|own| own[i] == length) => known.push(length),
                (Some(length), _) => {
                    return Err(Error::shape(format!(
                        "the file has length {length} for axis {i}, not that of {own:?}"
                    )));
                }
                (None, true) => known.push(open().unwrap_or(Shape::ANY)),
                (None, false) => return Err(wrong(format!("a length is {length}"))),
            }
        }
        let dtype = match self.config.get("dtype").cloned().map(plain).as_ref().and_then(Value::as_str) {
            None => DType::F32,
            // Policies of layers stand here in some files.
            Some(name) if name.starts_with("mixed_") => DType::F32,
            Some(name) => dtype(name)?,
        };
        let input = Input::with_dtype(known, dtype).named(&self.name);
        Ok(match number(batch) {
            Some(size) => input.batches_of(size),
            None => input,
        })
    }
}

impl Builder<'_> {
    fn number(&self, place: &Place) -> Result<usize> {
        let number = self.numbers.get(&*place.layer).copied();
        number.ok_or_else(|| wrong(format!("there is no layer {}", place.layer)))
    }

    fn get(&self, place: &Place) -> Result<(SymbolicTensor, Mask)> {
        let made = self.done.get(&(self.number(place)?, place.node));
        let tensor = made.and_then(|made| made.get(place.tensor)).cloned();
        tensor.ok_or_else(|| {
            wrong(format!("layer {} has no output {} of call {}", place.layer, place.tensor, place.node))
        })
    }

    /// Inputs that are float only because nobody said otherwise, and are numbers of rows of embeddings, become integers.
    fn integers(&mut self, inputs: Vec<SymbolicTensor>) -> Vec<SymbolicTensor> {
        let mut changed = Vec::new();
        for (input, place) in inputs.into_iter().zip(&self.network.inputs) {
            let reads = |entry: &&Entry| entry.calls.iter().any(|call| call.reads(place));
            let mut readers = self.network.layers.iter().filter(reads).peekable();
            let embeds = readers.peek().is_some() && readers.all(|entry| entry.class_name == "Embedding");
            let input = match embeds && input.dtype().is_float() {
                true => {
                    let new = Input::with_dtype(input.shape(), DType::I32).named(&place.layer);
                    input.batch_size().map_or(new.clone(), |size| new.batches_of(size))
                }
                false => input,
            };
            if let Some(&number) = self.numbers.get(&*place.layer) {
                self.done.insert((number, 0), vec![(input.clone(), Mask::None)]);
            }
            changed.push(input);
        }
        changed
    }

    /// Makes what a call gives, after all that it depends on; without recursion, since a model may be thousands of layers deep.
    fn resolve(&mut self, call: (usize, usize)) -> Result<()> {
        let (mut stack, mut open) = (vec![call], HashSet::new());
        while let Some(&call) = stack.last() {
            if self.done.contains_key(&call) {
                stack.pop();
                open.remove(&call);
                continue;
            }
            open.insert(call);
            let entry = &self.network.layers[call.0];
            let named = |e: Error| e.context(format!("layer {} ({})", entry.name, entry.class_name));
            let Some(arguments) = entry.calls.get(call.1) else {
                let text = match entry.is_input() {
                    true => "it is no input of the model".to_string(),
                    false => {
                        format!("the model needs its call {}, but it is called {} times", call.1, entry.calls.len())
                    }
                };
                return Err(named(wrong(text)));
            };
            let missing = self.step(call, entry, arguments).map_err(named)?;
            for place in missing {
                let before = (self.number(&place)?, place.node);
                if open.contains(&before) {
                    return Err(named(wrong("it depends on itself")));
                }
                stack.push(before);
            }
        }
        Ok(())
    }

    /// Those of some tensors that are not made yet.
    fn missing<'p>(&self, places: impl IntoIterator<Item = &'p Place>) -> Result<Vec<Place>> {
        let mut missing = Vec::new();
        for place in places {
            if !self.done.contains_key(&(self.number(place)?, place.node)) {
                missing.push(place.clone());
            }
        }
        Ok(missing)
    }

    /// Applies a layer, or says what must be made before.
    fn step(&mut self, call: (usize, usize), entry: &Entry, arguments: &Arguments) -> Result<Vec<Place>> {
        if entry.is_operation() {
            let (operator, places) = entry.operator(arguments)?;
            let missing = self.missing(&places)?;
            if !missing.is_empty() {
                return Ok(missing);
            }
            let inputs = places.iter().map(|place| Ok(self.get(place)?.0)).collect::<Result<Vec<_>>>()?;
            let outputs = Instance::from(operator).named(&entry.name).apply_all(&inputs);
            return self.keep(call, outputs, Mask::None);
        }
        let taken = arguments.taken(&entry.class_name)?;
        if taken.inputs.is_empty() {
            return Err(wrong("it is called without a tensor"));
        }
        let missing = self.missing(&taken.inputs)?;
        if !missing.is_empty() {
            return Ok(missing);
        }
        let masks = self.given_masks(&taken)?;
        let missing = self.missing(masks.iter().map(|(_, place)| place))?;
        if !missing.is_empty() {
            return Ok(missing);
        }
        let mut inputs = taken.inputs.iter().map(|place| self.get(place)).collect::<Result<Vec<_>>>()?;
        for (i, place) in &masks {
            let Some((input, mask)) = inputs.get_mut(*i) else {
                return Err(wrong(format!("it has no input {i} to mask")));
            };
            *input = Instance::from(ApplyMask::new()).apply([&*input, &self.get(place)?.0]);
            *mask = Mask::Other;
        }
        // As in Keras, where this is a quirk.
        if taken.ignores_mask
            && masks.is_empty()
            && let Some((input, mask)) = inputs.first_mut().filter(|(_, m)| *m != Mask::None)
        {
            *input = Instance::from(ApplyMask::new()).apply(&*input);
            *mask = Mask::None;
        }
        let tensors: Vec<SymbolicTensor> = inputs.iter().map(|(tensor, _)| tensor.clone()).collect();
        let instance = self.instance(call.0, entry, &taken, &tensors)?;
        let mask = self.mask(entry, &instance, &taken, &inputs);
        let mut outputs = instance.apply_all(&tensors);
        if let (Some(activation), Some(first)) = (entry.activation_layer()?, outputs.first_mut()) {
            *first = activation.apply(&*first);
        }
        self.keep(call, outputs, mask)
    }

    fn keep(&mut self, call: (usize, usize), outputs: Vec<SymbolicTensor>, mask: Mask) -> Result<Vec<Place>> {
        for output in &outputs {
            output.check()?;
        }
        let masks = std::iter::once(mask).chain(std::iter::repeat(Mask::None));
        self.done.insert(call, outputs.into_iter().zip(masks).collect());
        Ok(Vec::new())
    }

    /// Masks that are given and are not there anyway.
    fn given_masks(&self, taken: &Taken) -> Result<Vec<(usize, Place)>> {
        let mut masks = Vec::new();
        for (i, place) in &taken.masks {
            let own = taken.inputs.get(*i).map(|input| self.get(input)).transpose()?;
            let same =
                own.is_some_and(|(_, mask)| mask != Mask::None && self.computed(place, 0).is_some_and(|m| m == mask));
            if !same {
                masks.push((*i, place.clone()));
            }
        }
        Ok(masks)
    }

    /// The mask that an operation computes, if it is one that layers make.
    fn computed(&self, place: &Place, depth: usize) -> Option<Mask> {
        let entry = self.network.layers.get(*self.numbers.get(&*place.layer)?)?;
        let call = entry.calls.get(place.node).filter(|_| entry.is_operation())?;
        match (&*entry.class_name, &call.args[..]) {
            ("NotEqual", [Argument::Tensor(tensor), Argument::Value(number)]) => {
                let tensor = (*self.numbers.get(&*tensor.layer)?, tensor.node, tensor.tensor);
                Some(Mask::Not { tensor, number: number.as_f64()?, steps: false })
            }
            ("Any", [Argument::Tensor(inside)]) if depth == 0 => match self.computed(inside, 1)? {
                Mask::Not { tensor, number, .. } => Some(Mask::Not { tensor, number, steps: true }),
                _ => None,
            },
            _ => None,
        }
    }

    /// The layer, which is made when it is first called.
    fn instance(&mut self, number: usize, entry: &Entry, taken: &Taken, inputs: &[SymbolicTensor]) -> Result<Instance> {
        if let Some(instance) = &self.instances[number] {
            let config = instance.layer().config();
            let other = config.is_ok_and(|config| {
                ["use_causal_mask", "return_attention_scores"].iter().any(|name| {
                    config
                        .get(*name)
                        .is_some_and(|now| *now != taken.settings.get(*name).cloned().unwrap_or(false.into()))
                })
            });
            if other {
                return Err(Error::unsupported(
                    "it is called several times with other settings (use_causal_mask, return_attention_scores)",
                ));
            }
            return Ok(instance.clone());
        }
        let instance = if entry.is_model() {
            let built = entry.network()?.build(self.options, Some(inputs))?;
            if built.graph.nodes.is_empty() {
                return Err(Error::unsupported("the model inside has no layers"));
            }
            let nested = Nested { graph: built.graph.clone(), sequential: built.sequential };
            self.inner[number] = Some(built);
            Instance::from(nested).named(&entry.name)
        } else {
            entry.instance(taken.settings.clone(), self.options.policy)?
        };
        self.instances[number] = Some(instance.clone());
        Ok(instance)
    }

    /// The mask of the (first) output.
    fn mask(&self, entry: &Entry, instance: &Instance, taken: &Taken, inputs: &[(SymbolicTensor, Mask)]) -> Mask {
        let config = plain(Value::Object(entry.config.clone()));
        let flag = |config: &Value, name: &str| config.get(name).and_then(Value::as_bool).unwrap_or(false);
        let first = inputs.first().map_or(Mask::None, |(_, mask)| mask.clone());
        let key =
            taken.inputs.first().and_then(|place| Some((*self.numbers.get(&*place.layer)?, place.node, place.tensor)));
        match (&*entry.class_name, key) {
            ("Embedding", Some(tensor)) if flag(&config, "mask_zero") => {
                Mask::Not { tensor, number: 0.0, steps: false }
            }
            ("Embedding", _) => Mask::None,
            ("Masking", Some(tensor)) => {
                let number = config.get("mask_value").and_then(Value::as_f64).unwrap_or(0.0);
                Mask::Not { tensor, number, steps: true }
            }
            (class, _) if recurrent(class) => {
                let inside = config.get("layer").and_then(|layer| layer.get("config"));
                if flag(inside.unwrap_or(&config), "return_sequences") { first } else { Mask::None }
            }
            _ if inputs.iter().all(|(_, mask)| *mask == Mask::None) && !entry.is_model() => Mask::None,
            _ if inputs.len() == 1 && !entry.is_model() && instance.layer().supports_masking() => first,
            _ => Mask::Other,
        }
    }
}

impl Arguments {
    /// Does the call take this tensor?
    fn reads(&self, place: &Place) -> bool {
        let all = self.args.iter().chain(self.kwargs.iter().map(|(_, argument)| argument));
        all.flat_map(Argument::tensors).any(|tensor| tensor == place)
    }
}
