//! Symbolic tensors: what layers are applied to before there are numbers.

use super::Instance;
use crate::layers::Operator;
use ibex_core::{DType, Error, Result, Shape};
use std::collections::HashSet;
use std::panic::Location;
use std::sync::Arc;

/// The input of a model: `Input::new([28, 28, 1])`.
#[derive(Debug)]
pub struct Input;

impl Input {
    /// An input of a shape without the batch axis, `f32`. An axis of any length is `None` in a tuple, `Input::new((None, 8))`; the model is then compiled once
    /// for every length that comes, so few different ones are best.
    ///
    /// ```
    /// use ibex::prelude::*;
    ///
    /// # fn main() -> ibex::Result<()> {
    /// let words = Input::new((None, 8));
    /// let mut model = Model::new(&words, &Dense::new(1).apply(&LSTM::new(4).apply(&words)))?;
    /// assert_eq!(model.predict(&Tensor::rand([2, 5, 8], 0))?.shape(), &Shape::from([2, 1]));
    /// assert_eq!(model.predict(&Tensor::rand([2, 9, 8], 0))?.shape(), &Shape::from([2, 1]));
    /// # Ok(())
    /// # }
    /// ```
    #[allow(clippy::new_ret_no_self, reason = "Keras's name of a function that gives a symbolic tensor")]
    pub fn new(shape: impl Into<Shape>) -> SymbolicTensor {
        Input::with_dtype(shape, DType::F32)
    }

    /// An input of a shape without the batch axis and an element type: `I32` before an `Embedding`.
    pub fn with_dtype(shape: impl Into<Shape>, dtype: DType) -> SymbolicTensor {
        let place = Arc::new(Place::Input { name: None });
        SymbolicTensor { place, index: 0, spec: Spec { shape: shape.into(), dtype, batch: None } }
    }
}

/// A tensor that is not there yet: an input of a model, or what a layer gives for others. Layers and operators apply to it;
/// [`Model::new`](crate::Model::new) makes a model of what lies between some of them.
///
/// ```
/// use ibex::prelude::*;
///
/// # fn main() -> ibex::Result<()> {
/// let x = Input::new([8]);
/// let y = Dense::new(8).activation(Relu).apply(&x);
/// let z = Dense::new(1).apply(&(&x + &y));
/// let model = Model::new(&x, &z)?;
/// # assert_eq!(model.count_params(), 81);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SymbolicTensor {
    place: Arc<Place>,
    index: usize,
    spec: Spec,
}

/// Where symbolic tensors come from.
#[derive(Debug)]
pub(crate) enum Place {
    Input { name: Option<String> },
    Call { instance: Instance, inputs: Vec<SymbolicTensor>, outputs: Vec<Spec>, site: &'static Location<'static> },
    Broken(Error),
}

/// Shape without the batch axis, element type, and the size of the batch if it is fixed.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub shape: Shape,
    pub dtype: DType,
    pub batch: Option<usize>,
}

impl SymbolicTensor {
    pub(crate) fn output(place: &Arc<Place>, index: usize, spec: &Spec) -> Self {
        SymbolicTensor { place: place.clone(), index, spec: spec.clone() }
    }

    pub(crate) fn broken(error: Error) -> Self {
        let spec = Spec { shape: Shape::default(), dtype: DType::F32, batch: None };
        SymbolicTensor { place: Arc::new(Place::Broken(error)), index: 0, spec }
    }

    /// The input under a name of your choice. Only an input can be named; a layer is named before it is applied.
    #[must_use]
    #[track_caller]
    pub fn named(self, name: impl Into<String>) -> Self {
        match &*self.place {
            Place::Input { .. } => SymbolicTensor { place: Arc::new(Place::Input { name: Some(name.into()) }), ..self },
            Place::Broken(_) => self,
            Place::Call { .. } => {
                let error = Error::model(
                    "only an input can be named so; name the layer: `Dense::new(8).named(\"head\").apply(&x)`",
                );
                SymbolicTensor::broken(error.at(Location::caller()))
            }
        }
    }

    /// The input with a fixed size of batches, as stateful layers need it.
    #[must_use]
    pub fn batches_of(mut self, size: usize) -> Self {
        self.spec.batch = Some(size);
        self
    }

    /// Shape without the batch axis.
    pub fn shape(&self) -> &Shape {
        &self.spec.shape
    }

    /// Element type; floats are those of [`Float32`](crate::DTypePolicy::Float32) whatever the policy of the model.
    pub fn dtype(&self) -> DType {
        self.spec.dtype
    }

    /// The size of batches, if it is fixed.
    pub fn batch_size(&self) -> Option<usize> {
        self.spec.batch
    }

