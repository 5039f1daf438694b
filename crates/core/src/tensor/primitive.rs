//! Elementwise primitives, reductions, contractions: one method each.

use super::{Operand, Tensor};
use crate::graph::{Binary, Compare, Op, Reduce, Unary};
use crate::{DType, Error, Shape};
use std::panic::Location;

macro_rules! unary {
    ($($name:ident $op:ident $doc:literal),* $(,)?) => { impl Tensor { $(
        #[doc = $doc]
        #[track_caller]
        pub fn $name(&self) -> Tensor {
            Tensor::record(Op::Unary(Unary::$op), vec![self.clone()], None, Location::caller())
        }
    )* } };
}

macro_rules! binary {
    ($($name:ident $kind:ident $op:ident $doc:literal),* $(,)?) => { impl Tensor { $(
        #[doc = $doc]
        #[track_caller]
        #[allow(clippy::should_implement_trait, reason = "the operators call these")]
        pub fn $name(&self, other: impl Into<Operand>) -> Tensor {
            self.elementwise(Op::$kind($kind::$op), other.into(), Location::caller())
        }
    )* } };
}

unary! {
    neg Neg "`-x`.",
    abs Abs "`|x|`.",
    sign Sign "-1, 0 or 1.",
    exp Exp "`e^x`.",
    expm1 Expm1 "`e^x - 1`, exact near 0.",
    log Log "Natural logarithm.",
    log1p Log1p "`ln(1 + x)`, exact near 0.",
    sqrt Sqrt "Square root.",
    rsqrt Rsqrt "`1 / sqrt(x)`.",
    recip Recip "`1 / x`.",
    sin Sin "Sine of radians.",
    cos Cos "Cosine of radians.",
    tanh Tanh "Hyperbolic tangent.",
    sigmoid Sigmoid "`1 / (1 + e^-x)`.",
    erf Erf "Gauss error function.",
    floor Floor "Round toward minus infinity.",
    ceil Ceil "Round toward plus infinity.",
    round Round "Round to nearest, ties to even.",
    logical_not Not "Logical not of `bool`.",
}

binary! {
    add Binary Add "`a + b`, broadcast.",
    sub Binary Sub "`a - b`, broadcast.",
    mul Binary Mul "`a * b`, broadcast.",
    div Binary Div "`a / b`, broadcast. Integers truncate; by zero gives zero.",
    rem Binary Rem "Remainder with the sign of the dividend, broadcast.",
    pow Binary Pow "`a^b`, broadcast.",
    maximum Binary Max "The larger, broadcast; NaN if either is.",
    minimum Binary Min "The smaller, broadcast; NaN if either is.",
    and Binary And "Bitwise or logical and, broadcast.",
    or Binary Or "Bitwise or logical or, broadcast.",
    xor Binary Xor "Bitwise or logical exclusive or, broadcast.",
    shl Binary Shl "Shift left, broadcast.",
    shr Binary Shr "Shift right, broadcast.",
    eq Compare Eq "`a == b` as `bool`, broadcast.",
    ne Compare Ne "`a != b` as `bool`, broadcast.",
    lt Compare Lt "`a < b` as `bool`, broadcast.",
    le Compare Le "`a <= b` as `bool`, broadcast.",
    gt Compare Gt "`a > b` as `bool`, broadcast.",
    ge Compare Ge "`a >= b` as `bool`, broadcast.",
}

impl Tensor {
    /// Broadcasts both operands and records the operation.
    fn elementwise(&self, op: Op, other: Operand, site: &'static Location<'static>) -> Tensor {
        let other = other.tensor(self.dtype(), site);
        // Only identities that hold for NaN and infinities too.
        if op == Op::Binary(Binary::Add)
            && other.is_zero()
            && (other.dtype(), true) == (self.dtype(), self.dtype() != DType::Bool)
            && self.shape().broadcast(other.shape()).as_ref() == Some(self.shape())
        {
            return self.clone();
        }
        match self.shape().broadcast(other.shape()) {
            Some(shape) => {
                let inputs = vec![self.broadcast_at(&shape, site), other.broadcast_at(&shape, site)];
                Tensor::record(op, inputs, None, site)
            }
            None if self.check().is_err() => self.clone(),
            None if other.check().is_err() => other,
            None => Tensor::poisoned(
                Error::shape(format!("{}: shapes {} and {} do not broadcast", op.name(), self.shape(), other.shape()))
                    .at(site),
            ),
        }
    }

    /// `a` where `self` (`bool`) holds, else `b`; all three broadcast. Two numbers give `f32`.
    #[track_caller]
    pub fn select(&self, a: impl Into<Operand>, b: impl Into<Operand>) -> Tensor {
        let site = Location::caller();
        let (a, b) = (a.into(), b.into());
        let dtype = [&a, &b].iter().find_map(|o| if let Operand::Tensor(t) = o { Some(t.dtype()) } else { None });
        let dtype = dtype.unwrap_or(DType::F32);
        let (a, b) = (a.tensor(dtype, site), b.tensor(dtype, site));
        let shape = self.shape().broadcast(a.shape()).and_then(|s| s.broadcast(b.shape()));
        let inputs = [self.clone(), a.clone(), b.clone()];
        match shape {
            Some(shape) => {
                let inputs = inputs.iter().map(|t| t.broadcast_at(&shape, site)).collect();
                Tensor::record(Op::Select, inputs, None, site)
            }
            None => match inputs.iter().find(|t| t.check().is_err()) {
                Some(bad) => bad.clone(),
                None => Tensor::poisoned(
                    Error::shape(format!(
                        "select: shapes {}, {} and {} do not broadcast",
                        self.shape(),
                        a.shape(),
                        b.shape()
                    ))
                    .at(site),
                ),
            },
        }
    }

