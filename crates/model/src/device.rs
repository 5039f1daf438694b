//! Which devices there are, and which one is used.

use ibex_core::backend::DeviceInfo;
use ibex_core::{Device, Error, Result};
use std::sync::{Mutex, PoisonError};

static DEFAULT: Mutex<Option<Device>> = Mutex::new(None);

/// The device that is used where none is named: what the environment variable `IBEX_DEVICE` says (`cpu`, `gpu`, `gpu:1`), else a real GPU
/// if there is one, else the CPU. A software GPU driver is slower than the CPU backend, so it is used only when asked for. In a browser it is
/// the CPU until [`set_default_device`] says otherwise.
///
/// # Errors
/// `Device` if `IBEX_DEVICE` names none that is there.
pub fn default_device() -> Result<Device> {
    let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = &*default {
        return Ok(device.clone());
    }
    let opened = match std::env::var("IBEX_DEVICE") {
        Ok(id) if !id.is_empty() => blocking(open(&id)).map_err(|e| e.context("IBEX_DEVICE"))?,
        _ => best(),
    };
    *default = Some(opened.clone());
    Ok(opened)
}

/// Uses this device from now on where none is named.
pub fn set_default_device(device: &Device) {
    *DEFAULT.lock().unwrap_or_else(PoisonError::into_inner) = Some(device.clone());
}

/// Opens a device by name: `cpu`, `gpu` (the best adapter, software too), `gpu:0`, `gpu:1`, ... Not there in a browser, where it is
/// [`open`].
///
/// # Errors
/// `Device` if there is no such device, naming those that are there.
#[cfg(not(target_arch = "wasm32"))]
pub fn device(id: &str) -> Result<Device> {
    blocking(open(id))
}

/// Opens a device by name, without blocking the thread: `cpu`, `gpu`, `gpu:0`, ...
///
/// # Errors
/// `Device` if there is no such device, naming those that are there.
pub async fn open(id: &str) -> Result<Device> {
    match id {
        "cpu" => Ok(cpu()),
        #[cfg(feature = "gpu")]
        "gpu" => Ok(Device::new(ibex_wgpu::WgpuBackend::open_default().await?)),
        #[cfg(feature = "gpu")]
        _ if id.starts_with("gpu:") => match id["gpu:".len()..].parse() {
            Ok(index) => match ibex_wgpu::WgpuBackend::open(index, ibex_wgpu::Options::default()).await {
                Ok(backend) => Ok(Device::new(backend)),
                Err(error) if devices().iter().any(|d| d.id == id) => Err(error),
                Err(_) => Err(unknown(id)),
            },
            Err(_) => Err(unknown(id)),
        },
        _ => Err(unknown(id)),
    }
}

fn cpu() -> Device {
    Device::new(ibex_cpu::CpuBackend::new())
}

/// A real GPU if there is one that opens, else the CPU.
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
fn best() -> Device {
    let real = blocking(ibex_wgpu::adapters()).into_iter().find(|a| !a.is_software);
    let opened = real.and_then(|a| ibex_wgpu::WgpuBackend::open_blocking(a.index, ibex_wgpu::Options::default()).ok());
    opened.map_or_else(cpu, Device::new)
}

#[cfg(not(all(feature = "gpu", not(target_arch = "wasm32"))))]
fn best() -> Device {
    cpu()
}

fn unknown(id: &str) -> Error {
    let known = devices().into_iter().map(|d| d.id).collect::<Vec<_>>().join(", ");
    Error::device(format!("no device {id:?}; there are: {known}"))
}

/// Every device of this machine: the CPU, then every GPU adapter, best first. In a browser the CPU only.
pub fn devices() -> Vec<DeviceInfo> {
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    let gpus = blocking(ibex_wgpu::adapters()).into_iter().map(|a| a.info());
    #[cfg(not(all(feature = "gpu", not(target_arch = "wasm32"))))]
    let gpus = std::iter::empty();
    std::iter::once(cpu().info()).chain(gpus).collect()
}

/// Opening the CPU waits for nothing; only adapters do, and a browser has those through [`open`] alone.
#[cfg(not(target_arch = "wasm32"))]
fn blocking<T>(future: impl Future<Output = T>) -> T {
    ibex_core::backend::block_on(future)
}

#[cfg(target_arch = "wasm32")]
fn blocking(future: impl Future<Output = Result<Device>>) -> Result<Device> {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(device) => device,
        Poll::Pending => Err(Error::unsupported("in a browser a GPU is opened with `ibex::open(\"gpu\").await`")),
    }
}
