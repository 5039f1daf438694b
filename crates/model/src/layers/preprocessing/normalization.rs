//! Normalisation by statistics of the whole data.

use super::{Config, Context, Error, Layer, Shape, Weights, no_data, numbers};
use crate::config;
use ibex_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

/// A number for all, or one for each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Statistic {
    /// For all.
    One(f64),
    /// One for each, along the last axis.
    Each(Vec<f64>),
    /// One for each place of several axes.
    Nested(Vec<Statistic>),
}

impl From<f64> for Statistic {
    fn from(number: f64) -> Self {
        Statistic::One(number)
    }
}

impl From<Vec<f64>> for Statistic {
    fn from(numbers: Vec<f64>) -> Self {
        Statistic::Each(numbers)
    }
}

impl<const N: usize> From<[f64; N]> for Statistic {
    fn from(numbers: [f64; N]) -> Self {
        Statistic::Each(numbers.to_vec())
    }
}

impl Statistic {
    /// As a tensor; poisoned if the lists inside differ in their shapes.
    pub(super) fn tensor(&self) -> Tensor {
        match self {
            Statistic::One(number) => Tensor::full([], *number, DType::F32),
            Statistic::Each(numbers) => {
                Tensor::from_vec(numbers.iter().map(|&n| n as f32).collect(), [numbers.len()])
            }
            Statistic::Nested(lists) => Tensor::stack(&lists.iter().map(Statistic::tensor).collect::<Vec<_>>(), 0),
        }
    }
}

/// `(x - mean) / sqrt(variance)`, with statistics that are given or learned from the data by [`Normalization::adapt`] before the model is made.
/// The standard deviation counts as 1e-7 at least. Any shape; integers become floats. Computes in `f32` under every policy.
///
/// ```
/// use ibex::prelude::*;
/// let x = Tensor::from_vec(vec![1f32, 10.0, 3.0, 30.0], [2, 2]);
/// let mut model = Sequential::new([2]).add(Normalization::new().adapt(&x)?);
/// assert_eq!(model.predict(&x)?.to_vec::<f32>()?, [-1.0, -1.0, 1.0, 1.0]);
/// # Ok::<(), ibex::Error>(())
/// ```
///
/// Weights unless the statistics are given, none of them trained: `mean`, zeros, and `variance`, ones, of the lengths of the axes that are kept;
/// `count`, an integer that Keras keeps for old files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Normalization {
    #[serde(deserialize_with = "axes")]
    axis: Vec<isize>,
    mean: Option<Statistic>,
    variance: Option<Statistic>,
    invert: bool,
    /// What the weights start with.
    #[serde(skip)]
    learned: Option<[Tensor; 2]>,
}

/// Keras writes a list, a number, or null for no axis.
fn axes<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Vec<isize>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Axes {
        One(isize),
        Many(Vec<isize>),
    }
    Ok(match Option::<Axes>::deserialize(from)? {
        None => Vec::new(),
        Some(Axes::One(axis)) => vec![axis],
        Some(Axes::Many(axes)) => axes,
    })
}

impl Default for Normalization {
    fn default() -> Self {
        Normalization { axis: vec![-1], mean: None, variance: None, invert: false, learned: None }
    }
}

impl Normalization {
    /// Along the last axis, by statistics of [`Normalization::adapt`].
    pub fn new() -> Self {
        Normalization::default()
    }

    /// The axes whose elements have statistics of their own, from the end if negative; the last one by default, none for one mean of all.
    pub fn axis<const N: usize>(self, axis: [isize; N]) -> Self {
        Normalization { axis: axis.to_vec(), ..self }
    }

    /// Statistics that are known: a number, or one for each element of the axis.
    pub fn statistics(self, mean: impl Into<Statistic>, variance: impl Into<Statistic>) -> Self {
        Normalization { mean: Some(mean.into()), variance: Some(variance.into()), ..self }
    }

    /// Computes `x * sqrt(variance) + mean` instead, the way back.
    pub fn invert(self, invert: bool) -> Self {
        Normalization { invert, ..self }
    }

