//! Element types and scalars.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float; arithmetic runs in `f32` and rounds when stored.
    F16,
    /// 16-bit brain float; arithmetic runs in `f32` and rounds when stored.
    BF16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// Truth value. Stored as a `u32` that is 0 or 1, since WGSL buffers hold no bytes.
    Bool,
}

impl DType {
    /// Bytes of one element in device memory.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 | DType::U32 | DType::Bool => 4,
            DType::F16 | DType::BF16 => 2,
        }
    }

    /// True for `F32`, `F16` and `BF16`.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16)
    }

    /// True for `I32` and `U32`.
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I32 | DType::U32)
    }

    /// The lower-case name: `"f32"`, `"bool"`, ...
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One number, as it stands in a graph or a kernel. Floats of every width are held as `f32`.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    /// A float.
    Float(f32),
    /// A signed integer.
    Int(i32),
    /// An unsigned integer.
    Uint(u32),
    /// A truth value.
    Bool(bool),
}

impl Scalar {
    /// The number as `f64`; a truth value is 0 or 1.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Float(v) => f64::from(v),
            Scalar::Int(v) => f64::from(v),
            Scalar::Uint(v) => f64::from(v),
            Scalar::Bool(v) => f64::from(u8::from(v)),
        }
    }

    /// `value` as the register type of `dtype`: rounded to `f32`, truncated to an integer
    /// (saturating), or compared with zero.
    pub fn from_f64(value: f64, dtype: DType) -> Scalar {
        match dtype {
            DType::F32 => Scalar::Float(value as f32),
            DType::F16 => Scalar::Float(half::f16::from_f64(value).to_f32()),
            DType::BF16 => Scalar::Float(half::bf16::from_f64(value).to_f32()),
            DType::I32 => Scalar::Int(value as i32),
            DType::U32 => Scalar::Uint(value as u32),
            DType::Bool => Scalar::Bool(value != 0.0),
        }
    }

    /// The bit pattern, which makes scalars comparable and hashable (NaN equals itself).
    pub fn bits(self) -> (u8, u32) {
        match self {
            Scalar::Float(v) => (0, v.to_bits()),
            Scalar::Int(v) => (1, v as u32),
            Scalar::Uint(v) => (2, v),
            Scalar::Bool(v) => (3, u32::from(v)),
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Scalar {}

impl std::hash::Hash for Scalar {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Float(v) => write!(f, "{v}"),
            Scalar::Int(v) => write!(f, "{v}i"),
            Scalar::Uint(v) => write!(f, "{v}u"),
            Scalar::Bool(v) => write!(f, "{v}"),
        }
    }
}
