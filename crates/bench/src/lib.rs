//! The benchmark of ibex: one list of [`rows`], which `cargo bench` and the command `ibex bench` run on any device.
//!
//! A row is measured through the engine's public interface, as a compiled program that is replayed over tensors on the device. Before it is timed
//! its result is held against numbers computed in `f64`, so that no wrong kernel is fast. Each time stands beside the device's measured ceiling:
//! what the row's arithmetic or its memory traffic, whichever takes longer, would take at the rate of the best [`Ceiling`] kernel of the same run.
//! Rows that other engines are measured with too have the same name, the same work and the same rules of timing there.

mod command;
mod measure;
mod report;
mod roofline;
mod row;
mod rows;

pub use command::{Options, USAGE, main, run};
pub use measure::Timing;
pub use report::{Measurement, Report};
pub use roofline::Ceiling;
pub use row::{Row, matching};
pub use rows::rows;