    /// Learns mean and (biased) variance from data, whose first axis is the batch.
    ///
    /// # Errors
    /// `Shape` if the data has no such axis, `Value` if there is none; whatever its computation reports.
    pub fn adapt(self, data: &Tensor) -> Result<Self> {
        let kept = self.kept(data.check()?.shape())?;
        let numbers = numbers(data)?.to_f64();
        let shape = data.shape();
        let lens: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
        let places: usize = lens.iter().product();
        if numbers.is_empty() || places == 0 {
            return Err(no_data());
        }
        // For each element, the place of its statistics.
        let place = |element: usize| {
            let (mut rest, mut place, mut stride) = (element, 0, 1);
            for axis in (0..shape.rank()).rev() {
                if kept.contains(&axis) {
                    place += rest % shape[axis] * stride;
                    stride *= shape[axis];
                }
                rest /= shape[axis];
            }
            place
        };
        let count = (numbers.len() / places) as f64;
        let mean_of = |value: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; places];
            for (i, &x) in numbers.iter().enumerate() {
                let place = place(i);
                sums[place] += value(place, x);
            }
            sums.iter().map(|sum| sum / count).collect::<Vec<f64>>()
        };
        let mean = mean_of(&|_, x| x);
        let variance = mean_of(&|place, x| (x - mean[place]).powi(2));
        let tensor = |v: Vec<f64>| Tensor::from_vec(v.iter().map(|&v| v as f32).collect(), &lens[..]);
        Ok(Normalization { learned: Some([tensor(mean), tensor(variance)]), mean: None, variance: None, ..self })
    }

    /// The axes in their order.
    fn kept(&self, input: &Shape) -> Result<Vec<usize>> {
        let mut kept = Vec::new();
        for &axis in &self.axis {
            match input.axis(axis).filter(|&axis| axis > 0) {
                Some(axis) if !kept.contains(&axis) => kept.push(axis),
                Some(_) => return Err(Error::value(format!("axis {axis} is named twice"))),
                None => {
                    return Err(Error::shape(format!(
                        "input {input} has no axis {axis} with statistics of its own; the batch axis 0 is none"
                    )));
                }
            }
        }
        kept.sort_unstable();
        Ok(kept)
    }

    /// Given statistics, with all axes of the input.
    fn aligned(&self, statistic: &Statistic, input: &Shape) -> Result<Tensor> {
        let (kept, given) = (self.kept(input)?, statistic.tensor());
        given.check()?;
        if given.rank() > kept.len() {
            return Err(Error::shape(format!(
                "mean and variance have the shape {}, for {} axes; give at most that many",
                given.shape(),
                kept.len()
            )));
        }
        let mut shape = vec![1; input.rank()];
        for (&axis, &len) in kept.iter().rev().zip(given.shape().iter().rev()) {
            if len != 1 && len != input[axis] {
                return Err(Error::shape(format!(
                    "mean and variance have the shape {}, which does not fit axis {axis} of input {input}",
                    given.shape()
                )));
            }
            shape[axis] = len;
        }
        Ok(given.reshape(shape))
    }
}

impl Layer for Normalization {
    fn class_name(&self) -> &'static str {
        "Normalization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let lens: Vec<usize> = self.kept(input)?.iter().map(|&axis| input[axis]).collect();
        let [mean, variance] = match (&self.mean, &self.variance, &self.learned) {
            (Some(mean), Some(variance), _) => {
                return self.aligned(mean, input).and(self.aligned(variance, input)).map(drop);
            }
            (None, None, Some(learned)) => learned.clone(),
            (None, None, None) => [Tensor::zeros(&lens[..], DType::F32), Tensor::ones(&lens[..], DType::F32)],
            _ => return Err(Error::value("mean and variance go together; give both or none")),
        };
        if mean.shape()[..] != lens[..] {
            return Err(Error::shape(format!(
                "was adapted to statistics of shape {}, but input {input} has those of {}",
                mean.shape(),
                Shape::from(&lens[..])
            )));
        }
        weights.push("mean", mean, false)?;
        weights.push("variance", variance, false)?;
        weights.push("count", Tensor::zeros([], DType::I32), false)?;
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let input = x.shape();
        let [mean, variance] = match (&self.mean, &self.variance) {
            (Some(mean), Some(variance)) => [self.aligned(mean, input)?, self.aligned(variance, input)?],
            _ => {
                let mut shape = vec![1; input.rank()];
                for axis in self.kept(input)? {
                    shape[axis] = input[axis];
                }
                ["mean", "variance"].map(|name| cx.weight(name).reshape(&shape[..]))
            }
        };
        let x = x.cast(DType::F32);
        let deviation = variance.sqrt().maximum(1e-7);
        let y = if self.invert { x * deviation + mean } else { (x - mean) / deviation };
        Ok(y.cast(cx.compute_dtype()))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
