//! Units of contractions, windows, indexed and recurrent operations.

use super::index::Map;
use super::select::{Selection, is_optional};
use super::{Missing, Unit, buffer};
use crate::DType;
use crate::graph::{Graph, NodeId, Op};
use crate::program::{
    Body, BufferId, Conv, ConvPass, Gather, Instr, KernelKind, Lstm, LstmGrad, MatMul, Operand, Pool, PoolPass,
    ScatterAdd, Store, ValueId, View,
};

/// The kernel of a node that reads buffers. `Err` says which operand must be stored.
pub(super) fn unit(graph: &Graph, selection: &Selection, id: NodeId) -> Result<Unit, Missing> {
    let node = &graph[id];
    let home = |i: usize| selection.home(graph, node.inputs[i]).ok_or(Missing::Value(node.inputs[i]));
    let read = |i: usize| home(i).map(buffer);
    let typed = |i: usize| home(i).map(|h| (buffer(h), graph[h].dtype));
    let dim = |i: usize, axis: usize| graph[node.inputs[i]].shape[axis];
    let elements = |i: usize| graph[node.inputs[i]].shape.elements();

    let kind = match &node.op {
        Op::MatMul => matmul(graph, selection, id)?,
        Op::Conv(g) | Op::ConvInputGrad(g) | Op::ConvKernelGrad(g) => {
            let pass = match node.op {
                Op::Conv(_) => ConvPass::Forward,
                Op::ConvInputGrad(_) => ConvPass::InputGrad,
                _ => ConvPass::KernelGrad,
            };
            let mut conv = Conv { pass, geometry: *g, lhs: typed(0)?, rhs: typed(1)?, epilogue: Body::default() };
            conv.epilogue = plain(&conv.dims(), buffer(id), node.dtype);
            KernelKind::Conv(conv)
        }
        Op::MaxPool(g) | Op::MaxPoolGrad(g) | Op::SumPool(g) | Op::SumPoolGrad(g) => {
            let pass = match node.op {
                Op::MaxPool(_) => PoolPass::Max,
                Op::MaxPoolGrad(_) => PoolPass::MaxGrad,
                Op::SumPool(_) => PoolPass::Sum,
                _ => PoolPass::SumGrad,
            };
            let inputs = (0..node.inputs.len()).map(typed).collect::<Result<_, _>>()?;
            let mut pool = Pool { pass, geometry: *g, inputs, epilogue: Body::default() };
            pool.epilogue = plain(&pool.dims(), buffer(id), node.dtype);
            KernelKind::Pool(pool)
        }
        Op::Gather => KernelKind::Gather(Gather {
            rows: dim(0, 0),
            width: graph[node.inputs[0]].shape[1..].iter().product(),
            count: elements(1),
            dtype: node.dtype,
            table: read(0)?,
            index: read(1)?,
            out: buffer(id),
        }),
        Op::ScatterAdd(rows) => KernelKind::ScatterAdd(ScatterAdd {
            rows: *rows,
            width: node.shape[1..].iter().product(),
            count: elements(0),
            dtype: node.dtype,
            index: read(0)?,
            source: read(1)?,
            out: buffer(id),
        }),
        Op::Lstm => KernelKind::Lstm(Lstm {
            n: dim(0, 0),
            steps: dim(0, 1),
            units: dim(1, 0),
            z: read(0)?,
            recurrent: read(1)?,
            h0: read(2)?,
            c0: read(3)?,
            out: buffer(id),
        }),
        Op::LstmGrad => {
            let zero = |i: usize| is_optional(graph, &node.op, i, node.inputs[i]);
            let optional = |i: usize| if zero(i) { Ok(None) } else { read(i).map(Some) };
            KernelKind::LstmGrad(LstmGrad {
                n: dim(0, 0),
                steps: dim(0, 1),
                units: dim(1, 0),
                forward: read(0)?,
                recurrent: read(1)?,
                c0: read(2)?,
                dh: optional(3)?,
                dc: optional(4)?,
                out: buffer(id),
            })
        }
        _ => return Err(Missing::Value(id)),
    };
    Ok(Unit { kind, names: vec![node.op.name()] })
}

/// The epilogue that only stores the result.
fn plain(dims: &[usize], buffer: BufferId, dtype: DType) -> Body {
    let store = Store { value: ValueId(0), buffer, dtype, view: View::contiguous(dims) };
    Body { instrs: vec![Instr::Acc], stores: vec![store], ..Body::default() }
}

fn matmul(graph: &Graph, selection: &Selection, id: NodeId) -> Result<KernelKind, Missing> {
    let node = &graph[id];
    let rank = node.shape.rank();
    let (m, n) = (node.shape[rank - 2], node.shape[rank - 1]);
    let k = graph[node.inputs[0]].shape[rank - 1];
    let batch: usize = node.shape[..rank - 2].iter().product();
    let operand = |i: usize| operand(graph, selection, node.inputs[i]).ok_or(Missing::Operand(node.inputs[i]));
    let epilogue = plain(&[batch, m, n], buffer(id), node.dtype);
    Ok(KernelKind::MatMul(MatMul { batch, m, n, k, a: operand(0)?, b: operand(1)?, epilogue }))
}

/// The matrices of a node as strides over the buffer it is a view of.
fn operand(graph: &Graph, selection: &Selection, mut id: NodeId) -> Option<Operand> {
    let shape = &graph[id].shape;
    let axes: Vec<usize> = (0..shape.rank()).collect();
    let mut map = Map::new(shape, &axes);
    let view = loop {
        if let Some(home) = selection.home(graph, id) {
            break (home, map.view(&graph[id].shape));
        }
        let input = *graph[id].inputs.first()?;
        if !graph[id].op.is_movement() {
            return None;
        }
        map = map.through(&graph[id], &graph[input].shape).ok()?;
        id = input;
    };
    let (home, view) = view;
    let (rows, cols) = (shape[shape.rank() - 2], shape[shape.rank() - 1]);
    let positive = |stride: i64| usize::try_from(stride).ok();
    let mut row_stride = positive(view.strides[shape.rank() - 2])?;
    let mut col_stride = positive(view.strides[shape.rank() - 1])?;
    // The stride of an axis of length 1 is free: choose the one that makes the matrix contiguous.
    if cols == 1 {
        col_stride = 1;
    }
    if rows == 1 {
        row_stride = if col_stride == 1 { cols.max(1) } else { 1 };
    }
    let unit = row_stride == 1 || col_stride == 1;
    if !unit || row_stride == 0 || col_stride == 0 || !view.bounds.is_empty() {
        return None;
    }
    // All batch axes must walk as one.
    let mut batch_stride = 0;
    let mut joined = 1;
    for d in (0..shape.rank() - 2).rev().filter(|&d| shape[d] != 1) {
        let stride = positive(view.strides[d])?;
        if joined == 1 {
            batch_stride = stride;
        } else if stride != batch_stride * joined {
            return None;
        }
        joined *= shape[d];
    }
    Some(Operand {
        buffer: buffer(home),
        dtype: graph[home].dtype,
        offset: positive(view.offset)?,
        batch_stride,
        row_stride,
        col_stride,
    })
}
