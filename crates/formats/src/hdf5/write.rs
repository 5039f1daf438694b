//! Writing: old-style groups and contiguous arrays, as Keras does it. The tree goes first, as its size does not depend on any number; the
//! numbers follow, one array after another. Names are those of the HDF5 File Format Specification, version 2.

use super::{Attribute, Dataset, Group};
use crate::elements::{Encoding, encode};
use ibex_core::{DType, Error, Result};
use ibex_data::io::Kind;
use std::collections::HashMap;
use std::io::Write;

const UNDEFINED: u64 = u64::MAX;
/// Half of the entries of a symbol table node, and of the children of a tree node: what the superblock says.
const LEAF_K: usize = 4;
const INTERNAL_K: usize = 16;
/// The largest message of an object header.
const MAX_MESSAGE: usize = 65528;
/// The smallest size of a collection of texts.
const COLLECTION: usize = 4096;

/// A file's layout: everything but the numbers.
pub struct Plan<'a> {
    tree: Vec<u8>,
    datasets: Vec<(String, &'a Dataset)>,
    size: u64,
}

impl Plan<'_> {
    /// Bytes that the file will have.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the file, asking for the numbers of one array after the other, in parts.
    ///
    /// # Errors
    /// `Io` if `out` refuses; whatever asking for numbers gives.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let io = |e: std::io::Error| Error::io(format!("the file can not be written: {e}"));
        out.write_all(&self.tree).map_err(io)?;
        for (path, dataset) in &self.datasets {
            let mut written = 0usize;
            let parts = dataset.read_parts(|part| {
                let bytes = encode(part);
                written += bytes.len();
                out.write_all(&bytes).map_err(io)
            });
            parts.map_err(|e| e.context(format!("array {path}")))?;
            out.write_all(&[0; 8][..written.next_multiple_of(8) - written]).map_err(io)?;
        }
        Ok(())
    }
}

pub(super) fn plan(root: &Group) -> Result<Plan<'_>> {
    let mut planner = Planner { bytes: vec![0; 96], texts: HashMap::new(), datasets: Vec::new() };
    let mut texts = Vec::new();
    collect(root, &mut texts);
    planner.collections(&texts)?;
    let address = planner.group(root, "")?;
    let Planner { bytes: mut tree, datasets, .. } = planner;
    tree.resize(tree.len().next_multiple_of(8), 0);

    let mut size = tree.len() as u64;
    for (place, path, dataset) in &datasets {
        let element = Encoding::of(dataset.dtype).size as u64;
        let bytes = dataset.shape.iter().try_fold(element, |n, &axis| n.checked_mul(axis as u64));
        let end = bytes.and_then(|bytes| size.checked_add(bytes)?.checked_next_multiple_of(8));
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(Error::value(format!("array {path} is too large to be written")));
        };
        let start = if bytes == 0 { UNDEFINED } else { size };
        tree[*place..place + 16].copy_from_slice(&[start.to_le_bytes(), bytes.to_le_bytes()].concat());
        size = end;
    }

    let mut superblock = Kind::HDF5.to_vec();
    superblock.extend([0, 0, 0, 0, 0, 8, 8, 0]);
    superblock.extend((LEAF_K as u16).to_le_bytes());
    superblock.extend((INTERNAL_K as u16).to_le_bytes());
    superblock.extend([0; 4]);
    superblock.extend(words(&[0, UNDEFINED, size, UNDEFINED, 0, address]));
    tree[..superblock.len()].copy_from_slice(&superblock);
    let datasets = datasets.into_iter().map(|(_, path, dataset)| (path, dataset)).collect();
    Ok(Plan { tree, datasets, size })
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// All texts of attributes.
fn collect<'a>(group: &'a Group, into: &mut Vec<&'a str>) {
    for attribute in group.attributes.values() {
        match attribute {
            Attribute::Text(text) => into.push(text),
            Attribute::Texts(texts) => into.extend(texts.iter().map(String::as_str)),
            Attribute::Ints(_) | Attribute::Floats(_) => {}
        }
    }
    if group.datasets.values().any(|d| d.dtype == DType::BF16) {
        into.push(BRAIN);
    }
    group.groups.values().for_each(|inner| collect(inner, into));
}

