//! Contractions, windows, indexing and recurrence: every kernel that is no fused loop.

mod col2im;
mod conv;
mod depthwise;
mod gemm;
mod index;
mod lstm;
mod matmul;
mod pool;
mod simd;
mod sink;
#[cfg(test)]
mod tests;
mod windows;

use crate::epilogue::Epilogue;
use crate::memory::Memory;
use ibex_core::program::KernelKind;
use ibex_core::{Error, Result};

/// A kernel with everything that is worth doing once: tilings and scratch memory.
#[derive(Debug)]
pub(crate) enum Prepared {
    MatMul(matmul::MatMul),
    Conv(conv::Conv),
    Depthwise(depthwise::Depthwise),
    Col2im(col2im::Col2im),
    Pool(pool::Pool),
    Gather(ibex_core::program::Gather),
    ScatterAdd(ibex_core::program::ScatterAdd),
    Lstm(lstm::Lstm),
    LstmGrad(lstm::LstmGrad),
}

/// Prepares a kernel.
///
/// # Errors
/// `Unsupported` for a fused loop or a copy, which are not run here.
pub(crate) fn prepare(kind: &KernelKind) -> Result<Prepared> {
    Ok(match kind {
        KernelKind::MatMul(k) => Prepared::MatMul(matmul::MatMul::new(k)),
        KernelKind::Conv(k) if depthwise::fits(&k.geometry) => Prepared::Depthwise(depthwise::Depthwise::new(k)),
        KernelKind::Conv(k) if col2im::fits(k) => Prepared::Col2im(col2im::Col2im::new(k)),
        KernelKind::Conv(k) => Prepared::Conv(conv::Conv::new(k)),
        KernelKind::Pool(k) => Prepared::Pool(pool::Pool::new(k)),
        KernelKind::Gather(k) => Prepared::Gather(k.clone()),
        KernelKind::ScatterAdd(k) => Prepared::ScatterAdd(k.clone()),
        KernelKind::Lstm(k) => Prepared::Lstm(lstm::Lstm::new(k)),
        KernelKind::LstmGrad(k) => Prepared::LstmGrad(lstm::LstmGrad::new(k)),
        KernelKind::Loop(_) | KernelKind::Copy { .. } => {
            return Err(Error::unsupported("loops and copies are no contraction kernels; the loop engine runs them"));
        }
    })
}

impl Prepared {
    /// Runs the kernel on all cores. A contraction without epilogue has no effect.
    pub(crate) fn run(&self, epilogue: Option<&Epilogue>, mem: &Memory) {
        match (self, epilogue) {
            (Prepared::MatMul(k), Some(e)) => k.run(e, mem),
            (Prepared::Conv(k), Some(e)) => k.run(e, mem),
            (Prepared::Depthwise(k), Some(e)) => k.run(e, mem),
            (Prepared::Col2im(k), Some(e)) => k.run(e, mem),
            (Prepared::Pool(k), Some(e)) => k.run(e, mem),
            (Prepared::Gather(k), _) => index::gather(k, mem),
            (Prepared::ScatterAdd(k), _) => index::scatter_add(k, mem),
            (Prepared::Lstm(k), _) => k.run(mem),
            (Prepared::LstmGrad(k), _) => k.run(mem),
            (_, None) => {}
        }
    }
}
