//! What a model is made of: layers, applied to symbolic tensors, in an order in which they can run.

mod instance;
mod nested;
mod operations;
mod order;
mod symbolic;

pub use instance::Instance;
pub(crate) use instance::in_user_code;
pub(crate) use nested::Nested;
pub use operations::SymbolicOperand;
pub use symbolic::{Input, SymbolicInputs, SymbolicTensor};

use crate::layers::{Draw, Layer, Pass, Weight, set_all};
use ibex_core::{Data, Error, Result, Tensor};
use order::Order;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::Arc;
use symbolic::Place;

/// The layers of a model and how they are applied. Layers stand in Keras's order: by distance from the output, then as they are met from there.
#[derive(Debug)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    /// In an order in which they can run.
    calls: Vec<Call>,
    pub inputs: Vec<SymbolicTensor>,
    /// `input_layer`, `input_layer_1`, ... unless they were named.
    pub input_names: Vec<String>,
    pub outputs: Vec<SymbolicTensor>,
    results: Vec<Ref>,
}

/// A layer of a model under its name.
#[derive(Debug)]
pub struct Node {
    name: String,
    instance: Instance,
    /// What its applications in the model take and give, in order.
    pub(crate) applications: Vec<Application>,
}

#[derive(Debug)]
pub(crate) struct Application {
    pub inputs: Vec<SymbolicTensor>,
    pub outputs: Vec<SymbolicTensor>,
    /// The layers (by number) and outputs that the inputs come from; `None` for an input of the model.
    pub from: Vec<Source>,
}

/// Where an input of an application comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// An input of the model.
    Input(usize),
    /// A layer by number, which of its applications, and which output of that.
    Layer(usize, usize, usize),
}

/// A layer applied to tensors.
#[derive(Debug)]
struct Call {
    node: usize,
    from: Vec<Ref>,
    site: &'static Location<'static>,
}

/// A tensor while a graph runs.
#[derive(Clone, Copy, Debug)]
enum Ref {
    Input(usize),
    /// Of a call, an output.
    Output(usize, usize),
}

/// A tensor with its mask.
pub(crate) type Masked = (Tensor, Option<Tensor>);

impl Node {
    /// The layer's name in its model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layer's configuration and code.
    pub fn layer(&self) -> &dyn Layer {
        self.instance.layer()
    }

    /// The layer with its weights, which can be applied in another model.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Its weights, as declared.
    pub fn weights(&self) -> &[Weight] {
        self.instance.weights()
    }

    /// Those that are the layer's own, with their names in the model.
    fn kept_weights(&self) -> Vec<(String, &Weight)> {
        let kept = self.weights().iter().filter(|w| !w.is_transient());
        kept.map(|w| (format!("{}/{}", self.name, w.name()), w)).collect()
    }

    /// The numbers of its weights, in the order of [`Node::weights`] but without the states that a stateful layer has there, which are of a run of batches:
    /// `model.get_layer("dense")?.get_weights()?[0].as_slice::<f32>()`. They are read where they lie; what is yet to be computed, as after an
    /// [`assign`](ibex_core::Variable::assign) of your own, is computed by the default device. Not there in a browser.
    ///
    /// # Errors
    /// Whatever the device reports.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn get_weights(&self) -> Result<Vec<Data>> {
        use ibex_core::graph::Op;
        let numbers = |weight: &Weight| {
            let value = weight.variable.value();
            let elements = value.shape().elements();
            match value.op() {
                Op::Constant(numbers) => Ok(Data::clone(&numbers.0)),
                Op::Full(number) => Ok(Data::from_f64(value.dtype(), &vec![number.to_f64(); elements])),
                Op::Stored(stored) => ibex_core::backend::block_on(stored.read(0..elements, value.dtype())),
                _ => crate::default_device()?.read_now(&value),
            }
        };
        self.kept_weights().into_iter().map(|(_, weight)| numbers(weight)).collect()
    }

    /// Replaces the numbers of its weights, wherever the layer stands.
    ///
    /// # Errors
    /// `Shape` if there are not as many arrays as weights, or one does not fit, naming the weight; nothing is changed then.
    pub fn set_weights(&self, values: &[Data]) -> Result<()> {
        set_all(&format!("layer {}", self.name), &self.kept_weights(), values)
    }

    /// Freezes the layer or lets it be trained. As in Keras, this takes effect with the next `compile`.
    pub fn set_trainable(&self, trainable: bool) {
        self.instance.set_trainable(trainable);
    }

    /// What it gives where it is first applied (the first of several): an output for a model of your own.
    pub fn output(&self) -> &SymbolicTensor {
        &self.applications[0].outputs[0]
    }

    /// What it takes where it is first applied (the first of several).
    pub fn input(&self) -> &SymbolicTensor {
        &self.applications[0].inputs[0]
    }
}

