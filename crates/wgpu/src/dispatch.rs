//! What kernels are lowered to.

use crate::codegen::Reductions;
use crate::kernels::{Contractions, Cooperative};
use crate::tune::Tuning;
use ibex_core::Error;
use ibex_core::program::BufferId;
use std::sync::Arc;

/// One compute dispatch, as lowered from a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    /// Its name in errors and traces.
    pub label: String,
    /// Complete WGSL with the entry point `main` and its buffers at `@group(0) @binding(0..)`.
    pub source: String,
    /// Values of `override` constants.
    pub constants: Vec<(String, f64)>,
    /// The buffers in binding order.
    pub buffers: Vec<Binding>,
    /// Workgroups along each axis; with a zero nothing is dispatched.
    pub workgroups: [u32; 3],
}

/// One binding of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// What is bound.
    pub buffer: Target,
    /// How the shader declares it.
    pub access: Access,
}

/// How a shader declares a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
    /// `texture_storage_2d<rgba32float, read>`: a copy of the buffer, four elements in a texel and [`TEXELS`] texels in a row.
    Texels,
}

/// Texels in a row of a copied buffer: rows of 64 KiB.
pub(crate) const TEXELS: u32 = 4096;

impl Binding {
    /// A buffer as itself.
    pub fn new(buffer: Target, writable: bool) -> Binding {
        Binding { buffer, access: if writable { Access::Write } else { Access::Read } }
    }

    /// True if the dispatch may change it.
    pub fn writes(&self) -> bool {
        self.access == Access::Write
    }
}

/// The memory behind a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A buffer of the program.
    Planned(BufferId),
    /// Memory of the kernel's own: number `.0` of [`Lowered::scratch`].
    Scratch(usize),
}

/// A kernel as dispatches, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lowered {
    /// The dispatches.
    pub dispatches: Vec<Dispatch>,
    /// Bytes of each piece of scratch memory.
    pub scratch: Vec<usize>,
}

/// What kernels may use on this adapter.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    /// Shaders may say `enable f16`.
    pub f16: bool,
    /// Smallest and largest subgroup, if shaders may use them.
    pub subgroups: Option<(u32, u32)>,
    /// Bytes of workgroup memory.
    pub max_workgroup_storage: u32,
    /// Threads of a workgroup.
    pub max_invocations: u32,
    /// Workgroups along one axis of a dispatch.
    pub max_workgroups_per_dim: u32,
    /// Storage buffers of one dispatch.
    pub max_bindings: u32,
    /// Elements that fit a copy in texels; 0 where buffers are as fast.
    pub max_texels: usize,
    /// Iterations that all loops of an invocation may have together. llvmpipe ends them after 65,535, without a word; here it is
    /// fewer, since short loops, as those of epilogues over four elements, are not counted.
    pub max_iterations: usize,
    /// The adapter is a program on the CPU: few threads, dear barriers.
    pub software: bool,
    /// The cooperative matrices that shaders may use.
    pub cooperative: Option<Cooperative>,
    /// Run all contractions so, whatever the table says.
    pub contractions: Option<Contractions>,
    /// Combine all reductions so.
    pub reductions: Option<Reductions>,
    /// What was measured on this device.
    pub tuning: Option<Arc<Tuning>>,
}

/// The error for more iterations than [`Traits::max_iterations`]; `what` ends in what is too long.
pub(crate) fn too_long(what: &str) -> Error {
    Error::unsupported(format!("{what} longer than software GPUs can run; use a real GPU or IBEX_DEVICE=cpu"))
}

impl Traits {
    pub fn new(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Traits {
        let (limits, features) = (device.limits(), device.features());
        let software = crate::adapter::is_software(info);
        // Elsewhere a subgroup has no number of its own: DX12 would be told one that takes threads to follow one another, and a browser
        // wants shaders to ask.
        let numbered = matches!(info.backend, wgpu::Backend::Vulkan | wgpu::Backend::Metal);
        Traits {
            f16: features.contains(wgpu::Features::SHADER_F16),
            subgroups: (numbered && features.contains(wgpu::Features::SUBGROUP))
                .then_some((info.subgroup_min_size, info.subgroup_max_size)),
            max_workgroup_storage: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            max_workgroups_per_dim: limits.max_compute_workgroups_per_dimension,
            max_bindings: limits.max_storage_buffers_per_shader_stage,
            max_texels: if software && limits.max_texture_dimension_2d >= TEXELS {
                4 * TEXELS as usize * limits.max_texture_dimension_2d as usize
            } else {
                0
            },
            max_iterations: if software { 60_000 } else { usize::MAX },
            software,
            cooperative: None,
            contractions: None,
            reductions: None,
            tuning: None,
        }
    }
}
