//! Files that hold weights, as containers: what is in them, not what it means.
//!
//! - [`hdf5`]: trees of groups, attributes and arrays;
//! - [`keras`]: the `.keras` archive;
//! - [`npy`]: arrays of NumPy, one (`.npy`) or many (`.npz`);
//! - [`weights`]: where Keras puts the variables of a model in an HDF5 file.
//!
//! Nothing here knows a layer. Every file is taken for hostile: sizes, depths and counts are checked before memory is asked for.

pub mod elements;
pub mod hdf5;
pub mod keras;
pub mod npy;
pub mod weights;
mod zip;
