//! The adapters of this machine, and a device on one of them.

use ibex_core::backend::DeviceInfo;
use ibex_core::{Error, Result};

/// An adapter, for `ibex devices`.
#[derive(Clone, Debug)]
pub struct AdapterDescription {
    /// Its place in [`adapters`]: `N` of `gpu:N`.
    pub index: usize,
    /// The adapter's name: "NVIDIA GeForce RTX 4090".
    pub name: String,
    /// The API it is reached through: "vulkan", "metal", "dx12", "webgpu".
    pub backend: String,
    /// "discrete GPU", "integrated GPU", "virtual GPU", "software" or "other".
    pub kind: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// The optional features that ibex uses where they are: "f16", "subgroups 32-64", "timestamps".
    pub features: Vec<String>,
    /// Named limits.
    pub limits: Vec<(&'static str, u64)>,
    /// True if the "GPU" is a program on the CPU. The CPU backend is faster.
    pub is_software: bool,
}

/// Features that kernels or the profiler use, each requested where the adapter has it.
const USEFUL: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY
    .union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::SHADER_F16);

/// Best first: a lower number is a better default.
fn rank(info: &wgpu::AdapterInfo) -> u32 {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn kind(info: &wgpu::AdapterInfo) -> &'static str {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

/// True if the adapter runs on the CPU.
pub(crate) fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    // Validation layers and debug names cost time in every call, even in debug builds of a user's program.
    descriptor.flags = wgpu::InstanceFlags::empty();
    wgpu::Instance::new(descriptor)
}

/// All adapters, the best default first. In a browser at most the one that it offers.
pub(crate) async fn all() -> Vec<wgpu::Adapter> {
    #[cfg(not(target_arch = "wasm32"))]
    {
        let mut adapters = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
        adapters.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
        adapters.sort_by_key(|a| rank(&a.get_info()));
        adapters
    }
    #[cfg(target_arch = "wasm32")]
    {
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let mut adapters: Vec<_> = instance().request_adapter(&options).await.into_iter().collect();
        adapters.sort_by_key(|a| rank(&a.get_info()));
        adapters
    }
}

/// The adapters of this machine, the best default first.
pub async fn adapters() -> Vec<AdapterDescription> {
    all().await.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

impl AdapterDescription {
    /// The device that opening this adapter gives.
    pub fn info(&self) -> DeviceInfo {
        device_info(self.index, &self.name, &self.backend, &self.driver, &self.features)
    }
}

/// One line for people.
pub(crate) fn device_info(index: usize, name: &str, api: &str, driver: &str, features: &[String]) -> DeviceInfo {
    let words = [[api, driver].join(" ").trim().to_string()];
    let details = words.iter().chain(features).cloned().collect::<Vec<_>>().join(", ");
    DeviceInfo { id: format!("gpu:{index}"), name: name.to_string(), details }
}

/// The driver's name and version.
pub(crate) fn driver(info: &wgpu::AdapterInfo) -> String {
    [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_string()
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterDescription {
    let info = adapter.get_info();
    let limits = adapter.limits();
    AdapterDescription {
        index,
        backend: info.backend.to_string(),
        kind: kind(&info),
        driver: driver(&info),
        features: feature_names(adapter.features(), &info),
        limits: vec![
            ("buffer bytes", limits.max_buffer_size),
            ("binding bytes", limits.max_storage_buffer_binding_size),
            ("storage buffers", u64::from(limits.max_storage_buffers_per_shader_stage)),
            ("workgroup bytes", u64::from(limits.max_compute_workgroup_storage_size)),
            ("workgroup threads", u64::from(limits.max_compute_invocations_per_workgroup)),
            ("workgroups per axis", u64::from(limits.max_compute_workgroups_per_dimension)),
        ],
        is_software: is_software(&info),
        name: info.name,
    }
}

/// The useful features that are there, in words.
pub(crate) fn feature_names(features: wgpu::Features, info: &wgpu::AdapterInfo) -> Vec<String> {
    let mut names = Vec::new();
    if features.contains(wgpu::Features::SHADER_F16) {
        names.push("f16".to_string());
    }
    if features.contains(wgpu::Features::SUBGROUP) {
        names.push(format!("subgroups {}-{}", info.subgroup_min_size, info.subgroup_max_size));
    }
    if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        names.push("cooperative matrices".to_string());
    }
    if features.contains(wgpu::Features::TIMESTAMP_QUERY) {
        names.push("timestamps".to_string());
    }
    names
}

/// Adapter number `index`.
pub(crate) async fn find(index: usize) -> Result<wgpu::Adapter> {
    let mut adapters = all().await;
    if adapters.is_empty() {
        return Err(Error::device(
            "no GPU adapter was found; install a Vulkan, Metal or DX12 driver (in a browser: one with WebGPU), or use IBEX_DEVICE=cpu",
        ));
    }
    if index >= adapters.len() {
        let names: Vec<String> =
            adapters.iter().enumerate().map(|(i, a)| format!("gpu:{i} ({})", a.get_info().name)).collect();
        return Err(Error::device(format!("there is no gpu:{index}; choose one of {}", names.join(", "))));
    }
    Ok(adapters.swap_remove(index))
}

/// A device on an adapter, with its own limits and all useful features it has, and cooperative matrices if they are asked for.
pub(crate) async fn request(adapter: &wgpu::Adapter, cooperative: bool) -> Result<(wgpu::Device, wgpu::Queue)> {
    let mut descriptor = wgpu::DeviceDescriptor {
        label: Some("ibex"),
        required_features: adapter.features() & USEFUL,
        required_limits: adapter.limits(),
        ..Default::default()
    };
    if cooperative {
        descriptor.required_features |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        // SAFETY: what wgpu calls experimental may have bugs that no type rules out. It is asked for where the user did: by name, or by a
        // tuned file, for which the kernel's results were compared with others on this very device. Only generated shaders of one
        // kernel use it, and all they address is a workgroup's own memory, in bounds by construction.
        descriptor.experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
    }
    let opened = adapter.request_device(&descriptor).await;
    opened.map_err(|e| Error::device(format!("could not open {}: {e}; update its driver", adapter.get_info().name)))
}
