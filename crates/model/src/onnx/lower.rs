//! The model's primitives as ONNX operations, one by one; those that ONNX has a name for together are found in `patterns`.

use super::builder::{Attribute, Attributes, Builder, Id, Operation, Type};
use super::traced::{Dim, Traced};
use super::view::{Operands, View};
use ibex_core::graph::{self, Binary, Compare, Op, Reduce, Unary};
use ibex_core::tensor::VariableId;
use ibex_core::{DType, Data, Error, Result, oracle};
use std::collections::HashMap;

/// What is computed from constants alone is computed now, if it has no more elements than this.
const FOLDED: i64 = 1 << 16;

/// The numbers of weights, and their names.
pub(super) type Weights = HashMap<VariableId, (String, Data)>;

/// A model on its way to ONNX.
pub(super) struct Lowering<'a> {
    pub b: Builder,
    pub traced: &'a Traced,
    weights: &'a Weights,
    /// Numbers that layers hold in device memory, by node.
    stored: &'a HashMap<usize, Data>,
    /// What each node is, as far as it was needed.
    pub views: Vec<Option<View>>,
    /// Values of nodes that are computed from constants alone.
    constants: Vec<Option<Vec<f64>>>,
    /// Hidden and cell states of all steps of an LSTM, and the last of each, by node.
    pub lstms: HashMap<usize, super::recurrent::States>,
}

impl<'a> Lowering<'a> {
    /// Everything up to the outputs, whose values are given.
    pub fn run(
        traced: &'a Traced,
        weights: &'a Weights,
        stored: &'a HashMap<usize, Data>,
        inputs: &[(DType, Vec<Dim>)],
    ) -> Result<(Builder, Vec<Id>)> {
        let nodes = traced.nodes.len();
        let (views, constants) = (vec![None; nodes], vec![None; nodes]);
        let b = Builder::default();
        let mut lowering = Lowering { b, traced, weights, stored, views, constants, lstms: HashMap::new() };
        for (dtype, shape) in inputs {
            lowering.b.input((*dtype).into(), shape.clone());
        }
        let joined = lowering.joins();
        for (i, node) in traced.nodes.iter().enumerate().filter(|(_, node)| node.needed) {
            lowering.b.layer = node.layer;
            let view = match joined.get(&i) {
                Some(Some((axis, parts))) => Ok(Some(lowering.join(i, *axis, parts))),
                Some(None) => continue,
                None => lowering.node(i),
            };
            let place = || node.layer.and_then(|layer| traced.layers.get(layer)).map(|name| format!("layer {name}"));
            let view = view.map_err(|e| e.context(place().unwrap_or_else(|| "the model".into())))?;
            lowering.views[i] = view;
        }
        lowering.b.layer = None;
        let outputs = traced.outputs.iter().map(|&i| {
            let view = lowering.view(i)?;
            Ok(view.wide(&mut lowering.b))
        });
        let outputs = outputs.collect::<Result<Vec<Id>>>()?;
        Ok((lowering.b, outputs))
    }

    pub fn view(&self, node: usize) -> Result<View> {
        let view = self.views.get(node).cloned().flatten();
        view.ok_or_else(|| {
            Error::unsupported(format!("{} is used in an unknown way", self.traced.nodes[node].op.name()))
        })
    }

    /// An operand of a node.
    pub fn operand(&self, node: usize, i: usize) -> Result<View> {
        self.view(self.traced.nodes[node].inputs[i])
    }

