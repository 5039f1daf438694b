//! Damaged files of models: an error or a model, no panic. The containers themselves are damaged more thoroughly in crates/formats.

use ibex::Model;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// The fixtures, and more real files if they are there.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders =
        ["tests/keras/weights", "tests/keras/files", "../formats/tests/files", "../../../shared/keras-samples"]
            .map(|at| root.join(at));
    let list = |folder: &PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = folders.iter().flat_map(list).collect();
    files.retain(|file| {
        let name = file.to_string_lossy();
        name.ends_with(".h5") && !name.ends_with(".weights.h5") || name.ends_with(".keras")
    });
    files.sort();
    files
}

/// Flips one bit or replaces one byte. Half of the time it is one of the description, where a digit makes another model.
fn damage(bytes: &mut [u8], random: &mut Random) {
    let text: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, w)| w.starts_with(b"\": ")).map(|(i, _)| i + 3).collect();
    let at = match random.below(2) {
        0 if !text.is_empty() => text[random.below(text.len())],
        _ => random.below(bytes.len()),
    };
    match random.below(3) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = b"09-{[\"n"[random.below(7)],
        _ => bytes[at] = random.below(256) as u8,
    }
}

#[test]
fn damaged_models_are_errors_or_models() {
    let files = files();
    assert!(files.len() >= 4, "{files:?}");
    let rounds: usize = std::env::var("IBEX_DAMAGED_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut random = Random(0x1bec5);
    let (mut refused, mut slowest) = (0, (Duration::ZERO, String::new()));
    for file in &files {
        let whole = std::fs::read(file).expect("a file");
        for round in 0..rounds {
            let mut bytes = whole.clone();
            damage(&mut bytes, &mut random);
            let start = Instant::now();
            refused += usize::from(Model::from_bytes(&bytes).is_err());
            let time = start.elapsed();
            assert!(time < Duration::from_secs(30), "{}, round {round}: {time:?}", file.display());
            if time > slowest.0 {
                slowest = (time, format!("{}, round {round}", file.display()));
            }
        }
    }
    println!("{refused} of {} refused; slowest {slowest:?}", files.len() * rounds);
    assert!(refused > 0);
}
