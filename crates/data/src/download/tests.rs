//! A mirror on this machine stands for the network.

use super::*;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A mirror on this machine. What it sends can be changed between requests.
struct Mirror {
    url: String,
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    requests: Arc<AtomicUsize>,
}

impl Mirror {
    /// A mirror of the subset that ships with this crate.
    fn start() -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mnist/", listener.local_addr().unwrap());
        let files = Arc::new(Mutex::new(HashMap::new()));
        let requests = Arc::new(AtomicUsize::new(0));
        for (stem, rest, _) in FILES {
            let name = format!("{stem}-{rest}.gz");
            files.lock().unwrap().insert(format!("/mnist/{name}"), fs::read(shipped().join(name)).unwrap());
        }
        let (served, count) = (files.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let head: Vec<String> =
                    BufReader::new(&stream).lines().map_while(|l| l.ok().filter(|l| !l.is_empty())).collect();
                let path = head.first().and_then(|l| l.split(' ').nth(1)).unwrap_or("").to_string();
                let body = served.lock().unwrap().get(&path).cloned();
                let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
                let body = body.unwrap_or_default();
                let length = body.len();
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
                    .and_then(|()| stream.write_all(&body));
            }
        });
        Mirror { url, files, requests }
    }

    fn send(&self, file: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let (stem, rest, _) = FILES[file];
        change(self.files.lock().unwrap().get_mut(&format!("/mnist/{stem}-{rest}.gz")).unwrap());
    }

    fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mnist-5k")
}

/// The sums of the subset take the place of those of MNIST.
fn sums() -> [String; 4] {
    FILES.map(|(stem, rest, kind)| sha256(&open(&shipped().join(format!("{stem}-{rest}.gz")), kind).unwrap()))
}

