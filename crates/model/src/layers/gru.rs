//! Gated recurrent units.

use super::cell::one_step;
use super::recurrent::{Sequence, project, recurrent, unrolled};
use super::{Cell, Config, Context, Layer, Weights};
use crate::{Activation, Constraint, Initializer, Regularizer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

recurrent! {
    /// The cell of [`GRU`]: its state is its output.
    GRUCell;

    /// A recurrent layer of gated units (Cho et al. 2014): `(batch, steps, n)` to its last output `(batch, units)`, or with `return_sequences` to all of them,
    /// `(batch, steps, units)`. With `return_state` the last state follows as an output `(batch, units)`; one more input like that is the state to start from,
    /// else zeros.
    ///
    /// `z, r = s(x[t] @ kernel + h[t-1] @ recurrent_kernel + bias)`, `h[t] = z * h[t-1] + (1 - z) * a(new)`, with `a` the activation and `s` the recurrent
    /// activation. With `reset_after` (the default) `new = x[t] @ kernel + bias[0] + r * (h[t-1] @ recurrent_kernel + bias[1])`, without it
    /// `new = x[t] @ kernel + bias + (r * h[t-1]) @ recurrent_kernel`, each with its part of the weights.
    ///
    /// A masked step repeats the output before.
    ///
    /// Under a mixed policy `x[t] @ kernel` and the outputs are rounded; the recurrence runs in `f32`, with `f32` weights.
    ///
    /// Weights, in the order z, r, new: `kernel (n, 3 units)`, Glorot uniform; `recurrent_kernel (units, 3 units)`, orthogonal; `bias (2, 3 units)`, for the
    /// input and for the state, or without `reset_after` `(3 units,)`, zeros.
    GRU;

    /// Of the gates; sigmoid by default.
    recurrent_activation: Activation = Activation::Sigmoid;
    /// Applies the reset gate after the recurrent kernel (as cuDNN does) instead of before it; on by default.
    reset_after: bool = true;
}

impl Cell for GRUCell {
    fn class_name(&self) -> &'static str {
        "GRUCell"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.units]
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let wide = 3 * self.units;
        let bias: Shape = if self.reset_after { [2, wide].into() } else { [wide].into() };
        self.declare(weights, input, 3, |weights| weights.draw(bias, self.bias_initializer))
    }

    fn step(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<(Tensor, Vec<Tensor>)> {
        one_step(self, x, states, cx)
    }

    fn sequence(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<Sequence> {
        let units = self.units;
        let [input_noise, state_noise] = self.noises(x, 3, cx);
        let mut xs = project(x, &cx.weight("kernel"), &input_noise).cast(DType::F32);
        let mut state_bias = None;
        if self.use_bias {
            let bias = cx.weight_as("bias", DType::F32);
            if self.reset_after {
                xs = xs + bias.index(0, 0);
                state_bias = Some(bias.index(0, 1));
            } else {
                xs = xs + bias;
            }
        }
        let recurrent = cx.weight_as("recurrent_kernel", DType::F32);
        let gates = recurrent.narrow(-1, 0, 2 * units);
        let of_new = recurrent.narrow(-1, 2 * units, units);
        let gate_noise = &state_noise[..state_noise.len().min(2)];
        let states: Vec<Tensor> = states.iter().map(|state| state.cast(DType::F32)).collect();
        unrolled(&xs, states, |x, states| {
            let [h] = states else { return Err(Error::model(format!("has 1 state, got {}", states.len()))) };
            let part = |t: &Tensor, k: usize| t.narrow(-1, k * units, units);
            let hs = if self.reset_after { project(h, &recurrent, &state_noise) } else { project(h, &gates, gate_noise) };
            let hs = state_bias.iter().fold(hs, |hs, bias| hs + bias);
            let [z, r] = [0, 1].map(|k| self.recurrent_activation.activate(&(part(x, k) + part(&hs, k))));
            let from_state = if self.reset_after {
                r * part(&hs, 2)
            } else {
                project(&(r * h), &of_new, state_noise.get(2..).unwrap_or_default())
            };
            let new = self.activation.activate(&(part(x, 2) + from_state));
            let h = &z * h + (1.0 - &z) * new;
            Ok((h.clone(), vec![h]))
        })
    }
}
