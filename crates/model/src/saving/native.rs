//! A model in one file of our own: weights and training state as safetensors, architecture and compile settings as JSON in its metadata, and a
//! checksum over all of it.

use super::unknown;
use crate::config::{Config, Part};
use crate::graph::{Graph, Input, Instance, Nested, Source, SymbolicTensor};
use crate::layers::{self, Draw};
use crate::model::{Model, Training};
use crate::policy::DTypePolicy;
use crate::{losses, metrics, optimizers};
use ibex_core::{DType, Data, Error, Result, Shape, Variable};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors, serialize};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;

/// Raised when an older program could not read a file of this version, or this program reads none of the version before.
const VERSION: u32 = 2;

/// What is said of files of weights.
pub(super) const WEIGHTS_ALONE: &str = "the file holds weights, but no model; make the model, then call `load_weights`";

/// What a model can do whose optimizer is not as it was.
pub(super) const STATE: &str = "the file's optimizer state can not be used; compile the model to begin with a new one";

/// The metadata entry that holds the checksum and the JSON.
const KEY: &str = "ibex";

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    name: String,
    #[serde(default)]
    sequential: bool,
    seed: u64,
    #[serde(default)]
    epochs: u32,
    #[serde(default)]
    dtype_policy: DTypePolicy,
    graph: GraphHeader,
    compile: Option<CompileHeader>,
}

/// What the headers of all versions have.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct GraphHeader {
    inputs: Vec<InputHeader>,
    layers: Vec<LayerHeader>,
    outputs: Vec<Source>,
}

#[derive(Serialize, Deserialize)]
struct InputHeader {
    name: String,
    /// `None` for an axis of any length.
    shape: Vec<Option<usize>>,
    dtype: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch_size: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct LayerHeader {
    class_name: String,
    name: String,
    /// Its own policy, if it does not follow the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dtype: Option<DTypePolicy>,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    trainable: bool,
    config: Config,
    /// For each time it is applied, where the inputs come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    applied: Vec<Vec<Source>>,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_yes(value: &bool) -> bool {
    *value
}

#[derive(Serialize, Deserialize)]
struct CompileHeader {
    optimizer: Part,
    loss: Losses,
    metrics: Vec<Part>,
}

/// One loss for all outputs, or one for each.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Losses {
    One(LossHeader),
    Each(Vec<LossHeader>),
}

#[derive(Serialize, Deserialize)]
struct LossHeader {
    class_name: String,
    config: Config,
    /// How many times it counts.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: f32,
}

