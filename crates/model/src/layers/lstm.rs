//! Long short-term memory.

use super::{Config, Context, Layer, Weights};
use crate::{Activation, Initializer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// A recurrent layer with a memory cell (Hochreiter and Schmidhuber 1997): `(batch, steps, n)` to its last output `(batch, units)`, or with
/// `return_sequences` to all of them, `(batch, steps, units)`.
///
/// `i, f, g, o = split(x[t] @ kernel + h[t-1] @ recurrent_kernel + bias)`, `c[t] = s(f) * c[t-1] + s(i) * a(g)`, `h[t] = s(o) * a(c[t])`, with `a` the
/// activation and `s` the recurrent activation.
///
/// Under a mixed policy `x[t] @ kernel` and the outputs are rounded; the recurrence runs in `f32`, with `f32` weights.
///
/// Weights: `kernel (n, 4 units)`, Glorot uniform; `recurrent_kernel (units, 4 units)`, orthogonal; `bias (4 units,)`, zeros but ones for `f`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LSTM {
    units: usize,
    activation: Activation,
    recurrent_activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    recurrent_initializer: Initializer,
    bias_initializer: Initializer,
    unit_forget_bias: bool,
    return_sequences: bool,
    go_backwards: bool,
}

impl Default for LSTM {
    fn default() -> Self {
        LSTM {
            units: 1,
            activation: Activation::Tanh,
            recurrent_activation: Activation::Sigmoid,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            recurrent_initializer: Initializer::Orthogonal { gain: 1.0 },
            bias_initializer: Initializer::Zeros,
            unit_forget_bias: true,
            return_sequences: false,
            go_backwards: false,
        }
    }
}

impl LSTM {
    /// A layer with `units` outputs and cells.
    pub fn new(units: usize) -> Self {
        LSTM { units, ..LSTM::default() }
    }

    /// Of new cell values and outputs; tanh by default.
    pub fn activation(self, activation: Activation) -> Self {
        LSTM { activation, ..self }
    }

    /// Of the gates; sigmoid by default.
    pub fn recurrent_activation(self, recurrent_activation: Activation) -> Self {
        LSTM { recurrent_activation, ..self }
    }

    /// With or without bias; with by default.
    pub fn use_bias(self, use_bias: bool) -> Self {
        LSTM { use_bias, ..self }
    }

    /// How the input's kernel starts.
    pub fn kernel_initializer(self, kernel_initializer: Initializer) -> Self {
        LSTM { kernel_initializer, ..self }
    }

    /// How the recurrent kernel starts.
    pub fn recurrent_initializer(self, recurrent_initializer: Initializer) -> Self {
        LSTM { recurrent_initializer, ..self }
    }

    /// How the bias starts.
    pub fn bias_initializer(self, bias_initializer: Initializer) -> Self {
        LSTM { bias_initializer, ..self }
    }

    /// Starts the bias of the forget gate with ones, so that the cell remembers at first (Jozefowicz et al. 2015); on by default.
    pub fn unit_forget_bias(self, unit_forget_bias: bool) -> Self {
        LSTM { unit_forget_bias, ..self }
    }

    /// Gives the outputs of all steps instead of the last one.
    pub fn return_sequences(self, return_sequences: bool) -> Self {
        LSTM { return_sequences, ..self }
    }

    /// Reads the sequence from its end; outputs come in the order they are computed in.
    pub fn go_backwards(self, go_backwards: bool) -> Self {
        LSTM { go_backwards, ..self }
    }

    /// The outputs of all steps with any activations, step by step, from the input's part of the gates.
    fn unrolled(&self, z: &Tensor, recurrent: &Tensor, state: &Tensor) -> Tensor {
        let (mut h, mut c) = (state.clone(), state.clone());
        let mut outputs = Vec::new();
        for t in 0..z.dim(1) {
            let gates = z.index(1, t) + h.matmul(recurrent);
            let gate = |k: usize| gates.narrow(-1, k * self.units, self.units);
            let [i, f, o] = [0, 1, 3].map(|k| self.recurrent_activation.activate(&gate(k)));
            c = f * &c + i * self.activation.activate(&gate(2));
            h = o * self.activation.activate(&c);
            outputs.push(h.clone());
        }
        Tensor::stack(&outputs, 1)
    }
}

impl Layer for LSTM {
    fn class_name(&self) -> &'static str {
        "LSTM"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let features = match input[..] {
            [_, steps, features] if steps > 0 => features,
            _ => return Err(Error::shape(format!("takes sequences (batch, steps, features), got input {input}"))),
        };
        let units = self.units;
        if units == 0 {
            return Err(Error::value("units must be at least 1"));
        }
        weights.add("kernel", [features, 4 * units], self.kernel_initializer)?;
        weights.add("recurrent_kernel", [units, 4 * units], self.recurrent_initializer)?;
        if self.use_bias && self.unit_forget_bias {
            let others = weights.draw([3 * units], self.bias_initializer);
            let forget = weights.draw([units], Initializer::Ones);
            let parts = [others.narrow(0, 0, units), forget, others.narrow(0, units, 2 * units)];
            weights.push("bias", Tensor::concat(&parts, 0), true)?;
        } else if self.use_bias {
            weights.add("bias", [4 * units], self.bias_initializer)?;
        }
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let x = if self.go_backwards { x.flip(&[1]) } else { x.clone() };
        let mut z = x.matmul(cx.weight("kernel")).cast(DType::F32);
        if self.use_bias {
            z = z + cx.weight_as("bias", DType::F32);
        }
        let recurrent = cx.weight_as("recurrent_kernel", DType::F32);
        let state = Tensor::zeros([x.dim(0), self.units], DType::F32);
        let outputs = match (self.activation, self.recurrent_activation) {
            (Activation::Tanh, Activation::Sigmoid) => {
                let [outputs, _cells] = z.lstm(recurrent, &state, &state);
                outputs
            }
            _ => self.unrolled(&z, &recurrent, &state),
        };
        let outputs = if self.return_sequences { outputs } else { outputs.index(1, x.dim(1) - 1) };
        Ok(outputs.cast(cx.compute_dtype()))
    }
}
