//! Files that are written whole or not at all, and what files are by their first bytes.

use ibex_core::{Error, Result};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The error for a file or folder that the system would not let us use: what was tried, where, why, and what to do.
pub fn failed(action: &str, path: &Path, error: &io::Error) -> Error {
    let advice = match error.kind() {
        ErrorKind::NotFound => "; check the path, and that its folder exists",
        ErrorKind::PermissionDenied => "; check the permissions of the file and its folder",
        ErrorKind::ReadOnlyFilesystem => "; choose a place that can be written",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room there and try again",
        _ => "",
    };
    let message = format!("can not {action} {}: {error}{advice}", path.display());
    match error.kind() {
        ErrorKind::Unsupported => Error::unsupported(message),
        ErrorKind::OutOfMemory => Error::out_of_memory(message),
        _ => Error::io(message),
    }
}

/// What a file of a model or of weights is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A zip archive with something in it: `.keras`, `.npz`.
    Zip,
    /// `.h5`
    Hdf5,
    /// Text that begins as a JSON object does.
    Json,
    /// Something else, as `.safetensors`, which begin with a length.
    Other,
}

impl Kind {
    /// The first bytes of every [`Kind::Zip`].
    pub const ZIP: &[u8] = b"PK\x03\x04";

    /// The first bytes of every [`Kind::Hdf5`].
    pub const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

    /// Of contents, of which the beginning is enough.
    ///
    /// ```
    /// use ibex_data::io::Kind;
    /// assert_eq!(Kind::of(br#"{"class_name": "Sequential"}"#), Kind::Json);
    /// ```
    pub fn of(start: &[u8]) -> Kind {
        match start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start() {
            _ if start.starts_with(Kind::ZIP) => Kind::Zip,
            _ if start.starts_with(Kind::HDF5) => Kind::Hdf5,
            // As the length of a file of safetensors this would be more than any has.
            [b'{', b'"' | b' ' | b'\n' | b'\r' | b'\t', ..] => Kind::Json,
            _ => Kind::Other,
        }
    }

    /// Of a file.
    ///
    /// # Errors
    /// `Io` if it can not be read.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Kind> {
        let (path, mut start) = (path.as_ref(), Vec::new());
        let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
        read.map_err(|e| failed("read", path, &e))?;
        Ok(Kind::of(&start))
    }
}

/// Writes a file so that at every moment, a crash or a power cut included, `path` holds the old contents or the new ones.
///
/// `write` fills a temporary file in the same folder. That is brought to the disk and takes the name `path`. After an
/// error the temporary file is gone and what was at `path` is as it was. A link is followed; permissions are kept.
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("ibex-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("numbers.txt");
/// use std::io::Write;
/// ibex_data::io::write_atomic(&path, |file| writeln!(file, "1 2 3"))?;
/// # assert_eq!(std::fs::read_to_string(&path).unwrap(), "1 2 3\n");
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), ibex_core::Error>(())
/// ```
///
/// # Errors
/// `Io` if the system refuses: no such folder, no permission, a full disk, a read-only file, or a `path` that is no
/// regular file. An [`Error`] that `write` returns inside [`io::Error::other`] comes back as it is.
pub fn write_atomic(path: impl AsRef<Path>, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let path = path.as_ref();
    replace(path, write).map_err(|error| match error.downcast::<Error>() {
        Ok(own) => own.context(format!("can not write {}", path.display())),
        Err(error) => failed("write", path, &error),
    })
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path names no file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let old = fs::metadata(&path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "a folder or a device stands there; give the name of a file",
        ));
    }
    if old.as_ref().is_some_and(|old| old.permissions().readonly()) {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "the file is read-only"));
    }

    let random = RandomState::new().hash_one(name);
    let temporary = Temporary(folder.join(format!(".{random:016x}.{}.tmp", name.to_string_lossy())));
    let mut file = BufWriter::new(File::options().write(true).create_new(true).open(&temporary.0)?);
    if let Some(old) = old {
        file.get_ref().set_permissions(old.permissions())?;
    }
    write(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary.0, &path)?;
    sync_folder(folder);
    Ok(())
}

/// A file that is gone when this is dropped, unless it got its final name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Brings the new name to the disk. The file stands whole under it already, so a file system that can not do this (some
/// network ones, all of Windows) is no reason to call the write failed.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}
