//! The conformance harness: one list of cases that every device must pass, whatever it is made of.
//!
//! [`cases`] lists them; [`compare`] runs one on a device and holds the result against the `f64` reference of the core,
//! [`gradients`] checks its derivatives against finite differences, and [`random_graph`] makes up graphs that nobody thought of.
//! [`Reference`] runs compiled programs point by point, which tells the compiler's mistakes from a backend's, and [`WithCaps`] is
//! the same device with other limits: fusion off, few bindings.

mod caps;
mod case;
mod cases;
mod gradient;
mod inputs;
mod property;
mod reference;
mod run;
mod tolerance;

pub use caps::{Change, WithCaps, variants};
pub use case::{Build, Case, Grad, Kind, Step};
pub use cases::cases;
pub use gradient::gradients;
pub use inputs::Inputs;
pub use property::{random_graph, random_step, shrink};
pub use reference::{Reference, check_program};
pub use run::{Outcome, compare, failures, program};
pub use tolerance::{Class, Tolerance};
