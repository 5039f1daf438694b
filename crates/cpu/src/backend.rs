//! The device.

use crate::buffer::{CpuBuffer, Pool};
use crate::executable::CpuExecutable;
use crate::simd::Level;
use crate::threads::threads;
use ibex_core::backend::{Backend, BoxFuture, Buffer, Caps, Counters, DeviceInfo, Executable, foreign_buffer};
use ibex_core::program::Program;
use ibex_core::{Error, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the device and its executables share.
#[derive(Debug, Default)]
pub(crate) struct Device {
    pub(crate) pool: Arc<Pool>,
    /// Held by whoever touches buffers: programs, reads and writes run one after the other, as on any device.
    queue: Mutex<()>,
    pub(crate) submissions: AtomicU64,
    pub(crate) dispatches: AtomicU64,
    reads: AtomicU64,
}

impl Device {
    /// Waits for the work before.
    pub(crate) fn queue(&self) -> MutexGuard<'_, ()> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All cores of this computer as a device.
#[derive(Debug)]
pub struct CpuBackend {
    device: Arc<Device>,
    fuse: bool,
}

impl Default for CpuBackend {
    fn default() -> Self {
        CpuBackend::new()
    }
}

/// The buffer as this backend's own type, if `bytes` fit.
pub(crate) fn own(buffer: &Arc<dyn Buffer>, bytes: usize) -> Result<&CpuBuffer> {
    let own = buffer.as_any().downcast_ref::<CpuBuffer>().ok_or_else(foreign_buffer)?;
    if own.bytes() < bytes {
        return Err(Error::value(format!("a buffer of {} bytes is too small for {bytes} bytes", own.bytes())));
    }
    Ok(own)
}

impl CpuBackend {
    /// The device, with fusion.
    pub fn new() -> CpuBackend {
        CpuBackend { device: Arc::default(), fuse: true }
    }

    /// A device that asks the compiler not to fuse, for tests.
    pub fn unfused() -> CpuBackend {
        CpuBackend { device: Arc::default(), fuse: false }
    }
}

impl Backend for CpuBackend {
    fn info(&self) -> DeviceInfo {
        let threads = threads();
        let plural = if threads == 1 { "" } else { "s" };
        DeviceInfo {
            id: "cpu".to_owned(),
            name: processor(),
            details: format!("{}, {threads} thread{plural}", Level::get().name()),
        }
    }

    fn caps(&self) -> Caps {
        Caps {
            max_bindings: usize::MAX,
            max_epilogue_bindings: usize::MAX,
            max_buffer_bytes: isize::MAX as u64,
            split_elements: usize::MAX,
            split_outputs: 0,
            bounded_stores: false,
            fuse: self.fuse,
        }
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Buffer>> {
        Ok(Arc::new(self.device.pool.allocate(bytes)?))
    }

    fn write(&self, buffer: &Arc<dyn Buffer>, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        let to = own(buffer, bytes)?;
        let _queue = self.device.queue();
        // SAFETY: `own` checked the size; all access to buffers is under the queue's lock.
        fill(unsafe { std::slice::from_raw_parts_mut(to.at(), bytes) });
        Ok(())
    }

    fn read(&self, buffer: &Arc<dyn Buffer>, range: Range<usize>) -> BoxFuture<'static, Result<Vec<u8>>> {
        let read = || {
            let from = own(buffer, range.end)?;
            let len = range
                .end
                .checked_sub(range.start)
                .ok_or_else(|| Error::value(format!("bytes {} to {} are no range to read", range.start, range.end)))?;
            let mut bytes = Vec::new();
            bytes
                .try_reserve_exact(len)
                .map_err(|_| Error::out_of_memory(format!("no memory to read {len} bytes into")))?;
            let _queue = self.device.queue();
            self.device.reads.fetch_add(1, Ordering::Relaxed);
            // SAFETY: `own` checked the size; all access to buffers is under the queue's lock.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(from.at().add(range.start), len) });
            Ok(bytes)
        };
        let result = read();
        Box::pin(async move { result })
    }

    fn copy(&self, from: &Arc<dyn Buffer>, to: &Arc<dyn Buffer>, bytes: usize) -> Result<()> {
        let (from, to) = (own(from, bytes)?, own(to, bytes)?);
        let _queue = self.device.queue();
        // SAFETY: `own` checked the sizes; all access to buffers is under the queue's lock; a buffer may be copied to itself.
        unsafe { std::ptr::copy(from.at(), to.at(), bytes) };
        Ok(())
    }

    fn load(&self, program: Arc<Program>) -> Result<Box<dyn Executable>> {
        Ok(Box::new(CpuExecutable::new(Arc::clone(&self.device), program)?))
    }

    fn counters(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            allocations: get(&self.device.pool.allocations),
            submissions: get(&self.device.submissions),
            dispatches: get(&self.device.dispatches),
            reads: get(&self.device.reads),
        }
    }

    fn reads_are_free(&self) -> bool {
        true
    }
}

/// The processor's name, as it gives it itself; else the architecture.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        #[allow(unused_unsafe, reason = "a safe function since Rust 1.94")]
        // SAFETY: every x86-64 processor has the instruction.
        let leaf = |n: u32| unsafe { __cpuid(n) };
        if leaf(0x8000_0000).eax >= 0x8000_0004 {
            let words = (0x8000_0002..=0x8000_0004).map(leaf).flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx]);
            let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).take_while(|&b| b != 0).collect();
            let name = String::from_utf8_lossy(&bytes).trim().to_owned();
            if !name.is_empty() {
                return name;
            }
        }
    }
    std::env::consts::ARCH.to_owned()
}
