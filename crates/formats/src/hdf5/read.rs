//! Reading, over the crate `hdf5-reader`.

use super::{Dataset, Group, Values, attributes};
use crate::elements::{Encoding, Kind};
use hdf5_reader::{ByteOrder, Datatype, Hdf5File, OpenOptions, RangeRequestStorage, SliceInfo, SliceInfoElem, Storage};
use ibex_core::{DType, Data, Error, Result};
use ibex_data::io::failed;
use std::borrow::Cow;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Groups in groups; a loop of links would have no end.
const MAX_DEPTH: usize = 64;
/// Files up to this size are read at once.
const SMALL: u64 = 1 << 20;
/// Arrays above this size are read in pieces if they are not compressed, so that no second copy is made of them.
const PIECE: usize = 64 << 10;
/// The decoded form of a file may be larger than the file by compression only, and not without end.
const EXPANSION: u64 = 1100;
const MAX_EXPANDED: u64 = 256 << 20;
const MAX_CHUNK: usize = 64 << 20;
const MAX_HEADER: usize = 16 << 20;

pub(super) fn open(path: &Path) -> Result<Group> {
    let file = File::open(path).map_err(|e| failed("read", path, &e))?;
    let len = file.metadata().map_err(|e| failed("read", path, &e))?.len();
    open_part(file, 0, len).map_err(|e| e.context(format!("can not read {}", path.display())))
}

pub(super) fn open_part(mut file: File, start: u64, len: u64) -> Result<Group> {
    let io = |e: std::io::Error| Error::io(format!("the file can not be read: {e}"));
    if len <= SMALL {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        file.take(len).read_to_end(&mut bytes).map_err(io)?;
        return from_bytes(bytes);
    }
    let file = Mutex::new(file);
    let storage = RangeRequestStorage::new(len, move |offset, len| {
        // A panic of another reader leaves nothing half done here: the place is set anew.
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(start.saturating_add(offset)))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    });
    tree(Arc::new(storage))
}

pub(super) fn from_bytes(bytes: Vec<u8>) -> Result<Group> {
    tree(Arc::new(hdf5_reader::BytesStorage::new(bytes)))
}

fn tree(storage: Arc<dyn Storage>) -> Result<Group> {
    let len = storage.len();
    let options = OpenOptions {
        chunk_cache_bytes: 0,
        max_chunk_bytes: MAX_CHUNK,
        max_object_header_bytes: MAX_HEADER,
        ..OpenOptions::default()
    };
    let file = Hdf5File::from_storage_with_options(storage, options).map_err(damaged)?;
    let mut limits = Limits {
        // An object takes more bytes than this.
        objects: len / 32 + 16,
        attributes: (len * 4).min(MAX_EXPANDED) + (1 << 20),
        largest: len.max((len * EXPANSION).min(MAX_EXPANDED)),
    };
    group(&file.root_group().map_err(damaged)?, MAX_DEPTH, &mut limits)
}

/// What a file of its size may still hold.
struct Limits {
    objects: u64,
    /// Bytes of attributes.
    attributes: u64,
    /// Bytes of one array.
    largest: u64,
}

fn damaged(why: impl Display) -> Error {
    Error::format(format!("the HDF5 file is damaged or uses what is not supported: {why}"))
}

fn group(from: &hdf5_reader::group::Group, depth: usize, limits: &mut Limits) -> Result<Group> {
    let inside = |e: Error| e.context(format!("group {}", from.name()));
    if depth == 0 {
        return Err(damaged(format!("groups are nested more than {MAX_DEPTH} deep")));
    }
    let mut into =
        Group { attributes: attributes::read(from, &mut limits.attributes).map_err(inside)?, ..Group::default() };
    let (groups, datasets) = from.members().map_err(damaged).map_err(inside)?;
    limits.objects = limits
        .objects
        .checked_sub((groups.len() + datasets.len()) as u64)
        .ok_or_else(|| damaged("it has more objects than its size allows, so its links run in circles"))?;
    for dataset in datasets {
        let name = dataset.name().to_string();
        match encoding(&dataset) {
            Some(encoding) => {
                into.datasets.insert(name, array(dataset, encoding, limits.largest)?);
            }
            None => {
                into.others.insert(name, format!("{:?}", dataset.dtype()));
            }
        }
    }
    for inner in groups {
        let read = group(&inner, depth - 1, limits).map_err(inside)?;
        into.groups.insert(inner.name().to_string(), read);
    }
    Ok(into)
}

