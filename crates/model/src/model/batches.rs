//! Data that comes in batches: from files, generators, augmentation.

use super::{Examples, Feed, Source};
#[cfg(not(target_arch = "wasm32"))]
use ibex_core::Error;
use ibex_core::Result;
use std::fmt;

/// An epoch of batches.
type Epoch = Box<dyn Iterator<Item = Result<Examples>> + Send>;

/// Data that comes in batches from an iterator, which is made anew for every epoch.
///
/// ```
/// use ibex::prelude::*;
///
/// # fn main() -> ibex::Result<()> {
/// // Points on a parabola, drawn as they are needed, two batches ahead of the device.
/// let points = Batches::new(|| {
///     (0..8).map(|i| {
///         let x = Tensor::rand([32, 1], i);
///         Examples::new(&x, &x.square())
///     })
/// });
/// let mut model = Sequential::new([1]).add(Dense::new(8).activation(Tanh)).add(Dense::new(1));
/// model.compile(Adam::new(0.01), MeanSquaredError::new(), ())?;
/// let history = model.fit(points.prefetch(2), Fit::epochs(2).verbose(0))?;
/// assert_eq!(history.steps, 8);
/// # Ok(())
/// # }
/// ```
pub struct Batches {
    make: Box<dyn FnMut() -> Epoch + Send>,
    /// The iterator that goes on in the next epoch, where epochs have a number of steps.
    going: Option<Epoch>,
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batches")
    }
}

impl Batches {
    /// Batches from the iterator that `make` gives for every epoch. With [`Fit::steps_per_epoch`](super::Fit::steps_per_epoch) the iterator may be
    /// endless.
    pub fn new<I>(mut make: impl FnMut() -> I + Send + 'static) -> Batches
    where
        I: IntoIterator<Item = Result<Examples>>,
        I::IntoIter: Send + 'static,
    {
        Batches { make: Box::new(move || Box::new(make().into_iter())), going: None }
    }

    /// Makes batches in a thread of their own, so many ahead of the device. Not there in a browser.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn prefetch(self, ahead: usize) -> Batches {
        let mut make = self.make;
        let make = move || -> Epoch {
            let batches = make();
            let (sender, receiver) = std::sync::mpsc::sync_channel(ahead.max(1));
            // It ends with the iterator, or when nobody listens any more.
            let thread = std::thread::spawn(move || drop(batches.into_iter().try_for_each(|batch| sender.send(batch))));
            Box::new(Prefetched { receiver, thread: Some(thread) })
        };
        Batches { make: Box::new(make), going: None }
    }

    /// The next batch of an epoch; `None` at its end. An epoch with a number of steps goes on where the last one stopped.
    pub(super) fn next(&mut self, goes_on: bool) -> Option<Result<Examples>> {
        if let Some(batch) = self.going.get_or_insert_with(&mut self.make).next() {
            return Some(batch);
        }
        self.going = goes_on.then(&mut self.make);
        self.going.as_mut().and_then(Iterator::next)
    }

    /// The next epoch starts anew.
    pub(super) fn restart(&mut self) {
        self.going = None;
    }
}

/// What a thread makes.
#[cfg(not(target_arch = "wasm32"))]
struct Prefetched {
    receiver: std::sync::mpsc::Receiver<Result<Examples>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Iterator for Prefetched {
    type Item = Result<Examples>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.receiver.recv() {
            Ok(batch) => Some(batch),
            // Its end, or the end of the thread: then data is missing.
            Err(_) => match self.thread.take()?.join() {
                Ok(()) => None,
                Err(panic) => {
                    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
                    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                    Some(Err(Error::value(format!("the iterator of batches panicked: {text}"))))
                }
            },
        }
    }
}

impl Source for Batches {
    fn feed(self) -> Result<Feed> {
        Ok(Feed(super::source::Kind::Batches(self)))
    }
}
