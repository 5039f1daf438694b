//! Models as Keras writes them: `config.json` of a `.keras` file, `model_config` of an old `.h5` file, `model.to_json()`.

mod arguments;
mod build;
mod layer;
mod network;
mod operation;
#[cfg(test)]
mod tests;

use crate::graph::{Graph, Instance};
use crate::layers::Weight;
use crate::model::Model;
use build::Options;
use ibex_core::{Error, Result};
use network::{Network, wrong};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A model that was read, with its layers as they stand in the file.
#[derive(Debug)]
pub(crate) struct Built {
    pub name: String,
    pub sequential: bool,
    pub graph: Arc<Graph>,
    pub layers: Vec<BuiltLayer>,
}

/// A layer of a file: Keras's name of its class, which groups of weights are named after, and what was made of it. Inputs, and operations
/// that only make masks which are there anyway, have no instance.
#[derive(Debug)]
pub(crate) struct BuiltLayer {
    pub class_name: String,
    pub name: String,
    pub instance: Option<Instance>,
    /// The layers of a model inside.
    pub inner: Vec<BuiltLayer>,
}

/// The model of a configuration, its weights drawn anew, and its layers in the order of the file; `shapes` are those of inputs whose lengths
/// the file leaves open.
pub(crate) fn model_from_config(text: &str, shapes: &BTreeMap<String, Vec<usize>>) -> Result<(Model, Vec<BuiltLayer>)> {
    let mut value: Value = serde_json::from_str(text).map_err(wrong)?;
    // Some tools write the text of an object as a text.
    if let Value::String(inside) = &value {
        value = serde_json::from_str(inside).map_err(wrong)?;
    }
    let class = value.get("class_name").and_then(Value::as_str).unwrap_or_default().to_string();
    if class.is_empty() {
        return Err(wrong("it has no class_name"));
    }
    let config = value.get_mut("config").map(Value::take).unwrap_or_default();
    let functional = config.get("layers").is_some() && config.get("input_layers").is_some();
    if !["Sequential", "Functional", "Model"].contains(&&*class) && !functional {
        return Err(Error::unsupported(format!(
            "the model is of the class {class:?}, which is Python code; build it in Rust, and load its weights alone"
        )));
    }
    let network = Network::read(&class, config)?;
    let options = Options { policy: network.policy(), shapes: shapes.clone() };
    let built = network.build(&options, None)?;
    built.graph.draw(0)?;
    let model = Model::of_shared(built.graph, &built.name, built.sequential).dtype_policy(options.policy);
    Ok((model, built.layers))
}

/// All weights in the order of a file's layers, as Keras's `model.weights`; shared ones once.
pub(crate) fn file_weights(layers: &[BuiltLayer]) -> Vec<&Weight> {
    fn collect<'a>(layers: &'a [BuiltLayer], all: &mut Vec<&'a Weight>) {
        for layer in layers {
            if layer.inner.is_empty() {
                all.extend(layer.instance.iter().flat_map(Instance::weights).filter(|weight| !weight.is_transient()));
            } else {
                collect(&layer.inner, all);
            }
        }
    }
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    collect(layers, &mut all);
    all.retain(|weight| seen.insert(weight.variable.id()));
    all
}