fn one() -> f32 {
    1.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(value: &f32) -> bool {
    *value == 1.0
}

impl Losses {
    fn of(t: &Training) -> Result<Losses> {
        let header = |loss: &dyn losses::Loss| -> Result<LossHeader> {
            Ok(LossHeader { class_name: loss.class_name().into(), config: loss.config()?, weight: loss.weight() })
        };
        Ok(match &t.losses[..] {
            [loss] => Losses::One(header(&**loss)?),
            all => Losses::Each(all.iter().map(|l| header(&**l)).collect::<Result<_>>()?),
        })
    }

    fn load(self) -> Vec<Box<dyn losses::Loss>> {
        let all = match self {
            Losses::One(header) => vec![header],
            Losses::Each(headers) => headers,
        };
        let load = |LossHeader { class_name, config, weight }: LossHeader| -> Box<dyn losses::Loss> {
            let loss = unknown::loss(&class_name, config);
            if weight == 1.0 { loss } else { Box::new(losses::Loss::weighted(loss, weight)) }
        };
        all.into_iter().map(load).collect()
    }
}

/// A model's structure as JSON.
fn describe(graph: &Graph) -> Result<GraphHeader> {
    let inputs = graph.inputs.iter().zip(&graph.input_names).map(|(input, name)| InputHeader {
        name: name.clone(),
        shape: input.shape().iter().map(|&axis| (axis != Shape::ANY).then_some(axis)).collect(),
        dtype: input.dtype().name().into(),
        batch_size: input.batch_size(),
    });
    let layer = |node: &crate::graph::Node| -> Result<LayerHeader> {
        let instance = node.instance();
        Ok(LayerHeader {
            class_name: node.layer().class_name().into(),
            name: node.name().into(),
            dtype: instance.policy(),
            trainable: instance.is_trainable(),
            config: node.layer().config().map_err(|e| e.context(format!("layer {}", node.name())))?,
            applied: node.applications.iter().map(|a| a.from.clone()).collect(),
        })
    };
    Ok(GraphHeader {
        inputs: inputs.collect(),
        layers: graph.nodes.iter().map(layer).collect::<Result<_>>()?,
        outputs: graph.output_sources(),
    })
}

/// [`describe`] as the configuration of a layer.
pub(crate) fn graph_config(graph: &Graph) -> Result<Config> {
    crate::config::save(&describe(graph)?)
}

/// The layer that a model inside of a model is.
pub(crate) fn nested_from_config(config: Config, sequential: bool) -> Result<Nested> {
    // Keras's has layers with inputs inside.
    if !config.contains_key("inputs") {
        return super::keras::nested(config, sequential);
    }
    let graph = build(crate::config::load(config)?)?;
    Ok(Nested { graph: graph.into(), sequential })
}

/// The structure that [`describe`] wrote.
fn build(header: GraphHeader) -> Result<Graph> {
    let inputs: Vec<SymbolicTensor> = header
        .inputs
        .into_iter()
        .map(|input| {
            let shape: Vec<usize> = input.shape.iter().map(|axis| axis.unwrap_or(Shape::ANY)).collect();
            let tensor = Input::with_dtype(shape, dtype_from(&input.dtype)?).named(input.name);
            Ok(match input.batch_size {
                Some(size) => tensor.batches_of(size),
                None => tensor,
            })
        })
        .collect::<Result<_>>()?;
    let mut layers = Vec::new();
    for layer in header.layers {
        let loaded = layers::from_config(&layer.class_name, layer.config);
        let loaded = loaded.map_err(|e| e.context(format!("layer {} ({})", layer.name, layer.class_name)))?;
        let mut instance = Instance::from(loaded).named(layer.name).trainable(layer.trainable);
        if let Some(policy) = layer.dtype {
            instance = instance.dtype(policy);
        }
        layers.push((instance, layer.applied));
    }
    // Layers stand in the order of their weights: they are applied as soon as their inputs are there.
    let mut made: Vec<Vec<Vec<SymbolicTensor>>> = vec![Vec::new(); layers.len()];
    let get = |source: &Source, made: &[Vec<Vec<SymbolicTensor>>]| match *source {
        Source::Input(i) => inputs.get(i).cloned(),
        Source::Layer(layer, application, output) => made.get(layer)?.get(application)?.get(output).cloned(),
    };
    loop {
        let (mut progress, mut open) = (false, None);
        for (i, (instance, applied)) in layers.iter().enumerate() {
            while let Some(from) = applied.get(made[i].len()) {
                let Some(xs) = from.iter().map(|s| get(s, &made)).collect::<Option<Vec<_>>>() else {
                    open = instance.name();
                    break;
                };
                let outputs = instance.apply_all(&xs);
                outputs[0].check()?;
                made[i].push(outputs);
                progress = true;
            }
        }
        match open {
            None => break,
            Some(name) if !progress => {
                return Err(Error::format(format!("layer {name} depends on something that the model does not have")));
            }
            Some(_) => {}
        }
    }
    let outputs: Option<Vec<SymbolicTensor>> = header.outputs.iter().map(|s| get(s, &made)).collect();
    let outputs =
        outputs.ok_or_else(|| Error::format("an output of the model comes from a layer that it does not have"))?;
    Graph::new(inputs, outputs)
}

impl Model {
    /// The contents of a model file in our own format, with the state of random numbers.
    ///
    /// # Errors
    /// If a layer can not be written; whatever the device reports.
    pub async fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        let device = self.open()?;
        let mut tensors: BTreeMap<String, (Shape, Data)> = BTreeMap::new();
        for (name, variable) in self.state()? {
            let value = variable.value();
            tensors.insert(name, (variable.shape().clone(), device.read(&value).await?));
        }
        let header = serde_json::to_string(&self.header()?);
        let header = header.map_err(|e| Error::value(format!("the model's configuration can not be written: {e}")))?;
        let checksum =
            checksum(&header, tensors.iter().map(|(name, (shape, data))| (&name[..], &shape[..], data.as_bytes())));
        // One entry, since a map has no order and equal models shall have equal files.
        let metadata = HashMap::from([(KEY.to_string(), format!("{checksum:08x} {header}"))]);
        let mut views = Vec::new();
        for (name, (shape, data)) in &tensors {
            let view = TensorView::new(dtype_to(data.dtype()), shape.to_vec(), data.as_bytes());
            views.push((name, view.map_err(|e| Error::format(format!("tensor {name}: {e}")))?));
        }
        serialize(views, Some(metadata)).map_err(|e| Error::format(format!("the model can not be written: {e}")))
    }

    /// Tells whether the model can be described in a file of our own format.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn check_native(&self) -> Result<()> {
        self.header().map(drop)
    }

    /// The model of a file's contents in our own format.
    pub(super) fn from_native(bytes: &[u8]) -> Result<Model> {
        let (header, file) = open(bytes)?;
        let mut model = Model::from_header(header)?;
        let tensors = tensors(&file)?;
        if let Err(error) = model.restore(&tensors) {
            // Layers may have been frozen or thawed after `compile`; then the weights are good without the optimizer's state.
            if !model.leave_uncompiled(error.clone().context(STATE)) {
                return Err(error);
            }
            model.restore(&tensors)?;
        }
        Ok(model)
    }

    /// Takes weights and training state from a file of the same model.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn restore_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let (header, file) = open(bytes)?;
        self.restore(&tensors(&file)?)?;
        self.set_seed(header.seed);
        self.set_epochs(header.epochs);
        Ok(())
    }

    fn header(&self) -> Result<Header> {
        let metric = |m: &Arc<dyn metrics::Metric>| -> Result<Part> {
            Ok(Part { class_name: m.class_name().into(), config: m.config()? })
        };
        let compile = |t: &Training| -> Result<CompileHeader> {
            Ok(CompileHeader {
                optimizer: Part { class_name: t.optimizer.class_name().into(), config: t.optimizer.config()? },
                loss: Losses::of(t)?,
                metrics: t.metrics.iter().map(metric).collect::<Result<_>>()?,
            })
        };
        Ok(Header {
            version: VERSION,
            name: self.name().into(),
            sequential: self.is_sequential(),
            seed: self.seed_value(),
            epochs: self.epochs(),
            dtype_policy: self.policy(),
            graph: describe(&self.graph)?,
            compile: self.training.as_ref().map(compile).transpose()?,
        })
    }

    fn from_header(header: Header) -> Result<Model> {
        let graph = build(header.graph)?;
        // All weights come from the file.
        graph.draw(Draw::Zeros)?;
        let mut model = Model::of(graph, &header.name, header.sequential).dtype_policy(header.dtype_policy);
        model.set_seed(header.seed);
        model.set_epochs(header.epochs);
        model.check()?;
        if let Some(compile) = header.compile {
            let metric = |part: Part| unknown::metric(&part.class_name, part.config);
            let optimizer = optimizers::from_config(&compile.optimizer.class_name, compile.optimizer.config);
            model.compile_read(optimizer, compile.loss.load(), compile.metrics.into_iter().map(metric).collect());
        }
        Ok(model)
    }

    /// Everything that is saved, by name.
    fn state(&self) -> Result<Vec<(String, Variable)>> {
        let mut state = vec![("random_key".to_string(), self.key()?)];
        state.extend(self.named_weights().into_iter().map(|(name, w)| (format!("layers/{name}"), w.variable.clone())));
        if let Some(t) = &self.training {
            let scaling = t.scaling.iter().flat_map(|s| [&s.scale, &s.steps]);
            state.extend(t.state.variables().chain(scaling).map(|v| (format!("optimizer/{}", v.name()), v.clone())));
        }
        Ok(state)
    }

    fn restore(&self, tensors: &BTreeMap<&str, TensorView>) -> Result<()> {
        let compiled = self.training.is_some();
        let state = self.state()?;
        let mut found = Vec::new();
        for (name, variable) in &state {
            let Some(view) = tensors.get(&name[..]) else {
                return Err(Error::format(format!("the file has no tensor {name}")));
            };
            // Truth values are written as the `u32` that they are in memory.
            let equal = |d: &DType| *d == variable.dtype() || (*d, variable.dtype()) == (DType::U32, DType::Bool);
            let dtype = view_dtype(view.dtype()).filter(equal).map(|_| variable.dtype());
            let Some(dtype) = dtype.filter(|_| view.shape() == &variable.shape()[..]) else {
                return Err(Error::format(format!(
                    "tensor {name} is {:?} {}, the model needs {} {}",
                    view.dtype(),
                    Shape::from(view.shape()),
                    variable.dtype(),
                    variable.shape()
                )));
            };
            found.push((variable, dtype, view));
        }
        let known = |name: &str| state.iter().any(|(n, _)| n == name) || (!compiled && name.starts_with("optimizer/"));
        match tensors.keys().find(|name| !known(name)) {
            Some(name) => Err(Error::format(format!("the file has a tensor {name} that no layer of its model has"))),
            // Nothing is changed before all of it is known to fit.
            None => {
                found.into_iter().try_for_each(|(v, dtype, view)| v.set_owned(Data::from_bytes(dtype, view.data())?))
            }
        }
    }
}

