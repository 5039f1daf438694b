//! An ONNX graph while it is built: values, operations that make them, and numbers that are known.

use super::traced::Dim;
use ibex_core::{DType, Data};
use std::collections::HashMap;
use std::sync::Arc;

/// A value by number.
pub(super) type Id = usize;

/// ONNX's element types, with its numbers (`TensorProto.DataType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Type {
    F32 = 1,
    I32 = 6,
    I64 = 7,
    Bool = 9,
    F16 = 10,
    U32 = 12,
    BF16 = 16,
}

impl Type {
    /// Bytes of one element in a file.
    pub fn size(self) -> usize {
        match self {
            Type::F32 | Type::I32 | Type::U32 => 4,
            Type::I64 => 8,
            Type::Bool => 1,
            Type::F16 | Type::BF16 => 2,
        }
    }
}

impl From<DType> for Type {
    fn from(dtype: DType) -> Type {
        match dtype {
            DType::F32 => Type::F32,
            DType::F16 => Type::F16,
            DType::BF16 => Type::BF16,
            DType::I32 => Type::I32,
            DType::U32 => Type::U32,
            DType::Bool => Type::Bool,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    /// The bits of an `f32`.
    Float(u32),
    Text(&'static str),
}

pub(super) type Attributes = Vec<(&'static str, Attribute)>;

/// A node of the ONNX graph. Inputs that are left out are `None`.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub kind: &'static str,
    pub inputs: Vec<Option<Id>>,
    pub attributes: Attributes,
    pub outputs: Vec<Id>,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    /// An input of the model.
    Input,
    /// Numbers in the file, under the name of a weight or without one.
    Numbers(Option<String>, Arc<[u8]>),
    /// Of an operation by number.
    Result(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Value {
    pub ty: Type,
    pub shape: Vec<Dim>,
    pub source: Source,
    /// The layer that the operation belongs to, or that first needed the numbers.
    pub layer: Option<usize>,
}

/// What makes two operations equal.
type Key = (&'static str, Vec<Option<Id>>, Attributes);

#[derive(Debug, Default)]
pub(super) struct Builder {
    pub values: Vec<Value>,
    /// Operands before users.
    pub operations: Vec<Operation>,
    /// The layer whose operations are added.
    pub layer: Option<usize>,
    known: HashMap<Key, Vec<Id>>,
    numbers: HashMap<(Type, Vec<Dim>, Option<String>, Arc<[u8]>), Id>,
}

impl Builder {
    pub fn input(&mut self, ty: Type, shape: Vec<Dim>) -> Id {
        self.value(Value { ty, shape, source: Source::Input, layer: None })
    }

    fn value(&mut self, value: Value) -> Id {
        self.values.push(value);
        self.values.len() - 1
    }

    pub fn shape(&self, id: Id) -> &[Dim] {
        &self.values[id].shape
    }

    pub fn ty(&self, id: Id) -> Type {
        self.values[id].ty
    }

    /// The operation that makes a value.
    pub fn maker(&self, id: Id) -> Option<&Operation> {
        if let Source::Result(i) = self.values[id].source { self.operations.get(i) } else { None }
    }

    /// The inputs of the operation that makes a value, if it is of this kind.
    pub fn made_by(&self, id: Id, kind: &str) -> Option<&Operation> {
        self.maker(id).filter(|operation| operation.kind == kind)
    }

    pub fn is_known(&self, id: Id) -> bool {
        matches!(self.values[id].source, Source::Numbers(..))
    }

    /// Numbers as they stand in the file.
    fn raw(&mut self, ty: Type, shape: &[Dim], name: Option<String>, bytes: Arc<[u8]>) -> Id {
        let key = (ty, shape.to_vec(), name.clone(), bytes.clone());
        if let Some(&id) = self.numbers.get(&key) {
            return id;
        }
        let layer = self.layer;
        let id = self.value(Value { ty, shape: shape.to_vec(), source: Source::Numbers(name, bytes), layer });
        self.numbers.insert(key, id);
        id
    }

    /// Known numbers, maybe under a name.
    pub fn data(&mut self, data: &Data, shape: &[usize], name: Option<&str>) -> Id {
        let bytes: Arc<[u8]> = match data {
            Data::Bool(values) => values.iter().map(|&v| v as u8).collect(),
            data => data.as_bytes().into(),
        };
        let shape: Vec<Dim> = shape.iter().map(|&d| Dim::fixed(d)).collect();
        self.raw(data.dtype().into(), &shape, name.map(str::to_string), bytes)
    }

    /// A list of `int64`.
    pub fn ints(&mut self, values: &[i64]) -> Id {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.raw(Type::I64, &[Dim::fixed(values.len())], None, bytes)
    }

    /// One number, without axes.
    pub fn scalar(&mut self, value: f64, dtype: DType) -> Id {
        self.data(&Data::from_f64(dtype, &[value]), &[], None)
    }

    /// The numbers of a value that are known and floats.
    pub fn floats(&self, id: Id) -> Option<Vec<f32>> {
        let value = &self.values[id];
        match &value.source {
            Source::Numbers(_, bytes) if value.ty == Type::F32 => {
                Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
            }
            _ => None,
        }
    }

    /// Known `f32` as other floats.
    pub fn cast_known(&mut self, id: Id, dtype: DType) -> Option<Id> {
        let values = self.floats(id).filter(|_| dtype.is_float())?;
        let data = Data::from_f64(dtype, &values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        let (shape, name) = (self.shape(id).to_vec(), self.name(id).map(str::to_string));
        Some(self.raw(dtype.into(), &shape, name, data.as_bytes().into()))
    }

    /// A list of `int64` that is known.
    pub fn known_ints(&self, id: Id) -> Option<Vec<i64>> {
        let value = &self.values[id];
        match &value.source {
            Source::Numbers(_, bytes) if value.ty == Type::I64 => {
                let number = |b: &[u8]| Some(i64::from_le_bytes(b.try_into().ok()?));
                bytes.chunks_exact(8).map(number).collect()
            }
            _ => None,
        }
    }

    /// The name of a weight.
    pub fn name(&self, id: Id) -> Option<&str> {
        if let Source::Numbers(name, _) = &self.values[id].source { name.as_deref() } else { None }
    }

    /// The one number that a known value has.
    pub fn number(&self, id: Id) -> Option<f32> {
        self.floats(id).filter(|all| all.len() == 1).and_then(|all| all.first().copied())
    }

    /// Adds an operation with one result, or finds one that equals it.
    pub fn add(&mut self, kind: &'static str, inputs: &[Id], attributes: Attributes, ty: Type, shape: Vec<Dim>) -> Id {
        let inputs = inputs.iter().map(|&id| Some(id)).collect();
        self.add_all(kind, inputs, attributes, vec![(ty, shape)])[0]
    }

    pub fn add_all(
        &mut self,
        kind: &'static str,
        inputs: Vec<Option<Id>>,
        attributes: Attributes,
        results: Vec<(Type, Vec<Dim>)>,
    ) -> Vec<Id> {
        let key = (kind, inputs, attributes);
        if let Some(ids) = self.known.get(&key) {
            return ids.clone();
        }
        let (layer, number) = (self.layer, self.operations.len());
        let value = |(ty, shape)| Value { ty, shape, source: Source::Result(number), layer };
        let outputs: Vec<Id> = results.into_iter().map(|result| self.value(value(result))).collect();
        let (kind, inputs, attributes) = key.clone();
        self.operations.push(Operation { kind, inputs, attributes, outputs: outputs.clone() });
        self.known.insert(key, outputs.clone());
        outputs
    }

    /// The same value once more, under a name of its own.
    pub fn copy(&mut self, id: Id) -> Id {
        let (ty, shape, number) = (self.ty(id), self.shape(id).to_vec(), self.operations.len());
        let copy = self.value(Value { ty, shape, source: Source::Result(number), layer: None });
        let (inputs, outputs) = (vec![Some(id)], vec![copy]);
        self.operations.push(Operation { kind: "Identity", inputs, attributes: vec![], outputs });
        copy
    }

    /// Output axis `i` is axis `order[i]`.
    pub fn transpose(&mut self, id: Id, order: &[usize]) -> Id {
        let shape: Vec<Dim> = order.iter().map(|&axis| self.shape(id)[axis]).collect();
        if order.iter().copied().eq(0..order.len()) {
            return id;
        }
        // Moving axes of length 1 only renames.
        if order.iter().filter(|&&axis| self.shape(id)[axis] != Dim::ONE).is_sorted() {
            return self.reshape(id, &shape);
        }
        let Value { ty, shape: from, source, .. } = &self.values[id];
        if let Source::Numbers(name, bytes) = source
            && let Some(lens) = from.iter().map(|d| Some(d.value()? as usize)).collect::<Option<Vec<usize>>>()
        {
            let (ty, name, bytes) = (*ty, name.clone(), transposed(bytes, ty.size(), &lens, order));
            return self.raw(ty, &shape, name, bytes);
        }
        if let Some(Operation { inputs, attributes, .. }) = self.made_by(id, "Transpose")
            && let (&[Some(inner)], [(_, Attribute::Ints(perm))]) = (&inputs[..], &attributes[..])
        {
            let order: Vec<usize> = order.iter().map(|&axis| perm[axis] as usize).collect();
            return self.transpose(inner, &order);
        }
        let perm = Attribute::Ints(order.iter().map(|&axis| axis as i64).collect());
        self.add("Transpose", &[id], vec![("perm", perm)], self.ty(id), shape)
    }

    /// The same elements under another shape.
    pub fn reshape(&mut self, id: Id, shape: &[Dim]) -> Id {
        if self.shape(id) == shape {
            return id;
        }
        if let Source::Numbers(name, bytes) = &self.values[id].source {
            let (ty, name, bytes) = (self.ty(id), name.clone(), bytes.clone());
            return self.raw(ty, shape, name, bytes);
        }
        // A reshape of a reshape.
        let id = match self.made_by(id, "Reshape") {
            Some(Operation { inputs, .. }) => inputs[0].unwrap_or(id),
            None => id,
        };
        if self.shape(id) == shape {
            return id;
        }
        // An axis that keeps its place is 0 and one that does not is -1; more of those must be computed.
        let same = |i: usize| self.shape(id).get(i) == Some(&shape[i]);
        let open: Vec<usize> = (0..shape.len()).filter(|&i| shape[i].value().is_none() && !same(i)).collect();
        let to = if open.len() < 2 {
            let to = (0..shape.len()).map(|i| shape[i].value().unwrap_or(if same(i) { 0 } else { -1 }));
            let to: Vec<i64> = to.collect();
            self.ints(&to)
        } else {
            self.dims(shape)
        };
        self.add("Reshape", &[id, to], vec![], self.ty(id), shape.to_vec())
    }

    /// Axes of length 1 repeated.
    pub fn expand(&mut self, id: Id, shape: &[Dim]) -> Id {
        if self.shape(id) == shape {
            return id;
        }
        // An axis that stays as it is may be 1.
        let from = self.shape(id);
        let same = |i: usize| (i + from.len()).checked_sub(shape.len()).is_some_and(|j| from[j] == shape[i]);
        let to: Vec<Dim> = shape.iter().enumerate().map(|(i, &d)| if same(i) { Dim::ONE } else { d }).collect();
        let to = self.dims(&to);
        self.add("Expand", &[id, to], vec![], self.ty(id), shape.to_vec())
    }

    /// Lengths as a list of `int64`.
    pub fn dims(&mut self, dims: &[Dim]) -> Id {
        if let Some(known) = dims.iter().map(|d| d.value()).collect::<Option<Vec<i64>>>() {
            return self.ints(&known);
        }
        let mut parts: Vec<Id> = Vec::new();
        for run in dims.chunk_by(|a, b| a.value().is_some() && b.value().is_some()) {
            parts.push(match run.iter().map(|d| d.value()).collect::<Option<Vec<i64>>>() {
                Some(known) => self.ints(&known),
                None => self.dim(run[0]),
            });
        }
        if let [one] = parts[..] {
            return one;
        }
        let shape = vec![Dim::fixed(dims.len())];
        self.add("Concat", &parts, vec![("axis", Attribute::Int(0))], Type::I64, shape)
    }

    /// A length as `int64 (1,)`.
    fn dim(&mut self, dim: Dim) -> Id {
        // The first input has the batch as its first axis.
        let part = vec![("end", Attribute::Int(1)), ("start", Attribute::Int(0))];
        let mut id = self.add("Shape", &[0], part, Type::I64, vec![Dim::ONE]);
        if dim.scale != 1 {
            let scale = self.ints(&[dim.scale]);
            id = self.add("Mul", &[id, scale], vec![], Type::I64, vec![Dim::ONE]);
        }
        if dim.offset != 0 {
            let offset = self.ints(&[dim.offset]);
            id = self.add("Add", &[id, offset], vec![], Type::I64, vec![Dim::ONE]);
        }
        id
    }

    /// `0, 1, .., len - 1` as `i32 (len,)`.
    pub fn range(&mut self, len: Dim) -> Id {
        if let Some(len) = len.value() {
            return self.data(&Data::I32((0..len as i32).collect()), &[len as usize], None);
        }
        let end = self.dim(len);
        let end = self.reshape(end, &[]);
        let to = vec![("to", Attribute::Int(Type::I32 as i64))];
        let end = self.add("Cast", &[end], to, Type::I32, vec![]);
        let [from, step] = [0.0, 1.0].map(|v| self.scalar(v, DType::I32));
        self.add("Range", &[from, end, step], vec![], Type::I32, vec![len])
    }
}

/// Elements of `size` bytes in another order of axes.
fn transposed(bytes: &[u8], size: usize, lens: &[usize], order: &[usize]) -> Arc<[u8]> {
    let mut strides = vec![size; lens.len()];
    for axis in (1..lens.len()).rev() {
        strides[axis - 1] = strides[axis] * lens[axis];
    }
    let lens: Vec<usize> = order.iter().map(|&axis| lens[axis]).collect();
    let strides: Vec<usize> = order.iter().map(|&axis| strides[axis]).collect();
    let mut out = Vec::with_capacity(bytes.len());
    let mut place = vec![0; lens.len()];
    for _ in 0..bytes.len() / size.max(1) {
        let from: usize = place.iter().zip(&strides).map(|(p, s)| p * s).sum();
        out.extend_from_slice(&bytes[from..from + size]);
        for axis in (0..lens.len()).rev() {
            place[axis] += 1;
            if place[axis] < lens[axis] {
                break;
            }
            place[axis] = 0;
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_are_transposed_at_once() {
        let mut b = Builder::default();
        let id = b.data(&Data::F32((0..24).map(|v| v as f32).collect()), &[2, 3, 4], Some("w"));
        let turned = b.transpose(id, &[2, 0, 1]);
        let want: Vec<f32> = (0..24).map(|i| (i / 6 + i / 3 % 2 * 12 + i % 3 * 4) as f32).collect();
        assert_eq!(b.floats(turned), Some(want));
        assert!(b.operations.is_empty());
        assert_eq!(b.transpose(turned, &[1, 2, 0]), id);
    }
}
