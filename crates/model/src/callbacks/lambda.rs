//! Callbacks from closures.

use super::{Callback, Logs, Run};
use ibex_core::Result;
use std::fmt;

type Hook<'a> = Option<Box<dyn FnMut(&mut Run) -> Result<()> + 'a>>;
type Numbered<'a> = Option<Box<dyn FnMut(usize, &mut Run) -> Result<()> + 'a>>;
type WithLogs<'a> = Option<Box<dyn FnMut(usize, &mut Logs, &mut Run) -> Result<()> + 'a>>;

/// Calls closures along the way.
///
/// ```
/// use ibex::prelude::*;
/// use ibex::callbacks::LambdaCallback;
///
/// # fn main() -> ibex::Result<()> {
/// # let (x, y) = (Tensor::rand([8, 2], 0), Tensor::rand([8, 1], 1));
/// # let mut model = Sequential::new([2]).add(Dense::new(1));
/// # model.compile(SGD::new(0.01), MeanSquaredError::new(), ())?;
/// let mut seen = Vec::new();
/// let keep = LambdaCallback::new().on_epoch_end(|epoch, logs, _run| {
///     seen.push((epoch, logs["loss"]));
///     Ok(())
/// });
/// model.fit((&x, &y), Fit::epochs(2).verbose(0).callback(keep))?;
/// assert_eq!(seen.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct LambdaCallback<'a> {
    train_begin: Hook<'a>,
    epoch_begin: Numbered<'a>,
    train_batch_end: Numbered<'a>,
    epoch_end: WithLogs<'a>,
    train_end: Hook<'a>,
}

impl<'a> LambdaCallback<'a> {
    /// Nothing is called yet.
    pub fn new() -> Self {
        LambdaCallback::default()
    }

    /// Before the first epoch.
    #[must_use]
    pub fn on_train_begin(mut self, f: impl FnMut(&mut Run) -> Result<()> + 'a) -> Self {
        self.train_begin = Some(Box::new(f));
        self
    }

    /// Before an epoch; the first is 0.
    #[must_use]
    pub fn on_epoch_begin(mut self, f: impl FnMut(usize, &mut Run) -> Result<()> + 'a) -> Self {
        self.epoch_begin = Some(Box::new(f));
        self
    }

    /// After a training step was started; the first is 0.
    #[must_use]
    pub fn on_train_batch_end(mut self, f: impl FnMut(usize, &mut Run) -> Result<()> + 'a) -> Self {
        self.train_batch_end = Some(Box::new(f));
        self
    }

    /// After an epoch and its validation.
    #[must_use]
    pub fn on_epoch_end(mut self, f: impl FnMut(usize, &mut Logs, &mut Run) -> Result<()> + 'a) -> Self {
        self.epoch_end = Some(Box::new(f));
        self
    }

    /// After the last epoch.
    #[must_use]
    pub fn on_train_end(mut self, f: impl FnMut(&mut Run) -> Result<()> + 'a) -> Self {
        self.train_end = Some(Box::new(f));
        self
    }
}

impl fmt::Debug for LambdaCallback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("LambdaCallback").finish_non_exhaustive()
    }
}

impl Callback for LambdaCallback<'_> {
    fn on_train_begin(&mut self, run: &mut Run) -> Result<()> {
        self.train_begin.as_mut().map_or(Ok(()), |f| f(run))
    }

    fn on_epoch_begin(&mut self, epoch: usize, run: &mut Run) -> Result<()> {
        self.epoch_begin.as_mut().map_or(Ok(()), |f| f(epoch, run))
    }

    fn on_train_batch_end(&mut self, batch: usize, run: &mut Run) -> Result<()> {
        self.train_batch_end.as_mut().map_or(Ok(()), |f| f(batch, run))
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        self.epoch_end.as_mut().map_or(Ok(()), |f| f(epoch, logs, run))
    }

    fn on_train_end(&mut self, run: &mut Run) -> Result<()> {
        self.train_end.as_mut().map_or(Ok(()), |f| f(run))
    }
}
