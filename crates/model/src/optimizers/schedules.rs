//! Learning rates that change with the steps. Formulas and defaults are those of Keras 3; the rate is computed inside the training step, on
//! the device.

use crate::config::{self, Config, Part};
use ibex_core::{DType, Error, Result, Tensor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::fmt::Debug;
use std::sync::Arc;

/// A learning rate: a number that [`set_learning_rate`](crate::Model::set_learning_rate) can change, or a [`Schedule`].
#[derive(Clone, Debug)]
pub enum LearningRate {
    /// A number.
    Constant(f32),
    /// A function of the step.
    Schedule(Arc<dyn Schedule>),
}

/// A function from the number of steps done to a learning rate. Those of users are written to files, but not read from them.
pub trait Schedule: Debug + Send + Sync + 'static {
    /// The class name in files: `"ExponentialDecay"`.
    fn class_name(&self) -> &'static str;

    /// Its configuration.
    ///
    /// # Errors
    /// If it can not be written to a file.
    fn config(&self) -> Result<Config>;

    /// The `f32` rate of a step, which is the `i32` number of steps before it.
    fn rate(&self, step: &Tensor) -> Tensor;

    /// Looks at the settings when a model is compiled.
    ///
    /// # Errors
    /// `Value` naming the one that is out of its domain.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl LearningRate {
    /// The `f32` rate of a step, which is the `i32` number of steps before it.
    pub fn at(&self, step: &Tensor) -> Tensor {
        match self {
            LearningRate::Constant(rate) => Tensor::scalar(*rate),
            LearningRate::Schedule(schedule) => schedule.rate(step),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        match self {
            LearningRate::Constant(rate) if *rate >= 0.0 && rate.is_finite() => Ok(()),
            LearningRate::Constant(rate) => Err(Error::value(format!(
                "learning_rate is {rate}, it must be a number that is not negative; to climb, train on the negative loss"
            ))),
            LearningRate::Schedule(schedule) => {
                schedule.check().map_err(|e| e.context(format!("schedule {}", schedule.class_name())))
            }
        }
    }
}

impl From<f32> for LearningRate {
    fn from(rate: f32) -> Self {
        LearningRate::Constant(rate)
    }
}

impl From<f64> for LearningRate {
    fn from(rate: f64) -> Self {
        LearningRate::Constant(rate as f32)
    }
}

impl<S: Schedule> From<S> for LearningRate {
    fn from(schedule: S) -> Self {
        LearningRate::Schedule(Arc::new(schedule))
    }
}

/// Equal in files.
impl PartialEq for LearningRate {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (LearningRate::Constant(a), LearningRate::Constant(b)) => a == b,
            (LearningRate::Schedule(a), LearningRate::Schedule(b)) => {
                a.class_name() == b.class_name() && a.config().ok() == b.config().ok()
            }
            _ => false,
        }
    }
}

/// As Keras writes objects.
#[derive(Serialize)]
struct Object {
    module: &'static str,
    #[serde(flatten)]
    part: Part,
    registered_name: Option<String>,
}

impl Serialize for LearningRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            LearningRate::Constant(rate) => rate.serialize(serializer),
            LearningRate::Schedule(schedule) => {
                let config = schedule.config().map_err(ser::Error::custom)?;
                let part = Part { class_name: schedule.class_name().into(), config };
                Object { module: "keras.optimizers.schedules", part, registered_name: None }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for LearningRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Described {
            Number(f64),
            Object(Part),
        }
        let wrong =
            |_| de::Error::custom("learning_rate must be a number, or an object with a class_name and a config");
        match Described::deserialize(deserializer).map_err(wrong)? {
            Described::Number(rate) => Ok(rate.into()),
            Described::Object(Part { class_name, config }) => {
                from_config(&class_name, config).map_err(de::Error::custom)
            }
        }
    }
}

/// The schedule of a class name and a configuration.
///
/// # Errors
/// `Unsupported` if no such class is known, with a list of those that are; `Format` naming a field that is missing or wrong.
pub fn from_config(class_name: &str, config: Config) -> Result<LearningRate> {
    macro_rules! known {
        ($($class:ident)+) => {
            match class_name {
                $(stringify!($class) => {
                    let read = config::load::<$class>(config);
                    read.map(LearningRate::from).map_err(|e| e.context(format!("schedule {class_name}")))
                })+
                _ => {
                    let known = [$(stringify!($class)),+].join(", ");
                    Err(Error::unsupported(format!("unknown learning rate schedule {class_name:?}; known are {known}")))
                }
            }
        };
    }
    known!(ExponentialDecay PiecewiseConstantDecay PolynomialDecay InverseTimeDecay CosineDecay CosineDecayRestarts)
}

