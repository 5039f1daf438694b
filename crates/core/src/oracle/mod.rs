//! The reference: every primitive computed naively in `f64`. Backends are tested against it; it has no speed and no tricks.

mod scalar;
mod window;

pub(crate) use scalar::fold;

use crate::graph::{Graph, Node, Op};
use crate::random::threefry;
use crate::tensor::Tensor;
use crate::{DType, Data, Error, Result, Shape};

/// The values of tensors, computed in `f64` (integers exactly; floats are not rounded to their element type in between).
///
/// Variables have the value they hold now. `f64` values of integer tensors are exact, since all integers have 32 bits.
///
/// # Errors
/// The error of a poisoned tensor; `Unsupported` for tensors in device memory.
pub fn eval(tensors: &[Tensor]) -> Result<Vec<Vec<f64>>> {
    for tensor in tensors {
        tensor.check()?;
    }
    let graph = Graph::from_tensors(tensors, &[], |leaf| leaf.op().clone());
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let inputs: Vec<(&[f64], &Node)> = node.inputs.iter().map(|&id| (&values[id.0][..], &graph[id])).collect();
        values.push(node_value(node, &inputs)?);
    }
    Ok(graph.outputs.iter().map(|id| values[id.0].clone()).collect())
}

/// A tensor whose leaves are replaced by the given values: for finite differences.
///
/// # Errors
/// As [`eval`].
pub fn eval_at(tensor: &Tensor, leaf: &Tensor, value: &[f64]) -> Result<Vec<f64>> {
    tensor.check()?;
    let wanted = leaf.op().clone();
    let graph = Graph::from_tensors(std::slice::from_ref(tensor), &[], |leaf| leaf.op().clone());
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        if node.op == wanted {
            values.push(value.to_vec());
            continue;
        }
        let inputs: Vec<(&[f64], &Node)> = node.inputs.iter().map(|&id| (&values[id.0][..], &graph[id])).collect();
        values.push(node_value(node, &inputs)?);
    }
    Ok(graph.outputs.iter().map(|id| values[id.0].clone()).collect::<Vec<_>>().remove(0))
}

/// The row-major coordinates of element `flat`.
fn coordinates(shape: &[usize], mut flat: usize) -> Vec<usize> {
    let mut c = vec![0; shape.len()];
    for d in (0..shape.len()).rev() {
        c[d] = flat % shape[d];
        flat /= shape[d];
    }
    c
}

fn flat(shape: &[usize], c: &[usize]) -> usize {
    shape.iter().zip(c).fold(0, |sum, (d, c)| sum * d + c)
}

/// `shape`'s elements, each computed from its coordinates.
fn fill(shape: &Shape, mut f: impl FnMut(&[usize]) -> f64) -> Vec<f64> {
    (0..shape.elements()).map(|i| f(&coordinates(shape, i))).collect()
}

