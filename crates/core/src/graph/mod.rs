//! The primitives and their graph.
mod op;
pub use op::{Binary, Compare, ConvGeometry, Op, PoolGeometry, Reduce, Unary};
