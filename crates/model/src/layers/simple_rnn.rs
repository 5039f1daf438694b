//! The simplest recurrent layer.

use super::cell::one_step;
use super::recurrent::{Sequence, project, recurrent, unrolled};
use super::{Cell, Config, Context, Layer, Weights};
use crate::{Activation, Constraint, Initializer, Regularizer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

recurrent! {
    /// The cell of [`SimpleRNN`]: its state is its output.
    SimpleRNNCell;

    /// A recurrent layer that gets its own output back (Elman 1990): `h[t] = activation(x[t] @ kernel + h[t-1] @ recurrent_kernel + bias)`, from
    /// `(batch, steps, n)` to its last output `(batch, units)`, or with `return_sequences` to all of them, `(batch, steps, units)`. With `return_state` the last
    /// state follows as an output `(batch, units)`; one more input like that is the state to start from, else zeros.
    ///
    /// A masked step repeats the output before.
    ///
    /// Under a mixed policy `x[t] @ kernel` and the outputs are rounded; the recurrence runs in `f32`, with `f32` weights.
    ///
    /// Weights: `kernel (n, units)`, Glorot uniform; `recurrent_kernel (units, units)`, orthogonal; `bias (units,)`, zeros.
    SimpleRNN;
}

impl Cell for SimpleRNNCell {
    fn class_name(&self) -> &'static str {
        "SimpleRNNCell"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn state_sizes(&self) -> Vec<usize> {
        vec![self.units]
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        self.declare(weights, input, 1, |weights| weights.draw([self.units], self.bias_initializer))
    }

    fn step(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<(Tensor, Vec<Tensor>)> {
        one_step(self, x, states, cx)
    }

    fn sequence(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<Sequence> {
        let [input_noise, state_noise] = self.noises(x, 1, cx);
        let mut xs = project(x, &cx.weight("kernel"), &input_noise).cast(DType::F32);
        if self.use_bias {
            xs = xs + cx.weight_as("bias", DType::F32);
        }
        let recurrent = cx.weight_as("recurrent_kernel", DType::F32);
        let states: Vec<Tensor> = states.iter().map(|state| state.cast(DType::F32)).collect();
        unrolled(&xs, states, |x, states| {
            let [h] = states else { return Err(Error::model(format!("has 1 state, got {}", states.len()))) };
            let h = self.activation.activate(&(x + project(h, &recurrent, &state_noise)));
            Ok((h.clone(), vec![h]))
        })
    }
}
