//! What a model computes for batches of any size: it is traced for several sizes, and what differs is a linear function of the size.

use crate::layers::{Pass, Record};
use crate::model::Model;
use ibex_core::graph::{self, Graph, NodeId, Op};
use ibex_core::{DType, Error, Result, Shape, Tensor};

/// Sizes of batches. A length of the model's own may equal one of them and hide a difference: then the next ones are tried.
const SIZES: [&[usize]; 3] = [&[11, 13, 17], &[19, 23, 29], &[31, 37, 41]];

/// A length: `scale * batch + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Dim {
    pub scale: i64,
    pub offset: i64,
}

impl Dim {
    pub const ONE: Dim = Dim { scale: 0, offset: 1 };

    pub fn fixed(len: usize) -> Dim {
        Dim { scale: 0, offset: len as i64 }
    }

    /// The length, if it is the same for all batches.
    pub fn value(self) -> Option<i64> {
        (self.scale == 0).then_some(self.offset)
    }

    /// The function with these values for these sizes of batches.
    fn through(sizes: &[usize], values: &[usize]) -> Option<Dim> {
        let at = |i: usize| (sizes[i] as i64, values[i] as i64);
        let (n, v) = at(0);
        let scale = if sizes.len() > 1 { (at(1).1 - v).checked_div(at(1).0 - n)? } else { 0 };
        let dim = Dim { scale, offset: v - scale * n };
        (0..sizes.len()).all(|i| dim.scale * at(i).0 + dim.offset == at(i).1).then_some(dim)
    }
}

impl std::iter::Product for Dim {
    /// Of no more than one length that depends on the batch.
    fn product<I: Iterator<Item = Dim>>(dims: I) -> Dim {
        dims.fold(Dim::ONE, |a, b| Dim { scale: a.scale * b.offset + a.offset * b.scale, offset: a.offset * b.offset })
    }
}

impl std::ops::Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        Dim { scale: self.scale + other.scale, offset: self.offset + other.offset }
    }
}

/// An operation of the model.
#[derive(Debug)]
pub(super) struct Node {
    pub op: Op,
    pub inputs: Vec<usize>,
    pub shape: Vec<Dim>,
    pub dtype: DType,
    /// Where a slice starts along each axis; what a pad puts before and after each axis.
    pub numbers: Vec<Dim>,
    /// The layer that it belongs to.
    pub layer: Option<usize>,
    /// Which nodes read it. Empty for outputs and for what nobody needs.
    pub users: Vec<usize>,
    pub needed: bool,
}

/// A model's predictions, operands before users.
#[derive(Debug)]
pub(super) struct Traced {
    pub nodes: Vec<Node>,
    pub outputs: Vec<usize>,
    /// Names of layers: `encoder/dense`.
    pub layers: Vec<String>,
    /// The size of batches, if the model has only one.
    pub batch: Option<usize>,
}

/// A trace for one size of batches.
struct One {
    /// The model's outputs, then those of its layers.
    graph: Graph,
    /// Names of layers, and how many outputs they have.
    layers: Vec<(String, usize)>,
}

impl Traced {
    pub fn of(model: &Model) -> Result<Traced> {
        let inputs = model.inputs().iter().zip(model.input_names());
        if let Some((_, name)) = inputs.into_iter().find(|(input, _)| input.shape().contains(&Shape::ANY)) {
            return Err(Error::unsupported(format!(
                "input {name} has an axis of any length, but only batches may have any size in an ONNX file; export the model applied to an input of \
                 one length: `Model::new(&x, model.apply(&x))`"
            )));
        }
        let batch = model.inputs().iter().find_map(|input| input.batch_size());
        if let Some(size) = batch {
            return Traced::for_sizes(model, &[size]);
        }
        let mut tried = Err(Error::unsupported("no size of batches to trace"));
        for sizes in SIZES {
            tried = Traced::for_sizes(model, sizes);
            if tried.is_ok() {
                break;
            }
        }
        tried
    }

