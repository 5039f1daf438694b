//! The backend: a device that holds buffers and runs programs.

use crate::adapter;
use crate::buffer::{self, GpuBuffer};
use crate::codegen::Reductions;
use crate::device::Device;
use crate::executable::GpuExecutable;
use crate::kernels::{Contractions, Cooperative};
use crate::tune::{Tuning, tuning_file};
use ibex_core::backend::{Backend, BoxFuture, Buffer, Caps, Counters, DeviceInfo, Executable};
use ibex_core::program::Program;
use ibex_core::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// How a device is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep run-time bounds checks in all shaders: slower, for tests and for hunting bugs. The environment variable
    /// `IBEX_GPU_CHECKED=1` does the same.
    pub checked: bool,
    /// Turn fusion off, for tests: see [`Caps::fuse`].
    pub unfused: bool,
    /// Run all contractions with this kernel, whatever their shape: for tests and for measuring. The environment variable
    /// `IBEX_GPU_CONTRACTIONS` (`tiled`, `large`, `subgroup`, `cooperative`) does the same.
    pub contractions: Option<Contractions>,
    /// With [`Contractions::Cooperative`]: let plain WGSL do what cooperative matrices would, for tests on devices without them.
    pub emulated: bool,
    /// Combine the parts of all reductions so: for tests and for measuring. The environment variable `IBEX_GPU_REDUCTIONS`
    /// (`workgroup`, `subgroup`) does the same.
    pub reductions: Option<Reductions>,
}

/// A GPU.
#[derive(Debug)]
pub struct WgpuBackend {
    pub(crate) device: Arc<Device>,
    index: usize,
    options: Options,
}

impl WgpuBackend {
    /// Opens adapter number `index` of [`adapters`](crate::adapters).
    ///
    /// # Errors
    /// `Device` if there is no such adapter or its driver refuses.
    pub async fn open(index: usize, options: Options) -> Result<WgpuBackend> {
        let adapter = adapter::find(index).await?;
        let info = adapter.get_info();
        let mut notes = Vec::new();
        let tuning = match tuning_file().map(|path| Tuning::read(&path, &info.name, &adapter::driver(&info))) {
            Some(Ok(tuning)) => tuning,
            // A file that is broken costs speed at most.
            Some(Err(e)) => {
                notes.push(format!("tuning ignored: {e}"));
                None
            }
            None => None,
        };
        let contractions =
            forced("IBEX_GPU_CONTRACTIONS", options.contractions, &Contractions::ALL, Contractions::name)?;
        let reductions = forced("IBEX_GPU_REDUCTIONS", options.reductions, &Reductions::ALL, Reductions::name)?;
        let wanted = contractions.map_or_else(
            || tuning.as_ref().is_some_and(Tuning::is_cooperative),
            |kernel| kernel == Contractions::Cooperative && !options.emulated,
        );
        // Where a driver no longer has them, a tuned file does no harm.
        let mut cooperative = Cooperative::of(&adapter).filter(|_| wanted);
        let mut opened = adapter::request(&adapter, cooperative.is_some()).await;
        if let (Some(_), None, Err(e)) = (cooperative, contractions, &opened) {
            notes.push(format!("tuned without cooperative matrices: {e}; run `ibex tune` again"));
            cooperative = None;
            opened = adapter::request(&adapter, false).await;
        }
        let (device, queue) = opened?;
        let checked = options.checked || std::env::var_os("IBEX_GPU_CHECKED").is_some_and(|v| v == "1");
        let mut device = Device::new(&adapter, device, queue, checked);
        device.notes = notes;
        let traits = &mut device.traits;
        traits.cooperative = match options.emulated && traits.subgroups.is_some() {
            true => Some(Cooperative::emulated(traits.f16)),
            false => cooperative,
        };
        if let Some(kernel) = contractions.filter(|k| ![true, false].iter().any(|half| k.runs_on(*half, traits))) {
            return Err(Error::unsupported(format!("this device can not run {} contractions", kernel.name())));
        }
        if let Some(way) = reductions.filter(|r| !r.runs_on(traits)) {
            return Err(Error::unsupported(format!("this device can not combine reductions by {}", way.name())));
        }
        (traits.contractions, traits.reductions, traits.tuning) = (contractions, reductions, tuning.map(Arc::new));
        Ok(WgpuBackend { device: Arc::new(device), index, options })
    }

    /// Opens the best adapter: a discrete GPU before an integrated, a virtual and a software one.
    ///
    /// # Errors
    /// As [`WgpuBackend::open`].
    pub async fn open_default() -> Result<WgpuBackend> {
        Self::open(0, Options::default()).await
    }

    /// [`WgpuBackend::open`], waiting on this thread.
    ///
    /// # Errors
    /// As [`WgpuBackend::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_blocking(index: usize, options: Options) -> Result<WgpuBackend> {
        ibex_core::backend::block_on(Self::open(index, options))
    }

    /// [`WgpuBackend::open_default`], waiting on this thread.
    ///
    /// # Errors
    /// As [`WgpuBackend::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_default_blocking() -> Result<WgpuBackend> {
        ibex_core::backend::block_on(Self::open_default())
    }

    /// True if the "GPU" is a program on the CPU.
    pub fn is_software(&self) -> bool {
        self.device.traits.software
    }
}

