//! Numbers as they stand in files, and as tensors hold them.

use half::{bf16, f16};
use ibex_core::{DType, Data, Error, Result};
use std::fmt;

/// What a number in a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IEEE float of 2, 4 or 8 bytes.
    Float,
    /// A brain float of 2 bytes.
    Brain,
    /// A signed integer of 1, 2, 4 or 8 bytes.
    Int,
    /// An unsigned integer of 1, 2, 4 or 8 bytes.
    Uint,
    /// A truth value of 1 byte.
    Bool,
}

/// How the numbers of an array stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// What they are.
    pub kind: Kind,
    /// Bytes of each.
    pub size: usize,
    /// True if the highest byte comes first.
    pub big_endian: bool,
}

impl Encoding {
    /// Numbers of `size` bytes.
    ///
    /// # Errors
    /// `Unsupported` if there are none of that size.
    pub fn new(kind: Kind, size: usize, big_endian: bool) -> Result<Encoding> {
        let known = match kind {
            Kind::Float => [2, 4, 8].contains(&size),
            Kind::Brain => size == 2,
            Kind::Int | Kind::Uint => [1, 2, 4, 8].contains(&size),
            Kind::Bool => size == 1,
        };
        if known {
            return Ok(Encoding { kind, size, big_endian });
        }
        Err(Error::unsupported(format!("numbers of type {kind:?} with {size} bytes are not supported")))
    }

    /// How elements of a tensor are written: little-endian and as wide as they are, truth values as one byte.
    pub fn of(dtype: DType) -> Encoding {
        let (kind, size) = match dtype {
            DType::F32 => (Kind::Float, 4),
            DType::F16 => (Kind::Float, 2),
            DType::BF16 => (Kind::Brain, 2),
            DType::I32 => (Kind::Int, 4),
            DType::U32 => (Kind::Uint, 4),
            DType::Bool => (Kind::Bool, 1),
        };
        Encoding { kind, size, big_endian: false }
    }

    /// The element type that the numbers are read as: `f64` becomes `f32`, integers of every width `i32` or `u32`.
    pub fn dtype(self) -> DType {
        match self.kind {
            Kind::Float if self.size == 2 => DType::F16,
            Kind::Float => DType::F32,
            Kind::Brain => DType::BF16,
            Kind::Int => DType::I32,
            Kind::Uint => DType::U32,
            Kind::Bool => DType::Bool,
        }
    }

    /// True if the bytes in the file are those in memory.
    pub fn is_plain(self) -> bool {
        let dtype = self.dtype();
        !self.big_endian && self.size == dtype.size() && dtype != DType::Bool && cfg!(target_endian = "little")
    }

    /// The numbers that `bytes` hold.
    ///
    /// # Errors
    /// `Format` if `bytes` are no whole number of elements; `Unsupported` if an integer does not fit into 32 bits.
    pub fn decode(self, bytes: &[u8]) -> Result<Data> {
        if !bytes.len().is_multiple_of(self.size) {
            return Err(Error::format(format!("{} bytes are no whole number of {self} elements", bytes.len())));
        }
        if self.is_plain() {
            return Data::from_bytes(self.dtype(), bytes);
        }
        let words = bytes.chunks_exact(self.size).map(|element| {
            let shift = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
            if self.big_endian { element.iter().fold(0, shift) } else { element.iter().rev().fold(0, shift) }
        });
        let wide = |value: &dyn fmt::Display| {
            Error::unsupported(format!(
                "the {self} number {value} does not fit into 32 bits, which is all that tensors have"
            ))
        };
        // The sign bit of a narrow integer is moved to the top and back.
        let unused = 64 - 8 * self.size as u32;
        Ok(match (self.kind, self.size) {
            (Kind::Float, 8) => Data::F32(words.map(|w| f64::from_bits(w) as f32).collect()),
            (Kind::Float, 4) => Data::F32(words.map(|w| f32::from_bits(w as u32)).collect()),
            (Kind::Float, _) => Data::F16(words.map(|w| f16::from_bits(w as u16)).collect()),
            (Kind::Brain, _) => Data::BF16(words.map(|w| bf16::from_bits(w as u16)).collect()),
            (Kind::Int, _) => {
                let signed = words.map(|w| ((w << unused) as i64) >> unused);
                Data::I32(signed.map(|v| i32::try_from(v).map_err(|_| wide(&v))).collect::<Result<_>>()?)
            }
            (Kind::Uint, _) => Data::U32(words.map(|v| u32::try_from(v).map_err(|_| wide(&v))).collect::<Result<_>>()?),
            (Kind::Bool, _) => Data::Bool(words.map(|w| u32::from(w != 0)).collect()),
        })
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Brain => f.write_str("bf16"),
            Kind::Bool => f.write_str("bool"),
            Kind::Float => write!(f, "f{}", 8 * self.size),
            Kind::Int => write!(f, "i{}", 8 * self.size),
            Kind::Uint => write!(f, "u{}", 8 * self.size),
        }
    }
}

/// The bytes of `data` as [`Encoding::of`] describes them.
pub fn encode(data: &Data) -> std::borrow::Cow<'_, [u8]> {
    match data {
        Data::Bool(values) => values.iter().map(|&v| u8::from(v != 0)).collect::<Vec<u8>>().into(),
        _ => data.as_bytes().into(),
    }
}