    fn node(&mut self, i: usize) -> Result<Option<View>> {
        let traced = self.traced;
        let node = &traced.nodes[i];
        if let Some(folded) = self.folded(i)? {
            return Ok(Some(folded));
        }
        let ty: Type = node.dtype.into();
        let unsupported = |what: &str| {
            let text = format!("{what} can not be written to ONNX; the file would not predict what the model does");
            Err(Error::unsupported(text))
        };
        let view = match &node.op {
            Op::Input(slot) => View::of(&self.b, *slot),
            Op::Variable(variable) => match self.weights.get(&variable.id()) {
                Some((name, data)) => {
                    let id = self.b.data(data, variable.shape(), Some(name));
                    View::of(&self.b, id)
                }
                None => return unsupported("random numbers"),
            },
            Op::Constant(literal) => self.known(&literal.0, &node.shape)?,
            Op::Stored(_) => match self.stored.get(&i) {
                Some(data) => self.known(data, &node.shape)?,
                None => return unsupported("numbers of another device"),
            },
            Op::Full(value) => {
                let data = Data::from_f64(node.dtype, &[value.to_f64()]);
                let id = self.b.data(&data, &vec![1; node.shape.len()], None);
                View::of(&self.b, id).repeated(&node.shape)
            }
            Op::Iota(axis) => {
                let id = self.b.range(node.shape[*axis]);
                let mut shape = vec![Dim::ONE; node.shape.len()];
                shape[*axis] = node.shape[*axis];
                View::of(&self.b, id).reshaped(&mut self.b, &shape).repeated(&node.shape)
            }
            Op::Random(_) => return unsupported("random numbers"),
            Op::Unary(op) => self.unary(i, *op)?,
            Op::Binary(op) => match self.pattern(i, *op)? {
                Some(view) => view,
                None => self.binary(i, *op)?,
            },
            Op::Compare(op) => self.compare(i, *op)?,
            Op::Select => match node.dtype {
                DType::Bool => self.select_truth(i)?,
                _ => self.pointwise(i, "Where", vec![])?,
            },
            Op::Cast(to) => {
                // Weights are written as what they are used as.
                let x = self.operand(i, 0)?;
                if let Some(cast) = self.b.cast_known(x.id, *to) {
                    return Ok(Some(View { id: cast, ..x }));
                }
                let to = Attribute::Int(Type::from(*to) as i64);
                self.pointwise(i, "Cast", vec![("to", to)])?
            }
            Op::Reduce(reduce, axes) => self.reduce(i, *reduce, axes)?,
            Op::Reshape => {
                let x = self.operand(i, 0)?;
                self.dropped(&x, &node.shape).unwrap_or_else(|| x.reshaped(&mut self.b, &node.shape))
            }
            Op::Permute(order) => {
                let x = self.operand(i, 0)?;
                x.permuted(&mut self.b, order)
            }
            Op::Broadcast => self.operand(i, 0)?.repeated(&node.shape),
            Op::Slice(_) => match self.lstms.get(&node.inputs[0]) {
                Some(_) => self.slice_of_lstm(i)?,
                None => self.slice(i)?,
            },
            Op::Pad(_) => self.pad(i)?,
            Op::Flip(axes) => {
                let bounds: Vec<_> = axes.iter().map(|&axis| (axis, Dim { scale: 0, offset: -1 }, None)).collect();
                self.slices(i, &bounds)?
            }
            Op::Gather => {
                let (table, index) = (self.operand(i, 0)?, self.operand(i, 1)?);
                let ids = [table.wide(&mut self.b), index.wide(&mut self.b)];
                let id = self.b.add("Gather", &ids, vec![("axis", Attribute::Int(0))], ty, node.shape.clone());
                View::of(&self.b, id)
            }
            Op::ScatterAdd(rows) => self.scatter_add(i, *rows)?,
            Op::MatMul => self.matmul(i)?,
            Op::Conv(geometry) => self.conv(i, geometry)?,
            Op::ConvInputGrad(geometry) => self.conv_transpose(i, geometry)?,
            Op::MaxPool(geometry) if node.inputs[0] == node.inputs[1] => self.pool(i, "MaxPool", geometry)?,
            Op::SumPool(geometry) => self.pool(i, "AveragePool", geometry)?,
            Op::Lstm => return self.lstm(i).map(|()| None),
            Op::MaxPool(_) | Op::ConvKernelGrad(_) | Op::MaxPoolGrad(_) | Op::SumPoolGrad(_) | Op::LstmGrad => {
                return unsupported(&format!("a gradient ({})", node.op.name()));
            }
        };
        Ok(Some(view))
    }

    /// Numbers of this shape.
    fn known(&mut self, data: &Data, shape: &[Dim]) -> Result<View> {
        let lens =
            lengths(shape).ok_or_else(|| Error::unsupported("constants that depend on the size of the batch"))?;
        let id = self.b.data(data, &lens, None);
        Ok(View::of(&self.b, id))
    }