impl Graph {
    /// All that lies between inputs and outputs.
    pub fn new(inputs: Vec<SymbolicTensor>, outputs: Vec<SymbolicTensor>) -> Result<Graph> {
        for tensor in inputs.iter().chain(&outputs) {
            tensor.check()?;
        }
        if inputs.is_empty() || outputs.is_empty() {
            return Err(Error::model("a model needs an input and an output at least"));
        }
        let mut seen = HashSet::new();
        for (i, input) in inputs.iter().enumerate() {
            let named = matches!(**input.place(), Place::Input { .. });
            if !named || !seen.insert(input.key()) {
                let text = format!(
                    "input {i} of the model is no `Input`, or is given twice; make one with `Input::new(shape)`"
                );
                return Err(Error::model(text));
            }
        }
        let order = Order::new(&inputs, &outputs)?;
        let names = names(&order)?;
        let mut nodes: Vec<Node> = Vec::new();
        for (instance, name) in order.instances.iter().zip(names) {
            nodes.push(Node { name, instance: instance.clone(), applications: Vec::new() });
        }
        // Where every tensor is while the graph runs.
        let applied = order.places.iter().filter(|p| matches!(***p, Place::Call { .. }));
        let numbered: HashMap<_, usize> = applied.enumerate().map(|(i, p)| (Arc::as_ptr(p), i)).collect();
        let find = |t: &SymbolicTensor| match inputs.iter().position(|input| input.key() == t.key()) {
            Some(i) => Ok(Ref::Input(i)),
            None => match numbered.get(&Arc::as_ptr(t.place())) {
                Some(&call) => Ok(Ref::Output(call, t.output_index())),
                None => {
                    Err(Error::model("an output depends on an input that the model is not given; add it to the inputs"))
                }
            },
        };
        let mut calls: Vec<Call> = Vec::new();
        // For every call, which application of its layer it is.
        let mut numbers: Vec<usize> = Vec::new();
        for place in &order.places {
            let Place::Call { instance, inputs: from, outputs: made, site } = &**place else { continue };
            let Some(node) = order.instances.iter().position(|i| i.is(instance)) else { continue };
            let from_refs: Vec<Ref> = from.iter().map(&find).collect::<Result<_>>()?;
            let sources = from_refs.iter().map(|r| match *r {
                Ref::Input(i) => Source::Input(i),
                Ref::Output(call, output) => Source::Layer(calls[call].node, numbers[call], output),
            });
            let application = Application {
                inputs: from.clone(),
                outputs: made.iter().enumerate().map(|(i, spec)| SymbolicTensor::output(place, i, spec)).collect(),
                from: sources.collect(),
            };
            numbers.push(nodes[node].applications.len());
            nodes[node].applications.push(application);
            calls.push(Call { node, from: from_refs, site });
        }
        let results = outputs.iter().map(&find).collect::<Result<_>>()?;
        let input_names = symbolic::input_names(&inputs)?;
        if let Some(name) = input_names.iter().find(|name| nodes.iter().any(|n| n.name == **name)) {
            return Err(Error::model(format!("an input and a layer are both named {name:?}; give one another name")));
        }
        Ok(Graph { nodes, calls, inputs, input_names, outputs, results })
    }

    /// An input that is the output.
    pub fn empty(input: SymbolicTensor) -> Graph {
        let (inputs, outputs) = (vec![input.clone()], vec![input]);
        Graph {
            nodes: Vec::new(),
            calls: Vec::new(),
            inputs,
            input_names: vec!["input_layer".into()],
            outputs,
            results: vec![Ref::Input(0)],
        }
    }

