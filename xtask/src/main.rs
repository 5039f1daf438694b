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

/// All tests. Whether the GPU tests ran is said last, since the test runner hides what passing tests print.
fn test(args: &[String]) -> Result<(), String> {
    let devices = Command::new(cargo_path())
        .args(["run", "--quiet", "--package", "ibex-cli", "--", "devices"])
        .output()
        .map_err(|e| format!("the devices could not be listed: {e}"))?;
    let gpu = String::from_utf8_lossy(&devices.stdout).lines().any(|line| line.starts_with("gpu:"));
    cargo(&["test", "--workspace"], args)?;
    match gpu {
        true => println!("GPU tests ran on gpu:0"),
        false => println!("GPU tests were SKIPPED: this machine has no Vulkan, Metal or DX12 adapter"),
    }
    Ok(())
}

fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Runs cargo as the one that started this task.
fn cargo(fixed: &[&str], more: &[String]) -> Result<(), String> {
    let status = Command::new(cargo_path()).args(fixed).args(more).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {} ended with {status}", fixed.join(" "))),
        Err(error) => Err(format!("cargo could not be started: {error}")),
    }
}