    /// The value of a node that depends on constants alone.
    fn folded(&mut self, i: usize) -> Result<Option<View>> {
        let traced = self.traced;
        let node = &traced.nodes[i];
        let Some(lens) = lengths(&node.shape) else { return Ok(None) };
        let inputs: Option<Vec<&Vec<f64>>> = node.inputs.iter().map(|&input| self.constants[input].as_ref()).collect();
        let small = lens.iter().product::<usize>() as i64 <= FOLDED;
        let leaf = matches!(node.op, Op::Full(_) | Op::Iota(_) | Op::Constant(_));
        let (Some(inputs), true) = (inputs, small && (leaf || !node.inputs.is_empty())) else { return Ok(None) };
        let of_core = |i: usize| -> Option<graph::Node> {
            let node = &traced.nodes[i];
            let shape = lengths(&node.shape)?.into();
            Some(graph::Node { op: node.op.clone(), inputs: Vec::new(), shape, dtype: node.dtype })
        };
        let nodes: Option<Vec<graph::Node>> = node.inputs.iter().map(|&input| of_core(input)).collect();
        let (Some(this), Some(nodes)) = (of_core(i), nodes) else { return Ok(None) };
        let operands: Vec<(&[f64], &graph::Node)> = inputs.iter().map(|v| &v[..]).zip(&nodes).collect();
        let values = oracle::node_value(&this, &operands)?;
        let data = Data::from_f64(node.dtype, &values);
        self.constants[i] = Some(data.to_f64());
        // What is only repeated stays small.
        if leaf || matches!(node.op, Op::Broadcast) {
            return Ok(None);
        }
        self.known(&data, &node.shape).map(Some)
    }

    /// An operation on each element.
    fn pointwise(&mut self, i: usize, kind: &'static str, attributes: Attributes) -> Result<View> {
        let views = self.traced.nodes[i].inputs.iter().map(|&input| self.view(input)).collect::<Result<Vec<_>>>()?;
        Ok(self.pointwise_of(i, kind, attributes, &views))
    }

    pub fn pointwise_of(&mut self, i: usize, kind: &'static str, attributes: Attributes, views: &[View]) -> View {
        let node = &self.traced.nodes[i];
        let operands = Operands::new(&mut self.b, views);
        let id = self.b.add(kind, &operands.ids, attributes, node.dtype.into(), operands.shape());
        operands.view(id, &node.shape)
    }

    fn unary(&mut self, i: usize, op: Unary) -> Result<View> {
        let x = self.operand(i, 0)?;
        let dtype = self.traced.nodes[i].dtype;
        let (ty, shape) = (self.b.ty(x.id), self.b.shape(x.id).to_vec());
        let b = &mut self.b;
        let one = |b: &mut Builder, kind, id| b.add(kind, &[id], vec![], ty, shape.clone());
        let id = match op {
            Unary::Neg => one(b, "Neg", x.id),
            Unary::Abs => one(b, "Abs", x.id),
            Unary::Sign => one(b, "Sign", x.id),
            Unary::Exp => one(b, "Exp", x.id),
            Unary::Log => one(b, "Log", x.id),
            Unary::Sqrt => one(b, "Sqrt", x.id),
            Unary::Recip => one(b, "Reciprocal", x.id),
            Unary::Sin => one(b, "Sin", x.id),
            Unary::Cos => one(b, "Cos", x.id),
            Unary::Tanh => one(b, "Tanh", x.id),
            Unary::Sigmoid => one(b, "Sigmoid", x.id),
            Unary::Erf => one(b, "Erf", x.id),
            Unary::Floor => one(b, "Floor", x.id),
            Unary::Ceil => one(b, "Ceil", x.id),
            Unary::Round => one(b, "Round", x.id),
            Unary::Not => one(b, "Not", x.id),
            Unary::Rsqrt => {
                let root = one(b, "Sqrt", x.id);
                one(b, "Reciprocal", root)
            }
            // tanh(x / 2) * (e^x + 1), which is as exact near 0.
            Unary::Expm1 => {
                let [half, unit] = [0.5, 1.0].map(|v| b.scalar(v, dtype));
                let halved = b.add("Mul", &[x.id, half], vec![], ty, shape.clone());
                let exp = one(b, "Exp", x.id);
                let more = b.add("Add", &[exp, unit], vec![], ty, shape.clone());
                let tanh = one(b, "Tanh", halved);
                b.add("Mul", &[tanh, more], vec![], ty, shape.clone())
            }
            Unary::Log1p => {
                let unit = b.scalar(1.0, dtype);
                let more = b.add("Add", &[x.id, unit], vec![], ty, shape.clone());
                one(b, "Log", more)
            }
        };
        Ok(View { id, ..x })
    }

