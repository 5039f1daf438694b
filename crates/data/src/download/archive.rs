//! Data sets that come as one archive.

use super::{first, hex, tar};
use crate::io::{failed, write_atomic};
use ibex_core::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use ureq::Agent;

/// A gzipped tar file.
pub(super) struct Archive {
    pub file: &'static str,
    /// SHA-256 of the file.
    pub sum: &'static str,
    /// Its size.
    pub bytes: u64,
    /// What all its paths begin with.
    pub folder: &'static str,
    /// Which paths are unpacked.
    pub wanted: fn(&str) -> bool,
}

impl Archive {
    /// Fetches the archive, unless it lies in `dir`, and unpacks it there. The folder appears when it is whole.
    pub fn bring(&self, dir: &Path, mirrors: &[&str], agent: &Agent) -> Result<()> {
        fs::create_dir_all(dir).map_err(|e| failed("create", dir, &e))?;
        let folder = dir.join(self.folder);
        if folder.exists() {
            return Err(Error::value(format!(
                "{} is there, but not whole; remove it, or choose another folder",
                folder.display()
            )));
        }
        let path = dir.join(self.file);
        let by_hand = path.exists();
        if by_hand {
            let mut file = File::open(&path).map_err(|e| failed("open", &path, &e))?;
            if copy(&mut file, &mut io::sink()).map_err(|e| failed("read", &path, &e))? != self.sum {
                return Err(Error::value(format!(
                    "{} is damaged, or another archive (its SHA-256 differs); remove it, or choose another folder",
                    path.display()
                )));
            }
        } else {
            first(dir, mirrors, self.file, |url| self.get(url, &path, agent))?;
        }
        self.unpack(&path, dir)?;
        if !by_hand {
            fs::remove_file(&path).map_err(|e| failed("remove", &path, &e))?;
        }
        Ok(())
    }

    fn get(&self, url: &str, path: &Path, agent: &Agent) -> Result<()> {
        let response = agent.get(url).call().map_err(|e| Error::io(format!("{url}: {e}")))?;
        let mut body = response.into_body().into_with_config().limit(self.bytes + 1).reader();
        write_atomic(path, |out| {
            let sum = copy(&mut body, out).map_err(|e| io::Error::other(Error::io(format!("{url}: {e}"))))?;
            if sum != self.sum {
                let error = Error::format(format!("{url}: not the archive {}, its SHA-256 differs", self.file));
                return Err(io::Error::other(error));
            }
            Ok(())
        })
    }

    fn unpack(&self, path: &Path, dir: &Path) -> Result<()> {
        let partial = dir.join(format!(".{}.{}.partial", self.folder, std::process::id()));
        let unpack = || {
            let file = BufReader::with_capacity(1 << 16, File::open(path).map_err(|e| failed("open", path, &e))?);
            fs::create_dir_all(&partial).map_err(|e| failed("create", &partial, &e))?;
            tar::unpack(flate2::bufread::GzDecoder::new(file), path, &partial, self.wanted)?;
            let from = partial.join(self.folder);
            fs::rename(&from, dir.join(self.folder)).map_err(|e| failed("rename", &from, &e))
        };
        let unpacked = unpack();
        // Gone already, or of no use.
        let _ = fs::remove_dir_all(&partial);
        unpacked
    }
}

/// Copies to the end, and returns the SHA-256 of all bytes.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hex(sum.finalize().as_slice())),
            Ok(n) => {
                sum.update(&buffer[..n]);
                to.write_all(&buffer[..n])?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
