//! IMDB: film reviews that are negative or positive.

use crate::{Encoding, Sequences, Texts, WordIndex};
use ibex_core::{Error, Result};
use std::path::Path;

/// Reviews as numbers for words.
#[derive(Clone, Debug)]
pub struct Imdb {
    /// 25,000 reviews to learn from; label 0 is negative, 1 positive.
    pub train: Sequences,
    /// 25,000 other reviews.
    pub test: Sequences,
    /// The words of the training reviews.
    pub words: WordIndex,
}

/// The folder in the archive.
pub(crate) const FOLDER: &str = "aclImdb";

/// The order of the reviews; the seed of Keras.
const SEED: u64 = 113;

/// IMDB from the folder `aclImdb` of its authors, with `train/neg`, `train/pos`, `test/neg` and `test/pos` in it, or the folder that holds
/// `aclImdb`. The reviews are in a random order that is always the same.
///
/// Words are ranked by how often they occur in the training reviews, and encoded as Keras's `imdb.load_data` does it.
///
/// ```no_run
/// use ibex_data::{Encoding, Pad, imdb_from_dir};
/// let imdb = imdb_from_dir("aclImdb", &Encoding::default().num_words(20_000))?;
/// let train = imdb.train.padded(Pad::to(200))?; // x: i32 (25000, 200), y: i32 (25000)
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `Io` or `Value` if a folder or file is missing or can not be read.
pub fn imdb_from_dir(dir: impl AsRef<Path>, encoding: &Encoding) -> Result<Imdb> {
    let dir = dir.as_ref();
    let inner = dir.join(FOLDER);
    let dir = if inner.is_dir() { &inner } else { dir };
    let part = |name: &str| {
        let dir = dir.join(name);
        if !dir.is_dir() {
            return Err(Error::io(format!(
                "no folder {}; give the folder aclImdb, with train and test in it",
                dir.display()
            )));
        }
        Ok(Texts::from_classes(&dir, Some(&["neg", "pos"]))?.shuffle(SEED))
    };
    Ok(Imdb::new(&part("train")?, &part("test")?, encoding))
}

/// Whether the folders are there.
#[cfg(all(feature = "download", not(target_arch = "wasm32")))]
pub(crate) fn is_there(dir: &Path) -> bool {
    let whole =
        |dir: &Path| ["train/neg", "train/pos", "test/neg", "test/pos"].iter().all(|part| dir.join(part).is_dir());
    whole(dir) || whole(&dir.join(FOLDER))
}

impl Imdb {
    /// Any two sets of texts as numbers, with the words of the first.
    pub fn new(train: &Texts, test: &Texts, encoding: &Encoding) -> Imdb {
        let words = WordIndex::of(&train.texts);
        Imdb { train: words.encode_all(train, encoding), test: words.encode_all(test, encoding), words }
    }
}
