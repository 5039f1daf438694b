//! Turns a graph into kernels: decides which nodes get memory, writes fused bodies for the rest, merges loops that walk the same
//! space, and hangs loops behind contractions as their epilogues.

mod cluster;
mod index;
mod kernels;
mod merge;
mod repeat;
mod select;
mod space;

use crate::backend::Caps;
use crate::graph::{Graph, NodeId};
use crate::program::{BufferId, KernelKind};
use crate::{Error, Result};

/// A kernel before buffers are planned. Buffers are named by the node whose value they hold: `BufferId(node)`.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub kind: KernelKind,
    /// Names of the operations it computes, in order.
    pub names: Vec<&'static str>,
}

/// The fused kernels of a graph, operands before users.
pub(crate) struct Fused {
    pub units: Vec<Unit>,
    /// For every node: the node in whose buffer its value lies, if it lies in one (a reshape lies where its input does).
    pub homes: Vec<Option<NodeId>>,
}

/// What a kernel needs in memory that is not there.
enum Missing {
    /// A value inside of a fused expression.
    Value(NodeId),
    /// A matrix that can not be read through its view.
    Operand(NodeId),
}

/// Makes kernels of a simplified graph. `in_place` counts the old and the new value of a variable as one buffer, which they mostly are.
pub(crate) fn fuse(graph: &Graph, caps: &Caps, in_place: bool) -> Result<Fused> {
    let mut selection = select::Selection::new(graph, caps);
    // A node that turns out not to be expressible inside of its user's kernel gets memory, and everything starts again.
    let mut units = loop {
        match cluster::units(graph, &selection, caps) {
            Ok(units) => break units,
            Err(Missing::Value(node)) if !selection.is_stored(node) => selection.store(node),
            Err(Missing::Operand(node)) if !selection.is_stored(node) => selection.store_operand(graph, node, true),
            Err(Missing::Value(node) | Missing::Operand(node)) => {
                let op = graph[node].op.name();
                return Err(Error::unsupported(format!(
                    "{op} {} has no kernel; please report this",
                    graph[node].shape
                )));
            }
        }
    };
    if caps.fuse {
        let updates = if in_place { &graph.updates[..] } else { &[] };
        merge::loops(graph, updates, &mut units, caps);
        merge::epilogues(graph, updates, &mut units, caps);
    }
    for unit in &mut units {
        space::collapse(&mut unit.kind);
    }
    let homes = (0..graph.nodes.len()).map(|i| selection.home(graph, NodeId(i))).collect();
    Ok(Fused { units, homes })
}

pub(crate) use merge::reads_in_place;

/// The buffer that holds a node's value.
pub(crate) fn buffer(node: NodeId) -> BufferId {
    BufferId(node.0)
}
