//! Damaged files are errors: no panic, no endless loop, no gigabyte.

use ibex_core::Result;
use ibex_formats::hdf5::Group;
use ibex_formats::keras::Archive;
use ibex_formats::npy::{Array, npz_from_bytes};
use ibex_formats::weights::legacy;
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts the bytes that are taken.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(TAKEN.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(TAKEN.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers that look random and are the same in every run (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Reads everything that is in the file.
fn read(name: &str, bytes: Vec<u8>) -> Result<()> {
    let all = |group: &Group| -> Result<()> {
        // A reader of models asks for the variables that it knows, one after another.
        let mut left = 64 << 20;
        for (_, dataset) in group.arrays() {
            if left > 0 {
                left -= dataset.read()?.as_bytes().len().min(left);
            }
        }
        legacy::group(group).map_or(Ok(()), |group| legacy::layers(group).map(drop))
    };
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("keras") => all(&Archive::from_bytes(bytes)?.weights),
        Some("h5") => all(&Group::from_bytes(bytes)?),
        Some("npz") => npz_from_bytes(&bytes).map(drop),
        _ => Array::from_bytes(&bytes).map(drop),
    }
}

fn damage(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match random.below(4) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        2 => {
            for _ in 0..1 + random.below(16) {
                let at = random.below(bytes.len());
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
            }
        }
        _ => {
            // What sizes, counts and addresses are made of: eight bytes at a multiple of eight.
            let at = random.below(bytes.len() / 8) * 8;
            let word =
                [0, 1, u64::MAX, 1 << 62, u64::from(u32::MAX), random.below(bytes.len()) as u64][random.below(6)];
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
    }
    bytes
}

/// The files beside this script, and more real ones if they are there.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("tests/files"), root.join("../../../shared/keras-samples")];
    let list = |folder: &PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = folders.iter().flat_map(list).collect();
    files
        .retain(|file| file.extension().is_some_and(|e| ["keras", "h5", "npz", "npy"].iter().any(|known| e == *known)));
    files.sort();
    files
}

#[test]
fn damaged_files_are_errors() {
    let files = files();
    assert!(files.len() >= 12, "{files:?}");
    let rounds: usize = std::env::var("IBEX_DAMAGED_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let mut random = Random(0x1bec5);
    let (mut refused, mut slowest, mut most) = (0, (Duration::ZERO, String::new()), 0);
    for file in &files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).expect("a name");
        let bytes = std::fs::read(file).expect("a file");
        for round in 0..rounds {
            let bytes = damage(&bytes, &mut random);
            PEAK.store(TAKEN.load(Relaxed), Relaxed);
            let (before, start) = (TAKEN.load(Relaxed), Instant::now());
            refused += usize::from(read(&name, bytes).is_err());
            let (time, peak) = (start.elapsed(), PEAK.load(Relaxed).saturating_sub(before));
            assert!(peak < 1 << 30, "{name}, round {round}: {peak} bytes");
            assert!(time < Duration::from_secs(20), "{name}, round {round}: {time:?}");
            if time > slowest.0 {
                slowest = (time, format!("{name}, round {round}"));
            }
            most = most.max(peak);
        }
    }
    let count = files.len() * rounds;
    println!("{refused} of {count} refused; slowest {slowest:?}; at most {most} bytes");
    assert!(refused > count / 4, "{refused} of {count}");
}
