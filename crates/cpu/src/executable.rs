//! Programs made ready to run.

use crate::backend::{Device, own};
use crate::buffer::CpuBuffer;
use crate::epilogue::Epilogue;
use crate::kernels;
use crate::memory::Memory;
use crate::simd::Level;
use crate::threads::{parallel, split};
use crate::tile::{LoopPlan, tasks};
use ibex_core::backend::{Buffer, Executable};
use ibex_core::program::{BufferId, KernelKind, Program, Role};
use ibex_core::{Error, Result};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A kernel with all that can be computed before it runs.
#[derive(Debug)]
enum Prepared {
    Loop(Box<LoopPlan>),
    Copy { from: BufferId, to: BufferId, bytes: usize },
    Kernel(Box<(kernels::Prepared, Option<Epilogue>)>),
}

impl Prepared {
    fn new(kind: &KernelKind, program: &Program) -> Result<Prepared> {
        let (buffers, level) = (&program.buffers, Level::get());
        Ok(match kind {
            KernelKind::Loop(k) => Prepared::Loop(Box::new(LoopPlan::new(k, buffers, level)?)),
            KernelKind::Copy { from, to } => {
                Prepared::Copy { from: *from, to: *to, bytes: program[*from].bytes().min(program[*to].bytes()) }
            }
            kind => {
                let epilogue = match (kind.body(), kind.dims()) {
                    (Some(body), Some(dims)) => Some(Epilogue::new(body, &dims, buffers, level)?),
                    _ => None,
                };
                Prepared::Kernel(Box::new((kernels::prepare(kind)?, epilogue)))
            }
        })
    }

    fn run(&self, mem: &Memory) {
        match self {
            Prepared::Loop(k) => k.run(mem),
            Prepared::Kernel(both) => {
                let (kernel, epilogue) = &**both;
                kernel.run(epilogue.as_ref(), mem);
            }
            Prepared::Copy { from, to, bytes } => {
                let tasks = tasks(*bytes / 4, *bytes / 4096);
                parallel(tasks, |task| {
                    let range = split(*bytes, 64, tasks, task);
                    // SAFETY: both buffers hold `bytes`, and tasks have ranges of their own.
                    unsafe {
                        let (from, to) = (mem.ptr(*from).add(range.start), mem.ptr(*to).add(range.start));
                        std::ptr::copy(from, to, range.len());
                    }
                });
            }
        }
    }
}

/// A program on the CPU.
#[derive(Debug)]
pub(crate) struct CpuExecutable {
    device: Arc<Device>,
    program: Arc<Program>,
    kernels: Vec<Prepared>,
    slots: Vec<CpuBuffer>,
    /// Reused from run to run.
    memory: Mutex<Memory>,
}

impl CpuExecutable {
    pub(crate) fn new(device: Arc<Device>, program: Arc<Program>) -> Result<CpuExecutable> {
        let slots = program.slots.iter().map(|&bytes| device.pool.allocate(bytes)).collect::<Result<Vec<_>>>()?;
        for (id, buffer) in program.buffers.iter().enumerate() {
            if let Role::Temp(slot) = buffer.role
                && program.slots.get(slot).is_none_or(|&bytes| bytes < buffer.bytes())
            {
                let bytes = buffer.bytes();
                return Err(Error::value(format!("buffer {id} of {bytes} bytes does not fit its slot {slot}")));
            }
        }
        let prepare = |k: &ibex_core::program::Kernel| {
            Prepared::new(&k.kind, &program).map_err(|e| e.context(format!("kernel {}", k.label)))
        };
        let kernels = program.kernels.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        Ok(CpuExecutable { device, kernels, slots, memory: Mutex::default(), program })
    }

    /// Binds the buffers and calls `each` for every kernel.
    fn start(&self, externals: &[Arc<dyn Buffer>], mut each: impl FnMut(&Prepared, &Memory)) -> Result<()> {
        let _queue = self.device.queue();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.clear();
        let mut bound = externals.iter();
        for buffer in &self.program.buffers {
            let bytes = buffer.bytes();
            match buffer.role {
                Role::Temp(slot) => memory.push(self.slots[slot].at(), bytes),
                _ => {
                    let external = bound.next().ok_or_else(|| self.wrong_number(externals.len()))?;
                    memory.push(own(external, bytes)?.at(), bytes);
                }
            }
        }
        if bound.next().is_some() {
            return Err(self.wrong_number(externals.len()));
        }
        self.device.submissions.fetch_add(1, Ordering::Relaxed);
        self.device.dispatches.fetch_add(self.kernels.len() as u64, Ordering::Relaxed);
        self.kernels.iter().for_each(|kernel| each(kernel, &memory));
        Ok(())
    }

    fn wrong_number(&self, given: usize) -> Error {
        Error::value(format!("the program takes {} buffers, not {given}", self.program.externals().count()))
    }
}

impl Executable for CpuExecutable {
    fn run(&self, externals: &[Arc<dyn Buffer>]) -> Result<()> {
        self.start(externals, Prepared::run)
    }

    fn profile(&self, externals: &[Arc<dyn Buffer>]) -> Result<Option<Vec<Duration>>> {
        if cfg!(target_arch = "wasm32") {
            self.run(externals)?;
            return Ok(None);
        }
        let mut times = Vec::with_capacity(self.kernels.len());
        self.start(externals, |kernel, memory| {
            let start = std::time::Instant::now();
            kernel.run(memory);
            times.push(start.elapsed());
        })?;
        Ok(Some(times))
    }
}
