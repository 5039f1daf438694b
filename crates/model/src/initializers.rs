//! Initial values of weights. They are drawn on the host from a counter, so that a seed gives the same weights on every device.

use crate::config::Described;
use ibex_core::{Data, Error, Shape, Tensor, random::threefry};
use serde::{Deserialize, Serialize};

/// How a weight starts. Formulas and constants are those of Keras 3.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config", try_from = "Described")]
pub enum Initializer {
    /// 0.
    Zeros,
    /// 1.
    Ones,
    /// One value.
    Constant {
        /// The value.
        value: f32,
    },
    /// Uniform within `sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010).
    GlorotUniform,
    /// Truncated normal with deviation `sqrt(2 / (fan_in + fan_out))`.
    GlorotNormal,
    /// Uniform within `sqrt(6 / fan_in)` (He et al. 2015).
    HeUniform,
    /// Truncated normal with deviation `sqrt(2 / fan_in)`.
    HeNormal,
    /// Uniform within `sqrt(3 / fan_in)`.
    LecunUniform,
    /// Truncated normal with deviation `sqrt(1 / fan_in)`.
    LecunNormal,
    /// Deviation `sqrt(scale / fan)`, which the six above are cases of.
    VarianceScaling {
        /// Factor of the variance, above 0; 1 by default.
        scale: f32,
        /// What the variance is divided by; the inputs by default.
        mode: FanMode,
        /// Its shape; a truncated normal by default.
        distribution: Distribution,
    },
    /// Uniform.
    RandomUniform {
        /// Lower end.
        minval: f32,
        /// Upper end.
        maxval: f32,
    },
    /// Normal.
    RandomNormal {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        stddev: f32,
    },
    /// Normal, drawn again outside of two standard deviations.
    TruncatedNormal {
        /// Mean.
        mean: f32,
        /// Standard deviation before the truncation.
        stddev: f32,
    },
    /// Orthogonal rows or columns (Saxe et al. 2014).
    Orthogonal {
        /// Factor.
        gain: f32,
    },
    /// The identity matrix.
    Identity {
        /// Factor.
        gain: f32,
    },
}

/// What [`Initializer::VarianceScaling`] divides the variance by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FanMode {
    /// The inputs of a unit.
    #[default]
    FanIn,
    /// The outputs.
    FanOut,
    /// The mean of both.
    FanAvg,
}

/// The distribution of [`Initializer::VarianceScaling`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Normal, drawn again outside of two standard deviations; the deviation is that after the truncation.
    #[default]
    #[serde(alias = "normal")]
    TruncatedNormal,
    /// Normal.
    UntruncatedNormal,
    /// Uniform.
    Uniform,
}

/// The names of all of them.
const KNOWN: &str = "Zeros, Ones, Constant, GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, VarianceScaling, \
    RandomUniform, RandomNormal, TruncatedNormal, Orthogonal, Identity";

impl TryFrom<Described> for Initializer {
    type Error = Error;

    fn try_from(described: Described) -> Result<Self, Error> {
        let field = |field: &str, default: f32| described.field(field, default);
        Ok(match &*described.plain() {
            "zeros" => Initializer::Zeros,
            "ones" => Initializer::Ones,
            "constant" => Initializer::Constant { value: field("value", 0.0)? },
            "glorotuniform" => Initializer::GlorotUniform,
            "glorotnormal" => Initializer::GlorotNormal,
            "heuniform" => Initializer::HeUniform,
            "henormal" => Initializer::HeNormal,
            "lecununiform" => Initializer::LecunUniform,
            "lecunnormal" => Initializer::LecunNormal,
            "variancescaling" => {
                let scale = field("scale", 1.0)?;
                if scale.is_nan() || scale <= 0.0 {
                    return Err(Error::value(format!("VarianceScaling: scale is {scale}, it must be above 0")));
                }
                for axes in ["input_axes", "output_axes"] {
                    if described.config.get(axes).is_some_and(|v| !v.is_null()) {
                        return Err(Error::unsupported(format!("VarianceScaling: {axes} must be null")));
                    }
                }
                Initializer::VarianceScaling {
                    scale,
                    mode: described.field("mode", FanMode::default())?,
                    distribution: described.field("distribution", Distribution::default())?,
                }
            }
            "randomuniform" => {
                Initializer::RandomUniform { minval: field("minval", -0.05)?, maxval: field("maxval", 0.05)? }
            }
            "randomnormal" => Initializer::RandomNormal { mean: field("mean", 0.0)?, stddev: field("stddev", 0.05)? },
            "truncatednormal" => {
                Initializer::TruncatedNormal { mean: field("mean", 0.0)?, stddev: field("stddev", 0.05)? }
            }
            "orthogonal" | "orthogonalinitializer" => Initializer::Orthogonal { gain: field("gain", 1.0)? },
            "identity" | "identityinitializer" => Initializer::Identity { gain: field("gain", 1.0)? },
            _ => {
                let name = described.class_name;
                return Err(Error::unsupported(format!("unknown initializer {name:?}; known are {KNOWN}")));
            }
        })
    }
}

