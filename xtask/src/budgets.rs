//! Limits that the design sets and a number can check.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates in the tree of package `ibex` with GPU, itself included, on this platform.
const CRATES: usize = 120;
/// Lines of the MNIST program.
const EXAMPLE_LINES: usize = 60;
/// Lines of a source file; longer ones are asking to be split. Listed, not failed.
const FILE_LINES: usize = 600;

pub fn check() -> Result<(), String> {
    let mut failed = Vec::new();
    let mut limit = |what: &str, value: usize, most: usize| {
        println!("{what}: {value} (at most {most})");
        if value > most {
            failed.push(what.to_string());
        }
    };
    limit("crates below ibex", crates()?, CRATES);
    limit("lines of examples/mnist.rs", lines(Path::new("examples/mnist.rs"))?, EXAMPLE_LINES - 1);
    for file in sources(Path::new("crates"))? {
        let count = lines(&file)?;
        if count > FILE_LINES {
            println!("long: {} has {count} lines", file.display());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("over budget: {}", failed.join(", "))) }
}

fn crates() -> Result<usize, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let args = ["tree", "--package", "ibex", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(cargo).args(args).output().map_err(|e| format!("cargo tree: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let name = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(text.lines().filter(|l| !l.is_empty()).map(name).collect::<BTreeSet<_>>().len())
}

fn lines(file: &Path) -> Result<usize, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(text.lines().count())
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