/// Keras's note beside an array of brain floats, which HDF5 does not know.
const BRAIN: &str = "bfloat16";

struct Planner<'a> {
    /// The file up to now; the place of a byte is its address.
    bytes: Vec<u8>,
    /// Collection and number of each text.
    texts: HashMap<&'a str, (u64, u32)>,
    /// Where the address and the size of each array are to be noted.
    datasets: Vec<(usize, String, &'a Dataset)>,
}

impl<'a> Planner<'a> {
    /// Appends a block at a multiple of 8 and gives its address.
    fn append(&mut self, block: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let address = self.bytes.len() as u64;
        self.bytes.extend_from_slice(block);
        address
    }

    /// Appends the global heap collections with all texts.
    fn collections(&mut self, texts: &[&'a str]) -> Result<()> {
        let mut block = vec![0; 16];
        let mut number = 0;
        for &text in texts {
            if text.is_empty() || self.texts.contains_key(text) {
                continue;
            }
            if u32::try_from(text.len()).is_err() {
                return Err(Error::value("a text of 4 GiB can not be written"));
            }
            let object = (16 + text.len()).next_multiple_of(8);
            if block.len() > 16 && block.len() + object > COLLECTION {
                self.collection(&mut block);
                number = 0;
            }
            number += 1;
            block.extend((number as u16).to_le_bytes());
            block.extend([1, 0, 0, 0, 0, 0]);
            block.extend((text.len() as u64).to_le_bytes());
            block.extend(text.as_bytes());
            block.resize(block.len().next_multiple_of(8), 0);
            // The block gets its place when it is full; all before it are in place.
            let address = self.bytes.len().next_multiple_of(8) as u64;
            self.texts.insert(text, (address, number));
        }
        if block.len() > 16 {
            self.collection(&mut block);
        }
        Ok(())
    }

    fn collection(&mut self, block: &mut Vec<u8>) {
        let used = block.len();
        if used < COLLECTION {
            block.resize(COLLECTION, 0);
            if COLLECTION - used >= 16 {
                // Object 0 is the free space.
                block[used + 8..used + 16].copy_from_slice(&((COLLECTION - used) as u64).to_le_bytes());
            }
        }
        let size = block.len() as u64;
        block[..8].copy_from_slice(b"GCOL\x01\0\0\0");
        block[8..16].copy_from_slice(&size.to_le_bytes());
        self.append(block);
        *block = vec![0; 16];
    }

    /// Appends a group with everything in it, and gives the address of its header.
    fn group(&mut self, group: &'a Group, path: &str) -> Result<u64> {
        let mut entries = Vec::new();
        for (name, inner) in &group.groups {
            entries.push((&name[..], self.group(inner, &format!("{path}/{name}"))?));
        }
        for (name, dataset) in &group.datasets {
            if group.groups.contains_key(name) {
                return Err(Error::value(format!("group {path}/ has a group and an array of one name {name:?}")));
            }
            entries.push((name, self.dataset(dataset, format!("{path}/{name}"))?));
        }
        entries.sort();
        let bad = entries.iter().find(|(name, _)| name.is_empty() || name.contains(['/', '\0']) || *name == ".");
        if let Some((name, _)) = bad {
            return Err(Error::value(format!(
                "{name:?} in group {path}/ can not be a name: no slashes, no empty names"
            )));
        }
        let (tree, heap) = self.symbol_table(&entries);
        let mut messages = vec![(0x11, words(&[tree, heap]))];
        for (name, attribute) in &group.attributes {
            let message = self.attribute(name, attribute);
            messages.push((0x0c, message.map_err(|e| e.context(format!("attribute {name} of group {path}/")))?));
        }
        self.header(&messages)
    }

    fn dataset(&mut self, dataset: &'a Dataset, path: String) -> Result<u64> {
        if dataset.shape.len() > 32 {
            return Err(Error::value(format!("array {path} has more than 32 axes, which HDF5 can not have")));
        }
        let mut messages = vec![
            // The layout is first, so that its place is known: contiguous, with address and size to be noted.
            (0x08, [&[3, 1][..], &[0; 16]].concat()),
            (0x01, dataspace(Some(&dataset.shape))),
            (0x03, numbers(dataset.dtype)),
            // No fill value; memory is allocated late.
            (0x05, vec![2, 2, 2, 1, 0, 0, 0, 0]),
        ];
        if dataset.dtype == DType::BF16 {
            messages.push((0x0c, self.attribute("dtype", &Attribute::Text(BRAIN.into()))?));
        }
        let address = self.header(&messages)?;
        self.datasets.push((address as usize + 16 + 8 + 2, path, dataset));
        Ok(address)
    }

    /// Appends an object header, version 1.
    fn header(&mut self, messages: &[(u16, Vec<u8>)]) -> Result<u64> {
        let mut body = Vec::new();
        for (kind, message) in messages {
            let len = message.len().next_multiple_of(8);
            // Types of arrays are constant.
            let flags = u8::from(*kind == 0x03);
            body.extend(kind.to_le_bytes());
            body.extend((len as u16).to_le_bytes());
            body.extend([flags, 0, 0, 0]);
            body.extend(message);
            body.resize(body.len().next_multiple_of(8), 0);
        }
        let (Ok(count), Ok(size)) = (u16::try_from(messages.len()), u32::try_from(body.len())) else {
            return Err(Error::value("a group has more than 65534 attributes"));
        };
        let mut header = vec![1, 0];
        header.extend(count.to_le_bytes());
        header.extend(1u32.to_le_bytes());
        header.extend(size.to_le_bytes());
        header.extend([0; 4]);
        header.extend(body);
        Ok(self.append(&header))
    }

    fn attribute(&self, name: &str, value: &Attribute) -> Result<Vec<u8>> {
        let (kind, space, bytes) = match value {
            Attribute::Text(text) => (texts(), dataspace(None), self.reference(text)),
            Attribute::Texts(all) => {
                let references = all.iter().flat_map(|text| self.reference(text)).collect();
                (texts(), dataspace(Some(&[all.len()])), references)
            }
            Attribute::Ints(all) => {
                let bytes = all.iter().flat_map(|v| v.to_le_bytes()).collect();
                (integer(8, true), dataspace(Some(&[all.len()])), bytes)
            }
            Attribute::Floats(all) => {
                let bytes = all.iter().flat_map(|v| v.to_le_bytes()).collect();
                (float(8, 63, 52, 11), dataspace(Some(&[all.len()])), bytes)
            }
        };
        let name = [name.as_bytes(), &[0]].concat();
        if name[..name.len() - 1].contains(&0) || name.len() > MAX_MESSAGE {
            return Err(Error::value("its name can not be written"));
        }
        let mut message = vec![1, 0];
        for part in [&name, &kind, &space] {
            message.extend((part.len() as u16).to_le_bytes());
        }
        for part in [name, kind, space] {
            message.extend(part);
            message.resize(message.len().next_multiple_of(8), 0);
        }
        message.extend(bytes);
        if message.len() > MAX_MESSAGE {
            return Err(Error::value(format!("it takes {} bytes, HDF5 allows {MAX_MESSAGE}; split it", message.len())));
        }
        Ok(message)
    }

    /// Where a text is; nowhere if it is empty.
    fn reference(&self, text: &str) -> Vec<u8> {
        let (address, number) = self.texts.get(text).copied().unwrap_or((0, 0));
        [&(text.len() as u32).to_le_bytes()[..], &address.to_le_bytes(), &number.to_le_bytes()].concat()
    }

    /// Appends the names and addresses of a group's members, which are in order; gives the addresses of the tree and of the names.
    fn symbol_table(&mut self, entries: &[(&str, u64)]) -> (u64, u64) {
        // The empty name stands first, as the key before all others.
        let mut names = vec![0; 8];
        let mut keys = Vec::new();
        for (name, _) in entries {
            keys.push(names.len() as u64);
            names.extend(name.as_bytes());
            names.push(0);
            names.resize(names.len().next_multiple_of(8), 0);
        }
        // Children of a tree node, each with the last name in it.
        let mut children = Vec::new();
        for (entries, keys) in entries.chunks(2 * LEAF_K).zip(keys.chunks(2 * LEAF_K)) {
            let mut node = b"SNOD\x01\0".to_vec();
            node.extend((entries.len() as u16).to_le_bytes());
            for ((_, address), key) in entries.iter().zip(keys) {
                node.extend(words(&[*key, *address, 0, 0, 0]));
            }
            node.resize(8 + 2 * LEAF_K * 40, 0);
            children.push((self.append(&node), keys.last().copied().unwrap_or(0)));
        }
        let mut level = 0;
        let root = loop {
            children = self.tree_level(&children, level);
            match children[..] {
                [(root, _)] => break root,
                _ => level += 1,
            }
        };
        let size = names.len() as u64;
        let data = self.append(&names);
        let mut heap = b"HEAP\0\0\0\0".to_vec();
        // 1: no free space.
        heap.extend(words(&[size, 1, data]));
        (root, self.append(&heap))
    }

    /// Appends the nodes above `children`, which are neighbours of each other; at least one.
    fn tree_level(&mut self, children: &[(u64, u64)], level: u8) -> Vec<(u64, u64)> {
        let size = 24 + 8 * (4 * INTERNAL_K + 1);
        let start = self.bytes.len().next_multiple_of(8);
        let groups: Vec<&[(u64, u64)]> = match children {
            [] => vec![&[]],
            _ => children.chunks(2 * INTERNAL_K).collect(),
        };
        let place = |i: usize| if i < groups.len() { (start + i * size) as u64 } else { UNDEFINED };
        let mut before = 0;
        let mut nodes = Vec::new();
        for (i, group) in groups.iter().enumerate() {
            let mut node = b"TREE\0".to_vec();
            node.push(level);
            node.extend((group.len() as u16).to_le_bytes());
            node.extend(words(&[i.checked_sub(1).map_or(UNDEFINED, place), place(i + 1), before]));
            for &(address, last) in *group {
                node.extend(words(&[address, last]));
                before = last;
            }
            node.resize(size, 0);
            nodes.push((self.append(&node), before));
        }
        nodes
    }
}

/// No axes for a single value.
fn dataspace(shape: Option<&[usize]>) -> Vec<u8> {
    let shape = shape.unwrap_or_default();
    let mut message = vec![1, shape.len() as u8, 0, 0, 0, 0, 0, 0];
    shape.iter().for_each(|&axis| message.extend((axis as u64).to_le_bytes()));
    message
}

fn numbers(dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => float(4, 31, 23, 8),
        DType::F16 => float(2, 15, 10, 5),
        // Opaque, without a tag.
        DType::BF16 => vec![0x15, 0, 0, 0, 2, 0, 0, 0],
        DType::I32 => integer(4, true),
        DType::U32 => integer(4, false),
        DType::Bool => truth(),
    }
}

fn integer(bytes: u8, signed: bool) -> Vec<u8> {
    vec![0x10, if signed { 8 } else { 0 }, 0, 0, bytes, 0, 0, 0, 0, 0, 8 * bytes, 0]
}

/// An enumeration of two bytes, as h5py does it.
fn truth() -> Vec<u8> {
    let mut message = vec![0x18, 2, 0, 0, 1, 0, 0, 0];
    message.extend(integer(1, true));
    message.extend(b"FALSE\0\0\0TRUE\0\0\0\0\0\x01");
    message
}

/// An IEEE float with these positions of the sign and of the exponent, and this width of the exponent.
fn float(bytes: u8, sign: u8, mantissa: u8, exponent: u8) -> Vec<u8> {
    let bias = (1u32 << (exponent - 1)) - 1;
    let mut message = vec![0x11, 0x20, sign, 0, bytes, 0, 0, 0, 0, 0, 8 * bytes, 0, mantissa, exponent, 0, mantissa];
    message.extend(bias.to_le_bytes());
    message
}

/// UTF-8 texts of any length: references to bytes.
fn texts() -> Vec<u8> {
    let mut message = vec![0x19, 0x01, 0x01, 0, 16, 0, 0, 0];
    message.extend(integer(1, false));
    message
}
