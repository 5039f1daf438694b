//! Data sets from the network.

mod archive;
mod tar;
#[cfg(test)]
mod tests;

use crate::idx::{self, Contents};
use crate::imdb::{self, Imdb, imdb_from_dir};
use crate::io::{failed, write_atomic};
use crate::mnist::{FILES, find, load, open};
use crate::{Encoding, Split, cifar10, cifar10_from_dir};
use archive::Archive;
use ibex_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::Duration;
use ureq::Agent;

/// Where [`mnist_download`] looks, in this order.
pub const MNIST_MIRRORS: [&str; 2] =
    ["https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"];

/// Where [`fashion_mnist_download`] looks, in this order.
pub const FASHION_MNIST_MIRRORS: [&str; 2] = [
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
];

/// Where [`cifar10_download`] looks.
pub const CIFAR10_MIRRORS: [&str; 1] = ["https://www.cs.toronto.edu/~kriz/"];

/// Where [`imdb_download`] looks.
pub const IMDB_MIRRORS: [&str; 1] = ["https://ai.stanford.edu/~amaas/data/sentiment/"];

/// A data set of four files in MNIST's format.
struct Idx<'a> {
    name: &'static str,
    /// SHA-256 of the uncompressed files, which do not depend on how a mirror packed them.
    sums: [&'a str; 4],
}

const MNIST: Idx = Idx {
    name: "MNIST",
    sums: [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ],
};

const FASHION_MNIST: Idx = Idx {
    name: "Fashion-MNIST",
    sums: [
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ],
};

const CIFAR10: Archive = Archive {
    file: "cifar-10-binary.tar.gz",
    sum: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    bytes: 170_052_171,
    folder: cifar10::FOLDER,
    wanted: |path| cifar10::FILES.iter().any(|name| path.strip_prefix(cifar10::FOLDER) == Some(&format!("/{name}"))),
};

const IMDB: Archive = Archive {
    file: "aclImdb_v1.tar.gz",
    sum: "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    bytes: 84_125_825,
    folder: imdb::FOLDER,
    // Not the reviews without labels, nor the counts of words.
    wanted: |path| {
        let inside = |part: &&str| path.strip_prefix(imdb::FOLDER).is_some_and(|path| path.starts_with(*part));
        path.ends_with(".txt") && ["/train/neg/", "/train/pos/", "/test/neg/", "/test/pos/"].iter().any(inside)
    },
};

/// No packed file in MNIST's format is larger.
const MAX_DOWNLOAD: u64 = 32 << 20;

/// The 70,000 digits of MNIST from a folder, after fetching the files that are not there yet.
///
/// Each file is checked against its published SHA-256, on every call, and appears in the folder only when it is whole.
/// Damaged files are fetched again. Types and shapes are those of [`mnist_subset`](crate::mnist_subset).
///
/// # Errors
/// `Io` if no mirror can be reached or the folder can not be written; `Format` if what the mirrors send is not MNIST;
/// `Value` if the folder holds another dataset under the same names.
pub fn mnist_download(dir: impl AsRef<Path>) -> Result<Split> {
    mnist_download_from(dir, &MNIST_MIRRORS)
}

/// [`mnist_download`] from other mirrors: addresses to which `train-images-idx3-ubyte.gz` and so on are appended.
///
/// # Errors
/// As [`mnist_download`].
pub fn mnist_download_from(dir: impl AsRef<Path>, mirrors: &[&str]) -> Result<Split> {
    download(dir.as_ref(), mirrors, &agent(), &MNIST)
}

/// The 70,000 images of Fashion-MNIST from a folder, after fetching the files that are not there yet, as [`mnist_download`] does it.
/// [`FASHION_MNIST_CLASSES`](crate::FASHION_MNIST_CLASSES) names the labels.
///
/// ```no_run
/// let clothes = ibex_data::fashion_mnist_download("fashion-mnist")?;
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// As [`mnist_download`].
pub fn fashion_mnist_download(dir: impl AsRef<Path>) -> Result<Split> {
    fashion_mnist_download_from(dir, &FASHION_MNIST_MIRRORS)
}

/// [`fashion_mnist_download`] from other mirrors: addresses to which `train-images-idx3-ubyte.gz` and so on are appended.
///
/// # Errors
/// As [`mnist_download`].
pub fn fashion_mnist_download_from(dir: impl AsRef<Path>, mirrors: &[&str]) -> Result<Split> {
    download(dir.as_ref(), mirrors, &agent(), &FASHION_MNIST)
}

/// The 60,000 images of CIFAR-10 from a folder, after fetching them (162 MiB) if they are not there yet.
///
/// The archive of its authors, fetched or put into the folder by hand, is checked against its SHA-256 and unpacked there. An archive that
/// was fetched is removed then. Types and shapes are those of [`cifar10_from_dir`].
///
/// ```no_run
/// let cifar = ibex_data::cifar10_download("cifar10")?;
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `Io` if no mirror can be reached or the folder can not be written; `Format` if what a mirror sends is not CIFAR-10; `Value` if the
/// folder holds something else under these names.
pub fn cifar10_download(dir: impl AsRef<Path>) -> Result<Split> {
    cifar10_download_from(dir, &CIFAR10_MIRRORS)
}