fn get_from(dir: &Path, mirrors: &[&str]) -> Result<Split> {
    let sums = sums();
    // The environment may name a proxy, which can not see this machine.
    let agent = Agent::config_builder().proxy(None).build().into();
    download(dir, mirrors, &agent, &Idx { name: "MNIST", sums: [&sums[0], &sums[1], &sums[2], &sums[3]] })
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ibex-download-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn fetches_once_and_then_only_what_is_damaged() {
    let (mirror, dir) = (Mirror::start(), folder("once"));
    let got = get_from(&dir, &[&mirror.url]).unwrap();
    assert_eq!((got.train.len(), got.test.len(), mirror.requests()), (4000, 1000, 4));
    assert_eq!(got.train.x.data(), crate::mnist_subset().unwrap().train.x.data());
    get_from(&dir, &[&mirror.url]).unwrap();
    assert_eq!(mirror.requests(), 0);

    let labels = dir.join("t10k-labels-idx1-ubyte");
    let good = fs::read(&labels).unwrap();
    fs::write(&labels, &good[..500]).unwrap();
    get_from(&dir, &[&mirror.url]).unwrap();
    assert_eq!(mirror.requests(), 1);
    assert_eq!(fs::read(&labels).unwrap(), good);
    assert_eq!(count(&dir), 4);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn files_put_there_by_hand_are_used() {
    let (mirror, dir) = (Mirror::start(), folder("by-hand"));
    fs::create_dir_all(&dir).unwrap();
    for (stem, rest, _) in FILES {
        let name = format!("{stem}-{rest}.gz");
        fs::copy(shipped().join(&name), dir.join(&name)).unwrap();
    }
    get_from(&dir, &[&mirror.url]).unwrap();
    assert_eq!((mirror.requests(), count(&dir)), (0, 4));
    // Truncated: the fetched file stands beside it, and is the one that is read from then on.
    fs::write(dir.join("train-images-idx3-ubyte.gz"), [0x1f, 0x8b]).unwrap();
    get_from(&dir, &[&mirror.url]).unwrap();
    get_from(&dir, &[&mirror.url]).unwrap();
    assert_eq!((mirror.requests(), count(&dir)), (1, 5));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn another_dataset_is_not_overwritten() {
    let (mirror, dir) = (Mirror::start(), folder("another"));
    get_from(&dir, &[&mirror.url]).unwrap();
    let path = dir.join("train-images-idx3-ubyte");
    let mut bytes = fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = get_from(&dir, &[&mirror.url]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Value);
    assert!(error.to_string().contains("choose another folder"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn bad_mirrors_are_passed_over() {
    let (bad, good, dir) = (Mirror::start(), Mirror::start(), folder("mirrors"));
    bad.files.lock().unwrap().clear();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{closed}/mnist");
    get_from(&dir, &[&closed, &bad.url, &good.url]).unwrap();
    assert_eq!((bad.requests(), good.requests()), (4, 4));
    fs::remove_dir_all(&dir).unwrap();

    let error = get_from(&dir, &[&closed, &bad.url]).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(text.contains(&closed) && text.contains(&bad.url) && text.contains("404"), "{text}");
    assert_eq!(count(&dir), 0);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn damage_on_the_way_is_found() {
    let (mirror, dir) = (Mirror::start(), folder("damage"));
    let original = mirror.files.lock().unwrap().clone();
    // A page of a captive portal; a file cut short; valid gzip of a valid file with one pixel changed; a bomb.
    let mut pixel = open(&dir_file(0), FILES[0].2).unwrap().bytes;
    pixel[5000] ^= 1;
    let gzip = |bytes: &mut dyn Read| {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
        packed
    };
    let mut bomb_header = vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28];
    bomb_header.resize(1 << 24, 0);
    let damaged = [
        b"<html>log in</html>".to_vec(),
        original[&name(0)][..9000].to_vec(),
        gzip(&mut &pixel[..]),
        gzip(&mut &bomb_header[..]),
    ];
    for bytes in damaged {
        mirror.send(0, |file| *file = bytes);
        let error = get_from(&dir, &[&mirror.url]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert!(error.to_string().contains(&mirror.url), "{error}");
        assert_eq!(count(&dir), 0);
    }
    fs::remove_dir_all(dir).unwrap();
}

fn name(file: usize) -> String {
    format!("/mnist/{}-{}.gz", FILES[file].0, FILES[file].1)
}

fn dir_file(file: usize) -> PathBuf {
    shipped().join(format!("{}-{}.gz", FILES[file].0, FILES[file].1))
}

/// The sums in this file are those of the real files, where the machine has them.
#[test]
fn the_published_sums() {
    let Some(dir) = std::env::var_os("IBEX_MNIST") else {
        eprintln!("skipped: IBEX_MNIST is not set to a folder with the four files");
        return;
    };
    assert_eq!(mnist_download_from(dir, &[]).unwrap().train.len(), 60_000);
}

/// An archive as tar writes it.
fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = if name.ends_with('/') { b'5' } else { b'0' };
        header[257..262].copy_from_slice(b"ustar");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend(header);
        tar.extend(*bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(&tar[..], flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    packed
}

/// The archive with the sum and size of these bytes.
fn like(archive: &Archive, bytes: &[u8]) -> Archive {
    let sum = Box::leak(hex(Sha256::digest(bytes).as_slice()).into_boxed_str());
    Archive { sum, bytes: bytes.len() as u64, ..*archive }
}

fn local_agent() -> Agent {
    Agent::config_builder().proxy(None).build().into()
}

fn serve(mirror: &Mirror, file: &str, bytes: &[u8]) {
    mirror.files.lock().unwrap().insert(format!("/mnist/{file}"), bytes.to_vec());
}

#[test]
fn cifar10_is_fetched_and_unpacked_once() {
    let (mirror, dir) = (Mirror::start(), folder("cifar"));
    let record = |label: u8| [&[label][..], &[label * 10; 3072]].concat();
    let names: Vec<String> = cifar10::FILES.iter().map(|name| format!("cifar-10-batches-bin/{name}")).collect();
    let batches: Vec<Vec<u8>> = (0..6).map(|i| [record(i), record(9 - i)].concat()).collect();
    let mut files: Vec<(&str, &[u8])> =
        vec![("cifar-10-batches-bin/", &[]), ("cifar-10-batches-bin/readme.html", b"about")];
    files.extend(names.iter().zip(&batches).map(|(name, batch)| (&name[..], &batch[..])));
    let packed = tar_gz(&files);
    serve(&mirror, CIFAR10.file, &packed);
    let archive = like(&CIFAR10, &packed);
    archive.bring(&dir, &[&mirror.url], &local_agent()).unwrap();
    // The archive and what is not asked for are not there.
    assert_eq!(count(&dir), 1);
    assert_eq!(count(&dir.join("cifar-10-batches-bin")), 6);
    assert_eq!(mirror.requests(), 1);

    // What is there is not asked for again: no mirror is given.
    let got = cifar10_download_from(&dir, &[]).unwrap();
    assert_eq!((got.train.len(), got.test.len()), (10, 2));
    assert_eq!(got.train.y.data().unwrap().to_f64(), [0., 9., 1., 8., 2., 7., 3., 6., 4., 5.]);
    fs::remove_file(dir.join("cifar-10-batches-bin/test_batch.bin")).unwrap();
    let error = cifar10_download_from(&dir, &[&mirror.url]).unwrap_err();
    assert!(error.kind() == ErrorKind::Value && error.to_string().contains("not whole"), "{error}");
    fs::remove_dir_all(&dir).unwrap();

    // An archive that was put there by hand serves, and stays.
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(CIFAR10.file), &packed).unwrap();
    archive.bring(&dir, &[], &local_agent()).unwrap();
    assert_eq!((count(&dir), mirror.requests()), (2, 0));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn imdb_is_fetched_without_what_has_no_label() {
    let (mirror, dir) = (Mirror::start(), folder("imdb"));
    let packed = tar_gz(&[
        ("aclImdb/test/neg/0_2.txt", b"bad, bad"),
        ("aclImdb/test/pos/0_9.txt", b"good"),
        ("aclImdb/train/unsup/0_0.txt", b"who knows"),
        ("aclImdb/train/neg/0_1.txt", b"a bad film"),
        ("aclImdb/train/pos/0_10.txt", b"a good film, a very good film"),
        ("aclImdb/imdb.vocab", b"the"),
    ]);
    serve(&mirror, IMDB.file, &packed);
    like(&IMDB, &packed).bring(&dir, &[&mirror.url], &local_agent()).unwrap();
    assert!(!dir.join("aclImdb/train/unsup").exists() && !dir.join("aclImdb/imdb.vocab").exists());
    let imdb = imdb_download_from(&dir, &[], &Encoding::default()).unwrap();
    assert_eq!(imdb.words.words()[..3], ["a", "film", "good"].map(String::from)[..]);
    let mut test: Vec<_> = imdb.test.x.iter().zip(&imdb.test.y).collect();
    test.sort_by_key(|(_, y)| **y);
    let (bad, good) = (imdb.words.rank("bad").unwrap() as i32 + 3, imdb.words.rank("good").unwrap() as i32 + 3);
    assert_eq!(test, [(&vec![1, bad, bad], &0), (&vec![1, good], &1)]);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn archives_that_are_not_right_leave_nothing_behind() {
    let (mirror, dir) = (Mirror::start(), folder("archives"));
    let good = tar_gz(&[("aclImdb/train/pos/0_9.txt", &[b'x'; 3000])]);
    let bring = |archive: &Archive, sent: &[u8]| {
        serve(&mirror, IMDB.file, sent);
        let error = archive.bring(&dir, &[&mirror.url], &local_agent()).unwrap_err();
        assert!(!dir.join("aclImdb").exists());
        error
    };
    // Not what was published: cut short, another, longer.
    for sent in
        [&good[..good.len() / 2], &tar_gz(&[("aclImdb/train/pos/0_9.txt", b"y")]), &[&good[..], &[0; 9]].concat()]
    {
        let error = bring(&like(&IMDB, &good), sent);
        assert!(error.to_string().contains(&mirror.url), "{error}");
        assert_eq!(count(&dir), 0);
    }
    // As published, but no good: the sum is right, so the archive stays for a look at it.
    let escapes = tar_gz(&[("aclImdb/train/pos/../../../../escaped.txt", b"x")]);
    let mut flipped = tar_gz(&[("aclImdb/train/pos/0_9.txt", b"x"), ("aclImdb/test/pos/0_9.txt", b"x")]);
    let end = flipped.len() - 6;
    flipped[end] ^= 1;
    let empty = tar_gz(&[("other/train/pos/0_9.txt", b"x")]);
    let random: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (sent, word) in
        [(escapes, "leads out"), (flipped, "unpacked"), (empty, "none of the files"), (random, "unpacked")]
    {
        let error = bring(&like(&IMDB, &sent), &sent);
        assert_eq!(error.kind(), ErrorKind::Format);
        assert!(error.to_string().contains(word), "{error}");
        fs::remove_file(dir.join(IMDB.file)).unwrap();
        assert_eq!(count(&dir), 0);
    }
    // By hand, but another.
    fs::write(dir.join(IMDB.file), b"mine").unwrap();
    let error = bring(&like(&IMDB, &good), &good);
    assert!(error.kind() == ErrorKind::Value && error.to_string().contains("remove it"), "{error}");
    assert_eq!(fs::read(dir.join(IMDB.file)).unwrap(), b"mine");
    fs::remove_dir_all(dir).unwrap();
}

/// The sums of Fashion-MNIST are those of the real files, where the machine has them.
#[test]
fn the_published_sums_of_fashion_mnist() {
    let Some(dir) = std::env::var_os("IBEX_FASHION_MNIST") else {
        eprintln!("skipped: IBEX_FASHION_MNIST is not set to a folder with the four files");
        return;
    };
    assert_eq!(fashion_mnist_download_from(dir, &[]).unwrap().train.len(), 60_000);
}