/// Keras writes whole numbers, but reads fractions too.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<u32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&number) {
        return Ok(number as u32);
    }
    Err(de::Error::custom(format!("steps must be a whole number from 0 to 2^31 - 1, not {number}")))
}

/// The first functions of an `impl Schedule`.
macro_rules! head {
    ($name:literal) => {
        fn class_name(&self) -> &'static str {
            $name
        }

        fn config(&self) -> Result<Config> {
            config::save(self)
        }
    };
}

/// Steps that something is divided by.
fn positive(name: &str, steps: u32) -> Result<()> {
    if steps == 0 { Err(Error::value(format!("{name} must be at least 1"))) } else { Ok(()) }
}

/// How many periods of `length` steps are over, in whole ones if `staircase`.
fn periods(step: &Tensor, length: u32, staircase: bool) -> Tensor {
    let periods = step.cast(DType::F32) / length.max(1) as f32;
    if staircase { periods.floor() } else { periods }
}

/// `initial_learning_rate * decay_rate ^ (step / decay_steps)`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExponentialDecay {
    initial_learning_rate: f32,
    #[serde(deserialize_with = "whole")]
    decay_steps: u32,
    decay_rate: f32,
    #[serde(default)]
    staircase: bool,
}

impl ExponentialDecay {
    /// The rate at first, and the factor that it gets in so many steps.
    pub fn new(initial_learning_rate: f32, decay_steps: u32, decay_rate: f32) -> Self {
        ExponentialDecay { initial_learning_rate, decay_steps, decay_rate, staircase: false }
    }

    /// The rate changes every `decay_steps` steps only; false by default.
    #[must_use]
    pub fn staircase(self, staircase: bool) -> Self {
        ExponentialDecay { staircase, ..self }
    }
}

impl Schedule for ExponentialDecay {
    head!("ExponentialDecay");

    fn rate(&self, step: &Tensor) -> Tensor {
        let power = periods(step, self.decay_steps, self.staircase);
        Tensor::scalar(self.decay_rate).pow(power) * self.initial_learning_rate
    }

    fn check(&self) -> Result<()> {
        positive("decay_steps", self.decay_steps)
    }
}

/// `initial_learning_rate / (1 + decay_rate * step / decay_steps)`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InverseTimeDecay {
    initial_learning_rate: f32,
    #[serde(deserialize_with = "whole")]
    decay_steps: u32,
    decay_rate: f32,
    #[serde(default)]
    staircase: bool,
}

impl InverseTimeDecay {
    /// The rate at first, and what its divisor grows by in so many steps.
    pub fn new(initial_learning_rate: f32, decay_steps: u32, decay_rate: f32) -> Self {
        InverseTimeDecay { initial_learning_rate, decay_steps, decay_rate, staircase: false }
    }

    /// The rate changes every `decay_steps` steps only; false by default.
    #[must_use]
    pub fn staircase(self, staircase: bool) -> Self {
        InverseTimeDecay { staircase, ..self }
    }
}

impl Schedule for InverseTimeDecay {
    head!("InverseTimeDecay");

    fn rate(&self, step: &Tensor) -> Tensor {
        let periods = periods(step, self.decay_steps, self.staircase);
        self.initial_learning_rate / (periods * self.decay_rate + 1.0)
    }

    fn check(&self) -> Result<()> {
        positive("decay_steps", self.decay_steps)
    }
}

/// One rate up to and with each boundary, the last one after all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PiecewiseConstantDecay {
    boundaries: Vec<f64>,
    values: Vec<f32>,
}

impl PiecewiseConstantDecay {
    /// Boundaries in rising order, and one rate more than boundaries.
    pub fn new(boundaries: impl IntoIterator<Item = u32>, values: impl Into<Vec<f32>>) -> Self {
        PiecewiseConstantDecay { boundaries: boundaries.into_iter().map(f64::from).collect(), values: values.into() }
    }
}

impl Schedule for PiecewiseConstantDecay {
    head!("PiecewiseConstantDecay");

