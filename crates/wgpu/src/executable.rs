//! A program ready to run: pipelines, scratch memory and bind groups made once, replayed by one submission.

use crate::buffer::{self, GpuBuffer};
use crate::codegen;
use crate::device::{Device, lock};
use crate::dispatch::{Access, Lowered, TEXELS, Target};
use crate::kernels;
use ibex_core::backend::{Buffer, Executable};
use ibex_core::program::{BufferId, Kernel, KernelKind, Program, Role};
use ibex_core::{Error, Result};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bind groups kept for each dispatch: enough for callers that rotate a few buffers.
const GROUPS: usize = 4;

/// Where a binding's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Number in [`Program::externals`].
    External(usize),
    /// Number in [`GpuExecutable::scratch`].
    Scratch(usize),
}

/// A binding of a step.
#[derive(Clone, Copy, Debug)]
enum Bind {
    Buffer(Source),
    /// Number in [`GpuExecutable::textures`].
    Texture(usize),
}

#[derive(Debug)]
enum Step {
    Dispatch {
        pipeline: wgpu::ComputePipeline,
        layout: wgpu::BindGroupLayout,
        buffers: Vec<Bind>,
        /// The externals among `buffers`, whose identities choose the bind group.
        externals: Vec<usize>,
        workgroups: [u32; 3],
    },
    Copy {
        from: Source,
        to: Source,
        bytes: u64,
    },
    /// A copy into a texture.
    Texels {
        from: Source,
        texture: usize,
        texels: u32,
    },
}

/// What depends on the externals of the last run.
#[derive(Debug, Default)]
struct Bound {
    externals: Vec<u64>,
    /// For each step the bind groups of recent externals, the current one first.
    groups: Vec<Vec<(Vec<u64>, wgpu::BindGroup)>>,
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct GpuExecutable {
    device: Arc<Device>,
    program: Arc<Program>,
    steps: Vec<Step>,
    /// The steps of each kernel.
    kernels: Vec<Range<usize>>,
    /// Slots of the program, then scratch memory that kernels need for themselves.
    scratch: Vec<GpuBuffer>,
    /// What dispatches read as texels, each large enough for all of them.
    textures: Vec<Texture>,
    dispatches: u64,
    bound: Mutex<Bound>,
}

/// A texture and the view that is bound.
#[derive(Debug)]
struct Texture {
    texture: wgpu::Texture,
    view: wgpu::TextureView,
}

impl Texture {
    /// One of this many rows.
    fn new(device: &Device, rows: u32) -> Result<Texture> {
        device.guarded(|| {
            let texture = device.device.create_texture(&wgpu::TextureDescriptor {
                label: None,
                size: wgpu::Extent3d { width: TEXELS, height: rows, depth_or_array_layers: 1 },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::Rgba32Float,
                usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            });
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            Texture { texture, view }
        })
    }

