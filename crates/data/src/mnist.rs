//! MNIST: 28x28 grey images of handwritten digits.

use crate::idx::{self, Contents, Kind, SIDE};
use crate::io::failed;
use crate::{Dataset, Split};
use ibex_core::{Error, Result, Tensor};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// The four files of a dataset in MNIST's format: stem, the rest of the name, and what the file holds.
pub(crate) const FILES: [(&str, &str, Kind); 4] = [
    ("train-images", "idx3-ubyte", Kind::Images),
    ("train-labels", "idx1-ubyte", Kind::Labels),
    ("t10k-images", "idx3-ubyte", Kind::Images),
    ("t10k-labels", "idx1-ubyte", Kind::Labels),
];

/// 5,000 digits of MNIST that are part of this crate: 4,000 to train and 1,000 to test.
///
/// Every class has 400 and 100 of them, in a random order that is always the same. `x` is f32 in `[0, 1]` of shape
/// `(n, 28, 28, 1)`, `y` the digits as i32 of shape `(n,)`. `crates/data/mnist-5k/SOURCE.md` says where they come from.
///
/// All of them are from the first 6,000 training images of the full set, so none is in its test set.
///
/// # Errors
/// `Format` if the data in the program is damaged.
pub fn mnist_subset() -> Result<Split> {
    const PACKED: [&[u8]; 4] = [
        include_bytes!("../mnist-5k/train-images-idx3-ubyte.gz"),
        include_bytes!("../mnist-5k/train-labels-idx1-ubyte.gz"),
        include_bytes!("../mnist-5k/t10k-images-idx3-ubyte.gz"),
        include_bytes!("../mnist-5k/t10k-labels-idx1-ubyte.gz"),
    ];
    load(|file| {
        let (stem, rest, kind) = FILES[file];
        idx::read(Path::new(&format!("(in the program) {stem}-{rest}.gz")), kind, PACKED[file])
    })
}

/// MNIST, or another dataset in its format such as Fashion-MNIST, from a folder with its four files:
/// `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`.
///
/// They may be gzipped, with `.gz` at the end of the name, and have a `.` before `idx`. Types and shapes are those of
/// [`mnist_subset`].
///
/// # Errors
/// `Io` if a file is missing or can not be read; `Format` if one is damaged or two do not belong together.
pub fn mnist_from_dir(dir: impl AsRef<Path>) -> Result<Split> {
    from_dir(dir.as_ref(), "MNIST")
}

/// The classes of Fashion-MNIST, in the order of their labels.
pub const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// Fashion-MNIST, 70,000 grey images of clothes, from a folder with its four files: they have the names, and the data the types and
/// shapes, of [`mnist_from_dir`]. [`FASHION_MNIST_CLASSES`] names the labels.
///
/// ```no_run
/// let clothes = ibex_data::fashion_mnist_from_dir("fashion-mnist")?;
/// assert_eq!(clothes.train.x.shape().to_vec(), [60_000, 28, 28, 1]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// As [`mnist_from_dir`].
pub fn fashion_mnist_from_dir(dir: impl AsRef<Path>) -> Result<Split> {
    from_dir(dir.as_ref(), "Fashion-MNIST")
}

fn from_dir(dir: &Path, name: &str) -> Result<Split> {
    load(|file| {
        let (stem, rest, kind) = FILES[file];
        match find(dir, stem, rest) {
            Some(path) => open(&path, kind),
            None => Err(Error::io(format!(
                "no file {stem}-{rest} or {stem}-{rest}.gz in {}; give the folder that holds the four files of {name}",
                dir.display()
            ))),
        }
    })
}

/// The file under one of the names it is known by.
pub(crate) fn find(dir: &Path, stem: &str, rest: &str) -> Option<PathBuf> {
    ["-", "."]
        .iter()
        .flat_map(|dot| ["", ".gz"].map(|end| dir.join(format!("{stem}{dot}{rest}{end}"))))
        .find(|path| path.is_file())
}

/// Reads one file and checks it.
pub(crate) fn open(path: &Path, kind: Kind) -> Result<Contents> {
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    idx::read(path, kind, BufReader::with_capacity(1 << 16, file))
}

/// Puts the datasets together from four files, given by their places in [`FILES`].
pub(crate) fn load(mut file: impl FnMut(usize) -> Result<Contents>) -> Result<Split> {
    let mut dataset = |first: usize| {
        let (images, labels) = (file(first)?, file(first + 1)?);
        let (n, m) = (images.count(), labels.count());
        if n != m {
            let (images, labels) = (FILES[first].0, FILES[first + 1].0);
            return Err(Error::format(format!(
                "{images} holds {n} images but {labels} holds {m} labels; take both from the same dataset"
            )));
        }
        let pixels: Vec<f32> = images.items().iter().map(|&p| f32::from(p) / 255.0).collect();
        let digits: Vec<i32> = labels.items().iter().map(|&label| i32::from(label)).collect();
        Dataset::new(Tensor::from_vec(pixels, [n, SIDE, SIDE, 1]), Tensor::from_vec(digits, n))
    };
    Ok(Split { train: dataset(0)?, test: dataset(2)? })
}
