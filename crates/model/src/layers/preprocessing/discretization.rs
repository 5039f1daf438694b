//! Numbers as the bins that they fall into.

use super::{Config, Context, Error, Layer, OutputMode, Result, Shape, Tensor, Weights, no_data, numbers};
use crate::config;
use ibex_core::DType;
use serde::{Deserialize, Serialize};

/// The number of the bin that each number falls into: bin `i` holds what is at least boundary `i - 1` and below boundary `i`. With `n` boundaries
/// there are `n + 1` bins. Any shape; what becomes of the bins' numbers says [`OutputMode`]. No weights.
///
/// The boundaries are given, or [learned](Discretization::adapt) from the data, so that the bins hold about as many numbers each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Discretization {
    bin_boundaries: Option<Vec<f64>>,
    num_bins: Option<usize>,
    epsilon: f64,
    output_mode: OutputMode,
}

impl Default for Discretization {
    fn default() -> Self {
        Discretization { bin_boundaries: None, num_bins: None, epsilon: 0.01, output_mode: OutputMode::Int }
    }
}

impl Discretization {
    /// Bins between boundaries, which ascend.
    pub fn new(bin_boundaries: impl Into<Vec<f64>>) -> Self {
        Discretization { bin_boundaries: Some(bin_boundaries.into()), ..Discretization::default() }
    }

    /// So many bins, to be [learned](Discretization::adapt).
    pub fn bins(num_bins: usize) -> Self {
        Discretization { num_bins: Some(num_bins), ..Discretization::default() }
    }

    /// How exact the quantiles are: of data with more than `1 / epsilon` numbers only so many are looked at. 0.01 by default.
    pub fn epsilon(self, epsilon: f64) -> Self {
        Discretization { epsilon, ..self }
    }

    /// What is given out; the numbers of the bins by default.
    pub fn output_mode(self, output_mode: OutputMode) -> Self {
        Discretization { output_mode, ..self }
    }

    /// Learns the boundaries from the quantiles of data, as Keras estimates them.
    ///
    /// # Errors
    /// `Value` if the layer was not made for a number of bins, if there are no numbers, or one of them is not finite; whatever the data's
    /// computation reports.
    pub fn adapt(self, data: &Tensor) -> Result<Self> {
        let Some(bins) = self.num_bins.filter(|&bins| bins > 0) else {
            return Err(Error::value("has no number of bins to learn; make it with `Discretization::bins(n)`"));
        };
        if !(self.epsilon > 0.0 && self.epsilon < 1.0) {
            return Err(Error::value(format!("epsilon is {}, it must lie between 0 and 1", self.epsilon)));
        }
        let mut values = numbers(data)?.to_f64();
        if values.is_empty() {
            return Err(no_data());
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::value(format!("number {at} of the data is {}; remove it or fill it in", values[at])));
        }
        values.sort_by(f64::total_cmp);
        // Every so manieth number stands for those before it.
        let step = (values.len() as f64 * self.epsilon).max(1.0);
        let kept: Vec<(f64, f64)> =
            values.iter().skip((step - 1.0) as usize).step_by(step as usize).map(|&value| (value, step)).collect();
        let kept = compress(&kept, self.epsilon);
        let mut boundaries: Vec<f64> = compress(&kept, 1.0 / bins as f64).iter().map(|&(value, _)| value).collect();
        boundaries.pop();
        Ok(Discretization { bin_boundaries: Some(boundaries), ..self })
    }

    /// The boundaries, once they are known.
    pub fn bin_boundaries(&self) -> Option<&[f64]> {
        self.bin_boundaries.as_deref()
    }
}

/// Numbers at equal shares of the weight, `epsilon` apart, with their weights; as they are if there are no more than that.
fn compress(summary: &[(f64, f64)], epsilon: f64) -> Vec<(f64, f64)> {
    if (summary.len() as f64) * epsilon < 1.0 {
        return summary.to_vec();
    }
    let mut total = 0.0;
    let sums: Vec<f64> = summary.iter().map(|&(_, weight)| { total += weight; total }).collect();
    let mut before = 0.0;
    // As `arange(0, 1, epsilon)` counts them.
    (0..(1.0 / epsilon).ceil() as usize)
        .map(|i| {
            let share = epsilon + i as f64 * epsilon;
            let after = sums.partition_point(|&sum| sum / total <= share);
            let (value, sum) = match after {
                0 => (summary[0].0, sums[0]),
                n if n == summary.len() => (summary[n - 1].0, total),
                n => {
                    let (left, right) = (sums[n - 1] / total, sums[n] / total);
                    let part = (share - left) / (right - left);
                    let mix = |a: f64, b: f64| a + (b - a) * part;
                    (mix(summary[n - 1].0, summary[n].0), mix(sums[n - 1], sums[n]))
                }
            };
            let weight = sum - before;
            before = sum;
            (f64::from(value as f32), f64::from(weight as f32))
        })
        .collect()
}

impl Layer for Discretization {
    fn class_name(&self) -> &'static str {
        "Discretization"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, _input: &Shape) -> Result<()> {
        match &self.bin_boundaries {
            _ if self.output_mode == OutputMode::TfIdf => {
                Err(Error::value("learns no weights of numbers; its output mode is int, one_hot, multi_hot or count"))
            }
            None => Err(Error::value("has no boundaries; give them to `Discretization::new`, or call `adapt` with data")),
            Some(boundaries) if !boundaries.is_sorted() => {
                Err(Error::value(format!("the boundaries {boundaries:?} do not ascend; sort them")))
            }
            Some(_) => Ok(()),
        }
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let boundaries: Vec<f32> = self.bin_boundaries.iter().flatten().map(|&b| b as f32).collect();
        let bins = boundaries.len() + 1;
        let index = if boundaries.is_empty() {
            Tensor::zeros(x.shape(), DType::I32)
        } else {
            let boundaries = Tensor::from_vec(boundaries, [bins - 1]);
            x.cast(DType::F32).unsqueeze(-1).ge(boundaries).cast(DType::I32).sum(&[-1])
        };
        self.output_mode.encode(&index, bins, None, cx.compute_dtype())
    }
}
