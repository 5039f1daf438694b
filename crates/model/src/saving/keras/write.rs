//! A model as Keras 3 writes it.

use super::network::{Argument, Entry, Network, Place};
use super::{BuiltLayer, masks::Masks};
use crate::DTypePolicy;
use crate::config::Config;
use crate::graph::{Graph, Nested, Node, Source, SymbolicTensor};
use crate::layers::{ApplyMask, Layer, Operator, dtype_name};
use ibex_core::{Error, Result, Shape};
use serde_json::{Map, Value, json};
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// `{"module": .., "class_name": .., "config": ..}`, and so for the objects in the configuration.
pub(super) fn object(module: &str, class_name: &str, config: Config) -> Value {
    json!({"module": module, "class_name": class_name, "config": described(config), "registered_name": null})
}

/// An object of a class that Keras does not have, as Keras writes those of its users: they load it with `custom_objects`, or with `compile=False`.
pub(super) fn own_object(class_name: &str, config: Config) -> Value {
    json!({"module": null, "class_name": class_name, "config": described(config), "registered_name": class_name})
}

/// Objects inside of a configuration get the module that Keras looks for them in, which follows from the field.
fn described(config: Config) -> Value {
    config
        .into_iter()
        .map(|(field, value)| {
            let described = inside(&field, value);
            (field, described)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn inside(field: &str, value: Value) -> Value {
    let module = match field {
        _ if field.ends_with("initializer") => "keras.initializers",
        _ if field.ends_with("regularizer") => "keras.regularizers",
        _ if field.ends_with("constraint") => "keras.constraints",
        "layer" | "backward_layer" | "cell" | "cells" => "keras.layers",
        "learning_rate" => "keras.optimizers.schedules",
        _ => return value,
    };
    match value {
        Value::Array(list) => list.into_iter().map(|value| inside(field, value)).collect(),
        // A model inside is written already.
        Value::Object(object_) if object_.contains_key("module") => Value::Object(object_),
        Value::Object(mut object_) if object_.contains_key("class_name") => {
            let class = object_.get("class_name").and_then(Value::as_str).unwrap_or_default().to_string();
            let config = match object_.remove("config") {
                Some(Value::Object(config)) => config,
                _ => Config::new(),
            };
            object(module, &class, config)
        }
        value => value,
    }
}

/// The configuration of a policy.
fn policy_object(policy: DTypePolicy) -> Value {
    let config = Config::from_iter([("name".to_string(), json!(policy.name()))]);
    object("keras", "DTypePolicy", config)
}

/// What a layer that is a model inside, or an operation, is.
fn is<L: Layer>(node: &Node) -> Option<&L> {
    let any: &dyn Any = node.layer();
    any.downcast_ref::<L>()
}

/// The length of an axis, which may be any.
fn length(length: &usize) -> Value {
    if *length == Shape::ANY { Value::Null } else { Value::from(*length) }
}

/// Settings that Keras has as arguments of calls.
const OF_CALLS: &[&str] = &["use_causal_mask", "return_attention_scores"];

/// Layers that Keras calls with one list of tensors.
pub(super) const LISTS: &[&str] = &[
    "Add",
    "Subtract",
    "Multiply",
    "Average",
    "Maximum",
    "Minimum",
    "Concatenate",
    "Dot",
    "Attention",
    "AdditiveAttention",
];

pub(super) struct Writer<'a> {
    graph: &'a Graph,
    policy: DTypePolicy,
    pub network: Network,
    /// What was made of layers, by number of the entry.
    layers: Vec<BuiltLayer>,
    names: HashSet<String>,
    /// Where every tensor of the graph is in the network.
    places: HashMap<Source, Place>,
}

/// A model, written, and its layers in the order in which Keras will have them.
pub(super) fn model(
    graph: &Arc<Graph>,
    name: &str,
    sequential: bool,
    policy: DTypePolicy,
    trainable: bool,
) -> Result<(Value, Vec<BuiltLayer>)> {
    let (network, layers) = network(graph, name, sequential, policy)?;
    Ok((network.written(trainable), layers))
}

fn network(
    graph: &Arc<Graph>,
    name: &str,
    sequential: bool,
    policy: DTypePolicy,
) -> Result<(Network, Vec<BuiltLayer>)> {
    let mut writer = Writer {
        graph,
        policy,
        network: Network {
            name: name.into(),
            trainable: true,
            sequential: sequential && in_a_row(graph),
            ..Network::default()
        },
        layers: Vec::new(),
        names: graph
            .nodes
            .iter()
            .map(|node| node.name().to_string())
            .chain(graph.input_names.iter().cloned())
            .collect(),
        places: HashMap::new(),
    };
    writer.inputs();
    let mut masks = Masks::default();
    let mut entries: HashMap<usize, usize> = HashMap::new();
    for (number, application) in graph.in_order() {
        let node = &graph.nodes[number];
        writer.apply(number, application, &mut entries, &mut masks).map_err(|e| {
            e.context(format!("layer {} ({}) can not be written for Keras", node.name(), node.layer().class_name()))
        })?;
    }
    for source in graph.output_sources() {
        writer.network.outputs.push(writer.place(&source)?);
    }
    let Writer { mut network, layers, .. } = writer;
    if network.sequential {
        return Ok((network, layers));
    }
    // As Keras will order them.
    let order = network.order();
    let mut layers: Vec<Option<BuiltLayer>> = layers.into_iter().map(Some).collect();
    let mut entries: Vec<Option<Entry>> = network.layers.into_iter().map(Some).collect();
    network.layers = order.iter().filter_map(|&i| entries.get_mut(i)?.take()).collect();
    let layers = order.iter().filter_map(|&i| layers.get_mut(i)?.take()).collect();
    Ok((network, layers))
}

/// Is every layer applied once, to the output of the one before?
fn in_a_row(graph: &Graph) -> bool {
    let mut last = Source::Input(0);
    let own = graph.in_order().all(|(number, application)| {
        let node = &graph.nodes[number];
        let from = &node.applications[application].from;
        let follows =
            from[..] == [last] && application == 0 && is::<Operator>(node).is_none() && is::<ApplyMask>(node).is_none();
        last = Source::Layer(number, application, 0);
        let settings = node.layer().config().unwrap_or_default();
        follows && OF_CALLS.iter().all(|name| settings.get(*name) != Some(&Value::Bool(true)))
    });
    own && graph.inputs.len() == 1 && graph.output_sources() == [last]
}

impl Writer<'_> {
    fn inputs(&mut self) {
        for (i, (input, name)) in self.graph.inputs.iter().zip(&self.graph.input_names).enumerate() {
            let batch = input.batch_size().map_or(Value::Null, Value::from);
            let shape: Vec<Value> = std::iter::once(batch).chain(input.shape().iter().map(length)).collect();
            let config = json!({"batch_shape": shape, "dtype": dtype_name(input.dtype()), "sparse": false, "ragged": false, "name": name});
            self.push("keras.layers", "InputLayer", None, name, config.as_object().cloned().unwrap_or_default());
            let place = Place { layer: name.clone(), node: 0, tensor: 0 };
            self.network.inputs.push(place.clone());
            self.keep(Source::Input(i), place, input);
        }
    }

    /// Notes where a tensor is, and what it is.
    fn keep(&mut self, source: Source, place: Place, tensor: &SymbolicTensor) {
        let batch = tensor.batch_size().map_or(Value::Null, Value::from);
        let shape = std::iter::once(batch).chain(tensor.shape().iter().map(length)).collect();
        self.network.specs.insert(place.clone(), (shape, dtype_name(tensor.dtype())));
        self.places.insert(source, place);
    }

    /// The shape of a tensor with the batch axis.
    pub fn shape(&self, place: &Place) -> Vec<Value> {
        self.network.specs.get(place).map(|(shape, _)| shape.clone()).unwrap_or_default()
    }

    /// A new entry, by its number.
    fn push(
        &mut self,
        module: &str,
        class_name: &str,
        registered_name: Option<&str>,
        name: &str,
        config: Config,
    ) -> usize {
        self.network.layers.push(Entry {
            module: Some(module.into()),
            class_name: class_name.into(),
            registered_name: registered_name.map(str::to_string),
            name: name.into(),
            config,
            calls: Vec::new(),
        });
        self.layers.push(BuiltLayer { name: name.into(), instance: None, inner: Vec::new() });
        self.layers.len() - 1
    }

    /// A new operation that makes a mask, called once; its output.
    pub fn operation(&mut self, name: &str, mut config: Config, args: Vec<Argument>, shape: Vec<Value>) -> Place {
        let (module, class_name) = (super::operation::module(name), super::operation::class_name(name));
        let numbered = (1..).map(|i| format!("{name}_{i}"));
        let free = std::iter::once(name.to_string())
            .chain(numbered)
            .find(|name| !self.names.contains(name))
            .unwrap_or_default();
        self.names.insert(free.clone());
        config.insert("name".into(), free.clone().into());
        let number = self.push(module, &class_name, Some(&class_name), &free, config);
        self.network.layers[number].calls.push(super::network::Arguments { args, kwargs: Vec::new() });
        let place = Place { layer: free, node: 0, tensor: 0 };
        self.network.specs.insert(place.clone(), (shape, "bool"));
        place
    }

    fn place(&self, source: &Source) -> Result<Place> {
        self.places.get(source).cloned().ok_or_else(|| Error::model("it takes a tensor that the model does not have"))
    }

    fn apply(
        &mut self,
        number: usize,
        application: usize,
        entries: &mut HashMap<usize, usize>,
        masks: &mut Masks,
    ) -> Result<()> {
        let node = &self.graph.nodes[number];
        let applied = &node.applications[application];
        let inputs: Vec<Place> = applied.from.iter().map(|source| self.place(source)).collect::<Result<_>>()?;
        // A mask is an argument of those that take the tensor.
        if is::<ApplyMask>(node).is_some() {
            let given = Place { layer: node.name().into(), node: application, tensor: 0 };
            masks.give(&given, &inputs);
            if let Some(output) = applied.outputs.first() {
                self.keep(Source::Layer(number, application, 0), given, output);
            }
            return Ok(());
        }
        let entry = match entries.get(&number) {
            Some(&entry) => entry,
            None => {
                let entry = self.entry(node)?;
                entries.insert(number, entry);
                entry
            }
        };
        let call = match is::<Operator>(node) {
            Some(operator) => operator.arguments(masks.bare(&inputs)),
            None => {
                let class = self.network.layers[entry].class_name.clone();
                let mut call = masks.call(self, node, &class, &inputs)?;
                let settings = node.layer().config().unwrap_or_default();
                let flags = OF_CALLS.iter().filter(|name| settings.get(**name) == Some(&Value::Bool(true)));
                call.kwargs.extend(flags.map(|name| (name.to_string(), Argument::Value(true.into()))));
                call
            }
        };
        let entry = &mut self.network.layers[entry];
        let name = entry.name.clone();
        entry.calls.push(call);
        let call = entry.calls.len() - 1;
        for (tensor, output) in applied.outputs.iter().enumerate() {
            let place = Place { layer: name.clone(), node: call, tensor };
            self.keep(Source::Layer(number, application, tensor), place, output);
        }
        let output = Place { layer: name, node: call, tensor: 0 };
        masks.pass(node, &inputs, output);
        Ok(())
    }

    /// Models inside of a wrapper, as Keras describes them.
    fn models_inside(&self, config: &mut Config) -> Result<()> {
        let Some(Value::Object(layer)) = config.get_mut("layer") else { return Ok(()) };
        let class = layer.get("class_name").and_then(Value::as_str).unwrap_or_default().to_string();
        let (true, Some(Value::Object(inner))) =
            (["Sequential", "Functional"].contains(&&*class), layer.get("config").cloned())
        else {
            return Ok(());
        };
        let nested = crate::saving::nested_from_config(inner, class == "Sequential")?;
        let (inner, _) = network(&nested.graph, &crate::model::snake_case(&class), nested.sequential, self.policy)?;
        *layer = inner.written(true).as_object().cloned().unwrap_or_default();
        Ok(())
    }

    /// The entry of a layer, by its number.
    fn entry(&mut self, node: &Node) -> Result<usize> {
        if let Some(operator) = is::<Operator>(node) {
            let (name, config) = operator.described()?;
            let class = super::operation::class_name(&name);
            return Ok(self.push(super::operation::module(&name), &class, Some(&class), node.name(), config));
        }
        let trainable = node.instance().is_trainable();
        if let Some(nested) = is::<Nested>(node) {
            let policy = node.instance().policy().unwrap_or(self.policy);
            let (inner, layers) = network(&nested.graph, node.name(), nested.sequential, policy)?;
            let class = if inner.sequential { "Sequential" } else { "Functional" };
            let registered = (!inner.sequential).then_some("Functional");
            let entry = self.push(inner.module(), class, registered, node.name(), inner.config(trainable));
            self.layers[entry].inner = layers;
            self.layers[entry].instance = Some(node.instance().clone());
            return Ok(entry);
        }
        let class = node.layer().class_name();
        let mut config = node.layer().config()?;
        self.models_inside(&mut config)?;
        OF_CALLS.iter().for_each(|name| drop(config.remove(*name)));
        config.insert("name".into(), node.name().into());
        // Some classes without weights do not take it.
        if !node.instance().any_weights().is_empty() {
            config.insert("trainable".into(), trainable.into());
        }
        let known = crate::layers::is_built_in(class);
        if known {
            config.insert("dtype".into(), policy_object(node.instance().policy().unwrap_or(self.policy)));
        }
        // A class of one's own is one of the user's in Python too.
        let (module, registered) = if known { ("keras.layers", None) } else { ("builtins", Some(class)) };
        let Value::Object(config) = described(config) else {
            return Err(Error::value("its configuration is no object"));
        };
        let entry = self.push(module, class, registered, node.name(), config);
        self.layers[entry].instance = Some(node.instance().clone());
        Ok(entry)
    }
}

impl Network {
    pub fn module(&self) -> &'static str {
        if self.sequential { "keras" } else { "keras.src.models.functional" }
    }

    /// The model as an object.
    fn written(&self, trainable: bool) -> Value {
        let class = if self.sequential { "Sequential" } else { "Functional" };
        let registered = if self.sequential { Value::Null } else { json!("Functional") };
        json!({
            "module": self.module(),
            "class_name": class,
            "config": self.config(trainable),
            "registered_name": registered,
            "build_config": {"input_shape": self.input_shape()},
        })
    }

    /// Of a `Sequential`; a `Functional` says it with its inputs.
    fn input_shape(&self) -> Value {
        let first = self.layers.first().filter(|_| self.sequential);
        first.and_then(|input| input.config.get("batch_shape")).cloned().unwrap_or_default()
    }

    pub fn config(&self, trainable: bool) -> Config {
        let mut config =
            Config::from_iter([("name".to_string(), json!(self.name)), ("trainable".to_string(), json!(trainable))]);
        let layers: Vec<Value> = self.layers.iter().map(|entry| self.layer(entry)).collect();
        config.insert("layers".into(), layers.into());
        if self.sequential {
            config.insert("dtype".into(), policy_object(DTypePolicy::Float32));
            config.insert("build_input_shape".into(), self.input_shape());
        } else {
            config.insert("input_layers".into(), self.ends(&self.inputs));
            config.insert("output_layers".into(), self.ends(&self.outputs));
        }
        config
    }

    fn ends(&self, places: &[Place]) -> Value {
        let functional =
            |place: &Place| self.layers.iter().any(|e| e.name == place.layer && e.class_name == "Functional");
        // Keras counts the calls of a model inside from 1 here, and only here.
        let end = |place: &Place| json!([place.layer, place.node + usize::from(functional(place)), place.tensor]);
        match places {
            [one] => end(one),
            all => all.iter().map(end).collect(),
        }
    }

    fn layer(&self, entry: &Entry) -> Value {
        let mut layer = json!({
            "module": entry.module,
            "class_name": entry.class_name,
            "config": entry.config,
            "registered_name": entry.registered_name,
        });
        if !self.sequential
            && let Some(layer) = layer.as_object_mut()
        {
            let calls: Vec<Value> = entry
                .calls
                .iter()
                .map(|call| {
                    let args: Vec<Value> = call.args.iter().map(|argument| self.argument(argument)).collect();
                    let kwargs = call.kwargs.iter().map(|(name, argument)| (name.clone(), self.argument(argument)));
                    let kwargs: Map<String, Value> = kwargs.collect();
                    json!({"args": args, "kwargs": kwargs})
                })
                .collect();
            layer.insert("name".into(), json!(entry.name));
            layer.insert("inbound_nodes".into(), calls.into());
        }
        layer
    }

    fn argument(&self, argument: &Argument) -> Value {
        match argument {
            Argument::Tensor(place) => {
                let (shape, dtype) = self.specs.get(place).cloned().unwrap_or_default();
                let history = json!([place.layer, place.node, place.tensor]);
                json!({"class_name": "__keras_tensor__", "config": {"shape": shape, "dtype": dtype, "keras_history": history}})
            }
            Argument::List(list) => list.iter().map(|argument| self.argument(argument)).collect(),
            Argument::Value(value) => value.clone(),
        }
    }
}
