//! Operations on symbolic tensors under the names that they have on tensors. Each is a layer, so that models with them are saved and loaded, by Keras too.

use super::{Instance, SymbolicTensor};
use crate::layers::{Constant, Index, Key, Operation, Operator, Over, Range, dtype_name};
use crate::{Activation, config::Axes};
use ibex_core::{DType, Error, Result, Shape};
use std::panic::Location;

/// What stands beside a symbolic tensor in an operation: another one, or a number, which takes its element type.
#[derive(Clone, Debug)]
pub struct SymbolicOperand(Side);

#[derive(Clone, Debug)]
enum Side {
    Tensor(SymbolicTensor),
    Number(Constant),
}

impl From<SymbolicTensor> for SymbolicOperand {
    fn from(tensor: SymbolicTensor) -> Self {
        SymbolicOperand(Side::Tensor(tensor))
    }
}

impl From<&SymbolicTensor> for SymbolicOperand {
    fn from(tensor: &SymbolicTensor) -> Self {
        SymbolicOperand(Side::Tensor(tensor.clone()))
    }
}

impl From<f32> for SymbolicOperand {
    fn from(number: f32) -> Self {
        SymbolicOperand(Side::Number(number.into()))
    }
}

impl From<i32> for SymbolicOperand {
    fn from(number: i32) -> Self {
        SymbolicOperand(Side::Number(number.into()))
    }
}

/// The layer of an operation on these.
fn apply(operation: Operation, operands: Vec<SymbolicOperand>, site: &'static Location<'static>) -> SymbolicTensor {
    let (mut tensors, mut constants) = (Vec::new(), Vec::new());
    for (place, SymbolicOperand(side)) in operands.into_iter().enumerate() {
        match side {
            Side::Tensor(tensor) => tensors.push(tensor),
            Side::Number(number) => constants.push((place, number)),
        }
    }
    Instance::from(Operator::new(operation, constants)).apply_at(tensors, site)
}

macro_rules! unary {
    ($($name:ident $operation:expr, $doc:literal;)+) => { impl SymbolicTensor { $(
        #[doc = $doc]
        #[track_caller]
        pub fn $name(&self) -> SymbolicTensor {
            apply($operation, vec![self.into()], Location::caller())
        }
    )+ } };
}

unary! {
    abs Operation::Absolute, "`|x|`.";
    sign Operation::Sign, "-1, 0 or 1.";
    exp Operation::Exp, "`e^x`.";
    expm1 Operation::Expm1, "`e^x - 1`, exact near 0.";
    log Operation::Log, "Natural logarithm.";
    log1p Operation::Log1p, "`ln(1 + x)`, exact near 0.";
    sqrt Operation::Sqrt, "Square root.";
    rsqrt Operation::Rsqrt, "`1 / sqrt(x)`.";
    square Operation::Square, "`x * x`.";
    recip Operation::Reciprocal, "`1 / x`.";
    sin Operation::Sin, "Sine of radians.";
    cos Operation::Cos, "Cosine of radians.";
    tanh Operation::Activation { activation: Activation::Tanh }, "Hyperbolic tangent.";
    sigmoid Operation::Activation { activation: Activation::Sigmoid }, "`1 / (1 + e^-x)`.";
    erf Operation::Erf, "Gauss error function.";
    floor Operation::Floor, "Round toward minus infinity.";
    ceil Operation::Ceil, "Round toward plus infinity.";
    round Operation::Round, "Round to nearest, ties to even.";
    logical_not Operation::LogicalNot, "Logical not of `bool`.";
    stop_gradient Operation::StopGradient, "The same numbers, through which no gradient flows.";
}

macro_rules! binary {
    ($($name:ident $operation:ident $doc:literal;)+) => { impl SymbolicTensor { $(
        #[doc = $doc]
        #[track_caller]
        pub fn $name(&self, other: impl Into<SymbolicOperand>) -> SymbolicTensor {
            apply(Operation::$operation, vec![self.into(), other.into()], Location::caller())
        }
    )+ } };
}

binary! {
    pow Power "`a^b`, broadcast.";
    maximum Maximum "The larger, broadcast; NaN if either is.";
    minimum Minimum "The smaller, broadcast; NaN if either is.";
    eq Equal "`a == b` as `bool`, broadcast.";
    ne NotEqual "`a != b` as `bool`, broadcast.";
    lt Less "`a < b` as `bool`, broadcast.";
    le LessEqual "`a <= b` as `bool`, broadcast.";
    gt Greater "`a > b` as `bool`, broadcast.";
    ge GreaterEqual "`a >= b` as `bool`, broadcast.";
    matmul Matmul "Matrix product of the last two axes, `(.., m, k) x (.., k, n)` to `(.., m, n)`; the other axes broadcast.";
}

