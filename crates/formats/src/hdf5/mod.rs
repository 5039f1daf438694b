//! HDF5 as far as weights need it: groups, attributes, and arrays of numbers.
//!
//! A [`Group`] is a file's tree. One that was read leaves its numbers in the file until [`Dataset::read`] asks for them, and one that is to be
//! written asks for the numbers of each array when its turn comes: neither way needs the memory of all. Reading stands on the crate
//! `hdf5-reader`, which no other module sees. Writing is our own: no crate writes arrays one after another, and what Keras writes
//! (old-style groups, contiguous arrays) has a layout that is known before the first byte.
//!
//! ```
//! use ibex_core::Data;
//! use ibex_formats::hdf5::{Attribute, Dataset, Group};
//!
//! let mut file = Group::default();
//! let vars = file.make("layers/dense/vars")?;
//! vars.attributes.insert("name".into(), Attribute::Text("dense".into()));
//! vars.datasets.insert("0".into(), Dataset::new([2], Data::F32(vec![1.0, 2.0])));
//!
//! let file = Group::from_bytes(file.to_bytes()?)?;
//! let kernel = file.dataset("layers/dense/vars/0").unwrap();
//! assert_eq!((&kernel.shape[..], kernel.read()?.into_owned()), (&[2][..], Data::F32(vec![1.0, 2.0])));
//! # Ok::<(), ibex_core::Error>(())
//! ```

mod attributes;
mod read;
mod write;

use ibex_core::{DType, Data, Error, Result, Shape};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A group of a file, or the whole file.
#[derive(Debug, Default)]
pub struct Group {
    /// What is noted about it.
    pub attributes: BTreeMap<String, Attribute>,
    /// The groups in it.
    pub groups: BTreeMap<String, Group>,
    /// The arrays in it.
    pub datasets: BTreeMap<String, Dataset>,
    /// What else a file has in it, such as arrays of texts, each with its type. It is not written.
    pub others: BTreeMap<String, String>,
}

/// A note about a group or an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// One text.
    Text(String),
    /// Texts in a row.
    Texts(Vec<String>),
    /// Integers in a row, or a single one.
    Ints(Vec<i64>),
    /// Floats in a row, or a single one.
    Floats(Vec<f64>),
}

/// An array.
pub struct Dataset {
    /// Its axes; none for a single number.
    pub shape: Vec<usize>,
    /// The element type that it is read as, or written.
    pub dtype: DType,
    values: Box<dyn Values>,
}

/// Where the numbers of an array come from.
pub trait Values: Send + Sync {
    /// All of them, in row-major order.
    ///
    /// # Errors
    /// If they can not be had.
    fn read(&self) -> Result<Cow<'_, Data>>;

    /// Hands all of them to `take` in order, in parts of any length: an array that is written need not be in memory whole.
    ///
    /// # Errors
    /// As [`Values::read`]; the first of `take`.
    fn read_parts(&self, take: &mut dyn FnMut(&Data) -> Result<()>) -> Result<()> {
        take(&*self.read()?)
    }
}

impl Values for Data {
    fn read(&self) -> Result<Cow<'_, Data>> {
        Ok(Cow::Borrowed(self))
    }
}

impl<F: Fn() -> Result<Data> + Send + Sync> Values for F {
    fn read(&self) -> Result<Cow<'_, Data>> {
        self().map(Cow::Owned)
    }
}

