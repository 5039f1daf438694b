//! Bodies: one instruction after the other, each for all points.

use super::{Memory, scalar};
use ibex_core::program::{Body, Instr, View};
use ibex_core::random::threefry;
use ibex_core::{Error, Result};
use std::ops::Range;

/// The element that a view names at every point of `dims`, in row-major order; `None` outside of its bounds.
fn elements(view: &View, dims: &[usize]) -> Vec<Option<i64>> {
    let mut at = vec![0_usize; dims.len()];
    let mut out = Vec::with_capacity(dims.iter().product());
    for _ in 0..dims.iter().product::<usize>() {
        let inside = view.bounds.iter().zip(&at).all(|(b, &c)| (b.0..b.1).contains(&(c as i64)));
        let element = view.offset + view.strides.iter().zip(&at).map(|(s, &c)| s * c as i64).sum::<i64>();
        out.push(inside.then_some(element));
        for d in (0..dims.len()).rev() {
            at[d] += 1;
            if at[d] < dims[d] {
                break;
            }
            at[d] = 0;
        }
    }
    out
}

/// Runs a body over `dims`, of which the axes in `reduced` are reduced over. `acc` is the value of [`Instr::Acc`] at every point.
pub(super) fn run(memory: &mut Memory, body: &Body, dims: &[usize], reduced: Range<usize>, acc: &[f64]) -> Result<()> {
    let points: usize = dims.iter().product();
    let regs = body.regs();
    let mut values: Vec<Vec<f64>> = Vec::new();
    for (i, instr) in body.instrs.iter().enumerate() {
        let v = |id: ibex_core::program::ValueId| &values[id.0];
        let value: Vec<f64> = match *instr {
            Instr::Load(l) => {
                let load = &body.loads[l];
                let data = memory.read(load.buffer);
                let past = |e: i64| {
                    Error::device(format!(
                        "a load of element {e} of buffer {}, which has {}",
                        load.buffer.0,
                        data.len()
                    ))
                };
                let get = |e: Option<i64>| match e {
                    None => Ok(0.0),
                    Some(e) => usize::try_from(e).ok().and_then(|i| data.get(i).copied()).ok_or_else(|| past(e)),
                };
                elements(&load.view, dims).into_iter().map(get).collect::<Result<_>>()?
            }
            Instr::Acc if acc.len() == points => acc.iter().map(|&a| f64::from(a as f32)).collect(),
            Instr::Acc => return Err(Error::device("a loop has no accumulator")),
            Instr::Const(value) => vec![value.to_f64(); points],
            Instr::Iota(l) => elements(&body.iotas[l], dims).into_iter().map(|e| e.unwrap_or(0) as f64).collect(),
            Instr::Threefry([k0, k1], counter, stream) => {
                let bits = |i: usize| threefry([v(k0)[i] as u32, v(k1)[i] as u32], [v(counter)[i] as u32, stream])[0];
                (0..points).map(|i| f64::from(bits(i))).collect()
            }
            Instr::Unary(op, a) => v(a).iter().map(|&a| scalar::unary(op, regs[i], a)).collect(),
            Instr::Binary(op, a, b) => {
                if regs[a.0] != regs[b.0] {
                    return Err(Error::device(format!("{} of {:?} and {:?}", op.name(), regs[a.0], regs[b.0])));
                }
                v(a).iter().zip(v(b)).map(|(&a, &b)| scalar::binary(op, regs[i], a, b)).collect()
            }
            Instr::Compare(op, a, b) => v(a).iter().zip(v(b)).map(|(&a, &b)| scalar::compare(op, a, b)).collect(),
            Instr::Select(c, a, b) => (0..points).map(|i| if v(c)[i] != 0.0 { v(a)[i] } else { v(b)[i] }).collect(),
            Instr::Cast(to, a) => v(a).iter().map(|&x| scalar::cast(to, regs[a.0], x)).collect(),
            Instr::Reduce(op, a) => {
                let row: usize = dims[reduced.clone()].iter().product();
                let inside: usize = dims[reduced.end..].iter().product();
                let total = |point: usize| {
                    let first = point / (row * inside) * row * inside + point % inside;
                    scalar::reduce(op, regs[i], (0..row).map(|r| v(a)[first + r * inside]))
                };
                // Computed once for each row, repeated along it.
                let mut out = vec![0.0; points];
                for point in 0..points {
                    let along = point / inside % row;
                    out[point] = if along == 0 { total(point) } else { out[point - along * inside] };
                }
                out
            }
        };
        values.push(value);
    }
    for store in &body.stores {
        let mut data = memory.read(store.buffer);
        let mut written = vec![false; data.len()];
        for (element, &value) in elements(&store.view, dims).into_iter().zip(&values[store.value.0]) {
            // Outside of the view's bounds nothing is stored.
            let Some(element) = element else { continue };
            let Some(at) = usize::try_from(element).ok().filter(|&e| e < data.len()) else {
                return Err(Error::device(format!("a store to element {element} of {}", data.len())));
            };
            if std::mem::replace(&mut written[at], true) && data[at].to_bits() != value.to_bits() {
                return Err(Error::device(format!("two points store element {at} of buffer {}", store.buffer.0)));
            }
            data[at] = value;
        }
        if written.contains(&false) {
            return Err(Error::device(format!("buffer {} is not written whole", store.buffer.0)));
        }
        memory.write(store.buffer, &data);
    }
    Ok(())
}
