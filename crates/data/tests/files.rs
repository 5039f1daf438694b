//! Tables, CIFAR-10, images and texts from files, good, damaged and hostile.

mod common;
use common::Folder;
use flate2::{Compression, write::GzEncoder};
use ibex_core::{Error, ErrorKind};
use ibex_data::*;
use std::fs;
use std::io::Write;
use std::path::Path;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// An error of this kind with these words.
fn says<T>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let Err(error) = result else { panic!("no error with {words:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "no {word:?} in: {error}");
    }
}

/// A stream of numbers that is always the same.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut order = shuffled_indices(1 << 16, seed, 0).into_iter().cycle();
    move |below| order.next().unwrap() as usize % below
}

const HOUSES: &str = "Id,LotFrontage,Street,Alley,\"Sale, Price\"\n1,65,Pave,NA,208500\n2,NA,\"Grvl, \"\"old\"\"\",Pave,181500.5\n\
                      3,,\"two\nlines\",NA,-1e3\n";

#[test]
fn a_table_has_numbers_texts_and_gaps() {
    let folder = Folder::new("table");
    for (name, bytes) in [("a.csv", HOUSES.as_bytes().to_vec()), ("a.csv.gz", gzip(HOUSES.as_bytes()))] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let table = Table::from_csv(&path).unwrap();
        assert_eq!(table.len(), 3);
        assert_eq!(table.number_names(), ["Id", "LotFrontage", "Sale, Price"]);
        assert_eq!(table.text_names(), ["Street", "Alley"]);
        let x = table.numbers(&["Sale, Price", "LotFrontage"]).unwrap();
        assert_eq!(x.shape().to_vec(), [3, 2]);
        let values = x.data().unwrap().to_f64();
        assert_eq!((values[0], values[1], values[2], values[4]), (208500.0, 65.0, 181500.5, -1000.0));
        assert!(values[3].is_nan() && values[5].is_nan());
        let street: Vec<&str> = table.text("Street").unwrap().iter().flatten().map(String::as_str).collect();
        assert_eq!(street, ["Pave", "Grvl, \"old\"", "two\nlines"]);
        assert_eq!(table.text("Alley").unwrap(), [None, Some("Pave".to_string()), None]);

        let some = table.take(&[2, 0]).unwrap();
        assert_eq!(some.numbers(&["Id"]).unwrap().data().unwrap().to_f64(), [3.0, 1.0]);
        says(table.take(&[3]), ErrorKind::Value, &["row 3", "3 rows"]);
        says(table.numbers(&["Street"]), ErrorKind::Value, &[name, "Street", "\"Pave\" in row 0", "OneHotEncoder"]);
        says(table.text("Id"), ErrorKind::Value, &["Id", "of numbers"]);
        says(table.column("Prize"), ErrorKind::Value, &["Prize", "Sale, Price"]);

        let as_text = Csv::new().text(["Id"]).read(&path).unwrap();
        assert_eq!(as_text.text("Id").unwrap()[2].as_deref(), Some("3"));
        let bare = Csv::new().header(false).missing(["65"]).read(&path).unwrap();
        assert_eq!((bare.names().join(" "), bare.len()), ("0 1 2 3 4".to_string(), 4));
        assert_eq!(bare.text("1").unwrap()[1], None);
    }
}

#[test]
fn categories_that_were_not_there_are_zeros() {
    let folder = Folder::new("hot");
    let (a, b) = (folder.path().join("a.csv"), folder.path().join("b.csv"));
    fs::write(&a, "kind,size\nx,big\ny,small\nx,big\n").unwrap();
    fs::write(&b, "kind,size\nz,NA\nx,small\n").unwrap();
    let (a, b) = (Table::from_csv(a).unwrap(), Table::from_csv(b).unwrap());
    let encoder = OneHotEncoder::fit(&a, &a.text_names()).unwrap();
    assert_eq!(encoder.names(), ["kind=x", "kind=y", "size=big", "size=small"]);
    assert_eq!(encoder.transform(&b).unwrap().data().unwrap().to_f64(), [0., 0., 0., 0., 1., 0., 0., 1.]);

    let many = folder.path().join("many.csv");
    fs::write(&many, (0..1200).fold("name\n".to_string(), |text, i| text + &format!("n{i}\n"))).unwrap();
    let many = Table::from_csv(many).unwrap();
    says(OneHotEncoder::fit(&many, &["name"]), ErrorKind::Value, &["name", "1200", "leave it out"]);
}