/// The variant that all kernels of a kind shall use, if one is asked for: by option, or by the name in an environment variable.
fn forced<T: Copy>(variable: &str, option: Option<T>, all: &[T], name: fn(T) -> &'static str) -> Result<Option<T>> {
    match std::env::var(variable) {
        Ok(text) if option.is_none() && !text.is_empty() => {
            let named = all.iter().copied().find(|variant| name(*variant) == text);
            named.map(Some).ok_or_else(|| {
                let names: Vec<&str> = all.iter().map(|variant| name(*variant)).collect();
                Error::value(format!("{variable} is {text:?}; it is one of {}", names.join(", ")))
            })
        }
        _ => Ok(option),
    }
}

/// The error for a range past the end.
fn too_small(have: usize, need: usize) -> Error {
    Error::value(format!("the buffer has {have} bytes, but {need} were asked for"))
}

impl Backend for WgpuBackend {
    fn info(&self) -> DeviceInfo {
        let info = &self.device.info;
        let mut features = adapter::feature_names(self.device.device.features(), info);
        if self.device.traits.tuning.is_some() {
            features.push("tuned".to_string());
        }
        features.extend(self.device.notes.iter().cloned());
        adapter::device_info(self.index, &info.name, &info.backend.to_string(), &adapter::driver(info), &features)
    }

    fn caps(&self) -> Caps {
        let limits = self.device.device.limits();
        Caps {
            // Contractions may bind two more: operands that their epilogue reads in another form. With fewer than that to spare
            // they take slower forms. More than 16 would not make better kernels, and drivers grow slow with very wide ones.
            max_bindings: match limits.max_storage_buffers_per_shader_stage as usize {
                few @ ..10 => few,
                many => (many - 2).min(16),
            },
            // llvmpipe reads and writes buffers of single elements lane by lane: an optimizer's update behind a gradient takes longer than alone.
            max_epilogue_bindings: if self.device.traits.software { 5 } else { usize::MAX },
            max_buffer_bytes: limits.max_buffer_size.min(limits.max_storage_buffer_binding_size),
            split_elements: 65536,
            split_outputs: 256,
            bounded_stores: true,
            fuse: !self.options.unfused,
        }
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Buffer>> {
        self.device.check()?;
        Ok(Arc::new(GpuBuffer::new(&self.device, bytes)?))
    }

    fn write(&self, buffer: &Arc<dyn Buffer>, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        let target = GpuBuffer::of(&self.device, buffer)?;
        if bytes > target.bytes() {
            return Err(too_small(target.bytes(), bytes));
        }
        let Some(size) = wgpu::BufferSize::new(bytes.next_multiple_of(4) as u64) else {
            fill(&mut []);
            return self.device.check();
        };
        self.device.guarded(|| {
            if let Some(mut view) = self.device.queue.write_buffer_with(target.raw(), 0, size) {
                let mut all = view.slice(..);
                // What `fill` leaves alone must still be initialised memory.
                all.fill(0);
                let start = all.as_raw_element_ptr();
                // SAFETY: the view exclusively owns at least `bytes` mapped bytes, just initialised, until it is dropped below.
                fill(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) });
            }
        })
    }

    fn read(&self, buffer: &Arc<dyn Buffer>, range: Range<usize>) -> BoxFuture<'static, Result<Vec<u8>>> {
        let start = || {
            let source = GpuBuffer::of(&self.device, buffer)?;
            if range.start > range.end || range.end > source.bytes() {
                return Err(too_small(source.bytes(), range.end));
            }
            if range.is_empty() {
                return self.device.check().map(|()| None);
            }
            buffer::read(&self.device, source.raw(), range.clone()).map(Some)
        };
        match start() {
            Ok(Some(future)) => Box::pin(future),
            Ok(None) => Box::pin(std::future::ready(Ok(Vec::new()))),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn copy(&self, from: &Arc<dyn Buffer>, to: &Arc<dyn Buffer>, bytes: usize) -> Result<()> {
        let (source, target) = (GpuBuffer::of(&self.device, from)?, GpuBuffer::of(&self.device, to)?);
        let have = source.bytes().min(target.bytes());
        if bytes > have {
            return Err(too_small(have, bytes));
        }
        if bytes == 0 || source.id() == target.id() {
            return self.device.check();
        }
        self.device.guarded(|| {
            let mut encoder =
                self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
            let size = bytes.next_multiple_of(4) as u64;
            encoder.copy_buffer_to_buffer(source.raw(), 0, target.raw(), 0, size);
            self.device.submit(encoder.finish());
        })
    }

    fn load(&self, program: Arc<Program>) -> Result<Box<dyn Executable>> {
        Ok(Box::new(GpuExecutable::load(self.device.clone(), program)?))
    }

    fn counters(&self) -> Counters {
        self.device.counters()
    }
}
