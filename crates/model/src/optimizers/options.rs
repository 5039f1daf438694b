//! What every optimizer has: options, their setters, and what they do before the optimizer's own rule.

use super::{LearningRate, Step};
use ibex_core::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// What every optimizer has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Step size: a number, or a schedule.
    pub learning_rate: LearningRate,
    /// Weights shrink by this times the learning rate before each step.
    pub weight_decay: Option<f32>,
    /// Largest norm of the gradient of each weight.
    pub clipnorm: Option<f32>,
    /// Largest norm of all gradients together.
    pub global_clipnorm: Option<f32>,
    /// Largest absolute value in a gradient.
    pub clipvalue: Option<f32>,
    /// Keeps an exponential moving average of each weight, which the weights become when `fit` ends.
    pub use_ema: bool,
    /// The share of the old average in the new one; 0.99 by default.
    pub ema_momentum: f32,
    /// The weights become their averages every so many steps too.
    pub ema_overwrite_frequency: Option<u32>,
    /// Weights change once in so many steps, by the mean of their gradients.
    pub gradient_accumulation_steps: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            learning_rate: LearningRate::Constant(1e-3),
            weight_decay: None,
            clipnorm: None,
            global_clipnorm: None,
            clipvalue: None,
            use_ema: false,
            ema_momentum: 0.99,
            ema_overwrite_frequency: None,
            gradient_accumulation_steps: None,
        }
    }
}

impl Options {
    pub(crate) fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Options { learning_rate: learning_rate.into(), ..Options::default() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::value(text));
        self.learning_rate.check()?;
        if [self.clipnorm, self.global_clipnorm, self.clipvalue].iter().flatten().count() > 1 {
            return wrong("clipnorm, global_clipnorm and clipvalue exclude each other; set one of them".into());
        }
        if self.use_ema && !(0.0..=1.0).contains(&self.ema_momentum) {
            return wrong(format!("ema_momentum is {}, it must lie between 0 and 1", self.ema_momentum));
        }
        for (name, least, value) in [
            ("ema_overwrite_frequency", 1, self.ema_overwrite_frequency),
            ("gradient_accumulation_steps", 2, self.gradient_accumulation_steps),
        ] {
            if let Some(value) = value.filter(|value| !(least..=i32::MAX as u32).contains(value)) {
                return wrong(format!("{name} is {value}, it must be at least {least} and below 2^31"));
            }
        }
        Ok(())
    }
}

/// An optimizer's struct, its defaults and its setters. `head!` writes the beginning of its `impl Optimizer`.
macro_rules! optimizer {
    (
        $(#[$doc:meta])*
        $name:ident, learning_rate $rate:literal $(, weight_decay $decay:literal)? {
            $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            #[serde(flatten)]
            options: $crate::optimizers::Options,
            $($field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                $name::new($rate)
            }
        }

        impl $name {
            #[doc = concat!("With a learning rate, a number or a schedule; Keras's default is ", stringify!($rate), ".")]
            pub fn new(learning_rate: impl Into<$crate::optimizers::LearningRate>) -> Self {
                let options = $crate::optimizers::Options::new(learning_rate);
                $(let options = $crate::optimizers::Options { weight_decay: Some($decay), ..options };)?
                $name { options, $($field: $default,)* }
            }

            $($(#[$field_doc])*
            #[must_use]
            pub fn $field(self, $field: $ty) -> Self {
                $name { $field, ..self }
            })*

            /// Weights shrink by this times the learning rate before each step (Loshchilov and Hutter 2019).
            #[must_use]
            pub fn weight_decay(mut self, rate: f32) -> Self {
                self.options.weight_decay = Some(rate);
                self
            }

            /// Scales the gradient of each weight down to this norm.
            #[must_use]
            pub fn clipnorm(mut self, norm: f32) -> Self {
                self.options.clipnorm = Some(norm);
                self
            }

            /// Scales all gradients down so that their common norm is at most this.
            #[must_use]
            pub fn global_clipnorm(mut self, norm: f32) -> Self {
                self.options.global_clipnorm = Some(norm);
                self
            }

            /// Cuts gradients to `[-value, value]`.
            #[must_use]
            pub fn clipvalue(mut self, value: f32) -> Self {
                self.options.clipvalue = Some(value);
                self
            }

            /// Keeps an exponential moving average of each weight, `a = momentum * a + (1 - momentum) * w`; when `fit` ends, the weights
            /// become their averages (Polyak and Juditsky 1992).
            #[must_use]
            pub fn use_ema(mut self, use_ema: bool) -> Self {
                self.options.use_ema = use_ema;
                self
            }

            /// The share of the old average in the new one; 0.99 by default.
            #[must_use]
            pub fn ema_momentum(mut self, momentum: f32) -> Self {
                self.options.ema_momentum = momentum;
                self
            }

            /// The weights become their averages every so many steps too.
            #[must_use]
            pub fn ema_overwrite_frequency(mut self, steps: u32) -> Self {
                self.options.ema_overwrite_frequency = Some(steps);
                self
            }

            /// Weights change once in so many steps, at least 2, by the mean of their gradients: as with larger batches.
            #[must_use]
            pub fn gradient_accumulation_steps(mut self, steps: u32) -> Self {
                self.options.gradient_accumulation_steps = Some(steps);
                self
            }
        }
    };
}
pub(crate) use optimizer;

/// The first functions of an `impl Optimizer`.
macro_rules! head {
    ($name:literal) => {
        fn class_name(&self) -> &'static str {
            $name
        }

        fn config(&self) -> ibex_core::Result<$crate::config::Config> {
            $crate::config::save(self)
        }

        fn options(&self) -> &$crate::optimizers::Options {
            &self.options
        }
    };
}
pub(crate) use head;

/// `1 - x` as Keras has it: of the decimal number, rounded once.
pub(crate) fn complement(x: f32) -> f32 {
    let decimal: f64 = x.to_string().parse().unwrap_or(f64::from(x));
    (1.0 - decimal) as f32
}

/// The gradients after clipping, and the weights after decay: what precedes every optimizer's own rule.
pub(super) fn prepare(
    options: &Options,
    step: &Step,
    weights: &[Tensor],
    gradients: &[Tensor],
) -> (Vec<Tensor>, Vec<Tensor>) {
    let norm = |g: &Tensor| g.square().sum(&[]);
    let scaled = |g: &Tensor, square: &Tensor, limit: f32| {
        // Unchanged where the norm is within the limit, and no division by zero.
        let norm = square.sqrt();
        let factor = norm.gt(limit).select(limit / norm.maximum(limit), 1.0);
        g * factor
    };
    let mut gradients = gradients.to_vec();
    if let Some(limit) = options.clipnorm {
        gradients = gradients.iter().map(|g| scaled(g, &norm(g), limit)).collect();
    } else if let Some(limit) = options.global_clipnorm {
        let total = gradients.iter().map(norm).reduce(|a, b| a + b);
        if let Some(total) = total {
            gradients = gradients.iter().map(|g| scaled(g, &total, limit)).collect();
        }
    } else if let Some(limit) = options.clipvalue {
        gradients = gradients.iter().map(|g| g.clamp(-limit, limit)).collect();
    }
    let weights = match options.weight_decay {
        Some(rate) => weights.iter().map(|w| w - w * rate * &step.learning_rate).collect(),
        None => weights.to_vec(),
    };
    (weights, gradients)
}
