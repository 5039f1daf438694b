//! The digits that ship with the crate, and files from a folder, good and damaged.

mod common;
use common::Folder;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use ibex_core::{DType, Data, ErrorKind};
use ibex_data::{Dataset, mnist_from_dir, mnist_subset};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mnist-5k");
const NAMES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

fn numbers(data: &Dataset) -> (&[f32], &[i32]) {
    match (&**data.x.data().unwrap(), &**data.y.data().unwrap()) {
        (Data::F32(x), Data::I32(y)) => (x, y),
        other => panic!("x must be f32 and y i32: {other:?}"),
    }
}

#[test]
fn the_subset_is_whole_balanced_and_shuffled() {
    let mnist = mnist_subset().unwrap();
    for (part, per_class) in [(&mnist.train, 400), (&mnist.test, 100)] {
        let n = 10 * per_class;
        assert_eq!(part.len(), n);
        assert_eq!((part.x.shape().to_vec(), part.y.shape().to_vec()), (vec![n, 28, 28, 1], vec![n]));
        assert_eq!((part.x.dtype(), part.y.dtype()), (DType::F32, DType::I32));
        let (x, y) = numbers(part);
        for digit in 0..10 {
            assert_eq!(y.iter().filter(|&&label| label == digit).count(), per_class);
            // Every stretch of 200 has its share: sorted data would train badly.
            assert!(y.chunks(200).all(|c| c.contains(&digit)));
        }
        assert!(x.iter().all(|p| (0.0..=1.0).contains(p)));
        assert!(x.contains(&1.0) && x.contains(&0.0));
        // The mean of all MNIST is 0.1307.
        let mean = x.iter().map(|&p| f64::from(p)).sum::<f64>() / x.len() as f64;
        assert!((mean - 0.1307).abs() < 0.003, "{mean}");
    }
    let mut images: Vec<Vec<u32>> = [&mnist.train, &mnist.test]
        .iter()
        .flat_map(|part| numbers(part).0.chunks(784).map(|i| i.iter().map(|p| p.to_bits()).collect()))
        .collect();
    images.sort();
    images.dedup();
    assert_eq!(images.len(), 5000, "an image stands twice");
}

#[test]
fn the_subset_ships_in_little_space() {
    let bytes: u64 = NAMES.iter().map(|n| fs::metadata(format!("{SHIPPED}/{n}.gz")).unwrap().len()).sum();
    assert!(bytes <= 1_200_000, "{bytes}");
}

fn unpacked(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(format!("{SHIPPED}/{name}.gz")).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[test]
fn a_folder_with_any_of_the_usual_names() {
    let want = mnist_subset().unwrap();
    let folder = Folder::new("names");
    for dot in ["-", "."] {
        for packed in [false, true] {
            let dir = folder.path().join(format!("{dot}{packed}"));
            fs::create_dir(&dir).unwrap();
            for name in NAMES {
                let bytes = unpacked(name);
                let file = name.replace("-idx", &format!("{dot}idx")) + if packed { ".gz" } else { "" };
                fs::write(dir.join(file), if packed { gzip(&bytes) } else { bytes }).unwrap();
            }
            let got = mnist_from_dir(&dir).unwrap();
            assert_eq!(numbers(&got.train), numbers(&want.train));
            assert_eq!(numbers(&got.test), numbers(&want.test));
        }
    }
}

/// Loads the subset with one file replaced, and expects an error with these words.
fn refused(name: &str, bytes: &[u8], kind: ErrorKind, words: &[&str]) {
    for packed in [false, true] {
        let folder = Folder::new(&format!("refused-{:?}", std::thread::current().id()));
        for other in NAMES {
            fs::copy(format!("{SHIPPED}/{other}.gz"), folder.path().join(format!("{other}.gz"))).unwrap();
        }
        let file = if packed { format!("{name}.gz") } else { name.to_string() };
        fs::write(folder.path().join(file), if packed { gzip(bytes) } else { bytes.to_vec() }).unwrap();
        let error = mnist_from_dir(folder.path()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "no {word:?} in: {error}");
        }
    }
}

