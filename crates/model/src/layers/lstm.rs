//! Long short-term memory.

use super::cell::one_step;
use super::recurrent::{Sequence, project, recurrent, unrolled};
use super::{Cell, Config, Context, Layer, Weights};
use crate::{Activation, Constraint, Initializer, Regularizer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

recurrent! {
    /// The cell of [`LSTM`]: states `h` and `c`, output `h`.
    LSTMCell;

    /// A recurrent layer with a memory cell (Hochreiter and Schmidhuber 1997): `(batch, steps, n)` to its last output `(batch, units)`, or with
    /// `return_sequences` to all of them, `(batch, steps, units)`. With `return_state` the states `h` and `c` follow as outputs, each `(batch, units)`; two
    /// more inputs like that are the states to start from, else zeros.
    ///
    /// `i, f, g, o = split(x[t] @ kernel + h[t-1] @ recurrent_kernel + bias)`, `c[t] = s(f) * c[t-1] + s(i) * a(g)`, `h[t] = s(o) * a(c[t])`, with `a` the
    /// activation and `s` the recurrent activation.
    ///
    /// A masked step repeats the output before and changes no state.
    ///
    /// Under a mixed policy `x[t] @ kernel` and the outputs are rounded; the recurrence runs in `f32`, with `f32` weights.
    ///
    /// Weights: `kernel (n, 4 units)`, Glorot uniform; `recurrent_kernel (units, 4 units)`, orthogonal; `bias (4 units,)`, zeros but ones for `f`.
    LSTM;

    /// Of the gates; sigmoid by default.
    recurrent_activation: Activation = Activation::Sigmoid;
    /// Starts the bias of the forget gate with ones, so that the cell remembers at first (Jozefowicz et al. 2015); on by default.
    unit_forget_bias: bool = true;
}

impl Cell for LSTMCell {
    fn class_name(&self) -> &'static str {
        "LSTMCell"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.units; 2]
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let units = self.units;
        self.declare(weights, input, 4, |weights| {
            if !self.unit_forget_bias {
                return weights.draw([4 * units], self.bias_initializer);
            }
            let others = weights.draw([3 * units], self.bias_initializer);
            let forget = weights.draw([units], Initializer::Ones);
            Tensor::concat(&[others.narrow(0, 0, units), forget, others.narrow(0, units, 2 * units)], 0)
        })
    }

    fn step(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<(Tensor, Vec<Tensor>)> {
        one_step(self, x, states, cx)
    }

    fn sequence(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<Sequence> {
        let [input_noise, state_noise] = self.noises(x, 4, cx);
        let mut z = project(x, &cx.weight("kernel"), &input_noise).cast(DType::F32);
        if self.use_bias {
            z = z + cx.weight_as("bias", DType::F32);
        }
        let recurrent = cx.weight_as("recurrent_kernel", DType::F32);
        let states: Vec<Tensor> = states.iter().map(|state| state.cast(DType::F32)).collect();
        if let ([h, c], Activation::Tanh, Activation::Sigmoid, true) =
            (&states[..], self.activation, self.recurrent_activation, state_noise.is_empty())
        {
            let [outputs, cells] = z.lstm(recurrent, h, c);
            return Ok(Sequence { states: vec![outputs.clone(), cells], outputs });
        }
        unrolled(&z, states, |z, states| {
            let [h, c] = states else { return Err(Error::model(format!("has 2 states, got {}", states.len()))) };
            let gates = z + project(h, &recurrent, &state_noise);
            let gate = |k: usize| gates.narrow(-1, k * self.units, self.units);
            let [i, f, o] = [0, 1, 3].map(|k| self.recurrent_activation.activate(&gate(k)));
            let c = f * c + i * self.activation.activate(&gate(2));
            let h = o * self.activation.activate(&c);
            Ok((h.clone(), vec![h, c]))
        })
    }
}
