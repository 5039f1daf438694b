//! The CPU backend of ibex: runs programs on all cores with the widest vector instructions of the processor.
//!
//! ```
//! use ibex_core::backend::Backend;
//! let cpu = ibex_cpu::CpuBackend::new();
//! println!("{:?}", cpu.info());
//! let buffer = cpu.allocate(1024)?;
//! cpu.write(&buffer, 4, &mut |bytes| bytes.copy_from_slice(&1.0f32.to_ne_bytes()))?;
//! # Ok::<(), ibex_core::Error>(())
//! ```

mod access;
mod adam;
mod backend;
mod buffer;
mod code;
mod epilogue;
mod executable;
mod fold;
mod frame;
mod join;
mod kernels;
mod math;
mod memory;
mod ops;
mod roofline;
mod simd;
mod steps;
#[cfg(test)]
mod tests;
mod threads;
mod tile;

pub use backend::CpuBackend;
pub use roofline::multiply_adds;
