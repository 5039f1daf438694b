//! Which devices there are, and which one is used.

use ibex_core::backend::DeviceInfo;
use ibex_core::{Device, Error, Result};
use std::sync::{Mutex, PoisonError};

static DEFAULT: Mutex<Option<Device>> = Mutex::new(None);

/// The device that is used where none is named: what the environment variable `IBEX_DEVICE` says (`cpu`, `gpu`, `gpu:1`), else a real GPU
/// if there is one, else the CPU. A software GPU driver is slower than the CPU backend, so it is used only when asked for.
///
/// # Errors
/// `Device` if `IBEX_DEVICE` names none that is there.
pub fn default_device() -> Result<Device> {
    let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = &*default {
        return Ok(device.clone());
    }
    let opened = match std::env::var("IBEX_DEVICE") {
        Ok(id) if !id.is_empty() => device(&id).map_err(|e| e.context("IBEX_DEVICE"))?,
        _ => open_best()?,
    };
    *default = Some(opened.clone());
    Ok(opened)
}

fn open_best() -> Result<Device> {
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    if let Some(info) = ibex_wgpu::adapters().into_iter().find(|a| !a.software)
        && let Ok(backend) = ibex_wgpu::WgpuBackend::open(info.index)
    {
        return Ok(Device::new(backend));
    }
    Ok(cpu())
}

fn cpu() -> Device {
    Device::new(ibex_cpu::CpuBackend::new())
}

/// Opens a device by name: `cpu`, `gpu` (the best adapter, software too), `gpu:0`, `gpu:1`, ...
///
/// # Errors
/// `Device` if there is no such device, naming those that are there.
pub fn device(id: &str) -> Result<Device> {
    match id {
        "cpu" => Ok(cpu()),
        #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
        "gpu" => Ok(Device::new(ibex_wgpu::WgpuBackend::open_default()?)),
        #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
        _ if id.strip_prefix("gpu:").is_some_and(|n| n.parse::<usize>().is_ok()) => {
            let index = id.trim_start_matches("gpu:").parse().map_err(|_| unknown(id))?;
            Ok(Device::new(ibex_wgpu::WgpuBackend::open(index)?))
        }
        _ => Err(unknown(id)),
    }
}

fn unknown(id: &str) -> Error {
    let known = devices().into_iter().map(|d| d.id).collect::<Vec<_>>().join(", ");
    Error::device(format!("no device {id:?}; there are: {known}"))
}

/// Every device of this machine: the CPU, then every GPU adapter.
pub fn devices() -> Vec<DeviceInfo> {
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    let gpus = ibex_wgpu::adapters().into_iter().map(|a| a.info());
    #[cfg(not(all(feature = "gpu", not(target_arch = "wasm32"))))]
    let gpus = std::iter::empty();
    std::iter::once(cpu().info()).chain(gpus).collect()
}