macro_rules! reductions {
    ($($name:ident $operation:ident $keepdims:literal $doc:literal;)+) => { impl SymbolicTensor { $(
        #[doc = $doc]
        #[track_caller]
        pub fn $name(&self, axes: &[isize]) -> SymbolicTensor {
            let operation = Operation::$operation { over: Over::new(several(axes), $keepdims) };
            apply(operation, vec![self.into()], Location::caller())
        }
    )+ } };
}

reductions! {
    sum Sum false "Sum over axes, which go away; the batch is axis 0, which has to stay.";
    mean Mean false "Mean over axes, which go away, as of [`SymbolicTensor::sum`].";
    max Max false "Largest over axes, which go away, as of [`SymbolicTensor::sum`]. NaN if any is.";
    min Min false "Smallest over axes, which go away, as of [`SymbolicTensor::sum`]. NaN if any is.";
    prod Prod false "Product over axes, which go away, as of [`SymbolicTensor::sum`].";
    sum_keep Sum true "Sum over axes, which stay with length 1, as of [`SymbolicTensor::sum`].";
    mean_keep Mean true "Mean over axes, which stay with length 1, as of [`SymbolicTensor::sum`].";
    max_keep Max true "Largest over axes, which stay with length 1, as of [`SymbolicTensor::sum`].";
}

/// Keras knows one axis from a list of one.
fn several(axes: &[isize]) -> Axes {
    match axes {
        [] => Axes::All,
        [axis] => Axes::One(*axis),
        axes => Axes::Several(axes.to_vec()),
    }
}

/// Operations with settings. Axes count the batch as axis 0, as those of a layer do, and from the end if negative.
///
/// ```
/// use ibex::prelude::*;
///
/// # fn main() -> ibex::Result<()> {
/// let series = Input::new([12, 3]);
/// let last = series.index(1, 11);                                     // (None, 3)
/// let score = (&last - series.mean(&[1])).abs().log1p();
/// let model = Model::new(&series, &Dense::new(1).apply(&score))?;
/// assert_eq!(model.predict(&Tensor::rand([2, 12, 3], 0))?.shape(), &Shape::from([2, 1]));
/// # Ok(())
/// # }
/// ```
impl SymbolicTensor {
    #[track_caller]
    fn then(&self, operation: Operation) -> SymbolicTensor {
        apply(operation, vec![self.into()], Location::caller())
    }

    /// `a` where `self` (`bool`) holds, else `b`; all three broadcast.
    #[track_caller]
    pub fn select(&self, a: impl Into<SymbolicOperand>, b: impl Into<SymbolicOperand>) -> SymbolicTensor {
        apply(Operation::Where, vec![self.into(), a.into(), b.into()], Location::caller())
    }

    /// Between `lo` and `hi`; NaN stays.
    #[track_caller]
    pub fn clamp(&self, lo: f32, hi: f32) -> SymbolicTensor {
        self.then(Operation::Clip { x_min: lo, x_max: hi })
    }

