//! Watching a value for improvement.

use super::{Logs, Run};
use ibex_core::{Error, Result};

/// A value that is watched, and its best so far.
#[derive(Clone, Debug)]
pub(super) struct Monitor {
    /// The callback, for messages.
    pub who: &'static str,
    pub name: String,
    pub maximize: Option<bool>,
    pub min_delta: f64,
    pub best: Option<f64>,
}

impl Monitor {
    pub fn new(who: &'static str, name: impl Into<String>) -> Monitor {
        Monitor { who, name: name.into(), maximize: None, min_delta: 0.0, best: None }
    }

    /// The value, which must be there unless it comes from a validation that is not made in every epoch.
    pub fn value(&self, logs: &Logs, run: &Run) -> Result<Option<f64>> {
        if let Some(&value) = logs.get(&self.name) {
            return Ok(Some(value));
        }
        let validated = logs.keys().any(|name| name.starts_with("val_"));
        if self.name.starts_with("val_") && run.validates && !validated {
            return Ok(None);
        }
        let known = logs.keys().cloned().collect::<Vec<_>>().join(", ");
        let advice = match self.name.starts_with("val_") && !run.validates {
            true => "; give `fit` data for validation, or watch one of these",
            false => "",
        };
        Err(Error::value(format!("{}: no value named {:?}; there are: {known}{advice}", self.who, self.name)))
    }

    /// Is it better than another value? Anything is better than none.
    pub fn improves(&self, value: f64, than: Option<f64>, run: &Run) -> Result<bool> {
        let rises = self.rises(run)?;
        let better = |than: f64| if rises { value - self.min_delta > than } else { value + self.min_delta < than };
        Ok(than.is_none_or(better))
    }

    /// Are larger values better? Losses fall; metrics know.
    fn rises(&self, run: &Run) -> Result<bool> {
        let name = self.name.trim_start_matches("val_");
        self.maximize.or_else(|| run.model.direction(name)).ok_or_else(|| {
            let advice = "say so with `maximize(true)` or `maximize(false)`";
            Error::value(format!("{}: is a larger {name:?} better? The model does not know; {advice}", self.who))
        })
    }
}
