//! Tasks of this repository: `cargo xtask test`, `cargo xtask budgets`.

mod budgets;

use std::process::{Command, ExitCode};

const HELP: &str = "usage: cargo xtask <task>

  test      all tests; tests that need a GPU say so and are skipped where there is none,
            unless IBEX_REQUIRE_GPU=1 makes that a failure
  budgets   checks the limits that the design sets: dependencies, lines of the example, length of files";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match task.as_str() {
        "test" => test(&rest),
        "budgets" => budgets::check(),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {task}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn test(args: &[String]) -> Result<(), String> {
    cargo(&["test", "--workspace"], args)
}

/// Runs cargo as the one that started this task.
fn cargo(fixed: &[&str], more: &[String]) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let status = Command::new(cargo).args(fixed).args(more).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {} ended with {status}", fixed.join(" "))),
        Err(error) => Err(format!("cargo could not be started: {error}")),
    }
}
