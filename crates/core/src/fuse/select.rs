//! Which nodes get memory of their own.

use crate::backend::Caps;
use crate::graph::{Binary, Graph, NodeId, Op, Unary};

/// Work that is cheaper to repeat in every user than to write to memory and read back.
const CHEAP: usize = 2;
/// Instructions of one fused expression; beyond it a value in between is stored.
const LONG: usize = 64;

/// The choice, and what follows from it.
pub(super) struct Selection {
    stored: Vec<bool>,
}

impl Selection {
    pub fn new(graph: &Graph, caps: &Caps) -> Selection {
        let mut selection = Selection { stored: vec![false; graph.nodes.len()] };
        let reads = effective_reads(graph);
        for root in graph.roots() {
            // A reshape lies where its input does, which others may read too.
            let source = through(graph, root, |op| matches!(op, Op::Reshape));
            if !graph[source].op.is_buffer_leaf() {
                selection.store(source);
            }
        }

        // Instructions and distinct buffers of the expression that would be fused into a user.
        let mut cost = vec![0; graph.nodes.len()];
        let mut buffers: Vec<Vec<NodeId>> = vec![Vec::new(); graph.nodes.len()];
        for i in 0..graph.nodes.len() {
            let (id, node) = (NodeId(i), &graph.nodes[i]);
            let mut leaves = union(&buffers, &node.inputs);
            // Operands that each fit a kernel may not fit one together: the largest get memory.
            while node.op.is_elementwise() && leaves.len() + 1 > caps.max_bindings {
                let several = node.inputs.iter().filter(|input| buffers[input.0].len() > 1);
                let Some(&largest) = several.max_by_key(|input| buffers[input.0].len()) else { break };
                let source = through(graph, largest, Op::is_movement);
                selection.store(source);
                for moved in [source, largest] {
                    (cost[moved.0], buffers[moved.0]) = (0, vec![source]);
                }
                leaves = union(&buffers, &node.inputs);
            }
            let mut work = own_cost(&node.op) + node.inputs.iter().map(|input| cost[input.0]).sum::<usize>();
            let fusible = node.op.is_elementwise()
                || node.op.is_movement()
                || matches!(node.op, Op::Random(_) | Op::Iota(_) | Op::Full(_));
            let own_memory = !fusible && !node.op.is_buffer_leaf()
                || (!caps.fuse && !node.op.is_buffer_leaf() && !matches!(node.op, Op::Full(_)))
                || node.op.is_elementwise()
                    && reads[i] > 1
                    && (work > CHEAP || follows_contraction(graph, &leaves, node.shape.elements()))
                || matches!(node.op, Op::Random(_)) && reads[i] > 1
                || work > LONG
                || leaves.len() + 2 > caps.max_bindings;
            if own_memory {
                selection.stored[i] = true;
            }
            if selection.stored[i] || node.op.is_buffer_leaf() {
                (work, leaves) = (0, vec![id]);
            }
            (cost[i], buffers[i]) = (work, leaves);

            // A broadcast repeats the work of its input for every element.
            if matches!(node.op, Op::Broadcast) && cost[node.inputs[0].0] > CHEAP {
                let source = through(graph, node.inputs[0], Op::is_movement);
                if graph[source].op.is_elementwise() {
                    selection.stored[source.0] = true;
                    (cost[i], buffers[i]) = (0, vec![source]);
                }
            }
        }

        // Contractions read buffers, not expressions.
        for node in graph.nodes.iter().filter(|n| reads_buffers(&n.op)) {
            for (i, &input) in node.inputs.iter().enumerate() {
                if selection.home(graph, input).is_some() || is_optional(graph, &node.op, i, input) {
                    continue;
                }
                // A matrix product reads a view of a buffer in place, where it can: see `kernels::matmul`.
                let source = through(graph, input, Op::is_movement);
                let viewed = matches!(node.op, Op::MatMul);
                if !(viewed && selection.has_buffer(graph, source)) {
                    selection.store_operand(graph, input, viewed);
                }
            }
        }
        selection
    }

    pub fn is_stored(&self, node: NodeId) -> bool {
        self.stored[node.0]
    }

    pub fn store(&mut self, node: NodeId) {
        self.stored[node.0] = true;
    }

