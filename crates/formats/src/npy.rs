//! Arrays of NumPy: one in a `.npy` file, many by name in a `.npz` file.
//!
//! ```
//! use ibex_core::Data;
//! use ibex_formats::npy::Array;
//!
//! let bytes = Array::new([2], Data::F32(vec![1.0, 2.0]))?.to_bytes()?;
//! let array = Array::from_bytes(&bytes)?;
//! assert_eq!((&array.shape[..], array.data), (&[2][..], Data::F32(vec![1.0, 2.0])));
//! # Ok::<(), ibex_core::Error>(())
//! ```

use crate::elements::{Encoding, Kind, encode};
use crate::zip::{Reader, Writer};
use ibex_core::{DType, Data, Error, Result, Shape};
use ibex_data::io::{failed, write_atomic};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::Path;

/// The first bytes of every file with one array.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// The largest header that is read; NumPy's own limit is lower.
const MAX_HEADER: usize = 1 << 16;
/// Axes that an array can have, as in NumPy.
const MAX_AXES: usize = 64;

/// Numbers in row-major order, with their axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Axes; none for a single number.
    pub shape: Vec<usize>,
    /// The numbers.
    pub data: Data,
}

impl Array {
    /// An array of axes `shape`.
    ///
    /// # Errors
    /// `Value` if there are more or less numbers than that.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Result<Array> {
        let shape = shape.into();
        if elements(&shape) != Some(data.len()) {
            let text = format!("{} numbers are no array of shape {}", data.len(), Shape::from(&shape[..]));
            return Err(Error::value(text));
        }
        Ok(Array { shape, data })
    }

    /// Reads a `.npy` file: integers, floats and truth values of every width and byte order, in row-major or column-major order. What tensors do
    /// not have becomes what they have: `f64` becomes `f32`, integers `i32` or `u32`.
    ///
    /// # Errors
    /// `Io` if it can not be read; `Format` if it is damaged or no such file; `Unsupported` for other elements (texts, objects, complex numbers),
    /// and for an integer that does not fit into 32 bits.
    pub fn open(path: impl AsRef<Path>) -> Result<Array> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| failed("read", path, &e))?;
        Array::from_bytes(&bytes).map_err(|e| e.context(format!("can not read {}", path.display())))
    }

    /// The array of a `.npy` file's contents.
    ///
    /// # Errors
    /// As [`Array::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Array> {
        let (header, numbers) = split(bytes)?;
        let header = Header::parse(header)?;
        let count = elements(&header.shape).filter(|n| n.checked_mul(header.encoding.size).is_some());
        let Some(bytes) = count.and_then(|n| numbers.get(..n * header.encoding.size)) else {
            let text = format!(
                "an array of shape {} is announced, {} bytes are there",
                Shape::from(&header.shape[..]),
                numbers.len()
            );
            return Err(damaged(&text));
        };
        let data = match header.fortran && header.shape.len() > 1 {
            true => header.encoding.decode(&row_major(bytes, &header.shape, header.encoding.size))?,
            false => header.encoding.decode(bytes)?,
        };
        Ok(Array { shape: header.shape, data })
    }

    /// Writes a `.npy` file, whole or not at all. Brain floats are written as `f32`, since NumPy has none.
    ///
    /// # Errors
    /// `Io` if the file system refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomic(path, |out| self.write(out).map_err(std::io::Error::other))
    }

    /// The contents of a `.npy` file.
    ///
    /// # Errors
    /// `Value` if the array is not of its shape.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let io = |e: std::io::Error| Error::io(format!("the array can not be written: {e}"));
        if elements(&self.shape) != Some(self.data.len()) {
            let text = format!("{} numbers are no array of shape {}", self.data.len(), Shape::from(&self.shape[..]));
            return Err(Error::value(text));
        }
        out.write_all(&header(self.data.dtype(), &self.shape)).map_err(io)?;
        match &self.data {
            Data::BF16(values) => values.iter().try_for_each(|v| out.write_all(&v.to_f32().to_le_bytes())).map_err(io),
            data => out.write_all(&encode(data)).map_err(io),
        }
    }
}

/// The bytes before the numbers: a multiple of 64, as NumPy likes it.
fn header(dtype: DType, shape: &[usize]) -> Vec<u8> {
    let kind = match dtype {
        DType::F32 | DType::BF16 => "<f4",
        DType::F16 => "<f2",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::Bool => "|b1",
    };
    // A tuple of one has a comma behind it.
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let axes = if shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({axes}), }}");
    let len = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text.extend(std::iter::repeat_n(' ', len - 1 - text.len()));
    text.push('\n');
    let mut bytes = [MAGIC, &[1, 0], &(len as u16).to_le_bytes()].concat();
    bytes.extend(text.into_bytes());
    bytes
}

fn damaged(why: &str) -> Error {
    Error::format(format!("the array (.npy) is damaged: {why}"))
}

fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis))
}

/// The text of the header, and the bytes behind it.
fn split(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(Error::format("it is no array of NumPy: it does not begin as a .npy file does"));
    };
    let short = || damaged("it ends in its header");
    let (len, rest) = match *rest {
        [1, _, a, b, ref rest @ ..] => (u32::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, _, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]), rest),
        [version, _, ..] if version > 3 => {
            return Err(Error::unsupported(format!("arrays (.npy) of version {version} are not read, up to 3 are")));
        }
        _ => return Err(short()),
    };
    let len =
        usize::try_from(len).ok().filter(|&len| len <= MAX_HEADER).ok_or_else(|| damaged("its header is too long"))?;
    let (header, numbers) = rest.split_at_checked(len).ok_or_else(short)?;
    let header = std::str::from_utf8(header).map_err(|_| damaged("its header is no text"))?;
    Ok((header, numbers))
}

