//! The engine below Ibex: lazy tensors, autodiff, fusion, scheduling and memory planning. It knows no device; backends run the
//! [`Program`](program::Program)s it makes.
//!
//! Modules are the stages, in the order data flows: [`tensor`] records a graph, [`graph`] says what its operations are, `grad`
//! differentiates it, `simplify` rewrites it, `fuse` makes kernels, `schedule` orders them, `memory` gives them buffers, and a
//! [`program`] is the result. [`Function`] and [`Device`] drive the stages; [`oracle`] computes the same slowly, in `f64`.

pub mod backend;
mod data;
mod device;
mod dtype;
mod error;
mod function;
mod fuse;
mod grad;
pub mod graph;
mod memory;
pub mod oracle;
pub mod program;
pub mod random;
mod schedule;
mod shape;
mod simplify;
mod split;
pub mod tensor;

pub use data::{Data, Element};
pub use device::Device;
pub use dtype::{DType, Scalar};
pub use error::{Error, ErrorKind, Result};
pub use function::{Arg, Function, Plan};
pub use shape::Shape;
pub use tensor::{Padding, Tensor, Variable, Window};
