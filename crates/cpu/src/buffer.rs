//! Aligned memory, and a pool that keeps some of what is given back.

use ibex_core::backend::Buffer;
use ibex_core::{Error, Result};
use std::alloc::{Layout, alloc, dealloc};
use std::any::Any;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A cache line, and the widest vector.
const ALIGN: usize = 64;

/// A large page of the processor.
const LARGE: usize = 2 << 20;

/// The pool keeps this much more than what is in use.
const SPARE: usize = 64 << 20;

/// Memory from the operating system.
#[derive(Debug)]
struct Block {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block is plain memory; its users answer for access.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn new(bytes: usize) -> Option<Block> {
        let align = if bytes >= 2 * LARGE { LARGE } else { ALIGN };
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: `class` never gives a size of 0.
        let at = NonNull::new(unsafe { alloc(layout) })?;
        if align == LARGE {
            ask_for_large_pages(at, bytes);
        }
        // SAFETY: the block's own bytes. Memory handed out as bytes must be initialised.
        unsafe { at.as_ptr().write_bytes(0, bytes) };
        Some(Block { at, layout })
    }
}

/// Lets the system put a block on large pages before it is touched: a matrix with rows of 8 KB has each row on a page of its own else, and their
/// addresses do not fit the processor's table.
fn ask_for_large_pages(at: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: advice about memory that was just allocated; it changes no content. A refusal is no harm.
    unsafe {
        libc::madvise(at.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (at, bytes);
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.at.as_ptr(), self.layout) }
    }
}

/// Free blocks.
#[derive(Debug, Default)]
struct Free {
    /// Least recently returned first.
    blocks: VecDeque<Block>,
    /// Bytes of free blocks.
    free: usize,
    /// Bytes of blocks in use.
    used: usize,
}

/// Where buffers come from and return to.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    state: Mutex<Free>,
    /// Blocks taken from the operating system.
    pub(crate) allocations: AtomicU64,
}

/// The size of the block for so many bytes: four sizes to each power of two, so that at most a fifth is unused.
fn class(bytes: usize) -> Option<usize> {
    let bytes = bytes.max(ALIGN);
    let step = (bytes.next_power_of_two() / 8).max(ALIGN);
    bytes.checked_next_multiple_of(step)
}

impl Pool {
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<CpuBuffer> {
        let fail = || {
            Error::out_of_memory(format!(
                "the host has no memory for a buffer of {bytes} bytes; use a smaller batch or a smaller model"
            ))
        };
        if bytes > isize::MAX as usize / 2 {
            return Err(fail());
        }
        let size = class(bytes).ok_or_else(fail)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The most recently returned is likeliest to be in cache.
        let known = state.blocks.iter().rposition(|block| block.layout.size() == size);
        let block = match known.and_then(|at| state.blocks.remove(at)) {
            Some(block) => {
                state.free -= size;
                block
            }
            None => {
                self.allocations.fetch_add(1, Ordering::Relaxed);
                match Block::new(size) {
                    Some(block) => block,
                    None => {
                        // What the pool keeps may be what is missing.
                        state.blocks.clear();
                        state.free = 0;
                        Block::new(size).ok_or_else(fail)?
                    }
                }
            }
        };
        state.used += size;
        Ok(CpuBuffer { block: Some(block), bytes, pool: Arc::clone(self) })
    }

    fn give_back(&self, block: Block) {
        let size = block.layout.size();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used -= size;
        state.free += size;
        state.blocks.push_back(block);
        // What nobody asked for again goes, not what is in use: else every run would fetch it from the system anew.
        while state.free > state.used + SPARE
            && let Some(old) = state.blocks.pop_front()
        {
            state.free -= old.layout.size();
        }
    }
}

/// Device memory: host memory, aligned to a cache line.
#[derive(Debug)]
pub(crate) struct CpuBuffer {
    /// `None` only while it is dropped.
    block: Option<Block>,
    bytes: usize,
    pool: Arc<Pool>,
}

impl CpuBuffer {
    /// Where it begins.
    pub(crate) fn at(&self) -> *mut u8 {
        self.block.as_ref().map_or(std::ptr::dangling_mut(), |b| b.at.as_ptr())
    }
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.give_back(block);
        }
    }
}

impl Buffer for CpuBuffer {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibex_core::ErrorKind;

    #[test]
    fn blocks_return_and_leave() {
        let pool = Arc::new(Pool::default());
        let first = pool.allocate(1000).unwrap();
        assert_eq!(first.at() as usize % ALIGN, 0);
        drop(first);
        drop(pool.allocate(1001).unwrap());
        assert_eq!(pool.allocations.load(Ordering::Relaxed), 1);
        drop(pool.allocate(2 * SPARE).unwrap());
        assert!(pool.state.lock().unwrap().free <= SPARE, "large blocks go back to the system");
        assert_eq!(pool.allocate(0).unwrap().bytes(), 0);
    }

    #[test]
    fn forgotten_blocks_make_room_for_used_ones() {
        let pool = Arc::new(Pool::default());
        drop(pool.allocate(SPARE).unwrap());
        drop(pool.allocate(SPARE / 2).unwrap());
        drop(pool.allocate(SPARE / 2).unwrap());
        assert_eq!(pool.allocations.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn absurd_sizes_are_errors() {
        let pool = Arc::new(Pool::default());
        for bytes in [usize::MAX, usize::MAX / 2, 1 << 60] {
            assert_eq!(pool.allocate(bytes).unwrap_err().kind(), ErrorKind::OutOfMemory);
        }
    }

    #[test]
    fn classes_hold_their_sizes() {
        for bytes in (0..5000).chain([1 << 20, (1 << 20) + 1, 3_000_000]) {
            let size = class(bytes).unwrap();
            assert!(size >= bytes && size.is_multiple_of(ALIGN) && size <= bytes + bytes / 4 + 2 * ALIGN);
        }
    }
}
