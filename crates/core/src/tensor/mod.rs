//! `Tensor`: a cheap handle to a node of a graph that nothing has run yet.

mod composed;
mod create;
mod display;
mod movement;
mod operand;
mod primitive;
mod variable;
mod window;

pub use operand::Operand;
pub(crate) use variable::Memory;
pub(crate) use variable::Trace;
pub use variable::{Stored, Variable, VariableId};
pub use window::{Padding, Window};

use crate::graph::{Literal, Op, infer};
use crate::{DType, Data, Error, Result, Scalar, Shape};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An n-dimensional array that is computed when somebody looks.
///
/// Methods record what is to be done and return at once. An invalid operation (shapes that do not fit, a wrong element type) yields
/// a *poisoned* tensor that carries the error with the place in the caller's code; everything computed from it is poisoned too, and
/// whatever reads it gets the error. [`Tensor::check`] asks at once.
///
/// Elementwise operations broadcast as NumPy does. Operands must have the same element type; plain numbers take that of the tensor
/// beside them.
#[derive(Clone)]
pub struct Tensor(Arc<Node>);

pub(crate) struct Node {
    id: u64,
    op: Op,
    inputs: Vec<Tensor>,
    shape: Shape,
    dtype: DType,
    site: &'static Location<'static>,
    error: Option<Error>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Tensor {
    /// Records an operation. `shape` is the result's shape where the operation does not imply it.
    pub(crate) fn record(
        op: Op,
        inputs: Vec<Tensor>,
        shape: Option<Shape>,
        site: &'static Location<'static>,
    ) -> Tensor {
        if let Some(bad) = inputs.iter().find(|t| t.0.error.is_some()) {
            return bad.clone();
        }
        if let Some(error) = shape.as_ref().and_then(too_large) {
            return Tensor::poisoned(error.at(site));
        }
        let specs: Vec<(&Shape, DType)> = inputs.iter().map(|t| (&t.0.shape, t.0.dtype)).collect();
        match infer(&op, &specs, shape) {
            Ok((shape, dtype)) => Tensor::node(op, inputs, shape, dtype, site),
            Err(error) => Tensor::poisoned(error.at(site)),
        }
    }

    pub(crate) fn node(
        op: Op,
        inputs: Vec<Tensor>,
        shape: Shape,
        dtype: DType,
        site: &'static Location<'static>,
    ) -> Tensor {
        if let Some(error) = too_large(&shape) {
            return Tensor::poisoned(error.at(site));
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Tensor(Arc::new(Node { id, op, inputs, shape, dtype, site, error: None }))
    }

    /// A tensor that is nothing but an error, for whoever reads it.
    #[track_caller]
    pub fn poisoned(error: Error) -> Tensor {
        let site = error.site().unwrap_or(Location::caller());
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (op, shape) = (Op::Full(Scalar::Float(f32::NAN)), Shape::default());
        let error = error.at(site);
        Tensor(Arc::new(Node { id, op, inputs: Vec::new(), shape, dtype: DType::F32, site, error: Some(error) }))
    }

    /// The shape. `()` if poisoned.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// The length of an axis, counted from the end if negative; 0 if there is no such axis.
    pub fn dim(&self, axis: isize) -> usize {
        self.0.shape.axis(axis).map_or(0, |axis| self.0.shape[axis])
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.shape.rank()
    }

    /// The element type. `f32` if poisoned.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Itself, or the error it carries.
    ///
    /// # Errors
    /// The first error of the operations it is computed from.
    pub fn check(&self) -> Result<&Tensor> {
        match &self.0.error {
            Some(error) => Err(error.clone()),
            None => Ok(self),
        }
    }

    /// The host numbers, if it is nothing but host numbers.
    pub fn data(&self) -> Option<&Arc<Data>> {
        match &self.0.op {
            Op::Constant(Literal(data)) => Some(data),
            _ => None,
        }
    }

    /// The operation that makes it.
    pub fn op(&self) -> &Op {
        &self.0.op
    }

    /// What it is computed from.
    pub fn inputs(&self) -> &[Tensor] {
        &self.0.inputs
    }

    /// Its identity: clones share it.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The place in the user's code that recorded it.
    pub fn site(&self) -> &'static Location<'static> {
        self.0.site
    }

    /// The scalar every element equals, if that is known without computing.
    pub(crate) fn uniform(&self) -> Option<Scalar> {
        match (&self.0.op, &self.0.error) {
            (Op::Full(value), None) => Some(*value),
            _ => None,
        }
    }

    /// True if somebody else holds this tensor, or the device memory that it stands for.
    pub(crate) fn is_shared(&self) -> bool {
        let memory = |op: &Op| if let Op::Stored(stored) = op { Arc::strong_count(&stored.0) } else { 1 };
        Arc::strong_count(&self.0) > 1 || memory(&self.0.op) > 1
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.uniform().is_some_and(|v| v.to_f64() == 0.0)
    }
}

/// Shapes whose bytes no machine can address are mistakes, and their products would overflow.
fn too_large(shape: &Shape) -> Option<Error> {
    let bytes = shape.iter().try_fold(4usize, |product, &d| product.checked_mul(d));
    let fits = bytes.is_some_and(|bytes| bytes <= isize::MAX as usize) || shape.contains(&0);
    (!fits).then(|| Error::shape(format!("shape {shape} has more elements than memory can hold")))
}

/// A graph may be a chain of a million nodes: they are freed one by one, since the derived drop would recurse.
impl Drop for Node {
    fn drop(&mut self) {
        let mut dying = std::mem::take(&mut self.inputs);
        while let Some(tensor) = dying.pop() {
            if let Some(mut node) = Arc::into_inner(tensor.0) {
                dying.append(&mut node.inputs);
            }
        }
    }
}