    /// Converted to another element type: float to integer truncates and saturates, to `bool` compares with zero.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Tensor {
        if dtype == self.dtype() {
            return self.clone();
        }
        Tensor::record(Op::Cast(dtype), vec![self.clone()], None, Location::caller())
    }

    /// Reduces over `axes` (negative counts from the end; empty means all), which stay with length 1.
    #[track_caller]
    pub(crate) fn reduce(&self, reduce: Reduce, axes: &[isize]) -> Tensor {
        let site = Location::caller();
        if self.check().is_err() {
            return self.clone();
        }
        match self.axes(reduce.name(), axes) {
            Ok(axes) => Tensor::record(Op::Reduce(reduce, axes), vec![self.clone()], None, site),
            Err(error) => Tensor::poisoned(error.at(site)),
        }
    }

    /// Sorted, distinct axes; all of them for an empty list.
    pub(crate) fn axes(&self, what: &str, axes: &[isize]) -> crate::Result<Vec<usize>> {
        if axes.is_empty() {
            return Ok((0..self.rank()).collect());
        }
        let mut list = Vec::new();
        for &axis in axes {
            match self.shape().axis(axis) {
                Some(axis) if !list.contains(&axis) => list.push(axis),
                Some(_) => return Err(Error::shape(format!("{what}: axis {axis} is named twice"))),
                None => return Err(Error::shape(format!("{what}: shape {} has no axis {axis}", self.shape()))),
            }
        }
        list.sort_unstable();
        Ok(list)
    }

    /// Matrix product of the last two axes, `(.., m, k) x (.., k, n)` to `(.., m, n)`; the other axes broadcast. A vector counts as
    /// a row on the left and as a column on the right, as in NumPy. Accumulates in `f32`.
    #[track_caller]
    pub fn matmul(&self, other: impl Into<Tensor>) -> Tensor {
        let site = Location::caller();
        let other = other.into();
        if let Some(bad) = [self, &other].into_iter().find(|t| t.check().is_err()) {
            return bad.clone();
        }
        let fail = || {
            let message = format!(
                "matmul: shapes {} and {} do not fit: need (.., m, k) and (.., k, n)",
                self.shape(),
                other.shape()
            );
            Tensor::poisoned(Error::shape(message).at(site))
        };
        if self.rank() == 0 || other.rank() == 0 {
            return fail();
        }
        if self.rank() == 1 {
            let row = self.reshape_at([1, self.dim(0)], site).matmul(other);
            return row.squeeze(if row.rank() > 1 { -2 } else { 0 });
        }
        if other.rank() == 1 {
            return self.matmul(other.reshape_at([other.dim(0), 1], site)).squeeze(-1);
        }
        let (m, k, n) = (self.dim(-2), self.dim(-1), other.dim(-1));
        let batch_of = |t: &Tensor| Shape::from(&t.shape()[..t.rank() - 2]);
        // One product instead of a batch of them where the right side is a single matrix.
        if other.rank() == 2 && self.rank() > 2 && other.dim(0) == k {
            let rows = self.shape()[..self.rank() - 1].iter().product::<usize>();
            let flat = self.reshape_at([rows, k], site).matmul(other);
            let mut shape = self.shape().to_vec();
            shape[self.rank() - 1] = n;
            return flat.reshape_at(shape, site);
        }
        let Some(batch) = batch_of(self).broadcast(&batch_of(&other)).filter(|_| other.dim(-2) == k) else {
            return fail();
        };
        let with = |a: usize, b: usize| Shape::from([&batch[..], &[a, b]].concat());
        let inputs = vec![self.broadcast_at(&with(m, k), site), other.broadcast_at(&with(k, n), site)];
        Tensor::record(Op::MatMul, inputs, None, site)
    }

    /// Rows of `self` by `index` (`i32`, any shape): `index.shape ++ self.shape[1..]`. An index out of range gives NaN (zero for
    /// integers).
    #[track_caller]
    pub fn gather(&self, index: impl Into<Tensor>) -> Tensor {
        Tensor::record(Op::Gather, vec![self.clone(), index.into()], None, Location::caller())
    }

    /// `rows` rows of zeros to which each row of `self`, `index.shape ++ row`, is added at its index. An index out of range adds
    /// nothing.
    #[track_caller]
    pub fn scatter_add(&self, index: impl Into<Tensor>, rows: usize) -> Tensor {
        Tensor::record(Op::ScatterAdd(rows), vec![index.into(), self.clone()], None, Location::caller())
    }

    /// An LSTM over a whole sequence: `self` is the input's part of the gates, `(n, t, 4u)`, `recurrent` is `(u, 4u)`, `h0` and `c0`
    /// are `(n, u)`. Gives the hidden and the cell states of every step, each `(n, t, u)`. Gate order i, f, g, o as in Keras.
    #[track_caller]
    pub fn lstm(&self, recurrent: impl Into<Tensor>, h0: impl Into<Tensor>, c0: impl Into<Tensor>) -> [Tensor; 2] {
        let inputs = vec![self.clone(), recurrent.into(), h0.into(), c0.into()];
        let packed = Tensor::record(Op::Lstm, inputs, None, Location::caller());
        let units = packed.dim(-1) / 6;
        [packed.narrow(-1, 0, units), packed.narrow(-1, units, units)]
    }
}
