//! Places of weights in Keras's files, which [`Layer::keras_place`] gives.

use super::Layer;
use crate::model::snake_case;
use std::collections::HashMap;

/// The names of objects in one list, such as a model's layers: the class in snake case, from the second of a class on with a number. What the user
/// calls them does not matter.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, usize>);

impl Names {
    /// The next object of a class: `dense`, `dense_1`, `dense_2`.
    pub fn next(&mut self, class_name: &str) -> String {
        let name = snake_case(class_name);
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        match *count {
            1 => name,
            count => format!("{name}_{}", count - 1),
        }
    }
}

/// A place inside of another.
pub(crate) fn below(place: &str, inner: &str) -> String {
    if inner.is_empty() { place.into() } else { format!("{place}/{inner}") }
}

/// Is it a layer in Keras too? What Keras has as operations on tensors and as arguments of calls is not in its files of weights.
pub(crate) fn is_keras_layer(layer: &dyn Layer) -> bool {
    !["Operator", "ApplyMask"].contains(&layer.class_name())
}
