//! The hand-written kernels: from one [`KernelKind`] to dispatches of the shaders in `/shaders`.

mod contraction;
mod conv;
mod cooperative;
mod index;
mod lstm;
mod matmul;
mod pool;
mod shader;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use cooperative::Cooperative;
pub use table::Contractions;
pub(crate) use table::Extent;

use crate::dispatch::{Dispatch, Lowered, Target, Traits};
use ibex_core::program::KernelKind;
use ibex_core::{Error, Result};

/// The dispatches of a kernel that is neither a loop nor a copy. A result without elements takes none.
pub(crate) fn lower(kind: &KernelKind, traits: &Traits) -> Result<Lowered> {
    let lowered = match kind {
        KernelKind::MatMul(k) => matmul::lower(k, traits)?,
        KernelKind::Conv(k) => conv::lower(k, traits)?,
        KernelKind::Pool(k) => pool::lower(k, traits)?,
        KernelKind::Gather(k) => index::gather(k, traits)?,
        KernelKind::ScatterAdd(k) => index::scatter_add(k, traits)?,
        KernelKind::Lstm(k) => lstm::forward(k, traits)?,
        KernelKind::LstmGrad(k) => lstm::gradient(k, traits)?,
        KernelKind::Loop(_) | KernelKind::Copy { .. } => {
            return Err(Error::unsupported("loops and copies have no hand-written kernel"));
        }
    };
    for dispatch in &lowered.dispatches {
        check(dispatch)?;
    }
    Ok(lowered)
}

/// Fails if a dispatch would write what it also binds otherwise.
fn check(dispatch: &Dispatch) -> Result<()> {
    for (i, one) in dispatch.buffers.iter().enumerate() {
        let clash = |other: &&crate::dispatch::Binding| other.buffer == one.buffer && (other.writes() || one.writes());
        if dispatch.buffers[..i].iter().find(clash).is_some() {
            let name = match one.buffer {
                Target::Planned(id) => format!("buffer {}", id.0),
                Target::Scratch(n) => format!("scratch {n}"),
            };
            return Err(Error::unsupported(format!("kernel {} writes {name} while it reads it", dispatch.label)));
        }
    }
    Ok(())
}
