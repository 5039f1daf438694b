//! Files of Keras 2, which Keras 3 still writes as `.h5`.
//!
//! A file of weights has a group for each layer; attributes say in which order layers and their weights are. A file of a whole model has such a tree
//! in `model_weights`, the model as JSON in attributes, and the optimizer's variables in `optimizer_weights`.

use crate::hdf5::{Attribute, Dataset, Group};
use crate::keras::KERAS_VERSION;
use ibex_core::{Error, Result};

/// Keras splits lists above this number of bytes, since HDF5 allows 64 KiB.
const LIMIT: usize = 64512;
/// Bytes that a text in a list takes there.
const REFERENCE: usize = 16;

/// A layer with its weights.
#[derive(Debug)]
pub struct Layer<D> {
    /// What the user calls it.
    pub name: String,
    /// Names and weights, those that are trained first.
    pub weights: Vec<(String, D)>,
}

/// The group with the layers' weights, in a file that has it at its root or in `model_weights`.
pub fn group(file: &Group) -> Option<&Group> {
    let listed =
        |group: &&Group| group.attributes.contains_key("layer_names") || group.attributes.contains_key("layer_names0");
    file.groups.get("model_weights").filter(listed).or_else(|| Some(file).filter(listed))
}

/// The layers of such a group, in order; those without weights too.
///
/// # Errors
/// `Format` if something that is listed is not there.
pub fn layers(group: &Group) -> Result<Vec<Layer<&Dataset>>> {
    let layer = |name: String| -> Result<Layer<&Dataset>> {
        let inner = group
            .groups
            .get(&name)
            .ok_or_else(|| Error::format(format!("the file lists layer {name}, but has it not")))?;
        let weights = variables(inner).map_err(|e| e.context(format!("layer {name}")))?;
        Ok(Layer { name, weights })
    };
    list(group, "layer_names")?.into_iter().map(layer).collect()
}

/// The variables that a group lists in `weight_names`, such as those of `optimizer_weights`.
///
/// # Errors
/// `Format` if something that is listed is not there.
pub fn variables(group: &Group) -> Result<Vec<(String, &Dataset)>> {
    let variable = |name: String| match group.dataset(&name) {
        Some(dataset) => Ok((name, dataset)),
        None => Err(Error::format(format!("the file lists weight {name}, but has it not"))),
    };
    list(group, "weight_names")?.into_iter().map(variable).collect()
}

/// The group with the weights of `layers`.
///
/// # Errors
/// `Value` if two layers or two weights of a layer have one name.
pub fn weights_group(layers: Vec<Layer<Dataset>>) -> Result<Group> {
    let mut root = Group::default();
    for (name, text) in [("backend", "jax"), ("keras_version", KERAS_VERSION)] {
        root.attributes.insert(name.into(), Attribute::Text(text.into()));
    }
    set_list(&mut root, "layer_names", layers.iter().map(|layer| layer.name.clone()).collect());
    let top = Layer { name: "top_level_model_weights".into(), weights: Vec::new() };
    for layer in layers.into_iter().chain([top]) {
        let inner = variables_group(layer.weights).map_err(|e| e.context(format!("layer {}", layer.name)))?;
        if root.groups.insert(layer.name.clone(), inner).is_some() {
            return Err(Error::value(format!("two layers are called {}; give each a name of its own", layer.name)));
        }
    }
    Ok(root)
}

/// A group with variables and the list of their names.
///
/// # Errors
/// `Value` if two have one name.
pub fn variables_group(variables: Vec<(String, Dataset)>) -> Result<Group> {
    let mut group = Group::default();
    set_list(&mut group, "weight_names", variables.iter().map(|(name, _)| name.clone()).collect());
    for (path, dataset) in variables {
        let (inner, name) = match path.rsplit_once('/') {
            Some((groups, name)) => (group.make(groups)?, name),
            None => (&mut group, &path[..]),
        };
        if inner.groups.contains_key(name) || inner.datasets.insert(name.into(), dataset).is_some() {
            return Err(Error::value(format!("two weights are called {path}")));
        }
    }
    Ok(group)
}

/// The texts of an attribute that may be split: `layer_names`, or `layer_names0`, `layer_names1`, and so on.
fn list(group: &Group, name: &str) -> Result<Vec<String>> {
    let texts = |attribute: &Attribute| match attribute {
        Attribute::Texts(texts) => Ok(texts.clone()),
        Attribute::Text(text) => Ok(vec![text.clone()]),
        // An empty list has no type: it becomes one of numbers.
        Attribute::Floats(numbers) if numbers.is_empty() => Ok(Vec::new()),
        Attribute::Ints(numbers) if numbers.is_empty() => Ok(Vec::new()),
        _ => Err(Error::format(format!("attribute {name} is no list of names"))),
    };
    if let Some(whole) = group.attributes.get(name) {
        return texts(whole);
    }
    let mut all = Vec::new();
    let mut parts = 0;
    while let Some(part) = group.attributes.get(&format!("{name}{parts}")) {
        all.extend(texts(part)?);
        parts += 1;
    }
    if parts == 0 {
        return Err(Error::format(format!(
            "the file has no attribute {name}, so the order of its weights is not known"
        )));
    }
    Ok(all)
}

fn set_list(group: &mut Group, name: &str, texts: Vec<String>) {
    let most = LIMIT / REFERENCE;
    if texts.is_empty() {
        group.attributes.insert(name.into(), Attribute::Floats(Vec::new()));
    } else if texts.len() <= most {
        group.attributes.insert(name.into(), Attribute::Texts(texts));
    } else {
        for (i, part) in texts.chunks(most).enumerate() {
            group.attributes.insert(format!("{name}{i}"), Attribute::Texts(part.to_vec()));
        }
    }
}
