//! The command `ibex`.

mod tune;

use std::process::ExitCode;

const HELP: &str = "usage: ibex <command>

  devices              the devices of this machine, and which one is the default
  check [--device ID]  runs the conformance cases on a device: every primitive, and programs
                       made of them, against the f64 reference
  tune [--device ID]   measures the kernels on a GPU and keeps what was best for later runs";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["devices"] => devices(),
        ["check"] => ibex::default_device().and_then(|device| check(&device)),
        ["tune"] => tune::tune("gpu"),
        ["tune", "--device", id] => tune::tune(id),
        ["check", "--device", id] => ibex::device(id).and_then(|device| check(&device)),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ibex: {error}");
            ExitCode::FAILURE
        }
    }
}

fn devices() -> ibex::Result<bool> {
    let default = ibex::default_device()?.info();
    for device in ibex::devices() {
        let mark = if device.id == default.id { "  (default)" } else { "" };
        println!("{}: {}{mark}\n    {}", device.id, device.name, device.details);
    }
    Ok(true)
}

/// Every conformance case on a device.
fn check(device: &ibex::Device) -> ibex::Result<bool> {
    let info = device.info();
    println!("{}: {}", info.id, info.name);
    let cases = ibex_check::cases();
    let failed = ibex_check::failures(&cases, |case| ibex_check::compare(device, case));
    for (case, why) in &failed {
        println!("FAILED {case}: {why}");
    }
    println!("{} passed, {} failed", cases.len() - failed.len(), failed.len());
    Ok(failed.is_empty())
}
