//! Where the time of a training step goes.

use super::{Sequential, Source, step::Kind};
use ibex_core::{Arg, Result};
use std::fmt;
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

/// The kernels of a program with their times, in execution order.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The kernels.
    pub kernels: Vec<KernelTime>,
    /// Bytes of scratch memory as planned.
    pub scratch_bytes: usize,
    /// Bytes of all intermediate tensors, were nothing fused or shared.
    pub unplanned_bytes: usize,
}

impl Profile {
    /// The sum of all kernels.
    pub fn total(&self) -> Duration {
        self.kernels.iter().map(|k| k.time).sum()
    }
}

/// A table: time, share, GFLOP/s and GB/s of every kernel.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().as_secs_f64().max(1e-12);
        writeln!(f, "{:>9} {:>6} {:>9} {:>8}  kernel", "us", "share", "GFLOP/s", "GB/s")?;
        for k in &self.kernels {
            let s = k.time.as_secs_f64().max(1e-12);
            let (flops, bytes) = (k.flops as f64 / s / 1e9, k.bytes as f64 / s / 1e9);
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
        )
    }
}

impl Sequential {
    /// Runs training steps on the first batch of the data and measures each kernel; `None` where the device has no clock. Trains the model by
    /// `runs` steps. Not there in a browser.
    ///
    /// # Errors
    /// As [`Sequential::fit`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile(&mut self, data: impl Source, batch_size: usize, runs: usize) -> Result<Option<Profile>> {
        self.training()?;
        let view = data.view()?;
        let rows = ibex_core::backend::block_on(self.rows(&view, "profile"))?;
        let batch: Vec<u32> = view.indices().into_iter().take(batch_size).collect();
        let plan = self.plan(Kind::Train, &[rows.x.spec(batch.len()), rows.y.spec(batch.len())])?;
        let program = plan.program();
        let mut best: Option<Vec<Duration>> = None;
        for _ in 0..runs.max(1) {
            let mut x = |out: &mut [u8]| rows.x.gather(&batch, out, &mut None);
            let mut y = |out: &mut [u8]| rows.y.gather(&batch, out, &mut None);
            let Some(times) = plan.profile(&mut [Arg::Fill(&mut x), Arg::Fill(&mut y)])? else { return Ok(None) };
            best = Some(match best {
                Some(old) => old.iter().zip(&times).map(|(a, b)| *a.min(b)).collect(),
                None => times,
            });
        }
        let times = best.unwrap_or_default();
        let kernels = program.kernels.iter().zip(times);
        let kernels =
            kernels.map(|(k, time)| KernelTime { label: k.label.clone(), time, flops: k.flops, bytes: k.bytes });
        Ok(Some(Profile {
            kernels: kernels.collect(),
            scratch_bytes: program.scratch_bytes(),
            unplanned_bytes: program.unplanned_bytes,
        }))
    }
}
