//! The kinds of kernels.

use super::{Body, BufferId};
use crate::DType;
use crate::graph::{ConvGeometry, PoolGeometry};

/// One kernel of a [`Program`](super::Program).
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it computes.
    pub kind: KernelKind,
    /// A short name made of the operations it fuses: `"matmul+add+relu"`.
    pub label: String,
    /// Floating-point operations of one run.
    pub flops: u64,
    /// Bytes it must read and write at least: each buffer once.
    pub bytes: u64,
}

/// What a kernel computes.
///
/// Contractions and windows have an iteration space, the shape of their result, over which an epilogue runs: a [`Body`] whose
/// [`Instr::Acc`](super::Instr::Acc) is the raw result. At least it stores that. No epilogue has a `Reduce`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KernelKind {
    /// Fused elementwise work and reductions.
    Loop(Loop),
    /// Matrix product.
    MatMul(MatMul),
    /// Convolution or one of its gradients.
    Conv(Conv),
    /// Pooling or its gradient.
    Pool(Pool),
    /// Rows of a table by index.
    Gather(Gather),
    /// Rows added into a table by index.
    ScatterAdd(ScatterAdd),
    /// An LSTM over a whole sequence.
    Lstm(Lstm),
    /// Its gradient.
    LstmGrad(LstmGrad),
    /// All of one buffer to another of the same size.
    Copy {
        /// Read.
        from: BufferId,
        /// Written.
        to: BufferId,
    },
}

/// Nested loops over `dims` with a fused body.
///
/// The axes are in three groups: `dims[..outer]` enclose the reduction, `dims[outer..outer + reduce]` are reduced over, and the
/// rest are inside of it. A row reduction has no inside axes, a column reduction no outer ones; a pure elementwise loop has only
/// outer axes. Adjacent axes that every view walks as one are already merged, so ranks are small.
///
/// A value is *row-level* if it varies along a reduce axis, else *point-level* (see [`Loop::row_level`]). Point-level values
/// exist once for each coordinate of the outer and inside axes. A `Reduce` takes a row-level value (or a point-level one, which counts as
/// repeated) and gives a point-level one; bodies may reduce, use the result along the row again, and reduce again (softmax does).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loop {
    /// Lengths of all axes.
    pub dims: Vec<usize>,
    /// How many axes enclose the reduction.
    pub outer: usize,
    /// How many axes are reduced over.
    pub reduce: usize,
    /// What happens at each point.
    pub body: Body,
}

impl Loop {
    /// Lengths of the product of outer, reduce and inside axes.
    pub fn extents(&self) -> [usize; 3] {
        let (a, rest) = self.dims.split_at(self.outer);
        let (r, b) = rest.split_at(self.reduce);
        [a.iter().product(), r.iter().product(), b.iter().product()]
    }

    /// For every value: does it vary along the reduce axes?
    pub fn row_level(&self) -> Vec<bool> {
        use super::Instr;
        let range = self.outer..self.outer + self.reduce;
        let varies = |view: &super::View| range.clone().any(|d| view.varies(d, self.dims[d]));
        let mut levels: Vec<bool> = Vec::with_capacity(self.body.instrs.len());
        for instr in &self.body.instrs {
            levels.push(match *instr {
                Instr::Load(i) => varies(&self.body.loads[i].view),
                Instr::Iota(i) => varies(&self.body.iotas[i]),
                Instr::Reduce(..) => false,
                _ => instr.operands().any(|v| levels[v.0]),
            });
        }
        levels
    }

    /// For every value: how many reductions must be complete before it can be computed. Values of one phase run in one sweep
    /// along the row; a `Reduce` belongs to the sweep that feeds it, and its result is there in the next.
    pub fn phases(&self) -> Vec<usize> {
        use super::Instr;
        let mut phases: Vec<usize> = Vec::with_capacity(self.body.instrs.len());
        for instr in &self.body.instrs {
            let ready =
                |v: super::ValueId| phases[v.0] + usize::from(matches!(self.body.instrs[v.0], Instr::Reduce(..)));
            let phase = instr.operands().map(ready).max().unwrap_or(0);
            phases.push(phase);
        }
        phases
    }
}