    /// Converted to another element type: float to integer truncates and saturates, to `bool` compares with zero.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> SymbolicTensor {
        self.then(Operation::Cast { dtype: dtype_name(dtype).into() })
    }

    /// Index of the largest element along an axis, which goes away, as `i32`: the first of equals.
    #[track_caller]
    pub fn argmax(&self, axis: isize) -> SymbolicTensor {
        self.then(Operation::Argmax { axis, keepdims: false })
    }

    /// Softmax along an axis.
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> SymbolicTensor {
        self.then(Operation::Softmax { axis })
    }

    /// Logarithm of [`SymbolicTensor::softmax`].
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> SymbolicTensor {
        self.then(Operation::LogSoftmax { axis })
    }

    /// One-hot rows of `classes` for integer indices: a new last axis. An index out of range gives zeros.
    #[track_caller]
    pub fn one_hot(&self, classes: usize, dtype: DType) -> SymbolicTensor {
        self.then(Operation::OneHot { num_classes: classes, axis: -1, dtype: dtype_name(dtype).into() })
    }

    /// The same elements of each sample in row-major order under another shape, which is given without the batch axis.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> SymbolicTensor {
        let lengths = shape.into().to_vec().into_iter().map(|length| isize::try_from(length).unwrap_or(-1));
        self.then(Operation::Reshape { newshape: std::iter::once(-1).chain(lengths).map(Some).collect() })
    }

    /// Axes reordered: axis `i` of the result is axis `order[i]`. The batch stays axis 0.
    #[track_caller]
    pub fn permute(&self, order: &[usize]) -> SymbolicTensor {
        self.then(Operation::Transpose { axes: Some(order.iter().map(|&axis| axis as isize).collect()) })
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> SymbolicTensor {
        self.then(Operation::Swapaxes { axis1: a, axis2: b })
    }

    /// The last two axes exchanged.
    #[track_caller]
    pub fn t(&self) -> SymbolicTensor {
        self.transpose(-1, -2)
    }

    /// A new axis of length 1 before `axis`; -1 puts it last.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> SymbolicTensor {
        self.then(Operation::ExpandDims { axis: Axes::One(axis) })
    }

    /// Without an axis of length 1.
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> SymbolicTensor {
        self.then(Operation::Squeeze { axis: Axes::One(axis) })
    }

    /// Reversed along axes.
    #[track_caller]
    pub fn flip(&self, axes: &[isize]) -> SymbolicTensor {
        self.then(Operation::Flip { axis: several(axes) })
    }

    /// Zeros before and after each axis; `(0, 0)` for the batch.
    #[track_caller]
    pub fn pad(&self, pads: &[(usize, usize)]) -> SymbolicTensor {
        self.then(Operation::Pad { pad_width: pads.to_vec(), mode: "constant".into() })
    }

    /// The element at `index` of one axis; the axis goes away. Of an axis of any length it must be there in whatever comes: if not, running the model is an
    /// error.
    #[track_caller]
    pub fn index(&self, axis: isize, index: usize) -> SymbolicTensor {
        let site = Location::caller();
        self.part("index", axis, index, 1, Index::At(isize::try_from(index).unwrap_or(isize::MAX)), site)
    }

    /// `len` elements from `start` on along one axis. Of an axis of any length there are fewer where a batch ends before, as with Keras's slices: the shape
    /// says `len` all the same, and a layer behind that needs all of them reports it when the model runs.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, len: usize) -> SymbolicTensor {
        let site = Location::caller();
        self.part("narrow", axis, start, len, Index::from(Range::new(start, start.saturating_add(len))), site)
    }

    /// `[:, :, part]`. Keras's slices end where an axis does; these have the length that they are given.
    fn part(
        &self,
        name: &str,
        axis: isize,
        start: usize,
        len: usize,
        part: Index,
        site: &'static Location<'static>,
    ) -> SymbolicTensor {
        let checked = || -> Result<usize> {
            self.check()?;
            let rank = self.shape().rank() as isize + 1;
            let place = if axis < 0 { axis + rank } else { axis };
            let place = usize::try_from(place).ok().filter(|&place| (1..rank as usize).contains(&place));
            let place = place.ok_or_else(|| {
                Error::shape(format!(
                    "{name}: {} has no axis {axis} beside the batch",
                    crate::model::batched(self.shape())
                ))
            })?;
            let length = self.shape()[place - 1];
            if length != Shape::ANY && start.saturating_add(len) > length {
                let text = format!("{name}: {len} from {start} on do not lie in axis {axis} of length {length}");
                return Err(Error::shape(text));
            }
            Ok(place)
        };
        match checked() {
            Ok(place) => apply(Operation::GetItem { key: Key::along(place, part) }, vec![self.into()], site),
            Err(error) => SymbolicTensor::broken(error.at(site)),
        }
    }

    /// Tensors of equal shape joined along a new axis; [`Concatenate`](crate::layers::Concatenate) joins them along one that they have.
    #[track_caller]
    pub fn stack(tensors: &[&SymbolicTensor], axis: isize) -> SymbolicTensor {
        let all = tensors.iter().map(|&tensor| tensor.into()).collect();
        apply(Operation::Stack { axis }, all, Location::caller())
    }
}

impl std::ops::Neg for &SymbolicTensor {
    type Output = SymbolicTensor;
    #[track_caller]
    fn neg(self) -> SymbolicTensor {
        self.then(Operation::Negative)
    }
}

impl std::ops::Neg for SymbolicTensor {
    type Output = SymbolicTensor;
    #[track_caller]
    fn neg(self) -> SymbolicTensor {
        -&self
    }
}