    /// Puts layers in the order of a list of names; those that are not in it stay behind the others.
    pub fn reorder(&mut self, names: &[&str]) {
        let place: HashMap<&str, usize> = names.iter().enumerate().map(|(i, name)| (*name, i)).collect();
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|&i| place.get(&*self.nodes[i].name).copied().unwrap_or(usize::MAX));
        let mut new = vec![0; order.len()];
        order.iter().enumerate().for_each(|(now, &before)| new[before] = now);
        let mut nodes: Vec<(usize, Node)> = std::mem::take(&mut self.nodes).into_iter().enumerate().collect();
        nodes.sort_by_key(|(before, _)| new[*before]);
        self.nodes = nodes.into_iter().map(|(_, node)| node).collect();
        self.calls.iter_mut().for_each(|call| call.node = new[call.node]);
        let sources = self.nodes.iter_mut().flat_map(|node| &mut node.applications).flat_map(|a| &mut a.from);
        for source in sources {
            if let Source::Layer(node, _, _) = source {
                *node = new[*node];
            }
        }
    }

    /// Where the outputs come from.
    pub fn output_sources(&self) -> Vec<Source> {
        let mut numbers = vec![0; self.nodes.len()];
        let mut sources: Vec<Source> = Vec::new();
        for call in &self.calls {
            sources.push(Source::Layer(call.node, numbers[call.node], 0));
            numbers[call.node] += 1;
        }
        let source = |r: &Ref| match *r {
            Ref::Input(i) => Source::Input(i),
            Ref::Output(call, output) => match sources[call] {
                Source::Layer(node, number, _) => Source::Layer(node, number, output),
                input => input,
            },
        };
        self.results.iter().map(source).collect()
    }

    /// Layers and which of their applications, in an order in which they can run.
    pub fn in_order(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut numbers = vec![0; self.nodes.len()];
        self.calls.iter().map(move |call| {
            numbers[call.node] += 1;
            (call.node, numbers[call.node] - 1)
        })
    }

    /// Names of the outputs: of the layers that make them.
    pub fn output_names(&self) -> Vec<String> {
        let name = |source: &Source| match *source {
            Source::Input(i) => self.input_names[i].clone(),
            Source::Layer(node, _, _) => self.nodes[node].name.clone(),
        };
        self.output_sources().iter().map(name).collect()
    }

    /// The layers that get an input first.
    pub fn readers(&self, input: usize) -> impl Iterator<Item = &Node> {
        let reads = move |c: &&Call| c.from.iter().any(|r| matches!(*r, Ref::Input(i) if i == input));
        self.calls.iter().filter(reads).map(|c| &self.nodes[c.node])
    }

    /// Draws the weights of all layers that have none yet, or of all again.
    pub fn draw(&self, draw: Draw) -> Result<()> {
        let mut before = 0;
        for node in &self.nodes {
            node.instance
                .draw(&node.name, draw.after(before))
                .map_err(|e| e.context(format!("layer {} ({})", node.name, node.layer().class_name())))?;
            before += node.weights().len();
        }
        Ok(())
    }

    /// Computes the outputs.
    pub fn run(&self, inputs: &[Masked], pass: &mut Pass) -> Result<Vec<Masked>> {
        let mut done: Vec<Vec<Masked>> = Vec::with_capacity(self.calls.len());
        let get = |r: &Ref, done: &[Vec<Masked>]| match *r {
            Ref::Input(i) => inputs[i].clone(),
            Ref::Output(call, output) => done[call][output].clone(),
        };
        for call in &self.calls {
            let node = &self.nodes[call.node];
            let (xs, masks): (Vec<_>, Vec<_>) = call.from.iter().map(|r| get(r, &done)).unzip();
            pass.enter(&node.name);
            let (ys, mask) =
                node.instance.call(&node.name, node.instance.any_weights(), &xs, &masks, pass, call.site)?;
            pass.leave(&ys);
            let mut masks = std::iter::once(mask).chain(std::iter::repeat(None));
            done.push(ys.into_iter().map(|y| (y, masks.next().flatten())).collect());
        }
        Ok(self.results.iter().map(|r| get(r, &done)).collect())
    }
}

/// Names of the layers: given, or after the class, in the order in which the layers were made.
fn names(order: &Order) -> Result<Vec<String>> {
    let given: Vec<Option<&str>> = order.instances.iter().map(Instance::name).collect();
    let mut taken = HashSet::new();
    for name in given.iter().flatten() {
        if !taken.insert((*name).to_string()) {
            return Err(Error::model(format!("two layers are named {name:?}; give one another name")));
        }
    }
    let mut by_age: Vec<usize> = (0..given.len()).collect();
    by_age.sort_by_key(|&i| order.instances[i].age());
    let mut names: Vec<String> = given.iter().map(|n| n.unwrap_or_default().to_string()).collect();
    for i in by_age.into_iter().filter(|&i| given[i].is_none()) {
        let base = crate::model::snake_case(order.instances[i].layer().class_name());
        let numbered = (1..).map(|n| format!("{base}_{n}"));
        let free = std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name));
        names[i] = free.unwrap_or(base);
        taken.insert(names[i].clone());
    }
    Ok(names)
}
