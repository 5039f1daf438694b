//! The straight-line code of a fused loop or of an epilogue.

use super::BufferId;
use crate::graph::{Binary, Compare, Reduce, Unary};
use crate::{DType, Scalar};

/// An affine map from the coordinates of an iteration space to an element number:
/// `offset + sum(coordinate[d] * strides[d])`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Element number at coordinate zero.
    pub offset: i64,
    /// One stride for each axis of the iteration space; 0 repeats, negative reverses.
    pub strides: Vec<i64>,
    /// Half-open ranges of coordinates, one for each axis, or empty for no limit. Outside of them nothing may be read
    /// and the value is zero (`false`).
    pub bounds: Vec<(i64, i64)>,
}

impl View {
    /// The row-major view of a contiguous buffer with the iteration space's own shape. The stride of an axis of length 1 is 0.
    pub fn contiguous(dims: &[usize]) -> View {
        let mut strides = crate::Shape::from(dims).strides();
        strides.iter_mut().zip(dims).filter(|(_, d)| **d == 1).for_each(|(s, _)| *s = 0);
        View { offset: 0, strides, bounds: Vec::new() }
    }

    /// The same element everywhere.
    pub fn scalar(rank: usize) -> View {
        View { offset: 0, strides: vec![0; rank], bounds: Vec::new() }
    }

    /// The element number at `coordinates`; `None` outside the bounds.
    pub fn at(&self, coordinates: &[usize]) -> Option<usize> {
        let inside = self.bounds.iter().zip(coordinates).all(|(&(lo, hi), &c)| (lo..hi).contains(&(c as i64)));
        inside.then(|| {
            (self.offset + self.strides.iter().zip(coordinates).map(|(s, &c)| s * c as i64).sum::<i64>()) as usize
        })
    }

    /// True if the value changes with the coordinate of axis `d` (of length `dim`).
    pub fn varies(&self, d: usize, dim: usize) -> bool {
        dim > 1 && (self.strides[d] != 0 || self.bounds.get(d).is_some_and(|&(lo, hi)| lo > 0 || hi < dim as i64))
    }
}

/// The type of a register. `F16` and `BF16` elements are widened when loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reg {
    /// 32-bit float.
    F32,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
    /// Truth value.
    Bool,
}

impl From<DType> for Reg {
    fn from(dtype: DType) -> Reg {
        match dtype {
            DType::F32 | DType::F16 | DType::BF16 => Reg::F32,
            DType::I32 => Reg::I32,
            DType::U32 => Reg::U32,
            DType::Bool => Reg::Bool,
        }
    }
}

/// The number of an instruction, which is also the name of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// One instruction. Operands stand before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instr {
    /// Load number `.0` of [`Body::loads`].
    Load(usize),
    /// The result of the contraction that this body is the epilogue of (`f32`).
    Acc,
    /// The same number everywhere.
    Const(Scalar),
    /// `i32`: the affine map number `.0` of [`Body::iotas`] itself (0 outside its bounds).
    Iota(usize),
    /// The first word of Threefry-2x32-20 with the key `.0` and the counter `(.1, .2)`; all `u32`.
    Threefry([ValueId; 2], ValueId, u32),
    /// A function of one operand.
    Unary(Unary, ValueId),
    /// A function of two operands of one register type.
    Binary(Binary, ValueId, ValueId),
    /// A comparison of two operands of one register type; gives `Bool`.
    Compare(Compare, ValueId, ValueId),
    /// The second where the first (`Bool`) holds, else the third.
    Select(ValueId, ValueId, ValueId),
    /// Conversion to an element type. To `F16` or `BF16` rounds the `f32` register.
    Cast(DType, ValueId),
    /// Reduction over the reduce axes of a [`Loop`](super::Loop): the one instruction whose result no longer varies
    /// along them.
    Reduce(Reduce, ValueId),
}

