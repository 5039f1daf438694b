//! The rules of timing.

use ibex::{DType, Device, Result, Tensor};
use std::time::{Duration, Instant};

/// A sample of calls so short that the clock or waiting for the device would show lasts at least this long, in seconds.
const SAMPLE: f64 = 1e-3;
/// Waiting for the device takes at most this share of a sample.
const WAITING: f64 = 0.02;
/// Seconds after which fewer samples than wanted are enough.
const PATIENCE: f64 = 15.0;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before anything counts.
    warm: Duration,
    /// For the samples, if there are enough of them by then.
    budget: Duration,
    /// Samples at least, and at most.
    samples: (usize, usize),
}

impl Timing {
    /// Numbers to publish: at least 11 samples, fewer only of calls that take more than a second.
    pub const FULL: Timing =
        Timing { warm: Duration::from_millis(300), budget: Duration::from_millis(1500), samples: (11, 200) };
    /// Numbers to glance at: one sample of what is slow.
    pub const QUICK: Timing = Timing { warm: Duration::ZERO, budget: Duration::from_millis(20), samples: (1, 11) };

    /// For a ceiling, of which the fastest sample counts.
    pub(crate) fn ceiling(&self) -> Timing {
        let rest = Duration::from_millis(if self.warm.is_zero() { 20 } else { 100 });
        Timing { warm: rest, budget: 3 * rest, samples: (5, 200) }
    }

    /// How to train: epochs to measure, how many of the first do not count, and the steps of each, `steps` if there is time.
    pub(crate) fn training(&self, steps: usize) -> (usize, usize, usize) {
        let warm = if self.warm.is_zero() { 0 } else { 2 };
        (warm + self.samples.0 + warm, warm, if warm == 0 { 2 } else { steps })
    }
}

/// Times of one call in seconds, ascending. Never empty.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub fn new(mut seconds: Vec<f64>) -> Samples {
        seconds.sort_by(f64::total_cmp);
        Samples(seconds)
    }

    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 { self.0[middle] } else { (self.0[middle - 1] + self.0[middle]) / 2.0 }
    }

    pub fn least(&self) -> f64 {
        self.0[0]
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Tells when a device has finished: reading four bytes waits for all work that was started before.
pub(crate) struct Fence {
    device: Device,
    mark: Tensor,
}

impl Fence {
    pub fn new(device: &Device) -> Result<Fence> {
        let mark = device.eval(&[Tensor::zeros([1], DType::F32)])?.remove(0);
        Ok(Fence { device: device.clone(), mark })
    }

    pub fn wait(&self) -> Result<()> {
        self.device.read_now(&self.mark).map(drop)
    }

    /// What waiting for an idle device takes.
    fn cost(&self) -> Result<f64> {
        (0..5).try_fold(f64::INFINITY, |least, _| Ok(least.min(seconds(|| self.wait())?)))
    }
}

/// The time that `f` takes.
pub(crate) fn seconds(f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    f()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Measures what `call` starts on the device, to its end. Short calls are measured in groups.
pub(crate) fn sample(device: &Device, timing: Timing, mut call: impl FnMut() -> Result<()>) -> Result<Samples> {
    let fence = Fence::new(device)?;
    let mut group = |calls: usize| {
        seconds(|| {
            (0..calls).try_for_each(|_| call())?;
            fence.wait()
        })
    };
    let warm = Instant::now();
    let mut one = group(1)?;
    while warm.elapsed() < timing.warm {
        one = group(1)?;
    }
    let long = SAMPLE.max(fence.cost()? / WAITING);
    let calls = (long / one.max(1e-7)).ceil().max(1.0) as usize;
    // Where one sample is enough, that was it.
    if timing.samples.0 == 1 && calls == 1 {
        return Ok(Samples::new(vec![one]));
    }
    collect(timing, || Ok(group(calls)? / calls as f64))
}

/// Takes samples for as long as the rules say.
pub(crate) fn collect(timing: Timing, mut sample: impl FnMut() -> Result<f64>) -> Result<Samples> {
    let (least, most) = timing.samples;
    let start = Instant::now();
    let mut all = Vec::new();
    loop {
        all.push(sample()?);
        let spent = start.elapsed();
        let enough = all.len() >= least || all.len() >= 3 && spent.as_secs_f64() > PATIENCE;
        if enough && (spent >= timing.budget || all.len() >= most) {
            return Ok(Samples::new(all));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even() {
        let of = |list: &[f64]| Samples::new(list.to_vec());
        assert_eq!((of(&[3.0, 1.0, 2.0]).median(), of(&[3.0, 1.0, 2.0]).least()), (2.0, 1.0));
        assert_eq!((of(&[4.0, 1.0, 2.0, 3.0]).median(), of(&[4.0]).median()), (2.5, 4.0));
    }

    #[test]
    fn at_least_so_many_samples() {
        let (mut calls, timing) = (0, Timing { budget: Duration::ZERO, ..Timing::FULL });
        let samples = collect(timing, || {
            calls += 1;
            Ok(f64::from(calls))
        });
        assert_eq!(samples.map(|s| s.len()).ok(), Some(11));
    }

    #[test]
    fn errors_end_it() {
        let failing = || Err(ibex::Error::value("no"));
        assert!(collect(Timing::FULL, failing).is_err());
    }
}
