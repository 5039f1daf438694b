//! A program ready to run: pipelines, scratch memory and bind groups made once, replayed by one submission.

use crate::buffer::{self, GpuBuffer};
use crate::codegen;
use crate::device::{Device, lock};
use crate::dispatch::{Binding, Lowered, Target};
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

#[derive(Debug)]
enum Step {
    Dispatch {
        pipeline: wgpu::ComputePipeline,
        layout: wgpu::BindGroupLayout,
        buffers: Vec<Source>,
        /// The externals among `buffers`, whose identities choose the bind group.
        externals: Vec<usize>,
        workgroups: [u32; 3],
    },
    Copy {
        from: Source,
        to: Source,
        bytes: u64,
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
    dispatches: u64,
    bound: Mutex<Bound>,
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
                        let writable: Vec<bool> = dispatch.buffers.iter().map(|b: &Binding| b.writable).collect();
                        let buffers: Vec<Source> = (dispatch.buffers.iter())
                            .map(|b| match b.buffer {
                                Target::Planned(id) => planned(id),
                                Target::Scratch(i) => Source::Scratch(program.slots.len() + i),
                            })
                            .collect();
                        let externals = (buffers.iter())
                            .filter_map(|s| if let Source::External(i) = s { Some(*i) } else { None })
                            .collect();
                        steps.push(Step::Dispatch {
                            pipeline: device.pipeline(&dispatch)?,
                            layout: device.layout(&writable)?,
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
        let dispatches = steps.iter().filter(|s| matches!(s, Step::Dispatch { .. })).count() as u64;
        let bound = Mutex::new(Bound { externals: Vec::new(), groups: steps.iter().map(|_| Vec::new()).collect() });
        Ok(GpuExecutable { device, program, steps, kernels, scratch, dispatches, bound })
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
            if !externals.is_empty() || self.steps.iter().zip(&bound.groups).all(|(_, g)| !g.is_empty()) {
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
                .map(|(binding, &source)| wgpu::BindGroupEntry {
                    binding,
                    resource: self.resolve(source, externals).raw().as_entire_binding(),
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
