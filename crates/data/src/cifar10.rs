//! CIFAR-10: 32x32 colour images of ten kinds of things.

use crate::io::failed;
use crate::{Dataset, Split};
use ibex_core::{Error, Result, Tensor};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The classes of CIFAR-10, in the order of their labels.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The folder in the archive.
pub(crate) const FOLDER: &str = "cifar-10-batches-bin";

/// Its files: the training images, then the test images.
pub(crate) const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

const SIDE: usize = 32;

/// A label, then all red, all green and all blue values of an image, row by row.
const RECORD: usize = 1 + PLANES;

const PLANES: usize = 3 * SIDE * SIDE;

/// A batch of the original has 10,000 images. More than this is no such file.
const MAX_COUNT: usize = 60_000;

/// CIFAR-10 from a folder with the files of its binary version, `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, each plain or
/// gzipped, or from the folder that holds `cifar-10-batches-bin`.
///
/// `x` is f32 in `[0, 1]` of shape `(n, 32, 32, 3)`, `y` the class as i32 of shape `(n)`; [`CIFAR10_CLASSES`] names them.
///
/// ```no_run
/// let cifar = ibex_data::cifar10_from_dir("cifar-10-batches-bin")?;
/// assert_eq!(cifar.train.x.shape().to_vec(), [50_000, 32, 32, 3]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `Io` if a file is missing or can not be read; `Format` if one is damaged.
pub fn cifar10_from_dir(dir: impl AsRef<Path>) -> Result<Split> {
    let dir = dir.as_ref();
    let files = FILES.iter().map(|name| match find(dir, name) {
        Some(path) => Ok(path),
        None => Err(Error::io(format!(
            "no file {name} or {name}.gz in {} or in {FOLDER} there; give the folder with the six files of the binary version of CIFAR-10",
            dir.display()
        ))),
    });
    let files = files.collect::<Result<Vec<PathBuf>>>()?;
    let (train, test) = files.split_at(files.len() - 1);
    Ok(Split { train: read(train)?, test: read(test)? })
}

/// Whether all files are there.
#[cfg(all(feature = "download", not(target_arch = "wasm32")))]
pub(crate) fn is_there(dir: &Path) -> bool {
    FILES.iter().all(|name| find(dir, name).is_some())
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let names = [name.to_string(), format!("{name}.gz")];
    [dir.to_path_buf(), dir.join(FOLDER)]
        .iter()
        .flat_map(|dir| names.iter().map(move |n| dir.join(n)))
        .find(|p| p.is_file())
}

fn read(paths: &[PathBuf]) -> Result<Dataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in paths {
        let bytes = contents(path)?;
        for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
            if record[0] > 9 {
                return Err(Error::format(format!(
                    "{}: label {i} is {}; labels are 0 to 9: this is no file of CIFAR-10, or it is damaged",
                    path.display(),
                    record[0]
                )));
            }
            labels.push(i32::from(record[0]));
            let (red, green, blue) = (&record[1..1025], &record[1025..2049], &record[2049..]);
            for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
                pixels.extend([red, green, blue].map(|value| f32::from(value) / 255.0));
            }
        }
    }
    let n = labels.len();
    Dataset::new(Tensor::from_vec(pixels, [n, SIDE, SIDE, 3]), Tensor::from_vec(labels, n))
}

/// A whole number of records.
fn contents(path: &Path) -> Result<Vec<u8>> {
    let damaged = |what: String| Error::format(format!("{}: {what}; fetch the file again", path.display()));
    let file = BufReader::new(File::open(path).map_err(|e| failed("open", path, &e))?);
    let packed = path.extension().is_some_and(|end| end == "gz");
    let source: Box<dyn Read> = if packed { Box::new(flate2::bufread::GzDecoder::new(file)) } else { Box::new(file) };
    let mut bytes = Vec::new();
    // One byte more than the largest file shows what is too long.
    source.take((MAX_COUNT * RECORD + 1) as u64).read_to_end(&mut bytes).map_err(|e| match packed {
        true => damaged(format!("the gzip stream is damaged ({e})")),
        false => failed("read", path, &e),
    })?;
    if bytes.is_empty() || bytes.len() % RECORD != 0 || bytes.len() > MAX_COUNT * RECORD {
        return Err(damaged(format!(
            "{} bytes are no whole number of images of {RECORD} bytes, from 1 to {MAX_COUNT}",
            bytes.len()
        )));
    }
    Ok(bytes)
}