    /// The first mistake on the way to this tensor.
    ///
    /// # Errors
    /// That mistake.
    pub fn check(&self) -> Result<&Self> {
        match &*self.place {
            Place::Broken(error) => Err(error.clone()),
            _ => Ok(self),
        }
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    pub(crate) fn output_index(&self) -> usize {
        self.index
    }

    /// Equal for the same tensor.
    pub(crate) fn key(&self) -> (*const Place, usize) {
        (Arc::as_ptr(&self.place), self.index)
    }
}

/// Names of inputs: given, or `input_layer`, `input_layer_1`, ...
pub(super) fn input_names(inputs: &[SymbolicTensor]) -> Result<Vec<String>> {
    let given = |t: &SymbolicTensor| match &**t.place() {
        Place::Input { name } => name.clone(),
        _ => None,
    };
    let mut taken = HashSet::new();
    for name in inputs.iter().filter_map(given) {
        if !taken.insert(name.clone()) {
            return Err(Error::model(format!("two inputs are named {name:?}; give one another name")));
        }
    }
    let mut numbered = std::iter::once("input_layer".to_string()).chain((1..).map(|i| format!("input_layer_{i}")));
    let mut free = || numbered.find(|name| !taken.contains(name)).unwrap_or_default();
    Ok(inputs.iter().map(|t| given(t).unwrap_or_else(&mut free)).collect())
}

/// What a layer can be applied to, and what a model has as inputs or outputs: a symbolic tensor, an array, a slice, a vector, or a pair of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no symbolic tensor, nor several",
    label = "no symbolic tensors",
    note = "layers are applied to what `Input::new(..)` or another layer's `apply` gives; several go into an array: `[&a, &b]`",
    note = "numbers go through a model: `model.predict(&x)`"
)]
pub trait SymbolicInputs {
    /// As a list.
    fn list(self) -> Vec<SymbolicTensor>;
}

impl SymbolicInputs for &SymbolicTensor {
    fn list(self) -> Vec<SymbolicTensor> {
        vec![self.clone()]
    }
}

impl SymbolicInputs for SymbolicTensor {
    fn list(self) -> Vec<SymbolicTensor> {
        vec![self]
    }
}

impl<const N: usize> SymbolicInputs for [&SymbolicTensor; N] {
    fn list(self) -> Vec<SymbolicTensor> {
        self.into_iter().cloned().collect()
    }
}

impl<const N: usize> SymbolicInputs for [SymbolicTensor; N] {
    fn list(self) -> Vec<SymbolicTensor> {
        self.into()
    }
}

impl SymbolicInputs for &[SymbolicTensor] {
    fn list(self) -> Vec<SymbolicTensor> {
        self.to_vec()
    }
}

impl SymbolicInputs for &Vec<SymbolicTensor> {
    fn list(self) -> Vec<SymbolicTensor> {
        self.clone()
    }
}

impl SymbolicInputs for Vec<SymbolicTensor> {
    fn list(self) -> Vec<SymbolicTensor> {
        self
    }
}

/// `x + y`, `x + 1.0`, `1.0 - x`, ... for values and references.
macro_rules! operators {
    ($($trait:ident $method:ident;)+) => { $(
        impl std::ops::$trait<&SymbolicTensor> for &SymbolicTensor {
            type Output = SymbolicTensor;
            #[track_caller]
            fn $method(self, other: &SymbolicTensor) -> SymbolicTensor {
                Instance::from(Operator::$method()).apply_at([self, other], Location::caller())
            }
        }

        impl std::ops::$trait<SymbolicTensor> for SymbolicTensor {
            type Output = SymbolicTensor;
            #[track_caller]
            fn $method(self, other: SymbolicTensor) -> SymbolicTensor {
                std::ops::$trait::$method(&self, &other)
            }
        }

        impl std::ops::$trait<&SymbolicTensor> for SymbolicTensor {
            type Output = SymbolicTensor;
            #[track_caller]
            fn $method(self, other: &SymbolicTensor) -> SymbolicTensor {
                std::ops::$trait::$method(&self, other)
            }
        }

        impl std::ops::$trait<SymbolicTensor> for &SymbolicTensor {
            type Output = SymbolicTensor;
            #[track_caller]
            fn $method(self, other: SymbolicTensor) -> SymbolicTensor {
                std::ops::$trait::$method(self, &other)
            }
        }

        impl std::ops::$trait<f32> for &SymbolicTensor {
            type Output = SymbolicTensor;
            #[track_caller]
            fn $method(self, other: f32) -> SymbolicTensor {
                Instance::from(Operator::$method().right(other)).apply_at(self, Location::caller())
            }
        }

        impl std::ops::$trait<f32> for SymbolicTensor {
            type Output = SymbolicTensor;
            #[track_caller]
            fn $method(self, other: f32) -> SymbolicTensor {
                std::ops::$trait::$method(&self, other)
            }
        }

        impl std::ops::$trait<&SymbolicTensor> for f32 {
            type Output = SymbolicTensor;
            #[track_caller]
            fn $method(self, other: &SymbolicTensor) -> SymbolicTensor {
                Instance::from(Operator::$method().left(self)).apply_at(other, Location::caller())
            }
        }

        impl std::ops::$trait<SymbolicTensor> for f32 {
            type Output = SymbolicTensor;
            #[track_caller]
            fn $method(self, other: SymbolicTensor) -> SymbolicTensor {
                std::ops::$trait::$method(self, &other)
            }
        }
    )+ };
}

operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
}
