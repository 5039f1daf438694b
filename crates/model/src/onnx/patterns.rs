//! What the model computes in several steps and ONNX in one: joined parts, softmax, means, biases of products.

use super::builder::{Attribute, Id, Operation, Type};
use super::lower::{Lowering, lengths};
use super::traced::{Dim, Node};
use super::view::{Operands, View};
use ibex_core::DType;
use ibex_core::Result;
use ibex_core::graph::{Binary, Compare, Op, Reduce, Unary};
use std::collections::HashMap;

/// Nodes of sums of padded parts: the last with the axis and the parts, those before it with nothing.
pub(super) type Joins = HashMap<usize, Option<(usize, Vec<usize>)>>;

impl Lowering<'_> {
    /// The node of an operand, through what only gives it another shape.
    pub fn through(&self, mut i: usize, movement: impl Fn(&Op) -> bool) -> usize {
        while movement(&self.traced.nodes[i].op) {
            i = self.traced.nodes[i].inputs[0];
        }
        i
    }

    pub fn unbroadcast(&self, i: usize) -> usize {
        self.through(i, |op| matches!(op, Op::Broadcast))
    }

    pub fn at(&self, i: usize) -> (&Op, &[usize]) {
        let node = &self.traced.nodes[i];
        (&node.op, &node.inputs)
    }

    /// Sums of padded parts that are parts beside one another.
    pub fn joins(&self) -> Joins {
        let mut joins = Joins::new();
        for i in (0..self.traced.nodes.len()).rev() {
            let node = &self.traced.nodes[i];
            let sum = match node.dtype {
                DType::Bool => Op::Binary(Binary::Or),
                _ => Op::Binary(Binary::Add),
            };
            if !node.needed || node.op != sum || joins.contains_key(&i) {
                continue;
            }
            let (mut open, mut pads, mut sums) = (vec![i], Vec::new(), Vec::new());
            while let Some(next) = open.pop() {
                match &self.traced.nodes[next].op {
                    op if *op == sum => {
                        open.extend(self.traced.nodes[next].inputs.iter().rev());
                        sums.push(next);
                    }
                    Op::Pad(_) => pads.push(next),
                    _ => {
                        pads.clear();
                        break;
                    }
                }
            }
            if let Some((axis, parts)) = self.beside(&pads, node) {
                joins.extend(sums.into_iter().skip(1).filter(|&s| self.traced.has_one_user(s)).map(|s| (s, None)));
                joins.extend(pads.into_iter().filter(|&p| self.traced.has_one_user(p)).map(|p| (p, None)));
                joins.insert(i, Some((axis, parts)));
            }
        }
        joins
    }

    /// The axis along which pads put parts one behind another, and the parts in order.
    fn beside(&self, pads: &[usize], whole: &Node) -> Option<(usize, Vec<usize>)> {
        let zero = Dim::fixed(0);
        let numbers = |pad: usize| &self.traced.nodes[pad].numbers;
        let first = *pads.first()?;
        let axis = (0..whole.shape.len()).find(|&a| numbers(first)[2 * a..2 * a + 2] != [zero, zero])?;
        let others = |pad: usize| {
            (0..whole.shape.len()).filter(|&a| a != axis).all(|a| numbers(pad)[2 * a..2 * a + 2] == [zero; 2])
        };
        let mut pads = pads.to_vec();
        pads.sort_by_key(|&pad| (numbers(pad)[2 * axis].scale, numbers(pad)[2 * axis].offset));
        let (mut end, mut parts) = (zero, Vec::new());
        for pad in pads {
            let part = self.traced.nodes[pad].inputs[0];
            if numbers(pad)[2 * axis] != end || !others(pad) {
                return None;
            }
            end = end + self.traced.nodes[part].shape[axis];
            parts.push(part);
        }
        (end == whole.shape[axis] && parts.len() > 1).then_some((axis, parts))
    }

    pub fn join(&mut self, i: usize, axis: usize, parts: &[usize]) -> View {
        let node = &self.traced.nodes[i];
        let views: Vec<View> = parts.iter().filter_map(|&part| self.view(part).ok()).collect();
        let b = &mut self.b;
        let views: Vec<View> = views.into_iter().map(|view| view.unrepeated(b).aligned(b)).collect();
        // Parts in one layout are joined there.
        let first = &views[0].order;
        let (order, ids): (Vec<usize>, Vec<Id>) = match views.iter().all(|v| v.order == *first) {
            true => (first.clone(), views.iter().map(|v| v.id).collect()),
            false => ((0..node.shape.len()).collect(), views.iter().map(|v| v.narrow(b)).collect()),
        };
        let mut shape = b.shape(ids[0]).to_vec();
        shape[order[axis]] = node.shape[axis];
        let along = vec![("axis", Attribute::Int(order[axis] as i64))];
        let id = b.add("Concat", &ids, along, node.dtype.into(), shape);
        View { id, order, shape: node.shape.clone(), repeated: None }
    }

    /// A binary operation as the last step of something that ONNX has a name for.
    pub fn pattern(&mut self, i: usize, op: Binary) -> Result<Option<View>> {
        let node = &self.traced.nodes[i];
        if !node.dtype.is_float() {
            return Ok(None);
        }
        let (x, y) = (node.inputs[0], node.inputs[1]);
        match op {
            Binary::Max if self.traced.full(y) == Some(0.0) => {
                let x = self.view(x)?;
                Ok(Some(self.pointwise_of(i, "Relu", vec![], &[x])))
            }
            Binary::Min => self.clip(i),
            Binary::Div => match self.softmax_of(x, y) {
                Some((x, axis)) => self.along(i, "Softmax", x, axis).map(Some),
                None => self.average(i),
            },
            Binary::Sub => match self.log_softmax_of(x, y) {
                Some((x, axis)) => self.along(i, "LogSoftmax", x, axis).map(Some),
                None => Ok(None),
            },
            Binary::Mul => {
                if let Some((x, axis)) = self.reciprocal(y).and_then(|sum| self.softmax_of(x, sum)) {
                    return self.along(i, "Softmax", x, axis).map(Some);
                }
                match self.normalized(i)? {
                    Some(view) => Ok(Some(view)),
                    None => self.mean(i),
                }
            }
            Binary::Add => match self.softplus_of(x, y) {
                Some(x) => {
                    let x = self.view(x)?;
                    Ok(Some(self.pointwise_of(i, "Softplus", vec![], &[x])))
                }
                None => match self.normalized(i)? {
                    Some(view) => Ok(Some(view)),
                    None => self.biased(i),
                },
            },
            _ => Ok(None),
        }
    }

    /// `min(max(x, low), high)`
    fn clip(&mut self, i: usize) -> Result<Option<View>> {
        let node = &self.traced.nodes[i];
        let (Some(high), (Op::Binary(Binary::Max), inner)) =
            (self.traced.full(node.inputs[1]), self.at(node.inputs[0]))
        else {
            return Ok(None);
        };
        let Some(low) = self.traced.full(inner[1]) else { return Ok(None) };
        let x = self.view(inner[0])?;
        let [low, high] = [low, high].map(|v| self.b.scalar(v, node.dtype));
        let shape = self.b.shape(x.id).to_vec();
        let id = self.b.add("Clip", &[x.id, low, high], vec![], node.dtype.into(), shape);
        Ok(Some(View { id, ..x }))
    }

    /// `x` and the axis of `x - max(x)`.
    fn shifted(&self, i: usize) -> Option<(usize, usize)> {
        let (Op::Binary(Binary::Sub), &[x, largest]) = self.at(i) else { return None };
        match self.at(self.unbroadcast(largest)) {
            (Op::Reduce(Reduce::Max, axes), &[of]) if of == x && axes.len() == 1 => Some((x, axes[0])),
            _ => None,
        }
    }

    /// `x` and the axis of `sum(e)`, where `e` is `exp(x - max(x))`.
    fn sum_of_exp(&self, i: usize) -> Option<(usize, usize, usize)> {
        let (Op::Reduce(Reduce::Sum, axes), &[exp]) = self.at(self.unbroadcast(i)) else { return None };
        let (Op::Unary(Unary::Exp), &[shifted]) = self.at(exp) else { return None };
        let (x, axis) = self.shifted(shifted)?;
        (axes[..] == [axis]).then_some((exp, x, axis))
    }

    /// `x` of `1 / x`.
    fn reciprocal(&self, i: usize) -> Option<usize> {
        match self.at(self.unbroadcast(i)) {
            (Op::Unary(Unary::Recip), &[x]) => Some(x),
            _ => None,
        }
    }

    fn softmax_of(&self, exp: usize, sum: usize) -> Option<(usize, usize)> {
        let (of, x, axis) = self.sum_of_exp(sum)?;
        (of == exp).then_some((x, axis))
    }

    fn log_softmax_of(&self, shifted: usize, log: usize) -> Option<(usize, usize)> {
        let (Op::Unary(Unary::Log), &[sum]) = self.at(self.unbroadcast(log)) else { return None };
        let (exp, x, axis) = self.sum_of_exp(sum)?;
        (self.traced.nodes[exp].inputs[0] == shifted).then_some((x, axis))
    }

    /// `max(x, 0) + log1p(exp(x > 0 ? -x : x))`
    fn softplus_of(&self, above: usize, log: usize) -> Option<usize> {
        let (Op::Binary(Binary::Max), &[x, zero]) = self.at(above) else { return None };
        let (Op::Unary(Unary::Log1p), &[exp]) = self.at(log) else { return None };
        let (Op::Unary(Unary::Exp), &[choice]) = self.at(exp) else { return None };
        let (Op::Select, &[positive, negated, same]) = self.at(choice) else { return None };
        let (Op::Compare(Compare::Gt), &[left, right]) = self.at(positive) else { return None };
        let zeros = self.traced.full(zero) == Some(0.0) && self.traced.full(right) == Some(0.0);
        let fits = zeros && left == x && same == x && self.at(negated) == (&Op::Unary(Unary::Neg), &[x]);
        fits.then_some(x)
    }

    /// An operation along one axis.
    fn along(&mut self, i: usize, kind: &'static str, x: usize, axis: usize) -> Result<View> {
        let x = self.view(x)?.unrepeated(&mut self.b).aligned(&mut self.b);
        let axis = vec![("axis", Attribute::Int(x.order[axis] as i64))];
        let shape = self.b.shape(x.id).to_vec();
        let id = self.b.add(kind, &[x.id], axis, self.traced.nodes[i].dtype.into(), shape);
        Ok(View { id, ..x })
    }

    /// A sum, times one over how many it is of.
    fn mean(&mut self, i: usize) -> Result<Option<View>> {
        let node = &self.traced.nodes[i];
        let (x, Some(factor)) = (self.view(node.inputs[0])?, self.traced.full(node.inputs[1])) else { return Ok(None) };
        let b = &mut self.b;
        let Some(Operation { inputs, attributes, .. }) = b.made_by(x.id, "ReduceSum").cloned() else { return Ok(None) };
        let (Some(of), Some(axes)) = (inputs[0], inputs[1].and_then(|axes| b.known_ints(axes))) else {
            return Ok(None);
        };
        let lens: Option<Vec<i64>> = axes.iter().map(|&axis| b.shape(of)[axis as usize].value()).collect();
        let count = lens.map(|lens| lens.iter().product::<i64>());
        if count.is_none_or(|count| (1.0 / count as f64) as f32 != factor as f32) {
            return Ok(None);
        }
        let shape = b.shape(x.id).to_vec();
        let id = b.add_all("ReduceMean", inputs, attributes, vec![(node.dtype.into(), shape)])[0];
        Ok(Some(View { id, ..x }))
    }

    /// The sums of a pooling, divided by how many elements they are of.
    fn average(&mut self, i: usize) -> Result<Option<View>> {
        let traced = self.traced;
        let node = &traced.nodes[i];
        let x = self.view(node.inputs[0])?;
        let b = &self.b;
        let Some(&[Some(mean), Some(count)]) = b.made_by(x.id, "Mul").map(|mul| &mul.inputs[..]) else {
            return Ok(None);
        };
        let Some(pool) = b.made_by(mean, "AveragePool").cloned() else { return Ok(None) };
        let Some(count) = b.number(count) else { return Ok(None) };
        if traced.full(node.inputs[1]) == Some(f64::from(count)) {
            return Ok(Some(View { id: mean, ..x }));
        }
        // Without the padding.
        let y = self.view(node.inputs[1])?;
        let counts = self.b.floats(y.id).zip(lengths(&y.shape));
        let Some((counts, lens)) = counts.filter(|_| y.order.is_sorted()) else { return Ok(None) };
        if counts_of(&self.b, &pool, &lens).as_ref() != Some(&counts) {
            return Ok(None);
        }
        let attributes = pool.attributes.into_iter().filter(|a| a.0 != "count_include_pad").collect();
        let shape = self.b.shape(mean).to_vec();
        let id = self.b.add_all("AveragePool", pool.inputs, attributes, vec![(node.dtype.into(), shape)])[0];
        Ok(Some(View { id, ..x }))
    }

    /// A bias as part of the product before it.
    fn biased(&mut self, i: usize) -> Result<Option<View>> {
        let node = &self.traced.nodes[i];
        let product = self.through(node.inputs[0], |op| matches!(op, Op::Reshape));
        let mut at = node.inputs[0];
        while self.traced.has_one_user(at) && at != product {
            at = self.traced.nodes[at].inputs[0];
        }
        if at != product || !self.traced.has_one_user(product) {
            return Ok(None);
        }
        let views = [self.operand(i, 0)?, self.operand(i, 1)?];
        let operands = Operands::new(&mut self.b, &views);
        let (x, bias) = (operands.ids[0], operands.ids[1]);
        let (shape, ty) = (operands.shape(), Type::from(node.dtype));
        let b = &mut self.b;
        let Some(Operation { kind, inputs, attributes, .. }) = b.maker(x).cloned() else { return Ok(None) };
        let channels = |axis: usize| -> Option<Vec<Dim>> {
            let own = b.shape(bias);
            let from_end = shape.len() - axis;
            let fits = own.len() == from_end && own[0] == shape[axis] && own[1..].iter().all(|&d| d == Dim::ONE);
            (b.is_known(bias) && fits).then(|| vec![shape[axis]])
        };
        let id = match kind {
            "Conv" | "ConvTranspose" if inputs.len() == 2 => {
                let Some(flat) = channels(1) else { return Ok(None) };
                let bias = b.reshape(bias, &flat);
                b.add_all(kind, [&inputs[..], &[Some(bias)]].concat(), attributes, vec![(ty, shape)])[0]
            }
            "MatMul" if shape.len() == 2 && channels(1).is_some() => {
                b.add_all("Gemm", [&inputs[..], &[Some(bias)]].concat(), vec![], vec![(ty, shape)])[0]
            }
            _ => return Ok(None),
        };
        Ok(Some(operands.view(id, &node.shape)))
    }
}

/// How many elements each window of a pooling is of, padding left out, if the lengths `(1, out.., 1)` are those of its results.
fn counts_of(b: &super::builder::Builder, pool: &Operation, lens: &[usize]) -> Option<Vec<f32>> {
    let ints = |name: &str| match pool.attributes.iter().find(|a| a.0 == name) {
        Some((_, Attribute::Ints(list))) => Some(list.clone()),
        _ => None,
    };
    let (window, pads, strides) = (ints("kernel_shape")?, ints("pads")?, ints("strides")?);
    let input = lengths(&b.shape(pool.inputs[0]?)[2..])?;
    let output = lengths(&b.shape(pool.outputs[0])[2..])?;
    if lens.get(1..lens.len().checked_sub(1)?)? != output {
        return None;
    }
    let mut counts = vec![1.0];
    for (axis, &len) in output.iter().enumerate() {
        let along = |o: usize| {
            let start = o as i64 * strides[axis] - pads[axis];
            ((start + window[axis]).min(input[axis] as i64) - start.max(0)) as f32
        };
        counts = counts.iter().flat_map(|count| (0..len).map(move |o| count * along(o))).collect();
    }
    Some(counts)
}