    fn binary(&mut self, i: usize, op: Binary) -> Result<View> {
        let truth = self.traced.nodes[i].dtype == DType::Bool;
        let direction = |d| vec![("direction", Attribute::Text(d))];
        let (kind, attributes) = match op {
            Binary::Add => ("Add", vec![]),
            Binary::Sub => ("Sub", vec![]),
            Binary::Mul => ("Mul", vec![]),
            Binary::Div => ("Div", vec![]),
            // 1: as C does it, with the sign of the dividend.
            Binary::Rem => ("Mod", vec![("fmod", Attribute::Int(1))]),
            Binary::Pow => ("Pow", vec![]),
            Binary::Max => ("Max", vec![]),
            Binary::Min => ("Min", vec![]),
            Binary::And => (if truth { "And" } else { "BitwiseAnd" }, vec![]),
            Binary::Or => (if truth { "Or" } else { "BitwiseOr" }, vec![]),
            Binary::Xor => (if truth { "Xor" } else { "BitwiseXor" }, vec![]),
            Binary::Shl if self.traced.nodes[i].dtype == DType::U32 => ("BitShift", direction("LEFT")),
            Binary::Shr if self.traced.nodes[i].dtype == DType::U32 => ("BitShift", direction("RIGHT")),
            Binary::Shl | Binary::Shr => {
                return Err(Error::unsupported("ONNX shifts the bits of u32 only; cast the integers first"));
            }
        };
        self.pointwise(i, kind, attributes)
    }

    fn compare(&mut self, i: usize, op: Compare) -> Result<View> {
        let kind = match op {
            Compare::Eq | Compare::Ne => "Equal",
            Compare::Lt => "Less",
            Compare::Le => "LessOrEqual",
            Compare::Gt => "Greater",
            Compare::Ge => "GreaterOrEqual",
        };
        let view = self.pointwise(i, kind, vec![])?;
        if op != Compare::Ne {
            return Ok(view);
        }
        let shape = self.b.shape(view.id).to_vec();
        let id = self.b.add("Not", &[view.id], vec![], Type::Bool, shape);
        Ok(View { id, ..view })
    }

    /// `(condition and a) or (not condition and b)`: runtimes have no choice between truth values.
    fn select_truth(&mut self, i: usize) -> Result<View> {
        let views = (0..3).map(|k| self.operand(i, k)).collect::<Result<Vec<_>>>()?;
        let operands = Operands::new(&mut self.b, &views);
        let (shape, [condition, yes, no]) = (operands.shape(), [0, 1, 2].map(|k| operands.ids[k]));
        let mut add = |kind, ids: &[Id], shape: Vec<Dim>| self.b.add(kind, ids, vec![], Type::Bool, shape);
        let (a, not) = (add("And", &[condition, yes], shape.clone()), add("Not", &[condition], shape.clone()));
        let b = add("And", &[not, no], shape.clone());
        let id = add("Or", &[a, b], shape);
        Ok(operands.view(id, &self.traced.nodes[i].shape))
    }

    fn reduce(&mut self, i: usize, reduce: Reduce, axes: &[usize]) -> Result<View> {
        let traced = self.traced;
        let node = &traced.nodes[i];
        let kind = match reduce {
            Reduce::Sum => "ReduceSum",
            Reduce::Max => "ReduceMax",
            Reduce::Min => "ReduceMin",
            Reduce::Prod => "ReduceProd",
        };
        let x = self.operand(i, 0)?.unrepeated(&mut self.b).aligned(&mut self.b);
        let mut places: Vec<i64> = axes.iter().map(|&axis| x.order[axis] as i64).collect();
        places.sort_unstable();
        let from = self.b.shape(x.id).to_vec();
        let one = |(axis, &d): (usize, &Dim)| if places.contains(&(axis as i64)) { Dim::ONE } else { d };
        let shape: Vec<Dim> = from.iter().enumerate().map(one).collect();
        let b = &mut self.b;
        let list = b.ints(&places);
        // Runtimes reduce no truth values.
        let truth = node.dtype == DType::Bool;
        let to = |ty: Type| vec![("to", Attribute::Int(ty as i64))];
        let id = if truth { b.add("Cast", &[x.id], to(Type::I32), Type::I32, from) } else { x.id };
        let ty = b.ty(id);
        let keep = vec![("keepdims", Attribute::Int(1))];
        let mut id = b.add(kind, &[id, list], keep, ty, shape.clone());
        if truth {
            id = b.add("Cast", &[id], to(Type::Bool), Type::Bool, shape);
        }
        Ok(View { id, order: x.order, shape: node.shape.clone(), repeated: None })
    }