fn damaged(why: impl Display) -> Error {
    Error::format(format!(
        "the file is damaged, or neither a model of Ibex (.safetensors) nor .keras, .h5 or .json: {why}"
    ))
}

/// A file's description and tensors, if its checksum is right.
fn open(bytes: &[u8]) -> Result<(Header, SafeTensors<'_>)> {
    if bytes.is_empty() {
        return Err(Error::format("the file is empty"));
    }
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| match error {
        SafeTensorError::HeaderTooSmall | SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeader(_) => Error::format(
            "the file is no model: neither of Ibex (.safetensors) nor .keras, .h5 or .json; or its beginning is damaged",
        ),
        SafeTensorError::InvalidHeaderLength | SafeTensorError::MetadataIncompleteBuffer => {
            Error::format("the file is damaged: it is shorter or longer than its beginning says; use a good copy")
        }
        other => damaged(other),
    })?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let described = metadata.metadata().as_ref().and_then(|m| m.get(KEY)?.split_once(' '));
    let Some((sum, header)) = described else {
        return Err(Error::format(WEIGHTS_ALONE));
    };
    let all = tensors(&file)?;
    let actual = checksum(header, all.iter().map(|(name, view)| (*name, view.shape(), view.data())));
    if format!("{actual:08x}") != sum {
        return Err(damaged(format!("its checksum is {actual:08x}, it should be {sum}; use a good copy")));
    }
    // The rest has another form in another version.
    let Versioned { version } = serde_json::from_str(header).map_err(damaged)?;
    if version != VERSION {
        let advice = match version > VERSION {
            true => "update it",
            false => "make the model, then take the file's weights by `load_weights`",
        };
        let text =
            format!("the file has version {version} of Ibex's format, this program reads version {VERSION}; {advice}");
        return Err(Error::unsupported(text));
    }
    Ok((serde_json::from_str(header).map_err(damaged)?, file))
}

