//! TensorBoard's event files: records with checksums, each a protocol buffer `Event`.

use crate::protobuf::Message;
use ibex_core::Result;
use ibex_data::io::failed;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// TensorFlow's default.
const BUCKETS: usize = 30;

/// An event file that is being written.
#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Events {
    /// A new file in a folder.
    pub fn create(folder: &Path) -> Result<Events> {
        // Two may be made in one second.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        fs::create_dir_all(folder).map_err(|e| failed("create folder", folder, &e))?;
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = format!("events.out.tfevents.{:010}.ibex.{process}.{number}.v2", now() as u64);
        let path = folder.join(name);
        let file = File::create(&path).map_err(|e| failed("create", &path, &e))?;
        let mut events = Events { path, file: BufWriter::new(file) };
        events.record(&Message::new().double(1, now()).bytes(3, b"brain.Event:2"))?;
        Ok(events)
    }

    /// A point of a curve.
    pub fn scalar(&mut self, tag: &str, step: usize, value: f64) -> Result<()> {
        const FLOAT: u64 = 1;
        let tensor = Message::new().uint(1, FLOAT).bytes(2, b"").bytes(5, (value as f32).to_le_bytes());
        self.summary(tag, step, "scalars", 1, tensor)
    }

    /// How often values of which size occur. Values that are no numbers are left out.
    pub fn histogram(&mut self, tag: &str, step: usize, values: &[f64]) -> Result<()> {
        const DOUBLE: u64 = 2;
        let rows = buckets(values);
        let size = |n: usize| Message::new().uint(1, n as u64);
        let shape = Message::new().messages(2, [size(rows.len()), size(3)]);
        let content: Vec<u8> = rows.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        let tensor = Message::new().uint(1, DOUBLE).message(2, shape).bytes(4, &content);
        self.summary(tag, step, "histograms", 2, tensor)
    }

    fn summary(&mut self, tag: &str, step: usize, plugin: &str, class: u64, tensor: Message) -> Result<()> {
        let plugin = Message::new().bytes(1, plugin);
        let metadata = Message::new().message(1, plugin).uint(4, class);
        let value = Message::new().bytes(1, tag).message(8, tensor).message(9, metadata);
        let summary = Message::new().message(1, value);
        self.record(&Message::new().double(1, now()).uint(2, step as u64).message(5, summary))
    }

    /// Length, its checksum, data, their checksum.
    fn record(&mut self, event: &Message) -> Result<()> {
        let data = &event.to_bytes()[..];
        let length = (data.len() as u64).to_le_bytes();
        let parts = [&length[..], &masked_crc(&length), data, &masked_crc(data)].concat();
        self.file.write_all(&parts).map_err(|e| failed("write", &self.path, &e))
    }

    /// Lets TensorBoard see what was written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| failed("write", &self.path, &e))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Left, right and count of intervals of one size; the last has its right end too.
fn buckets(values: &[f64]) -> Vec<[f64; 3]> {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let (lo, hi) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    if lo > hi {
        return Vec::new();
    }
    if lo == hi {
        let mut rows = vec![[lo - 0.5, lo + 0.5, 0.0]; BUCKETS];
        rows[BUCKETS - 1][2] = finite().count() as f64;
        return rows;
    }
    let edge = |i: usize| if i == BUCKETS { hi } else { lo + (hi - lo) * i as f64 / BUCKETS as f64 };
    let mut rows: Vec<[f64; 3]> = (0..BUCKETS).map(|i| [edge(i), edge(i + 1), 0.0]).collect();
    for value in finite() {
        let bucket = ((value - lo) / (hi - lo) * BUCKETS as f64) as usize;
        rows[bucket.min(BUCKETS - 1)][2] += 1.0;
    }
    rows
}

/// CRC-32C, turned and shifted as TensorFlow stores it.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    let step = |mut crc: u32, byte: &u8| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
        crc
    };
    let crc = !data.iter().fold(!0, step);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum() {
        // The check value of CRC-32C is e3069283.
        let want = 0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_crc(b"123456789"), want.to_le_bytes());
    }

    #[test]
    fn counts_of_values() {
        let rows = buckets(&[0.0, 1.0, 2.0, 3.0, 3.0, f64::NAN]);
        assert_eq!((rows.len(), rows[0], rows[BUCKETS - 1]), (30, [0.0, 0.1, 1.0], [2.9, 3.0, 2.0]));
        assert_eq!((rows[10][2], rows[20][2]), (1.0, 1.0));
        let same = buckets(&[2.0; 7]);
        assert_eq!((same[0], same[29]), ([1.5, 2.5, 0.0], [1.5, 2.5, 7.0]));
        assert!(buckets(&[f64::NAN]).is_empty());
    }
}
