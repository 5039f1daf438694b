//! A model as Keras describes it: layers, and what each of their calls takes.

use crate::config::Config;
use crate::model::snake_case;
use ibex_core::{Error, Result};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// A `Sequential` or a `Functional`.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub name: String,
    pub sequential: bool,
    pub trainable: bool,
    /// Are calls written as Keras 2 did?
    pub legacy: bool,
    /// In the order of the file, inputs too.
    pub layers: Vec<Entry>,
    /// Of a `Functional`; empty in a `Sequential`, whose layers stand in a row.
    pub inputs: Vec<Place>,
    pub outputs: Vec<Place>,
    /// What outputs are called that are a dictionary.
    pub output_keys: Vec<String>,
    /// The shape with the batch axis that a `Sequential` without an input was built for.
    pub built: Option<Value>,
    /// Shapes with the batch axis and element types of tensors, where the network is to be written.
    pub specs: HashMap<Place, (Vec<Value>, &'static str)>,
}

/// A layer, an operation or a model inside.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub module: Option<String>,
    pub class_name: String,
    pub registered_name: Option<String>,
    pub name: String,
    pub config: Config,
    pub calls: Vec<Arguments>,
}

/// What a layer is called with.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    pub args: Vec<Argument>,
    pub kwargs: Vec<(String, Argument)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    Tensor(Place),
    List(Vec<Argument>),
    Value(Value),
}

/// A tensor: of a layer, which of its calls, and which output of that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub layer: String,
    pub node: usize,
    pub tensor: usize,
}

impl Argument {
    /// All tensors in it, in order.
    pub fn tensors(&self) -> Vec<&Place> {
        match self {
            Argument::Tensor(place) => vec![place],
            Argument::List(list) => list.iter().flat_map(Argument::tensors).collect(),
            Argument::Value(_) => Vec::new(),
        }
    }

    /// All tensors in it, to be changed.
    fn places<'a>(&'a mut self, all: &mut Vec<&'a mut Place>) {
        match self {
            Argument::Tensor(place) => all.push(place),
            Argument::List(list) => list.iter_mut().for_each(|argument| argument.places(all)),
            Argument::Value(_) => {}
        }
    }

    pub fn is_null(&self) -> bool {
        match self {
            Argument::Value(Value::Array(list)) => list.iter().all(Value::is_null),
            Argument::Value(value) => value.is_null(),
            Argument::List(list) => list.iter().all(Argument::is_null),
            Argument::Tensor(_) => false,
        }
    }
}

pub(super) fn wrong(what: impl std::fmt::Display) -> Error {
    Error::format(format!("the model's configuration is damaged or no Keras model: {what}"))
}

/// A field that is a list; nothing if it is missing.
fn list(config: &mut Config, field: &str) -> Result<Vec<Value>> {
    match config.remove(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(wrong(format!("{field} is no list"))),
    }
}

impl Network {
    /// Of the `config` of a model; Keras before 2.2.3 wrote a bare list of layers for a `Sequential`.
    pub fn read(class_name: &str, config: Value) -> Result<Network> {
        let mut config = match config {
            Value::Object(config) => config,
            Value::Array(layers) if class_name == "Sequential" => {
                Config::from_iter([("layers".to_string(), Value::Array(layers))])
            }
            _ => return Err(wrong(format!("{class_name} has no config"))),
        };
        let text = |config: &Config, field: &str| config.get(field).and_then(Value::as_str).map(str::to_string);
        let mut layers = Vec::new();
        for (i, layer) in list(&mut config, "layers")?.into_iter().enumerate() {
            layers.push(Entry::read(layer).map_err(|e| e.context(format!("layer {i}")))?);
        }
        let known: HashSet<String> = layers.iter().map(|layer: &Entry| layer.name.clone()).collect();
        if known.len() != layers.len() {
            return Err(wrong("two layers have one name"));
        }
        let legacy = layers.iter().any(|layer: &Entry| {
            let first = layer.config.get(NODES).and_then(Value::as_array).and_then(|nodes| nodes.first());
            first.is_some_and(Value::is_array)
        });
        for layer in &mut layers {
            layer.calls =
                calls(layer.config.remove(NODES), &known).map_err(|e| e.context(format!("layer {}", layer.name)))?;
        }
        let mut network = Network {
            name: text(&config, "name").unwrap_or_else(|| snake_case(class_name)),
            sequential: class_name == "Sequential",
            legacy,
            trainable: config.get("trainable").and_then(Value::as_bool).unwrap_or(true),
            inputs: ends(config.get("input_layers"), &known)?,
            outputs: ends(config.get("output_layers"), &known)?,
            output_keys: config
                .get("output_layers")
                .and_then(Value::as_object)
                .map_or_else(Vec::new, |map| map.keys().cloned().collect()),
            built: config.remove("build_input_shape").filter(|shape| !shape.is_null()),
            layers,
            specs: HashMap::new(),
        };
        network.renumber();
        Ok(network)
    }

