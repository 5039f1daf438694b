//! Sequences of different lengths as one array.

use crate::host::elements;
use ibex_core::{Element, Error, Result, Tensor};

/// Which end of a sequence is filled up or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The beginning.
    Pre,
    /// The end.
    Post,
}

/// How [`pad_sequences`] brings sequences to one length. The default is that of Keras: the length of the longest, zeros in front.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad<T = i32> {
    length: Option<usize>,
    padding: End,
    truncating: End,
    value: T,
}

impl<T: Default> Default for Pad<T> {
    fn default() -> Self {
        Pad { length: None, padding: End::Pre, truncating: End::Pre, value: T::default() }
    }
}

impl<T: Default> Pad<T> {
    /// Sequences of this length: `maxlen` in Keras.
    pub fn to(length: usize) -> Self {
        Pad { length: Some(length), ..Pad::default() }
    }

    /// Where shorter sequences are filled up.
    pub fn padding(self, padding: End) -> Self {
        Pad { padding, ..self }
    }

    /// Where longer sequences are cut off.
    pub fn truncating(self, truncating: End) -> Self {
        Pad { truncating, ..self }
    }

    /// What shorter sequences are filled up with.
    pub fn value(self, value: T) -> Self {
        Pad { value, ..self }
    }
}

/// Sequences as the rows of one tensor of shape `(sequences, length)` and the element type of the sequences.
///
/// ```
/// use ibex_data::{End, Pad, pad_sequences};
/// let words = [vec![1, 2, 3], vec![4], vec![]];
/// let x = pad_sequences(&words, Pad::to(2))?;
/// assert_eq!(x.data().unwrap().to_f64(), [2., 3., 0., 4., 0., 0.]);
/// let x = pad_sequences(&words, Pad::default().padding(End::Post).value(-1))?;
/// assert_eq!(x.shape().to_vec(), [3, 3]);
/// assert_eq!(x.data().unwrap().to_f64(), [1., 2., 3., 4., -1., -1., -1., -1., -1.]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `Value` if there is no sequence or the length is zero; `OutOfMemory` if the result would be absurdly large.
pub fn pad_sequences<T: Element>(sequences: &[impl AsRef<[T]>], pad: Pad<T>) -> Result<Tensor> {
    let longest = sequences.iter().map(|s| s.as_ref().len()).max().unwrap_or(0);
    let length = pad.length.unwrap_or(longest);
    if sequences.is_empty() || length == 0 {
        return Err(Error::value(format!(
            "pad_sequences: {} sequences, brought to the length {length}; give at least one sequence and a length of at least 1",
            sequences.len()
        )));
    }
    let shape = [sequences.len(), length];
    let total = elements("pad_sequences: an array", &shape, size_of::<T>(), "give a smaller length with `Pad::to`")?;
    let mut padded = vec![pad.value; total];
    for (sequence, row) in sequences.iter().zip(padded.chunks_exact_mut(length)) {
        let sequence = sequence.as_ref();
        let kept = match pad.truncating {
            End::Pre => &sequence[sequence.len().saturating_sub(length)..],
            End::Post => &sequence[..sequence.len().min(length)],
        };
        let start = match pad.padding {
            End::Pre => length - kept.len(),
            End::Post => 0,
        };
        row[start..start + kept.len()].copy_from_slice(kept);
    }
    Ok(Tensor::from_vec(padded, shape))
}
