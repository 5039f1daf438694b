//! Activation functions.

use ibex_core::{Error, Tensor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! activations {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)+) => {
        /// A function behind a layer (`Dense::new(8).activation(Relu)`) or as a layer of its own (`.add(Relu)`): elementwise, but for
        /// softmax, log-softmax, sparsemax and GLU, which work along the last axis.
        /// Definitions are those of Keras 3, also where a function has a corner.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "Described")]
        pub enum Activation {
            $($(#[$doc])* $variant,)+
        }

        const NAMES: &[(Activation, &str)] = &[$((Activation::$variant, $name)),+];
    };
}

activations! {
    /// `x`
    #[default]
    Linear "linear",
    /// `max(x, 0)`
    Relu "relu",
    /// `1 / (1 + e^-x)`
    Sigmoid "sigmoid",
    /// Hyperbolic tangent.
    Tanh "tanh",
    /// `e^x / sum(e^x)` along the last axis.
    Softmax "softmax",
    /// Logarithm of the softmax.
    LogSoftmax "log_softmax",
    /// `x` above zero, `e^x - 1` below (Clevert et al. 2016).
    Elu "elu",
    /// Scaled [`Activation::Elu`] (Klambauer et al. 2017).
    Selu "selu",
    /// `x * Phi(x)`, exact (Hendrycks and Gimpel 2016).
    Gelu "gelu",
    /// `x * sigmoid(x)`, also named swish (Ramachandran et al. 2017).
    #[doc(alias = "swish")]
    Silu "silu",
    /// `ln(1 + e^x)`
    Softplus "softplus",
    /// `x / (1 + |x|)`
    Softsign "softsign",
    /// `e^x`
    Exponential "exponential",
    /// `x` above zero, `0.2 x` below.
    LeakyRelu "leaky_relu",
    /// `relu6(x + 3) / 6`
    HardSigmoid "hard_sigmoid",
    /// `min(max(x, 0), 6)`
    Relu6 "relu6",
    /// `x * tanh(softplus(x))` (Misra 2019).
    Mish "mish",
    /// `x * hard_sigmoid(x)`, also named hard swish (Howard et al. 2019).
    #[doc(alias = "hard_swish")]
    HardSilu "hard_silu",
    /// `ln(sigmoid(x))`
    LogSigmoid "log_sigmoid",
    /// `max(x, 0) + min(e^x - 1, 0)`, smooth everywhere (Barron 2017); Keras's `alpha` is 1.
    Celu "celu",
    /// The first half of the last axis times the sigmoid of the second half (Dauphin et al. 2017). The axis shrinks to its half.
    Glu "glu",
    /// `x` within `[-1, 1]`, which it is cut to.
    HardTanh "hard_tanh",
    /// `x` where `|x| > 0.5`, else 0.
    HardShrink "hard_shrink",
    /// `x` moved toward 0 by 0.5, 0 where `|x| <= 0.5`.
    SoftShrink "soft_shrink",
    /// `x - tanh(x)`
    TanhShrink "tanh_shrink",
    /// 0 below -1, `x` above 1, `(x + 1)^2 / 4` between.
    SparsePlus "sparse_plus",
    /// 0 below -1, 1 above 1, `(x + 1) / 2` between: the derivative of [`Activation::SparsePlus`]. Its own is 0 at both corners, where Keras
    /// on JAX has half of what it is between.
    SparseSigmoid "sparse_sigmoid",
    /// The probabilities next to `x` along the last axis, many of them exactly 0 (Martins and Astudillo 2016). Compares each pair of
    /// elements of a row: meant for some hundred classes. As in the paper; the rows of Keras 3.15 do not sum to 1.
    Sparsemax "sparsemax",
    /// `(x + sqrt(x^2 + 4)) / 2` (Barron 2021).
    Squareplus "squareplus",
}

/// Other names that Keras reads.
const ALIASES: &[(&str, &str)] = &[("swish", "silu"), ("hard_swish", "hard_silu")];

impl Activation {
    /// Every activation.
    pub fn all() -> impl Iterator<Item = Activation> {
        NAMES.iter().map(|(activation, _)| *activation)
    }

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
            // With Keras's alpha of 1 they are one function.
            Activation::Elu | Activation::Celu => elu(x),
            Activation::Selu => {
                x.gt(0.0).select(x, below_zero(x).expm1() * 1.673_263_242_354_377_2) * 1.050_700_987_355_480_5
            }
            Activation::Gelu => x.gelu(),
            Activation::Silu => x.silu(),
            Activation::Softplus => x.softplus(),
            Activation::Softsign => x / (x.abs() + 1.0),
            Activation::Exponential => x.exp(),
            Activation::LeakyRelu => x.ge(0.0).select(x, x * 0.2),
            Activation::HardSigmoid => hard_sigmoid(x),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::Mish => x * x.softplus().tanh(),
            Activation::HardSilu => x * hard_sigmoid(x),
            Activation::LogSigmoid => -(-x).softplus(),
            Activation::Glu => glu(x),
            Activation::HardTanh => x.gt(1.0).select(1.0, x.lt(-1.0).select(-1.0, x)),
            Activation::HardShrink => x.abs().gt(0.5).select(x, 0.0),
            Activation::SoftShrink => x.gt(0.5).select(x - 0.5, x.lt(-0.5).select(x + 0.5, 0.0)),
            Activation::TanhShrink => x - x.tanh(),
            Activation::SparsePlus => x.le(-1.0).select(0.0, x.ge(1.0).select(x, (x + 1.0).square() * 0.25)),
            Activation::SparseSigmoid => (x + 1.0).clamp(0.0, 2.0) * 0.5,
            Activation::Sparsemax => sparsemax(x),
            Activation::Squareplus => (x + (x.square() + 4.0).sqrt()) * 0.5,
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

fn hard_sigmoid(x: &Tensor) -> Tensor {
    (x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)
}

#[track_caller]
fn glu(x: &Tensor) -> Tensor {
    let half = x.dim(-1) / 2;
    if x.check().is_ok() && (x.rank() == 0 || x.dim(-1) != 2 * half) {
        return Tensor::poisoned(Error::shape(format!("glu: the last axis of {} must have an even length", x.shape())));
    }
    x.narrow(-1, 0, half) * x.narrow(-1, half, half).sigmoid()
}

/// What the paper finds by sorting a row, by counting instead: how many elements are not below each one, and their sum.
#[track_caller]
fn sparsemax(x: &Tensor) -> Tensor {
    let (own, other) = (x.unsqueeze(-1), x.unsqueeze(-2));
    let not_below = other.ge(&own);
    let count = not_below.cast(x.dtype()).sum(&[-1]);
    let total = not_below.select(&other, 0.0).sum(&[-1]);
    let support = (x * count + 1.0).gt(total);
    let size = support.cast(x.dtype()).sum_keep(&[-1]);
    let threshold = (support.select(x, 0.0).sum_keep(&[-1]) - 1.0) / size;
    (x - threshold).relu()
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
        let found = NAMES.iter().find(|(_, n)| *n == alias).map(|(a, _)| *a);
        found.ok_or_else(|| {
            let known = NAMES.iter().map(|(_, n)| *n).collect::<Vec<_>>().join(", ");
            Error::value(format!("unknown activation {name:?}; known are {known}"))
        })
    }
}

/// What layers take as their activation: an [`Activation`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no activation",
    label = "no activation",
    note = "give a value such as `Relu`; a name becomes an activation by `\"relu\".parse::<Activation>()?`"
)]
pub trait IntoActivation: Into<Activation> {}

impl IntoActivation for Activation {}

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
