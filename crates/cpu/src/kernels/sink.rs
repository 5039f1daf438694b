//! Where raw results go, and the memory that kernels share among threads.

use super::gemm::{Tile, isa};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::threads::parallel;
use half::slice::HalfFloatSliceExt;
use ibex_core::DType;
use ibex_core::program::BufferId;
use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Memory that the threads of one parallel region write at disjoint places.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T> {
    at: *mut T,
    len: usize,
}

// SAFETY: access is only through `slice`, whose callers promise disjoint ranges.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(all: &mut [T]) -> Shared<T> {
        Shared { at: all.as_mut_ptr(), len: all.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// # Safety
    /// No range may be given out to two users at once, and the memory must outlive them.
    pub(crate) unsafe fn slice<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start + len <= self.len, "range of shared memory");
        // SAFETY: inside the memory by the assertion, disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start), len) }
    }

    /// A pointer to an element, for tiles whose rows interleave with another thread's.
    pub(crate) fn at(&self, start: usize) -> *mut T {
        assert!(start <= self.len, "element of shared memory");
        self.at.wrapping_add(start)
    }
}

/// Scratch memory of a kernel, allocated when it is prepared. Runs of one kernel never overlap, so the lock is always free.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Mutex<Vec<f32>>);

impl Scratch {
    pub(crate) fn new(len: usize) -> Scratch {
        Scratch(Mutex::new(vec![0.0; len]))
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, Vec<f32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `f` with `len` floats of this thread's own memory, of unspecified contents; calls may nest.
pub(crate) fn with_local<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) });
    let mut buffer = FREE.with_borrow_mut(|free| free.pop()).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = f(&mut buffer[..len]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}

/// A float operand as `f32`: narrower types are widened into scratch memory first, once for each run, so that kernels exist
/// for one type only.
#[derive(Debug)]
pub(crate) struct Floats {
    buffer: BufferId,
    dtype: DType,
    start: usize,
    len: usize,
    wide: Scratch,
}

/// A borrowed [`Floats`].
pub(crate) enum FloatsRef<'a> {
    Narrow(&'a [f32]),
    Wide(MutexGuard<'a, Vec<f32>>),
}

impl std::ops::Deref for FloatsRef<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match self {
            FloatsRef::Narrow(slice) => slice,
            FloatsRef::Wide(guard) => guard,
        }
    }
}

impl Floats {
    /// Elements `start..start + len` of a buffer.
    pub(crate) fn new(buffer: BufferId, dtype: DType, start: usize, len: usize) -> Floats {
        let wide = Scratch::new(if dtype == DType::F32 { 0 } else { len });
        Floats { buffer, dtype, start, len, wide }
    }

    pub(crate) fn get<'a>(&'a self, mem: &'a Memory) -> FloatsRef<'a> {
        const CHUNK: usize = 1 << 15;
        let range = self.start..self.start + self.len;
        if self.dtype == DType::F32 {
            // SAFETY: kernels read this buffer as declared and do not write it.
            return FloatsRef::Narrow(unsafe { &mem.slice::<f32>(self.buffer)[range] });
        }
        let mut guard = self.wide.get();
        let out = Shared::new(&mut guard);
        parallel(self.len.div_ceil(CHUNK), |i| {
            let (at, n) = (i * CHUNK, CHUNK.min(self.len - i * CHUNK));
            // SAFETY: chunks are disjoint, and the buffer is read as declared.
            unsafe {
                let out = out.slice(at, n);
                if self.dtype == DType::F16 {
                    mem.slice::<half::f16>(self.buffer)[range.clone()][at..at + n].convert_to_f32_slice(out);
                } else {
                    mem.slice::<half::bf16>(self.buffer)[range.clone()][at..at + n].convert_to_f32_slice(out);
                }
            }
        });
        FloatsRef::Wide(guard)
    }
}