/// How an array's numbers stand, if they are numbers.
fn encoding(dataset: &hdf5_reader::Dataset) -> Option<Encoding> {
    let is_brain = || {
        let text = dataset.attribute("dtype").and_then(|a| a.read_string());
        text.is_ok_and(|text| text == "bfloat16")
    };
    let new = |kind, size, order: &ByteOrder| Encoding::new(kind, size, matches!(order, ByteOrder::BigEndian)).ok();
    match dataset.dtype() {
        Datatype::FloatingPoint { size, byte_order } => new(Kind::Float, usize::from(*size), byte_order),
        Datatype::FixedPoint { size, signed: true, byte_order } => new(Kind::Int, usize::from(*size), byte_order),
        Datatype::FixedPoint { size, signed: false, byte_order } => new(Kind::Uint, usize::from(*size), byte_order),
        // What h5py makes of truth values.
        Datatype::Enum { base, members } if members.len() == 2 => match **base {
            Datatype::FixedPoint { size: 1, .. } => new(Kind::Bool, 1, &ByteOrder::LittleEndian),
            _ => None,
        },
        // What Keras makes of brain floats.
        Datatype::Opaque { size: 2, .. } if is_brain() => new(Kind::Brain, 2, &ByteOrder::LittleEndian),
        _ => None,
    }
}

fn array(source: hdf5_reader::Dataset, encoding: Encoding, largest: u64) -> Result<Dataset> {
    let name = source.name().to_string();
    let shape: Option<Vec<usize>> = source.shape().iter().map(|&axis| usize::try_from(axis).ok()).collect();
    let bytes = source.shape().iter().try_fold(encoding.size as u64, |n, &axis| n.checked_mul(axis));
    let (Some(shape), Some(_)) = (shape, bytes.filter(|&bytes| bytes <= largest)) else {
        return Err(damaged(format!("array {name} of shape {:?} is larger than its file can hold", source.shape())));
    };
    Ok(Dataset::lazy(shape, encoding.dtype(), Stored { source, encoding }))
}

/// Numbers that are in the file.
struct Stored {
    source: hdf5_reader::Dataset,
    encoding: Encoding,
}

impl Values for Stored {
    fn read(&self) -> Result<Cow<'_, Data>> {
        let inside = |e: Error| e.context(format!("array {}", self.source.name()));
        let count = self.source.shape().iter().product::<u64>() as usize;
        if self.encoding.dtype() == DType::F32 && count * 4 > PIECE && self.source.chunks().is_none() {
            return self.pieces(count).map(Cow::Owned).map_err(inside);
        }
        let bytes = self.source.read_raw_bytes().map_err(damaged).map_err(inside)?;
        self.encoding.decode(&bytes).map(Cow::Owned).map_err(inside)
    }
}

impl Stored {
    /// A large array, some rows at a time.
    fn pieces(&self, count: usize) -> Result<Data> {
        let shape = self.source.shape();
        let (rows, rest) = shape.split_first().map_or((1, &[][..]), |(&rows, rest)| (rows, rest));
        let row = rest.iter().product::<u64>().max(1);
        let step = (PIECE as u64 / 4 / row).max(1);
        let mut values: Vec<f32> = Vec::new();
        let full = values.try_reserve_exact(count);
        full.map_err(|e| Error::out_of_memory(format!("{count} numbers do not fit into memory: {e}")))?;
        let mut start = 0;
        while start < rows {
            let end = rows.min(start + step);
            let mut selections = vec![SliceInfoElem::Slice { start, end, step: 1 }];
            selections.extend(rest.iter().map(|&axis| SliceInfoElem::Slice { start: 0, end: axis, step: 1 }));
            let selection = SliceInfo { selections };
            match self.encoding.size {
                8 => {
                    let piece = self.source.read_slice::<f64>(&selection).map_err(damaged)?;
                    values.extend(piece.iter().map(|&v| v as f32));
                }
                _ => {
                    let piece = self.source.read_slice::<f32>(&selection).map_err(damaged)?;
                    match piece.as_slice() {
                        Some(piece) => values.extend_from_slice(piece),
                        None => values.extend(piece.iter()),
                    }
                }
            }
            start = end;
        }
        Ok(Data::F32(values))
    }
}
