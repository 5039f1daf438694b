//! `ibex profile`: rows of the benchmark kernel by kernel.

use crate::Failure;
use lexopt::prelude::*;
use std::path::PathBuf;

pub const USAGE: &str = "profile [ROW ...] [--device ID] [--trace FILE.json]
    runs rows of the benchmark whose names contain a ROW (mlp, cnn, conv_56, ...; the training steps without
    one) and shows where the time goes, kernel by kernel
      --device ID   cpu, gpu, gpu:1, ... (default: the default device)
      --trace FILE  writes the one row that is named as a trace for https://ui.perfetto.dev";

pub fn run(mut args: lexopt::Parser) -> Result<bool, Failure> {
    let (mut filters, mut device, mut trace) = (Vec::new(), None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Value(filter) => filters.push(filter.string()?),
            Long("device") => device = Some(args.value()?.string()?),
            Long("trace") => trace = Some(PathBuf::from(args.value()?)),
            other => return Err(other.unexpected().into()),
        }
    }
    if filters.is_empty() {
        filters.push("step_".into());
    }
    let rows = ibex_bench::matching(ibex_bench::rows(), &filters)?;
    if trace.is_some() && rows.len() > 1 {
        let names: Vec<&str> = rows.iter().map(|row| row.name()).collect();
        return Err(Failure::Usage(format!("--trace takes one row; {} match: {}", names.len(), names.join(", "))));
    }
    let device = device.map_or_else(ibex::default_device, |id| ibex::device(&id))?;
    let info = device.info();
    println!("{}: {}", info.id, info.name);
    for row in &rows {
        let Some(profile) = row.profile(&device)? else {
            let text = format!("{} has no clock that a program can be measured with", info.name);
            return Err(ibex::Error::unsupported(text).into());
        };
        println!("\n{}\n{profile}", row.name());
        if let Some(path) = &trace {
            profile.write_trace(path)?;
            println!("the trace is in {}", path.display());
        }
    }
    Ok(true)
}
