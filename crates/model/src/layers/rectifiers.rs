//! Activation functions with a parameter.

use super::{Config, Context, Layer, Weights};
use crate::config::{self, Axes};
use crate::{Constraint, Initializer, Regularizer};
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// What they have in common: elementwise, no weights. Each has a check of its fields and a function.
macro_rules! elementwise {
    ($($name:ident |$layer:ident, $x:ident| $check:expr => $value:expr;)+) => { $(
        impl Layer for $name {
            fn class_name(&self) -> &'static str {
                stringify!($name)
            }

            fn config(&self) -> Result<Config> {
                config::save(self)
            }

            #[allow(unused_variables, reason = "not all have something to check")]
            fn build(&self, _weights: &mut Weights, _input: &Shape) -> Result<()> {
                let $layer = self;
                $check
            }

            fn call(&self, $x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
                let $layer = self;
                Ok($value)
            }

            fn supports_masking(&self) -> bool {
                true
            }
        }
    )+ };
}

/// `x` where it is not negative, else `negative_slope * x` (Maas et al. 2013). Any shape, no weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LeakyReLU {
    #[serde(alias = "alpha")]
    negative_slope: f32,
}

impl Default for LeakyReLU {
    fn default() -> Self {
        LeakyReLU { negative_slope: 0.3 }
    }
}

impl LeakyReLU {
    /// With a slope of 0.3 below zero.
    pub fn new() -> Self {
        LeakyReLU::default()
    }
}

options! { LeakyReLU {
    /// The slope below zero; 0.3 by default.
    negative_slope: f32,
} }

/// `x` above zero, else `alpha * (e^x - 1)` (Clevert et al. 2016). Any shape, no weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ELU {
    alpha: f32,
}

impl Default for ELU {
    fn default() -> Self {
        ELU { alpha: 1.0 }
    }
}

impl ELU {
    /// With a factor of 1.
    pub fn new() -> Self {
        ELU::default()
    }
}

options! { ELU {
    /// The factor below zero; 1 by default.
    alpha: f32,
} }

/// `x` above `threshold`, cut at `max_value`, and `negative_slope * (x - threshold)` below. Any shape, no weights.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReLU {
    max_value: Option<f32>,
    negative_slope: f32,
    threshold: f32,
}

impl ReLU {
    /// `max(x, 0)`.
    pub fn new() -> Self {
        ReLU::default()
    }

    fn value(&self, x: &Tensor) -> Tensor {
        let above = match self.threshold {
            0.0 => x.relu(),
            threshold => x.gt(threshold).select(x, 0.0),
        };
        let cut = match self.max_value {
            Some(max) => above.minimum(max),
            None => above,
        };
        match self.negative_slope {
            0.0 => cut,
            slope => cut - (-x + self.threshold).relu() * slope,
        }
    }
}

options! { ReLU {
    /// The largest output; none by default.
    max_value: impl Into<Option<f32>>,
    /// The slope below the threshold; 0 by default.
    negative_slope: f32,
    /// Where it starts; 0 by default.
    threshold: f32,
} }

elementwise! {
    LeakyReLU |layer, x| not_negative("negative_slope", layer.negative_slope)
        => x.ge(0.0).select(x, x * layer.negative_slope);
    // The argument of the exponential is cut, so that it does not overflow where it is not needed.
    ELU |layer, x| Ok(()) => x.gt(0.0).select(x, x.gt(0.0).select(0.0, x).expm1() * layer.alpha);
    ReLU |layer, x| not_negative("negative_slope", layer.negative_slope)
        .and(not_negative("threshold", layer.threshold))
        .and(not_negative("max_value", layer.max_value.unwrap_or(0.0)))
        => layer.value(x);
}

fn not_negative(what: &str, value: f32) -> Result<()> {
    if value >= 0.0 {
        return Ok(());
    }
    Err(Error::value(format!("{what} is {value}, it must not be negative")))
}

/// `x` above zero, `alpha * x` below, with an `alpha` that is learned for every place of a sample (He et al. 2015). Any shape.
///
/// Weights: `alpha` with the shape of a sample, 1 along shared axes; zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PReLU {
    alpha_initializer: Initializer,
    alpha_regularizer: Option<Regularizer>,
    alpha_constraint: Option<Constraint>,
    shared_axes: Option<Axes>,
}

impl Default for PReLU {
    fn default() -> Self {
        PReLU {
            alpha_initializer: Initializer::Zeros,
            alpha_regularizer: None,
            alpha_constraint: None,
            shared_axes: None,
        }
    }
}

impl PReLU {
    /// With one `alpha` for each place.
    pub fn new() -> Self {
        PReLU::default()
    }
}

options! { PReLU {
    /// How `alpha` starts.
    alpha_initializer: Initializer,
    /// What `alpha` adds to the loss.
    alpha_regularizer: impl Into<Option<Regularizer>>,
    /// What `alpha` is made to keep to after every step.
    alpha_constraint: impl Into<Option<Constraint>>,
} }

impl PReLU {
    /// Axes along which there is one `alpha`: `[1, 2]` for one for each channel of an image.
    pub fn shared_axes(self, axes: impl Into<Axes>) -> Self {
        PReLU { shared_axes: Some(axes.into()), ..self }
    }
}

impl Layer for PReLU {
    fn class_name(&self) -> &'static str {
        "PReLU"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let mut shape = input.to_vec();
        if let Some(axes) = &self.shared_axes {
            super::inner_axes(input, axes)?.into_iter().for_each(|axis| shape[axis] = 1);
        }
        weights
            .add("alpha", &shape[1..], self.alpha_initializer)?
            .regularized(self.alpha_regularizer)
            .constrained(self.alpha_constraint.clone());
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        Ok(x.relu() - (-x).relu() * cx.weight("alpha"))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
