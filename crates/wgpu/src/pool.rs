//! Device memory that is used again.

use crate::device::{Device, lock};
use ibex_core::{Error, Result};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Free memory is kept up to this, or up to as much as is in use, whichever is more.
const KEEP: u64 = 64 << 20;

/// A buffer with an identity that is never used again.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub id: u64,
    pub buffer: wgpu::Buffer,
}

/// Buffers of one usage. Sizes are rounded up to a few per power of two, so that near misses still fit.
#[derive(Debug)]
pub(crate) struct Pool {
    usage: wgpu::BufferUsages,
    state: Mutex<State>,
    allocations: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Least recently returned first.
    free: VecDeque<Memory>,
    free_bytes: u64,
    used_bytes: u64,
}

/// Identities of all pools together.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// `bytes` rounded up to a bucket: a multiple of 16 with at most three significant bits.
pub(crate) fn bucket(bytes: u64) -> u64 {
    let bytes = bytes.max(16);
    let step = (1u64 << (63 - bytes.leading_zeros()).saturating_sub(2)).max(16);
    bytes.next_multiple_of(step)
}

impl Pool {
    pub fn new(usage: wgpu::BufferUsages) -> Pool {
        Pool { usage, state: Mutex::default(), allocations: AtomicU64::new(0) }
    }

    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Memory of at least `bytes`.
    pub fn take(&self, device: &Device, bytes: usize) -> Result<Memory> {
        let limits = device.device.limits();
        let most = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        if bytes as u64 > most {
            return Err(Error::out_of_memory(format!(
                "a buffer of {bytes} bytes is larger than {} allows ({most} bytes); use a smaller batch or split the tensor",
                device.info.name
            )));
        }
        let size = bucket(bytes as u64).min(most & !15).max((bytes as u64).next_multiple_of(4));
        {
            let mut state = lock(&self.state);
            // The most recently returned first: it is likeliest to be in cache and to be in a prebuilt bind group.
            if let Some(at) = state.free.iter().rposition(|m| m.buffer.size() == size)
                && let Some(memory) = state.free.remove(at)
            {
                state.free_bytes -= size;
                state.used_bytes += size;
                return Ok(memory);
            }
        }
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage: self.usage, mapped_at_creation: false };
        let create = || device.guarded(|| device.device.create_buffer(&descriptor));
        let buffer = match create() {
            Err(e) if e.kind() == ibex_core::ErrorKind::OutOfMemory => {
                // Memory that waits in the pools may be what is missing.
                device.storage.trim(0);
                device.staging.trim(0);
                create()
            }
            result => result,
        }?;
        self.allocations.fetch_add(1, Ordering::Relaxed);
        lock(&self.state).used_bytes += size;
        Ok(Memory { id: NEXT.fetch_add(1, Ordering::Relaxed), buffer })
    }

    /// Takes memory back for later use. Work that still runs on it is safe: later users are ordered behind it.
    pub fn give(&self, memory: Memory) {
        let size = memory.buffer.size();
        let keep = {
            let mut state = lock(&self.state);
            state.used_bytes = state.used_bytes.saturating_sub(size);
            state.free_bytes += size;
            state.free.push_back(memory);
            state.used_bytes.max(KEEP)
        };
        self.trim(keep);
    }

    /// Counts memory as gone that will not come back.
    pub fn forget(&self, memory: &Memory) {
        let mut state = lock(&self.state);
        state.used_bytes = state.used_bytes.saturating_sub(memory.buffer.size());
    }

    /// Gives memory back to the driver until at most `keep` bytes wait here.
    fn trim(&self, keep: u64) {
        let mut state = lock(&self.state);
        while state.free_bytes > keep {
            let Some(memory) = state.free.pop_front() else { break };
            state.free_bytes -= memory.buffer.size();
            // Cached bind groups may hold the handle; this frees the memory itself once the GPU is done with it.
            memory.buffer.destroy();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn buckets_are_close_and_ordered() {
        let mut last = 0;
        for bytes in 0..100_000u64 {
            let size = bucket(bytes);
            assert!(size >= bytes && size.is_multiple_of(16) && size >= last, "{bytes} -> {size}");
            assert!(size <= bytes + bytes / 4 + 16, "{bytes} -> {size}");
            last = size;
        }
    }
}
