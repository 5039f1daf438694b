//! Zip archives, as `.keras` and `.npz` files are.

use ibex_core::{Error, Result};
use std::fmt::Display;
use std::io::{Read, Seek, SeekFrom, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// All that is read of an archive may be this many times its size, or [`MAX_EXPANDED`] if that is more and the archive could be that well compressed.
const USUAL_EXPANSION: u64 = 8;
const MAX_EXPANSION: u64 = 1100;
const MAX_EXPANDED: u64 = 192 << 20;

fn damaged(why: impl Display) -> Error {
    Error::format(format!("the archive is damaged: {why}"))
}

/// An archive that is read.
pub(crate) struct Reader<R> {
    archive: ZipArchive<R>,
    /// Bytes that may still be read.
    left: u64,
}

impl<R: Read + Seek> Reader<R> {
    pub(crate) fn new(mut reader: R) -> Result<Reader<R>> {
        let size = reader.seek(SeekFrom::End(0)).map_err(damaged)?;
        let left = size.saturating_mul(USUAL_EXPANSION).max(size.saturating_mul(MAX_EXPANSION).min(MAX_EXPANDED));
        Ok(Reader { archive: ZipArchive::new(reader).map_err(damaged)?, left })
    }

    /// The names of all members, in their order; those that are no text are left out.
    pub(crate) fn names(&self) -> Vec<String> {
        self.archive.file_names().filter_map(|name| name.ok().map(|name| name.into_owned())).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(name).is_some()
    }

    /// A member's contents, which are at most `most` bytes.
    pub(crate) fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>> {
        let inside = |e: Error| e.context(format!("member {name}"));
        let member = self.archive.by_name(name).map_err(damaged).map_err(inside)?;
        let most = most.min(self.left);
        let mut bytes = Vec::new();
        let read = member.take(most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(damaged).map_err(inside)?;
        if bytes.len() as u64 > most {
            return Err(inside(damaged(format!("it is larger than {most} bytes"))));
        }
        self.left -= bytes.len() as u64;
        Ok(bytes)
    }

    /// Where the bytes of a member stand in the archive, and how many they are; `None` if they are compressed. The checksum is verified.
    pub(crate) fn place(&mut self, name: &str) -> Result<Option<(u64, u64)>> {
        let inside = |e: Error| e.context(format!("member {name}"));
        let mut member = self.archive.by_name(name).map_err(damaged).map_err(inside)?;
        let Some(start) = member.data_start().filter(|_| member.compression() == CompressionMethod::Stored) else {
            return Ok(None);
        };
        let (mut len, mut buffer) = (0, vec![0; 1 << 18]);
        loop {
            match member.read(&mut buffer).map_err(damaged).map_err(inside)? {
                0 => break,
                read => len += read as u64,
            }
        }
        Ok(Some((start, len)))
    }

    pub(crate) fn into_inner(self) -> R {
        self.archive.into_inner()
    }
}

/// An archive that is written, nothing compressed, all of the first day that an archive knows.
pub(crate) struct Writer<W: Write + Seek> {
    archive: ZipWriter<W>,
}

impl<W: Write + Seek> Writer<W> {
    pub(crate) fn new(writer: W) -> Writer<W> {
        Writer { archive: ZipWriter::new(writer) }
    }

    /// Adds a member of `size` bytes, which `write` writes.
    pub(crate) fn add(
        &mut self,
        name: &str,
        size: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .large_file(size >= u64::from(u32::MAX));
        self.archive
            .start_file(name, options)
            .map_err(|e| Error::io(format!("the archive can not be written: {e}")))?;
        write(&mut self.archive).map_err(|e| e.context(format!("member {name}")))
    }

    pub(crate) fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.add(name, bytes.len() as u64, |out| {
            out.write_all(bytes).map_err(|e| Error::io(format!("the archive can not be written: {e}")))
        })
    }

    pub(crate) fn finish(self) -> Result<W> {
        self.archive.finish().map_err(|e| Error::io(format!("the archive can not be written: {e}")))
    }
}
