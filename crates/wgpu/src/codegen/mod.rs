//! WGSL for fused bodies.

mod access;
mod emit;
mod epilogue;
mod library;
mod loops;

pub(crate) use access::check;
#[allow(unused_imports)] // Hand-written kernels use these.
pub(crate) use epilogue::{EpilogueCode, epilogue, splice};
pub(crate) use loops::lower;
