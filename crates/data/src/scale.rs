//! Numbers brought to a common scale, and missing ones filled in.
//!
//! Features stand along the last axis; statistics are taken over all other axes, in f64. A missing number is NaN.

use crate::host::host;
use ibex_core::{Error, Result, Tensor};

/// `x` divided by its norm along an axis: `keras.utils.normalize`. Order 2 is the Euclidean norm, 1 the sum of absolute values,
/// infinity the largest of them. Where the norm is zero, `x` stays as it is. The result is f32 of the same shape.
///
/// ```
/// use ibex_core::Tensor;
/// let x = Tensor::from_vec(vec![3f32, 4., 0., 0.], [2, 2]);
/// assert_eq!(ibex_data::normalize(&x, -1, 2.0)?.data().unwrap().to_f64(), [0.6f32 as f64, 0.8f32 as f64, 0., 0.]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `Value` if there is no such axis, or the order is not positive.
pub fn normalize(x: &Tensor, axis: isize, order: f64) -> Result<Tensor> {
    let mut values = host(x)?.to_f64();
    let Some(axis) = x.shape().axis(axis) else {
        return Err(Error::value(format!("normalize: there is no axis {axis} in the shape {}", x.shape())));
    };
    if order.is_nan() || order <= 0.0 {
        return Err(Error::value(format!("normalize: the order is {order}; give a positive number, or infinity")));
    }
    let len = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    for block in values.chunks_mut((len * inner).max(1)) {
        for at in 0..inner {
            let along = || block[at..].iter().step_by(inner).map(|v| v.abs());
            let norm = if order == f64::INFINITY {
                along().fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a })
            } else if order == 2.0 {
                along().map(|v| v * v).sum::<f64>().sqrt()
            } else {
                along().map(|v| v.powf(order)).sum::<f64>().powf(1.0 / order)
            };
            if norm != 0.0 {
                block[at..].iter_mut().step_by(inner).for_each(|v| *v /= norm);
            }
        }
    }
    Ok(f32s(values, x))
}

/// Subtracts the mean of each feature and divides by its standard deviation (of the population, as in scikit-learn and in Keras's
/// `Normalization`). Fit it to the training data alone.
///
/// NaN is left out of the statistics and stays NaN. A feature that is always the same is shifted to zero and not divided.
///
/// ```
/// use ibex_core::Tensor;
/// use ibex_data::StandardScaler;
/// let x = Tensor::from_vec(vec![1f32, 10., 3., 10.], [2, 2]);
/// let scaler = StandardScaler::fit(&x)?;
/// assert_eq!(scaler.mean(), [2., 10.]);
/// let scaled = scaler.transform(&x)?;
/// assert_eq!(scaled.data().unwrap().to_f64(), [-1., 0., 1., 0.]);
/// assert_eq!(scaler.inverse(&scaled)?.data(), x.data());
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StandardScaler(Affine);

impl StandardScaler {
    /// Mean and standard deviation of each feature of `x`, of shape `(.., features)`.
    ///
    /// # Errors
    /// `Value` if a feature has no number at all, or an infinite one.
    pub fn fit(x: &Tensor) -> Result<StandardScaler> {
        let mut statistics = Affine::default();
        for column in columns(x, "StandardScaler")? {
            let n = column.len() as f64;
            let mean = column.iter().sum::<f64>() / n;
            let deviation = (column.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
            statistics.push(mean, deviation, deviation > 10.0 * f64::EPSILON * mean.abs());
        }
        Ok(StandardScaler(statistics))
    }

    /// A scaler with these numbers, such as those of one that was fitted before.
    ///
    /// # Errors
    /// `Value` unless there is a finite mean and a positive scale for each feature.
    pub fn new(mean: impl Into<Vec<f64>>, scale: impl Into<Vec<f64>>) -> Result<StandardScaler> {
        Affine::checked(mean.into(), scale.into()).map(StandardScaler)
    }

    /// The mean of each feature.
    pub fn mean(&self) -> &[f64] {
        &self.0.offset
    }

    /// What each feature is divided by: its standard deviation, or 1 where it is always the same.
    pub fn scale(&self) -> &[f64] {
        &self.0.scale
    }

    /// `(x - mean) / scale`, as f32 of the shape of `x`.
    ///
    /// # Errors
    /// `Shape` if the last axis has another length than there are features.
    pub fn transform(&self, x: &Tensor) -> Result<Tensor> {
        self.0.apply(x, |v, mean, scale| (v - mean) / scale).map_err(|e| e.context("StandardScaler"))
    }

    /// `x * scale + mean`: undoes [`transform`](StandardScaler::transform).
    ///
    /// # Errors
    /// As [`transform`](StandardScaler::transform).
    pub fn inverse(&self, x: &Tensor) -> Result<Tensor> {
        self.0.apply(x, |v, mean, scale| v * scale + mean).map_err(|e| e.context("StandardScaler"))
    }
}

/// Brings each feature to a range, by its least and its largest value. Fit it to the training data alone: other data can lie outside
/// of the range.
///
/// NaN is left out of the statistics and stays NaN. A feature that is always the same gets the lower end of the range.
///
/// ```
/// use ibex_core::Tensor;
/// use ibex_data::MinMaxScaler;
/// let x = Tensor::from_vec(vec![100f32, 600., 350.], [3, 1]);
/// let scaler = MinMaxScaler::fit(&x, 0.0..=1.0)?;
/// assert_eq!(scaler.transform(&x)?.data().unwrap().to_f64(), [0., 1., 0.5]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MinMaxScaler {
    affine: Affine,
    low: f64,
    high: f64,
}