    fn rate(&self, step: &Tensor) -> Tensor {
        let last = Tensor::scalar(self.values.last().copied().unwrap_or_default());
        let pieces = self.boundaries.iter().zip(&self.values).rev();
        // Keras truncates boundaries to whole steps.
        pieces.fold(last, |rate, (end, value)| step.le(end.trunc()).select(*value, rate))
    }

    fn check(&self) -> Result<()> {
        let (boundaries, values) = (self.boundaries.len(), self.values.len());
        if boundaries == 0 || values != boundaries + 1 {
            let text =
                format!("{boundaries} boundaries and {values} values; there must be one value more than boundaries");
            return Err(Error::value(text));
        }
        match self.boundaries.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => Err(Error::value(format!("boundary {} does not rise after {}", pair[1], pair[0]))),
            None => Ok(()),
        }
    }
}

/// `(initial_learning_rate - end_learning_rate) * (1 - step / decay_steps) ^ power + end_learning_rate`, the last from `decay_steps` on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolynomialDecay {
    initial_learning_rate: f32,
    #[serde(deserialize_with = "whole")]
    decay_steps: u32,
    #[serde(default = "PolynomialDecay::end")]
    end_learning_rate: f32,
    #[serde(default = "one")]
    power: f32,
    #[serde(default)]
    cycle: bool,
}

fn one() -> f32 {
    1.0
}

impl PolynomialDecay {
    /// From a rate to the end rate in so many steps.
    pub fn new(initial_learning_rate: f32, decay_steps: u32) -> Self {
        let end_learning_rate = Self::end();
        PolynomialDecay { initial_learning_rate, decay_steps, end_learning_rate, power: 1.0, cycle: false }
    }

    fn end() -> f32 {
        1e-4
    }

    /// The rate in the end; 0.0001 by default.
    #[must_use]
    pub fn end_learning_rate(self, end_learning_rate: f32) -> Self {
        PolynomialDecay { end_learning_rate, ..self }
    }

    /// The power of the share of steps that are left; 1 by default, which is a line.
    #[must_use]
    pub fn power(self, power: f32) -> Self {
        PolynomialDecay { power, ..self }
    }

    /// After `decay_steps` the rate rises again, to fall to the end at each multiple of `decay_steps`; false by default.
    #[must_use]
    pub fn cycle(self, cycle: bool) -> Self {
        PolynomialDecay { cycle, ..self }
    }
}

impl Schedule for PolynomialDecay {
    head!("PolynomialDecay");

    fn rate(&self, step: &Tensor) -> Tensor {
        let (mut step, length) = (step.cast(DType::F32), self.decay_steps.max(1) as f32);
        let mut end = Tensor::scalar(length);
        if self.cycle {
            end = (&step / length).ceil().maximum(1.0) * length;
        } else {
            step = step.minimum(length);
        }
        let left = 1.0 - step / end;
        left.pow(self.power) * (self.initial_learning_rate - self.end_learning_rate) + self.end_learning_rate
    }

    fn check(&self) -> Result<()> {
        positive("decay_steps", self.decay_steps)
    }
}

/// Half a wave of the cosine down to `alpha` times the rate (Loshchilov and Hutter 2017), maybe after a line up:
/// `rate * ((1 - alpha) * (1 + cos(pi * step / decay_steps)) / 2 + alpha)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CosineDecay {
    initial_learning_rate: f32,
    #[serde(deserialize_with = "whole")]
    decay_steps: u32,
    #[serde(default)]
    alpha: f32,
    #[serde(default)]
    warmup_target: Option<f32>,
    #[serde(default, deserialize_with = "whole")]
    warmup_steps: u32,
}

impl CosineDecay {
    /// From a rate to 0 in so many steps.
    pub fn new(initial_learning_rate: f32, decay_steps: u32) -> Self {
        CosineDecay { initial_learning_rate, decay_steps, alpha: 0.0, warmup_target: None, warmup_steps: 0 }
    }

    /// The share of the rate that is left in the end; 0 by default.
    #[must_use]
    pub fn alpha(self, alpha: f32) -> Self {
        CosineDecay { alpha, ..self }
    }

    /// The rate first goes in a line to this target in so many steps, and falls from there.
    #[must_use]
    pub fn warmup(self, target: f32, steps: u32) -> Self {
        CosineDecay { warmup_target: Some(target), warmup_steps: steps, ..self }
    }
}

/// `(1 - alpha) * height * (1 + cos(pi * share)) / 2 + alpha`
fn half_wave(share: Tensor, height: Tensor, alpha: f32) -> Tensor {
    ((share * std::f32::consts::PI).cos() + 1.0) * height * 0.5 * (1.0 - alpha) + alpha
}

