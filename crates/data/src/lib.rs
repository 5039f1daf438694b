//! Data sets from files, the order of their batches, what is done to them before training, and files that are written whole or not at all.
mod categorical;
mod cifar10;
mod dataset;
#[cfg(all(feature = "download", not(target_arch = "wasm32")))]
mod download;
mod fingerprint;
mod folder;
mod host;
mod idx;
#[cfg(feature = "images")]
mod images;
mod imdb;
pub mod io;
mod lookup;
mod mnist;
mod one_hot;
#[cfg(feature = "images")]
mod resize;
mod rows;
mod scale;
mod sequences;
mod split;
mod table;
mod texts;
mod timeseries;
mod vectorization;
mod words;

pub use categorical::to_categorical;
pub use cifar10::{CIFAR10_CLASSES, cifar10_from_dir};
pub use dataset::{Dataset, Split, View, train_test_split};
#[cfg(all(feature = "download", not(target_arch = "wasm32")))]
pub use download::{
    CIFAR10_MIRRORS, FASHION_MNIST_MIRRORS, IMDB_MIRRORS, MNIST_MIRRORS, cifar10_download, cifar10_download_from,
    fashion_mnist_download, fashion_mnist_download_from, imdb_download, imdb_download_from, mnist_download,
    mnist_download_from,
};
#[cfg(feature = "images")]
pub use folder::LabelMode;
#[cfg(feature = "images")]
pub use images::{Color, ImageFolder, load_image};
pub use imdb::{Imdb, imdb_from_dir};
pub use lookup::{StringLookup, TextMode};
pub use mnist::{FASHION_MNIST_CLASSES, fashion_mnist_from_dir, mnist_from_dir, mnist_subset};
pub use one_hot::OneHotEncoder;
#[cfg(feature = "images")]
pub use resize::Resize;
pub use rows::{gather_rows, shuffled_indices};
pub use scale::{Fill, Imputer, MinMaxScaler, StandardScaler, normalize};
pub use sequences::{End, Pad, pad_sequences};
pub use split::{Order, split_dataset};
pub use table::{Column, Csv, Table};
pub use texts::Texts;
pub use timeseries::Windows;
pub use vectorization::{SplitText, Standardize, TextVectorization};
pub use words::{Encoding, Sequences, WordIndex, most_frequent};
