//! Layers in a row.

use super::Model;
use crate::graph::{Graph, Input};
use ibex_core::{DType, Shape};

/// A model of layers in a row: `Sequential::new([784]).add(Dense::new(64)).add(Dense::new(10))` is a [`Model`].
#[derive(Debug)]
pub struct Sequential;

impl Sequential {
    /// A model for inputs of the given shape (without the batch axis), `f32`. [`Model::add`] adds layers.
    #[allow(clippy::new_ret_no_self, reason = "a model of layers in a row is a model")]
    pub fn new(input: impl Into<Shape>) -> Model {
        Sequential::with_dtype(input, DType::F32)
    }

    /// A model for inputs of the given shape (without the batch axis) and element type: `I32` before an `Embedding`.
    pub fn with_dtype(input: impl Into<Shape>, dtype: DType) -> Model {
        let input = Input::with_dtype(input, dtype);
        Model::of(Graph::empty(input), "sequential", true)
    }
}
