//! Numbers of tensors that are on the host, and sizes that are checked before memory is asked for.

use ibex_core::{Data, Error, Result, Tensor};

/// More bytes than a data set in memory may have. It bounds what a damaged file or a slip in a size can make us allocate.
const MAX_BYTES: usize = if usize::BITS >= 64 { (16u64 << 30) as usize } else { 1 << 30 };

/// The numbers of a tensor.
pub(crate) fn host(tensor: &Tensor) -> Result<&Data> {
    match tensor.check()?.data() {
        Some(data) => Ok(data),
        None => {
            Err(Error::value("the tensor is not computed yet, or is on a device; give what its `to_host()?` gives"))
        }
    }
}

/// The number of elements of an array with axes `dims`, if `bytes` for each of them are no more than a program should ask for.
/// `what` is being made, and `instead` is what the user can do.
pub(crate) fn elements(what: &str, dims: &[usize], bytes: usize, instead: &str) -> Result<usize> {
    let elements = dims.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
    match elements.filter(|n| n.checked_mul(bytes).is_some_and(|bytes| bytes <= MAX_BYTES)) {
        Some(elements) => Ok(elements),
        None => Err(Error::out_of_memory(format!(
            "{what} of shape {} would take more than {} GiB; {instead}",
            ibex_core::Shape::from(dims),
            MAX_BYTES >> 30
        ))),
    }
}
