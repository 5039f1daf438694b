//! The messages of an ONNX file (onnx.proto): names, and what is needed of what was built.

use super::builder::{Attribute, Builder, Id, Operation, Source, Value};
use super::traced::Dim;
use crate::protobuf::Message;
use ibex_core::{Error, Result};
use std::collections::HashSet;

/// The version of the operations' meaning: the newest that onnxruntime of 2023 and the usual converters take.
const OPSET: i64 = 18;

/// The version of the file format that belongs to it.
const IR_VERSION: i64 = 8;

/// Protocol buffers hold no more bytes.
const LARGEST: usize = i32::MAX as usize;

pub(super) struct Names<'a> {
    pub graph: &'a str,
    pub layers: &'a [String],
    pub inputs: &'a [String],
    pub outputs: &'a [String],
}

/// The contents of the file.
pub(super) fn encode(mut b: Builder, outputs: &[Id], names: &Names) -> Result<Vec<u8>> {
    let outputs = with_own_values(&mut b, outputs);
    let needed = needed(&b, &outputs);
    let names_of = name_all(&b, &outputs, &needed, names);
    let name = |id: Id| names_of[id].as_str();
    let operations = b.operations.iter().filter(|o| o.outputs.iter().any(|&id| needed[id]));
    let nodes = operations.map(|operation| node(operation, &needed, name));
    let numbers = b.values.iter().enumerate().filter(|(id, _)| needed[*id]);
    let initializers = numbers.filter_map(|(id, value)| match &value.source {
        Source::Numbers(_, bytes) => Some(tensor(name(id), value, bytes)),
        _ => None,
    });
    let graph = Message::new()
        .messages(1, nodes)
        .bytes(2, names.graph)
        .messages(5, initializers)
        .messages(11, (0..names.inputs.len()).map(|id| value_info(name(id), &b.values[id])))
        .messages(12, outputs.iter().map(|&id| value_info(name(id), &b.values[id])));
    let file = Message::new()
        .int(1, IR_VERSION)
        .bytes(2, "ibex")
        .bytes(3, env!("CARGO_PKG_VERSION"))
        .message(7, graph)
        .message(8, Message::new().bytes(1, "").int(2, OPSET));
    if file.len() > LARGEST {
        let text = format!("the model needs {} bytes, an ONNX file holds 2 GB; use .safetensors", file.len());
        return Err(Error::unsupported(text));
    }
    Ok(file.to_bytes())
}

/// Every output as the result of an operation, and of no other output.
fn with_own_values(b: &mut Builder, outputs: &[Id]) -> Vec<Id> {
    let mut seen = HashSet::new();
    let mut own = Vec::new();
    for &id in outputs {
        let fresh = seen.insert(id) && b.maker(id).is_some();
        own.push(if fresh { id } else { b.copy(id) });
    }
    own
}

/// Which values outputs depend on. Inputs are always there.
fn needed(b: &Builder, outputs: &[Id]) -> Vec<bool> {
    let mut needed: Vec<bool> = b.values.iter().map(|v| matches!(v.source, Source::Input)).collect();
    outputs.iter().for_each(|&id| needed[id] = true);
    for operation in b.operations.iter().rev() {
        if operation.outputs.iter().any(|&id| needed[id]) {
            operation.inputs.iter().flatten().for_each(|&id| needed[id] = true);
        }
    }
    needed
}

/// Inputs, outputs and weights under their names, everything else after its layer and what it does: `conv2d/Relu`.
fn name_all(b: &Builder, outputs: &[Id], needed: &[bool], names: &Names) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut free = |wish: String| {
        let numbered = (1..).map(|i| format!("{wish}_{i}"));
        let name = std::iter::once(wish.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(wish);
        taken.insert(name.clone());
        name
    };
    let mut all = vec![String::new(); b.values.len()];
    for (id, wish) in names.inputs.iter().enumerate() {
        all[id] = free(wish.clone());
    }
    for (&id, wish) in outputs.iter().zip(names.outputs) {
        all[id] = free(wish.clone());
    }
    for (id, value) in b.values.iter().enumerate().filter(|(id, _)| needed[*id]) {
        if !all[id].is_empty() {
            continue;
        }
        let what = match &value.source {
            Source::Numbers(Some(name), _) => {
                all[id] = free(name.clone());
                continue;
            }
            Source::Numbers(None, _) => "constant",
            _ => b.maker(id).map_or("value", |operation| operation.kind),
        };
        let layer = value.layer.and_then(|layer| names.layers.get(layer));
        all[id] = free(layer.map_or_else(|| what.to_string(), |layer| format!("{layer}/{what}")));
    }
    all
}

/// `NodeProto`, named as its first result.
fn node<'a>(operation: &Operation, needed: &[bool], name: impl Fn(Id) -> &'a str) -> Message<'static> {
    let inputs = operation.inputs.iter().map(|input| input.map_or("", &name));
    // Results at the end that nobody needs are left out, others are nameless.
    let last = operation.outputs.iter().rposition(|&id| needed[id]).map_or(0, |i| i + 1);
    let outputs = operation.outputs[..last].iter().map(|&id| if needed[id] { name(id) } else { "" });
    let first = operation.outputs.iter().find(|&&id| needed[id]).map_or("", |&id| name(id));
    let message = inputs.fold(Message::new(), |message, input| message.bytes(1, input));
    let message = outputs.fold(message, |message, output| message.bytes(2, output));
    message.bytes(3, first).bytes(4, operation.kind).messages(5, operation.attributes.iter().map(attribute))
}

/// `AttributeProto`
fn attribute((name, value): &(&'static str, Attribute)) -> Message<'static> {
    let message = Message::new().bytes(1, name);
    match value {
        Attribute::Int(value) => message.int(3, *value).uint(20, 2),
        Attribute::Float(bits) => message.float(2, f32::from_bits(*bits)).uint(20, 1),
        Attribute::Text(value) => message.bytes(4, value).uint(20, 3),
        Attribute::Ints(values) => values.iter().fold(message, |message, &v| message.int(8, v)).uint(20, 7),
    }
}

/// `TensorProto`
fn tensor<'a>(name: &str, value: &Value, bytes: &'a [u8]) -> Message<'a> {
    let lens = value.shape.iter().filter_map(|d| d.value());
    let message = lens.fold(Message::new(), |message, len| message.int(1, len));
    message.uint(2, value.ty as u64).bytes(8, name).borrowed(9, bytes)
}

/// `ValueInfoProto`
fn value_info(name: &str, value: &Value) -> Message<'static> {
    let shape = Message::new().messages(1, value.shape.iter().map(dimension));
    let tensor = Message::new().uint(1, value.ty as u64).message(2, shape);
    Message::new().bytes(1, name).message(2, Message::new().message(1, tensor))
}

fn dimension(dim: &Dim) -> Message<'static> {
    match (dim.value(), dim.scale, dim.offset) {
        (Some(len), ..) => Message::new().int(1, len),
        (None, 1, 0) => Message::new().bytes(2, "batch"),
        (None, scale, offset) => Message::new().bytes(2, format!("{scale}*batch{offset:+}")),
    }
}
