//! Stand-in until the contraction kernels are merged.
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use ibex_core::program::KernelKind;
use ibex_core::{Error, Result};

#[derive(Debug)]
pub(crate) struct Prepared;

pub(crate) fn prepare(_: &KernelKind) -> Result<Prepared> {
    Err(Error::unsupported("stand-in"))
}

impl Prepared {
    pub(crate) fn run(&self, _: Option<&Epilogue>, _: &Memory) {}
}