impl MinMaxScaler {
    /// The least and the largest value of each feature of `x`, of shape `(.., features)`, and the range they are brought to.
    ///
    /// # Errors
    /// `Value` if a feature has no number at all or an infinite one, or if the range is empty.
    pub fn fit(x: &Tensor, range: std::ops::RangeInclusive<f64>) -> Result<MinMaxScaler> {
        let (low, high) = (*range.start(), *range.end());
        if !(low < high && (high - low).is_finite()) {
            return Err(Error::value(format!(
                "MinMaxScaler: the range is {low} to {high}; give a lower and a higher number"
            )));
        }
        let mut affine = Affine::default();
        for column in columns(x, "MinMaxScaler")? {
            let least = column.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            affine.push(least, largest - least, largest > least);
        }
        Ok(MinMaxScaler { affine, low, high })
    }

    /// The least value of each feature.
    pub fn min(&self) -> &[f64] {
        &self.affine.offset
    }

    /// The numbers brought to the range, as f32 of the shape of `x`.
    ///
    /// # Errors
    /// `Shape` if the last axis has another length than there are features.
    pub fn transform(&self, x: &Tensor) -> Result<Tensor> {
        let (low, width) = (self.low, self.high - self.low);
        let apply = |v: f64, least: f64, extent: f64| (v - least) / extent * width + low;
        self.affine.apply(x, apply).map_err(|e| e.context("MinMaxScaler"))
    }

    /// Undoes [`transform`](MinMaxScaler::transform).
    ///
    /// # Errors
    /// As [`transform`](MinMaxScaler::transform).
    pub fn inverse(&self, x: &Tensor) -> Result<Tensor> {
        let (low, width) = (self.low, self.high - self.low);
        let apply = |v: f64, least: f64, extent: f64| (v - low) / width * extent + least;
        self.affine.apply(x, apply).map_err(|e| e.context("MinMaxScaler"))
    }
}

/// What an [`Imputer`] puts in place of missing numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// The mean of the feature.
    Mean,
    /// Its median; of the two in the middle, their mean.
    Median,
    /// The same number everywhere.
    Constant(f64),
}

/// Fills in missing numbers, which are NaN. Fit it to the training data alone.
///
/// ```
/// use ibex_core::Tensor;
/// use ibex_data::{Fill, Imputer};
/// let x = Tensor::from_vec(vec![1f32, f32::NAN, 2., 9.], [4, 1]);
/// let imputer = Imputer::fit(&x, Fill::Median)?;
/// assert_eq!(imputer.transform(&x)?.data().unwrap().to_f64(), [1., 2., 2., 9.]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Imputer(Affine);