    /// A reduction without the axes that it leaves with length 1, if that is all that another shape is for.
    fn dropped(&mut self, x: &View, shape: &[Dim]) -> Option<View> {
        let Operation { kind, inputs, attributes, .. } = self.b.maker(x.id)?.clone();
        if !kind.starts_with("Reduce") || attributes != [("keepdims", Attribute::Int(1))] || x.repeated.is_some() {
            return None;
        }
        let axes = self.b.known_ints(inputs[1]?)?;
        let kept = |axis: &usize| !axes.contains(&(*axis as i64));
        let own = self.b.shape(x.id).to_vec();
        let left: Vec<usize> = x.order.iter().copied().filter(kept).collect();
        if !left.iter().map(|&axis| own[axis]).eq(shape.iter().copied()) {
            return None;
        }
        let result = (self.b.ty(x.id), (0..own.len()).filter(kept).map(|axis| own[axis]).collect());
        let drop = vec![("keepdims", Attribute::Int(0))];
        let id = self.b.add_all(kind, inputs, drop, vec![result])[0];
        let order = left.iter().map(|&axis| (0..axis).filter(kept).count()).collect();
        Some(View { id, order, shape: shape.to_vec(), repeated: None })
    }

    fn slice(&mut self, i: usize) -> Result<View> {
        let traced = self.traced;
        let node = &traced.nodes[i];
        let from = &traced.nodes[node.inputs[0]].shape;
        let cut = (0..node.shape.len()).filter(|&a| node.shape[a] != from[a]);
        let bounds: Vec<_> = cut.map(|a| (a, node.numbers[a], Some(node.numbers[a] + node.shape[a]))).collect();
        self.slices(i, &bounds)
    }

    /// Along some axes the elements from a place to another, or without that all of them backwards.
    fn slices(&mut self, i: usize, bounds: &[(usize, Dim, Option<Dim>)]) -> Result<View> {
        let node = &self.traced.nodes[i];
        let mut x = self.operand(i, 0)?;
        if bounds.iter().any(|(axis, ..)| x.repeated.as_ref().is_some_and(|r| r[*axis] != x.shape[*axis])) {
            x = x.unrepeated(&mut self.b);
        }
        let x = x.aligned(&mut self.b);
        let axes: Vec<i64> = bounds.iter().map(|b| x.order[b.0] as i64).collect();
        let starts: Vec<Dim> = bounds.iter().map(|b| b.1).collect();
        let before_all = Dim { scale: 0, offset: i64::MIN };
        let ends: Vec<Dim> = bounds.iter().map(|b| b.2.unwrap_or(before_all)).collect();
        let mut shape = self.b.shape(x.id).to_vec();
        bounds.iter().for_each(|&(axis, ..)| shape[x.order[axis]] = node.shape[axis]);
        let mut ids = vec![x.id, self.b.dims(&starts), self.b.dims(&ends), self.b.ints(&axes)];
        if bounds.iter().any(|b| b.2.is_none()) {
            ids.push(self.b.ints(&vec![-1; bounds.len()]));
        }
        let id = self.b.add("Slice", &ids, vec![], node.dtype.into(), shape);
        let seen = x.order.iter().map(|&axis| self.b.shape(id)[axis]).collect();
        Ok(View { id, order: x.order, shape: seen, repeated: None }.repeated(&node.shape))
    }

    fn pad(&mut self, i: usize) -> Result<View> {
        let node = &self.traced.nodes[i];
        let x = self.operand(i, 0)?.unrepeated(&mut self.b).aligned(&mut self.b);
        let rank = node.shape.len();
        let mut pads = vec![Dim::fixed(0); 2 * rank];
        let mut shape = vec![Dim::ONE; rank];
        for (axis, &place) in x.order.iter().enumerate() {
            (pads[place], pads[rank + place]) = (node.numbers[2 * axis], node.numbers[2 * axis + 1]);
            shape[place] = node.shape[axis];
        }
        let pads = self.b.dims(&pads);
        let id = self.b.add("Pad", &[x.id, pads], vec![], node.dtype.into(), shape);
        Ok(View { id, shape: node.shape.clone(), ..x })
    }

