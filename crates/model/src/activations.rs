//! Activation functions.

use ibex_core::{Error, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An elementwise function (softmax: along the last axis), behind a layer (`Dense::new(8).activation(Relu)`) or as a layer of its own (`.add(Relu)`).
/// Definitions are those of Keras 3, also where a function has a corner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Described")]
pub enum Activation {
    /// `x`
    #[default]
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `e^x / sum(e^x)` along the last axis.
    Softmax,
    /// Logarithm of the softmax.
    LogSoftmax,
    /// `x` above zero, `e^x - 1` below.
    Elu,
    /// Scaled [`Activation::Elu`] (Klambauer et al. 2017).
    Selu,
    /// `x * Phi(x)`, exact.
    Gelu,
    /// `x * sigmoid(x)`
    Silu,
    /// `ln(1 + e^x)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `e^x`
    Exponential,
    /// `x` above zero, `0.2 x` below.
    LeakyRelu,
    /// `relu6(x + 3) / 6`
    HardSigmoid,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x * tanh(softplus(x))`
    Mish,
}

const NAMES: &[(Activation, &str)] = &[
    (Activation::Linear, "linear"),
    (Activation::Relu, "relu"),
    (Activation::Sigmoid, "sigmoid"),
    (Activation::Tanh, "tanh"),
    (Activation::Softmax, "softmax"),
    (Activation::LogSoftmax, "log_softmax"),
    (Activation::Elu, "elu"),
    (Activation::Selu, "selu"),
    (Activation::Gelu, "gelu"),
    (Activation::Silu, "silu"),
    (Activation::Softplus, "softplus"),
    (Activation::Softsign, "softsign"),
    (Activation::Exponential, "exponential"),
    (Activation::LeakyRelu, "leaky_relu"),
    (Activation::HardSigmoid, "hard_sigmoid"),
    (Activation::Relu6, "relu6"),
    (Activation::Mish, "mish"),
];

impl Activation {
    /// Keras's name: `"relu"`.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(a, _)| *a == self).map_or("linear", |(_, name)| name)
    }

    /// Applies it.
    #[track_caller]
    pub fn activate(self, x: &Tensor) -> Tensor {
        match self {
            Activation::Linear => x.clone(),
            Activation::Relu => x.relu(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.tanh(),
            Activation::Softmax => x.softmax(-1),
            Activation::LogSoftmax => x.log_softmax(-1),
            Activation::Elu => elu(x),
            Activation::Selu => {
                x.gt(0.0).select(x, below_zero(x).expm1() * 1.673_263_242_354_377_2) * 1.050_700_987_355_480_5
            }
            Activation::Gelu => x.gelu(),
            Activation::Silu => x.silu(),
            Activation::Softplus => x.softplus(),
            Activation::Softsign => x / (x.abs() + 1.0),
            Activation::Exponential => x.exp(),
            Activation::LeakyRelu => x.ge(0.0).select(x, x * 0.2),
            Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Mish => x * x.softplus().tanh(),
        }
    }
}

/// `min(x, 0)`, with derivative 1 at 0.
fn below_zero(x: &Tensor) -> Tensor {
    x.gt(0.0).select(0.0, x)
}

fn elu(x: &Tensor) -> Tensor {
    x.gt(0.0).select(x, below_zero(x).expm1())
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let alias = if name == "swish" { "silu" } else { name };
        let found = NAMES.iter().find(|(_, n)| *n == alias).map(|(a, _)| *a);
        found.ok_or_else(|| {
            let known = NAMES.iter().map(|(_, n)| *n).collect::<Vec<_>>().join(", ");
            Error::value(format!("unknown activation {name:?}; known are {known}"))
        })
    }
}

impl From<Activation> for String {
    fn from(activation: Activation) -> String {
        activation.name().to_string()
    }
}

/// A name, or the configuration of the layer that applies it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Described {
    Name(String),
    Layer { activation: String },
}

impl TryFrom<Described> for Activation {
    type Error = Error;

    fn try_from(described: Described) -> Result<Self, Error> {
        let (Described::Name(name) | Described::Layer { activation: name }) = described;
        name.parse()
    }
}
