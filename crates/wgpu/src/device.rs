//! The open device: errors, loss, memory and pipelines, shared by everything that belongs to it.

use crate::dispatch::{Access, Dispatch, Traits};
use crate::pool::Pool;
use ibex_core::backend::Counters;
use ibex_core::{Error, Result};
use std::collections::HashMap;
#[cfg(not(target_arch = "wasm32"))]
use std::collections::{HashSet, VecDeque};
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A lock whose holder panicked still guards plain data that is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What makes two dispatches share a pipeline: source, constants (by bits), how bindings are declared.
type PipelineKey = (String, Vec<(String, u64)>, Vec<Access>);

fn key(dispatch: &Dispatch) -> PipelineKey {
    let bindings = dispatch.buffers.iter().map(|b| b.access).collect();
    let bits = dispatch.constants.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect();
    (dispatch.source.clone(), bits, bindings)
}

/// Runs that may be under way at once. More would only hold staging memory.
#[cfg(not(target_arch = "wasm32"))]
const IN_FLIGHT: usize = 4;

/// An open device.
#[derive(Debug)]
pub(crate) struct Device {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: wgpu::AdapterInfo,
    pub traits: Traits,
    /// Shaders keep their run-time bounds checks.
    pub checked: bool,
    /// What a user should know of this device, for its description.
    pub notes: Vec<String>,
    pub storage: Pool,
    pub staging: Pool,
    failure: Arc<Mutex<Option<Error>>>,
    pipelines: Mutex<HashMap<PipelineKey, wgpu::ComputePipeline>>,
    layouts: Mutex<HashMap<Vec<Access>, wgpu::BindGroupLayout>>,
    /// The last runs, oldest first.
    #[cfg(not(target_arch = "wasm32"))]
    runs: Mutex<VecDeque<wgpu::SubmissionIndex>>,
    pub submissions: AtomicU64,
    pub dispatches: AtomicU64,
    pub reads: AtomicU64,
}