    /// Records the copy of the first texels of a buffer: all whole rows at once, then what is left.
    fn fill(&self, encoder: &mut wgpu::CommandEncoder, from: &wgpu::Buffer, texels: u32) {
        let whole = texels / TEXELS;
        for (y, width, height) in [(0, TEXELS, whole), (whole, texels % TEXELS, 1)] {
            if width * height == 0 {
                continue;
            }
            let layout = wgpu::TexelCopyBufferLayout {
                offset: u64::from(y) * u64::from(TEXELS) * 16,
                bytes_per_row: Some(TEXELS * 16),
                rows_per_image: None,
            };
            let to =
                wgpu::TexelCopyTextureInfo { origin: wgpu::Origin3d { x: 0, y, z: 0 }, ..self.texture.as_image_copy() };
            let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
            encoder.copy_buffer_to_texture(wgpu::TexelCopyBufferInfo { buffer: from, layout }, to, size);
        }
    }
}

/// The dispatches of one kernel; `None` for a copy.
fn lower(kernel: &Kernel, program: &Program, device: &Device) -> Result<Option<Lowered>> {
    if let (Some(body), Some(dims)) = (kernel.kind.body(), kernel.kind.dims()) {
        codegen::check(body, &dims, program)?;
    }
    match &kernel.kind {
        KernelKind::Copy { .. } => Ok(None),
        KernelKind::Loop(k) => codegen::lower(k, &kernel.label, program, &device.traits).map(Some),
        other => kernels::lower(other, &device.traits).map(Some),
    }
}

/// Leaves out dispatches of nothing, and fails if one binds more than the device allows.
fn fits(lowered: Option<Lowered>, device: &Device) -> Result<Option<Lowered>> {
    let Some(mut lowered) = lowered else { return Ok(None) };
    lowered.dispatches.retain(|d| !d.workgroups.contains(&0));
    let limit = device.traits.max_bindings as usize;
    match lowered.dispatches.iter().map(|d| d.buffers.len()).find(|&n| n > limit) {
        Some(n) => Err(Error::unsupported(format!("it binds {n} buffers, but {} allows {limit}", device.info.name))),
        None => Ok(Some(lowered)),
    }
}

impl GpuExecutable {
    pub fn load(device: Arc<Device>, program: Arc<Program>) -> Result<GpuExecutable> {
        device.check()?;
        let mut scratch = Vec::new();
        for &bytes in &program.slots {
            scratch.push(GpuBuffer::new(&device, bytes)?);
        }
        for (n, buffer) in program.buffers.iter().enumerate() {
            if let Role::Temp(slot) = buffer.role
                && program.slots.get(slot).is_none_or(|&have| have < buffer.bytes())
            {
                let need = buffer.bytes();
                return Err(Error::value(format!(
                    "slot {slot} is too small for the {need} bytes of buffer {n}; this is a bug of the memory plan"
                )));
            }
        }
        let mut external_of = vec![None; program.buffers.len()];
        for (i, id) in program.externals().enumerate() {
            external_of[id.0] = Some(i);
        }
        let planned = |id: BufferId| match (program[id].role, external_of[id.0]) {
            (Role::Temp(slot), _) => Source::Scratch(slot),
            (_, Some(i)) => Source::External(i),
            (_, None) => unreachable!("every buffer but scratch is an external"),
        };
        // Kernels run one after another, so they share one set of private memory, as large as the largest need.
        let mut own: Vec<usize> = Vec::new();
        let mut rows: Vec<u32> = Vec::new();
        let (mut steps, mut kernels) = (Vec::new(), Vec::new());
        let mut lowered = Vec::with_capacity(program.kernels.len());
        for kernel in &program.kernels {
            let one = lower(kernel, &program, &device).and_then(|l| fits(l, &device));
            lowered.push(one.map_err(|e| e.context(format!("kernel {}", kernel.label)))?);
        }
        #[cfg(not(target_arch = "wasm32"))]
        device.compile_ahead(&lowered.iter().flatten().flat_map(|l| &l.dispatches).collect::<Vec<_>>());
        for (kernel, lowered) in program.kernels.iter().zip(lowered) {
            let start = steps.len();
            match lowered {
                None => {
                    if let KernelKind::Copy { from, to } = kernel.kind {
                        let bytes = (program[from].bytes().min(program[to].bytes()) as u64).next_multiple_of(4);
                        if bytes > 0 {
                            steps.push(Step::Copy { from: planned(from), to: planned(to), bytes });
                        }
                    }
                }
                Some(lowered) => {
                    own.resize(own.len().max(lowered.scratch.len()), 0);
                    for (have, &need) in own.iter_mut().zip(&lowered.scratch) {
                        *have = (*have).max(need);
                    }
                    for dispatch in lowered.dispatches {
                        let access: Vec<Access> = dispatch.buffers.iter().map(|b| b.access).collect();
                        let mut buffers = Vec::new();
                        let mut textures = 0;
                        for binding in &dispatch.buffers {
                            let source = match binding.buffer {
                                Target::Planned(id) => planned(id),
                                Target::Scratch(i) => Source::Scratch(program.slots.len() + i),
                            };
                            if let (Access::Texels, Target::Planned(id)) = (binding.access, binding.buffer) {
                                let count = program[id].bytes().div_ceil(16).min(device.traits.max_texels / 4) as u32;
                                rows.resize(rows.len().max(textures + 1), 1);
                                rows[textures] = rows[textures].max(count.div_ceil(TEXELS));
                                steps.push(Step::Texels { from: source, texture: textures, texels: count });
                                buffers.push(Bind::Texture(textures));
                                textures += 1;
                            } else {
                                buffers.push(Bind::Buffer(source));
                            }
                        }
                        let externals = (buffers.iter())
                            .filter_map(|s| if let Bind::Buffer(Source::External(i)) = s { Some(*i) } else { None })
                            .collect();
                        steps.push(Step::Dispatch {
                            pipeline: device.pipeline(&dispatch)?,
                            layout: device.layout(&access)?,
                            buffers,
                            externals,
                            workgroups: dispatch.workgroups,
                        });
                    }
                }
            }
            kernels.push(start..steps.len());
        }
        for bytes in own {
            scratch.push(GpuBuffer::new(&device, bytes)?);
        }
        let textures = rows.into_iter().map(|rows| Texture::new(&device, rows)).collect::<Result<Vec<_>>>()?;
        let dispatches = steps.iter().filter(|s| matches!(s, Step::Dispatch { .. })).count() as u64;
        let bound = Mutex::new(Bound { externals: Vec::new(), groups: steps.iter().map(|_| Vec::new()).collect() });
        Ok(GpuExecutable { device, program, steps, kernels, scratch, textures, dispatches, bound })
    }

