//! The derivative of every primitive, in one exhaustive match: an operation without a rule does not compile.

use super::lstm;
use crate::graph::{Binary, Op, Reduce, Unary};
use crate::tensor::Tensor;
use crate::{DType, Shape};

/// Gradients of the inputs of `y`, given the gradient `g` of `y`. `None` where nothing flows: integers, conditions, steps.
/// Inputs that are not `needed` may be left out.
pub(super) fn backward(y: &Tensor, g: &Tensor, needed: &[bool]) -> Vec<Option<Tensor>> {
    let x = y.inputs();
    match y.op() {
        Op::Input(_)
        | Op::Variable(_)
        | Op::Constant(_)
        | Op::Stored(_)
        | Op::Full(_)
        | Op::Iota(_)
        | Op::Random(_)
        | Op::Compare(_) => vec![None; x.len()],

        Op::Unary(unary) => vec![unary_rule(*unary, &x[0], y, g)],
        Op::Binary(binary) => binary_rule(*binary, &x[0], &x[1], y, g),
        Op::Select => vec![None, Some(x[0].select(g, 0.0)), Some(x[0].select(0.0, g))],
        // A cast to the own type is `stop_gradient`.
        Op::Cast(to) if *to == x[0].dtype() || !to.is_float() || !x[0].dtype().is_float() => vec![None],
        Op::Cast(_) => vec![Some(g.cast(x[0].dtype()))],
        Op::Reduce(reduce, axes) => vec![reduce_rule(*reduce, axes, &x[0], y, g)],

        Op::Reshape => vec![Some(g.reshape(x[0].shape()))],
        Op::Permute(order) => {
            let mut inverse = vec![0; order.len()];
            order.iter().enumerate().for_each(|(i, &from)| inverse[from] = i);
            vec![Some(g.permute(&inverse))]
        }
        Op::Broadcast => {
            let repeated = (0..x[0].rank()).filter(|&i| x[0].shape()[i] != y.shape()[i]);
            let axes: Vec<isize> = repeated.map(|i| i as isize).collect();
            // A sum over no axes would be one over all.
            vec![Some(if axes.is_empty() { g.clone() } else { g.sum_keep(&axes) })]
        }
        Op::Slice(starts) => {
            let after = |i: usize| x[0].shape()[i] - starts[i] - y.shape()[i];
            let pads: Vec<_> = starts.iter().enumerate().map(|(i, &start)| (start, after(i))).collect();
            vec![Some(g.pad(&pads))]
        }
        Op::Pad(pads) => {
            let starts: Vec<_> = pads.iter().map(|p| p.0).collect();
            vec![Some(g.slice(&starts, x[0].shape()))]
        }
        Op::Flip(axes) => {
            let axes: Vec<isize> = axes.iter().map(|&a| a as isize).collect();
            vec![Some(g.flip(&axes))]
        }

        Op::Gather => vec![Some(g.scatter_add(&x[1], x[0].shape()[0])), None],
        Op::ScatterAdd(_) => vec![None, Some(g.gather(&x[0]))],
        Op::MatMul => vec![needed[0].then(|| g.matmul(x[1].t())), needed[1].then(|| x[0].t().matmul(g))],

        Op::Conv(geometry) => vec![
            needed[0].then(|| record(Op::ConvInputGrad(*geometry), [g, &x[1]])),
            needed[1].then(|| record(Op::ConvKernelGrad(*geometry), [&x[0], g])),
        ],
        Op::ConvInputGrad(geometry) => vec![
            needed[0].then(|| record(Op::Conv(*geometry), [g, &x[1]])),
            needed[1].then(|| record(Op::ConvKernelGrad(*geometry), [g, &x[0]])),
        ],
        Op::ConvKernelGrad(geometry) => vec![
            needed[0].then(|| record(Op::ConvInputGrad(*geometry), [&x[1], g])),
            needed[1].then(|| record(Op::Conv(*geometry), [&x[0], g])),
        ],
        // The place of the largest element does not move under small changes: only the values have a gradient.
        Op::MaxPool(geometry) => vec![None, Some(record(Op::MaxPoolGrad(*geometry), [&x[0], g]))],
        Op::MaxPoolGrad(geometry) => vec![None, Some(record(Op::MaxPool(*geometry), [&x[0], g]))],
        Op::SumPool(geometry) => vec![Some(record(Op::SumPoolGrad(*geometry), [g]))],
        Op::SumPoolGrad(geometry) => vec![Some(record(Op::SumPool(*geometry), [g]))],

        Op::Lstm => lstm::backward(y, g),
        Op::LstmGrad => lstm::backward_of_gradient(y, g),
    }
}