/// [`cifar10_download`] from other mirrors: addresses to which `cifar-10-binary.tar.gz` is appended.
///
/// # Errors
/// As [`cifar10_download`].
pub fn cifar10_download_from(dir: impl AsRef<Path>, mirrors: &[&str]) -> Result<Split> {
    let dir = dir.as_ref();
    if !cifar10::is_there(dir) {
        CIFAR10.bring(dir, mirrors, &agent())?;
    }
    cifar10_from_dir(dir)
}

/// The 50,000 reviews of IMDB from a folder, after fetching them (80 MiB) if they are not there yet, as [`cifar10_download`] does it.
/// They are encoded as [`imdb_from_dir`] says.
///
/// ```no_run
/// use ibex_data::{Encoding, imdb_download};
/// let imdb = imdb_download("imdb", &Encoding::default().num_words(20_000))?;
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// As [`cifar10_download`].
pub fn imdb_download(dir: impl AsRef<Path>, encoding: &Encoding) -> Result<Imdb> {
    imdb_download_from(dir, &IMDB_MIRRORS, encoding)
}

/// [`imdb_download`] from other mirrors: addresses to which `aclImdb_v1.tar.gz` is appended.
///
/// # Errors
/// As [`cifar10_download`].
pub fn imdb_download_from(dir: impl AsRef<Path>, mirrors: &[&str], encoding: &Encoding) -> Result<Imdb> {
    let dir = dir.as_ref();
    if !imdb::is_there(dir) {
        IMDB.bring(dir, mirrors, &agent())?;
    }
    imdb_from_dir(dir, encoding)
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(Duration::from_secs(3600)));
    config.build().into()
}

fn download(dir: &Path, mirrors: &[&str], agent: &Agent, set: &Idx) -> Result<Split> {
    std::fs::create_dir_all(dir).map_err(|e| failed("create", dir, &e))?;
    load(|file| match local(dir, file, set)? {
        Some(contents) => Ok(contents),
        None => fetch(dir, mirrors, agent, file, set),
    })
}

/// The file from the folder; `None` if it is not there or is damaged.
fn local(dir: &Path, file: usize, set: &Idx) -> Result<Option<Contents>> {
    let (stem, rest, kind) = FILES[file];
    let Some(path) = find(dir, stem, rest) else { return Ok(None) };
    match open(&path, kind) {
        Ok(contents) if sha256(&contents) == set.sums[file] => Ok(Some(contents)),
        // Whole, but another dataset of this format, which is not ours to overwrite.
        Ok(_) => Err(Error::value(format!(
            "{} is not the file of {} (its SHA-256 differs); choose another folder, or remove it",
            path.display(),
            set.name
        ))),
        Err(error) if error.kind() == ErrorKind::Format => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fetches one file from the first mirror that has it.
fn fetch(dir: &Path, mirrors: &[&str], agent: &Agent, file: usize, set: &Idx) -> Result<Contents> {
    let (stem, rest, _) = FILES[file];
    let contents = first(dir, mirrors, &format!("{stem}-{rest}.gz"), |url| get(agent, url, file, set))?;
    write_atomic(dir.join(format!("{stem}-{rest}")), |out| out.write_all(&contents.bytes))?;
    Ok(contents)
}

/// Tries one mirror after the other.
fn first<T>(dir: &Path, mirrors: &[&str], file: &str, get: impl Fn(&str) -> Result<T>) -> Result<T> {
    let mut tried = String::new();
    let mut kind = ErrorKind::Io;
    for mirror in mirrors {
        match get(&format!("{}/{file}", mirror.trim_end_matches('/'))) {
            Ok(got) => return Ok(got),
            Err(error) => {
                kind = error.kind();
                // Writing to a string does not fail.
                let _ = write!(tried, "\n  {error}");
            }
        }
    }
    Err(Error::new(
        kind,
        format!(
            "{file} could not be fetched; check the network, or put the file into {} by hand. Tried:{tried}",
            dir.display()
        ),
    ))
}

fn get(agent: &Agent, url: &str, file: usize, set: &Idx) -> Result<Contents> {
    let response = agent.get(url).call().map_err(|e| Error::io(format!("{url}: {e}")))?;
    let body = response.into_body().into_with_config().limit(MAX_DOWNLOAD).reader();
    let contents = idx::read(Path::new(url), FILES[file].2, BufReader::new(body))?;
    if sha256(&contents) != set.sums[file] {
        return Err(Error::format(format!("{url}: not the file of {}, its SHA-256 differs", set.name)));
    }
    Ok(contents)
}

fn sha256(contents: &Contents) -> String {
    hex(Sha256::digest(&contents.bytes).as_slice())
}

fn hex(sum: &[u8]) -> String {
    sum.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
