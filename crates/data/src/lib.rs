//! Datasets, the order of their batches, and files that are written whole or not at all.
mod dataset;
#[cfg(all(feature = "download", not(target_arch = "wasm32")))]
mod download;
mod idx;
pub mod io;
mod mnist;
mod rows;

pub use dataset::{Dataset, Split, View, train_test_split};
#[cfg(all(feature = "download", not(target_arch = "wasm32")))]
pub use download::{MNIST_MIRRORS, mnist_download, mnist_download_from};
pub use mnist::{mnist_from_dir, mnist_subset};
pub use rows::{gather_rows, shuffled_indices};