    /// Rows out of range go to one more row, which is cut off.
    fn scatter_add(&mut self, i: usize, rows: usize) -> Result<View> {
        let node = &self.traced.nodes[i];
        let (index, source) = (self.operand(i, 0)?, self.operand(i, 1)?);
        let b = &mut self.b;
        let (index, source) = (index.wide(b), source.wide(b));
        let shape = b.shape(index).to_vec();
        let [zero, last] = [0.0, rows as f64].map(|v| b.scalar(v, DType::I32));
        let low = b.add("Less", &[index, zero], vec![], Type::Bool, shape.clone());
        let within = b.add("Where", &[low, last, index], vec![], Type::I32, shape.clone());
        let within = b.add("Min", &[within, last], vec![], Type::I32, shape.clone());
        let to = vec![("to", Attribute::Int(Type::I64 as i64))];
        let within = b.add("Cast", &[within], to, Type::I64, shape.clone());
        let within = b.reshape(within, &[&shape[..], &[Dim::ONE]].concat());
        let mut more = node.shape.clone();
        more[0] = Dim::fixed(rows + 1);
        let zeros = b.data(&Data::zeros(node.dtype, 1), &vec![1; more.len()], None);
        let zeros = b.expand(zeros, &more);
        let add = vec![("reduction", Attribute::Text("add"))];
        let sums = b.add("ScatterND", &[zeros, within, source], add, node.dtype.into(), more);
        let bounds = [0, rows as i64, 0].map(|v| b.ints(&[v]));
        let id = b.add("Slice", &[&[sums], &bounds[..]].concat(), vec![], node.dtype.into(), node.shape.clone());
        Ok(View::of(b, id))
    }

    fn matmul(&mut self, i: usize) -> Result<View> {
        let node = &self.traced.nodes[i];
        let rank = node.shape.len();
        let (x, y) = (self.operand(i, 0)?, self.operand(i, 1)?);
        let b = &mut self.b;
        // A batch axis that is only repeated needs no copies.
        let factor = |b: &mut Builder, view: View| match &view.repeated {
            Some(all) if all[rank - 2..] != view.shape[rank - 2..] => view.wide(b),
            _ => view.narrow(b),
        };
        let y = factor(b, y);
        let moved = x.moved(b);
        let (ty, last) = (node.dtype.into(), node.shape[rank - 1]);
        let x_last = [x.shape[rank - 1]];
        // A matrix of rows that were joined only for the product.
        if rank == 2
            && x.repeated.is_none()
            && let Some(split) = rows_of(&moved, node.shape[0])
        {
            let x = b.transpose(x.id, &x.order);
            let x = b.reshape(x, &[&moved[..split], &x_last].concat());
            let id = b.add("MatMul", &[x, y], vec![], ty, [&moved[..split], &[last]].concat());
            return Ok(View { shape: node.shape.clone(), ..View::of(b, id) });
        }
        let x = factor(b, x);
        let pick = |a: usize| if b.shape(x)[a] == Dim::ONE { b.shape(y)[a] } else { b.shape(x)[a] };
        let batch: Vec<Dim> = (0..rank - 2).map(pick).collect();
        let shape = [&batch[..], &[node.shape[rank - 2], last]].concat();
        let id = b.add("MatMul", &[x, y], vec![], ty, shape);
        Ok(View::of(b, id).repeated(&node.shape))
    }
}

/// The lengths, if they are the same for all batches.
pub(super) fn lengths(shape: &[Dim]) -> Option<Vec<usize>> {
    shape.iter().map(|d| d.value().and_then(|v| usize::try_from(v).ok())).collect()
}

/// How many axes in front make the rows of a matrix, if there are several, and no two lengths depend on the batch.
fn rows_of(shape: &[Dim], rows: Dim) -> Option<usize> {
    let several = |front: &[Dim]| front.iter().filter(|&&d| d != Dim::ONE).count() > 1;
    let simple = |front: &[Dim]| front.iter().filter(|d| d.value().is_none()).count() < 2;
    (2..shape.len()).find(|&split| {
        let front = &shape[..split];
        several(front) && simple(front) && front.iter().copied().product::<Dim>() == rows
    })
}
