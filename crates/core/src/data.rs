//! Typed numbers in host memory.

use crate::{DType, Error, Result};
use half::{bf16, f16};
use std::panic::Location;

/// A flat array of one element type in host memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `f32` elements.
    F32(Vec<f32>),
    /// `f16` elements.
    F16(Vec<f16>),
    /// `bf16` elements.
    BF16(Vec<bf16>),
    /// `i32` elements.
    I32(Vec<i32>),
    /// `u32` elements.
    U32(Vec<u32>),
    /// Truth values, each a `u32` that is 0 or 1, as devices hold them.
    Bool(Vec<u32>),
}

/// Runs `$body` with `$v` bound to the typed vector inside a [`Data`].
macro_rules! each {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            Data::F32($v) => $body,
            Data::F16($v) => $body,
            Data::BF16($v) => $body,
            Data::I32($v) => $body,
            Data::U32($v) | Data::Bool($v) => $body,
        }
    };
}

impl Data {
    /// `len` zeros.
    pub fn zeros(dtype: DType, len: usize) -> Data {
        match dtype {
            DType::F32 => Data::F32(vec![0.0; len]),
            DType::F16 => Data::F16(vec![f16::ZERO; len]),
            DType::BF16 => Data::BF16(vec![bf16::ZERO; len]),
            DType::I32 => Data::I32(vec![0; len]),
            DType::U32 => Data::U32(vec![0; len]),
            DType::Bool => Data::Bool(vec![0; len]),
        }
    }

    /// Values converted from `f64`: rounded for floats, truncated for integers.
    pub fn from_f64(dtype: DType, values: &[f64]) -> Data {
        match dtype {
            DType::F32 => Data::F32(values.iter().map(|&v| v as f32).collect()),
            DType::F16 => Data::F16(values.iter().map(|&v| f16::from_f64(v)).collect()),
            DType::BF16 => Data::BF16(values.iter().map(|&v| bf16::from_f64(v)).collect()),
            DType::I32 => Data::I32(values.iter().map(|&v| v as i32).collect()),
            DType::U32 => Data::U32(values.iter().map(|&v| v as u32).collect()),
            DType::Bool => Data::Bool(values.iter().map(|&v| u32::from(v != 0.0)).collect()),
        }
    }

    /// The numbers, where they are of this type. Truth values, which are held as `u32`, can only be copied by [`Data::to_vec`].
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        T::slice(self)
    }

    /// A copy of the numbers.
    ///
    /// # Errors
    /// `DType` if they are of another type: [`Data::to_f64`] takes any.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let site = Location::caller();
        T::unwrap(self.clone()).ok_or_else(|| {
            let text = format!("these numbers are {}, not {}; `to_f64` converts them", self.dtype(), T::DTYPE);
            Error::dtype(text).at(site)
        })
    }

    /// The values widened to `f64`.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Data::F32(v) => v.iter().map(|&v| f64::from(v)).collect(),
            Data::F16(v) => v.iter().map(|v| v.to_f64()).collect(),
            Data::BF16(v) => v.iter().map(|v| v.to_f64()).collect(),
            Data::I32(v) => v.iter().map(|&v| f64::from(v)).collect(),
            Data::U32(v) | Data::Bool(v) => v.iter().map(|&v| f64::from(v)).collect(),
        }
    }

    /// Values from device memory.
    ///
    /// # Errors
    /// `Format` if the number of bytes is no multiple of the element size.
    pub fn from_bytes(dtype: DType, bytes: &[u8]) -> Result<Data> {
        if !bytes.len().is_multiple_of(dtype.size()) {
            return Err(Error::format(format!("{} bytes are no whole number of {dtype} elements", bytes.len())));
        }
        let mut data = Data::zeros(dtype, bytes.len() / dtype.size());
        data.as_bytes_mut().copy_from_slice(bytes);
        Ok(data)
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::F16(_) => DType::F16,
            Data::BF16(_) => DType::BF16,
            Data::I32(_) => DType::I32,
            Data::U32(_) => DType::U32,
            Data::Bool(_) => DType::Bool,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes as devices hold them (little-endian on every supported target).
    pub fn as_bytes(&self) -> &[u8] {
        each!(self, v => bytemuck::cast_slice(v))
    }

    /// The bytes, to be written.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        each!(self, v => bytemuck::cast_slice_mut(v))
    }
}

/// A Rust type that is a tensor element.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no element of a tensor",
    label = "not `f32`, `f16`, `bf16`, `i32`, `u32` or `bool`",
    note = "convert numbers first: `values.iter().map(|&v| v as f32).collect::<Vec<f32>>()`; class numbers and indices `as i32`",
    note = "nested vectors become a tensor by `Tensor::from_vec(rows.concat(), [rows, columns])`"
)]
pub trait Element: Copy + Send + Sync + 'static {
    /// Its element type.
    const DTYPE: DType;
    /// A vector of it as [`Data`].
    fn wrap(values: Vec<Self>) -> Data;
    /// The typed vector; `None` for another element type.
    fn unwrap(data: Data) -> Option<Vec<Self>>;
    /// The numbers where they are; `None` for another element type, and for one that [`Data`] holds in another form.
    fn slice(data: &Data) -> Option<&[Self]>;
}

macro_rules! element {
    ($ty:ty, $variant:ident) => {
        impl Element for $ty {
            const DTYPE: DType = DType::$variant;
            fn wrap(values: Vec<Self>) -> Data {
                Data::$variant(values)
            }
            fn unwrap(data: Data) -> Option<Vec<Self>> {
                match data {
                    Data::$variant(values) => Some(values),
                    _ => None,
                }
            }
            fn slice(data: &Data) -> Option<&[Self]> {
                match data {
                    Data::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}

element!(f32, F32);
element!(f16, F16);
element!(bf16, BF16);
element!(i32, I32);
element!(u32, U32);

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn wrap(values: Vec<Self>) -> Data {
        Data::Bool(values.into_iter().map(u32::from).collect())
    }
    fn unwrap(data: Data) -> Option<Vec<Self>> {
        match data {
            Data::Bool(values) => Some(values.into_iter().map(|v| v != 0).collect()),
            _ => None,
        }
    }
    fn slice(_data: &Data) -> Option<&[Self]> {
        None
    }
}
