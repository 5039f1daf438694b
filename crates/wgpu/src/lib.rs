//! Runs ibex programs on any GPU that [`wgpu`] reaches: Vulkan, Metal, DX12, and WebGPU in a browser.
//!
//! A [`Program`](ibex_core::program::Program) is lowered once to WGSL: fused loops are generated, contractions and windows come
//! from hand-written shaders. A run is then one command buffer that replays a fixed list of dispatches.

mod adapter;
mod backend;
mod buffer;
mod codegen;
mod device;
mod dispatch;
mod executable;
mod kernels;
#[cfg(not(target_arch = "wasm32"))]
mod measure;
mod pool;
mod tune;

#[cfg(test)]
mod tests;

pub use adapter::{AdapterDescription, adapters};
pub use backend::{Options, WgpuBackend};
pub use codegen::Reductions;
pub use kernels::Contractions;
#[cfg(not(target_arch = "wasm32"))]
pub use measure::tune;
pub use tune::{Tuning, tuning_file};