/// Deviation of the standard normal truncated at two.
const TRUNCATED: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// Values for a weight. `seed` and `index` (the weight's number in the model) say which.
    pub fn tensor(self, shape: &Shape, seed: u64, index: u32) -> Tensor {
        let mut draw = Draw { key: [seed as u32, (seed >> 32) as u32], stream: index, counter: 0 };
        let count = shape.elements();
        let uniform = |draw: &mut Draw, lo: f64, hi: f64| (0..count).map(|_| lo + (hi - lo) * draw.uniform()).collect();
        let scaled = |draw: &mut Draw, scale: f64, mode: FanMode, distribution: Distribution| {
            let (fan_in, fan_out) = fans(shape);
            let fan = match mode {
                FanMode::FanIn => fan_in,
                FanMode::FanOut => fan_out,
                FanMode::FanAvg => (fan_in + fan_out) / 2.0,
            };
            let variance = scale / fan.max(1.0);
            match distribution {
                Distribution::Uniform => uniform(draw, -(3.0 * variance).sqrt(), (3.0 * variance).sqrt()),
                Distribution::TruncatedNormal => draw.truncated(count, variance.sqrt() / TRUNCATED),
                Distribution::UntruncatedNormal => (0..count).map(|_| variance.sqrt() * draw.normal()).collect(),
            }
        };
        use {Distribution::TruncatedNormal, Distribution::Uniform, FanMode::FanAvg, FanMode::FanIn};
        let values: Vec<f64> = match self {
            Initializer::Zeros => vec![0.0; count],
            Initializer::Ones => vec![1.0; count],
            Initializer::Constant { value } => vec![f64::from(value); count],
            Initializer::GlorotUniform => scaled(&mut draw, 1.0, FanAvg, Uniform),
            Initializer::GlorotNormal => scaled(&mut draw, 1.0, FanAvg, TruncatedNormal),
            Initializer::HeUniform => scaled(&mut draw, 2.0, FanIn, Uniform),
            Initializer::HeNormal => scaled(&mut draw, 2.0, FanIn, TruncatedNormal),
            Initializer::LecunUniform => scaled(&mut draw, 1.0, FanIn, Uniform),
            Initializer::LecunNormal => scaled(&mut draw, 1.0, FanIn, TruncatedNormal),
            Initializer::VarianceScaling { scale, mode, distribution } => {
                scaled(&mut draw, f64::from(scale), mode, distribution)
            }
            Initializer::RandomUniform { minval, maxval } => uniform(&mut draw, f64::from(minval), f64::from(maxval)),
            Initializer::RandomNormal { mean, stddev } => {
                (0..count).map(|_| f64::from(mean) + f64::from(stddev) * draw.normal()).collect()
            }
            Initializer::TruncatedNormal { mean, stddev } => {
                draw.truncated(count, f64::from(stddev)).into_iter().map(|v| v + f64::from(mean)).collect()
            }
            Initializer::Orthogonal { gain } => orthogonal(&mut draw, shape, f64::from(gain)),
            Initializer::Identity { gain } => {
                let cols = shape.last().copied().unwrap_or(1).max(1);
                (0..count).map(|i| if i / cols == i % cols { f64::from(gain) } else { 0.0 }).collect()
            }
        };
        Tensor::from_data(Data::from_f64(ibex_core::DType::F32, &values), shape)
    }
}

/// Inputs and outputs of a weight: for kernels of convolutions the window times the channels.
fn fans(shape: &Shape) -> (f64, f64) {
    match &shape[..] {
        [] => (1.0, 1.0),
        [n] => (*n as f64, *n as f64),
        [window @ .., fan_in, fan_out] => {
            let field = window.iter().product::<usize>() as f64;
            ((field * *fan_in as f64).max(1.0), (field * *fan_out as f64).max(1.0))
        }
    }
}

/// A stream of random numbers.
struct Draw {
    key: [u32; 2],
    stream: u32,
    counter: u32,
}

impl Draw {
    /// In `[0, 1)`.
    fn uniform(&mut self) -> f64 {
        // The streams of dropout layers are below 2^31.
        let [bits, _] = threefry(self.key, [self.counter, self.stream | 1 << 31]);
        self.counter = self.counter.wrapping_add(1);
        f64::from(bits) / 2f64.powi(32)
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn truncated(&mut self, count: usize, stddev: f64) -> Vec<f64> {
        let mut one = || {
            loop {
                let v = self.normal();
                if v.abs() < 2.0 {
                    return v * stddev;
                }
            }
        };
        (0..count).map(|_| one()).collect()
    }
}

/// Gram-Schmidt, twice for accuracy, on normal vectors. All axes but the last form the rows.
fn orthogonal(draw: &mut Draw, shape: &Shape, gain: f64) -> Vec<f64> {
    let cols = shape.last().copied().unwrap_or(1);
    let rows = shape.elements().checked_div(cols).unwrap_or(0);
    let (count, len) = (rows.min(cols), rows.max(cols));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut v: Vec<f64> = (0..len).map(|_| draw.normal()).collect();
        for _ in 0..2 {
            for b in &basis {
                let dot: f64 = v.iter().zip(b).map(|(x, y)| x * y).sum();
                v.iter_mut().zip(b).for_each(|(x, y)| *x -= dot * y);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        // A vector that is all but dependent is drawn again.
        if norm > 1e-6 {
            v.iter_mut().for_each(|x| *x /= norm);
            basis.push(v);
        }
    }
    let at = |r: usize, c: usize| gain * if rows >= cols { basis[c][r] } else { basis[r][c] };
    (0..rows * cols).map(|i| at(i / cols, i % cols)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_columns() {
        let shape = Shape::from([7, 4]);
        let tensor = Initializer::Orthogonal { gain: 2.0 }.tensor(&shape, 3, 0);
        let v = tensor.data().expect("host numbers").to_f64();
        for a in 0..4 {
            for b in 0..4 {
                let dot: f64 = (0..7).map(|r| v[r * 4 + a] * v[r * 4 + b]).sum();
                assert!((dot - if a == b { 4.0 } else { 0.0 }).abs() < 1e-5);
            }
        }
    }
}