struct Header {
    encoding: Encoding,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, a Python dictionary whose texts have no quotes in them.
    fn parse(text: &str) -> Result<Header> {
        let entry = |key: &str| -> Result<&str> {
            let quoted = [format!("'{key}'"), format!("\"{key}\"")];
            let rest = quoted.iter().find_map(|key| text.split_once(&key[..])).map(|(_, rest)| rest.trim_start());
            let rest = rest.and_then(|rest| rest.strip_prefix(':'));
            rest.map(str::trim_start).ok_or_else(|| damaged(&format!("its header has no entry {key:?}")))
        };
        let fortran = match entry("fortran_order")? {
            rest if rest.starts_with("True") => true,
            rest if rest.starts_with("False") => false,
            _ => return Err(damaged("its order is neither True nor False")),
        };
        let shape = entry("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (shape, _) = shape.ok_or_else(|| damaged("its shape is no tuple"))?;
        // `L` is how old versions of Python mark long numbers.
        let axes = shape.split(',').map(|axis| axis.trim().trim_end_matches('L')).filter(|axis| !axis.is_empty());
        let shape: Vec<usize> = axes
            .map(|axis| axis.parse().map_err(|_| damaged(&format!("{axis:?} in its shape is no number"))))
            .collect::<Result<_>>()?;
        if shape.len() > MAX_AXES {
            return Err(damaged("it has more axes than NumPy allows"));
        }
        let descr = entry("descr")?;
        let quoted = descr.strip_prefix(['\'', '"']).and_then(|rest| rest.split_once(['\'', '"']));
        let (descr, _) =
            quoted.ok_or_else(|| Error::unsupported("arrays of records are not supported; save each field"))?;
        Ok(Header { encoding: encoding(descr)?, fortran, shape })
    }
}

/// How the numbers of NumPy's type `descr` stand.
fn encoding(descr: &str) -> Result<Encoding> {
    let unknown = || {
        let advice = match descr.trim_start_matches(['<', '>', '|', '=']).chars().next() {
            Some('O') => " (Python objects, which are pickled; save arrays of numbers)",
            Some('U' | 'S') => " (texts)",
            Some('c') => " (complex numbers)",
            _ => "",
        };
        Error::unsupported(format!("elements of type {descr:?}{advice} are not supported"))
    };
    let mut letters = descr.chars();
    let big_endian = match letters.next() {
        Some('>') => true,
        Some('<' | '|' | '=') => false,
        _ => return Err(unknown()),
    };
    let kind = match letters.next() {
        Some('f') => Kind::Float,
        Some('i') => Kind::Int,
        Some('u') => Kind::Uint,
        Some('b') => Kind::Bool,
        _ => return Err(unknown()),
    };
    let size = letters.as_str().parse().map_err(|_| unknown())?;
    Encoding::new(kind, size, big_endian).map_err(|_| unknown())
}

/// The bytes of a column-major array in row-major order.
fn row_major(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut strides = Vec::new();
    let mut stride = size;
    for &axis in shape {
        strides.push(stride);
        stride *= axis;
    }
    let mut into = Vec::with_capacity(bytes.len());
    let mut index = vec![0; shape.len()];
    let mut place = 0;
    for _ in 0..bytes.len() / size {
        into.extend_from_slice(&bytes[place..place + size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            place += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            place -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    into
}

/// Reads a `.npz` file: arrays by name, in the order of the file.
///
/// # Errors
/// As [`Array::open`].
pub fn open_npz(path: impl AsRef<Path>) -> Result<Vec<(String, Array)>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| failed("read", path, &e))?;
    read_npz(BufReader::new(file)).map_err(|e| e.context(format!("can not read {}", path.display())))
}

/// The arrays of a `.npz` file's contents.
///
/// # Errors
/// As [`open_npz`].
pub fn npz_from_bytes(bytes: &[u8]) -> Result<Vec<(String, Array)>> {
    read_npz(Cursor::new(bytes))
}

fn read_npz(reader: impl Read + Seek) -> Result<Vec<(String, Array)>> {
    let mut zip = Reader::new(reader)?;
    let names = zip.names();
    let array = |file: String| -> Result<(String, Array)> {
        let array = zip.read(&file, u64::MAX).and_then(|bytes| Array::from_bytes(&bytes));
        let name = file.strip_suffix(".npy").unwrap_or(&file).to_string();
        array.map_err(|e| e.context(format!("array {name}"))).map(|array| (name, array))
    };
    names.into_iter().map(array).collect()
}

/// Writes a `.npz` file, nothing compressed, whole or not at all.
///
/// # Errors
/// `Io` if the file system refuses; `Value` if two names are equal or an array is not of its shape.
pub fn save_npz<'a>(path: impl AsRef<Path>, arrays: impl IntoIterator<Item = (&'a str, &'a Array)>) -> Result<()> {
    write_atomic(path, |out| write_npz(out, arrays).map_err(std::io::Error::other))
}

/// The contents of a `.npz` file.
///
/// # Errors
/// As [`save_npz`].
pub fn npz_to_bytes<'a>(arrays: impl IntoIterator<Item = (&'a str, &'a Array)>) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    write_npz(&mut bytes, arrays)?;
    Ok(bytes.into_inner())
}

fn write_npz<'a>(out: impl Write + Seek, arrays: impl IntoIterator<Item = (&'a str, &'a Array)>) -> Result<()> {
    let mut zip = Writer::new(out);
    for (name, array) in arrays {
        let size = 4096 + array.data.as_bytes().len() as u64 * 2;
        zip.add(&format!("{name}.npy"), size, |out| array.write(out))?;
    }
    let mut out = zip.finish()?;
    out.flush().map_err(|e| Error::io(format!("the arrays can not be written: {e}")))
}