impl Imputer {
    /// The number for each feature of `x`, of shape `(.., features)`.
    ///
    /// # Errors
    /// `Value` if a feature has no number at all or an infinite one, unless the same number is to stand everywhere.
    pub fn fit(x: &Tensor, fill: Fill) -> Result<Imputer> {
        let mut values = Affine::default();
        if let Fill::Constant(value) = fill {
            (0..features(x, "Imputer")?).for_each(|_| values.push(value, 1.0, true));
            return Ok(Imputer(values));
        }
        for mut column in columns(x, "Imputer")? {
            let value = if fill == Fill::Mean {
                column.iter().sum::<f64>() / column.len() as f64
            } else {
                column.sort_by(f64::total_cmp);
                let middle = column.len() / 2;
                if column.len() % 2 == 1 { column[middle] } else { (column[middle - 1] + column[middle]) / 2.0 }
            };
            values.push(value, 1.0, true);
        }
        Ok(Imputer(values))
    }

    /// What stands for a missing number of each feature.
    pub fn values(&self) -> &[f64] {
        &self.0.offset
    }

    /// The numbers with the missing ones filled in, as f32 of the shape of `x`.
    ///
    /// # Errors
    /// `Shape` if the last axis has another length than there are features.
    pub fn transform(&self, x: &Tensor) -> Result<Tensor> {
        self.0.apply(x, |v, fill, _| if v.is_nan() { fill } else { v }).map_err(|e| e.context("Imputer"))
    }
}

/// Two numbers for each feature.
#[derive(Clone, Debug, Default, PartialEq)]
struct Affine {
    offset: Vec<f64>,
    scale: Vec<f64>,
}

impl Affine {
    /// A feature that does not vary is not divided.
    fn push(&mut self, offset: f64, scale: f64, varies: bool) {
        self.offset.push(offset);
        self.scale.push(if varies { scale } else { 1.0 });
    }

    fn checked(offset: Vec<f64>, scale: Vec<f64>) -> Result<Affine> {
        let fits = offset.len() == scale.len();
        if fits && offset.iter().all(|v| v.is_finite()) && scale.iter().all(|v| v.is_finite() && *v > 0.0) {
            return Ok(Affine { offset, scale });
        }
        let (means, scales) = (offset.len(), scale.len());
        Err(Error::value(format!(
            "StandardScaler: {means} means and {scales} scales; give finite means, as many positive scales"
        )))
    }

    fn apply(&self, x: &Tensor, f: impl Fn(f64, f64, f64) -> f64) -> Result<Tensor> {
        let (n, shape) = (self.offset.len(), x.check()?.shape());
        if shape.last() != Some(&n) {
            return Err(Error::shape(format!(
                "x has shape {shape}, but there are {n} features; they stand along the last axis"
            )));
        }
        let mut values = host(x)?.to_f64();
        for row in values.chunks_exact_mut(n.max(1)) {
            for (value, (offset, scale)) in row.iter_mut().zip(self.offset.iter().zip(&self.scale)) {
                *value = f(*value, *offset, *scale);
            }
        }
        Ok(f32s(values, x))
    }
}

fn features(x: &Tensor, who: &str) -> Result<usize> {
    match x.check()?.shape().last() {
        Some(&n) if n > 0 && x.rank() > 1 => Ok(n),
        _ => Err(Error::shape(format!("{who}: x has shape {}; give it the shape (rows, features)", x.shape()))),
    }
}

/// The numbers of each feature that are not missing, one feature after the other.
fn columns<'a>(x: &'a Tensor, who: &str) -> Result<impl Iterator<Item = Vec<f64>> + use<'a>> {
    let n = features(x, who)?;
    let values = host(x)?.to_f64();
    if let Some(at) = values.iter().position(|v| v.is_infinite()) {
        return Err(Error::value(format!(
            "{who}: feature {} is infinite in row {}; replace it with a number, or with NaN",
            at % n,
            at / n
        )));
    }
    if let Some(feature) = (0..n).find(|&f| values[f..].iter().step_by(n).all(|v| v.is_nan())) {
        return Err(Error::value(format!("{who}: feature {feature} has no number in any row; leave it out")));
    }
    Ok((0..n).map(move |f| values[f..].iter().step_by(n).copied().filter(|v| !v.is_nan()).collect()))
}

fn f32s(values: Vec<f64>, like: &Tensor) -> Tensor {
    Tensor::from_vec(values.into_iter().map(|v| v as f32).collect::<Vec<f32>>(), like.shape())
}
