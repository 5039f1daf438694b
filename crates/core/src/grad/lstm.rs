//! Derivatives of the LSTM primitives. The first one runs as one kernel; higher ones go through the same computation written out
//! step by step in primitives.

use super::rules::rows;
use crate::graph::Op;
use crate::tensor::Tensor;

/// Gradients of `(z, recurrent, h0, c0)`.
pub(super) fn backward(y: &Tensor, g: &Tensor) -> Vec<Option<Tensor>> {
    let [z, recurrent, h0, c0] = y.inputs() else { return vec![None; y.inputs().len()] };
    let (n, steps, units) = (y.dim(0), y.dim(1), recurrent.dim(0));
    if steps == 0 {
        return vec![None; 4];
    }
    // Only derivatives of derivatives look at the gates themselves.
    if !g.narrow(-1, 2 * units, 4 * units).is_zero() {
        return through(&unrolled(z, recurrent, h0, c0), g, y.inputs());
    }
    let (dh, dc) = (g.narrow(-1, 0, units), g.narrow(-1, units, units));
    let inputs = vec![y.clone(), recurrent.clone(), c0.clone(), dh, dc];
    let packed = Tensor::record(Op::LstmGrad, inputs, None, y.site());
    // Products read it as rows of the larger matrix, in place.
    let flat = rows(&packed).narrow(-1, 0, 4 * units);
    let dz = flat.reshape([n, steps, 4 * units]);
    let first = [h0.reshape([n, 1, units]), y.narrow(-1, 0, units).narrow(1, 0, steps - 1)];
    let before = Tensor::concat(&first, 1);
    let drecurrent = rows(&before).t().matmul(flat);
    let dh0 = dz.index(1, 0).matmul(recurrent.t());
    let dc0 = packed.index(1, 0).narrow(-1, 4 * units, units);
    vec![Some(dz), Some(drecurrent), Some(dh0), Some(dc0)]
}

/// Gradients of `(y, recurrent, c0, dh, dc)`.
pub(super) fn backward_of_gradient(y: &Tensor, g: &Tensor) -> Vec<Option<Tensor>> {
    let [forward, recurrent, c0, dh, dc] = y.inputs() else { return vec![None; y.inputs().len()] };
    through(&unrolled_gradient(forward, recurrent, c0, dh, dc), g, y.inputs())
}

/// Gradients through a computation that has the same inputs. Each input counts once, also if it stands in several places or is
/// computed from another.
fn through(y: &Tensor, g: &Tensor, inputs: &[Tensor]) -> Vec<Option<Tensor>> {
    match y.pull(g, inputs, true) {
        Ok(mut grads) => {
            let known = |i: usize| inputs[..i].iter().any(|t| t.id() == inputs[i].id());
            (0..inputs.len()).filter(|&i| known(i)).for_each(|i| grads[i] = None);
            grads
        }
        Err(error) => inputs.iter().map(|_| Some(Tensor::poisoned(error.clone()))).collect(),
    }
}

/// `Op::Lstm` in primitives.
fn unrolled(z: &Tensor, recurrent: &Tensor, h0: &Tensor, c0: &Tensor) -> Tensor {
    let units = recurrent.dim(0);
    let (mut h, mut c) = (h0.clone(), c0.clone());
    let mut steps = Vec::new();
    for t in 0..z.dim(1) {
        let gates = z.index(1, t) + h.matmul(recurrent);
        let gate = |k: usize| gates.narrow(-1, k * units, units);
        let (i, f, g, o) = (gate(0).sigmoid(), gate(1).sigmoid(), gate(2).tanh(), gate(3).sigmoid());
        c = &f * &c + &i * &g;
        h = &o * c.tanh();
        steps.push(Tensor::concat(&[h.clone(), c.clone(), i, f, g, o], -1));
    }
    Tensor::stack(&steps, 1)
}

/// `Op::LstmGrad` in primitives.
fn unrolled_gradient(forward: &Tensor, recurrent: &Tensor, c0: &Tensor, dh: &Tensor, dc: &Tensor) -> Tensor {
    let units = recurrent.dim(0);
    let part = |t: usize, k: usize| forward.index(1, t).narrow(-1, k * units, units);
    let mut dh_next = Tensor::zeros(c0.shape(), c0.dtype());
    let mut dc_next = dh_next.clone();
    let mut steps = Vec::new();
    for t in (0..forward.dim(1)).rev() {
        let (c, i, f, g, o) = (part(t, 1), part(t, 2), part(t, 3), part(t, 4), part(t, 5));
        let before = if t == 0 { c0.clone() } else { part(t - 1, 1) };
        let dh_total = dh.index(1, t) + &dh_next;
        let tanh_c = c.tanh();
        let dc_total = dc.index(1, t) + &dc_next + &dh_total * &o * (1.0 - tanh_c.square());
        let sigmoid = |d: Tensor, s: &Tensor| d * s * (1.0 - s);
        let dz = Tensor::concat(
            &[
                sigmoid(&dc_total * &g, &i),
                sigmoid(&dc_total * before, &f),
                &dc_total * &i * (1.0 - g.square()),
                sigmoid(&dh_total * tanh_c, &o),
            ],
            -1,
        );
        dc_next = &dc_total * &f;
        dh_next = dz.matmul(recurrent.t());
        steps.push(Tensor::concat(&[dz, dc_next.clone()], -1));
    }
    steps.reverse();
    Tensor::stack(&steps, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_sequences_have_no_gradient() {
        let z = Tensor::zeros([2, 0, 8], crate::DType::F32);
        let recurrent = Tensor::ones([2, 8], crate::DType::F32);
        let state = Tensor::zeros([2, 2], crate::DType::F32);
        let [h, _] = z.lstm(&recurrent, &state, &state);
        let grads = h.sum(&[]).gradients(&[recurrent]);
        assert!(grads.is_ok_and(|g| g[0].is_none()));
    }
}
