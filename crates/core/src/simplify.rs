//! Rewrites a graph to an equal one with less to do: constants folded, identities removed, equal nodes shared, dead ones dropped.
//!
//! Only rewrites that hold for NaN and infinities: `x * 0` stays.

use crate::backend::Caps;
use crate::graph::{Binary, Builder, Graph, Node, NodeId, Op, Reduce, Unary};
use crate::{DType, Scalar, Shape};
use crate::{oracle, split};

/// The simplified graph.
pub(crate) fn simplify(graph: &Graph, caps: &Caps) -> Graph {
    let graph = graph.without_dead();
    let mut b = Builder::default();
    let mut renamed: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let inputs = node.inputs.iter().map(|id| renamed[id.0]).collect();
        renamed.push(add(&mut b, Node { inputs, ..node.clone() }, caps));
    }
    let rename = |id: &NodeId| renamed[id.0];
    let outputs = graph.outputs.iter().map(rename).collect();
    let updates = graph.updates.iter().map(|(v, id)| (v.clone(), rename(id))).collect();
    Graph { nodes: b.nodes, outputs, updates }.without_dead()
}

/// Adds a node whose inputs are simple already, or finds one that equals it.
pub(crate) fn add(b: &mut Builder, node: Node, caps: &Caps) -> NodeId {
    match rewrite(b, &node, caps) {
        Rewrite::Same(id) => id,
        Rewrite::Node(node) => add(b, *node, caps),
        Rewrite::None => b.add(node),
    }
}

enum Rewrite {
    /// Equals a node that is there.
    Same(NodeId),
    /// Equals another node, which may simplify further.
    Node(Box<Node>),
    None,
}

fn to(op: Op, inputs: Vec<NodeId>, shape: &Shape, dtype: DType) -> Rewrite {
    Rewrite::Node(Box::new(Node { op, inputs, shape: shape.clone(), dtype }))
}

/// The number that a node repeats, if it does.
pub(crate) fn full(b: &Builder, id: NodeId) -> Option<Scalar> {
    if let Op::Full(value) = b[id].op { Some(value) } else { None }
}

fn rewrite(b: &mut Builder, node: &Node, caps: &Caps) -> Rewrite {
    let Node { op, inputs, shape, dtype } = node;
    let constant = |value: Scalar| to(Op::Full(value), vec![], shape, *dtype);

    if shape.elements() == 0 && !op.is_buffer_leaf() && !matches!(op, Op::Full(_)) {
        return constant(Scalar::from_f64(0.0, *dtype));
    }
    // Contractions over nothing and sums of no rows are zero; a table without rows has none in range. Kernels see no empty operand.
    if inputs.iter().any(|&id| b[id].shape.elements() == 0) {
        match op {
            Op::MatMul
            | Op::Conv(_)
            | Op::ConvInputGrad(_)
            | Op::ConvKernelGrad(_)
            | Op::MaxPoolGrad(_)
            | Op::SumPoolGrad(_)
            | Op::ScatterAdd(_) => return constant(Scalar::from_f64(0.0, *dtype)),
            Op::Gather => return constant(Scalar::from_f64(if dtype.is_float() { f64::NAN } else { 0.0 }, *dtype)),
            _ => {}
        }
    }
    if op.is_elementwise() {
        let values: Option<Vec<Scalar>> = inputs.iter().map(|&id| full(b, id)).collect();
        if let Some(values) = values {
            let from = b[inputs[0]].dtype;
            return constant(oracle::fold(op, &values, from, *dtype));
        }
        if let Some(narrow) = before_broadcast(b, node, caps) {
            return to(Op::Broadcast, vec![narrow], shape, *dtype);
        }
    }

    match op {
        Op::Constant(literal) if shape.elements() == 1 => constant(Scalar::from_f64(literal.0.to_f64()[0], *dtype)),
        Op::Cast(to) if *to == b[inputs[0]].dtype => Rewrite::Same(inputs[0]),
        Op::Unary(Unary::Neg) => match b[inputs[0]].op {
            Op::Unary(Unary::Neg) => Rewrite::Same(b[inputs[0]].inputs[0]),
            _ => Rewrite::None,
        },
        Op::Binary(binary) => rewrite_binary(b, *binary, node),
        Op::Select => match full(b, inputs[0]) {
            Some(Scalar::Bool(true)) => Rewrite::Same(inputs[1]),
            Some(Scalar::Bool(false)) => Rewrite::Same(inputs[2]),
            _ if inputs[1] == inputs[2] => Rewrite::Same(inputs[1]),
            _ => Rewrite::None,
        },
        Op::Reduce(reduce, axes) => {
            let x = &b[inputs[0]];
            if x.shape.elements() == 0 {
                return constant(reduce.identity(*dtype));
            }
            if axes.iter().all(|&a| x.shape[a] == 1) {
                return Rewrite::Same(inputs[0]);
            }
            match (&x.op, reduce) {
                (Op::Full(value), Reduce::Sum) => {
                    let count = axes.iter().map(|&a| x.shape[a]).product::<usize>() as f64;
                    match dtype.is_float() {
                        true => constant(Scalar::from_f64(value.to_f64() * count, *dtype)),
                        // Integers wrap.
                        false => {
                            let factors = [*value, Scalar::from_f64(count, *dtype)];
                            constant(oracle::fold(&Op::Binary(Binary::Mul), &factors, *dtype, *dtype))
                        }
                    }
                }
                (Op::Full(value), Reduce::Max | Reduce::Min) => constant(*value),
                (Op::Reduce(inner, inner_axes), _) if inner == reduce => {
                    let mut all = [&axes[..], &inner_axes[..]].concat();
                    all.sort_unstable();
                    all.dedup();
                    to(Op::Reduce(*reduce, all), x.inputs.clone(), shape, *dtype)
                }
                _ => split::reduce(b, node, *reduce, axes, caps).map_or(Rewrite::None, Rewrite::Same),
            }
        }
        // Kernels add rows of 32-bit elements only.
        Op::ScatterAdd(_) if matches!(dtype, DType::F16 | DType::BF16) => {
            let cast = |op, inputs, shape: &Shape, dtype| Node { op, inputs, shape: shape.clone(), dtype };
            let source_shape = b[inputs[1]].shape.clone();
            let source = add(b, cast(Op::Cast(DType::F32), vec![inputs[1]], &source_shape, DType::F32), caps);
            let sums = add(b, cast(op.clone(), vec![inputs[0], source], shape, DType::F32), caps);
            to(Op::Cast(*dtype), vec![sums], shape, *dtype)
        }
        _ if op.is_movement() => rewrite_movement(b, node),
        _ => Rewrite::None,
    }
}

