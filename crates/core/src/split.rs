//! Reductions of many elements to few results in two steps, for devices that run one group of threads per result, and what makes the steps
//! of several of them meet in few kernels.

use crate::backend::Caps;
use crate::graph::{Binary, Builder, Node, NodeId, Op, Reduce, Unary};
use crate::simplify::{add, full};
use crate::{DType, Scalar, Shape};

/// A reduction in two steps, if it is one for this device.
pub(crate) fn reduce(b: &mut Builder, node: &Node, reduce: Reduce, axes: &[usize], caps: &Caps) -> Option<NodeId> {
    let x = b[node.inputs[0]].clone();
    let (elements, results) = (x.shape.elements(), node.shape.elements());
    if elements <= caps.split_elements || results >= caps.split_outputs {
        return None;
    }
    if reduce == Reduce::Sum
        && node.dtype == DType::F32
        && let Some(sum) = linear(b, node, axes, caps)
    {
        return Some(sum);
    }
    let first = *axes.first()?;
    if !axes.iter().copied().eq(first..first + axes.len()) {
        return None;
    }
    let length: usize = axes.iter().map(|&a| x.shape[a]).product();
    // Enough parts to fill the device, each long enough to be worth a group of threads. Parts that end where an axis or an even share of it
    // ends are better: what is computed from the same axes can then be fused with the sums.
    let fits = |p: &usize| length.is_multiple_of(*p) && length / p >= 64 && p * results <= 65536;
    let even = |p: &usize| {
        let mut left = *p;
        for &a in axes {
            match x.shape[a] {
                whole if left.is_multiple_of(whole) => left /= whole,
                axis => return axis.is_multiple_of(left),
            }
        }
        left == 1
    };
    let parts = (16..=4096).rev().find(|p| fits(p) && even(p)).or_else(|| (2..=4096).rev().find(fits))?;
    let (before, after) = (x.shape[..first].to_vec(), x.shape[first + axes.len()..].to_vec());
    let split = Shape::from([&before[..], &[parts, length / parts], &after[..]].concat());
    let partial = Shape::from([&before[..], &[parts, 1], &after[..]].concat());
    let total = Shape::from([&before[..], &[1, 1], &after[..]].concat());
    // What is stored between the two steps is not rounded to a narrow float.
    let dtype = if node.dtype.is_float() { DType::F32 } else { node.dtype };
    let whole = x.shape.clone();
    let make = |op, inputs, shape| Node { op, inputs, shape, dtype };
    let wide = add(b, make(Op::Cast(dtype), vec![node.inputs[0]], whole), caps);
    let wide = add(b, make(Op::Reshape, vec![wide], split.clone()), caps);
    let sums = match squares_of_deviations(b, node.inputs[0], [first, first + 1], &split, caps) {
        Some(sums) if reduce == Reduce::Sum => sums,
        _ => b.add(make(Op::Reduce(reduce, vec![first + 1]), vec![wide], partial)),
    };
    let all = b.add(make(Op::Reduce(reduce, vec![first]), vec![sums], total));
    let all = add(b, make(Op::Reshape, vec![all], node.shape.clone()), caps);
    Some(add(
        b,
        Node { op: Op::Cast(node.dtype), inputs: vec![all], shape: node.shape.clone(), dtype: node.dtype },
        caps,
    ))
}

