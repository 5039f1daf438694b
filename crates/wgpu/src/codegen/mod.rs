//! WGSL for fused bodies.

mod access;
mod emit;
mod epilogue;
mod library;
mod loops;
mod reductions;

pub(crate) use access::check;
#[cfg(test)]
pub(crate) use epilogue::EpilogueCode;
pub(crate) use epilogue::{epilogue, splice};
pub(crate) use loops::lower;
pub use reductions::Reductions;