    /// The externals as our own type, each at least as large as planned.
    fn externals<'a>(&self, externals: &'a [Arc<dyn Buffer>]) -> Result<Vec<&'a GpuBuffer>> {
        let mut own = Vec::with_capacity(externals.len());
        for id in self.program.externals() {
            let Some(buffer) = externals.get(own.len()) else { break };
            let buffer = GpuBuffer::of(&self.device, buffer)?;
            let (have, need) = (buffer.bytes(), self.program[id].bytes());
            if have < need {
                let role = self.program[id].role;
                return Err(Error::value(format!("{role:?} is bound to {have} bytes, but the program needs {need}")));
            }
            own.push(buffer);
        }
        let need = self.program.externals().count();
        if externals.len() != need {
            return Err(Error::value(format!("the program binds {need} buffers, but {} were given", externals.len())));
        }
        Ok(own)
    }

    fn resolve<'a>(&'a self, source: Source, externals: &[&'a GpuBuffer]) -> &'a GpuBuffer {
        match source {
            Source::External(i) => externals[i],
            Source::Scratch(i) => &self.scratch[i],
        }
    }

    /// Puts the bind group for these externals first in every step.
    fn bind(&self, bound: &mut Bound, externals: &[&GpuBuffer]) -> Result<()> {
        if bound.externals.len() == externals.len() && bound.externals.iter().zip(externals).all(|(a, b)| *a == b.id())
        {
            // Programs without externals are never bound otherwise.
            let made = |(step, groups): (&Step, &Vec<_>)| !matches!(step, Step::Dispatch { .. }) || !groups.is_empty();
            if !externals.is_empty() || self.steps.iter().zip(&bound.groups).all(made) {
                return Ok(());
            }
        }
        bound.externals.clear();
        for (step, groups) in self.steps.iter().zip(&mut bound.groups) {
            let Step::Dispatch { layout, buffers, externals: used, .. } = step else { continue };
            let key: Vec<u64> = used.iter().map(|&i| externals[i].id()).collect();
            if let Some(at) = groups.iter().position(|(k, _)| *k == key) {
                groups[..=at].rotate_right(1);
                continue;
            }
            let entries: Vec<wgpu::BindGroupEntry> = (0..)
                .zip(buffers)
                .map(|(binding, &bind)| wgpu::BindGroupEntry {
                    binding,
                    resource: match bind {
                        Bind::Buffer(source) => self.resolve(source, externals).raw().as_entire_binding(),
                        Bind::Texture(i) => wgpu::BindingResource::TextureView(&self.textures[i].view),
                    },
                })
                .collect();
            let group = self.device.guarded(|| {
                self.device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout,
                    entries: &entries,
                })
            })?;
            groups.truncate(GROUPS - 1);
            groups.insert(0, (key, group));
        }
        bound.externals.extend(externals.iter().map(|b| b.id()));
        Ok(())
    }

    /// Records steps. Copies stand outside of compute passes; `timestamps` goes to the passes.
    fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        steps: Range<usize>,
        bound: &Bound,
        externals: &[&GpuBuffer],
        timestamps: Option<wgpu::ComputePassTimestampWrites>,
    ) {
        let mut at = steps.start;
        while at < steps.end {
            if let Step::Copy { from, to, bytes } = self.steps[at] {
                let (from, to) = (self.resolve(from, externals), self.resolve(to, externals));
                encoder.copy_buffer_to_buffer(from.raw(), 0, to.raw(), 0, bytes);
                at += 1;
                continue;
            }
            if let Step::Texels { from, texture, texels } = self.steps[at] {
                self.textures[texture].fill(encoder, self.resolve(from, externals).raw(), texels);
                at += 1;
                continue;
            }
            let mut pass = encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: timestamps.clone() });
            while at < steps.end
                && let Step::Dispatch { pipeline, workgroups: [x, y, z], .. } = &self.steps[at]
            {
                if let Some((_, group)) = bound.groups[at].first() {
                    pass.set_pipeline(pipeline);
                    pass.set_bind_group(0, group, &[]);
                    pass.dispatch_workgroups(*x, *y, *z);
                }
                at += 1;
            }
        }
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None })
    }
}

