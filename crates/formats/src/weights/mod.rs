//! Where Keras puts variables in an HDF5 file.
//!
//! Keras 3 (`model.weights.h5`, `*.weights.h5`) walks the model's objects: `/layers/dense_1/vars/0` is the first variable of the second layer of
//! class `Dense`, whatever the user calls it. [`tree`] makes the file of variables in the order of the model, [`find`] finds them again.
//! `/optimizer/vars/<i>` are the optimizer's ([`numbered`]).
//!
//! Keras 2, and `.h5` files of Keras 3, have a group for each layer under its own name, and lists of names as attributes: [`legacy`].

pub mod legacy;

use crate::hdf5::{Attribute, Dataset, Group};
use ibex_core::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// An object that may have variables: a layer, a layer inside of it, the optimizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its place: `layers/bidirectional/forward_layer/cell`. The model itself is at the empty path.
    pub path: String,
    /// What the user calls it.
    pub name: String,
}

/// The file with `objects`, and with variables, each under the path of its object. The variables of an object are numbered in their order.
///
/// # Errors
/// `Value` if a path has a variable and is that of another.
pub fn tree(objects: &[Object], variables: impl IntoIterator<Item = (String, Dataset)>) -> Result<Group> {
    let mut root = Group::default();
    for object in objects {
        let vars = root.make(&vars(&object.path))?;
        vars.attributes.insert("name".into(), Attribute::Text(object.name.clone()));
    }
    for (path, dataset) in variables {
        let vars = root.make(&vars(&path))?;
        let number = vars.datasets.len();
        vars.datasets.insert(number.to_string(), dataset);
    }
    Ok(root)
}

/// A variable of a file.
#[derive(Debug)]
pub struct Found<'f> {
    /// Where it is: `layers/dense/vars/0`.
    pub path: String,
    /// The variable.
    pub dataset: &'f Dataset,
}

/// For each variable, given by the path of its object, its place in a file that [`tree`] or Keras made.
///
/// # Errors
/// `Format` if an object is not in the file, or has more or fewer variables there; if the file has variables of an object that is not among
/// `paths`. The state of random numbers, of the optimizer and of metrics does not count.
pub fn find<'f>(file: &'f Group, paths: &[String]) -> Result<Vec<Found<'f>>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for path in paths {
        let number = counts.entry(path).or_default();
        let place = format!("{}/{number}", vars(path));
        let dataset = file.dataset(&place).ok_or_else(|| missing(file, path, &place))?;
        found.push(Found { path: place, dataset });
        *number += 1;
    }
    let taken: BTreeSet<&str> = found.iter().map(|f| &f.path[..]).collect();
    for (path, dataset) in file.arrays() {
        let state = path.starts_with("optimizer/") || path.starts_with("metrics/");
        let counts = !state && !path.split('/').any(|name| name.trim_start_matches('_').starts_with("seed_generator"));
        if counts && !taken.contains(&path[..]) {
            return Err(Error::format(format!(
                "the file has {path} ({dataset:?}), which no layer of this model takes; make the model as the one that was saved"
            )));
        }
    }
    Ok(found)
}

fn missing(file: &Group, path: &str, place: &str) -> Error {
    let there = match file.group(path) {
        Some(group) => match group.groups.get("vars").map_or(0, |vars| vars.datasets.len()) {
            0 => "its group is there, without variables".to_string(),
            count => format!("{count} variables are there"),
        },
        None => "there is no such layer".to_string(),
    };
    Error::format(format!("the file has no variable {place}: {there}; make the model as the one that was saved"))
}

fn vars(path: &str) -> String {
    if path.is_empty() { "vars".into() } else { format!("{path}/vars") }
}

/// The variables of the object at `path`, such as `optimizer`, in order; none if it is not there.
///
/// # Errors
/// `Format` if one is missing in between.
pub fn numbered<'f>(file: &'f Group, path: &str) -> Result<Vec<&'f Dataset>> {
    let Some(vars) = file.group(&vars(path)) else { return Ok(Vec::new()) };
    let number = |i: usize| {
        let dataset = vars.datasets.get(&i.to_string());
        dataset.ok_or_else(|| Error::format(format!("the file has no variable {path}/vars/{i}, but some after it")))
    };
    (0..vars.datasets.len()).map(number).collect()
}