#[test]
fn tables_that_are_no_tables() {
    let folder = Folder::new("no-table");
    let path = folder.path().join("bad.csv");
    let refused = |bytes: &[u8], words: &[&str]| {
        fs::write(&path, bytes).unwrap();
        says(Table::from_csv(&path), ErrorKind::Format, &[&["bad.csv"], words].concat());
    };
    refused(b"", &["empty"]);
    refused(b"a,b\n", &["no rows"]);
    refused(b"a,b\n1,2\n1,2,3\n", &["line 3", "3 cells", "have 2", "delimiter"]);
    refused(b"a,b\n1,2\n\"1,2\n3,4\n", &["line 3"]);
    refused(b"a,b\n1,2\n1,\"2\n3,4\n", &["line 3", "quote is not closed"]);
    refused(b"a,b,a\n1,2,3\n", &["line 1", "columns 0 and 2", "\"a\""]);
    refused(b"a,b\n1,\xff\xfe\n", &["line 2", "UTF-8"]);
    let good = gzip(HOUSES.as_bytes());
    refused(&good[..good.len() - 9], &["gzip"]);
    says(Table::from_csv(folder.path().join("none.csv")), ErrorKind::Io, &["none.csv", "check the path"]);
    fs::write(&path, "a\n1\n").unwrap();
    says(Csv::new().text(["b"]).read(&path), ErrorKind::Value, &["\"b\"", "[\"a\"]"]);
}

#[test]
fn any_table_comes_back_from_its_file() {
    let folder = Folder::new("round");
    let path = folder.path().join("t.csv");
    let signs: Vec<char> = "ab,\"\n;' é1.\u{1F600}".chars().collect();
    for seed in 0..200 {
        let mut next = random(seed);
        let (rows, columns) = (1 + next(6), 1 + next(4));
        let cells: Vec<Vec<String>> = (0..rows)
            .map(|_| (0..columns).map(|_| (0..1 + next(5)).map(|_| signs[next(signs.len())]).collect()).collect())
            .collect();
        let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
        let names: Vec<String> = (0..columns).map(|i| format!("c{i}")).collect();
        let mut text = names.join(",") + "\n";
        for row in &cells {
            text += &(row.iter().map(quoted).collect::<Vec<String>>().join(",") + "\n");
        }
        fs::write(&path, text).unwrap();
        let table = Csv::new().text(names.clone()).read(&path).unwrap();
        for (i, name) in names.iter().enumerate() {
            let want: Vec<Option<String>> =
                cells.iter().map(|row| (!row[i].trim().is_empty()).then(|| row[i].clone())).collect();
            assert_eq!(table.text(name).unwrap(), want, "seed {seed}");
        }
    }
}

const BATCHES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

