//! The command `ibex`.

use std::process::ExitCode;

const HELP: &str = "usage: ibex <command>

  devices              the devices of this machine, and which one is the default
  check [--device ID]  runs the conformance cases on a device: every primitive against the
                       f64 reference, fused and unfused";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["devices"] => devices(),
        ["check"] => ibex::default_device().and_then(|device| check(&device)),
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
