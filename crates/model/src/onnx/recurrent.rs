//! LSTMs: ONNX's operation where it gives what is asked for, else step by step.

use super::builder::{Attribute, Id, Type};
use super::lower::Lowering;
use super::traced::Dim;
use super::view::View;
use ibex_core::graph::Op;
use ibex_core::{DType, Data, Error, Result};

/// The hidden and the cell states, each `(n, steps, units)`, and after the last step alone, each `(n, units)`.
pub(super) struct States {
    hidden: View,
    /// Not there if ONNX's operation does not give them.
    cells: Option<View>,
    last: [View; 2],
}

/// Which part of an LSTM's results a slice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Hidden,
    LastHidden,
    Cells,
    LastCell,
}

impl Lowering<'_> {
    /// A slice `(n, some steps, units)` of `(n, steps, 6 units)`: for each step `h, c, i, f, g, o`.
    fn part(&self, slice: usize) -> Option<Part> {
        let node = &self.traced.nodes[slice];
        let from = &self.traced.nodes[*node.inputs.first()?].shape;
        let [batch, time, unit] = node.numbers[..] else { return None };
        let units = from.last()?.value()? / 6;
        let whole = matches!(node.op, Op::Slice(_)) && batch == Dim::fixed(0) && node.shape[0] == from[0];
        if !whole || node.shape[2] != Dim::fixed(units as usize) {
            return None;
        }
        let last = node.shape[1] == Dim::ONE && time.value()? + 1 == from[1].value()?;
        match (unit.value()?, last) {
            (0, true) => Some(Part::LastHidden),
            (0, false) => Some(Part::Hidden),
            (start, true) if start == units => Some(Part::LastCell),
            (start, false) if start == units => Some(Part::Cells),
            _ => None,
        }
    }

    pub fn slice_of_lstm(&mut self, i: usize) -> Result<View> {
        let unknown = || Error::unsupported("the gates of an LSTM can not be written to ONNX");
        let (part, node) = (self.part(i).ok_or_else(unknown)?, &self.traced.nodes[i]);
        let states = self.lstms.get(&node.inputs[0]).ok_or_else(unknown)?;
        let steps = match part {
            Part::LastHidden => return Ok(states.last[0].clone().reshaped(&mut self.b, &node.shape)),
            Part::LastCell => return Ok(states.last[1].clone().reshaped(&mut self.b, &node.shape)),
            Part::Hidden => states.hidden.clone(),
            Part::Cells => states.cells.clone().ok_or_else(unknown)?,
        };
        let (start, len) = (node.numbers[1], node.shape[1]);
        if steps.shape[1] == len {
            return Ok(steps);
        }
        let b = &mut self.b;
        let (x, axes) = (steps.wide(b), b.ints(&[1]));
        let ids = [x, b.dims(&[start]), b.dims(&[start + len]), axes];
        let id = b.add("Slice", &ids, vec![], Type::F32, node.shape.clone());
        Ok(View::of(b, id))
    }

    pub fn lstm(&mut self, i: usize) -> Result<()> {
        let node = &self.traced.nodes[i];
        let operands = (0..4).map(|k| self.operand(i, k)).collect::<Result<Vec<_>>>()?;
        let states = match self.lstm_weights(&operands) {
            Some(weights) if node.users.iter().all(|&user| self.part(user).is_some_and(|p| p != Part::Cells)) => {
                self.one_lstm(i, &operands, weights)
            }
            _ => self.unrolled(i, &operands)?,
        };
        self.lstms.insert(i, states);
        Ok(())
    }

    /// The sequence `(n, steps, features)`, and `W`, `R` and `B` of ONNX's operation, where the gates' part of the input is made of known numbers.
    fn lstm_weights(&mut self, operands: &[View]) -> Option<(View, [Id; 3])> {
        let b = &mut self.b;
        let (z, recurrent) = (&operands[0], &operands[1]);
        let width = z.shape.last()?.value()? as usize;
        let units = width / 4;
        if z.moved(b) != z.shape || !z.order.is_sorted() || z.repeated.is_some() {
            return None;
        }
        let (product, bias) = match b.made_by(z.id, "Add").map(|add| add.inputs.clone()).as_deref() {
            Some(&[Some(product), Some(bias)]) => (product, Some(bias)),
            _ => (z.id, None),
        };
        let (x, kernel) = match b.made_by(product, "MatMul").map(|product| product.inputs.clone()).as_deref() {
            Some(&[Some(x), Some(kernel)]) => (x, kernel),
            _ => return None,
        };
        let recurrent = recurrent.wide(b);
        let features = b.shape(kernel).first()?.value()? as usize;
        if b.shape(kernel).len() != 2 || b.shape(x).len() != 3 {
            return None;
        }
        // (rows, gates) in Keras's order i, f, g, o to (1, gates, rows) in the order i, o, f, g.
        let name = |id: Id| self.b.name(id).map(str::to_string);
        let gates = |values: &[f32], rows: usize| -> Vec<f32> {
            let order = [0, 3, 1, 2].into_iter().flat_map(|gate| gate * units..(gate + 1) * units);
            order.flat_map(|column| (0..rows).map(move |row| values[row * width + column])).collect()
        };
        let (w, r) = (self.b.floats(kernel)?, self.b.floats(recurrent)?);
        let zeros = vec![0.0; width];
        let bias_values = match bias {
            Some(id) => self.b.floats(id).filter(|values| values.len() == width)?,
            None => zeros.clone(),
        };
        let both = [gates(&bias_values, 1), zeros].concat();
        let names = [name(kernel), name(recurrent), bias.and_then(name)];
        let b = &mut self.b;
        let w = b.data(&Data::F32(gates(&w, features)), &[1, width, features], names[0].as_deref());
        let r = b.data(&Data::F32(gates(&r, units)), &[1, width, units], names[1].as_deref());
        let both = b.data(&Data::F32(both), &[1, 2 * width], names[2].as_deref());
        Some((View::of(b, x), [w, r, both]))
    }

    fn one_lstm(&mut self, i: usize, operands: &[View], (x, [w, r, bias]): (View, [Id; 3])) -> States {
        let traced = self.traced;
        let node = &traced.nodes[i];
        let (batch, steps) = (node.shape[0], node.shape[1]);
        let units = Dim::fixed(node.shape[2].value().unwrap_or(0) as usize / 6);
        let b = &mut self.b;
        let x = x.permuted(b, &[1, 0, 2]).wide(b);
        let mut inputs = vec![Some(x), Some(w), Some(r), Some(bias)];
        let zero = |k: usize| traced.full(node.inputs[k]) == Some(0.0);
        if !(zero(2) && zero(3)) {
            inputs.push(None);
            for state in &operands[2..4] {
                let state = state.reshaped(b, &[Dim::ONE, batch, units]).wide(b);
                inputs.push(Some(state));
            }
        }
        let one = vec![Dim::ONE, batch, units];
        let results =
            vec![(Type::F32, vec![steps, Dim::ONE, batch, units]), (Type::F32, one.clone()), (Type::F32, one)];
        let size = vec![("hidden_size", Attribute::Int(units.offset))];
        let ids = b.add_all("LSTM", inputs, size, results);
        let mut squeeze = |id: Id, axis: i64, shape: Vec<Dim>| {
            let axes = b.ints(&[axis]);
            b.add("Squeeze", &[id, axes], vec![], Type::F32, shape)
        };
        let hidden = squeeze(ids[0], 1, vec![steps, batch, units]);
        let last = [ids[1], ids[2]].map(|id| squeeze(id, 0, vec![batch, units]));
        let hidden = View::of(b, hidden).permuted(b, &[1, 0, 2]);
        States { hidden, cells: None, last: last.map(|id| View::of(b, id)) }
    }

    /// One step after another.
    fn unrolled(&mut self, i: usize, operands: &[View]) -> Result<States> {
        let node = &self.traced.nodes[i];
        let many = || Error::unsupported("an LSTM over a number of steps that depends on the batch");
        let (batch, steps) = (node.shape[0], node.shape[1].value().ok_or_else(many)?);
        let units = Dim::fixed(node.shape[2].value().unwrap_or(0) as usize / 6);
        let b = &mut self.b;
        let ids: Vec<Id> = operands.iter().map(|operand| operand.wide(b)).collect();
        let (state, wide) = (vec![batch, units], vec![batch, Dim { scale: 0, offset: 4 * units.offset }]);
        let &[z, recurrent, mut h, mut c] = &ids[..] else { return Err(many()) };
        let (mut hidden, mut cells) = (Vec::new(), Vec::new());
        for t in 0..steps {
            let bounds = [t, t + 1, 1].map(|v| b.ints(&[v]));
            let step = [batch, Dim::ONE, wide[1]].to_vec();
            let own = b.add("Slice", &[&[z], &bounds[..]].concat(), vec![], Type::F32, step);
            let own = b.reshape(own, &wide);
            let before = b.add("MatMul", &[h, recurrent], vec![], Type::F32, wide.clone());
            let sum = b.add("Add", &[own, before], vec![], Type::F32, wide.clone());
            let four = vec![("axis", Attribute::Int(1)), ("num_outputs", Attribute::Int(4))];
            let gates = b.add_all("Split", vec![Some(sum)], four, vec![(Type::F32, state.clone()); 4]);
            let mut add = |kind, ids: &[Id]| b.add(kind, ids, vec![], Type::F32, state.clone());
            let [input, forget, output] = [0, 1, 3].map(|k| add("Sigmoid", &[gates[k]]));
            let new = add("Tanh", &[gates[2]]);
            let (kept, taken) = (add("Mul", &[forget, c]), add("Mul", &[input, new]));
            c = add("Add", &[kept, taken]);
            let squashed = add("Tanh", &[c]);
            h = add("Mul", &[output, squashed]);
            let single = [batch, Dim::ONE, units];
            hidden.push(b.reshape(h, &single));
            cells.push(b.reshape(c, &single));
        }
        let all = vec![batch, Dim { scale: 0, offset: steps }, units];
        let along = vec![("axis", Attribute::Int(1))];
        let [hidden, cells] = [hidden, cells].map(|parts| {
            let id = b.add("Concat", &parts, along.clone(), DType::F32.into(), all.clone());
            View::of(b, id)
        });
        Ok(States { hidden, cells: Some(cells), last: [h, c].map(|id| View::of(b, id)) })
    }
}