    fn for_sizes(model: &Model, sizes: &[usize]) -> Result<Traced> {
        let all: Vec<One> = sizes.iter().map(|&size| trace(model, size)).collect::<Result<_>>()?;
        let (first, others) = (&all[0], &all[1..]);
        let outputs = model.outputs().len();
        let graphs: Vec<&Graph> = all.iter().map(|one| &one.graph).collect();
        if let Some((variable, _)) = first.graph.updates.first() {
            return Err(Error::unsupported(format!(
                "weight {} changes with every prediction, but an ONNX model has no state; export a model without stateful layers",
                variable.name()
            )));
        }
        let layers = owners(first, outputs);
        let varies = |what: String, node: Option<usize>| {
            let text = format!(
                "{what} depends on the size of the batch in a way that an ONNX file can not say; fix the size with \
                 `Input::new(..).batches_of(n)`"
            );
            match node.and_then(|node| layers[node]) {
                Some(layer) => Error::unsupported(text).context(format!("layer {}", first.layers[layer].0)),
                None => Error::unsupported(text),
            }
        };
        let same_outputs = others.iter().all(|one| one.graph.outputs == first.graph.outputs);
        if !same_outputs || graphs.iter().any(|g| g.nodes.len() != first.graph.nodes.len()) {
            return Err(varies("what the model computes".into(), None));
        }
        let mut nodes = Vec::new();
        for (i, node) in first.graph.nodes.iter().enumerate() {
            let all: Vec<&graph::Node> = graphs.iter().map(|g| &g.nodes[i]).collect();
            if !all.iter().all(|n| n.inputs == node.inputs && n.dtype == node.dtype && same(&n.op, &node.op)) {
                return Err(varies(format!("an operation ({})", node.op.name()), Some(i)));
            }
            let dims = |of: &dyn Fn(&graph::Node) -> Vec<usize>| -> Option<Vec<Dim>> {
                let lists: Vec<Vec<usize>> = all.iter().map(|n| of(n)).collect();
                (0..lists[0].len())
                    .map(|k| Dim::through(sizes, &lists.iter().filter_map(|l| l.get(k).copied()).collect::<Vec<_>>()))
                    .collect()
            };
            let known = all.iter().all(|n| n.shape.rank() == node.shape.rank());
            let shape = dims(&|n| n.shape.to_vec()).filter(|_| known);
            let (Some(shape), Some(numbers)) = (shape, dims(&|n| numbers(&n.op))) else {
                return Err(varies(format!("a length ({})", node.op.name()), Some(i)));
            };
            nodes.push(Node {
                op: node.op.clone(),
                inputs: node.inputs.iter().map(|id| id.0).collect(),
                shape,
                dtype: node.dtype,
                numbers,
                layer: layers[i],
                users: Vec::new(),
                needed: false,
            });
        }
        let mut traced = Traced {
            nodes,
            outputs: first.graph.outputs[..outputs].iter().map(|id| id.0).collect(),
            layers: first.layers.iter().map(|(name, _)| name.clone()).collect(),
            batch: (sizes.len() == 1).then(|| sizes[0]),
        };
        traced.find_users();
        Ok(traced)
    }

    fn find_users(&mut self) {
        for &output in &self.outputs {
            self.nodes[output].needed = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if self.nodes[i].needed {
                for input in self.nodes[i].inputs.clone() {
                    self.nodes[input].needed = true;
                    self.nodes[input].users.push(i);
                }
            }
        }
    }

    /// The number that a node repeats.
    pub fn full(&self, node: usize) -> Option<f64> {
        if let Op::Full(value) = self.nodes[node].op { Some(value.to_f64()) } else { None }
    }

    /// Is a node read by one other and nothing else?
    pub fn has_one_user(&self, node: usize) -> bool {
        self.nodes[node].users.len() == 1 && !self.outputs.contains(&node)
    }
}

/// The layer of each node: what a layer's outputs are computed from, and no layer before has.
fn owners(one: &One, model_outputs: usize) -> Vec<Option<usize>> {
    let mut owners = vec![None; one.graph.nodes.len()];
    let mut outputs = one.graph.outputs.iter().skip(model_outputs);
    for (layer, (_, count)) in one.layers.iter().enumerate() {
        let mut open: Vec<NodeId> = outputs.by_ref().take(*count).copied().collect();
        while let Some(id) = open.pop() {
            let node = &one.graph.nodes[id.0];
            if owners[id.0].is_none() && !matches!(node.op, Op::Input(_)) {
                owners[id.0] = Some(layer);
                open.extend(&node.inputs);
            }
        }
    }
    owners
}

fn trace(model: &Model, batch: usize) -> Result<One> {
    let specs: Vec<(Shape, DType)> =
        model.inputs().iter().map(|i| ([&[batch], &i.shape()[..]].concat().into(), i.dtype())).collect();
    let key = model.key()?;
    let mut layers = Vec::new();
    let graph = Graph::trace(&specs, |args| {
        let key = key.value();
        let mut pass = Pass::new(false, model.policy(), &key);
        pass.record = Some(Record::default());
        let mut outputs: Vec<Tensor> = model.predictions(args, &mut pass)?;
        for (name, own) in pass.record.unwrap_or_default().layers {
            layers.push((name, own.len()));
            outputs.extend(own);
        }
        Ok(outputs)
    })?;
    Ok(One { graph: graph.simplified(), layers })
}

/// Numbers of an operation that may differ between batches.
fn numbers(op: &Op) -> Vec<usize> {
    match op {
        Op::Slice(starts) => starts.clone(),
        Op::Pad(pads) => pads.iter().flat_map(|&(before, after)| [before, after]).collect(),
        _ => Vec::new(),
    }
}

/// Are two operations equal but for the size of the batch?
fn same(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Slice(a), Op::Slice(b)) => a.len() == b.len(),
        (Op::Pad(a), Op::Pad(b)) => a.len() == b.len(),
        (Op::Constant(a), Op::Constant(b)) => a.0 == b.0,
        (Op::Conv(a), Op::Conv(b)) | (Op::ConvInputGrad(a), Op::ConvInputGrad(b)) => {
            *a == graph::ConvGeometry { n: a.n, ..*b }
        }
        (Op::MaxPool(a), Op::MaxPool(b)) | (Op::SumPool(a), Op::SumPool(b)) => {
            *a == graph::PoolGeometry { n: a.n, ..*b }
        }
        _ => a == b,
    }
}
