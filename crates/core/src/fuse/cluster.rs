//! Kernels for single nodes: the fused expression behind each stored node as a loop, each contraction with views on its operands.

use super::index::{Map, Stop};
use super::select::{Selection, reads_buffers, through};
use super::{Missing, Unit, buffer, kernels};
use crate::backend::Caps;
use crate::graph::{Compare, Graph, NodeId, Op};
use crate::program::{Body, Instr, KernelKind, Load, Loop, Store, ValueId, View};
use crate::{DType, Scalar};
use std::collections::HashMap;

/// One unit for each stored node, operands before users. `Err` says what must be stored too.
pub(super) fn units(graph: &Graph, selection: &Selection, caps: &Caps) -> Result<Vec<Unit>, Missing> {
    let stored = (0..graph.nodes.len()).map(NodeId).filter(|&id| selection.is_stored(id));
    // Nothing is computed for no elements.
    let wanted = stored.filter(|&id| graph[id].shape.elements() > 0);
    wanted
        .map(|id| {
            if reads_buffers(&graph[id].op) {
                kernels::unit(graph, selection, id)
            } else {
                let unit = loop_unit(graph, selection, id)?;
                match too_wide(graph, selection, id, &unit, caps) {
                    Some(operand) => Err(Missing::Value(operand)),
                    None => Ok(unit),
                }
            }
        })
        .collect()
}

/// The selection only estimates what a kernel binds. Where that is too much, an operand of its last operation must be stored.
fn too_wide(graph: &Graph, selection: &Selection, id: NodeId, unit: &Unit, caps: &Caps) -> Option<NodeId> {
    if unit.kind.body()?.buffers().len() <= caps.max_bindings {
        return None;
    }
    let unstored = |&source: &NodeId| !selection.has_buffer(graph, source) && graph[source].op.is_elementwise();
    graph[id].inputs.iter().map(|&operand| through(graph, operand, Op::is_movement)).find(unstored)
}

fn loop_unit(graph: &Graph, selection: &Selection, id: NodeId) -> Result<Unit, Missing> {
    let node = &graph[id];
    // Lengths of the kernel's axes, and for each the axis of the node (of its input, for a reduction) that it walks.
    let (shape, reduced) = match &node.op {
        Op::Reduce(_, axes) => (&graph[node.inputs[0]].shape, axes.clone()),
        _ => (&node.shape, vec![]),
    };
    let inside = reduced.last().map_or(usize::MAX, |&last| last + 1);
    let kept = |range: std::ops::Range<usize>| range.filter(|a| !reduced.contains(a)).collect::<Vec<_>>();
    let outer = kept(0..inside.min(shape.rank()));
    let inner = kept(inside.min(shape.rank())..shape.rank());
    let order = [&outer[..], &reduced[..], &inner[..]].concat();
    // Axes of length 1 do not count.
    let order: Vec<usize> = order.into_iter().filter(|&a| shape[a] != 1).collect();
    let mut axes: Vec<(usize, Vec<usize>)> = order.iter().map(|&a| (a, vec![shape[a]])).collect();

    loop {
        let dims: Vec<usize> = axes.iter().flat_map(|(_, parts)| parts.clone()).collect();
        let map = split_map(&axes, &dims, shape.rank());
        let mut emitter = Emitter {
            graph,
            selection,
            root: id,
            rank: dims.len(),
            body: Body::default(),
            memo: HashMap::new(),
            known: HashMap::new(),
            names: vec![],
        };
        let value = match &node.op {
            Op::Reduce(reduce, _) => emitter.emit(node.inputs[0], &map).map(|v| {
                emitter.names.push(reduce.name());
                emitter.instr(Instr::Reduce(*reduce, v))
            }),
            _ => emitter.emit(id, &map),
        };
        match value {
            Ok(value) => {
                let is_reduced = |a: usize| reduced.contains(&a);
                let count = |want: fn(&[usize], usize) -> bool| {
                    axes.iter().filter(|(a, _)| want(&reduced, *a)).map(|(_, p)| p.len()).sum::<usize>()
                };
                let reduce = count(|reduced, a| reduced.contains(&a));
                let outer = if reduced.is_empty() {
                    dims.len()
                } else {
                    count(|reduced, a| !reduced.contains(&a) && a < reduced[reduced.len() - 1])
                };
                // Row-major over the node's own shape: reduced axes have length 1 there.
                let strides = node.shape.strides();
                let mut store = View { offset: 0, strides: vec![], bounds: vec![] };
                for (a, parts) in &axes {
                    let mut stride = if is_reduced(*a) { 0 } else { strides[*a] };
                    let mut list: Vec<i64> = vec![];
                    for part in parts.iter().rev() {
                        list.push(stride);
                        stride *= *part as i64;
                    }
                    store.strides.extend(list.into_iter().rev());
                }
                let Emitter { mut body, mut names, .. } = emitter;
                body.stores.push(Store { value, buffer: buffer(id), dtype: node.dtype, view: store });
                if names.is_empty() {
                    names.push("copy");
                }
                return Ok(Unit { kind: KernelKind::Loop(Loop { dims, outer, reduce, body }), names });
            }
            Err(Break::Split(k, inner)) => {
                let mut at = k;
                for (_, parts) in &mut axes {
                    if at < parts.len() {
                        parts[at] /= inner;
                        parts.insert(at + 1, inner);
                        break;
                    }
                    at -= parts.len();
                }
            }
            Err(Break::Store(node)) => return Err(Missing::Value(node)),
        }
    }
}