    /// Calls of models inside count from 1 in outputs, and in Keras 2 everywhere; here from 0.
    fn renumber(&mut self) {
        let models: HashMap<String, bool> = self
            .layers
            .iter()
            .filter(|e| e.is_model())
            .map(|e| (e.name.clone(), e.class_name != "Sequential"))
            .collect();
        if models.is_empty() {
            return;
        }
        let lower = |place: &mut Place| place.node = place.node.saturating_sub(1);
        if !self.legacy {
            let functional = |place: &&mut Place| models.get(&place.layer).copied().unwrap_or(false);
            self.outputs.iter_mut().filter(functional).for_each(lower);
            return;
        }
        let mut places: Vec<&mut Place> = self.outputs.iter_mut().collect();
        for call in self.layers.iter_mut().flat_map(|entry| &mut entry.calls) {
            let all = call.args.iter_mut().chain(call.kwargs.iter_mut().map(|(_, argument)| argument));
            all.for_each(|argument| argument.places(&mut places));
        }
        // Unless somebody counts from 0.
        let from_0: HashSet<String> = places.iter().filter(|p| p.node == 0).map(|p| p.layer.clone()).collect();
        let counted = |place: &&mut Place| models.contains_key(&place.layer) && !from_0.contains(&place.layer);
        places.into_iter().filter(counted).for_each(lower);
    }
}

/// Where [`Entry::read`] leaves what [`Network::read`] takes up.
const NODES: &str = "inbound_nodes";

impl Entry {
    /// Of an object with a class and a config; its calls are still JSON in the config.
    fn read(value: Value) -> Result<Entry> {
        let Value::Object(mut object) = value else { return Err(wrong("a layer is no object")) };
        let text = |object: &Config, field: &str| object.get(field).and_then(Value::as_str).map(str::to_string);
        let class_name = text(&object, "class_name").ok_or_else(|| wrong("a layer has no class_name"))?;
        let mut config = match object.remove("config") {
            Some(Value::Object(config)) => config,
            None | Some(Value::Null) => Config::new(),
            // A bare list of layers.
            Some(layers @ Value::Array(_)) => Config::from_iter([("layers".to_string(), layers)]),
            Some(_) => return Err(wrong(format!("the config of a {class_name} is no object"))),
        };
        let name = text(&object, "name").or_else(|| text(&config, "name"));
        config.extend(object.remove(NODES).map(|nodes| (NODES.to_string(), nodes)));
        if let Some(shape) = object.get("build_config").and_then(|build| build.get("input_shape")) {
            config.entry("build_input_shape").or_insert_with(|| shape.clone());
        }
        Ok(Entry {
            module: text(&object, "module"),
            registered_name: text(&object, "registered_name"),
            name: name.unwrap_or_else(|| snake_case(&class_name)),
            class_name,
            config,
            calls: Vec::new(),
        })
    }
}

/// `["name", 0, 0]`
fn place(value: &Value, known: &HashSet<String>) -> Option<Place> {
    let list = value.as_array()?;
    let [layer, node, tensor] = list.get(..3)? else { return None };
    let layer = layer.as_str().filter(|layer| known.contains(*layer))?.to_string();
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    Some(Place { layer, node: number(node)?, tensor: number(tensor)? })
}

