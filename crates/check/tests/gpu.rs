//! Every case on the default adapter. Without one the tests say that they were skipped, unless `IBEX_REQUIRE_GPU=1`.

use ibex_check::{WithCaps, cases, failures, random_graph, random_step, shrink};
use ibex_core::{Device, ErrorKind};
use ibex_wgpu::{Contractions, Options, Reductions, WgpuBackend};

/// The default adapter; `None` where there is none and none is required.
fn open(unfused: bool) -> Option<Device> {
    match WgpuBackend::open_blocking(0, Options { unfused, ..Options::default() }) {
        Ok(backend) => Some(Device::new(backend)),
        Err(e) => {
            assert!(std::env::var_os("IBEX_REQUIRE_GPU").is_none(), "a GPU is required, but {e}");
            println!("skipped: {e}");
            None
        }
    }
}

/// The device of a backend that hangs everything it can behind contractions, as real GPUs do.
fn wide(backend: WgpuBackend) -> Device {
    Device::new(WithCaps::new(backend, |caps| caps.max_epilogue_bindings = usize::MAX))
}

/// `IBEX_SEEDS` asks for more: a software adapter compiles each graph anew.
#[test]
fn random_programs() {
    if open(false).is_none() {
        return;
    }
    let device = wide(WgpuBackend::open_blocking(0, Options::default()).expect("it opened before"));
    let seeds = std::env::var("IBEX_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    for seed in 0..seeds {
        assert_eq!(shrink(16, |n| random_graph(seed, n), |c| ibex_check::compare(&device, c)), None, "{seed}");
        assert_eq!(shrink(8, |n| random_step(seed, n), |c| ibex_check::compare(&device, c)), None, "{seed}");
    }
}

/// Runs the cases of one group with fusion and without, and reports all failures together.
fn group(name: &str) {
    for unfused in [false, true] {
        let Some(device) = open(unfused) else { return };
        let filter = std::env::var("IBEX_CHECK").unwrap_or_default();
        let list = cases();
        let own: Vec<_> = list.iter().filter(|c| c.name.split('/').next() == Some(name)).collect();
        assert!(!own.is_empty(), "no case is named {name}/...");
        let own = own.into_iter().filter(|c| c.name.contains(&filter));
        let failed: Vec<_> = failures(own, |case| ibex_check::compare(&device, case));
        let lines: Vec<_> = failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        assert!(lines.is_empty(), "unfused {unfused}: {} cases fail:\n{}", lines.len(), lines.join("\n"));
    }
}

/// Every kernel for contractions that the device can run, forced on a third of their cases, with bounds checks. Cooperative matrices, which
/// nobody else runs here, are emulated, for all of these cases and for those of mixed precision.
#[test]
fn every_contraction_kernel() {
    if open(false).is_none() {
        return;
    }
    let list = cases();
    let named = |case: &ibex_check::Case, all: &[&str]| all.iter().any(|prefix| case.name.starts_with(prefix));
    let own: Vec<_> = list.iter().filter(|c| named(c, &["matmul/", "conv/", "conv_grad/"])).collect();
    let mixed = list.iter().filter(|c| named(c, &["mixed/matmul/", "mixed/epilogue/", "mixed/conv/"]));
    let all: Vec<_> = own.iter().copied().chain(mixed).collect();
    // Each case compiles a shader of its own, and these are large: a third of them, taken through all groups.
    let third: Vec<_> = own.into_iter().step_by(3).collect();
    let mut ran = 0;
    for kernel in Contractions::ALL {
        let emulated = kernel == Contractions::Cooperative;
        let options = Options { checked: true, contractions: Some(kernel), emulated, ..Options::default() };
        let backend = match WgpuBackend::open_blocking(0, options) {
            Ok(backend) => backend,
            Err(error) if error.kind() == ErrorKind::Unsupported => continue,
            Err(error) => panic!("{}: {error}", kernel.name()),
        };
        let device = wide(backend);
        let own = if emulated { &all } else { &third };
        let failed = failures(own.iter().copied(), |case| ibex_check::compare(&device, case));
        assert!(failed.is_empty(), "{}: {failed:#?}", kernel.name());
        ran += 1;
    }
    assert!(ran >= 2, "only {ran} kernels ran");
}

/// Reductions combined by subgroups, with bounds checks, where the device has them.
#[test]
fn reductions_by_subgroups() {
    if open(false).is_none() {
        return;
    }
    let options = Options { checked: true, reductions: Some(Reductions::Subgroup), ..Options::default() };
    let device = match WgpuBackend::open_blocking(0, options) {
        Ok(backend) => Device::new(backend),
        Err(error) if error.kind() == ErrorKind::Unsupported => return println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let list = cases();
    let own = list.iter().filter(|c| ["reduce", "composed"].contains(&c.name.split('/').next().unwrap_or("")));
    let failed = failures(own, |case| ibex_check::compare(&device, case));
    assert!(failed.is_empty(), "{failed:#?}");
}

/// One test for each group, so that a report says what is broken.
macro_rules! groups {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            group(stringify!($name));
        })*

        #[test]
        fn every_group_is_tested() {
            for case in cases() {
                let own = case.name.split('/').next();
                assert!([$(stringify!($name)),*].iter().any(|g| own == Some(g)), "{}", case.name);
            }
        }
    };
}

groups! {
    average_pool average_pool_grad binary cast compare composed conv conv_grad conv_transpose gather lstm lstm_grad matmul max_pool
    max_pool_grad mixed movement one_hot pick pool random reduce scatter_add select special sum_pool sum_pool_grad train unary
}
