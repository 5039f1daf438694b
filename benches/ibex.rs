//! `cargo bench [-- FILTER ...]`: the rows of `ibex bench`, which takes the same arguments.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo tells every bench target that it is one.
    ibex_bench::main(std::env::args_os().skip(1).filter(|arg| arg != "--bench"))
}
