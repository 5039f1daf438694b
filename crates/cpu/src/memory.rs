//! The buffers of one run, by number.

use bytemuck::Pod;
use ibex_core::program::BufferId;
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// Base pointers and sizes of a program's buffers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    buffers: Vec<(*mut u8, usize)>,
}

// SAFETY: it only holds addresses; whoever makes references of them answers for their use (see `slice`).
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Memory {
    /// Forgets the buffers of the run before.
    pub(crate) fn clear(&mut self) {
        self.buffers.clear();
    }

    /// Adds the next buffer: `bytes` at `at`, which must be aligned to 64.
    pub(crate) fn push(&mut self, at: *mut u8, bytes: usize) {
        self.buffers.push((at, bytes));
    }

    /// Where a buffer begins.
    pub(crate) fn ptr(&self, id: BufferId) -> *mut u8 {
        self.buffers[id.0].0
    }

    /// The elements of a buffer.
    ///
    /// # Safety
    /// Nobody writes them while the slice lives.
    pub(crate) unsafe fn slice<T: Pod>(&self, id: BufferId) -> &[T] {
        let (at, bytes) = self.buffers[id.0];
        // SAFETY: `push` was given valid memory with the alignment of any number; the caller answers for aliasing.
        unsafe { from_raw_parts(at.cast(), bytes / size_of::<T>()) }
    }

    /// The elements of a buffer, to be written.
    ///
    /// # Safety
    /// No other reference to the elements that are touched lives beside the slice.
    #[allow(clippy::mut_from_ref, reason = "tasks of one kernel write disjoint parts of one buffer")]
    pub(crate) unsafe fn slice_mut<T: Pod>(&self, id: BufferId) -> &mut [T] {
        let (at, bytes) = self.buffers[id.0];
        // SAFETY: as for `slice`.
        unsafe { from_raw_parts_mut(at.cast(), bytes / size_of::<T>()) }
    }
}
