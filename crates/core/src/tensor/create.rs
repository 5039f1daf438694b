//! Tensors from nothing: constants, counters, random numbers.

use super::Tensor;
use crate::graph::{Literal, Op};
use crate::{DType, Data, Element, Error, Scalar, Shape};
use std::panic::Location;
use std::sync::Arc;

impl Tensor {
    /// A tensor of the given numbers in row-major order.
    ///
    /// Poisoned if there are not as many numbers as the shape has elements.
    #[track_caller]
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl Into<Shape>) -> Tensor {
        Tensor::from_data(T::wrap(values), shape)
    }

    /// A tensor of host numbers in row-major order; the memory is shared, not copied, if it comes in an `Arc`.
    ///
    /// Poisoned if there are not as many numbers as the shape has elements.
    #[track_caller]
    pub fn from_data(data: impl Into<Arc<Data>>, shape: impl Into<Shape>) -> Tensor {
        let (data, shape) = (data.into(), shape.into());
        if super::too_large(&shape).is_some() || data.len() != shape.elements() {
            return Tensor::poisoned(Error::shape(format!(
                "{} numbers do not fill shape {shape}; give as many as the product of its axes",
                data.len(),
            )));
        }
        let dtype = data.dtype();
        Tensor::node(Op::Constant(Literal(data)), Vec::new(), shape, dtype, Location::caller())
    }

    /// A scalar.
    #[track_caller]
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::from_vec(vec![value], [])
    }

    /// Every element is `value`, converted to `dtype` (floats are rounded, integers truncated).
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, value: f64, dtype: DType) -> Tensor {
        Tensor::full_at(shape, Scalar::from_f64(value, dtype), dtype, Location::caller())
    }

    pub(crate) fn full_at(
        shape: impl Into<Shape>,
        value: Scalar,
        dtype: DType,
        site: &'static Location<'static>,
    ) -> Tensor {
        Tensor::node(Op::Full(value), Vec::new(), shape.into(), dtype, site)
    }

    /// Zeros.
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Tensor {
        Tensor::full(shape, 0.0, dtype)
    }

    /// Ones.
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, dtype: DType) -> Tensor {
        Tensor::full(shape, 1.0, dtype)
    }

    /// `i32`: the coordinate of each element along `axis`, counted from the end if negative.
    #[track_caller]
    pub fn iota(shape: impl Into<Shape>, axis: isize) -> Tensor {
        let shape = shape.into();
        match shape.axis(axis) {
            Some(axis) => Tensor::node(Op::Iota(axis), Vec::new(), shape, DType::I32, Location::caller()),
            None => Tensor::poisoned(Error::shape(format!("iota: shape {shape} has no axis {axis}"))),
        }
    }

    /// `0, 1, .., len - 1` as `i32 (len,)`.
    #[track_caller]
    pub fn arange(len: usize) -> Tensor {
        Tensor::iota([len], 0)
    }

    /// The identity matrix, `f32 (n, n)`.
    #[track_caller]
    pub fn eye(n: usize) -> Tensor {
        Tensor::iota([n, n], 0).eq(Tensor::iota([n, n], 1)).cast(DType::F32)
    }

    /// Random bits, `u32`: Threefry-2x32-20 of the row-major index and `stream` under `key`, `u32 (2,)`. The same key and stream give the same
    /// bits on every device; distinct streams under one key are independent.
    #[track_caller]
    pub fn random_bits(key: impl Into<Tensor>, stream: u32, shape: impl Into<Shape>) -> Tensor {
        Tensor::record(Op::Random(stream), vec![key.into()], Some(shape.into()), Location::caller())
    }

    /// Uniform `f32` numbers in `[0, 1)`, multiples of 2^-24, from [`Tensor::random_bits`].
    #[track_caller]
    pub fn random_uniform(key: impl Into<Tensor>, stream: u32, shape: impl Into<Shape>) -> Tensor {
        let bits = Tensor::random_bits(key, stream, shape);
        bits.shr(8).cast(DType::F32) * 2f32.powi(-24)
    }

    /// Standard normal `f32` numbers by the Box-Muller transform. Uses streams `stream` and `stream + 1`.
    #[track_caller]
    pub fn random_normal(key: impl Into<Tensor>, stream: u32, shape: impl Into<Shape>) -> Tensor {
        let (key, shape) = (key.into(), shape.into());
        // 1 - u lies in (0, 1], so that the logarithm is finite.
        let radius = (1.0 - Tensor::random_uniform(&key, stream, &shape)).log() * -2.0;
        let angle = Tensor::random_uniform(&key, stream.wrapping_add(1), &shape) * std::f32::consts::TAU;
        radius.sqrt() * angle.cos()
    }

    /// The key for random numbers that belong to a seed.
    #[track_caller]
    pub fn random_key(seed: u64) -> Tensor {
        Tensor::from_vec(vec![seed as u32, (seed >> 32) as u32], [2])
    }

    /// Standard normal `f32` numbers from a seed.
    #[track_caller]
    pub fn randn(shape: impl Into<Shape>, seed: u64) -> Tensor {
        Tensor::random_normal(Tensor::random_key(seed), 0, shape)
    }

    /// Uniform `f32` numbers in `[0, 1)` from a seed.
    #[track_caller]
    pub fn rand(shape: impl Into<Shape>, seed: u64) -> Tensor {
        Tensor::random_uniform(Tensor::random_key(seed), 0, shape)
    }
}

/// One axis.
impl<T: Element> From<Vec<T>> for Tensor {
    #[track_caller]
    fn from(values: Vec<T>) -> Tensor {
        let len = values.len();
        Tensor::from_vec(values, [len])
    }
}

/// One axis.
impl<T: Element> From<&[T]> for Tensor {
    #[track_caller]
    fn from(values: &[T]) -> Tensor {
        Tensor::from(values.to_vec())
    }
}

/// One axis: `Tensor::from([1.0, 2.0])`.
impl<T: Element, const N: usize> From<[T; N]> for Tensor {
    #[track_caller]
    fn from(values: [T; N]) -> Tensor {
        Tensor::from_vec(values.to_vec(), [N])
    }
}

/// Rows and columns: `Tensor::from([[1.0, 2.0], [3.0, 4.0]])`.
impl<T: Element, const N: usize, const M: usize> From<[[T; M]; N]> for Tensor {
    #[track_caller]
    fn from(values: [[T; M]; N]) -> Tensor {
        Tensor::from_vec(values.concat(), [N, M])
    }
}

/// Three axes, outermost first.
impl<T: Element, const N: usize, const M: usize, const L: usize> From<[[[T; L]; M]; N]> for Tensor {
    #[track_caller]
    fn from(values: [[[T; L]; M]; N]) -> Tensor {
        Tensor::from_vec(values.concat().concat(), [N, M, L])
    }
}
