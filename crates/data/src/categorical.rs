//! Class numbers as vectors.

use crate::host::{elements, host};
use ibex_core::{DType, Data, Error, Result, Tensor};

/// Class numbers as vectors with a 1 at the class and 0 elsewhere, for `CategoricalCrossentropy`: f32 of shape `(.., classes)`.
///
/// `labels` are integers of any shape; a last axis of length 1 is dropped, as in Keras. Without `classes` there is one more than the
/// largest label.
///
/// ```
/// use ibex_core::Tensor;
/// let labels = Tensor::from_vec(vec![0, 2], 2);
/// let y = ibex_data::to_categorical(&labels, Some(3))?;
/// assert_eq!(y.shape().to_vec(), [2, 3]);
/// assert_eq!(y.data().unwrap().to_f64(), [1., 0., 0., 0., 0., 1.]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `DType` unless the labels are integers; `Value` if one is negative or no class (Keras counts negative ones from the last class);
/// `OutOfMemory` if the result would be absurdly large.
pub fn to_categorical(labels: &Tensor, classes: Option<usize>) -> Result<Tensor> {
    let numbers: Vec<i64> = match host(labels)? {
        Data::I32(v) => v.iter().map(|&v| i64::from(v)).collect(),
        Data::U32(v) | Data::Bool(v) => v.iter().map(|&v| i64::from(v)).collect(),
        other => {
            return Err(Error::dtype(format!(
                "to_categorical: the labels are {}; give integers, such as i32",
                other.dtype()
            )));
        }
    };
    let largest = numbers.iter().max().map_or(0, |&max| usize::try_from(max).unwrap_or(0));
    let classes = match classes {
        Some(classes) => classes,
        None if numbers.is_empty() => {
            return Err(Error::value("to_categorical: there are no labels; give the number of classes"));
        }
        None => largest.saturating_add(1),
    };
    if let Some(at) = numbers.iter().position(|&n| usize::try_from(n).map_or(true, |n| n >= classes)) {
        return Err(Error::value(format!(
            "to_categorical: label {at} is {}, but the classes are 0 to {}; check the labels, or give the number of classes",
            numbers[at],
            classes as i64 - 1
        )));
    }
    let mut shape = labels.shape().to_vec();
    if shape.len() > 1 && shape.last() == Some(&1) {
        shape.pop();
    }
    shape.push(classes);
    let size = DType::F32.size();
    let total =
        elements("to_categorical: an array", &shape, size, "keep the integers, with SparseCategoricalCrossentropy")?;
    let mut vectors = vec![0f32; total];
    for (&number, vector) in numbers.iter().zip(vectors.chunks_exact_mut(classes.max(1))) {
        vector[number as usize] = 1.0;
    }
    Ok(Tensor::from_vec(vectors, shape))
}
