//! Shape and type inference: the one place that says which operations are valid.

use super::{Binary, Op, Reduce, Unary};
use crate::{DType, Error, Result, Shape};

/// The shape and the element type of an operation's result. `given` is the result's shape where inputs do not imply it.
pub(crate) fn infer(op: &Op, inputs: &[(&Shape, DType)], given: Option<Shape>) -> Result<(Shape, DType)> {
    let name = op.name();
    let shapes = || inputs.iter().map(|(s, d)| format!("{d} {s}")).collect::<Vec<_>>().join(", ");
    let fail = |why: String| Err(Error::shape(format!("{name} of {}: {why}", shapes())));
    let wrong_type = |need: &str| Err(Error::dtype(format!("{name} of {}: needs {need}; cast first", shapes())));
    let given = || given.clone().ok_or_else(|| Error::shape(format!("{name}: no result shape")));

    // One element type for every operand that is data (not a condition, an index or a key).
    let data = match op {
        Op::Select => &inputs[1..],
        Op::ScatterAdd(_) => &inputs[1..],
        Op::Gather | Op::Random(_) => &inputs[..1],
        _ => inputs,
    };
    let dtype = data.first().map_or(DType::F32, |i| i.1);
    if data.iter().any(|i| i.1 != dtype) {
        return Err(Error::dtype(format!("{name} of {}: element types differ; cast one of them", shapes())));
    }
    let x = inputs.first().map(|i| i.0);
    let x = || x.ok_or_else(|| Error::shape(format!("{name}: no input")));
    let equal_shapes = || inputs.iter().all(|i| i.0 == inputs[0].0);

    match op {
        Op::Input(_) | Op::Variable(_) | Op::Constant(_) | Op::Stored(_) | Op::Full(_) => {
            Err(Error::shape(format!("{name}: leaves are not inferred")))
        }
        Op::Iota(axis) => {
            let shape = given()?;
            if *axis >= shape.rank() { fail(format!("no axis {axis} in {shape}")) } else { Ok((shape, DType::I32)) }
        }
        Op::Random(_) => {
            if dtype != DType::U32 || x()?[..] != [2] {
                return fail("the key must be u32 (2,)".into());
            }
            let shape = given()?;
            match u32::try_from(shape.elements()) {
                Ok(_) => Ok((shape, DType::U32)),
                Err(_) => fail(format!("{shape} has more elements than a 32-bit counter")),
            }
        }
        Op::Unary(unary) => match unary {
            Unary::Not if dtype != DType::Bool => wrong_type("bool"),
            Unary::Neg if dtype == DType::Bool => wrong_type("numbers"),
            Unary::Abs | Unary::Sign if !dtype.is_float() && dtype != DType::I32 => wrong_type("floats or i32"),
            Unary::Not | Unary::Neg | Unary::Abs | Unary::Sign => Ok((x()?.clone(), dtype)),
            _ if !dtype.is_float() => wrong_type("floats"),
            _ => Ok((x()?.clone(), dtype)),
        },
        Op::Binary(binary) => {
            if !equal_shapes() {
                return fail("shapes differ".into());
            }
            match binary {
                Binary::And | Binary::Or | Binary::Xor if dtype.is_float() => wrong_type("bool or integers"),
                Binary::Shl | Binary::Shr if !dtype.is_int() => wrong_type("integers"),
                Binary::Pow if !dtype.is_float() => wrong_type("floats"),
                Binary::And | Binary::Or | Binary::Xor => Ok((x()?.clone(), dtype)),
                _ if dtype == DType::Bool => wrong_type("numbers"),
                _ => Ok((x()?.clone(), dtype)),
            }
        }
        Op::Compare(_) if !equal_shapes() => fail("shapes differ".into()),
        Op::Compare(_) => Ok((x()?.clone(), DType::Bool)),
        Op::Select if !equal_shapes() => fail("shapes differ".into()),
        Op::Select if inputs[0].1 != DType::Bool => wrong_type("a bool condition"),
        Op::Select => Ok((x()?.clone(), dtype)),
        Op::Cast(to) => Ok((x()?.clone(), *to)),
        Op::Reduce(reduce, axes) => {
            if dtype == DType::Bool && matches!(reduce, Reduce::Sum | Reduce::Prod) {
                return wrong_type("numbers");
            }
            let mut shape = x()?.to_vec();
            for &axis in axes {
                match shape.get_mut(axis) {
                    Some(dim) => *dim = 1,
                    None => return fail(format!("no axis {axis}")),
                }
            }
            Ok((shape.into(), dtype))
        }
        Op::Reshape => {
            let shape = given()?;
            if shape.elements() != x()?.elements() {
                return fail(format!("{} elements do not fill {shape}", x()?.elements()));
            }
            Ok((shape, dtype))
        }
        Op::Permute(order) => {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if !sorted.into_iter().eq(0..x()?.rank()) {
                return fail(format!("{order:?} is no order of its axes"));
            }
            Ok((order.iter().map(|&i| Ok(x()?[i])).collect::<Result<Vec<_>>>()?.into(), dtype))
        }
        Op::Broadcast => {
            let shape = given()?;
            if shape.rank() != x()?.rank() || shape.iter().zip(x()?.iter()).any(|(to, from)| from != to && *from != 1) {
                return fail(format!("does not broadcast to {shape}"));
            }
            Ok((shape, dtype))
        }
        Op::Slice(starts) => {
            let (shape, x) = (given()?, x()?);
            let inside = |((start, len), dim): ((&usize, &usize), &usize)| {
                start.checked_add(*len).is_some_and(|end| end <= *dim)
            };
            if starts.len() != x.rank()
                || shape.rank() != x.rank()
                || !starts.iter().zip(shape.iter()).zip(x.iter()).all(inside)
            {
                return fail(format!("no {shape} elements from {starts:?} on"));
            }
            Ok((shape, dtype))
        }
        Op::Pad(pads) => {
            if pads.len() != x()?.rank() {
                return fail(format!("{} pads for {} axes", pads.len(), x()?.rank()));
            }
            let padded =
                |(d, (lo, hi)): (&usize, &(usize, usize))| lo.checked_add(*hi).and_then(|pad| pad.checked_add(*d));
            match x()?.iter().zip(pads).map(padded).collect::<Option<Vec<_>>>() {
                Some(shape) => Ok((shape.into(), dtype)),
                None => fail(format!("pads {pads:?} are too large")),
            }
        }
        Op::Flip(axes) => match axes.iter().find(|&&a| x().is_ok_and(|x| a >= x.rank())) {
            Some(axis) => fail(format!("no axis {axis}")),
            None => Ok((x()?.clone(), dtype)),
        },
        Op::Gather => {
            if inputs[1].1 != DType::I32 {
                return wrong_type("i32 indices");
            }
            let Some((_, row)) = x()?.split_first() else { return fail("the table has no rows".into()) };
            Ok(([&inputs[1].0[..], row].concat().into(), dtype))
        }
        Op::ScatterAdd(rows) => {
            if inputs[0].1 != DType::I32 {
                return wrong_type("i32 indices");
            }
            if dtype == DType::Bool {
                return wrong_type("numbers");
            }
            let (index, source) = (inputs[0].0, inputs[1].0);
            match source.strip_prefix(&index[..]) {
                Some(row) => Ok(([&[*rows], row].concat().into(), dtype)),
                None => fail("the source must have the shape of the indices, then that of a row".into()),
            }
        }
        Op::MatMul => {
            let (a, b) = (inputs[0].0, inputs[1].0);
            let rank = a.rank();
            if rank < 2 || rank != b.rank() || a[..rank - 2] != b[..rank - 2] || a[rank - 1] != b[rank - 2] {
                return fail("need (batch.., m, k) and (batch.., k, n)".into());
            }
            let mut shape = a.to_vec();
            shape[rank - 1] = b[rank - 1];
            floats(dtype, wrong_type).map(|dtype| (shape.into(), dtype))
        }
        Op::Conv(g) | Op::ConvInputGrad(g) | Op::ConvKernelGrad(g) => {
            let x = [g.n, g.input[0], g.input[1], g.input[2], g.groups * g.cin];
            let w = [g.kernel[0], g.kernel[1], g.kernel[2], g.cin, g.cout];
            let y = [g.n, g.output[0], g.output[1], g.output[2], g.cout];
            let (lhs, rhs, result) = match op {
                Op::Conv(_) => (x, w, y),
                Op::ConvInputGrad(_) => (y, w, x),
                _ => (x, y, w),
            };
            windowed(name, inputs, &[lhs, rhs], result).and_then(|s| floats(dtype, wrong_type).map(|d| (s, d)))
        }
        Op::MaxPool(g) | Op::MaxPoolGrad(g) | Op::SumPool(g) | Op::SumPoolGrad(g) => {
            let x = [g.n, g.input[0], g.input[1], g.input[2], g.channels];
            let y = [g.n, g.output[0], g.output[1], g.output[2], g.channels];
            let (operands, result) = match op {
                Op::MaxPool(_) => (vec![x, x], y),
                Op::MaxPoolGrad(_) => (vec![x, y], x),
                Op::SumPool(_) => (vec![x], y),
                _ => (vec![y], x),
            };
            windowed(name, inputs, &operands, result).and_then(|s| floats(dtype, wrong_type).map(|d| (s, d)))
        }
        Op::Lstm => {
            let (z, w, h, c) = (inputs[0].0, inputs[1].0, inputs[2].0, inputs[3].0);
            if dtype != DType::F32 {
                return wrong_type("f32");
            }
            match (&z[..], &w[..]) {
                (&[n, t, gates], &[u, wide]) if gates == wide && wide == 4 * u && h[..] == [n, u] && c == h => {
                    Ok(([n, t, 6 * u].into(), dtype))
                }
                _ => fail("need z (n, t, 4u), recurrent (u, 4u), h0 (n, u) and c0 (n, u)".into()),
            }
        }
        Op::LstmGrad => {
            let (y, w, c, dh, dc) = (inputs[0].0, inputs[1].0, inputs[2].0, inputs[3].0, inputs[4].0);
            if dtype != DType::F32 {
                return wrong_type("f32");
            }
            match (&y[..], &w[..]) {
                (&[n, t, six], &[u, wide])
                    if six == 6 * u && wide == 4 * u && c[..] == [n, u] && dh[..] == [n, t, u] && dc == dh =>
                {
                    Ok(([n, t, 5 * u].into(), dtype))
                }
                _ => fail("need y (n, t, 6u), recurrent (u, 4u), c0 (n, u), dh and dc (n, t, u)".into()),
            }
        }
    }
}

fn floats(dtype: DType, wrong_type: impl FnOnce(&str) -> Result<(Shape, DType)>) -> Result<DType> {
    if dtype.is_float() { Ok(dtype) } else { wrong_type("floats").map(|r| r.1) }
}

fn windowed(name: &str, inputs: &[(&Shape, DType)], expect: &[[usize; 5]], result: [usize; 5]) -> Result<Shape> {
    for ((shape, _), want) in inputs.iter().zip(expect) {
        if shape[..] != want[..] {
            return Err(Error::shape(format!("{name}: got {shape}, the geometry wants {}", Shape::from(*want))));
        }
    }
    Ok(result.into())
}
