//! Whole models into Keras's files.

use super::{BuiltLayer, compile, file_weights, write};
use crate::model::Model;
use crate::weight_files::write::dataset;
use ibex_core::{Data, Error, Result};
use ibex_formats::hdf5::{Attribute, Dataset, Group};
use ibex_formats::keras::{Archive, KERAS_VERSION};
use ibex_formats::weights::legacy;
use serde_json::Value;

impl Model {
    /// The model as a `.keras` file has it, whose numbers are read from the device when they are written.
    pub(in crate::saving) fn to_archive(&self) -> Result<Archive> {
        let (config, layers) = self.described()?;
        let mut weights = self.keras_weights()?;
        let state: Vec<(String, Dataset)> = self.state_datasets(&layers)?;
        if !state.is_empty() {
            let optimizer = weights.make("optimizer/vars")?;
            optimizer.datasets.extend(state.into_iter().enumerate().map(|(i, (_, dataset))| (i.to_string(), dataset)));
        }
        Ok(Archive::new(config, weights))
    }

    /// The model as Keras 2 wrote it.
    pub(in crate::saving) fn to_hdf5(&self) -> Result<Group> {
        let (mut config, layers) = self.described()?;
        let compile = config.as_object_mut().and_then(|config| config.remove("compile_config"));
        let mut root = Group::default();
        let mut text = |name: &str, text: String| drop(root.attributes.insert(name.into(), Attribute::Text(text)));
        text("backend", "jax".into());
        text("keras_version", KERAS_VERSION.into());
        text("model_config", config.to_string());
        if let Some(Value::Object(mut compile)) = compile {
            let optimizer = compile.remove("optimizer").unwrap_or_default();
            compile.insert("optimizer_config".into(), optimizer);
            text("training_config", Value::Object(compile).to_string());
        }
        root.groups.insert("model_weights".into(), self.legacy_weights()?);
        let state = self.state_datasets(&layers)?;
        if !state.is_empty() {
            root.groups.insert("optimizer_weights".into(), legacy::variables_group(state)?);
        }
        Ok(root)
    }

    /// The optimizer's variables in Keras's order, with names.
    fn state_datasets(&self, layers: &[BuiltLayer]) -> Result<Vec<(String, Dataset)>> {
        let Some(training) = &self.training else { return Ok(Vec::new()) };
        let device = self.open()?;
        let ids: Vec<_> = file_weights(layers).iter().map(|weight| weight.variable.id()).collect();
        let mut order: Vec<usize> = (0..training.trained.len()).collect();
        order.sort_by_key(|&i| ids.iter().position(|id| *id == training.trained[i].variable.id()));
        let class = crate::model::snake_case(training.optimizer.class_name());
        let mut state = Vec::new();
        if let Some(scaling) = &training.scaling {
            let number = |name: &str, data: Data| (format!("{class}/{name}"), Dataset::new(Vec::new(), data));
            state.extend([number("iteration", Data::I32(vec![0])), number("learning_rate", Data::F32(vec![0.0]))]);
            let scaling = [&scaling.steps, &scaling.scale];
            state.extend(scaling.map(|v| (format!("{class}/{}", v.name()), dataset(&device, v))));
        }
        let own = training.state.in_keras_order(&*training.optimizer, &order, false);
        state.extend(own.into_iter().map(|v| (format!("optimizer/{}", v.name()), dataset(&device, v))));
        Ok(state)
    }

    /// The description with the settings for training, and the layers in the order in which Keras will have them.
    fn described(&self) -> Result<(Value, Vec<BuiltLayer>)> {
        self.check()?;
        let (mut value, layers) = write::model(&self.graph, self.name(), self.is_sequential(), self.policy(), true)?;
        same_order(&self.graph, &layers)?;
        if let (Some(training), Some(object)) = (&self.training, value.as_object_mut()) {
            object.insert("compile_config".into(), compile::write(training, &self.output_names())?);
        }
        Ok((value, layers))
    }
}

/// Weights are written in the order of layers here, and told apart by class: within a class Keras must have the same order.
fn same_order(graph: &crate::graph::Graph, layers: &[BuiltLayer]) -> Result<()> {
    let with_weights =
        |layer: &&BuiltLayer| layer.instance.as_ref().is_some_and(|instance| !instance.weights().is_empty());
    let mut theirs: Vec<&BuiltLayer> = layers.iter().filter(with_weights).collect();
    for node in graph.nodes.iter().filter(|node| !node.weights().is_empty()) {
        let class = node.layer().class_name();
        let Some(at) =
            theirs.iter().position(|layer| layer.instance.as_ref().is_some_and(|i| i.layer().class_name() == class))
        else {
            continue;
        };
        let first = theirs.remove(at);
        if first.name != node.name() {
            return Err(Error::unsupported(format!(
                "Keras would take the weights of {} for those of {}, since masks change the order of layers; save to .safetensors",
                node.name(),
                first.name
            )));
        }
        let any: &dyn std::any::Any = node.layer();
        if let Some(nested) = any.downcast_ref::<crate::graph::Nested>() {
            same_order(&nested.graph, &first.inner)?;
        }
    }
    Ok(())
}