impl Executable for GpuExecutable {
    fn run(&self, externals: &[Arc<dyn Buffer>]) -> Result<()> {
        self.device.check()?;
        let externals = self.externals(externals)?;
        let mut bound = lock(&self.bound);
        self.bind(&mut bound, &externals)?;
        let index = self.device.guarded(|| {
            let mut encoder = self.encoder();
            self.record(&mut encoder, 0..self.steps.len(), &bound, &externals, None);
            self.device.submit(encoder.finish())
        })?;
        drop(bound);
        self.device.dispatches.fetch_add(self.dispatches, Ordering::Relaxed);
        self.device.throttle(index)
    }

    fn profile(&self, externals: &[Arc<dyn Buffer>]) -> Result<Option<Vec<Duration>>> {
        if cfg!(target_arch = "wasm32") || !self.device.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            self.run(externals)?;
            return Ok(None);
        }
        self.device.check()?;
        let externals = self.externals(externals)?;
        let mut bound = lock(&self.bound);
        self.bind(&mut bound, &externals)?;
        let mut times = vec![Duration::ZERO; self.kernels.len()];
        // One query set holds two timestamps for each kernel.
        for first in (0..self.kernels.len()).step_by(wgpu::QUERY_SET_MAX_QUERIES as usize / 2) {
            let last = self.kernels.len().min(first + wgpu::QUERY_SET_MAX_QUERIES as usize / 2);
            self.profile_range(first..last, &bound, &externals, &mut times[first..last])?;
        }
        self.device.dispatches.fetch_add(self.dispatches, Ordering::Relaxed);
        Ok(Some(times))
    }
}

impl GpuExecutable {
    /// Runs some kernels between timestamps.
    fn profile_range(
        &self,
        kernels: Range<usize>,
        bound: &Bound,
        externals: &[&GpuBuffer],
        times: &mut [Duration],
    ) -> Result<()> {
        let device = &self.device;
        let encoders = device.device.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);
        let one_pass = |steps: &Range<usize>| steps.clone().all(|s| matches!(self.steps[s], Step::Dispatch { .. }));
        // Copies have no pass to hang timestamps on. A query that is never written may not be resolved.
        let measured: Vec<usize> = kernels
            .clone()
            .filter(|&k| !self.kernels[k].is_empty() && (encoders || one_pass(&self.kernels[k])))
            .collect();
        if measured.is_empty() {
            let steps = kernels.clone().flat_map(|k| self.kernels[k].clone());
            let steps = steps.clone().min().unwrap_or(0)..steps.max().map_or(0, |last| last + 1);
            return device.guarded(|| {
                let mut encoder = self.encoder();
                self.record(&mut encoder, steps, bound, externals, None);
                device.submit(encoder.finish());
            });
        }
        let count = 2 * measured.len() as u32;
        let bytes = count as usize * 8;
        let (queries, resolved) = device.guarded(|| {
            let queries = device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let resolved = device.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: bytes as u64,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            (queries, resolved)
        })?;
        device.guarded(|| {
            let mut encoder = self.encoder();
            let mut query = 0;
            for kernel in kernels.clone() {
                let steps = self.kernels[kernel].clone();
                if !measured.contains(&kernel) {
                    self.record(&mut encoder, steps, bound, externals, None);
                    continue;
                }
                if one_pass(&steps) {
                    let writes = wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(query),
                        end_of_pass_write_index: Some(query + 1),
                    };
                    self.record(&mut encoder, steps, bound, externals, Some(writes));
                } else {
                    encoder.write_timestamp(&queries, query);
                    self.record(&mut encoder, steps, bound, externals, None);
                    encoder.write_timestamp(&queries, query + 1);
                }
                query += 2;
            }
            encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
            device.submit(encoder.finish())
        })?;
        let ticks = read_blocking(device, &resolved, bytes)?;
        let period = f64::from(device.queue.get_timestamp_period());
        for (&kernel, pair) in measured.iter().zip(ticks.chunks_exact(16)) {
            let tick = |b: &[u8]| b.iter().rev().fold(0u64, |all, &byte| all << 8 | u64::from(byte));
            let elapsed = tick(&pair[8..]).saturating_sub(tick(&pair[..8]));
            times[kernel - kernels.start] = Duration::from_nanos((elapsed as f64 * period) as u64);
        }
        Ok(())
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn read_blocking(device: &Arc<Device>, source: &wgpu::Buffer, bytes: usize) -> Result<Vec<u8>> {
    ibex_core::backend::block_on(buffer::read(device, source, 0..bytes)?)
}

/// Never called: [`Executable::profile`] measures nothing in a browser.
#[cfg(target_arch = "wasm32")]
fn read_blocking(device: &Arc<Device>, source: &wgpu::Buffer, bytes: usize) -> Result<Vec<u8>> {
    drop(buffer::read(device, source, 0..bytes)?);
    Err(Error::unsupported("a browser can not wait for the GPU"))
}