    /// Stores an operand, or rather what it is a reshape (for `viewed` operands: a transpose) of, which has more uses.
    pub fn store_operand(&mut self, graph: &Graph, operand: NodeId, viewed: bool) {
        let renames = |op: &Op| matches!(op, Op::Reshape) || (viewed && matches!(op, Op::Permute(_)));
        let inner = through(graph, operand, renames);
        let target = if self.has_buffer(graph, inner) { operand } else { inner };
        self.stored[target.0] = true;
    }

    /// True if the node's value lies in a buffer of its own.
    pub fn has_buffer(&self, graph: &Graph, node: NodeId) -> bool {
        self.stored[node.0] || graph[node].op.is_buffer_leaf()
    }

    /// The node whose buffer holds this node's value in row-major order.
    pub fn home(&self, graph: &Graph, node: NodeId) -> Option<NodeId> {
        if self.has_buffer(graph, node) { Some(node) } else { self.alias(graph, node) }
    }

    fn alias(&self, graph: &Graph, mut node: NodeId) -> Option<NodeId> {
        while matches!(graph[node].op, Op::Reshape) && !self.stored[node.0] {
            node = graph[node].inputs[0];
        }
        self.has_buffer(graph, node).then_some(node)
    }
}

/// The distinct buffers of several expressions.
fn union(buffers: &[Vec<NodeId>], inputs: &[NodeId]) -> Vec<NodeId> {
    let mut all: Vec<NodeId> = inputs.iter().flat_map(|input| buffers[input.0].clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// Operations whose kernels take buffers.
pub(super) fn reads_buffers(op: &Op) -> bool {
    !(op.is_elementwise()
        || op.is_movement()
        || op.is_buffer_leaf()
        || matches!(op, Op::Reduce(..) | Op::Random(_) | Op::Iota(_) | Op::Full(_)))
}

/// How often an operation's result is read, looking through movements.
fn effective_reads(graph: &Graph) -> Vec<usize> {
    let mut reads = vec![0; graph.nodes.len()];
    for root in graph.roots() {
        reads[root.0] += 1;
    }
    for i in (0..graph.nodes.len()).rev() {
        let node = &graph.nodes[i];
        let times = if node.op.is_movement() { reads[i] } else { 1 };
        node.inputs.iter().for_each(|input| reads[input.0] += times);
    }
    reads
}

/// Operand `i` of an LSTM's gradient may be zero, and then it is not read at all.
pub(super) fn is_optional(graph: &Graph, op: &Op, i: usize, operand: NodeId) -> bool {
    let zero = matches!(&graph[operand].op, Op::Full(v) if v.to_f64() == 0.0);
    matches!(op, Op::LstmGrad) && i >= 3 && zero
}

/// What a chain of operations of one kind starts from.
pub(super) fn through(graph: &Graph, mut node: NodeId, kind: impl Fn(&Op) -> bool) -> NodeId {
    while kind(&graph[node].op) {
        node = graph[node].inputs[0];
    }
    node
}

/// True if one of the buffers is the result of a contraction whose epilogue can store as many elements for nothing.
fn follows_contraction(graph: &Graph, buffers: &[NodeId], elements: usize) -> bool {
    let has_epilogue = |op: &Op| {
        matches!(
            op,
            Op::MatMul
                | Op::Conv(_)
                | Op::ConvInputGrad(_)
                | Op::ConvKernelGrad(_)
                | Op::MaxPool(_)
                | Op::MaxPoolGrad(_)
                | Op::SumPool(_)
                | Op::SumPoolGrad(_)
        )
    };
    buffers.iter().any(|&b| has_epilogue(&graph[b].op) && graph[b].shape.elements() == elements)
}

/// Rough cost in simple vector instructions.
fn own_cost(op: &Op) -> usize {
    match op {
        Op::Unary(Unary::Neg | Unary::Abs | Unary::Not | Unary::Floor | Unary::Ceil | Unary::Round) => 1,
        Op::Unary(Unary::Sqrt | Unary::Recip | Unary::Rsqrt | Unary::Sign) => 2,
        Op::Unary(_) | Op::Binary(Binary::Pow) => 8,
        Op::Binary(Binary::Div | Binary::Rem) => 2,
        Op::Random(_) => 24,
        op if op.is_elementwise() => 1,
        _ => 0,
    }
}
