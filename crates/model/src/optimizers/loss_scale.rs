//! Dynamic loss scaling, for gradients that `f16` is too narrow for.

use super::{Optimizer, Options, Slot, Step, from_config};
use crate::config::{self, Config, Part};
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// An optimizer whose loss is multiplied by a factor, so that small gradients do not vanish in `f16`, and whose gradients are divided by it in
/// `f32` (Micikevicius et al. 2018). `compile` puts it around any other optimizer where a layer computes in `f16`.
///
/// The factor starts at 2^15 and doubles after 2000 steps in a row with finite gradients. A step with an infinity or a NaN in any gradient leaves
/// trained weights, optimizer state and the count of steps as they are, and halves the factor; moving averages that layers keep are written, as in Keras.
/// All of this happens on the device; nothing is read back.
/// [`Model::loss_scale`](crate::Model::loss_scale) reads the factor.
#[derive(Debug)]
pub struct LossScaleOptimizer {
    inner: Box<dyn Optimizer>,
    rule: LossScale,
}

/// How the factor of [`LossScaleOptimizer`] changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// The factor at the beginning.
    pub initial: f32,
    /// It doubles after so many steps with finite gradients; never if 0.
    pub growth_steps: i32,
}

/// The smallest and the largest factor: 2^-126 and 2^126, between which WGSL divides exactly enough.
const LIMITS: [f32; 2] = [f32::MIN_POSITIVE, 1.0 / f32::MIN_POSITIVE];

/// As Keras has it.
#[derive(Serialize, Deserialize)]
struct Fields {
    inner_optimizer: Part,
    initial_scale: f32,
    dynamic_growth_steps: i32,
}

impl LossScaleOptimizer {
    /// Scales the loss for another optimizer: `LossScaleOptimizer::new(Adam::new(1e-3))`.
    pub fn new(inner_optimizer: impl Optimizer) -> Self {
        let rule = LossScale { initial: 32768.0, growth_steps: 2000 };
        LossScaleOptimizer { inner: Box::new(inner_optimizer), rule }
    }

    /// The factor at the beginning; 2^15 by default. Powers of two round nothing.
    #[must_use]
    pub fn initial_scale(mut self, scale: f32) -> Self {
        self.rule.initial = scale;
        self
    }

    /// Doubles the factor after so many steps with finite gradients; 2000 by default, never if 0.
    #[must_use]
    pub fn dynamic_growth_steps(mut self, steps: i32) -> Self {
        self.rule.growth_steps = steps;
        self
    }

    pub(super) fn from_config(config: Config) -> Result<Self> {
        let Fields { inner_optimizer, initial_scale, dynamic_growth_steps } = config::load(config)?;
        let inner = from_config(&inner_optimizer.class_name, inner_optimizer.config)?;
        Ok(LossScaleOptimizer { inner, rule: LossScale { initial: initial_scale, growth_steps: dynamic_growth_steps } })
    }
}

impl LossScale {
    fn check(self) -> Result<()> {
        let [least, most] = LIMITS;
        if (least..=most).contains(&self.initial) {
            Ok(())
        } else {
            Err(Error::value(format!("initial_scale is {}, it must lie between {least:e} and {most:e}", self.initial)))
        }
    }

    /// The factor and the count of good steps for the next step.
    pub(crate) fn next(self, scale: &Tensor, steps: &Tensor, finite: &Tensor) -> (Tensor, Tensor) {
        let grows = steps.eq(self.growth_steps.wrapping_sub(1));
        let next = finite.select(grows.select(scale * 2.0, scale), scale * 0.5);
        // Beyond these Keras's factor becomes 0, which makes weights NaN, or infinite, from where it never comes back.
        let next = next.clamp(LIMITS[0], LIMITS[1]);
        (next, finite.select(grows.select(0, steps + 1), 0))
    }
}

impl Optimizer for LossScaleOptimizer {
    fn class_name(&self) -> &'static str {
        "LossScaleOptimizer"
    }

    fn config(&self) -> Result<Config> {
        let (class_name, config) = (self.inner.class_name().into(), self.inner.config()?);
        config::save(&Fields {
            inner_optimizer: Part { class_name, config },
            initial_scale: self.rule.initial,
            dynamic_growth_steps: self.rule.growth_steps,
        })
    }

    fn options(&self) -> &Options {
        self.inner.options()
    }

    fn check(&self) -> Result<()> {
        self.rule.check()?;
        self.inner.check()
    }

    fn slots(&self, weight: &Shape) -> Vec<Slot> {
        self.inner.slots(weight)
    }

    fn scalars(&self) -> Vec<(&'static str, f32)> {
        self.inner.scalars()
    }

    fn advance(&self, number: &Tensor, scalars: &[Tensor]) -> Vec<Tensor> {
        self.inner.advance(number, scalars)
    }

    fn update(&self, step: &Step, weight: &Tensor, gradient: &Tensor, slots: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        self.inner.update(step, weight, gradient, slots)
    }

    fn keeps_slots_apart(&self) -> bool {
        self.inner.keeps_slots_apart()
    }

    fn loss_scale(&self) -> Option<LossScale> {
        Some(self.rule)
    }
}
