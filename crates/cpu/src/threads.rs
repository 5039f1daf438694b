//! Fork-join over all cores.
//!
//! A pool of threads that spin for a moment and then park: a training step is a hundred kernels of some ten microseconds
//! each, and waking a parked thread costs as much as one of them.

use std::sync::OnceLock;

/// How many threads work: `IBEX_THREADS`, or else one for each core this process may use.
pub(crate) fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        if cfg!(target_arch = "wasm32") {
            return 1;
        }
        let asked = std::env::var("IBEX_THREADS").ok().and_then(|v| v.trim().parse().ok()).filter(|&n: &usize| n > 0);
        asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get())).min(1024)
    })
}

/// Range `i` of `0..total` cut into `parts` nearly equal ranges of whole `unit`s (the last may end early).
pub(crate) fn split(total: usize, unit: usize, parts: usize, i: usize) -> std::ops::Range<usize> {
    let units = total.div_ceil(unit.max(1));
    let at = |i: usize| ((units * i).div_ceil(parts.max(1)) * unit.max(1)).min(total);
    at(i)..at(i + 1)
}

/// Runs `f(0)`, .., `f(tasks - 1)` on all cores and returns when all are done. Which thread runs which task is not fixed. Calls from
/// inside of a task, and while another thread uses the pool, run on the caller's thread. A panic of a task is raised here after
/// the others have ended.
pub(crate) fn parallel(tasks: usize, f: impl Fn(usize) + Sync) {
    if tasks > 1 && threads() > 1 {
        #[cfg(not(target_arch = "wasm32"))]
        if pool::global(threads() - 1).is_some_and(|pool| pool.run(tasks, &f)) {
            return;
        }
    }
    (0..tasks).for_each(f);
}

#[cfg(not(target_arch = "wasm32"))]
mod pool {
    use std::any::Any;
    use std::cell::UnsafeCell;
    use std::hint::spin_loop;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
    use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

    /// Looks at the shares before a worker parks: about 100 microseconds with few threads, more with many.
    const SPINS: usize = 2500;

    type Task<'a> = dyn Fn(usize) + Sync + 'a;

    /// A thread's share of the tasks: where it ends in the high half, the next unclaimed one in the low half. On a cache line of its own.
    #[repr(align(128))]
    struct Share(AtomicU64);

    /// The state shared by the thread that submits and its workers.
    pub(super) struct Pool {
        /// Of the thread that submits, then of each worker. Every thread begins with its own, a run of neighbouring tasks that is the same for all
        /// kernels with as many (the first is that of the thread that submits, which is awake): what it has written lies in its own cache, and another core's is far away. Then it helps the others.
        shares: Box<[Share]>,
        /// Tasks not finished yet.
        pending: AtomicUsize,
        /// The function that the tasks call. Written only while no task is unfinished, read only by the owner of a claim.
        job: UnsafeCell<Option<*const Task<'static>>>,
        /// Held for the length of a run.
        submit: Mutex<()>,
        panic: Mutex<Option<Box<dyn Any + Send>>>,
        sleepers: AtomicUsize,
        gate: Mutex<()>,
        wake: Condvar,
    }

    // SAFETY: `job` is the one field that is not `Sync`. It is written under `submit` when `pending` is 0, that is when no claim
    // is held, and published by the release stores of `shares`; a reader holds a claim, made by an acquire operation on one of them.
    unsafe impl Sync for Pool {}
    // SAFETY: the pointer in `job` is used only while the submitting thread waits, and what it points to is `Sync`.
    unsafe impl Send for Pool {}

