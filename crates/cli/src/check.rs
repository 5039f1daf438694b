//! `ibex check`: the conformance cases on a device.

use crate::Failure;
use ibex::ErrorKind;
use ibex_check::Case;
use ibex_wgpu::{Contractions, Options, Reductions, WgpuBackend};
use lexopt::prelude::*;

pub const USAGE: &str = "check [FILTER ...] [--device ID] [--list]
    runs the conformance cases whose names contain a FILTER (all cases without one): every primitive,
    and programs made of them, against the f64 reference. On a GPU the cases of matrix products and reductions
    run again by cooperative matrices and by subgroups, if it has them: what tuning may choose
      --device ID   cpu, gpu, gpu:1, ... (default: the default device)
      --list        the names of the cases";

pub fn run(mut args: lexopt::Parser) -> Result<bool, Failure> {
    let (mut filters, mut device, mut list) = (Vec::new(), None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Value(filter) => filters.push(filter.string()?),
            Long("device") => device = Some(args.value()?.string()?),
            Long("list") => list = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let all = ibex_check::cases();
    if let Some(unknown) = filters.iter().find(|&f| !all.iter().any(|case| case.name.contains(f))) {
        let text = format!("no case has {unknown:?} in its name; `ibex check --list` shows all {}", all.len());
        return Err(ibex::Error::value(text).into());
    }
    let wanted = |case: &&Case| filters.is_empty() || filters.iter().any(|f| case.name.contains(f));
    let cases: Vec<&Case> = all.iter().filter(wanted).collect();
    if list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(true);
    }
    let device = device.map_or_else(ibex::default_device, |id| ibex::device(&id))?;
    let info = device.info();
    println!("{}: {}", info.id, info.name);
    let failed = ibex_check::failures(cases.iter().copied(), |case| ibex_check::compare(&device, case));
    for (case, why) in &failed {
        println!("FAILED {case}: {why}");
    }
    println!("{} passed, {} failed", cases.len() - failed.len(), failed.len());
    let mut right = failed.is_empty();
    for variant in info.id.strip_prefix("gpu:").and_then(|index| index.parse().ok()).map_or(Vec::new(), variants) {
        right &= variant.run(&cases)?;
    }
    Ok(right)
}

/// Kernels that a device runs only when asked, and the cases that meet them.
struct Variant {
    name: &'static str,
    index: usize,
    options: Options,
    groups: &'static [&'static str],
}

fn variants(index: usize) -> Vec<Variant> {
    let cooperative = Options { contractions: Some(Contractions::Cooperative), ..Options::default() };
    let subgroups = Options { reductions: Some(Reductions::Subgroup), ..Options::default() };
    let products = &["matmul/", "conv/", "conv_grad/", "mixed/matmul/", "mixed/epilogue/", "mixed/conv/"];
    vec![
        Variant { name: "cooperative matrices", index, options: cooperative, groups: products },
        Variant {
            name: "reductions by subgroups",
            index,
            options: subgroups,
            groups: &["reduce/", "composed/", "mixed/"],
        },
    ]
}

impl Variant {
    /// Runs those of the cases that meet it; true if all are right, or the device has no such kernels.
    fn run(&self, cases: &[&Case]) -> Result<bool, Failure> {
        let own = || cases.iter().copied().filter(|c| self.groups.iter().any(|group| c.name.starts_with(group)));
        if own().next().is_none() {
            return Ok(true);
        }
        let device = match WgpuBackend::open_blocking(self.index, self.options) {
            Ok(backend) => ibex::Device::new(backend),
            Err(e) if e.kind() == ErrorKind::Unsupported => return Ok(true),
            Err(e) => return Err(e.context(self.name).into()),
        };
        let failed = ibex_check::failures(own(), |case| ibex_check::compare(&device, case));
        for (case, why) in &failed {
            println!("FAILED {case} with {}: {why}", self.name);
        }
        println!("with {}: {} passed, {} failed", self.name, own().count() - failed.len(), failed.len());
        Ok(failed.is_empty())
    }
}
