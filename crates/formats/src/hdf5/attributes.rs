//! Attributes of a group that is read.

use super::Attribute;
use hdf5_reader::messages::attribute::AttributeMessage;
use hdf5_reader::{ByteOrder, Datatype, StringSize, VarLenKind};
use ibex_core::{Error, Result};
use std::collections::BTreeMap;

/// The attributes of `group` that are texts or numbers. `budget` is how many bytes they may still take in memory: many texts can be one
/// place of the file.
pub(super) fn read(group: &hdf5_reader::group::Group, budget: &mut u64) -> Result<BTreeMap<String, Attribute>> {
    let raw = group.raw_attributes().map_err(|e| Error::format(format!("its attributes can not be read: {e}")))?;
    let mut all = BTreeMap::new();
    for attribute in &raw {
        let value = value(group, attribute.message(), budget);
        if let Some(value) = value.map_err(|e| e.context(format!("attribute {}", attribute.name())))? {
            all.insert(attribute.name().to_string(), value);
        }
    }
    Ok(all)
}

fn value(group: &hdf5_reader::group::Group, message: &AttributeMessage, budget: &mut u64) -> Result<Option<Attribute>> {
    let scalar = message.dataspace.dims.is_empty();
    let elements = message.dataspace.num_elements().ok().and_then(|n| usize::try_from(n).ok());
    let elements = elements.ok_or_else(|| Error::format("it has more elements than memory"))?;
    let mut texts = |width: usize, text: &dyn Fn(&[u8]) -> Result<String>| -> Result<Option<Attribute>> {
        let mut texts = Vec::new();
        for bytes in slots(message, width, elements)? {
            let text = text(bytes)?;
            let cost = text.len() as u64 + size_of::<String>() as u64;
            *budget = budget.checked_sub(cost).ok_or_else(|| Error::format("the file's attributes are too large"))?;
            texts.push(text);
        }
        Ok(Some(match texts.pop() {
            Some(text) if scalar => Attribute::Text(text),
            last => {
                texts.extend(last);
                Attribute::Texts(texts)
            }
        }))
    };
    match &message.datatype {
        Datatype::String { size: StringSize::Fixed(width), .. } => texts(*width as usize, &|bytes| Ok(decode(bytes))),
        Datatype::String { size: StringSize::Variable, .. } | Datatype::VarLen { kind: VarLenKind::String, .. } => {
            let width = 8 + usize::from(group.offset_size());
            texts(width, &|reference| {
                let bytes = group.resolve_vlen_reference_bytes(reference, 1);
                bytes.map(|bytes| decode(&bytes)).map_err(|e| Error::format(format!("the text can not be read: {e}")))
            })
        }
        Datatype::FixedPoint { size, signed, byte_order } => {
            let numbers = slots(message, usize::from(*size), elements)?.map(|bytes| {
                let word = word(bytes, byte_order);
                let unused = 64 - 8 * u32::from(*size).min(8);
                if *signed { ((word << unused) as i64) >> unused } else { word as i64 }
            });
            Ok(Some(Attribute::Ints(numbers.collect())))
        }
        Datatype::FloatingPoint { size, byte_order } => {
            let numbers = slots(message, usize::from(*size), elements)?.map(|bytes| {
                let word = word(bytes, byte_order);
                match size {
                    2 => half::f16::from_bits(word as u16).to_f64(),
                    4 => f64::from(f32::from_bits(word as u32)),
                    _ => f64::from_bits(word),
                }
            });
            Ok(Some(Attribute::Floats(numbers.collect())))
        }
        _ => Ok(None),
    }
}

/// The bytes of each element.
fn slots(message: &AttributeMessage, width: usize, elements: usize) -> Result<impl Iterator<Item = &[u8]>> {
    let bytes = width.checked_mul(elements).and_then(|len| message.raw_data.get(..len));
    match bytes {
        Some(bytes) if width > 0 => Ok(bytes.chunks_exact(width)),
        Some(bytes) if elements == 0 => Ok(bytes.chunks_exact(1)),
        _ => Err(Error::format(format!("it is too short for {elements} elements of {width} bytes"))),
    }
}

fn word(bytes: &[u8], order: &ByteOrder) -> u64 {
    let shift = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
    match order {
        ByteOrder::LittleEndian => bytes.iter().rev().fold(0, shift),
        ByteOrder::BigEndian => bytes.iter().fold(0, shift),
    }
}

/// A text up to its padding.
fn decode(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
