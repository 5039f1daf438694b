//! The part of the tar format that data sets use: files and folders with names of at most 255 bytes.

use crate::io::failed;
use ibex_core::{Error, Result};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

const BLOCK: usize = 512;

/// More than this is no data set that we know: bounds what a hostile archive can write.
const MAX_FILES: usize = 200_000;
const MAX_BYTES: u64 = 1 << 31;

/// Writes the wanted files of an archive into a folder. `archive` is for errors alone.
pub(super) fn unpack(mut source: impl Read, archive: &Path, into: &Path, wanted: fn(&str) -> bool) -> Result<()> {
    let damaged = |what: &str| Error::format(format!("{}: {what}; fetch the archive again", archive.display()));
    let read = |e: io::Error| damaged(&format!("it can not be unpacked ({e})"));
    let (mut files, mut bytes) = (0, 0);
    let mut folders = HashSet::new();
    loop {
        let mut header = [0u8; BLOCK];
        source.read_exact(&mut header).map_err(read)?;
        if header == [0; BLOCK] {
            // Reading on to the end makes gzip check its own sum.
            io::copy(&mut source.take(MAX_BYTES), &mut io::sink()).map_err(read)?;
            return match files {
                0 => Err(damaged("none of the files that it should hold is in it")),
                _ => Ok(()),
            };
        }
        let sum: u64 =
            header.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u64::from(b) }).sum();
        if octal(&header[148..156]) != Some(sum) {
            return Err(damaged("no tar archive, or a header in it is damaged"));
        }
        let size = octal(&header[124..136]).ok_or_else(|| damaged("a size in it is no number"))?;
        let name = name(&header);
        // Counted before anything is written.
        files += usize::from(wanted(&name));
        bytes += size;
        if files > MAX_FILES || bytes > MAX_BYTES {
            return Err(damaged("it holds more than a data set"));
        }
        let is_file = matches!(header[156], b'0' | 0);
        let mut contents = (&mut source).take(size);
        if is_file && wanted(&name) {
            let path =
                inside(into, &name).ok_or_else(|| damaged(&format!("the path {name:?} in it leads out of it")))?;
            if let Some(folder) = path.parent()
                && folders.insert(folder.to_path_buf())
            {
                fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
            }
            let mut file = File::create_new(&path).map_err(|e| failed("create", &path, &e))?;
            io::copy(&mut contents, &mut file).map_err(|e| damaged(&format!("{name} can not be unpacked ({e})")))?;
        } else {
            io::copy(&mut contents, &mut io::sink()).map_err(read)?;
        }
        if contents.limit() != 0 {
            return Err(damaged("it ends too early"));
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        source.read_exact(&mut [0; BLOCK][..padding as usize]).map_err(read)?;
    }
}

/// A number in octal digits, with spaces around and a zero byte after them.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let text = text.split('\0').next()?.trim();
    // Twelve digits fit.
    if text.bytes().all(|b| (b'0'..b'8').contains(&b)) { u64::from_str_radix(text, 8).ok() } else { None }
}

/// The path of an entry.
fn name(header: &[u8; BLOCK]) -> String {
    let text = |field: &[u8]| String::from_utf8_lossy(field.split(|&b| b == 0).next().unwrap_or_default()).into_owned();
    let name = text(&header[..100]);
    let prefix = if &header[257..262] == b"ustar" { text(&header[345..500]) } else { String::new() };
    let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
    path.strip_prefix("./").map(str::to_string).unwrap_or(path)
}

/// A path below a folder; `None` if it leads anywhere else.
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    name.components().all(|c| matches!(c, Component::Normal(_))).then(|| folder.join(name))
}
