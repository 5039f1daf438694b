//! WGSL for fused bodies.

mod access;
mod emit;
mod epilogue;
mod library;
mod loops;

pub(crate) use access::check;
#[cfg(test)]
pub(crate) use epilogue::EpilogueCode;
pub(crate) use epilogue::{epilogue, splice};
pub(crate) use loops::lower;