#[test]
fn cifar10_planes_become_channels() {
    let folder = Folder::new("cifar");
    let inner = folder.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    // Red counts columns, green is the batch, blue counts rows.
    let record = |batch: u8| {
        let plane = |value: fn(usize, u8) -> u8| (0..1024).map(move |i| value(i, batch));
        let planes = plane(|i, _| (i % 32) as u8).chain(plane(|_, b| b)).chain(plane(|i, _| (i / 32) as u8));
        std::iter::once(batch).chain(planes).collect::<Vec<u8>>()
    };
    for (i, name) in BATCHES.iter().enumerate() {
        let bytes = record(i as u8).repeat(2);
        let packed = i % 2 == 1;
        let name = if packed { format!("{name}.gz") } else { name.to_string() };
        fs::write(inner.join(name), if packed { gzip(&bytes) } else { bytes }).unwrap();
    }
    for dir in [folder.path(), &inner] {
        let got = cifar10_from_dir(dir).unwrap();
        assert_eq!(got.train.x.shape().to_vec(), [10, 32, 32, 3]);
        assert_eq!(got.test.y.data().unwrap().to_f64(), [5.0, 5.0]);
        let x = got.train.x.data().unwrap().to_f64();
        let pixel = |image: usize, row: usize, column: usize| &x[((image * 32 + row) * 32 + column) * 3..][..3];
        for (image, row, column) in [(0, 0, 0), (3, 7, 30), (9, 31, 1)] {
            let want = [column, image / 2, row].map(|v| f64::from(v as f32 / 255.0));
            assert_eq!(pixel(image, row, column), want);
        }
    }
    let broken = inner.join(BATCHES[2]);
    let good = fs::read(&broken).unwrap();
    let refused = |bytes: &[u8], words: &[&str]| {
        fs::write(&broken, bytes).unwrap();
        says(cifar10_from_dir(folder.path()), ErrorKind::Format, &[&[BATCHES[2]], words].concat());
    };
    refused(&[], &["0 bytes"]);
    refused(&good[..good.len() - 1], &["6145 bytes", "3073"]);
    refused(&[&good[..3073], &[10], &good[3074..]].concat(), &["label 1 is 10"]);
    fs::remove_file(broken).unwrap();
    // A bomb: far more than a batch, from a small file.
    fs::write(inner.join(format!("{}.gz", BATCHES[2])), gzip(&vec![0; 60_001 * 3073])).unwrap();
    says(cifar10_from_dir(folder.path()), ErrorKind::Format, &[BATCHES[2], "from 1 to 60000"]);
    fs::remove_file(inner.join(format!("{}.gz", BATCHES[2]))).unwrap();
    says(cifar10_from_dir(folder.path()), ErrorKind::Io, &[BATCHES[2], "six files"]);
}

#[test]
fn texts_come_class_by_class_and_can_be_shuffled() {
    let folder = Folder::new("texts");
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("pos/b.txt", b"b");
    write("pos/a.TXT", b"a");
    write("pos/deep/c.txt", b"caf\xe9");
    write("neg/z.txt", b"z");
    write("neg/z.md", b"no text");
    write(".git/x.txt", b"hidden");
    write("at the top.txt", b"of no class");
    let texts = Texts::from_dir(folder.path()).unwrap();
    assert_eq!(texts.class_names, ["neg", "pos"]);
    assert_eq!(texts.texts, ["z", "a", "b", "caf\u{fffd}"]);
    assert_eq!(texts.labels, [0, 1, 1, 1]);
    let shuffled = texts.clone().shuffle(3);
    let mut pairs: Vec<_> = shuffled.texts.iter().zip(&shuffled.labels).collect();
    pairs.sort();
    assert_eq!(pairs.len(), 4);
    assert!(pairs.iter().all(|(text, label)| (*text == "z") == (**label == 0)));
    let (a, b) = texts.clone().split_at(1).unwrap();
    assert_eq!((a.len(), b.texts.len(), b.labels[0]), (1, 3, 1));
    says(texts.split_at(5), ErrorKind::Value, &["4 texts", "5"]);
    says(Texts::from_dir(folder.path().join("neg")), ErrorKind::Value, &["no files", "neg"]);
    says(Texts::from_dir(folder.path().join("none")), ErrorKind::Io, &["none"]);
    says(imdb_from_dir(folder.path(), &Encoding::default()), ErrorKind::Io, &["train", "aclImdb"]);

    let path = folder.path().join("t.csv");
    fs::write(&path, "text,stars\nNA,10\ngood,9\n\"fine, fine\",10\n").unwrap();
    let texts = Texts::from_csv(&path, "text", "stars").unwrap();
    assert_eq!((texts.class_names.join(" "), texts.labels), ("9 10".to_string(), vec![1, 0, 1]));
    assert_eq!(texts.texts, ["NA", "good", "fine, fine"]);
    fs::write(&path, "text,stars\ngood,9\nbad,\n").unwrap();
    says(Texts::from_csv(&path, "text", "stars"), ErrorKind::Value, &["row 1", "stars"]);
}