impl Dataset {
    /// An array of numbers that are at hand.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Dataset {
        Dataset { shape: shape.into(), dtype: data.dtype(), values: Box::new(data) }
    }

    /// An array whose numbers are asked for when they are needed: `|| Ok(data)`.
    pub fn lazy(shape: impl Into<Vec<usize>>, dtype: DType, values: impl Values + 'static) -> Dataset {
        Dataset { shape: shape.into(), dtype, values: Box::new(values) }
    }

    /// The numbers, in row-major order.
    ///
    /// # Errors
    /// `Format` if the file is damaged, or the numbers are not as many or not of the type that was announced; `Unsupported` if an integer does
    /// not fit into 32 bits.
    pub fn read(&self) -> Result<Cow<'_, Data>> {
        let data = self.values.read()?;
        self.verify(data.dtype(), data.len())?;
        Ok(data)
    }

    /// Hands the numbers to `take` in order, in parts, so that a large array need not be in memory whole.
    ///
    /// # Errors
    /// As [`Dataset::read`]; the first of `take`.
    pub fn read_parts(&self, mut take: impl FnMut(&Data) -> Result<()>) -> Result<()> {
        let mut count = 0;
        self.values.read_parts(&mut |part| {
            count += part.len();
            match part.dtype() == self.dtype {
                true => take(part),
                false => self.verify(part.dtype(), count),
            }
        })?;
        self.verify(self.dtype, count)
    }

    /// That there are as many numbers as were announced, and of that type.
    fn verify(&self, dtype: DType, count: usize) -> Result<()> {
        if (dtype, Some(count)) == (self.dtype, self.elements()) {
            return Ok(());
        }
        let shape = Shape::from(&self.shape[..]);
        Err(Error::format(format!("an array of {} {shape} holds {count} numbers of type {dtype}", self.dtype)))
    }

    /// The number of elements, if it is a number.
    fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis))
    }
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, Shape::from(&self.shape[..]))
    }
}

impl Group {
    /// Reads a file's tree; the numbers stay in the file, which is kept open.
    ///
    /// # Errors
    /// `Io` if it can not be read; `Format` if it is damaged or not HDF5.
    pub fn open(path: impl AsRef<Path>) -> Result<Group> {
        read::open(path.as_ref())
    }

    /// The tree of `len` bytes of a file, from byte `start` on: a file inside of another.
    ///
    /// # Errors
    /// As [`Group::open`].
    pub fn open_part(file: std::fs::File, start: u64, len: u64) -> Result<Group> {
        read::open_part(file, start, len)
    }

    /// The tree of a file's contents.
    ///
    /// # Errors
    /// `Format` if they are damaged or not HDF5.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Group> {
        read::from_bytes(bytes)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// `Io` if the file system refuses; `Value` if a name or an attribute can not be written; whatever asking for numbers gives.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        ibex_data::io::write_atomic(path, |out| {
            self.plan().and_then(|plan| plan.write(out)).map_err(std::io::Error::other)
        })
    }

    /// The file's contents.
    ///
    /// # Errors
    /// As [`Group::save`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let plan = self.plan()?;
        let mut bytes = Vec::with_capacity(usize::try_from(plan.size()).unwrap_or(0));
        plan.write(&mut bytes)?;
        Ok(bytes)
    }

    /// The file's layout, from which it is written.
    ///
    /// # Errors
    /// `Value` if a name or an attribute can not be written.
    pub fn plan(&self) -> Result<Plan<'_>> {
        write::plan(self)
    }

    /// The group at `path`, names joined by `/`.
    pub fn group(&self, path: &str) -> Option<&Group> {
        parts(path).try_fold(self, |group, name| group.groups.get(name))
    }

    /// The array at `path`, names joined by `/`.
    pub fn dataset(&self, path: &str) -> Option<&Dataset> {
        match path.trim_end_matches('/').rsplit_once('/') {
            Some((groups, name)) => self.group(groups)?.datasets.get(name),
            None => self.datasets.get(path),
        }
    }

    /// The group at `path`, made with those above if it is not there.
    ///
    /// # Errors
    /// `Value` if an array stands there.
    pub fn make(&mut self, path: &str) -> Result<&mut Group> {
        parts(path).try_fold(self, |group, name| {
            if group.datasets.contains_key(name) {
                return Err(Error::value(format!("there is an array {name} where a group of {path:?} should be")));
            }
            Ok(group.groups.entry(name.into()).or_default())
        })
    }

    /// A text attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name)? {
            Attribute::Text(text) => Some(text),
            _ => None,
        }
    }

    /// All arrays with their paths, in the order of names.
    pub fn arrays(&self) -> Vec<(String, &Dataset)> {
        let own = self.datasets.iter().map(|(name, dataset)| (name.clone(), dataset));
        let below = self.groups.iter().flat_map(|(name, group)| {
            group.arrays().into_iter().map(move |(path, dataset)| (format!("{name}/{path}"), dataset))
        });
        own.chain(below).collect()
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

pub use write::Plan;
