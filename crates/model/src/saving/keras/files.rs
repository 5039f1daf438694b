//! Whole models in Keras's files: `.keras`, and `.h5` as Keras 2 wrote them.

use super::network::wrong;
use super::{BuiltLayer, assets, compile, file_weights, model_of, write};
use crate::model::Model;
use crate::saving::Load;
use ibex_core::{Data, Device, Error, Result, Variable};
use ibex_formats::hdf5::{Attribute, Dataset, Group};
use ibex_formats::keras::{Archive, KERAS_VERSION};
use ibex_formats::weights::{self, legacy};
use serde_json::Value;

impl Model {
    /// The model of a `.keras` file.
    pub(in crate::saving) fn from_archive(mut archive: Archive, load: &Load) -> Result<Model> {
        let compile = archive.config.get_mut("compile_config").map(Value::take).unwrap_or_default();
        assets::take(&mut archive.config, "", &archive.assets)?;
        let (mut model, keys) = model_of(archive.config, load)?;
        model.take_weights(&archive.weights)?;
        model.compile_as(&compile, &keys)?;
        let state = weights::numbered(&archive.weights, "optimizer")?;
        model.take_state(&state.into_iter().map(|dataset| ("", dataset)).collect::<Vec<_>>());
        Ok(model)
    }

    /// The model of an `.h5` file that holds a whole model.
    pub(in crate::saving) fn from_hdf5(file: &Group, load: &Load) -> Result<Model> {
        let json =
            |name: &str| file.text(name).map(|text| serde_json::from_str::<Value>(text).map_err(wrong)).transpose();
        let Some(config) = json("model_config")? else {
            let text = "the file holds weights, but no model; make the model, then call `load_weights`";
            return Err(Error::format(text));
        };
        let (mut model, keys) = model_of(config, load)?;
        model.take_weights(file)?;
        model.compile_as(&json("training_config")?.unwrap_or_default(), &keys)?;
        if let Some(group) = file.groups.get("optimizer_weights") {
            let state = legacy::variables(group)?;
            let state: Vec<_> = state.iter().map(|(name, dataset)| (&name[..], *dataset)).collect();
            model.take_state(&state);
        }
        Ok(model)
    }

    /// Takes the optimizer's variables from a file, which come with names in some files; none leave it as it is. Those that do not fit are reported when
    /// the model shall be trained.
    fn take_state(&mut self, file: &[(&str, &Dataset)]) {
        if file.is_empty() || self.training.is_none() {
            return;
        }
        if let Err(error) = self.take_state_of(file) {
            self.training = None;
            self.leave_uncompiled(
                error.context("the file's optimizer state can not be used; compile the model to begin with a new one"),
            );
        }
    }

    fn take_state_of(&self, file: &[(&str, &Dataset)]) -> Result<()> {
        let training = self.training()?;
        let order: Vec<usize> = (0..training.trained.len()).collect();
        let class = training.optimizer.class_name();
        let mut file = file;
        let mut pairs: Vec<(&Variable, &Dataset)> = Vec::new();
        if let Some(scaling) = &training.scaling {
            // Beside two numbers without meaning: the count of steps and the factor, then what the optimizer inside has.
            let [_, _, (_, steps), (_, scale), inner @ ..] = file else { return Err(wrong("it has no loss scale")) };
            pairs.extend([(&scaling.steps, *steps), (&scaling.scale, *scale)]);
            file = inner;
        }
        // TensorFlow's optimizers of old have all slots of one kind together, and most of them no rate.
        let old = file.iter().any(|(name, _)| name.ends_with("/m:0") || name.ends_with("/v:0"));
        let mut wanted = 0;
        for (together, rate) in [(old, true), (old, false), (!old, true), (!old, false)] {
            let own = training.state.in_keras_order(&*training.optimizer, &order, together);
            wanted = wanted.max(own.len());
            let own: Vec<&Variable> =
                own.into_iter().filter(|variable| rate || !training.state.is_rate(variable)).collect();
            let fits = own.len() == file.len()
                && own.iter().zip(file).all(|(own, (_, dataset))| own.shape()[..] == dataset.shape[..]);
            if fits {
                pairs.extend(own.into_iter().zip(file.iter().map(|(_, dataset)| *dataset)));
                return pairs.into_iter().try_for_each(|(variable, dataset)| set(variable, dataset));
            }
        }
        Err(Error::shape(format!(
            "the file has {} variables of the optimizer, {class} has {wanted} here, or their shapes differ",
            file.len()
        )))
    }
}

fn set(variable: &Variable, dataset: &Dataset) -> Result<()> {
    variable.set(&Data::from_f64(variable.dtype(), &dataset.read()?.to_f64()))
}

#[cfg(not(target_arch = "wasm32"))]
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

/// A variable's numbers, when they are asked for.
#[cfg(not(target_arch = "wasm32"))]
fn dataset(device: &Device, variable: &Variable) -> Dataset {
    let (device, variable) = (device.clone(), variable.clone());
    Dataset::lazy(variable.shape().to_vec(), variable.dtype(), move || device.read_now(&variable.value()))
}

/// Weights are written in the order of layers here, and told apart by class: within a class Keras must have the same order.
#[cfg(not(target_arch = "wasm32"))]
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
