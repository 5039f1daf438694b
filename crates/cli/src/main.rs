//! The command `ibex`.

mod check;
mod plot;
mod profile;
mod tune;

use std::ffi::OsString;
use std::process::ExitCode;

const HELP: &str = "usage: ibex <command>

  devices
    the devices of this machine, and which one is the default";

/// Why a command did not do its work.
enum Failure {
    /// Its arguments make no sense.
    Usage(String),
    Error(ibex::Error),
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Failure {
        Failure::Usage(error.to_string())
    }
}

impl From<ibex::Error> for Failure {
    fn from(error: ibex::Error) -> Failure {
        Failure::Error(error)
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let command = args.next().unwrap_or_default();
    let help = || [HELP, check::HELP, ibex_bench::HELP, profile::HELP, tune::HELP, plot::HELP].join("\n\n  ");
    if ["help", "--help", "-h"].map(OsString::from).contains(&command) {
        println!("{}", help());
        return ExitCode::SUCCESS;
    }
    match run(&command.to_string_lossy(), args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Error(error)) => {
            eprintln!("ibex: {error}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            eprintln!("ibex: {message}\n\n{}", help());
            ExitCode::from(2)
        }
    }
}

/// Runs a command; false if it found something wrong.
fn run(command: &str, args: impl Iterator<Item = OsString>) -> Result<bool, Failure> {
    match command {
        "devices" => devices(lexopt::Parser::from_args(args)),
        "check" => check::run(lexopt::Parser::from_args(args)),
        "bench" => Ok(ibex_bench::run(&ibex_bench::Options::parse(args)?)?),
        "profile" => profile::run(lexopt::Parser::from_args(args)),
        "tune" => tune::run(lexopt::Parser::from_args(args)),
        "plot" => plot::run(lexopt::Parser::from_args(args)),
        "" => Err(Failure::Usage("which command?".into())),
        other => Err(Failure::Usage(format!("no command {other:?}"))),
    }
}

fn devices(mut args: lexopt::Parser) -> Result<bool, Failure> {
    if let Some(arg) = args.next()? {
        return Err(arg.unexpected().into());
    }
    let default = ibex::default_device()?.info();
    for device in ibex::devices() {
        let mark = if device.id == default.id { "  (default)" } else { "" };
        println!("{}: {}{mark}\n    {}", device.id, device.name, device.details);
    }
    Ok(true)
}
