//! Runtime shapes.

use std::fmt;
use std::ops::Deref;

/// The lengths of a tensor's axes, outermost first. A scalar has no axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// In the shape of what is not there yet, an input of a model, the length of an axis that is known only with the numbers: Keras's `None`. No tensor
    /// has it.
    pub const ANY: usize = usize::MAX;

    /// A shape from axis lengths.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Shape(dims.into())
    }

    /// Number of elements: the product of the lengths, 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Row-major element strides.
    pub fn strides(&self) -> Vec<i64> {
        let mut strides = vec![1; self.0.len()];
        for axis in (1..self.0.len()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis] as i64;
        }
        strides
    }

    /// `axis` counted from the end if negative; `None` when out of range.
    pub fn axis(&self, axis: isize) -> Option<usize> {
        let rank = self.0.len() as isize;
        let axis = if axis < 0 { axis + rank } else { axis };
        (0..rank).contains(&axis).then_some(axis as usize)
    }

    /// The shape both operands of an elementwise operation are broadcast to (NumPy's rule: align
    /// at the last axis, lengths must be equal or 1); `None` when there is none.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(1, |j| s.0[j]);
        (0..rank)
            .map(|i| match (at(self, i), at(other, i)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }

    /// Does a shape have these lengths, or any where this is [`Shape::ANY`]?
    pub fn admits(&self, other: &[usize]) -> bool {
        self.rank() == other.len() && self.0.iter().zip(other).all(|(a, b)| *a == Shape::ANY || a == b)
    }

    /// The lengths as an owned vector.
    pub fn to_vec(&self) -> Vec<usize> {
        self.0.clone()
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Shape(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Shape(dims.to_vec())
    }
}

/// The length of an axis in a tuple: a number, or `None` for [`Shape::ANY`].
pub trait Length {
    /// As a number.
    fn length(self) -> usize;
}

impl Length for usize {
    fn length(self) -> usize {
        self
    }
}

impl Length for Option<usize> {
    fn length(self) -> usize {
        self.unwrap_or(Shape::ANY)
    }
}

/// `(None, 8)`: the shape of an input whose first axis has any length.
macro_rules! tuples {
    ($(($($name:ident $field:tt),+))+) => { $(
        impl<$($name: Length),+> From<($($name,)+)> for Shape {
            fn from(lengths: ($($name,)+)) -> Self {
                Shape(vec![$(lengths.$field.length()),+])
            }
        }
    )+ };
}

tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) }

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        shape.clone()
    }
}

impl From<usize> for Shape {
    fn from(dim: usize) -> Self {
        Shape(vec![dim])
    }
}

/// Written as Python writes a tuple: `(128, 10)`, `(10,)`, `()`, and `None` for [`Shape::ANY`].
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match *dim {
                Shape::ANY => f.write_str("None")?,
                dim => write!(f, "{dim}")?,
            }
        }
        f.write_str(if self.0.len() == 1 { ",)" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn axes_of_any_length() {
        let shape = Shape::from((None, 3, None));
        assert_eq!(shape, Shape::from([Shape::ANY, 3, Shape::ANY]));
        assert_eq!(shape.to_string(), "(None, 3, None)");
        assert_eq!(Shape::from((None,)).to_string(), "(None,)");
        assert!(shape.admits(&[1, 3, 9]) && shape.admits(&shape));
        assert!(!shape.admits(&[1, 2, 9]) && !shape.admits(&[1, 3]) && !Shape::from([4]).admits(&[Shape::ANY]));
    }

    /// No tensor has such a shape, and nothing overflows.
    #[test]
    fn are_those_of_no_tensor() {
        let zeros = crate::Tensor::zeros((None, 3), crate::DType::F32);
        assert!(zeros.check().is_err_and(|e| e.to_string().contains("(None, 3)")), "{zeros:?}");
    }
}