impl Device {
    pub fn new(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue, checked: bool) -> Device {
        let failure = Arc::new(Mutex::new(None));
        let info = adapter.get_info();
        let first = failure.clone();
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            lock(&first).get_or_insert_with(|| convert(e));
        }));
        let (first, name) = (failure.clone(), info.name.clone());
        device.set_device_lost_callback(move |reason, message| {
            lock(&first).get_or_insert_with(|| {
                Error::device(format!(
                    "{name} was lost ({reason:?}: {message}); open the device again and reload the last checkpoint"
                ))
            });
        });
        Device {
            traits: Traits::new(&device, &info),
            storage: Pool::new(
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            ),
            staging: Pool::new(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            device,
            queue,
            info,
            checked,
            notes: Vec::new(),
            failure,
            pipelines: Mutex::default(),
            layouts: Mutex::default(),
            #[cfg(not(target_arch = "wasm32"))]
            runs: Mutex::default(),
            submissions: AtomicU64::new(0),
            dispatches: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        }
    }

    /// The first error that no call could return, if there was one. From then on device memory can not be trusted, so every
    /// later call returns it.
    pub fn check(&self) -> Result<()> {
        match &*lock(&self.failure) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Runs `create` and returns the error that it caused. In a browser errors arrive later, through [`Device::check`].
    pub fn guarded<T>(&self, create: impl FnOnce() -> T) -> Result<T> {
        self.check()?;
        #[cfg(target_arch = "wasm32")]
        return Ok(create());
        #[cfg(not(target_arch = "wasm32"))]
        {
            use ibex_core::backend::block_on;
            let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
            let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
            let value = create();
            // Natively these futures are ready at once.
            let errors = [block_on(validation.pop()), block_on(memory.pop()), block_on(internal.pop())];
            match errors.into_iter().flatten().next() {
                Some(error) => Err(convert(error)),
                None => self.check().map(|()| value),
            }
        }
    }

    pub fn submit(&self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.queue.submit([commands])
    }

    /// Counts a submission as a run: waits while too many are under way, and lets finished ones give their memory back.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn throttle(&self, run: wgpu::SubmissionIndex) -> Result<()> {
        let oldest = {
            let mut runs = lock(&self.runs);
            runs.push_back(run);
            if runs.len() > IN_FLIGHT { runs.pop_front() } else { None }
        };
        let poll = match oldest {
            Some(index) => wgpu::PollType::Wait { submission_index: Some(index), timeout: None },
            None => wgpu::PollType::Poll,
        };
        match self.device.poll(poll) {
            Ok(_) => Ok(()),
            Err(e) => self.check().and(Err(Error::device(format!("could not wait for the GPU: {e}")))),
        }
    }

    /// A browser does both by itself.
    #[cfg(target_arch = "wasm32")]
    pub fn throttle(&self, _run: wgpu::SubmissionIndex) -> Result<()> {
        Ok(())
    }

    pub fn counters(&self) -> Counters {
        Counters {
            allocations: self.storage.allocations() + self.staging.allocations(),
            submissions: self.submissions.load(Ordering::Relaxed),
            dispatches: self.dispatches.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
        }
    }

    /// The layout of a bind group with such bindings.
    pub fn layout(&self, bindings: &[Access]) -> Result<wgpu::BindGroupLayout> {
        if let Some(layout) = lock(&self.layouts).get(bindings) {
            return Ok(layout.clone());
        }
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..)
            .zip(bindings)
            .map(|(binding, &access)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: match access {
                    Access::Texels => wgpu::BindingType::StorageTexture {
                        access: wgpu::StorageTextureAccess::ReadOnly,
                        format: wgpu::TextureFormat::Rgba32Float,
                        view_dimension: wgpu::TextureViewDimension::D2,
                    },
                    _ => wgpu::BindingType::Buffer {
                        ty: wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                },
                count: None,
            })
            .collect();
        let layout = self.guarded(|| {
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
        })?;
        lock(&self.layouts).insert(bindings.to_vec(), layout.clone());
        Ok(layout)
    }

    /// The pipeline of a dispatch, from the cache if one like it was made before.
    pub fn pipeline(&self, dispatch: &Dispatch) -> Result<wgpu::ComputePipeline> {
        let key = key(dispatch);
        if let Some(pipeline) = lock(&self.pipelines).get(&key) {
            return Ok(pipeline.clone());
        }
        let layout = self.layout(&key.2)?;
        let constants: Vec<(&str, f64)> = dispatch.constants.iter().map(|(name, v)| (name.as_str(), *v)).collect();
        let pipeline = self
            .guarded(|| {
                let module = self.module(&dispatch.label, &dispatch.source);
                let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: None,
                    bind_group_layouts: &[Some(&layout)],
                    ..Default::default()
                });
                self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: Some(&dispatch.label),
                    layout: Some(&layout),
                    module: &module,
                    entry_point: Some("main"),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        constants: &constants,
                        // Kernels write workgroup memory before they read it.
                        zero_initialize_workgroup_memory: false,
                    },
                    cache: None,
                })
            })
            .map_err(|e| e.context(format!("the shader of kernel {} was rejected", dispatch.label)))?;
        lock(&self.pipelines).insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// Fills the cache with the pipelines of these dispatches, on all processors. What fails is left for [`Device::pipeline`] to
    /// report.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile_ahead(&self, dispatches: &[&Dispatch]) {
        let mut seen: HashSet<PipelineKey> = lock(&self.pipelines).keys().cloned().collect();
        let new: Vec<&Dispatch> = dispatches.iter().copied().filter(|d| seen.insert(key(d))).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(new.len());
        if threads < 2 {
            return;
        }
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(dispatch) = new.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.pipeline(dispatch).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }

    fn module(&self, label: &str, source: &str) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(source.into()) };
        if self.checked {
            return self.device.create_shader_module(descriptor);
        }
        // SAFETY: generated loops address only elements that `codegen` has shown to lie in their buffers (`access::check`), and
        // `Executable::run` refuses buffers smaller than planned; hand-written shaders guard every index that comes from data or
        // from a partial tile; every loop has a bound fixed at generation; and integer division guards its divisor. The tests
        // run with checks as well.
        unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    }
}

/// wgpu's error as ours.
fn convert(error: wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => {
            Error::out_of_memory("the GPU has no memory left; use a smaller batch or model, or close other programs")
        }
        wgpu::Error::Validation { description, .. } => Error::device(description.trim().to_string()),
        wgpu::Error::Internal { description, .. } => {
            Error::device(format!("the GPU driver failed: {}; updating it may help", description.trim()))
        }
    }
}
