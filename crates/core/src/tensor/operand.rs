//! What stands on either side of an operator: tensors, variables, plain numbers.

use super::{Tensor, Variable};
use crate::{DType, Error, Scalar};
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::panic::Location;

/// An operand: a tensor, or a number that takes the element type of the tensor beside it.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A tensor.
    Tensor(Tensor),
    /// A number.
    Number(f64),
}

impl Operand {
    /// As a tensor of `dtype` if it is a number; a fraction has no integer type.
    pub(crate) fn tensor(self, dtype: DType, site: &'static Location<'static>) -> Tensor {
        match self {
            Operand::Tensor(tensor) => tensor,
            Operand::Number(v) if !dtype.is_float() && v.fract() != 0.0 => Tensor::poisoned(
                Error::dtype(format!("{v} does not fit element type {dtype}; cast the tensor to a float type first"))
                    .at(site),
            ),
            Operand::Number(v) => Tensor::full_at([], Scalar::from_f64(v, dtype), dtype, site),
        }
    }
}

impl From<Tensor> for Operand {
    fn from(tensor: Tensor) -> Self {
        Operand::Tensor(tensor)
    }
}

impl From<&Tensor> for Operand {
    fn from(tensor: &Tensor) -> Self {
        Operand::Tensor(tensor.clone())
    }
}

impl From<&Variable> for Operand {
    fn from(variable: &Variable) -> Self {
        Operand::Tensor(variable.value())
    }
}

impl From<&Variable> for Tensor {
    fn from(variable: &Variable) -> Self {
        variable.value()
    }
}

impl From<&Tensor> for Tensor {
    fn from(tensor: &Tensor) -> Self {
        tensor.clone()
    }
}

macro_rules! numbers {
    ($($ty:ty),*) => { $(
        impl From<$ty> for Operand {
            fn from(value: $ty) -> Self {
                Operand::Number(f64::from(value))
            }
        }
    )* };
}

numbers!(f32, f64, i32, u32);

/// `a + b` and its kind for every pairing of tensors, references, variables and numbers.
macro_rules! operators {
    ($($trait:ident $method:ident),*) => { $(
        impl<R: Into<Operand>> $trait<R> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: R) -> Tensor {
                Tensor::$method(&self, rhs)
            }
        }
        impl<R: Into<Operand>> $trait<R> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: R) -> Tensor {
                Tensor::$method(self, rhs)
            }
        }
        impl<R: Into<Operand>> $trait<R> for &Variable {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: R) -> Tensor {
                Tensor::$method(&self.value(), rhs)
            }
        }
        operators!(@numbers $trait $method f32 i32);
    )* };
    (@numbers $trait:ident $method:ident $($ty:ty)*) => { $(
        impl $trait<Tensor> for $ty {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: Tensor) -> Tensor {
                Tensor::$method(&Operand::from(self).tensor(rhs.dtype(), Location::caller()), rhs)
            }
        }
        impl $trait<&Tensor> for $ty {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: &Tensor) -> Tensor {
                Tensor::$method(&Operand::from(self).tensor(rhs.dtype(), Location::caller()), rhs)
            }
        }
    )* };
}

operators!(Add add, Sub sub, Mul mul, Div div, Rem rem);

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(&self)
    }
}

impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(self)
    }
}
