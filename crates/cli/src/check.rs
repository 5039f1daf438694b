//! `ibex check`: the conformance cases on a device.

use crate::Failure;
use ibex_check::Case;
use lexopt::prelude::*;

pub const USAGE: &str = "check [FILTER ...] [--device ID] [--list]
    runs the conformance cases whose names contain a FILTER (all cases without one): every primitive,
    and programs made of them, against the f64 reference
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
    Ok(failed.is_empty())
}
