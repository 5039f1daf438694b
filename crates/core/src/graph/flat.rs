//! A traced computation as a flat list, operands before users: what the compiler works on.

use super::Op;
use crate::backend::Caps;
use crate::tensor::{Tensor, Trace, Variable};
use crate::{DType, Result, Shape, simplify};
use std::collections::HashMap;
use std::panic::Location;

/// A node's number in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it is computed from.
    pub inputs: Vec<NodeId>,
    /// The shape of its result.
    pub shape: Shape,
    /// The element type of its result.
    pub dtype: DType,
}

/// A computation: results to be handed out, and values to be assigned to variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Graph {
    /// Operands before users.
    pub nodes: Vec<Node>,
    /// The results.
    pub outputs: Vec<NodeId>,
    /// What variables are assigned.
    pub updates: Vec<(Variable, NodeId)>,
}

impl Graph {
    /// Records what `f` does with arguments of the given shapes and types.
    ///
    /// # Errors
    /// Those of `f`; the error of a poisoned result.
    pub fn trace(specs: &[(Shape, DType)], f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>) -> Result<Graph> {
        let input = |(slot, (shape, dtype)): (usize, &(Shape, DType))| {
            Tensor::node(Op::Input(slot), Vec::new(), shape.clone(), *dtype, Location::caller())
        };
        let args: Vec<Tensor> = specs.iter().enumerate().map(input).collect();
        let (outputs, updates) = Trace::record(|| f(&args));
        let outputs = outputs?;
        for tensor in &outputs {
            tensor.check()?;
        }
        Ok(Graph::from_tensors(&outputs, &updates, |leaf| leaf.op().clone()))
    }

    /// An equal graph with less to do: constants folded, identities removed, equal nodes shared, dead ones dropped.
    #[must_use]
    pub fn simplified(&self) -> Graph {
        simplify::simplify(self, &Caps::UNLIMITED)
    }

    /// Flattens what `outputs` and `updates` are computed from. `leaf` may replace a leaf operation.
    pub(crate) fn from_tensors(
        outputs: &[Tensor],
        updates: &[(Variable, Tensor)],
        mut leaf: impl FnMut(&Tensor) -> Op,
    ) -> Graph {
        let mut graph = Graph::default();
        let mut ids: HashMap<u64, NodeId> = HashMap::new();
        let roots = outputs.iter().chain(updates.iter().map(|u| &u.1));
        // Depth first without recursion: a node is pushed again behind its inputs, and placed when it comes up the second time.
        let mut stack: Vec<(Tensor, bool)> = roots.map(|t| (t.clone(), false)).collect();
        stack.reverse();
        while let Some((tensor, expanded)) = stack.pop() {
            if ids.contains_key(&tensor.id()) {
                continue;
            }
            if !expanded && !tensor.inputs().is_empty() {
                let inputs: Vec<Tensor> = tensor.inputs().to_vec();
                stack.push((tensor, true));
                stack.extend(inputs.into_iter().rev().map(|t| (t, false)));
                continue;
            }
            let op = if tensor.inputs().is_empty() { leaf(&tensor) } else { tensor.op().clone() };
            let inputs = tensor.inputs().iter().map(|t| ids[&t.id()]).collect();
            ids.insert(tensor.id(), NodeId(graph.nodes.len()));
            graph.nodes.push(Node { op, inputs, shape: tensor.shape().clone(), dtype: tensor.dtype() });
        }
        graph.outputs = outputs.iter().map(|t| ids[&t.id()]).collect();
        graph.updates = updates.iter().map(|(v, t)| (v.clone(), ids[&t.id()])).collect();
        graph
    }

    /// Every node something is handed out or assigned from.
    pub(crate) fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outputs.iter().copied().chain(self.updates.iter().map(|u| u.1))
    }

    /// Without the nodes that nothing needs.
    #[must_use]
    pub fn without_dead(&self) -> Graph {
        let mut live = vec![false; self.nodes.len()];
        for root in self.roots() {
            live[root.0] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if live[i] {
                self.nodes[i].inputs.iter().for_each(|input| live[input.0] = true);
            }
        }
        let mut renamed = vec![NodeId(usize::MAX); self.nodes.len()];
        let mut nodes = Vec::new();
        for (i, node) in self.nodes.iter().enumerate().filter(|(i, _)| live[*i]) {
            renamed[i] = NodeId(nodes.len());
            let inputs = node.inputs.iter().map(|id| renamed[id.0]).collect();
            nodes.push(Node { inputs, ..node.clone() });
        }
        Graph {
            nodes,
            outputs: self.outputs.iter().map(|id| renamed[id.0]).collect(),
            updates: self.updates.iter().map(|(v, id)| (v.clone(), renamed[id.0])).collect(),
        }
    }
}

impl std::ops::Index<NodeId> for Graph {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

/// Builds node lists without equal nodes.
#[derive(Default)]
pub(crate) struct Builder {
    pub nodes: Vec<Node>,
    known: HashMap<Node, NodeId>,
}

impl Builder {
    /// The node, new or one that is already there.
    pub fn add(&mut self, node: Node) -> NodeId {
        if let Some(&id) = self.known.get(&node) {
            return id;
        }
        let id = NodeId(self.nodes.len());
        self.known.insert(node.clone(), id);
        self.nodes.push(node);
        id
    }
}

impl std::ops::Index<NodeId> for Builder {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}