#[test]
fn damaged_images() {
    let name = NAMES[0];
    let good = unpacked(name);
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let refused =
        |bytes: &[u8], words: &[&str]| refused(name, bytes, ErrorKind::Format, &[&[name][..], words].concat());
    refused(&[], &["0 bytes", "header"]);
    refused(&good[..15], &["15 bytes", "header"]);
    refused(&good[..16], &["ends after 16", "4000 images"]);
    refused(&good[..good.len() - 1], &["ends after 3136015"]);
    refused(&[&good[..], &[0]].concat(), &["goes on"]);
    refused(&changed(2, &[0x18]), &["0x00001803", "0x00000803"]);
    refused(&changed(4, &[0, 0, 0, 0]), &["announces 0 images"]);
    refused(&changed(4, &[0, 0, 0x0f, 0x9f]), &["3999", "goes on"]);
    refused(&changed(4, &[0, 0, 0x0f, 0xa1]), &["4001", "ends after"]);
    refused(&changed(8, &[0, 0, 0, 32]), &["32x28"]);
    // Hostile: sizes that would overflow or fill the memory.
    refused(&changed(4, &[0xff; 4]), &["4294967295"]);
    refused(&changed(4, &[0xff; 12]), &["4294967295x4294967295"]);
    refused(&changed(4, &[0, 8, 0, 0]), &["524288 images", "ends after"]);
    refused(&unpacked(NAMES[1]), &["labels where images belong", "swap"]);
}

#[test]
fn damaged_labels() {
    let name = NAMES[3];
    let good = unpacked(name);
    let mut bad = good.clone();
    bad[8 + 37] = 10;
    refused(name, &bad, ErrorKind::Format, &[name, "label 37 is 10", "0 to 9"]);
    refused(name, &unpacked(NAMES[2]), ErrorKind::Format, &[name, "images where labels belong"]);
    refused(name, &good[..good.len() - 3], ErrorKind::Format, &[name, "ends after 1005"]);
    // Whole in itself, but of another dataset.
    refused(name, &unpacked(NAMES[1]), ErrorKind::Format, &["t10k-images holds 1000", "t10k-labels holds 4000"]);
}

#[test]
fn damaged_gzip() {
    let folder = Folder::new("gzip");
    for name in NAMES {
        fs::copy(format!("{SHIPPED}/{name}.gz"), folder.path().join(format!("{name}.gz"))).unwrap();
    }
    let path = folder.path().join(format!("{}.gz", NAMES[0]));
    let good = fs::read(&path).unwrap();
    let middle = good.len() / 2;
    let mut flipped = good.clone();
    flipped[middle] ^= 0x10;
    let mut sum = good.clone();
    let crc = sum.len() - 6;
    sum[crc] ^= 1;
    for bad in [&good[..middle], &good[..good.len() - 4], &good[..5], &flipped, &sum] {
        fs::write(&path, bad).unwrap();
        let error = mnist_from_dir(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert!(error.to_string().contains(NAMES[0]), "{error}");
    }
}

#[test]
fn missing_files() {
    let error = mnist_from_dir(Path::new("/no/such/folder")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("/no/such/folder") && error.to_string().contains(NAMES[0]), "{error}");
}

/// The whole of MNIST, where the machine has it: `IBEX_MNIST=folder cargo test -p ibex-data`.
#[test]
fn the_original_files() {
    let Some(dir) = std::env::var_os("IBEX_MNIST") else {
        eprintln!("skipped: IBEX_MNIST is not set to a folder with the four files");
        return;
    };
    let mnist = mnist_from_dir(dir).unwrap();
    assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
    let (x, y) = numbers(&mnist.train);
    assert_eq!(y[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    let mean = x.iter().map(|&p| f64::from(p)).sum::<f64>() / x.len() as f64;
    assert!((mean - 0.130_66).abs() < 1e-5, "{mean}");
    assert_eq!(numbers(&mnist.test).1[..5], [7, 2, 1, 0, 4]);
}