impl Instr {
    /// The operands.
    pub fn operands(&self) -> impl Iterator<Item = ValueId> + use<> {
        let list: [Option<ValueId>; 3] = match *self {
            Instr::Load(_) | Instr::Acc | Instr::Const(_) | Instr::Iota(_) => [None; 3],
            Instr::Threefry([k0, k1], counter, _) => [Some(k0), Some(k1), Some(counter)],
            Instr::Unary(_, a) | Instr::Cast(_, a) | Instr::Reduce(_, a) => [Some(a), None, None],
            Instr::Binary(_, a, b) | Instr::Compare(_, a, b) => [Some(a), Some(b), None],
            Instr::Select(c, a, b) => [Some(c), Some(a), Some(b)],
        };
        list.into_iter().flatten()
    }

    /// The same instruction with operands renamed.
    pub fn map(self, mut f: impl FnMut(ValueId) -> ValueId) -> Instr {
        match self {
            Instr::Load(_) | Instr::Acc | Instr::Const(_) | Instr::Iota(_) => self,
            Instr::Threefry([k0, k1], counter, stream) => Instr::Threefry([f(k0), f(k1)], f(counter), stream),
            Instr::Unary(op, a) => Instr::Unary(op, f(a)),
            Instr::Binary(op, a, b) => Instr::Binary(op, f(a), f(b)),
            Instr::Compare(op, a, b) => Instr::Compare(op, f(a), f(b)),
            Instr::Select(c, a, b) => Instr::Select(f(c), f(a), f(b)),
            Instr::Cast(dtype, a) => Instr::Cast(dtype, f(a)),
            Instr::Reduce(op, a) => Instr::Reduce(op, f(a)),
        }
    }
}

/// A buffer read at every point of the iteration space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    /// The buffer.
    pub buffer: BufferId,
    /// Its element type.
    pub dtype: DType,
    /// Which element.
    pub view: View,
}

/// A value written to a buffer. The element type of the buffer says how the register is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// The value.
    pub value: ValueId,
    /// The buffer.
    pub buffer: BufferId,
    /// Its element type.
    pub dtype: DType,
    /// Which element; strides are 0 along reduce axes if the value does not vary along them. No two points write the same element. Bounds
    /// only for devices that [say so](crate::backend::Caps::bounded_stores): outside of them nothing is written.
    pub view: View,
}

/// Straight-line code over an iteration space.
///
/// A buffer may be loaded and stored by one body only where every load of it has the very view of the store, so that each
/// point reads what it then overwrites.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Body {
    /// The loads that [`Instr::Load`] names.
    pub loads: Vec<Load>,
    /// The maps that [`Instr::Iota`] names.
    pub iotas: Vec<View>,
    /// The instructions; values are named by position.
    pub instrs: Vec<Instr>,
    /// What is written.
    pub stores: Vec<Store>,
}

impl Body {
    /// The register type of every value.
    pub fn regs(&self) -> Vec<Reg> {
        let mut regs: Vec<Reg> = Vec::with_capacity(self.instrs.len());
        for instr in &self.instrs {
            regs.push(match *instr {
                Instr::Load(i) => self.loads[i].dtype.into(),
                Instr::Acc => Reg::F32,
                Instr::Const(Scalar::Float(_)) => Reg::F32,
                Instr::Const(Scalar::Int(_)) | Instr::Iota(_) => Reg::I32,
                Instr::Const(Scalar::Uint(_)) | Instr::Threefry(..) => Reg::U32,
                Instr::Const(Scalar::Bool(_)) | Instr::Compare(..) => Reg::Bool,
                Instr::Cast(dtype, _) => dtype.into(),
                Instr::Unary(_, a) | Instr::Binary(_, a, _) | Instr::Select(_, a, _) | Instr::Reduce(_, a) => regs[a.0],
            });
        }
        regs
    }

    /// Floating-point operations at one point, one for each arithmetic instruction.
    pub fn flops(&self) -> u64 {
        let arithmetic = |i: &&Instr| matches!(i, Instr::Unary(..) | Instr::Binary(..) | Instr::Reduce(..));
        self.instrs.iter().filter(arithmetic).count() as u64
    }

    /// Every buffer it touches, each once, in order of first appearance: loads, then stores.
    pub fn buffers(&self) -> Vec<BufferId> {
        let mut all = Vec::new();
        for id in self.loads.iter().map(|l| l.buffer).chain(self.stores.iter().map(|s| s.buffer)) {
            if !all.contains(&id) {
                all.push(id);
            }
        }
        all
    }
}
