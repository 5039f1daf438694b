//! Data sets in parts.

use crate::rows::shuffled_indices;
use crate::{Dataset, host::host};
use ibex_core::{Data, Error, Result, Tensor};
use std::collections::BTreeMap;

/// The order in which [`split_dataset`] gives rows to the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// As they are: the first part has the first rows. For time series.
    Kept,
    /// Shuffled with this seed.
    Shuffled(u64),
    /// Shuffled with this seed, so that every part has its share of every class, within one example. `y` holds class numbers, of shape `(n)` or `(n, 1)`, or
    /// vectors with a 1 at the class, of shape `(n, classes)`.
    Stratified(u64),
}

/// A data set in parts, by fractions that are together 1. The rows are copied.
///
/// ```
/// # use ibex_core::{DType, Tensor};
/// use ibex_data::{Dataset, Order, split_dataset};
/// let all = Dataset::new(Tensor::zeros([100, 4], DType::F32), Tensor::from_vec((0..100).map(|i| i % 5).collect(), 100))?;
/// # let all = Dataset::new(Tensor::from_vec(vec![0f32; 400], [100, 4]), all.y)?;
/// let [train, validation, test] = split_dataset(&all, [0.7, 0.2, 0.1], Order::Stratified(42))?;
/// assert_eq!((train.len(), validation.len(), test.len()), (70, 20, 10));
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `Value` unless the fractions are positive and together 1, and every part gets a row at least; for [`Order::Stratified`], unless `y`
/// holds classes.
pub fn split_dataset<const N: usize>(data: &Dataset, fractions: [f64; N], order: Order) -> Result<[Dataset; N]> {
    let parts = split_rows(data, &fractions, order).map_err(|e| e.context("split_dataset"))?;
    let parts = parts.iter().map(|rows| data.take(rows)).collect::<Result<Vec<Dataset>>>()?;
    // There are as many parts as fractions.
    <[Dataset; N]>::try_from(parts).map_err(|_| Error::value("split_dataset: give at least one fraction"))
}

fn split_rows(data: &Dataset, fractions: &[f64], order: Order) -> Result<Vec<Vec<u32>>> {
    let sum: f64 = fractions.iter().sum();
    if !fractions.iter().all(|&f| f > 0.0) || (sum - 1.0).abs() > 1e-6 {
        return Err(Error::value(format!(
            "the fractions are {fractions:?}, {sum} in all; give positive numbers that are together 1"
        )));
    }
    let n = data.view().indices().len() as u32;
    let mut parts = vec![Vec::new(); fractions.len()];
    match order {
        Order::Kept => deal(&(0..n).collect::<Vec<u32>>(), fractions, &mut parts),
        Order::Shuffled(seed) => deal(&shuffled_indices(n, seed, 0), fractions, &mut parts),
        Order::Stratified(seed) => {
            let classes = classes(&data.y)?;
            let mut rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for row in shuffled_indices(n, seed, 0) {
                rows.entry(classes[row as usize]).or_default().push(row);
            }
            deal_classes(&rows, fractions, &mut parts);
            // Class by class would be a bad order to train in.
            for part in &mut parts {
                let order = shuffled_indices(part.len() as u32, seed, 1);
                *part = order.iter().map(|&i| part[i as usize]).collect();
            }
        }
    }
    if let Some(empty) = parts.iter().position(Vec::is_empty) {
        return Err(Error::value(format!(
            "part {empty}, {} of {n} examples, would be empty; give it a larger fraction, or more examples",
            fractions[empty]
        )));
    }
    Ok(parts)
}

/// Gives each part its share of the rows. The ends of the parts are rounded, not their lengths, so that nothing is left over.
fn deal(rows: &[u32], fractions: &[f64], parts: &mut [Vec<u32>]) {
    let (mut sum, mut start) = (0.0, 0);
    let last = parts.len().saturating_sub(1);
    for (i, (part, fraction)) in parts.iter_mut().zip(fractions).enumerate() {
        sum += fraction;
        let end =
            if i == last { rows.len() } else { ((rows.len() as f64 * sum).round_ties_even() as usize).min(rows.len()) };
        part.extend_from_slice(&rows[start.min(end)..end]);
        start = end.max(start);
    }
}

/// As [`deal`], for the rows of each class: one by one to the part to which most is owed. What rounding takes from a part in one class,
/// it gets back in the next ones, so that the parts have their lengths also when there are many small classes.
fn deal_classes(classes: &BTreeMap<u32, Vec<u32>>, fractions: &[f64], parts: &mut [Vec<u32>]) {
    let mut owed = vec![0.0; parts.len()];
    for rows in classes.values() {
        for (owed, fraction) in owed.iter_mut().zip(fractions) {
            *owed += fraction * rows.len() as f64;
        }
        for &row in rows {
            let most = (1..owed.len()).fold(0, |most, i| if owed[i] > owed[most] { i } else { most });
            parts[most].push(row);
            owed[most] -= 1.0;
        }
    }
}

/// The class of each row.
fn classes(y: &Tensor) -> Result<Vec<u32>> {
    let rows = y.dim(0);
    let width: usize = y.shape().iter().skip(1).product();
    let data = host(y)?;
    let refused = |what: String| {
        Error::value(format!("{what}; Order::Stratified needs class numbers, or vectors with a 1 at the class"))
    };
    if width == 0 || y.rank() > 2 {
        return Err(refused(format!("y has shape {}", y.shape())));
    }
    if width == 1 {
        return match data {
            Data::I32(v) => Ok(v.iter().map(|&v| v as u32).collect()),
            Data::U32(v) | Data::Bool(v) => Ok(v.clone()),
            other => {
                let class = |(row, v): (usize, &f64)| {
                    let class = (v.fract() == 0.0 && v.abs() < 1e6).then_some(*v as i32 as u32);
                    class.ok_or_else(|| refused(format!("y is {v} in row {row}")))
                };
                other.to_f64().iter().enumerate().map(class).collect()
            }
        };
    }
    let values = data.to_f64();
    (0..rows)
        .map(|row| {
            let vector = &values[row * width..(row + 1) * width];
            let ones = vector.iter().filter(|&&v| v == 1.0).count();
            let zeros = vector.iter().filter(|&&v| v == 0.0).count();
            let class = vector.iter().position(|&v| v == 1.0).filter(|_| ones == 1 && zeros == width - 1);
            class.map(|c| c as u32).ok_or_else(|| refused(format!("row {row} of y is no vector with a single 1")))
        })
        .collect()
}
