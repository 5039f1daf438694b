//! Devices and tolerances for tests.

use ibex::{Device, Result, device};

/// Largest `|a - b| / (1 + |b|)`. The numbers of Keras are f32 themselves, and differ from f64 by about a tenth of this (tests/keras/README.md).
#[allow(dead_code, reason = "for the comparison with Keras")]
pub const TOLERANCE: f64 = 1e-5;

/// After ten steps of training.
#[allow(dead_code, reason = "for the comparison with Keras")]
pub const TRAINING_TOLERANCE: f64 = 1e-4;

/// Every device under test, newly opened: the CPU, and the GPU where this build and this machine have one.
pub fn devices() -> Vec<Device> {
    let cpu = device("cpu").expect("the CPU is always there");
    match device("gpu") {
        Ok(gpu) => vec![cpu, gpu],
        Err(error) => {
            assert!(std::env::var_os("IBEX_REQUIRE_GPU").is_none(), "IBEX_REQUIRE_GPU is set: {error}");
            eprintln!("GPU tests are skipped: {error}");
            vec![cpu]
        }
    }
}

thread_local! {
    /// The largest difference that a test has seen on a device.
    static WORST: std::cell::Cell<f64> = const { std::cell::Cell::new(0.0) };
}

/// Checks every case on every device and says which ones fail.
#[allow(dead_code, reason = "for the comparison with Keras")]
pub fn every_case<T>(cases: &[T], name: impl Fn(&T) -> &str, check: impl Fn(&T, &Device) -> Result<()>) {
    assert!(!cases.is_empty());
    for device in devices() {
        let run = |case: &T| check(case, &device).unwrap_or_else(|e| panic!("{}: {e}", name(case)));
        let fails = |case: &&T| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(case))).is_err();
        WORST.set(0.0);
        let failed: Vec<&str> = cases.iter().filter(fails).map(&name).collect();
        eprintln!("{} cases on {device:?}: the largest difference is {:.1e}", cases.len(), WORST.get());
        assert!(failed.is_empty(), "on {device:?}, {} of {}: {failed:?}", failed.len(), cases.len());
    }
}

/// The largest difference, and where it is.
#[allow(dead_code, reason = "for the comparison with Keras")]
pub fn distance(got: &[f64], want: &[f64]) -> (f64, usize) {
    assert_eq!(got.len(), want.len(), "number of elements");
    let differences = got.iter().zip(want).map(|(a, b)| match a == b || (a.is_nan() && b.is_nan()) {
        true => 0.0,
        false => (a - b).abs() / (1.0 + b.abs()),
    });
    let worst = differences.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    worst.map_or((0.0, 0), |(i, d)| (d, i))
}

#[allow(dead_code, reason = "for the comparison with Keras")]
#[track_caller]
pub fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    let (difference, i) = distance(got, want);
    WORST.set(WORST.get().max(difference));
    assert!(difference <= tolerance, "{what}: element {i} is {}, Keras has {} ({difference:.2e})", got[i], want[i]);
}

/// A folder that is gone at the end.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ibex-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