/// The tensors of a file by name.
fn tensors<'f>(file: &'f SafeTensors<'_>) -> Result<BTreeMap<&'f str, TensorView<'f>>> {
    file.names().into_iter().map(|name| Ok((name, file.tensor(name).map_err(damaged)?))).collect()
}

/// CRC-32 of the description and of every tensor's name, shape and bytes, in the order of names.
fn checksum<'a>(header: &str, tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.as_bytes());
    for (name, shape, bytes) in tensors {
        hasher.update(name.as_bytes());
        shape.iter().for_each(|&d| hasher.update(&(d as u64).to_le_bytes()));
        hasher.update(bytes);
    }
    hasher.finalize()
}

pub(crate) fn dtype_to(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I32 => Dtype::I32,
        DType::U32 | DType::Bool => Dtype::U32,
    }
}

pub(crate) fn view_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        Dtype::I32 => Some(DType::I32),
        Dtype::U32 => Some(DType::U32),
        _ => None,
    }
}

fn dtype_from(name: &str) -> Result<DType> {
    let all = [DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32, DType::Bool];
    let found = all.into_iter().find(|d| d.name() == name);
    found.ok_or_else(|| Error::format(format!("unknown element type {name:?} of the model's input")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever else stands in the header of another version.
    #[test]
    fn other_versions_are_named() {
        for (version, advice) in [(1, "take the file's weights by `load_weights`"), (VERSION + 1, "update it")] {
            let header = format!("{{\"version\":{version},\"layers\":[]}}");
            let entry = format!("{:08x} {header}", checksum(&header, std::iter::empty()));
            let none: [(&str, TensorView); 0] = [];
            let bytes = serialize(none, Some(HashMap::from([(KEY.to_string(), entry)]))).expect("a file");
            let error = Model::from_bytes(&bytes).expect_err("another version");
            let text = error.to_string();
            let versions = format!("version {version} of Ibex's format, this program reads version {VERSION}; ");
            assert!(text.contains(&versions) && text.contains(advice), "{text}");
            assert_eq!(error.kind(), ibex_core::ErrorKind::Unsupported);
        }
    }
}
