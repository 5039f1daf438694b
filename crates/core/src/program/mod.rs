//! What backends run: a flat list of kernels over planned buffers.
//!
//! A [`Program`] holds no layer, no operator overloading and no gradient: only loops with affine
//! addresses, contractions and windows, each with the buffers it reads and writes.

mod body;
mod explain;
mod kernel;

pub use body::{Body, Instr, Load, Reg, Store, ValueId, View};
pub use kernel::{
    Conv, ConvPass, Gather, Kernel, KernelKind, Loop, Lstm, LstmGrad, MatMul, Operand, Pool, PoolPass, ScatterAdd,
};

use crate::{DType, Shape};

/// A buffer's number in [`Program::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// Where a buffer's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Argument `.0` of the function; read only.
    Input(usize),
    /// Variable number `.0` of [`Program::variables`]; read, and written in place when assigned.
    Variable(usize),
    /// Constant number `.0` of [`Program::constants`]; read only.
    Constant(usize),
    /// Result `.0` of the function; written.
    Output(usize),
    /// Scratch memory: slot `.0` of [`Program::slots`], shared by buffers whose lives do not meet.
    Temp(usize),
}

/// A planned buffer: contiguous, row-major.
#[derive(Clone, Debug)]
pub struct BufferDecl {
    /// Where its memory comes from.
    pub role: Role,
    /// Element type.
    pub dtype: DType,
    /// Shape, for listings; kernels address elements by number.
    pub shape: Shape,
}

impl BufferDecl {
    /// Bytes of its elements.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.size()
    }
}

/// A compiled graph.
///
/// Kernels run in order; each sees the writes of those before it. Every buffer that backends bind
/// from outside (inputs, variables, constants, outputs) is handed over in the order of
/// [`Program::externals`].
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// All buffers.
    pub buffers: Vec<BufferDecl>,
    /// Bytes of each scratch slot.
    pub slots: Vec<usize>,
    /// The kernels in execution order.
    pub kernels: Vec<Kernel>,
    /// The variables that are read or assigned, by number of [`Role::Variable`].
    pub variables: Vec<crate::tensor::VariableId>,
    /// Host data of constants, by number of [`Role::Constant`].
    pub constants: Vec<std::sync::Arc<crate::Data>>,
    /// Bytes of all intermediate tensors if each had memory of its own, were nothing fused or shared.
    pub unplanned_bytes: usize,
}

impl Program {
    /// The buffers bound from outside, in binding order: everything but scratch.
    pub fn externals(&self) -> impl Iterator<Item = BufferId> + '_ {
        (0..self.buffers.len()).map(BufferId).filter(|&id| !matches!(self[id].role, Role::Temp(_)))
    }

    /// Bytes of scratch memory as planned.
    pub fn scratch_bytes(&self) -> usize {
        self.slots.iter().sum()
    }

    /// Bytes of all device memory the program touches: scratch and everything bound.
    pub fn total_bytes(&self) -> usize {
        self.scratch_bytes() + self.externals().map(|id| self[id].bytes()).sum::<usize>()
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.kernels.iter().map(|k| k.flops).sum()
    }

    /// Bytes read and written in one run, each buffer counted once per kernel that touches it.
    pub fn bytes(&self) -> u64 {
        self.kernels.iter().map(|k| k.bytes).sum()
    }
}

impl std::ops::Index<BufferId> for Program {
    type Output = BufferDecl;
    fn index(&self, id: BufferId) -> &BufferDecl {
        &self.buffers[id.0]
    }
}
