//! Numbers by name.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::{IntoIter, Iter};
use std::fmt;
use std::ops::{Deref, DerefMut, Index};

/// The loss and the metrics by name: a map.
///
/// ```
/// use ibex::callbacks::Logs;
///
/// let scores = Logs::from([("loss".to_string(), 0.5)]);
/// assert_eq!((scores["loss"], scores.get("accuracy")), (0.5, None));
/// ```
///
/// # Panics
/// An index panics for a name that there is not, saying those that there are; [`get`](BTreeMap::get) gives `None`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Logs(BTreeMap<String, f64>);

impl Logs {
    /// None.
    pub fn new() -> Logs {
        Logs::default()
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Deref for Logs {
    type Target = BTreeMap<String, f64>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Logs {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Index<&str> for Logs {
    type Output = f64;

    #[track_caller]
    fn index(&self, name: &str) -> &f64 {
        match self.0.get(name) {
            Some(value) => value,
            None => unknown(name, self.0.keys()),
        }
    }
}

/// Ends an index of an unknown name.
#[track_caller]
pub(crate) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> ! {
    let known: Vec<&str> = known.map(String::as_str).collect();
    panic!("there is no value {name:?}; there are: {}", known.join(", "))
}

impl IntoIterator for Logs {
    type Item = (String, f64);
    type IntoIter = IntoIter<String, f64>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Logs {
    type Item = (&'a String, &'a f64);
    type IntoIter = Iter<'a, String, f64>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl FromIterator<(String, f64)> for Logs {
    fn from_iter<I: IntoIterator<Item = (String, f64)>>(values: I) -> Logs {
        Logs(values.into_iter().collect())
    }
}

impl<const N: usize> From<[(String, f64); N]> for Logs {
    fn from(values: [(String, f64); N]) -> Logs {
        Logs(values.into())
    }
}
