//! Windows over time series.

use crate::Dataset;
use crate::host::{elements, host};
use crate::rows::gather_rows;
use ibex_core::{Data, Error, Result, Tensor};
use std::ops::Range;

/// Windows of consecutive steps of a time series: `timeseries_dataset_from_array` of Keras.
///
/// Window `i` begins at step `start + i * stride` and takes every `rate`-th step from there, `length` of them. All windows lie
/// inside of the range. Its target is the one at its first step: to predict the step that comes after a window of 10, give the series
/// without its last 10 steps, and targets without their first 10.
///
/// ```
/// use ibex_core::Tensor;
/// use ibex_data::Windows;
/// let series: Vec<f32> = (0..7).map(|i| i as f32).collect();
/// let (data, next) = (Tensor::from_vec(series[..4].to_vec(), [4, 1]), Tensor::from_vec(series[3..].to_vec(), 4));
/// let windows = Windows::of(3).with_targets(&data, &next)?;
/// assert_eq!(windows.x.shape().to_vec(), [2, 3, 1]);
/// assert_eq!(windows.x.data().unwrap().to_f64(), [0., 1., 2., 1., 2., 3.]);
/// assert_eq!(windows.y.data().unwrap().to_f64(), [3., 4.]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Windows {
    length: usize,
    stride: usize,
    rate: usize,
    range: Range<usize>,
}

impl Windows {
    /// Windows of `length` steps: `sequence_length` in Keras.
    pub fn of(length: usize) -> Windows {
        Windows { length, stride: 1, rate: 1, range: 0..usize::MAX }
    }

    /// Steps from one window to the next: `sequence_stride`. 1 unless it is given.
    pub fn stride(self, stride: usize) -> Windows {
        Windows { stride, ..self }
    }

    /// Steps of the series from one step of a window to the next: `sampling_rate`. 1 unless it is given.
    pub fn rate(self, rate: usize) -> Windows {
        Windows { rate, ..self }
    }

    /// The steps that are used, such as the first 80 for training: `start_index` and `end_index`. All unless it is given.
    pub fn range(self, range: Range<usize>) -> Windows {
        Windows { range, ..self }
    }

    /// The windows, of shape `(windows, length, ..)` where the series has shape `(steps, ..)`, of the same element type.
    ///
    /// # Errors
    /// `Value` if a number is zero, the range lies outside of the series, or no window fits into it; `OutOfMemory` if the windows would
    /// be absurdly large.
    pub fn cut(&self, series: &Tensor) -> Result<Tensor> {
        let starts = self.starts(series, usize::MAX)?;
        self.gather(series, &starts)
    }

    /// The windows with their targets: `x` as [`cut`](Windows::cut) makes it, `y` of shape `(windows, ..)`.
    ///
    /// There are as many windows as have a target.
    ///
    /// # Errors
    /// As [`cut`](Windows::cut).
    pub fn with_targets(&self, series: &Tensor, targets: &Tensor) -> Result<Dataset> {
        if targets.check()?.rank() == 0 {
            return Err(Error::shape("windows: the targets have no axis of steps; give one target for each step"));
        }
        let starts = self.starts(series, targets.dim(0))?;
        let single = Windows::of(1);
        let y = single.gather(targets, &starts)?;
        let mut shape = targets.shape().to_vec();
        shape[0] = starts.len();
        let y = Tensor::from_data(host(&y)?.clone(), shape);
        Dataset::new(self.gather(series, &starts)?, y)
    }

    /// The first step of each window, if targets end at `targets`.
    fn starts(&self, series: &Tensor, targets: usize) -> Result<Vec<u32>> {
        let &Windows { length, stride, rate, .. } = self;
        let Some(&steps) = series.check()?.shape().first() else {
            return Err(Error::shape("windows: the series has no axis of steps; give it the shape (steps, ..)"));
        };
        if length == 0 || stride == 0 || rate == 0 {
            return Err(Error::value(format!(
                "windows: the length is {length}, the stride {stride} and the rate {rate}; each must be at least 1"
            )));
        }
        let (start, end) = (self.range.start, self.range.end);
        let end = if end == usize::MAX { steps } else { end };
        if start >= end || end > steps || u32::try_from(steps).is_err() {
            return Err(Error::value(format!(
                "windows: the range {start}..{end} does not lie inside of the {steps} steps of the series, or is empty"
            )));
        }
        let span = (length - 1).saturating_mul(rate);
        let places = (end - start).saturating_sub(span).min(targets.saturating_sub(start));
        if places == 0 {
            return Err(Error::value(format!(
                "windows: no window of {length} steps at a rate of {rate} fits into the steps {start}..{end}{}; give a smaller length",
                if targets < end { format!(" with {targets} targets") } else { String::new() }
            )));
        }
        Ok((start..start + places).step_by(stride).map(|step| step as u32).collect())
    }

    fn gather(&self, series: &Tensor, starts: &[u32]) -> Result<Tensor> {
        let data = host(series)?;
        let mut shape = series.shape().to_vec();
        let row: usize = shape[1..].iter().product();
        shape.splice(..1, [starts.len(), self.length]);
        let total =
            elements("windows: an array", &shape, data.dtype().size(), "give a larger stride, or a smaller range")?;
        let mut windows = Data::zeros(data.dtype(), total);
        let steps: Vec<u32> =
            starts.iter().flat_map(|&start| (0..self.length).map(move |i| start + (i * self.rate) as u32)).collect();
        gather_rows(data, row, &steps, windows.as_bytes_mut())?;
        Ok(Tensor::from_data(windows, shape))
    }
}