    /// The pool with its workers, started at first use; `None` if no thread can be started.
    pub(super) fn global(workers: usize) -> Option<&'static Pool> {
        static POOL: OnceLock<Option<&'static Pool>> = OnceLock::new();
        *POOL.get_or_init(|| {
            let pool: &'static Pool = Box::leak(Box::new(Pool::new(workers)));
            let start = |i| std::thread::Builder::new().name(format!("ibex-cpu-{i}")).spawn(move || pool.work(i));
            let started = (1..=workers).filter(|&i| start(i).is_ok()).count();
            (started > 0).then_some(pool)
        })
    }

    impl Share {
        /// Claims the next of these tasks.
        fn next(&self) -> Option<usize> {
            let mut word = self.0.load(Ordering::Acquire);
            loop {
                let (end, next) = (word >> 32, word & 0xffff_ffff);
                if next >= end {
                    return None;
                }
                match self.0.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Some(next as usize),
                    Err(now) => word = now,
                }
            }
        }
    }

    impl Pool {
        pub(super) fn new(workers: usize) -> Pool {
            Pool {
                shares: (0..=workers).map(|_| Share(AtomicU64::new(0))).collect(),
                pending: AtomicUsize::new(0),
                job: UnsafeCell::new(None),
                submit: Mutex::new(()),
                panic: Mutex::new(None),
                sleepers: AtomicUsize::new(0),
                gate: Mutex::new(()),
                wake: Condvar::new(),
            }
        }

        /// Runs all tasks; false if the pool is in use, as it is for a nested call.
        pub(super) fn run(&self, tasks: usize, f: &Task<'_>) -> bool {
            if tasks > u32::MAX as usize {
                return false;
            }
            let guard = match self.submit.try_lock() {
                Ok(guard) => guard,
                Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(std::sync::TryLockError::WouldBlock) => return false,
            };
            // SAFETY: no claim is held (`pending` is 0 whenever `submit` is free), so nobody reads `job`. The lifetime is extended
            // only for the time until `pending` is 0 again, for which this function waits.
            unsafe {
                *self.job.get() = Some(std::mem::transmute::<*const Task<'_>, *const Task<'static>>(f));
            }
            self.pending.store(tasks, Ordering::Relaxed);
            for (i, share) in self.shares.iter().enumerate() {
                let mine = super::split(tasks, 1, self.shares.len(), i);
                share.0.store((mine.end as u64) << 32 | mine.start as u64, Ordering::Release);
            }
            // Either this thread sees a sleeper below, or the sleeper sees these tasks before it sleeps.
            fence(Ordering::SeqCst);
            if self.sleepers.load(Ordering::Relaxed) > 0 {
                drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
                self.wake.notify_all();
            }
            while self.claim(0) {}
            let mut spins = 0;
            while self.pending.load(Ordering::Acquire) > 0 {
                pause(&mut spins);
            }
            let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(guard);
            if let Some(payload) = panic {
                resume_unwind(payload);
            }
            true
        }

        /// Claims a task for thread `me` and runs it; false if all are claimed.
        fn claim(&self, me: usize) -> bool {
            let (before, mine) = self.shares.split_at(me);
            let Some(task) = mine.iter().chain(before).find_map(Share::next) else { return false };
            // SAFETY: `next` has made the claim on task `task` of the job that stands in `job`; the submitter neither returns nor writes
            // `job` before this claim is given up by the subtraction below.
            let run = AssertUnwindSafe(|| unsafe {
                if let Some(f) = *self.job.get() {
                    (*f)(task);
                }
            });
            if let Err(payload) = catch_unwind(run) {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
            }
            self.pending.fetch_sub(1, Ordering::AcqRel);
            true
        }

        fn idle(&self) -> bool {
            self.shares.iter().all(|share| {
                let word = share.0.load(Ordering::Acquire);
                word & 0xffff_ffff >= word >> 32
            })
        }

        /// The life of a worker.
        fn work(&self, me: usize) {
            loop {
                let mut spins = 0;
                while self.idle() && spins < SPINS {
                    pause(&mut spins);
                }
                if self.idle() {
                    let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
                    self.sleepers.fetch_add(1, Ordering::Relaxed);
                    fence(Ordering::SeqCst);
                    while self.idle() {
                        gate = self.wake.wait(gate).unwrap_or_else(PoisonError::into_inner);
                    }
                    self.sleepers.fetch_sub(1, Ordering::Relaxed);
                }
                while self.claim(me) {}
            }
        }
    }

    /// One turn of a waiting loop; now and then lets another thread have the core.
    fn pause(spins: &mut usize) {
        *spins += 1;
        if spins.is_multiple_of(64) {
            std::thread::yield_now();
        } else {
            spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_task_runs_once() {
        for tasks in [0, 1, 2, 3, 7, 64, 1000] {
            for _ in 0..50 {
                let seen: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                parallel(tasks, |i| {
                    seen[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn nested_and_concurrent_calls_end() {
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        parallel(4, |_| {
                            parallel(3, |_| {
                                count.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 4 * 100 * 12);
    }

    #[test]
    fn a_panic_is_raised_and_the_pool_lives() {
        for bad in 0..8 {
            let ran = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                parallel(8, |i| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    assert_ne!(i, bad, "task fails");
                });
            }));
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            parallel(8, |i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 28);
        }
    }

    #[test]
    fn ranges_cover_all() {
        for (total, unit, parts) in [(0, 4, 3), (1, 4, 3), (100, 16, 3), (7, 1, 9), (64, 64, 2)] {
            let mut end = 0;
            for i in 0..parts {
                let range = split(total, unit, parts, i);
                assert_eq!(range.start, end);
                assert!(range.start.is_multiple_of(unit) || range.start == total);
                end = range.end;
            }
            assert_eq!(end, total);
        }
    }

    /// `cargo test --release -p ibex-cpu fork_join -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn fork_join_cost() {
        let run = || parallel(threads(), |_| {});
        (0..1000).for_each(|_| run());
        let start = std::time::Instant::now();
        (0..10_000).for_each(|_| run());
        println!("fork-join of empty tasks: {:.2} us", start.elapsed().as_secs_f64() * 100.0);
        let work = |us: u64| {
            let start = std::time::Instant::now();
            while start.elapsed().as_micros() < u128::from(us) {}
        };
        let start = std::time::Instant::now();
        (0..5000).for_each(|_| parallel(threads(), |_| work(20)));
        println!("tasks of 20 us on each thread: {:.2} us a call", start.elapsed().as_secs_f64() * 200.0);
    }
}
