//! How far random augmentations go.

use super::{Context, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// How far a random augmentation goes: `0.2` for anything between -0.2 and 0.2, `(0.1, 0.3)` for anything between these.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Factor {
    /// As far as this in both directions.
    Up(f64),
    /// Between these.
    Between(f64, f64),
}

impl From<f64> for Factor {
    fn from(factor: f64) -> Self {
        Factor::Up(factor)
    }
}

impl From<(f64, f64)> for Factor {
    fn from((low, high): (f64, f64)) -> Self {
        Factor::Between(low, high)
    }
}

impl Factor {
    pub(super) fn ends(self) -> [f64; 2] {
        match self {
            Factor::Up(factor) => [-factor.abs(), factor.abs()],
            Factor::Between(a, b) => [a.min(b), a.max(b)],
        }
    }

    pub(super) fn check(self, name: &str, low: f64, high: f64) -> Result<()> {
        match self.ends() {
            [a, b] if a >= low && b <= high => Ok(()),
            [a, b] => Err(Error::value(format!("{name} goes from {a} to {b}, it must lie between {low} and {high}"))),
        }
    }

    /// A number for each sample, `(n)`.
    pub(super) fn draw(self, n: usize, cx: &mut Context) -> Tensor {
        let [low, high] = self.ends();
        cx.uniform([n]) * (high - low) + low
    }
}
