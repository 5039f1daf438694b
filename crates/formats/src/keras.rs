//! The archive that Keras 3 calls a `.keras` file: a model's description as JSON, its weights as HDF5, and the files of its layers.
//!
//! ```no_run
//! use ibex_formats::keras::Archive;
//!
//! let archive = Archive::open("model.keras")?;
//! println!("{}", archive.config["class_name"]);
//! for (path, array) in archive.weights.arrays() {
//!     println!("{path}: {array:?}");
//! }
//! # Ok::<(), ibex_core::Error>(())
//! ```

use crate::hdf5::Group;
use crate::zip::{Reader, Writer};
use ibex_core::{Error, Result};
use ibex_data::io::{Kind, failed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;

/// The version of Keras whose files these are.
pub const KERAS_VERSION: &str = "3.15.1";

const METADATA: &str = "metadata.json";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.weights.h5";
const ASSETS: &str = "assets/";

/// The largest description that is read: its values take up to ten times as much memory.
const MAX_JSON: u64 = 32 << 20;
/// The most that all files of layers may be.
const MAX_ASSETS: u64 = 256 << 20;
/// Folders in folders.
const MAX_DEPTH: usize = 16;

/// What a `.keras` file holds.
#[derive(Debug, Default)]
pub struct Archive {
    /// Keras's version and the date; `Null` if the file does not say.
    pub metadata: Value,
    /// The model: `{"class_name": ..., "config": {...}, "compile_config": {...}}`.
    pub config: Value,
    /// The variables of layers and of the optimizer: see [`crate::weights`].
    pub weights: Group,
    /// Files of layers, such as vocabularies, by their path below `assets/`.
    pub assets: BTreeMap<String, Vec<u8>>,
}

impl Archive {
    /// An archive of now.
    pub fn new(config: Value, weights: Group) -> Archive {
        let metadata = serde_json::json!({ "keras_version": KERAS_VERSION, "date_saved": date() });
        Archive { metadata, config, weights, assets: BTreeMap::new() }
    }

    /// Reads an archive, or a folder that Keras saved with `zipped=False`. The weights stay in the file until they are asked for, unless they are
    /// compressed.
    ///
    /// # Errors
    /// `Io` if it can not be read; `Format` if it is damaged or no archive, or something is not there.
    pub fn open(path: impl AsRef<Path>) -> Result<Archive> {
        let path = path.as_ref();
        let archive = if path.is_dir() { folder(path) } else { file(path) };
        archive.map_err(|e| e.context(format!("can not read {}", path.display())))
    }

    /// The archive of a file's contents.
    ///
    /// # Errors
    /// `Format` if they are damaged or no archive, or something is not there.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Archive> {
        check(Kind::of(&bytes))?;
        let mut zip = Reader::new(Cursor::new(bytes))?;
        let mut archive = described(&mut zip)?;
        archive.weights = match zip.place(WEIGHTS)? {
            Some((start, len)) => {
                let mut bytes = zip.into_inner().into_inner();
                let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
                bytes.drain(..start);
                bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
                Group::from_bytes(bytes)
            }
            None => Group::from_bytes(zip.read(WEIGHTS, u64::MAX)?),
        }
        .map_err(|e| e.context(WEIGHTS))?;
        Ok(archive)
    }

    /// Writes the archive, whole or not at all. The numbers of one array at a time are asked for.
    ///
    /// # Errors
    /// `Io` if the file system refuses; `Value` if a name can not be written; whatever asking for numbers gives.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        ibex_data::io::write_atomic(path, |out| self.write(out).map_err(std::io::Error::other))
    }

    /// The file's contents.
    ///
    /// # Errors
    /// As [`Archive::save`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        self.write(&mut bytes)?;
        Ok(bytes.into_inner())
    }

    fn write(&self, out: impl Write + Seek) -> Result<()> {
        let mut zip = Writer::new(out);
        for (name, value) in [(METADATA, &self.metadata), (CONFIG, &self.config)] {
            let text =
                serde_json::to_vec(value).map_err(|e| Error::value(format!("{name} can not be written: {e}")))?;
            zip.add_bytes(name, &text)?;
        }
        let plan = self.weights.plan()?;
        zip.add(WEIGHTS, plan.size(), |out| plan.write(out))?;
        for (name, bytes) in &self.assets {
            zip.add_bytes(&format!("{ASSETS}{name}"), bytes)?;
        }
        let mut out = zip.finish()?;
        out.flush().map_err(|e| Error::io(format!("the archive can not be written: {e}")))
    }
}

/// An error if the contents are of something else.
fn check(kind: Kind) -> Result<()> {
    match kind {
        Kind::Zip => Ok(()),
        Kind::Hdf5 => {
            let text = "it is an HDF5 file of Keras 2 or of weights, no .keras archive; give it the ending .h5";
            Err(Error::format(text))
        }
        _ => Err(Error::format("it is no .keras archive: it does not begin as a zip file does")),
    }
}

