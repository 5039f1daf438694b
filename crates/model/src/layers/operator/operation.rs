//! What operators compute.

use super::constant::{Operand, dtype};
use super::index::Key;
use crate::Activation;
use crate::config::Axes;
use ibex_core::{DType, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// An operation under Keras's name and with Keras's fields: its class is the name in camel case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    #[serde(alias = "true_divide")]
    Divide,
    FloorDivide,
    Mod,
    Power,
    Maximum,
    Minimum,
    Matmul,
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    LogicalAnd,
    LogicalOr,
    LogicalXor,
    LogicalNot,
    Where,
    Negative,
    #[serde(alias = "abs")]
    Absolute,
    Sign,
    Exp,
    Expm1,
    Log,
    Log1p,
    Sqrt,
    Rsqrt,
    Square,
    Reciprocal,
    Sin,
    Cos,
    Erf,
    Floor,
    Ceil,
    Round,
    ZerosLike,
    OnesLike,
    StopGradient,
    Mean { #[serde(flatten)] over: Over },
    Sum { #[serde(flatten)] over: Over },
    Max { #[serde(flatten)] over: Over },
    Min { #[serde(flatten)] over: Over },
    Prod { #[serde(flatten)] over: Over },
    Var { #[serde(flatten)] over: Over },
    Std { #[serde(flatten)] over: Over },
    Any { #[serde(flatten)] over: Over },
    All { #[serde(flatten)] over: Over },
    Logsumexp { #[serde(flatten)] over: Over },
    Argmax { axis: isize, #[serde(default)] keepdims: bool },
    Argmin { axis: isize, #[serde(default)] keepdims: bool },
    Softmax { axis: isize },
    LogSoftmax { axis: isize },
    /// A function of [`Activation`] with Keras's defaults.
    Activation { activation: Activation },
    LeakyRelu { negative_slope: f32 },
    Elu { alpha: f32 },
    Gelu { #[serde(default)] approximate: bool },
    Clip { x_min: f32, x_max: f32 },
    Normalize { axis: isize, order: i64, #[serde(default)] epsilon: Option<f32> },
    OneHot { num_classes: usize, axis: isize, dtype: String },
    Cast { dtype: String },
    Reshape { newshape: Vec<Option<isize>> },
    Transpose { axes: Option<Vec<isize>> },
    Swapaxes { axis1: isize, axis2: isize },
    ExpandDims { axis: Axes },
    Squeeze { axis: Axes },
    Flip { axis: Axes },
    Concatenate { axis: isize },
    Stack { axis: isize },
    Split { indices_or_sections: Sections, axis: isize },
    Take { axis: isize },
    Repeat { repeats: usize, axis: isize },
    Tile { repeats: Vec<usize> },
    Pad { pad_width: Vec<(usize, usize)>, #[serde(default = "constant")] mode: String },
    GetItem { key: Key },
}

fn constant() -> String {
    "constant".into()
}

/// What a reduction goes over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Over {
    axis: Axes,
    keepdims: bool,
}

/// The most equal parts that something is split into.
const MOST_PARTS: usize = 4096;

/// Into how many equal parts, or where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Sections {
    Equal(usize),
    At(Vec<usize>),
}

impl Operation {
    /// Computes the outputs.
    pub(super) fn apply(&self, operands: &[Operand]) -> Result<Vec<Tensor>> {
        use Operation as O;
        let y = match self {
            O::Concatenate { axis } => Tensor::concat(&alike(operands, 1)?, *axis),
            O::Stack { axis } => Tensor::stack(&alike(operands, 1)?, *axis),
            O::Split { indices_or_sections, axis } => return split(&one(operands)?, indices_or_sections, *axis),
            O::Where => {
                let [condition, a, b] = operands else { return Err(wrong(3, operands)) };
                let [a, b] = pair(a, b)?;
                tensor(condition, DType::Bool).cast(DType::Bool).select(&a, &b)
            }
            O::Take { axis } => take(operands, *axis)?,
            _ if self.is_binary() => {
                let [a, b] = operands else { return Err(wrong(2, operands)) };
                self.binary(&pair(a, b)?)
            }
            _ => self.unary(&one(operands)?)?,
        };
        Ok(vec![y])
    }

    fn is_binary(&self) -> bool {
        use Operation as O;
        matches!(
            self,
            O::Add | O::Subtract | O::Multiply | O::Divide | O::FloorDivide | O::Mod | O::Power | O::Maximum | O::Minimum
                | O::Matmul | O::Equal | O::NotEqual | O::Greater | O::GreaterEqual | O::Less | O::LessEqual
                | O::LogicalAnd | O::LogicalOr | O::LogicalXor
        )
    }

    fn binary(&self, [a, b]: &[Tensor; 2]) -> Tensor {
        use Operation as O;
        let bools = || (a.cast(DType::Bool), b.cast(DType::Bool));
        match self {
            O::Subtract => a - b,
            O::Multiply => a * b,
            O::Divide if a.dtype().is_float() => a / b,
            O::Divide => a.cast(DType::F32) / b.cast(DType::F32),
            O::FloorDivide => (a.cast(DType::F32) / b.cast(DType::F32)).floor().cast(a.dtype()),
            // With the sign of the divisor, as in Python.
            O::Mod => (a.rem(b) + b).rem(b),
            O::Power => a.pow(b),
            O::Maximum => a.maximum(b),
            O::Minimum => a.minimum(b),
            O::Matmul => a.matmul(b),
            O::Equal => a.eq(b),
            O::NotEqual => a.ne(b),
            O::Greater => a.gt(b),
            O::GreaterEqual => a.ge(b),
            O::Less => a.lt(b),
            O::LessEqual => a.le(b),
            O::LogicalAnd => bools().0.and(bools().1),
            O::LogicalOr => bools().0.or(bools().1),
            O::LogicalXor => bools().0.xor(bools().1),
            _ => a + b,
        }
    }

    fn unary(&self, x: &Tensor) -> Result<Tensor> {
        use Operation as O;
        // Keras computes these of whole numbers in f32.
        let float = || if x.dtype().is_float() { x.clone() } else { x.cast(DType::F32) };
        Ok(match self {
            O::Negative => -x,
            O::Absolute => x.abs(),
            O::Sign => x.sign(),
            O::Exp => float().exp(),
            O::Expm1 => float().expm1(),
            O::Log => float().log(),
            O::Log1p => float().log1p(),
            O::Sqrt => float().sqrt(),
            O::Rsqrt => float().rsqrt(),
            O::Square => x.square(),
            O::Reciprocal => float().recip(),
            O::Sin => float().sin(),
            O::Cos => float().cos(),
            O::Erf => float().erf(),
            O::Floor => float().floor(),
            O::Ceil => float().ceil(),
            O::Round => float().round(),
            O::LogicalNot => x.cast(DType::Bool).logical_not(),
            O::ZerosLike => Tensor::zeros(x.shape(), x.dtype()),
            O::OnesLike => Tensor::ones(x.shape(), x.dtype()),
            O::StopGradient => x.stop_gradient(),
            O::Mean { over } => over.of(&float(), |x, axes| x.mean(axes)),
            O::Sum { over } => over.of(&counted(x), |x, axes| x.sum(axes)),
            O::Max { over } => over.of(x, |x, axes| x.max(axes)),
            O::Min { over } => over.of(x, |x, axes| x.min(axes)),
            O::Prod { over } => over.of(&counted(x), |x, axes| x.prod(axes)),
            O::Var { over } => over.of(&float(), variance),
            O::Std { over } => over.of(&float(), |x, axes| variance(x, axes).sqrt()),
            O::Any { over } => over.of(x, |x, axes| flags(x).max(axes).gt(0)),
            O::All { over } => over.of(x, |x, axes| flags(x).min(axes).gt(0)),
            O::Logsumexp { over } => over.of(&float(), |x, axes| {
                let max = x.max_keep(axes).stop_gradient();
                ((x - &max).exp().sum_keep(axes).log() + max).max(axes)
            }),
            O::Argmax { axis, keepdims } => kept(x.argmax(*axis), *axis, *keepdims),
            O::Argmin { axis, keepdims } => kept((-x).argmax(*axis), *axis, *keepdims),
            O::Softmax { axis } => float().softmax(*axis),
            O::LogSoftmax { axis } => float().log_softmax(*axis),
            O::Activation { activation } => activation.activate(&float()),
            O::LeakyRelu { negative_slope } => x.ge(0.0).select(x, x * *negative_slope),
            O::Elu { alpha } => x.gt(0.0).select(x, x.gt(0.0).select(0.0, x).expm1() * *alpha),
            O::Gelu { approximate: false } => x.gelu(),
            O::Gelu { approximate: true } => {
                let inside = (x + x * x * x * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
                x * 0.5 * (inside.tanh() + 1.0)
            }
            O::Clip { x_min, x_max } => x.clamp(*x_min, *x_max),
            O::Normalize { axis, order, epsilon } => {
                if *order != 2 {
                    return Err(Error::unsupported(format!("normalize with the norm of order {order}; only 2 is built")));
                }
                let least = epsilon.unwrap_or(1e-12);
                x * x.square().sum_keep(&[*axis]).maximum(least * least).rsqrt()
            }
            O::OneHot { num_classes, axis, dtype: name } => {
                if *axis != -1 && *axis != x.rank() as isize {
                    return Err(Error::unsupported(format!("one_hot along axis {axis}; only the last one is built")));
                }
                x.cast(DType::I32).one_hot(*num_classes, dtype(name)?)
            }
            O::Cast { dtype: name } => x.cast(dtype(name)?),
            O::Reshape { newshape } => reshape(x, newshape)?,
            O::Transpose { axes: None } => {
                let order: Vec<usize> = (0..x.rank()).rev().collect();
                x.permute(&order)
            }
            O::Transpose { axes: Some(axes) } => {
                let order: Option<Vec<usize>> = axes.iter().map(|&axis| x.shape().axis(axis)).collect();
                let order = order.ok_or_else(|| Error::shape(format!("input {} has not all axes {axes:?}", x.shape())))?;
                x.permute(&order)
            }
            O::Swapaxes { axis1, axis2 } => x.transpose(*axis1, *axis2),
            O::ExpandDims { axis } => axis.list().iter().fold(x.clone(), |x, &axis| {
                x.unsqueeze(if axis < 0 { axis + x.rank() as isize + 1 } else { axis })
            }),
            O::Squeeze { axis } => squeeze(x, axis)?,
            O::Flip { axis } => x.flip(axis.list()),
            O::Repeat { repeats, axis } => repeat(x, *repeats, *axis)?,
            O::Tile { repeats } => tile(x, repeats)?,
            O::Pad { pad_width, mode } => pad(x, pad_width, mode)?,
            O::GetItem { key } => key.of(x)?,
            // All others are binary or take lists.
            _ => return Err(Error::model(format!("{self:?} takes several operands"))),
        })
    }
}

impl Over {
    pub fn new(axis: Axes, keepdims: bool) -> Self {
        Over { axis, keepdims }
    }

    fn of(&self, x: &Tensor, reduce: impl Fn(&Tensor, &[isize]) -> Tensor) -> Tensor {
        let y = reduce(x, self.axis.list());
        if !self.keepdims || x.check().is_err() || y.check().is_err() {
            return y;
        }
        let gone = |axis: usize| {
            let list = self.axis.list();
            list.is_empty() || list.iter().any(|&a| x.shape().axis(a) == Some(axis))
        };
        let shape: Vec<usize> = x.shape().iter().enumerate().map(|(i, &d)| if gone(i) { 1 } else { d }).collect();
        y.reshape(shape)
    }
}

fn kept(y: Tensor, axis: isize, keepdims: bool) -> Tensor {
    if keepdims { y.unsqueeze(axis) } else { y }
}

fn variance(x: &Tensor, axes: &[isize]) -> Tensor {
    (x - x.mean_keep(axes)).square().mean(axes)
}

/// Flags as numbers.
fn flags(x: &Tensor) -> Tensor {
    x.cast(DType::Bool).cast(DType::I32)
}

/// Flags count as 0 and 1.
fn counted(x: &Tensor) -> Tensor {
    if x.dtype() == DType::Bool { x.cast(DType::I32) } else { x.clone() }
}

fn wrong(count: usize, operands: &[Operand]) -> Error {
    Error::model(format!("takes {count} operands, got {}", operands.len()))
}

fn tensor(operand: &Operand, dtype: DType) -> Tensor {
    match operand {
        Operand::Tensor(tensor) => tensor.clone(),
        Operand::Number(number, _) => Tensor::full([], *number, dtype),
    }
}

fn one(operands: &[Operand]) -> Result<Tensor> {
    match operands {
        [operand] => Ok(tensor(operand, DType::F32)),
        _ => Err(wrong(1, operands)),
    }
}

fn pair(a: &Operand, b: &Operand) -> Result<[Tensor; 2]> {
    let both = alike(&[a.clone(), b.clone()], 2)?;
    both.try_into().map_err(|_| Error::model("takes two operands"))
}

/// All operands in one element type: the widest of them, in which a number counts only as whole or not.
fn alike(operands: &[Operand], least: usize) -> Result<Vec<Tensor>> {
    if operands.len() < least {
        return Err(wrong(least, operands));
    }
    let rank = |dtype: DType| match dtype {
        DType::Bool => 0,
        DType::U32 => 1,
        DType::I32 => 2,
        DType::BF16 => 3,
        DType::F16 => 4,
        DType::F32 => 5,
    };
    let of_tensors = operands.iter().filter_map(|operand| match operand {
        Operand::Tensor(tensor) => Some(tensor.dtype()),
        Operand::Number(..) => None,
    });
    let widest = of_tensors.max_by_key(|&dtype| rank(dtype)).unwrap_or(DType::F32);
    let fraction = operands.iter().any(|operand| matches!(operand, Operand::Number(_, false)));
    let number = operands.iter().any(|operand| matches!(operand, Operand::Number(..)));
    let common = match widest {
        wide if wide.is_float() => wide,
        _ if fraction => DType::F32,
        DType::Bool if number => DType::I32,
        whole => whole,
    };
    operands.iter().map(|operand| Ok(tensor(operand, common).check()?.cast(common))).collect()
}

fn reshape(x: &Tensor, newshape: &[Option<isize>]) -> Result<Tensor> {
    let shape = x.check()?.shape();
    let batch = shape.first().copied().unwrap_or(1);
    // A length that is not known is that of the batch.
    let lengths = newshape.iter().map(|length| length.map_or(Some(batch), |length| usize::try_from(length).ok()));
    let lengths: Vec<Option<usize>> = lengths.collect();
    let known = lengths.iter().flatten().try_fold(1usize, |product, &length| product.checked_mul(length));
    let open = known.filter(|&known| known > 0).map_or(0, |known| shape.elements() / known);
    let full: Vec<usize> = lengths.iter().map(|length| length.unwrap_or(open)).collect();
    if lengths.iter().filter(|length| length.is_none()).count() > 1 {
        return Err(Error::shape(format!("reshape to {newshape:?}: only one length can be open")));
    }
    Ok(x.reshape(full))
}

fn squeeze(x: &Tensor, axis: &Axes) -> Result<Tensor> {
    let shape = x.check()?.shape();
    let gone: Vec<usize> = match axis {
        Axes::All => (1..x.rank()).filter(|&axis| shape[axis] == 1).collect(),
        some => {
            let found: Option<Vec<usize>> = some.list().iter().map(|&a| shape.axis(a).filter(|&a| shape[a] == 1)).collect();
            found.ok_or_else(|| Error::shape(format!("axes {:?} of {shape} are not of length 1", some.list())))?
        }
    };
    let left: Vec<usize> = (0..x.rank()).filter(|axis| !gone.contains(axis)).map(|axis| shape[axis]).collect();
    Ok(x.reshape(left))
}

fn split(x: &Tensor, sections: &Sections, axis: isize) -> Result<Vec<Tensor>> {
    let shape = x.check()?.shape();
    let found = shape.axis(axis).filter(|&axis| axis > 0);
    let length = found.map(|axis| shape[axis]).ok_or_else(|| Error::shape(format!("can not split {shape} along {axis}")))?;
    let ends: Vec<usize> = match sections {
        Sections::Equal(count) if (1..=MOST_PARTS).contains(count) && length.is_multiple_of(*count) => {
            (1..=*count).map(|i| i * (length / count)).collect()
        }
        Sections::Equal(count) => {
            return Err(Error::shape(format!("axis {axis} of {shape} can not be split in {count} equal parts")));
        }
        Sections::At(places) => places.iter().copied().chain([length]).collect(),
    };
    let mut start = 0;
    let mut parts = Vec::new();
    for end in ends {
        let count = end.checked_sub(start).filter(|_| end <= length);
        let count = count.ok_or_else(|| Error::shape(format!("can not split axis {axis} of {shape} at {end}")))?;
        parts.push(x.narrow(axis, start, count));
        start = end;
    }
    Ok(parts)
}

/// The elements at constant places of an axis.
fn take(operands: &[Operand], axis: isize) -> Result<Tensor> {
    let [x, places] = operands else { return Err(wrong(2, operands)) };
    let x = tensor(x, DType::F32);
    let shape = x.check()?.shape();
    let axis = shape.axis(axis).ok_or_else(|| Error::shape(format!("input {shape} has no axis {axis}")))?;
    let length = shape[axis] as f64;
    let places = match places {
        Operand::Number(number, _) => {
            let place = if *number < 0.0 { number + length } else { *number };
            if !(0.0..length).contains(&place) {
                return Err(Error::shape(format!("place {number} is out of range for axis {axis} of {shape}")));
            }
            return Ok(x.index(axis as isize, place as usize));
        }
        Operand::Tensor(places) => places.check()?.cast(DType::I32),
    };
    let places = places.lt(0).select(&places + length as i32, &places);
    // Rows are gathered along the first axis.
    let order: Vec<usize> = std::iter::once(axis).chain((0..x.rank()).filter(|&a| a != axis)).collect();
    let rows = x.permute(&order).gather(&places);
    let inner = places.rank();
    // The axes of the places go back to where the axis was.
    let order: Vec<usize> =
        (inner..inner + axis).chain(0..inner).chain(inner + axis..inner + x.rank() - 1).collect();
    Ok(rows.permute(&order))
}

fn repeat(x: &Tensor, repeats: usize, axis: isize) -> Result<Tensor> {
    let shape = x.check()?.shape();
    let axis = shape.axis(axis).ok_or_else(|| Error::shape(format!("input {shape} has no axis {axis}")))?;
    let (before, after) = (&shape[..=axis], &shape[axis + 1..]);
    let wide = x.unsqueeze(axis as isize + 1).broadcast_to([before, &[repeats], after].concat());
    let joined = [&shape[..axis], &[shape[axis].saturating_mul(repeats)], after].concat();
    Ok(wide.reshape(joined))
}

fn tile(x: &Tensor, repeats: &[usize]) -> Result<Tensor> {
    let extra = repeats.len().saturating_sub(x.check()?.rank());
    let mut y = x.reshape([&vec![1; extra][..], &x.shape()[..]].concat());
    for (axis, &count) in (y.rank() - repeats.len()..).zip(repeats) {
        let shape = y.shape();
        let (before, after) = (&shape[..axis], &shape[axis..]);
        let wide = y.unsqueeze(axis as isize).broadcast_to([before, &[count], after].concat());
        let joined = [before, &[shape[axis].saturating_mul(count)], &shape[axis + 1..]].concat();
        y = wide.reshape(joined);
        y.check()?;
    }
    Ok(y)
}

fn pad(x: &Tensor, pad_width: &[(usize, usize)], mode: &str) -> Result<Tensor> {
    let widths = match pad_width {
        [width] => vec![*width; x.check()?.rank()],
        widths => widths.to_vec(),
    };
    match mode {
        "constant" => Ok(x.pad(&widths)),
        other => Err(Error::unsupported(format!("padding with mode {other:?}; only zeros are built"))),
    }
}
