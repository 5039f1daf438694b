//! MNIST from the network.

use crate::Split;
use crate::idx::{self, Contents};
use crate::io::{failed, write_atomic};
use crate::mnist::{FILES, find, load, open};
use ibex_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::Duration;
use ureq::Agent;

/// Where [`mnist_download`] looks, in this order.
pub const MNIST_MIRRORS: [&str; 2] =
    ["https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"];

/// SHA-256 of the uncompressed files, which do not depend on how a mirror packed them.
const MNIST_SHA256: [&str; 4] = [
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
];

/// No packed file is larger.
const MAX_DOWNLOAD: u64 = 32 << 20;

/// The 70,000 digits of MNIST from a folder, after fetching the files that are not there yet.
///
/// Each file is checked against its published SHA-256, on every call, and appears in the folder only when it is whole.
/// Damaged files are fetched again. Types and shapes are those of [`mnist_subset`](crate::mnist_subset).
///
/// # Errors
/// `Io` if no mirror can be reached or the folder can not be written; `Format` if what the mirrors send is not MNIST;
/// `Value` if the folder holds another dataset under the same names.
pub fn mnist_download(dir: impl AsRef<Path>) -> Result<Split> {
    mnist_download_from(dir, &MNIST_MIRRORS)
}

/// [`mnist_download`] from other mirrors: addresses to which `train-images-idx3-ubyte.gz` and so on are appended.
///
/// # Errors
/// As [`mnist_download`].
pub fn mnist_download_from(dir: impl AsRef<Path>, mirrors: &[&str]) -> Result<Split> {
    let agent = Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(15)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(Duration::from_secs(600)))
        .build();
    download(dir.as_ref(), mirrors, &agent.into(), MNIST_SHA256)
}

fn download(dir: &Path, mirrors: &[&str], agent: &Agent, sums: [&str; 4]) -> Result<Split> {
    std::fs::create_dir_all(dir).map_err(|e| failed("create", dir, &e))?;
    load(|file| match local(dir, file, sums[file])? {
        Some(contents) => Ok(contents),
        None => fetch(dir, mirrors, agent, file, sums[file]),
    })
}

/// The file from the folder; `None` if it is not there or is damaged.
fn local(dir: &Path, file: usize, sum: &str) -> Result<Option<Contents>> {
    let (stem, rest, kind) = FILES[file];
    let Some(path) = find(dir, stem, rest) else { return Ok(None) };
    match open(&path, kind) {
        Ok(contents) if sha256(&contents) == sum => Ok(Some(contents)),
        // Whole, but not MNIST: another dataset of this format, which is not ours to overwrite.
        Ok(_) => Err(Error::value(format!(
            "{} is not the file of MNIST (its SHA-256 differs); choose another folder, or remove it",
            path.display()
        ))),
        Err(error) if error.kind() == ErrorKind::Format => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tries one mirror after the other.
fn fetch(dir: &Path, mirrors: &[&str], agent: &Agent, file: usize, sum: &str) -> Result<Contents> {
    let (stem, rest, _) = FILES[file];
    let mut tried = String::new();
    let mut kind = ErrorKind::Io;
    for mirror in mirrors {
        let url = format!("{}/{stem}-{rest}.gz", mirror.trim_end_matches('/'));
        match get(agent, &url, file, sum) {
            Ok(contents) => {
                write_atomic(dir.join(format!("{stem}-{rest}")), |out| out.write_all(&contents.bytes))?;
                return Ok(contents);
            }
            Err(error) => {
                kind = error.kind();
                // Writing to a string does not fail.
                let _ = write!(tried, "\n  {error}");
            }
        }
    }
    Err(Error::new(
        kind,
        format!(
            "{stem}-{rest}.gz could not be fetched; check the network, or put the file into {} by hand. Tried:{tried}",
            dir.display()
        ),
    ))
}

fn get(agent: &Agent, url: &str, file: usize, sum: &str) -> Result<Contents> {
    let response = agent.get(url).call().map_err(|e| Error::io(format!("{url}: {e}")))?;
    let body = response.into_body().into_with_config().limit(MAX_DOWNLOAD).reader();
    let contents = idx::read(Path::new(url), FILES[file].2, BufReader::new(body))?;
    if sha256(&contents) != sum {
        return Err(Error::format(format!("{url}: not the file of MNIST, its SHA-256 differs")));
    }
    Ok(contents)
}

fn sha256(contents: &Contents) -> String {
    Sha256::digest(&contents.bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
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
                    let _ =
                        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
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
        download(dir, mirrors, &agent, [&sums[0], &sums[1], &sums[2], &sums[3]])
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
}