/// Takes raw results of disjoint parts of the iteration space and finishes them.
pub(crate) struct Sink<'a> {
    epilogue: &'a Epilogue,
    mem: &'a Memory,
    /// Where results lie that are stored as they are.
    direct: Option<Shared<f32>>,
    /// All results in order, unless that is where they lie anyway: free until they are finished.
    whole: Option<Shared<f32>>,
    repeated: MutexGuard<'a, Vec<u32>>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(epilogue: &'a Epilogue, mem: &'a Memory) -> Sink<'a> {
        // SAFETY: the buffer is this kernel's result; the parts handed out below are disjoint.
        let memory = |id: BufferId| Shared::new(unsafe { mem.slice_mut::<f32>(id) });
        let whole = epilogue.whole().filter(|_| epilogue.in_place().is_none());
        let (direct, whole) = (epilogue.in_place().map(memory), whole.map(memory));
        Sink { epilogue, mem, direct, whole, repeated: epilogue.start(mem) }
    }

    /// Asks for the memory that the results `start..start + n` will take to finish.
    pub(crate) fn ask(&self, start: usize, n: usize) {
        self.epilogue.ask(self.mem, start, n);
    }

    /// `compute` writes all of the results `start..start + len`.
    ///
    /// # Safety
    /// No two calls of one run may name the same result.
    pub(crate) unsafe fn flat(&self, start: usize, len: usize, compute: impl FnOnce(&mut [f32])) {
        /// Results that are finished at a time, in the first-level cache.
        const PIECE: usize = 4096;
        let apply = |start: usize, acc: &mut [f32]| {
            // SAFETY: `compute` filled these results, and by the caller's promise nobody else has them.
            unsafe { self.epilogue.apply(self.mem, &self.repeated, [start, 0], [1, acc.len()], acc.as_mut_ptr(), 0) };
        };
        match (&self.direct, &self.whole) {
            (Some(memory), _) => {
                // SAFETY: the caller's promise.
                let acc = unsafe { memory.slice(start, len) };
                compute(acc);
                if !self.epilogue.is_plain() {
                    apply(start, acc);
                }
            }
            (_, Some(memory)) => {
                // SAFETY: as above. Steps write where results lie, so they read a copy.
                compute(unsafe { memory.slice(start, len) });
                with_local(PIECE.min(len), |copy| {
                    for at in (start..start + len).step_by(PIECE) {
                        let copy = &mut copy[..PIECE.min(start + len - at)];
                        // SAFETY: as above.
                        copy.copy_from_slice(unsafe { memory.slice(at, copy.len()) });
                        apply(at, copy);
                    }
                });
            }
            (None, None) => with_local(len, |acc| {
                compute(acc);
                apply(start, acc);
            }),
        }
    }

    /// `compute` writes `rows` by `cols` results, finished as the tile says, of which the first is number `start`; rows are `pitch` apart.
    /// They are added up where they are stored if that is right and `in_place`, else in scratch memory: the choice is one of caches.
    ///
    /// # Safety
    /// No two calls of one run may name the same result.
    pub(crate) unsafe fn tile(
        &self,
        start: usize,
        rows: usize,
        cols: usize,
        pitch: usize,
        in_place: bool,
        compute: impl FnOnce(Tile),
    ) {
        if rows == 0 || cols == 0 {
            return;
        }
        let inside = |memory: &Shared<f32>| {
            assert!(start + (rows - 1) * pitch + cols <= memory.len(), "tile inside the result");
            Tile::new(memory.at(start), pitch)
        };
        let simple = in_place && isa().finishes && self.epilogue.is_simple();
        if let Some(memory) = self.whole.as_ref().filter(|_| simple) {
            let finish = self.epilogue.finish(self.mem, start, start % pitch);
            return compute(Tile { finish, ..inside(memory) });
        }
        let direct = self.direct.as_ref().filter(|_| in_place);
        let finish = |tile: Tile| {
            compute(tile);
            if direct.is_some() && self.epilogue.is_plain() {
                return;
            }
            // One run of all of them where the rows are adjacent.
            let shape = if cols == pitch { [1, rows * cols] } else { [rows, cols] };
            // SAFETY: `compute` filled these results, and by the caller's promise nobody else has them.
            unsafe { self.epilogue.apply(self.mem, &self.repeated, [start, pitch], shape, tile.at, tile.ld) };
        };
        match direct {
            Some(memory) => finish(inside(memory)),
            None => with_local(rows * cols, |scratch| finish(Tile::new(scratch.as_mut_ptr(), cols))),
        }
    }
}

/// How many of `units` pieces of work of `flops` each to give to one task: enough to pay for starting it, few enough that
/// all threads have some.
pub(crate) fn grain(units: usize, flops: usize) -> usize {
    let least = (1 << 17) / flops.max(1) + 1;
    units.div_ceil(crate::threads::threads() * 4).max(least).min(units).max(1)
}