fn file(path: &Path) -> Result<Archive> {
    check(Kind::of_file(path)?)?;
    let file = File::open(path).map_err(|e| failed("read", path, &e))?;
    let mut zip = Reader::new(std::io::BufReader::new(file))?;
    let mut archive = described(&mut zip)?;
    archive.weights = match zip.place(WEIGHTS)? {
        Some((start, len)) => Group::open_part(zip.into_inner().into_inner(), start, len),
        None => Group::from_bytes(zip.read(WEIGHTS, u64::MAX)?),
    }
    .map_err(|e| e.context(WEIGHTS))?;
    Ok(archive)
}

/// All of an archive but its weights, which are there.
fn described<R: Read + Seek>(zip: &mut Reader<R>) -> Result<Archive> {
    if !zip.has(CONFIG) && zip.names().iter().any(|name| name.ends_with(".npy")) {
        let text = "the file is an .npz of arrays: weights, but no model; make the model, then call `load_weights`";
        return Err(Error::format(text));
    }
    if !zip.has(CONFIG) {
        return Err(Error::format(format!("it is no .keras archive: it has no {CONFIG}")));
    }
    if !zip.has(WEIGHTS) {
        return Err(no_weights(zip.has("model.weights.npz")));
    }
    let mut archive = Archive { config: json(CONFIG, &zip.read(CONFIG, MAX_JSON)?)?, ..Archive::default() };
    if zip.has(METADATA) {
        archive.metadata = json(METADATA, &zip.read(METADATA, MAX_JSON)?)?;
    }
    let mut left = MAX_ASSETS;
    for name in zip.names() {
        if let Some(asset) = name.strip_prefix(ASSETS).filter(|asset| !asset.is_empty() && !asset.ends_with('/')) {
            let bytes = zip.read(&name, left)?;
            left -= bytes.len() as u64;
            archive.assets.insert(asset.to_string(), bytes);
        }
    }
    Ok(archive)
}

fn no_weights(pickled: bool) -> Error {
    if pickled {
        let text = "its weights are pickled Python objects (model.weights.npz); save the model with weights in HDF5, as is the default";
        return Error::unsupported(text);
    }
    Error::format(format!("it has no {WEIGHTS}"))
}

fn json(name: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::format(format!("{name} is damaged: {e}")))
}

/// A folder with the members of an archive as files.
fn folder(path: &Path) -> Result<Archive> {
    let read = |name: &str| -> Result<Value> {
        let path = path.join(name);
        json(name, &limited(&path, MAX_JSON)?)
    };
    if !path.join(WEIGHTS).is_file() {
        return Err(no_weights(path.join("model.weights.npz").is_file()));
    }
    let mut archive =
        Archive { config: read(CONFIG)?, weights: Group::open(path.join(WEIGHTS))?, ..Archive::default() };
    if path.join(METADATA).is_file() {
        archive.metadata = read(METADATA)?;
    }
    let assets = path.join(ASSETS);
    if assets.is_dir() {
        let mut left = MAX_ASSETS;
        collect(&assets, "", MAX_DEPTH, &mut left, &mut archive.assets)?;
    }
    Ok(archive)
}

/// The files below `path`; links are not followed.
fn collect(path: &Path, name: &str, depth: usize, left: &mut u64, into: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let io = |e| failed("read", path, &e);
    if depth == 0 {
        return Err(Error::format(format!("the folders of {} are nested too deep", path.display())));
    }
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let inner = format!("{name}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(io)?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{inner}/"), depth - 1, left, into)?;
        } else if kind.is_file() {
            let bytes = limited(&entry.path(), *left)?;
            *left -= bytes.len() as u64;
            into.insert(inner, bytes);
        }
    }
    Ok(())
}

/// A file of at most `most` bytes.
fn limited(path: &Path, most: u64) -> Result<Vec<u8>> {
    let io = |e| failed("read", path, &e);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > most {
        return Err(Error::format(format!("{} is larger than {most} bytes", path.display())));
    }
    Ok(bytes)
}

/// The date and time (UTC) as Keras writes them: `2026-11-22@03:51:04`.
fn date() -> String {
    #[cfg(not(target_arch = "wasm32"))]
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    // A browser has no clock that the standard library knows.
    #[cfg(target_arch = "wasm32")]
    let seconds = 0;
    date_of(seconds)
}

fn date_of(seconds: u64) -> String {
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Years begin in March here, so that the leap day is a year's last.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}@{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::date_of;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_of(0), "1970-01-01@00:00:00");
        assert_eq!(date_of(951_782_399), "2000-02-28@23:59:59");
        assert_eq!(date_of(951_782_400), "2000-02-29@00:00:00");
        assert_eq!(date_of(1_795_319_464), "2026-11-22@03:51:04");
    }
}