/// The value of one operation for the given values of its inputs.
///
/// # Errors
/// As [`eval`].
pub fn node_value(node: &Node, inputs: &[(&[f64], &Node)]) -> Result<Vec<f64>> {
    let shape = &node.shape;
    let x = |i: usize| inputs[i].0;
    let xs = |i: usize| &inputs[i].1.shape;
    let elements = shape.elements();
    Ok(match &node.op {
        Op::Input(_) => return Err(Error::value("an argument of a traced function has no value outside of it")),
        Op::Stored(_) => return Err(Error::unsupported("the reference reads no device memory")),
        Op::Variable(v) => eval(&[v.lock().clone()])?.remove(0),
        Op::Constant(literal) => literal.0.to_f64(),
        Op::Full(value) => vec![value.to_f64(); elements],
        Op::Iota(axis) => fill(shape, |c| c[*axis] as f64),
        Op::Random(stream) => {
            let key = [x(0)[0] as u32, x(0)[1] as u32];
            (0..elements).map(|i| f64::from(threefry(key, [i as u32, *stream])[0])).collect()
        }
        Op::Unary(op) => x(0).iter().map(|&a| scalar::unary(*op, a, node.dtype)).collect(),
        Op::Binary(op) => x(0).iter().zip(x(1)).map(|(&a, &b)| scalar::binary(*op, a, b, node.dtype)).collect(),
        Op::Compare(op) => {
            x(0).iter().zip(x(1)).map(|(&a, &b)| f64::from(u8::from(scalar::compare(*op, a, b)))).collect()
        }
        Op::Select => (0..elements).map(|i| if x(0)[i] != 0.0 { x(1)[i] } else { x(2)[i] }).collect(),
        Op::Cast(to) => x(0).iter().map(|&a| scalar::cast(a, inputs[0].1.dtype, *to)).collect(),
        Op::Reduce(reduce, axes) => {
            let mut out = vec![reduce.identity(node.dtype).to_f64(); elements];
            for (i, &a) in x(0).iter().enumerate() {
                let mut c = coordinates(xs(0), i);
                axes.iter().for_each(|&axis| c[axis] = 0);
                let slot = &mut out[flat(shape, &c)];
                *slot = scalar::binary(reduce.combine(), *slot, a, node.dtype);
            }
            out
        }
        Op::Reshape => x(0).to_vec(),
        Op::Permute(order) => fill(shape, |c| {
            let mut from = vec![0; c.len()];
            order.iter().zip(c).for_each(|(&axis, &c)| from[axis] = c);
            x(0)[flat(xs(0), &from)]
        }),
        Op::Broadcast => fill(shape, |c| {
            let from: Vec<usize> = c.iter().zip(xs(0).iter()).map(|(&c, &d)| if d == 1 { 0 } else { c }).collect();
            x(0)[flat(xs(0), &from)]
        }),
        Op::Slice(starts) => fill(shape, |c| {
            let from: Vec<usize> = c.iter().zip(starts).map(|(c, s)| c + s).collect();
            x(0)[flat(xs(0), &from)]
        }),
        Op::Pad(pads) => fill(shape, |c| {
            let inside = c.iter().zip(pads).zip(xs(0).iter()).all(|((&c, p), &d)| c >= p.0 && c < p.0 + d);
            let from: Vec<usize> = c.iter().zip(pads).map(|(c, p)| c.wrapping_sub(p.0)).collect();
            if inside { x(0)[flat(xs(0), &from)] } else { 0.0 }
        }),
        Op::Flip(axes) => fill(shape, |c| {
            let mut from = c.to_vec();
            axes.iter().for_each(|&a| from[a] = shape[a] - 1 - from[a]);
            x(0)[flat(xs(0), &from)]
        }),
        Op::Gather => {
            let (rows, width) = (xs(0)[0] as f64, xs(0)[1..].iter().product::<usize>());
            let missing = if node.dtype.is_float() { f64::NAN } else { 0.0 };
            let row = |&i: &f64| match i >= 0.0 && i < rows {
                true => x(0)[i as usize * width..][..width].to_vec(),
                false => vec![missing; width],
            };
            x(1).iter().flat_map(row).collect()
        }
        Op::ScatterAdd(rows) => {
            let width = shape[1..].iter().product::<usize>();
            let mut out = vec![0.0; elements];
            for (i, &row) in x(0).iter().enumerate().filter(|(_, i)| **i >= 0.0 && **i < *rows as f64) {
                for k in 0..width {
                    let slot = &mut out[row as usize * width + k];
                    *slot = scalar::binary(crate::graph::Binary::Add, *slot, x(1)[i * width + k], node.dtype);
                }
            }
            out
        }
        Op::MatMul => {
            let (rank, k) = (shape.rank(), xs(0)[shape.rank() - 1]);
            fill(shape, |c| {
                let (mut a, mut b) = (c.to_vec(), c.to_vec());
                let term = |i: usize| {
                    (a[rank - 1], b[rank - 2]) = (i, i);
                    x(0)[flat(xs(0), &a)] * x(1)[flat(xs(1), &b)]
                };
                (0..k).map(term).sum()
            })
        }
        Op::Conv(g) => window::conv(g, x(0), x(1), window::Result::Output),
        Op::ConvInputGrad(g) => window::conv(g, x(1), x(0), window::Result::Input),
        Op::ConvKernelGrad(g) => window::conv(g, x(0), x(1), window::Result::Kernel),
        Op::MaxPool(g) => window::max_pool(g, x(0), x(1), true),
        Op::MaxPoolGrad(g) => window::max_pool(g, x(0), x(1), false),
        Op::SumPool(g) => window::sum_pool(g, x(0), true),
        Op::SumPoolGrad(g) => window::sum_pool(g, x(0), false),
        Op::Lstm => window::lstm(xs(0), x(0), x(1), x(2), x(3)),
        Op::LstmGrad => window::lstm_grad(xs(3), x(0), x(1), x(2), x(3), x(4)),
    })
}

/// A leaf tensor with the given values, for tests that move an input a little.
pub fn leaf(dtype: DType, values: &[f64], shape: impl Into<Shape>) -> Tensor {
    Tensor::from_data(Data::from_f64(dtype, values), shape)
}