/// Derivatives are recorded where the operation itself was.
fn record<const N: usize>(op: Op, inputs: [&Tensor; N]) -> Tensor {
    Tensor::record(op, inputs.map(Clone::clone).to_vec(), None, inputs[0].site())
}

fn unary_rule(unary: Unary, x: &Tensor, y: &Tensor, g: &Tensor) -> Option<Tensor> {
    Some(match unary {
        Unary::Neg => -g,
        Unary::Abs => g * x.sign(),
        Unary::Exp => g * y,
        Unary::Expm1 => g * (y + 1.0),
        Unary::Log => g / x,
        Unary::Log1p => g / (x + 1.0),
        Unary::Sqrt => g * 0.5 / y,
        Unary::Rsqrt => g * -0.5 * (y * y * y),
        Unary::Recip => -(g * y * y),
        Unary::Sin => g * x.cos(),
        Unary::Cos => -(g * x.sin()),
        Unary::Tanh => g * (1.0 - y * y),
        Unary::Sigmoid => g * (y * (1.0 - y)),
        Unary::Erf => g * ((-x.square()).exp() * std::f64::consts::FRAC_2_SQRT_PI),
        Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Not => return None,
    })
}

fn binary_rule(binary: Binary, a: &Tensor, b: &Tensor, y: &Tensor, g: &Tensor) -> Vec<Option<Tensor>> {
    match binary {
        Binary::Add => vec![Some(g.clone()), Some(g.clone())],
        Binary::Sub => vec![Some(g.clone()), Some(-g)],
        Binary::Mul => vec![Some(g * b), Some(g * a)],
        Binary::Div => vec![Some(g / b), Some(-(g * y) / b)],
        Binary::Rem => {
            let quotient = a / b;
            let truncated = quotient.lt(0.0).select(quotient.ceil(), quotient.floor());
            vec![Some(g.clone()), Some(-(g * truncated))]
        }
        Binary::Pow => {
            // Where the exponent is 0 the base has no influence, also at 0; where the base is 0 the exponent has none.
            let da = b.eq(0.0).select(0.0, g * b * a.pow(b - 1.0));
            let db = a.eq(0.0).select(0.0, g * y * a.log());
            vec![Some(da), Some(db)]
        }
        Binary::Max | Binary::Min => {
            // Against a constant the boundary itself has gradient 0, as Keras's relu and clip have; `y` instead of `a`, so that
            // `a` need not be kept. Of equal variables each gets half.
            if b.uniform().is_some() {
                return vec![Some(y.ne(b).select(g, 0.0)), None];
            }
            if a.uniform().is_some() {
                return vec![None, Some(y.ne(a).select(g, 0.0))];
            }
            let first = if binary == Binary::Max { a.gt(b) } else { a.lt(b) };
            let da = first.select(g, a.eq(b).select(g * 0.5, 0.0));
            vec![Some(da.clone()), Some(g - da)]
        }
        Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => vec![None, None],
    }
}

fn reduce_rule(reduce: Reduce, axes: &[usize], x: &Tensor, y: &Tensor, g: &Tensor) -> Option<Tensor> {
    let wide = |t: &Tensor| t.broadcast_to(x.shape());
    let axes: Vec<isize> = axes.iter().map(|&a| a as isize).collect();
    if axes.is_empty() {
        return Some(g.clone());
    }
    Some(match reduce {
        Reduce::Sum => wide(g),
        Reduce::Max | Reduce::Min => {
            // Equal extremes share the gradient.
            let hit = x.eq(y);
            let count = hit.cast(x.dtype()).sum_keep(&axes);
            hit.select(g / count, 0.0)
        }
        Reduce::Prod => {
            // With one zero in a row only that element has a gradient, with two none: no division by zero.
            let zero = x.eq(0.0);
            let rest = zero.select(1.0, x);
            let zeros = zero.cast(DType::F32).sum_keep(&axes);
            let product = rest.reduce(Reduce::Prod, &axes) * g;
            let at_zero = wide(&zeros.eq(1.0).select(&product, 0.0));
            let elsewhere = wide(&zeros.eq(0.0).select(&product, 0.0)) / &rest;
            zero.select(at_zero, elsewhere)
        }
    })
}

/// Used by rules that need the row-major flattening of all axes but the last.
pub(super) fn rows(t: &Tensor) -> Tensor {
    let width = t.dim(-1);
    let count = t.shape()[..t.rank() - 1].iter().product::<usize>();
    t.reshape(Shape::from([count, width]))
}
