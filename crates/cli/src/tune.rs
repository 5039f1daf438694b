//! `ibex tune`: measures the kernels on one GPU and keeps what was best for later runs.

use crate::Failure;
use ibex::{Error, Result};
use lexopt::prelude::*;
use std::io::Write;

pub const USAGE: &str = "tune [--device ID]
    measures the kernels that a GPU may choose between, checks each against the f64 reference, and keeps what
    was best for later runs, in the user's folder for caches or in the file that IBEX_TUNE_FILE names
      --device ID   gpu, gpu:1, ... (default: gpu)";

pub fn run(mut args: lexopt::Parser) -> std::result::Result<bool, Failure> {
    let mut device = String::from("gpu");
    while let Some(arg) = args.next()? {
        match arg {
            Long("device") => device = args.value()?.string()?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(tune(&device)?)
}

/// Tunes the adapter `gpu` or `gpu:N`.
fn tune(id: &str) -> Result<bool> {
    let index = match id.strip_prefix("gpu") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse().ok()),
        None => None,
    };
    let index = index.ok_or_else(|| Error::value(format!("{id:?} is no GPU; tune takes gpu, gpu:0, gpu:1, ...")))?;
    let path = ibex_wgpu::tuning_file()
        .ok_or_else(|| Error::value("this system names no folder for caches: set IBEX_TUNE_FILE to a path"))?;
    let tuning = ibex_wgpu::tune(index, &mut |line| println!("{line}"))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| ibex::data::io::failed("make", folder, &e))?;
    }
    // What is no tuning file has been ignored by every run so far; it is replaced.
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    ibex::data::io::write_atomic(&path, |file| file.write_all(tuning.merged(&old).as_bytes()))?;
    println!("written to {}", path.display());
    Ok(true)
}
