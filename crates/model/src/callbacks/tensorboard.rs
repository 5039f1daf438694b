//! Curves for TensorBoard.

mod events;

use super::{Callback, Logs, Run};
use events::Events;
use ibex_core::Result;
use std::path::PathBuf;

/// Writes files that TensorBoard shows (`tensorboard --logdir logs`), with the names that Keras uses: `epoch_loss`, `epoch_<metric>` and
/// `epoch_learning_rate` in the folder `train`, the same of the validation and `evaluation_<metric>_vs_iterations` in `validation`.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    histogram_freq: usize,
    update_freq: usize,
    train: Option<Events>,
    validation: Option<Events>,
    steps: usize,
}

impl TensorBoard {
    /// Files under a folder, which is made if it is not there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        TensorBoard {
            folder: folder.into(),
            histogram_freq: 0,
            update_freq: 0,
            train: None,
            validation: None,
            steps: 0,
        }
    }

    /// Histograms of all weights after every so many epochs: `dense/kernel/histogram`. None by default.
    #[must_use]
    pub fn histogram_freq(mut self, epochs: usize) -> Self {
        self.histogram_freq = epochs;
        self
    }

    /// The loss and the metrics of the epoch so far after every so many steps, too: `batch_loss`. Each time waits for the device.
    #[must_use]
    pub fn update_freq(mut self, steps: usize) -> Self {
        self.update_freq = steps;
        self
    }

    fn writer(events: &mut Option<Events>, folder: PathBuf) -> Result<&mut Events> {
        match events {
            Some(events) => Ok(events),
            None => Ok(events.insert(Events::create(&folder)?)),
        }
    }
}

impl Callback for TensorBoard {
    fn on_train_begin(&mut self, _run: &mut Run) -> Result<()> {
        (self.train, self.validation, self.steps) = (None, None, 0);
        Self::writer(&mut self.train, self.folder.join("train"))?.flush()
    }

    fn on_train_batch_end(&mut self, _batch: usize, run: &mut Run) -> Result<()> {
        self.steps += 1;
        if self.update_freq == 0 || !self.steps.is_multiple_of(self.update_freq) {
            return Ok(());
        }
        let train = Self::writer(&mut self.train, self.folder.join("train"))?;
        run.logs()?.iter().try_for_each(|(name, &value)| train.scalar(&format!("batch_{name}"), self.steps, value))
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, run: &mut Run) -> Result<()> {
        let mut own = logs.clone();
        own.insert("learning_rate".into(), f64::from(run.model.learning_rate()?));
        let train = Self::writer(&mut self.train, self.folder.join("train"))?;
        for (name, &value) in own.iter().filter(|(name, _)| !name.starts_with("val_")) {
            train.scalar(&format!("epoch_{name}"), epoch, value)?;
        }
        if self.histogram_freq > 0 && epoch.is_multiple_of(self.histogram_freq) {
            let values = run.model.get_weights()?;
            for ((name, _), data) in run.model.named_weights().iter().zip(values) {
                train.histogram(&format!("{name}/histogram"), epoch, &data.to_f64())?;
            }
        }
        train.flush()?;
        let validation: Vec<_> = logs.iter().filter_map(|(n, &v)| Some((n.strip_prefix("val_")?, v))).collect();
        if !validation.is_empty() {
            let iterations = run.model.iterations()?;
            let events = Self::writer(&mut self.validation, self.folder.join("validation"))?;
            for &(name, value) in &validation {
                events.scalar(&format!("evaluation_{name}_vs_iterations"), iterations, value)?;
            }
            for &(name, value) in &validation {
                events.scalar(&format!("epoch_{name}"), epoch, value)?;
            }
            events.flush()?;
        }
        Ok(())
    }

    fn on_train_end(&mut self, _run: &mut Run) -> Result<()> {
        (self.train, self.validation) = (None, None);
        Ok(())
    }
}