fn rewrite_binary(b: &mut Builder, binary: Binary, node: &Node) -> Rewrite {
    let Node { inputs, shape, dtype, .. } = node;
    let (x, y) = (inputs[0], inputs[1]);
    let is = |id: NodeId, value: f64| full(b, id).is_some_and(|v| v.to_f64() == value);
    match binary {
        Binary::Add if is(y, 0.0) => Rewrite::Same(x),
        Binary::Add if is(x, 0.0) => Rewrite::Same(y),
        Binary::Sub if is(y, 0.0) => Rewrite::Same(x),
        Binary::Mul | Binary::Div if is(y, 1.0) => Rewrite::Same(x),
        Binary::Mul if is(x, 1.0) => Rewrite::Same(y),
        Binary::Pow if is(y, 1.0) => Rewrite::Same(x),
        Binary::Pow if is(y, 2.0) => to(Op::Binary(Binary::Mul), vec![x, x], shape, *dtype),
        // Constants go right, so that they meet.
        Binary::Add | Binary::Mul if full(b, x).is_some() => to(Op::Binary(binary), vec![y, x], shape, *dtype),
        Binary::Mul if dtype.is_float() => match (full(b, y), &b[x]) {
            (Some(outer), Node { op: Op::Binary(Binary::Mul), inputs: inner, .. }) => match full(b, inner[1]) {
                Some(value) => {
                    let product = Scalar::from_f64(value.to_f64() * outer.to_f64(), *dtype);
                    if !product.to_f64().is_finite() || product.to_f64() == 0.0 {
                        return Rewrite::None;
                    }
                    let x = inner[0];
                    let factor =
                        b.add(Node { op: Op::Full(product), inputs: vec![], shape: shape.clone(), dtype: *dtype });
                    to(Op::Binary(Binary::Mul), vec![x, factor], shape, *dtype)
                }
                None => Rewrite::None,
            },
            _ => Rewrite::None,
        },
        _ => Rewrite::None,
    }
}

/// An elementwise operation on broadcasts of one shape runs before the broadcast, on fewer elements.
fn before_broadcast(b: &mut Builder, node: &Node, caps: &Caps) -> Option<NodeId> {
    let mut narrow: Option<Shape> = None;
    for &id in &node.inputs {
        match &b[id].op {
            Op::Full(_) => {}
            Op::Broadcast => {
                let from = &b[b[id].inputs[0]].shape;
                if narrow.as_ref().is_some_and(|shape| shape != from) {
                    return None;
                }
                narrow = Some(from.clone());
            }
            _ => return None,
        }
    }
    let shape = narrow?;
    let mut inputs = Vec::new();
    for &id in &node.inputs {
        inputs.push(match b[id].op {
            Op::Full(value) => {
                b.add(Node { op: Op::Full(value), inputs: vec![], shape: shape.clone(), dtype: b[id].dtype })
            }
            _ => b[id].inputs[0],
        });
    }
    Some(add(b, Node { op: node.op.clone(), inputs, shape, dtype: node.dtype }, caps))
}

fn rewrite_movement(b: &mut Builder, node: &Node) -> Rewrite {
    let Node { op, inputs, shape, dtype } = node;
    let x = &b[inputs[0]];
    let nothing_moves = match op {
        Op::Reshape | Op::Broadcast | Op::Slice(_) | Op::Pad(_) => x.shape == *shape,
        Op::Permute(order) => order.iter().copied().eq(0..order.len()),
        Op::Flip(axes) => axes.iter().all(|&a| shape[a] == 1),
        _ => false,
    };
    if nothing_moves {
        return Rewrite::Same(inputs[0]);
    }
    match (op, &x.op) {
        (Op::Pad(_), Op::Full(value)) if value.to_f64() != 0.0 => Rewrite::None,
        (_, Op::Full(value)) => to(Op::Full(*value), vec![], shape, *dtype),
        (Op::Reshape, Op::Reshape) | (Op::Broadcast, Op::Broadcast) => to(op.clone(), x.inputs.clone(), shape, *dtype),
        (Op::Permute(outer), Op::Permute(inner)) => {
            let order = outer.iter().map(|&i| inner[i]).collect();
            to(Op::Permute(order), x.inputs.clone(), shape, *dtype)
        }
        // Moving axes of length 1 only renames.
        (Op::Permute(order), _) if order.iter().filter(|&&a| x.shape[a] != 1).is_sorted() => {
            to(Op::Reshape, inputs.clone(), shape, *dtype)
        }
        (Op::Slice(outer), Op::Slice(inner)) => {
            let starts = outer.iter().zip(inner).map(|(a, b)| a + b).collect();
            to(Op::Slice(starts), x.inputs.clone(), shape, *dtype)
        }
        _ => Rewrite::None,
    }
}