/// A matrix operand: element `(batch, row, col)` is at `offset + batch*batch_stride + row*row_stride + col*col_stride`.
/// Of the two inner strides at least one is 1 wherever its axis is longer than 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// The buffer.
    pub buffer: BufferId,
    /// Element type: a float.
    pub dtype: DType,
    /// Element number of the first element.
    pub offset: usize,
    /// Distance between matrices; 0 repeats one matrix.
    pub batch_stride: usize,
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub col_stride: usize,
}

/// `batch` products `(m, k) x (k, n)`, accumulated in `f32`. Iteration space of the epilogue: `[batch, m, n]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatMul {
    /// Number of products.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the contraction.
    pub k: usize,
    /// Left operand.
    pub a: Operand,
    /// Right operand.
    pub b: Operand,
    /// Runs on each element of the result.
    pub epilogue: Body,
}

/// Which of the three convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvPass {
    /// `lhs` is the input, `rhs` the kernel. Result `[n, d, h, w, cout]`.
    Forward,
    /// `lhs` is the output gradient, `rhs` the kernel. Result: input gradient `[n, d, h, w, groups*cin]`.
    InputGrad,
    /// `lhs` is the input, `rhs` the output gradient. Result: kernel gradient `[kd, kh, kw, cin, cout]`.
    KernelGrad,
}

/// A convolution or one of its gradients, over contiguous float buffers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Which.
    pub pass: ConvPass,
    /// Its geometry (always that of the forward pass).
    pub geometry: ConvGeometry,
    /// First operand.
    pub lhs: (BufferId, DType),
    /// Second operand.
    pub rhs: (BufferId, DType),
    /// Runs on each element of the result; its iteration space is the result's shape, five axes.
    pub epilogue: Body,
}

impl Conv {
    /// The iteration space of the epilogue.
    pub fn dims(&self) -> [usize; 5] {
        let g = &self.geometry;
        match self.pass {
            ConvPass::Forward => [g.n, g.output[0], g.output[1], g.output[2], g.cout],
            ConvPass::InputGrad => [g.n, g.input[0], g.input[1], g.input[2], g.groups * g.cin],
            ConvPass::KernelGrad => [g.kernel[0], g.kernel[1], g.kernel[2], g.cin, g.cout],
        }
    }
}

/// Which of the four poolings; inputs as in [`Op`](crate::graph::Op).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolPass {
    /// `inputs`: x, values.
    Max,
    /// `inputs`: x, output gradient. The result has the input's shape.
    MaxGrad,
    /// `inputs`: x.
    Sum,
    /// `inputs`: output gradient. The result has the input's shape.
    SumGrad,
}

/// Pooling or its gradient, over contiguous float buffers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Which.
    pub pass: PoolPass,
    /// Its geometry (always that of the forward pass).
    pub geometry: PoolGeometry,
    /// Buffers read.
    pub inputs: Vec<(BufferId, DType)>,
    /// Runs on each element of the result; its iteration space is the result's shape `[n, d, h, w, channels]`.
    pub epilogue: Body,
}

impl Pool {
    /// The iteration space of the epilogue.
    pub fn dims(&self) -> [usize; 5] {
        let g = &self.geometry;
        let [d, h, w] = match self.pass {
            PoolPass::Max | PoolPass::Sum => g.output,
            PoolPass::MaxGrad | PoolPass::SumGrad => g.input,
        };
        [g.n, d, h, w, g.channels]
    }
}

/// `out[i] = table[index[i]]`, rows of `width` elements of one type; a row of NaN (zero for integers) where the index is out of
/// range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    /// Rows of the table.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Number of indices.
    pub count: usize,
    /// The element type of table and result.
    pub dtype: DType,
    /// Read.
    pub table: BufferId,
    /// Read; `i32`.
    pub index: BufferId,
    /// Written.
    pub out: BufferId,
}

/// `out = 0; out[index[i]] += source[i]`, rows of `width` elements; indices out of range add nothing.
/// `f32`, `i32` or `u32` elements; `f16` and `bf16` are cast around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScatterAdd {
    /// Rows of the result.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Number of indices.
    pub count: usize,
    /// The element type of source and result.
    pub dtype: DType,
    /// Read; `i32`.
    pub index: BufferId,
    /// Read.
    pub source: BufferId,
    /// Written.
    pub out: BufferId,
}