/// Where `squares` is `(x - mean)^2` and the mean comes from sums of the same parts: the sums of `squares` over the parts without the
/// mean, which is known only after a kernel of its own. What is added up are squares of differences from the part's mean, and the square of
/// that mean's difference from the whole (Chan, Golub and LeVeque): as exact, and one pass over memory less.
fn squares_of_deviations(
    b: &mut Builder,
    squares: NodeId,
    [first, along]: [usize; 2],
    split: &Shape,
    caps: &Caps,
) -> Option<NodeId> {
    let binary = |b: &Builder, id: NodeId, op: Binary| match &b[id] {
        Node { op: Op::Binary(o), inputs, dtype: DType::F32, .. } if *o == op => Some((inputs[0], inputs[1])),
        _ => None,
    };
    let unwrap = |b: &Builder, id: NodeId, op: &Op| (b[id].op == *op).then(|| b[id].inputs[0]);
    let (deviation, same) = binary(b, squares, Binary::Mul)?;
    let (x, mean) = binary(b, deviation, Binary::Sub).filter(|_| deviation == same)?;
    let mean = unwrap(b, mean, &Op::Broadcast)?;
    let (total, factor) = binary(b, mean, Binary::Mul)?;
    let mut all = total;
    while matches!(b[all].op, Op::Reshape) {
        all = b[all].inputs[0];
    }
    let sums = unwrap(b, all, &Op::Reduce(Reduce::Sum, vec![first]))?;
    let parts = unwrap(b, sums, &Op::Reduce(Reduce::Sum, vec![along]))?;
    let of_x = parts == x || unwrap(b, parts, &Op::Reshape) == Some(x);
    let count = (split[first] * split[along]) as f64;
    if !of_x || b[parts].shape != *split || (full(b, factor)?.to_f64() * count - 1.0).abs() > 1e-6 {
        return None;
    }
    let (partial, length) = (b[sums].shape.clone(), split[along] as f64);
    let mut make = |op, inputs: &[NodeId], shape: &Shape| {
        add(b, Node { op, inputs: inputs.to_vec(), shape: shape.clone(), dtype: DType::F32 }, caps)
    };
    let number = |value: f64| Op::Full(Scalar::from_f64(value, DType::F32));
    let share = make(number(1.0 / length), &[], &partial);
    let own = make(Op::Binary(Binary::Mul), &[sums, share], &partial);
    let wide = make(Op::Broadcast, &[own], split);
    let within = make(Op::Binary(Binary::Sub), &[parts, wide], split);
    let within = make(Op::Binary(Binary::Mul), &[within, within], split);
    let within = make(Op::Reduce(Reduce::Sum, vec![along]), &[within], &partial);
    let one = Shape::from((0..partial.rank()).map(|a| if a == first { 1 } else { partial[a] }).collect::<Vec<_>>());
    let mean = make(Op::Reshape, &[mean], &one);
    let mean = make(Op::Broadcast, &[mean], &partial);
    let between = make(Op::Binary(Binary::Sub), &[own, mean], &partial);
    let between = make(Op::Binary(Binary::Mul), &[between, between], &partial);
    let weight = make(number(length), &[], &partial);
    let between = make(Op::Binary(Binary::Mul), &[between, weight], &partial);
    Some(make(Op::Binary(Binary::Add), &[within, between], &partial))
}

/// A sum as sums that need no result of another reduction, and that result as a factor: `sum(a + b * c) = sum(a) + c * sum(b)` for a `c`
/// that is the same along the sum. The sums in the gradient of a normalisation are then all taken in one pass. A factor that is not finite
/// gives no finite sum either way.
fn linear(b: &mut Builder, node: &Node, axes: &[usize], caps: &Caps) -> Option<NodeId> {
    let x = node.inputs[0];
    if !has_factor(b, x, axes) {
        return None;
    }
    let Node { op, inputs, .. } = b[x].clone();
    let part = |input: NodeId| Node { inputs: vec![input], ..node.clone() };
    let result = |op: Op, inputs: Vec<NodeId>| Node { op, inputs, ..node.clone() };
    Some(match op {
        Op::Unary(Unary::Neg) => {
            let sum = add(b, part(inputs[0]), caps);
            add(b, result(op, vec![sum]), caps)
        }
        Op::Binary(Binary::Add | Binary::Sub) => {
            let sums = inputs.iter().map(|&input| add(b, part(input), caps)).collect();
            add(b, result(op, sums), caps)
        }
        _ => {
            let (other, factor) = factor(b, x, axes)?;
            let sum = add(b, part(other), caps);
            let factor = match full(b, factor) {
                Some(value) => Node { op: Op::Full(value), inputs: vec![], ..node.clone() },
                None => result(Op::Broadcast, vec![b[factor].inputs[0]]),
            };
            let factor = add(b, factor, caps);
            add(b, result(op, vec![sum, factor]), caps)
        }
    })
}

/// The operands of a product of which the second is the same along the axes.
fn factor(b: &Builder, x: NodeId, axes: &[usize]) -> Option<(NodeId, NodeId)> {
    let Node { op: Op::Binary(Binary::Mul), inputs, .. } = &b[x] else { return None };
    let still = |id: NodeId| match b[id].op {
        Op::Full(_) => true,
        Op::Broadcast => axes.iter().all(|&a| b[b[id].inputs[0]].shape[a] == 1),
        _ => false,
    };
    let (first, second) = (inputs[0], inputs[1]);
    match (still(first), still(second)) {
        (_, true) => Some((first, second)),
        (true, _) => Some((second, first)),
        _ => None,
    }
}

/// True if a term of this sum has a factor that comes from a reduction.
fn has_factor(b: &Builder, x: NodeId, axes: &[usize]) -> bool {
    let inputs = &b[x].inputs;
    match b[x].op {
        Op::Unary(Unary::Neg) | Op::Binary(Binary::Add | Binary::Sub) => inputs.iter().any(|&i| has_factor(b, i, axes)),
        _ => factor(b, x, axes).is_some_and(|(other, factor)| reduced(b, factor) || has_factor(b, other, axes)),
    }
}

/// True if few elementwise steps lead from a reduction to this value.
fn reduced(b: &Builder, id: NodeId) -> bool {
    let mut stack = vec![id];
    for _ in 0..64 {
        let Some(id) = stack.pop() else { return false };
        match &b[id].op {
            Op::Reduce(..) => return true,
            op if op.is_elementwise() || op.is_movement() => stack.extend(&b[id].inputs),
            _ => {}
        }
    }
    false
}
