//! Models as Keras writes them: `config.json` of a `.keras` file, `model_config` of an old `.h5` file, `model.to_json()`.

mod arguments;
#[cfg(feature = "keras")]
mod assets;
mod build;
mod compile;
#[cfg(feature = "keras")]
mod files;
mod layer;
mod masks;
mod network;
mod operation;
mod order;
#[cfg(all(feature = "keras", not(target_arch = "wasm32")))]
mod store;
mod write;

use super::Load;
use crate::config::Config;
use crate::graph::{Graph, Instance, Nested};
use crate::layers::Draw;
#[cfg(all(feature = "keras", not(target_arch = "wasm32")))]
use crate::layers::Weight;
use crate::model::Model;
use build::Options;
pub(super) use compile::{loss, metric};
use ibex_core::{Error, Result};
use network::{Network, wrong};
use serde_json::Value;
#[cfg(all(feature = "keras", not(target_arch = "wasm32")))]
use std::collections::HashSet;
use std::sync::Arc;

/// A model that was read, with its layers as they stand in the file.
#[derive(Debug)]
struct Built {
    name: String,
    sequential: bool,
    graph: Arc<Graph>,
    layers: Vec<BuiltLayer>,
}

/// A layer of a file and what was made of it, or made it. Inputs, operations that only make masks which are there anyway, and arguments of calls have
/// no instance.
#[derive(Debug)]
struct BuiltLayer {
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "only files that are written need it"))]
    name: String,
    instance: Option<Instance>,
    /// The layers of a model inside.
    inner: Vec<BuiltLayer>,
}

/// The model of a description, not compiled, its weights as `draw` says; and the names of outputs that are a dictionary, for [`Model::compile_as`].
fn model_of(mut value: Value, load: &Load, draw: Draw) -> Result<(Model, Vec<String>)> {
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
    let options = Options { policy: network.policy(), shapes: load.shapes.clone() };
    let built = network.build(&options, None)?;
    built.graph.draw(draw)?;
    let model = Model::of_shared(built.graph, &built.name, built.sequential).dtype_policy(options.policy);
    Ok((model, network.output_keys))
}

/// The layer that a model inside of another layer is, by Keras's configuration of it.
pub(super) fn nested(config: Config, sequential: bool) -> Result<Nested> {
    let class = if sequential { "Sequential" } else { "Functional" };
    let network = Network::read(class, Value::Object(config))?;
    let built = network.build(&Options { policy: network.policy(), ..Options::default() }, None)?;
    Ok(Nested { graph: built.graph, sequential: built.sequential })
}

/// All weights in the order of a file's layers, as Keras's `model.weights`; shared ones once.
#[cfg(all(feature = "keras", not(target_arch = "wasm32")))]
fn file_weights(layers: &[BuiltLayer]) -> Vec<&Weight> {
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

impl Model {
    /// The model's architecture as JSON, with its settings for training if it was compiled: what Keras's `model.to_json()` gives and its
    /// `keras.models.model_from_json` reads. No weights.
    ///
    /// # Errors
    /// `Unsupported` for what Keras does not have, naming the layer: closures. Losses, metrics and optimizers of your own are written by name, as Keras
    /// writes those of its users.
    pub fn to_json(&self) -> Result<String> {
        self.check()?;
        let (mut value, _) = write::model(&self.graph, self.name(), self.is_sequential(), self.policy(), true)?;
        if let (Some(training), Some(object)) = (&self.training, value.as_object_mut()) {
            object.insert("compile_config".into(), compile::write(training, &self.output_names())?);
        }
        serde_json::to_string_pretty(&value).map_err(|e| Error::value(format!("the model can not be written: {e}")))
    }

    /// The model of an architecture as JSON, which Keras's `model.to_json()` or [`Model::to_json`] wrote. Its weights are drawn anew.
    ///
    /// # Errors
    /// `Format` if it is damaged; `Unsupported` for what is not built here, naming the layer. A layer of your own is made known by
    /// [`layers::register`](crate::layers::register).
    pub fn from_json(text: &str) -> Result<Model> {
        Load::new().json(text)
    }
}

impl Load {
    /// [`Model::from_json`].
    ///
    /// # Errors
    /// As there.
    pub fn json(&self, text: &str) -> Result<Model> {
        let mut value: Value = serde_json::from_str(text).map_err(wrong)?;
        let compile = value.get_mut("compile_config").map(Value::take).unwrap_or_default();
        let (mut model, keys) = model_of(value, self, Draw::Seed(0, 0))?;
        model.compile_as(&compile, &keys);
        Ok(model)
    }
}
