//! The order of the rows, and copying them in that order.

use ibex_core::random::threefry;
use ibex_core::{Data, Error, Result};

/// Counter word that keeps these random numbers apart from those of dropout and initialisers under the same seed.
const STREAM: u32 = u32::from_be_bytes(*b"shuf");

/// The numbers `0..n` in random order: a Fisher-Yates shuffle in which every order is equally likely.
///
/// The order depends on `n`, `seed` and `epoch` alone: it is the same on every device, and after a resume.
///
/// ```
/// let order = ibex_data::shuffled_indices(1000, 42, 0);
/// assert_eq!(order, ibex_data::shuffled_indices(1000, 42, 0));
/// assert_ne!(order, ibex_data::shuffled_indices(1000, 42, 1));
/// ```
pub fn shuffled_indices(n: u32, seed: u64, epoch: u32) -> Vec<u32> {
    let key = threefry([seed as u32, (seed >> 32) as u32], [STREAM, epoch]);
    let mut words = (0u64..).flat_map(|i| threefry(key, [i as u32, (i >> 32) as u32]));
    let mut indices: Vec<u32> = (0..n).collect();
    for last in (1..indices.len()).rev() {
        indices.swap(last, below(last as u32 + 1, &mut words) as usize);
    }
    indices
}

/// A random number less than `bound`, by Lemire's method: multiply, and draw again in the few cases that would make
/// some numbers likelier than others ("Fast random integer generation in an interval", 2019).
fn below(bound: u32, words: &mut impl Iterator<Item = u32>) -> u32 {
    let reject = bound.wrapping_neg() % bound;
    for word in words {
        let product = u64::from(word) * u64::from(bound);
        if product as u32 >= reject {
            return (product >> 32) as u32;
        }
    }
    0
}

/// Copies rows of `row_elements` elements to `out`, such as the staging memory of a device, in the order of `indices`.
///
/// Consecutive indices are copied in one piece. What is left of `out` after the last row is set to zero, so that a
/// partial batch never shows old rows. `out` is only written, never read.
///
/// # Errors
/// `Shape` if `out` is too small; `Value` if an index is no row of `data`. `out` may have been written in part.
pub fn gather_rows(data: &Data, row_elements: usize, indices: &[u32], out: &mut [u8]) -> Result<()> {
    let (bytes, space) = (data.as_bytes(), out.len());
    let row = row_elements.saturating_mul(data.dtype().size());
    let filled = row.saturating_mul(indices.len());
    let Some((rows, rest)) = out.split_at_mut_checked(filled) else {
        let count = indices.len();
        return Err(Error::shape(format!("{count} rows of {row} bytes do not fit into a buffer of {space} bytes")));
    };
    rest.fill(0);
    if filled == 0 {
        return Ok(());
    }
    // Indices are 32 bits and sizes can be, on wasm: a range that overflows is out of range.
    let source = |index: u32, len: usize| {
        let start = (index as usize).checked_mul(row)?;
        bytes.get(start..start.checked_add(len)?)
    };
    if indices.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]))
        && let Some(run) = source(indices[0], filled)
    {
        rows.copy_from_slice(run);
        return Ok(());
    }
    for (&index, to) in indices.iter().zip(rows.chunks_exact_mut(row)) {
        match source(index, row) {
            Some(from) => to.copy_from_slice(from),
            None => return Err(Error::value(format!("row {index} asked of data with {} rows", bytes.len() / row))),
        }
    }
    Ok(())
}
