//! The primitives, and graphs made of them.

mod flat;
mod infer;
mod op;

pub(crate) use flat::Builder;
pub use flat::{Graph, Node, NodeId};
pub(crate) use infer::infer;
pub use op::{Binary, Compare, ConvGeometry, Literal, Op, PoolGeometry, Reduce, Unary};
