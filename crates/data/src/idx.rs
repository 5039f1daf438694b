//! The IDX format of MNIST: a big-endian header, then bytes.

use crate::io::failed;
use flate2::bufread::GzDecoder;
use ibex_core::{Error, Result};
use std::io::{BufRead, ErrorKind, Read};
use std::path::Path;

/// Rows and columns of an image.
pub(crate) const SIDE: usize = 28;

/// More than any dataset of this kind has; bounds what a damaged or hostile header can make us read.
const MAX_COUNT: u64 = 1 << 19;

/// What an IDX file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Images,
    Labels,
}

/// A file that passed all checks.
#[derive(Debug)]
pub(crate) struct Contents {
    kind: Kind,
    /// Header and items, uncompressed.
    pub bytes: Vec<u8>,
}

impl Contents {
    /// What follows the header.
    pub fn items(&self) -> &[u8] {
        &self.bytes[self.kind.header()..]
    }

    /// Number of images or labels.
    pub fn count(&self) -> usize {
        self.items().len() / self.kind.item()
    }
}

impl Kind {
    fn magic(self) -> u32 {
        match self {
            Kind::Images => 0x0803,
            Kind::Labels => 0x0801,
        }
    }

    /// Bytes of the header: the magic number, the count, and the lengths of the other axes.
    fn header(self) -> usize {
        match self {
            Kind::Images => 16,
            Kind::Labels => 8,
        }
    }

    /// Bytes of one item.
    fn item(self) -> usize {
        match self {
            Kind::Images => SIDE * SIDE,
            Kind::Labels => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Images => "images",
            Kind::Labels => "labels",
        }
    }
}

/// Reads and checks a file, gzipped or not. `path` is for errors alone.
///
/// No more is read, nor memory taken, than the header announces and the source delivers.
pub(crate) fn read(path: &Path, kind: Kind, mut source: impl BufRead) -> Result<Contents> {
    // Browsers and mirrors unpack as they please, so the contents decide and not the name.
    let gzip = source.fill_buf().map_err(|e| failed("read", path, &e))?.starts_with(&[0x1f, 0x8b]);
    let bytes = if gzip { parse(path, kind, GzDecoder::new(source)) } else { parse(path, kind, source) }?;
    Ok(Contents { kind, bytes })
}

fn parse(path: &Path, kind: Kind, mut source: impl Read) -> Result<Vec<u8>> {
    let damaged = |what: String| Error::format(format!("{}: {what}; get the file again", path.display()));
    let mut bytes = Vec::new();
    let mut fill = |bytes: &mut Vec<u8>, len: usize| {
        let missing = (len - bytes.len()) as u64;
        source.by_ref().take(missing).read_to_end(bytes).map_err(|e| match e.kind() {
            ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                damaged(format!("the gzip stream is damaged ({e})"))
            }
            _ => failed("read", path, &e),
        })
    };

    let (name, header) = (kind.name(), kind.header());
    fill(&mut bytes, header)?;
    if bytes.len() < header {
        return Err(damaged(format!("{} bytes are too few for the header of {header}", bytes.len())));
    }
    let word = |i: usize| u32::from_be_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
    let (magic, count) = (word(0), u64::from(word(1)));
    for other in [Kind::Images, Kind::Labels] {
        if other != kind && magic == other.magic() {
            let found = other.name();
            return Err(Error::format(format!("{}: {found} where {name} belong; swap the files", path.display())));
        }
    }
    if magic != kind.magic() {
        let want = kind.magic();
        return Err(damaged(format!("no IDX file of {name}: it begins with {magic:#010x} instead of {want:#010x}")));
    }
    if kind == Kind::Images && (word(2), word(3)) != (SIDE as u32, SIDE as u32) {
        return Err(damaged(format!("images of {}x{} where {SIDE}x{SIDE} are read", word(2), word(3))));
    }
    if count == 0 || count > MAX_COUNT {
        return Err(damaged(format!("the header announces {count} {name}; 1 to {MAX_COUNT} are read")));
    }

    let whole = header + count as usize * kind.item();
    // One byte more than announced shows what is too long, and makes gzip check its own sum.
    fill(&mut bytes, whole + 1)?;
    if bytes.len() != whole {
        let found =
            if bytes.len() < whole { format!("ends after {}", bytes.len()) } else { "goes on after that".into() };
        return Err(damaged(format!(
            "the header announces {count} {name}, {whole} bytes in all, but the file {found}"
        )));
    }
    if kind == Kind::Labels
        && let Some(i) = bytes[header..].iter().position(|&label| label > 9)
    {
        return Err(damaged(format!("label {i} is {}; labels are 0 to 9", bytes[header + i])));
    }
    Ok(bytes)
}