/// The map for node axes that are split into several kernel axes.
fn split_map(axes: &[(usize, Vec<usize>)], dims: &[usize], rank: usize) -> Map {
    let mut map = Map::new(dims, &[]);
    map.index = vec![super::index::Affine { offset: 0, terms: vec![0; dims.len()] }; rank];
    let mut k = 0;
    for (a, parts) in axes {
        let mut stride: usize = parts.iter().product();
        for &part in parts {
            stride /= part;
            map.index[*a].terms[k] = stride as i64;
            k += 1;
        }
    }
    map
}

enum Break {
    /// Kernel axis `.0` must be split, with `.1` as the inner length.
    Split(usize, usize),
    /// This node must be stored.
    Store(NodeId),
}

struct Emitter<'a> {
    graph: &'a Graph,
    selection: &'a Selection,
    /// The node being computed: it has a buffer, but must not be read from it.
    root: NodeId,
    rank: usize,
    body: Body,
    memo: HashMap<(NodeId, Map), ValueId>,
    known: HashMap<Instr, ValueId>,
    names: Vec<&'static str>,
}

impl Emitter<'_> {
    fn instr(&mut self, instr: Instr) -> ValueId {
        *self.known.entry(instr).or_insert_with(|| {
            self.body.instrs.push(instr);
            ValueId(self.body.instrs.len() - 1)
        })
    }

    fn load(&mut self, node: NodeId, view: View) -> ValueId {
        let load = Load { buffer: buffer(node), dtype: self.graph[node].dtype, view };
        let at = self.body.loads.iter().position(|l| *l == load).unwrap_or_else(|| {
            self.body.loads.push(load);
            self.body.loads.len() - 1
        });
        self.instr(Instr::Load(at))
    }

    fn iota(&mut self, view: View) -> ValueId {
        let at = self.body.iotas.iter().position(|v| *v == view).unwrap_or_else(|| {
            self.body.iotas.push(view);
            self.body.iotas.len() - 1
        });
        self.instr(Instr::Iota(at))
    }

    /// The value of `id` at the points of `map`; unspecified (but safe to compute) outside of its bounds, except that loads are zero.
    fn emit(&mut self, id: NodeId, map: &Map) -> Result<ValueId, Break> {
        if let Some(&value) = self.memo.get(&(id, map.clone())) {
            return Ok(value);
        }
        let value = self.compute(id, map)?;
        self.memo.insert((id, map.clone()), value);
        Ok(value)
    }

    fn compute(&mut self, id: NodeId, map: &Map) -> Result<ValueId, Break> {
        let node = &self.graph[id];
        if id != self.root && self.selection.has_buffer(self.graph, id) {
            return Ok(self.load(id, map.view(&node.shape)));
        }
        if node.shape.elements() == 0 {
            return Ok(self.instr(Instr::Const(Scalar::from_f64(0.0, node.dtype))));
        }
        if !node.op.is_movement() && !matches!(node.op, Op::Full(_)) {
            self.names.push(node.op.name());
        }
        let input = |i: usize| node.inputs[i];
        Ok(match &node.op {
            Op::Full(value) => self.instr(Instr::Const(*value)),
            Op::Iota(axis) => {
                let index = &map.index[*axis];
                self.iota(View { offset: index.offset, strides: index.terms.clone(), bounds: vec![] })
            }
            Op::Random(stream) => {
                let key = input(0);
                let rank = self.rank;
                let word = |offset| View { offset, strides: vec![0; rank], bounds: vec![] };
                let Some(home) = self.selection.home(self.graph, key) else { return Err(Break::Store(key)) };
                let keys = [self.load(home, word(0)), self.load(home, word(1))];
                let mut position = map.view(&node.shape);
                position.bounds.clear();
                let index = self.iota(position);
                let counter = self.instr(Instr::Cast(DType::U32, index));
                self.instr(Instr::Threefry(keys, counter, *stream))
            }
            Op::Unary(op) => {
                let a = self.emit(input(0), map)?;
                self.instr(Instr::Unary(*op, a))
            }
            Op::Binary(op) => {
                let (a, b) = (self.emit(input(0), map)?, self.emit(input(1), map)?);
                self.instr(Instr::Binary(*op, a, b))
            }
            Op::Compare(op) => {
                let (a, b) = (self.emit(input(0), map)?, self.emit(input(1), map)?);
                self.instr(Instr::Compare(*op, a, b))
            }
            Op::Select => {
                let (c, a, b) = (self.emit(input(0), map)?, self.emit(input(1), map)?, self.emit(input(2), map)?);
                self.instr(Instr::Select(c, a, b))
            }
            Op::Cast(to) => {
                let a = self.emit(input(0), map)?;
                self.instr(Instr::Cast(*to, a))
            }
            op if op.is_movement() => return self.movement(id, map),
            // Reductions and contractions are always stored.
            _ => return Err(Break::Store(id)),
        })
    }

    fn movement(&mut self, id: NodeId, map: &Map) -> Result<ValueId, Break> {
        let node = &self.graph[id];
        let input = node.inputs[0];
        // A buffer has the same elements in the same order under either shape.
        if matches!(node.op, Op::Reshape)
            && input != self.root
            && let Some(home) = self.selection.home(self.graph, input)
        {
            return Ok(self.load(home, map.view(&node.shape)));
        }
        let inner = map.through(node, &self.graph[input].shape).map_err(|stop| match stop {
            Stop::Split(k, inner) => Break::Split(k, inner),
            // Unless the root itself is the obstacle, it is the movement's result that needs memory: then axes are its own.
            Stop::Fail if matches!(node.op, Op::Pad(_)) && id != self.root => Break::Store(id),
            Stop::Fail => Break::Store(input),
        })?;
        let value = self.emit(input, &inner)?;
        if !matches!(node.op, Op::Pad(_)) || matches!(self.body.instrs[value.0], Instr::Load(_)) {
            return Ok(value);
        }
        // Outside of the padded tensor the expression may be anything.
        let whole: Vec<(i64, i64)> = inner.dims.iter().map(|&d| (0, d as i64)).collect();
        if inner.bounds == whole {
            return Ok(value);
        }
        let inside = self.iota(View { offset: 1, strides: vec![0; self.rank], bounds: inner.bounds });
        let zero = self.instr(Instr::Const(Scalar::Int(0)));
        let inside = self.instr(Instr::Compare(Compare::Ne, inside, zero));
        let nothing = self.instr(Instr::Const(Scalar::from_f64(0.0, node.dtype)));
        Ok(self.instr(Instr::Select(inside, value, nothing)))
    }
}
