//! Sums over an epoch, in device memory.

use ibex_core::{DType, Data, Device, Error, Result, Shape, Tensor, Variable};

/// Numbers added up batch by batch. Plain `f32` sums would stand still at 2^24 = 16.8 million when 1 is added; these are compensated: whole numbers
/// are exact up to 2^47 as long as one batch adds less than 2^24, and others are as accurate as the batches' own sums.
///
/// The rounding error of a sum is computed when the next batch comes, from what stands in memory: within one kernel, a shader compiler may
/// (and does) simplify `(a + b) - a` to `b`.
#[derive(Debug)]
pub(crate) struct Totals {
    shapes: Vec<Shape>,
    /// The sum before the last batch, and what that batch added.
    before: Variable,
    last: Variable,
    /// Their rounded sum.
    sum: Variable,
    /// Rounding errors of all sums before.
    lost: Variable,
}

impl Totals {
    /// Zeros of the given shapes.
    pub fn new(shapes: Vec<Shape>) -> Result<Totals> {
        // A file may name any number of classes.
        let elements = |s: &Shape| s.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let n = shapes.iter().try_fold(0usize, |n, s| n.checked_add(elements(s)?));
        let n = n.filter(|&n| Vec::<f32>::new().try_reserve_exact(n).is_ok());
        let n = n.ok_or_else(|| {
            Error::out_of_memory("no memory for the sums of the metrics; use fewer classes or thresholds")
        })?;
        let zeros = |name: &str| Variable::new(format!("totals/{name}"), Tensor::from_vec(vec![0f32; n], [n]));
        Ok(Totals { before: zeros("before")?, last: zeros("last")?, sum: zeros("sum")?, lost: zeros("lost")?, shapes })
    }

    /// Adds what a batch contributes, in the order of the shapes.
    pub fn add(&self, batch: &[Tensor]) -> Result<()> {
        let flat = |t: &Tensor| t.cast(DType::F32).stop_gradient().reshape([t.shape().elements()]);
        let new = Tensor::concat(&batch.iter().map(flat).collect::<Vec<_>>(), 0);
        let (before, last, sum) = (self.before.value(), self.last.value(), self.sum.value());
        let larger = before.abs().ge(last.abs());
        let (a, b) = (larger.select(&before, &last), larger.select(&last, &before));
        let error = b - (&sum - a);
        // An infinite sum stays what it is.
        self.lost.assign(self.lost.value() + error.abs().le(f32::MAX).select(error, 0.0))?;
        self.before.assign(&sum)?;
        self.sum.assign(sum + &new)?;
        self.last.assign(new)
    }

    /// Starts again from zero.
    pub fn reset(&self) -> Result<()> {
        let zeros = Data::F32(vec![0.0; self.sum.shape().elements()]);
        [&self.before, &self.last, &self.sum, &self.lost].into_iter().try_for_each(|v| v.set(&zeros))
    }

    /// The sums, one list for each shape.
    pub async fn read(&self, device: &Device) -> Result<Vec<Vec<f64>>> {
        let mut flat = vec![0.0; self.sum.shape().elements()];
        // The small parts first.
        for part in [&self.lost, &self.last, &self.before] {
            let value = part.value();
            flat.iter_mut().zip(device.read(&value).await?.to_f64()).for_each(|(sum, part)| *sum += part);
        }
        let mut rest = flat.into_iter();
        Ok(self.shapes.iter().map(|shape| rest.by_ref().take(shape.elements()).collect()).collect())
    }
}