impl Schedule for CosineDecay {
    head!("CosineDecay");

    fn rate(&self, step: &Tensor) -> Tensor {
        let (step, length) = (step.cast(DType::F32), self.decay_steps.max(1) as f32);
        let fall = |step: Tensor, from: f32| {
            half_wave(step.minimum(length) / length, Tensor::scalar(1.0f32), self.alpha) * from
        };
        let first = self.initial_learning_rate;
        let Some(target) = self.warmup_target else { return fall(step, first) };
        let warmup = self.warmup_steps as f32;
        let rise = &step / warmup.max(1.0) * (target - first) + first;
        step.lt(warmup).select(rise, fall(&step - warmup, target))
    }

    fn check(&self) -> Result<()> {
        positive("decay_steps", self.decay_steps)
    }
}

/// [`CosineDecay`] again and again, each time `t_mul` times as long and from `m_mul` times the height (Loshchilov and Hutter 2017).
///
/// Keras finds the period by a logarithm, whose rounding may begin one late or early; here periods begin where the sum of lengths says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CosineDecayRestarts {
    initial_learning_rate: f32,
    #[serde(deserialize_with = "whole")]
    first_decay_steps: u32,
    #[serde(default = "CosineDecayRestarts::double")]
    t_mul: f32,
    #[serde(default = "one")]
    m_mul: f32,
    #[serde(default)]
    alpha: f32,
}

impl CosineDecayRestarts {
    /// From a rate to 0 in so many steps, then again in twice as many.
    pub fn new(initial_learning_rate: f32, first_decay_steps: u32) -> Self {
        CosineDecayRestarts { initial_learning_rate, first_decay_steps, t_mul: 2.0, m_mul: 1.0, alpha: 0.0 }
    }

    fn double() -> f32 {
        2.0
    }

    /// The length of a period in that of the one before; 2 by default, at least 1.
    #[must_use]
    pub fn t_mul(self, t_mul: f32) -> Self {
        CosineDecayRestarts { t_mul, ..self }
    }

    /// The height of a period in that of the one before; 1 by default.
    #[must_use]
    pub fn m_mul(self, m_mul: f32) -> Self {
        CosineDecayRestarts { m_mul, ..self }
    }

    /// The share of the rate that is left at the end of a period; 0 by default.
    #[must_use]
    pub fn alpha(self, alpha: f32) -> Self {
        CosineDecayRestarts { alpha, ..self }
    }

    /// Where each period but the first begins, as far as steps can be counted, in lengths of the first.
    fn starts(&self) -> Vec<f64> {
        let (most, growth) = (f64::from(i32::MAX) / f64::from(self.first_decay_steps.max(1)), f64::from(self.t_mul));
        let (mut length, mut start) = (1.0, 1.0);
        let mut starts = Vec::new();
        while start < most && starts.len() < 1 << 16 {
            starts.push(start);
            length *= growth;
            start += length;
        }
        starts
    }
}

impl Schedule for CosineDecayRestarts {
    head!("CosineDecayRestarts");

    fn rate(&self, step: &Tensor) -> Tensor {
        let first = self.first_decay_steps.max(1) as f32;
        let done = step.cast(DType::F32) / first;
        let (number, share) = if self.t_mul == 1.0 {
            let number = (step / self.first_decay_steps.max(1)).cast(DType::F32);
            (number.clone(), done - number)
        } else {
            let starts: Vec<f32> = self.starts().into_iter().map(|s| (s * f64::from(first)) as f32).collect();
            let count = starts.len();
            let starts = Tensor::from_vec(starts, [count]);
            let over = step.cast(DType::F32).broadcast_to([count]).ge(&starts);
            let start = over.select(&starts, 0.0).max(&[]);
            let number = over.cast(DType::F32).sum(&[]);
            let length = Tensor::scalar(self.t_mul).pow(&number) * first;
            (number, (step.cast(DType::F32) - start) / length)
        };
        let height = Tensor::scalar(self.m_mul).pow(&number);
        half_wave(share, height, self.alpha) * self.initial_learning_rate
    }

    fn check(&self) -> Result<()> {
        positive("first_decay_steps", self.first_decay_steps)?;
        if self.t_mul >= 1.0 {
            Ok(())
        } else {
            Err(Error::value(format!("t_mul is {}, it must be at least 1", self.t_mul)))
        }
    }
}
