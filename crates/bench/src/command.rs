//! The command line of `ibex bench` and `cargo bench`.

use crate::measure::Timing;
use crate::report::Report;
use crate::roofline::Ceiling;
use crate::row::matching;
use crate::rows::rows;
use ibex::{Device, Error, Result};
use std::ffi::OsString;
use std::process::ExitCode;

/// The usage of the command, which begins with its name.
pub const USAGE: &str = "bench [FILTER ...] [--device ID]... [--json] [--quick] [--list]
    measures the rows whose names contain a FILTER (all rows without one), each as time, rate,
    and percentage of the device's measured ceiling; results are checked first
      --device ID   cpu, gpu, gpu:1, ...; several run one after the other (default: the default device)
      --json        one object per line
      --quick       few samples: to see that all rows run, not for numbers
      --list        the names of the rows";

/// What to measure, on what, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Parts of names; empty means all.
    pub filters: Vec<String>,
    /// Names of devices; empty means the default one.
    pub devices: Vec<String>,
    /// Objects for machines instead of a table.
    pub json: bool,
    /// Few samples.
    pub quick: bool,
    /// Only the names.
    pub list: bool,
}

impl Options {
    /// Reads the arguments behind the command's name.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn parse(mut parser: lexopt::Parser) -> std::result::Result<Options, lexopt::Error> {
        use lexopt::prelude::*;
        let mut options = Options::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Value(filter) => options.filters.push(filter.string()?),
                Long("device") => options.devices.push(parser.value()?.string()?),
                Long("json") => options.json = true,
                Long("quick") => options.quick = true,
                Long("list") => options.list = true,
                other => return Err(other.unexpected()),
            }
        }
        Ok(options)
    }
}

/// Parses arguments and runs: exit code 2 if they make no sense, 1 if a row or a device failed.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::parse(lexopt::Parser::from_args(args)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("usage: {USAGE}\n\nbench: {error}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; false if a row failed.
///
/// # Errors
/// `Value` for a filter that no row has; `Device` for a device that is not there or whose ceiling can not be measured.
pub fn run(options: &Options) -> Result<bool> {
    if options.list {
        matching(rows(), &options.filters)?.iter().for_each(|row| println!("{}", row.name()));
        return Ok(true);
    }
    // Mistakes show before anything is measured.
    matching(rows(), &options.filters)?;
    let open = |id: &String| ibex::device(id);
    let devices = match options.devices.is_empty() {
        true => vec![ibex::default_device()?],
        false => options.devices.iter().map(open).collect::<Result<Vec<_>>>()?,
    };
    devices.iter().try_fold(true, |good, device| Ok(on_device(device, options)? && good))
}

fn on_device(device: &Device, options: &Options) -> Result<bool> {
    let info = device.info();
    let timing = if options.quick { Timing::QUICK } else { Timing::FULL };
    let print = |report: Report| match options.json {
        true => println!("{}", report.json()),
        false => println!("{report}"),
    };
    if !options.json {
        println!("{}: {} ({})", info.id, info.name, info.details);
    }
    let (ceiling, measured) = Ceiling::measure(device, timing).map_err(|e: Error| e.context("the device's ceiling"))?;
    for measurement in measured {
        print(Report { device: &info, name: &measurement.name.clone(), result: Ok(measurement), ceiling: None });
    }
    let mut good = true;
    for row in matching(rows(), &options.filters)? {
        let result = row.measure(device, timing);
        good &= result.is_ok();
        print(Report { device: &info, name: row.name(), result, ceiling: Some(&ceiling) });
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> std::result::Result<Options, String> {
        Options::parse(lexopt::Parser::from_args(args)).map_err(|e| e.to_string())
    }

    #[test]
    fn options_in_any_order() {
        let list = |words: &[&str]| words.iter().map(|w| w.to_string()).collect::<Vec<_>>();
        let want = Options {
            filters: list(&["conv", "lstm"]),
            devices: list(&["cpu", "gpu:1"]),
            json: true,
            ..Default::default()
        };
        assert_eq!(parse(&["--device", "cpu", "conv", "--json", "lstm", "--device=gpu:1"]), Ok(want));
        assert_eq!(parse(&[]), Ok(Options::default()));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse(&["--fast"]).unwrap_err().contains("--fast"));
        assert!(parse(&["--device"]).unwrap_err().contains("--device"));
        assert!(parse(&["--json=yes"]).is_err());
        let error = run(&Options { filters: vec!["matmull".into()], ..Default::default() }).unwrap_err().to_string();
        assert!(error.contains("\"matmull\"") && error.contains("matmul_256"), "{error}");
        let bad = Options { devices: vec!["tpu".into()], ..Default::default() };
        assert!(run(&bad).unwrap_err().to_string().contains("tpu"));
    }
}
