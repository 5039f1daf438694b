//! Where the time of a program goes, kernel by kernel.

use super::Model;
#[cfg(not(target_arch = "wasm32"))]
use super::{Source, step::Kind};
use ibex_core::backend::Counters;
use ibex_core::{Arg, Plan, Result};
use ibex_data::io::write_atomic;
use serde_json::json;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// One kernel of a measured program.
#[derive(Clone, Debug)]
pub struct KernelTime {
    /// The operations it fuses.
    pub label: String,
    /// The shortest of all runs.
    pub time: Duration,
    /// Floating-point operations of one run.
    pub flops: u64,
    /// Bytes it must move at least.
    pub bytes: u64,
}

impl KernelTime {
    /// Billions per second of so much in one run.
    fn giga(&self, amount: u64) -> f64 {
        amount as f64 / self.time.as_secs_f64().max(1e-12) / 1e9
    }
}

/// The kernels of a program with their times, in execution order.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The device, for people.
    pub device: String,
    /// The kernels.
    pub kernels: Vec<KernelTime>,
    /// Bytes of scratch memory as planned.
    pub scratch_bytes: usize,
    /// Bytes of all intermediate tensors, were nothing fused or shared.
    pub unplanned_bytes: usize,
    /// What the device did in one plain replay: submissions, dispatches, allocations, reads.
    pub replay: Counters,
}

impl Profile {
    /// Runs a program `runs` times and measures each kernel; `None` where the device has no clock. State that the program updates is updated by
    /// two runs more.
    ///
    /// # Errors
    /// As [`Plan::run`].
    pub fn measure(plan: &Plan, args: &mut [Arg], runs: usize) -> Result<Option<Profile>> {
        // The second of two replays finds the memory of the first.
        plan.run(args)?;
        let before = plan.device().counters();
        plan.run(args)?;
        let after = plan.device().counters();
        let mut best: Option<Vec<Duration>> = None;
        for _ in 0..runs.max(1) {
            let Some(times) = plan.profile(args)? else { return Ok(None) };
            best = Some(match best {
                Some(old) => old.iter().zip(&times).map(|(a, b)| *a.min(b)).collect(),
                None => times,
            });
        }
        let (info, program) = (plan.device().info(), plan.program());
        let kernels = program.kernels.iter().zip(best.unwrap_or_default());
        let kernels =
            kernels.map(|(k, time)| KernelTime { label: k.label.clone(), time, flops: k.flops, bytes: k.bytes });
        Ok(Some(Profile {
            device: format!("{}: {}", info.id, info.name),
            kernels: kernels.collect(),
            scratch_bytes: program.scratch_bytes(),
            unplanned_bytes: program.unplanned_bytes,
            replay: Counters {
                allocations: after.allocations - before.allocations,
                submissions: after.submissions - before.submissions,
                dispatches: after.dispatches - before.dispatches,
                reads: after.reads - before.reads,
            },
        }))
    }

    /// The sum of all kernels.
    pub fn total(&self) -> Duration {
        self.kernels.iter().map(|k| k.time).sum()
    }

    /// The program as a trace in Chrome's trace-event format, which <https://ui.perfetto.dev> and `chrome://tracing` open. Kernels lie end to end,
    /// each with its shortest time: the pauses between them are not measured.
    pub fn trace(&self) -> String {
        let mut events = vec![
            json!({ "name": "process_name", "ph": "M", "pid": 1, "tid": 1, "args": { "name": self.device } }),
            json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": { "name": "kernels" } }),
        ];
        let mut at = Duration::ZERO;
        let micros = |t: Duration| t.as_nanos() as f64 / 1e3;
        for k in &self.kernels {
            events.push(json!({
                "name": k.label, "cat": "kernel", "ph": "X", "pid": 1, "tid": 1, "ts": micros(at), "dur": micros(k.time),
                "args": { "flops": k.flops, "bytes": k.bytes, "GFLOP/s": k.giga(k.flops), "GB/s": k.giga(k.bytes) },
            }));
            at += k.time;
        }
        json!({ "displayTimeUnit": "ns", "traceEvents": events }).to_string()
    }

    /// Writes [`Profile::trace`] to a file, whole or not at all.
    ///
    /// # Errors
    /// `Io` if the system refuses.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomic(path, |file| file.write_all(self.trace().as_bytes()))
    }
}

/// A table: time, share, GFLOP/s and GB/s of every kernel.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().as_secs_f64().max(1e-12);
        writeln!(f, "{:>9} {:>6} {:>9} {:>8}  kernel", "us", "share", "GFLOP/s", "GB/s")?;
        for k in &self.kernels {
            let s = k.time.as_secs_f64();
            let (flops, bytes) = (k.giga(k.flops), k.giga(k.bytes));
            writeln!(f, "{:>9.1} {:>5.1}% {flops:>9.1} {bytes:>8.1}  {}", s * 1e6, 100.0 * s / total, k.label)?;
        }
        let mb = |bytes: usize| bytes as f64 / 1e6;
        writeln!(
            f,
            "{:>9.1} us in {} kernels; scratch memory {:.1} MB ({:.1} MB unplanned)",
            total * 1e6,
            self.kernels.len(),
            mb(self.scratch_bytes),
            mb(self.unplanned_bytes)
        )?;
        let Counters { allocations, submissions, dispatches, reads } = self.replay;
        writeln!(
            f,
            "a replay: {submissions} submissions, {dispatches} dispatches, {allocations} allocations, {reads} reads"
        )
    }
}

impl Model {
    /// Runs training steps on the first batch of the data and measures each kernel; `None` where the device has no clock. Trains the model by
    /// `runs + 2` steps. Not there in a browser.
    ///
    /// # Errors
    /// As [`Model::fit`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile(&mut self, data: impl Source, batch_size: usize, runs: usize) -> Result<Option<Profile>> {
        self.ready()?;
        let examples = data.feed()?.first()?;
        let rows = ibex_core::backend::block_on(self.rows(&examples, "profile"))?;
        let batch: Vec<u32> = examples.indices().into_iter().take(batch_size).collect();
        let plan = self.plan(Kind::Train, &rows.specs(batch.len()))?;
        rows.with_args(&batch, |args| Profile::measure(&plan, args, runs))
    }
}
