//! Lazy tensors, autodiff, fusion and memory planning.
pub mod backend;
mod data;
mod dtype;
mod error;
pub mod graph;
pub mod program;
pub mod random;
mod shape;
pub mod tensor;

pub use data::{Data, Element};
pub use dtype::{DType, Scalar};
pub use error::{Error, ErrorKind, Result};
pub use shape::Shape;