/// Inputs or outputs: one, a list of them, or a dictionary; in the order of the file.
fn ends(value: Option<&Value>, known: &HashSet<String>) -> Result<Vec<Place>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    if let Some(place) = place(value, known) {
        return Ok(vec![place]);
    }
    let nested: Vec<&Value> = match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        other => return Err(wrong(format!("{other} is no output of a layer of the model"))),
    };
    if nested.iter().any(|value| !value.is_array() && !value.is_object()) {
        return Err(wrong(format!("{value} is no output of a layer of the model")));
    }
    let lists = nested.into_iter().map(|value| ends(Some(value), known)).collect::<Result<Vec<_>>>()?;
    Ok(lists.into_iter().flatten().collect())
}

fn calls(nodes: Option<Value>, known: &HashSet<String>) -> Result<Vec<Arguments>> {
    let nodes = match nodes {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(nodes)) => nodes,
        Some(_) => return Err(wrong("inbound_nodes is no list")),
    };
    nodes
        .into_iter()
        .map(|node| match node {
            Value::Object(mut node) => {
                let args =
                    list(&mut node, "args")?.into_iter().map(|arg| argument(arg, known)).collect::<Result<_>>()?;
                let kwargs = match node.remove("kwargs") {
                    Some(Value::Object(kwargs)) => keywords(kwargs, known)?,
                    _ => Vec::new(),
                };
                Ok(Arguments { args, kwargs })
            }
            Value::Array(parts) => legacy_call(parts, known),
            other => Err(wrong(format!("a call is {other}"))),
        })
        .collect()
}

fn keywords(kwargs: Config, known: &HashSet<String>) -> Result<Vec<(String, Argument)>> {
    kwargs.into_iter().map(|(name, value)| Ok((name, argument(value, known)?))).collect()
}

/// Keras 2: `[["a", 0, 0, {kwargs}], ["b", 0, 0, {}]]`, or a call of one tensor without the outer list.
fn legacy_call(parts: Vec<Value>, known: &HashSet<String>) -> Result<Arguments> {
    if parts.first().is_some_and(Value::is_string) {
        return legacy_call(vec![Value::Array(parts)], known);
    }
    let (mut tensors, mut all) = (Vec::new(), Vec::new());
    for part in parts {
        let Value::Array(mut part) = part else { return Err(wrong(format!("a call takes {part}"))) };
        let kwargs = if part.len() > 3 { part.swap_remove(3) } else { Value::Null };
        if let Value::Object(kwargs) = kwargs {
            all.extend(keywords(kwargs, known)?);
        }
        tensors.push(match &part[..] {
            [Value::String(constant), _, value, ..] if constant == "_CONSTANT_VALUE" => Argument::Value(value.clone()),
            _ => argument(Value::Array(part), known)?,
        });
    }
    let args = if tensors.len() == 1 { tensors } else { vec![Argument::List(tensors)] };
    Ok(Arguments { args, kwargs: all })
}

/// A tensor of another layer, a list with tensors, a dictionary with tensors (as a list), or a value.
fn argument(value: Value, known: &HashSet<String>) -> Result<Argument> {
    if let Some(place) = place(&value, known) {
        return Ok(Argument::Tensor(place));
    }
    match value {
        Value::Object(object) if object.get("class_name").and_then(Value::as_str) == Some("__keras_tensor__") => {
            let history = object.get("config").and_then(|config| config.get("keras_history"));
            let found = history.and_then(|history| place(history, known));
            let text = || {
                wrong(format!("an input comes from {}, which the model does not have", history.unwrap_or(&Value::Null)))
            };
            found.map(Argument::Tensor).ok_or_else(text)
        }
        // Operands of an operation may be a list or a dictionary of tensors.
        Value::Array(list) => {
            let list: Vec<Argument> = list.into_iter().map(|value| argument(value, known)).collect::<Result<_>>()?;
            let values = list.iter().map(|a| match a {
                Argument::Value(value) => Some(value.clone()),
                _ => None,
            });
            Ok(match values.collect::<Option<Vec<Value>>>() {
                Some(values) => Argument::Value(Value::Array(values)),
                None => Argument::List(list),
            })
        }
        Value::Object(object) if !object.contains_key("class_name") => {
            let values: Vec<Argument> =
                object.clone().into_iter().map(|(_, value)| argument(value, known)).collect::<Result<_>>()?;
            let tensors = values.iter().any(|a| !a.tensors().is_empty());
            Ok(if tensors { Argument::List(values) } else { Argument::Value(Value::Object(object)) })
        }
        value => Ok(Argument::Value(value)),
    }
}