#[cfg(feature = "images")]
mod images {
    use super::*;

    const IMAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keras/images");

    #[test]
    fn folders_of_images_that_are_not_right() {
        let folder = Folder::new("images");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        says(ImageFolder::open(folder.path()), ErrorKind::Value, &["no files", "\"a\", \"b\""]);
        // A PNG under the name of a JPEG is a PNG.
        fs::copy(Path::new(IMAGES).join("a/rgb.png"), a.join("x.jpg")).unwrap();
        let images = ImageFolder::open(folder.path()).unwrap().size(4, 4);
        assert_eq!(images.load().unwrap().x.shape().to_vec(), [1, 4, 4, 3]);
        says(images.clone().size(0, 4).load(), ErrorKind::Value, &["0x4"]);
        says(images.clone().size(1 << 20, 1 << 20).load(), ErrorKind::OutOfMemory, &["GiB", "batches"]);
        says(images.clone().size(usize::MAX, 2).load(), ErrorKind::OutOfMemory, &["GiB"]);
        says(images.batch(&[1]), ErrorKind::Value, &["image 1", "of 1"]);
        fs::create_dir(folder.path().join("c")).unwrap();
        let three = ImageFolder::open(folder.path()).unwrap().size(4, 4).labels(LabelMode::Binary);
        says(three.load(), ErrorKind::Value, &["2 classes", "3"]);
        fs::write(b.join("y.png"), "no image").unwrap();
        let images = ImageFolder::open(folder.path()).unwrap().size(4, 4);
        says(images.load(), ErrorKind::Format, &["y.png", "neither a PNG nor a JPEG"]);
        fs::write(b.join("z.gif"), "GIF89a").unwrap();
        says(ImageFolder::open(folder.path()), ErrorKind::Unsupported, &["z.gif", "convert"]);
    }

    #[test]
    fn hostile_images_are_errors() {
        let folder = Folder::new("hostile");
        let path = folder.path().join("image");
        // Headers that announce more than fits into memory.
        let mut png = fs::read(Path::new(IMAGES).join("a/rgb.png")).unwrap();
        png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        fs::write(&path, &png).unwrap();
        says(load_image(&path, Color::Rgb, None), ErrorKind::Format, &["image"]);
        let mut jpeg = fs::read(Path::new(IMAGES).join("b/color.JPG")).unwrap();
        let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x3f, 0xff, 0x3f, 0xff]);
        fs::write(&path, &jpeg).unwrap();
        says(load_image(&path, Color::Rgb, None), ErrorKind::Format, &["16383x16383"]);

        for name in ["a/palette.png", "a/rgba.png", "b/color.JPG", "b/subsampled.jpeg", "b/inner/progressive.jpg"] {
            let good = fs::read(Path::new(IMAGES).join(name)).unwrap();
            let mut next = random(good.len() as u64);
            for round in 0..300 {
                let mut bytes = good.clone();
                if round % 3 == 0 {
                    bytes.truncate(next(good.len()));
                } else {
                    (0..1 + next(4)).for_each(|_| bytes[next(good.len())] ^= 1 << next(8));
                }
                fs::write(&path, &bytes).unwrap();
                match load_image(&path, Color::Rgb, Some((3, 3))) {
                    Ok(image) => assert!(image.data().unwrap().to_f64().iter().all(|v| (0.0..=255.0).contains(v))),
                    Err(error) => assert!(error.to_string().contains("image"), "{error}"),
                }
            }
        }
    }
}