/// [`Op::Lstm`](crate::graph::Op::Lstm) over contiguous `f32` buffers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lstm {
    /// Batch size.
    pub n: usize,
    /// Time steps.
    pub steps: usize,
    /// Units.
    pub units: usize,
    /// `(n, steps, 4*units)`, read.
    pub z: BufferId,
    /// `(units, 4*units)`, read.
    pub recurrent: BufferId,
    /// `(n, units)`, read.
    pub h0: BufferId,
    /// `(n, units)`, read.
    pub c0: BufferId,
    /// `(n, steps, 6*units)`, written.
    pub out: BufferId,
}

/// [`Op::LstmGrad`](crate::graph::Op::LstmGrad) over contiguous `f32` buffers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LstmGrad {
    /// Batch size.
    pub n: usize,
    /// Time steps.
    pub steps: usize,
    /// Units.
    pub units: usize,
    /// `(n, steps, 6*units)`, read.
    pub forward: BufferId,
    /// `(units, 4*units)`, read.
    pub recurrent: BufferId,
    /// `(n, units)`, read.
    pub c0: BufferId,
    /// `(n, steps, units)`, read; `None` if zero.
    pub dh: Option<BufferId>,
    /// `(n, steps, units)`, read; `None` if zero.
    pub dc: Option<BufferId>,
    /// `(n, steps, 5*units)`, written.
    pub out: BufferId,
}

impl KernelKind {
    /// Buffers read, each once.
    pub fn reads(&self) -> Vec<BufferId> {
        let mut all = match self {
            KernelKind::Loop(_) => vec![],
            KernelKind::MatMul(k) => vec![k.a.buffer, k.b.buffer],
            KernelKind::Conv(k) => vec![k.lhs.0, k.rhs.0],
            KernelKind::Pool(k) => k.inputs.iter().map(|i| i.0).collect(),
            KernelKind::Gather(k) => vec![k.table, k.index],
            KernelKind::ScatterAdd(k) => vec![k.index, k.source],
            KernelKind::Lstm(k) => vec![k.z, k.recurrent, k.h0, k.c0],
            KernelKind::LstmGrad(k) => {
                [Some(k.forward), Some(k.recurrent), Some(k.c0), k.dh, k.dc].into_iter().flatten().collect()
            }
            KernelKind::Copy { from, .. } => vec![*from],
        };
        all.extend(self.body().iter().flat_map(|body| body.loads.iter().map(|l| l.buffer)));
        all.sort();
        all.dedup();
        all
    }

    /// Buffers written, each once.
    pub fn writes(&self) -> Vec<BufferId> {
        match self {
            KernelKind::Gather(k) => vec![k.out],
            KernelKind::ScatterAdd(k) => vec![k.out],
            KernelKind::Lstm(k) => vec![k.out],
            KernelKind::LstmGrad(k) => vec![k.out],
            KernelKind::Copy { to, .. } => vec![*to],
            _ => self.body().iter().flat_map(|body| body.stores.iter().map(|s| s.buffer)).collect(),
        }
    }

    /// How many buffers it touches.
    pub fn buffers(&self) -> usize {
        let mut all = self.reads();
        all.extend(self.writes());
        all.sort();
        all.dedup();
        all.len()
    }

    /// The fused body or epilogue, if the kind has one.
    pub fn body(&self) -> Option<&Body> {
        match self {
            KernelKind::Loop(k) => Some(&k.body),
            KernelKind::MatMul(k) => Some(&k.epilogue),
            KernelKind::Conv(k) => Some(&k.epilogue),
            KernelKind::Pool(k) => Some(&k.epilogue),
            _ => None,
        }
    }

    /// The fused body or epilogue, to be changed.
    pub fn body_mut(&mut self) -> Option<&mut Body> {
        match self {
            KernelKind::Loop(k) => Some(&mut k.body),
            KernelKind::MatMul(k) => Some(&mut k.epilogue),
            KernelKind::Conv(k) => Some(&mut k.epilogue),
            KernelKind::Pool(k) => Some(&mut k.epilogue),
            _ => None,
        }
    }

    /// The iteration space of the body, if the kind has one.
    pub fn dims(&self) -> Option<Vec<usize>> {
        match self {
            KernelKind::Loop(k) => Some(k.dims.clone()),
            KernelKind::MatMul(k) => Some(vec![k.batch, k.m, k.n]),
            KernelKind::Conv(k) => Some(k.dims().to_vec()),
            KernelKind::Pool(k) => Some(k.dims().to_vec()),
            _ => None,
        }
    }
}
