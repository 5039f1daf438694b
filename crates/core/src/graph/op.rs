//! The primitives: what a graph is made of, what autodiff differentiates and backends run.

use crate::tensor::{Stored, Variable};
use crate::{DType, Data, Scalar};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Elementwise functions of one operand. Floats unless the variant says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `-x`; also integers.
    Neg,
    /// `|x|`; also `i32`.
    Abs,
    /// -1, 0 or 1; NaN stays; also `i32`.
    Sign,
    /// `e^x`.
    Exp,
    /// `e^x - 1`, exact near 0.
    Expm1,
    /// Natural logarithm.
    Log,
    /// `ln(1 + x)`, exact near 0.
    Log1p,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// `1 / x`.
    Recip,
    /// Sine of radians.
    Sin,
    /// Cosine of radians.
    Cos,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// Gauss error function.
    Erf,
    /// Round toward minus infinity.
    Floor,
    /// Round toward plus infinity.
    Ceil,
    /// Round to nearest, ties to even.
    Round,
    /// Logical not; `bool` only.
    Not,
}

/// Elementwise functions of two operands of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// Sum; integers wrap.
    Add,
    /// Difference; integers wrap.
    Sub,
    /// Product; integers wrap.
    Mul,
    /// Quotient; integers truncate, and division by zero gives zero.
    Div,
    /// Remainder with the sign of the dividend; integers modulo zero give zero.
    Rem,
    /// `a^b`, floats; NaN for a negative base with a fractional exponent.
    Pow,
    /// Larger; NaN if either is NaN.
    Max,
    /// Smaller; NaN if either is NaN.
    Min,
    /// Bitwise and; `bool` and integers.
    And,
    /// Bitwise or; `bool` and integers.
    Or,
    /// Bitwise exclusive or; `bool` and integers.
    Xor,
    /// Shift left by `b & 31`; integers.
    Shl,
    /// Shift right by `b & 31`, keeping the sign of `i32`; integers.
    Shr,
}

/// Comparisons; the result is `bool`. Every comparison with NaN is false but `Ne`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// `a == b`
    Eq,
    /// `a != b`
    Ne,
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
    /// `a > b`
    Gt,
    /// `a >= b`
    Ge,
}

/// Reductions. Of no elements: 0, -inf (lowest integer), +inf (highest integer), 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// Sum.
    Sum,
    /// Largest; NaN if any is NaN.
    Max,
    /// Smallest; NaN if any is NaN.
    Min,
    /// Product.
    Prod,
}

impl Reduce {
    /// The value of an empty reduction.
    pub fn identity(self, dtype: DType) -> Scalar {
        match (self, dtype) {
            (Reduce::Sum, _) => Scalar::from_f64(0.0, dtype),
            (Reduce::Prod, _) => Scalar::from_f64(1.0, dtype),
            (Reduce::Max, DType::I32) => Scalar::Int(i32::MIN),
            (Reduce::Max, DType::U32) => Scalar::Uint(0),
            (Reduce::Max, DType::Bool) => Scalar::Bool(false),
            (Reduce::Max, _) => Scalar::Float(f32::NEG_INFINITY),
            (Reduce::Min, DType::I32) => Scalar::Int(i32::MAX),
            (Reduce::Min, DType::U32) => Scalar::Uint(u32::MAX),
            (Reduce::Min, DType::Bool) => Scalar::Bool(true),
            (Reduce::Min, _) => Scalar::Float(f32::INFINITY),
        }
    }

    /// The binary function that combines two partial results.
    pub fn combine(self) -> Binary {
        match self {
            Reduce::Sum => Binary::Add,
            Reduce::Max => Binary::Max,
            Reduce::Min => Binary::Min,
            Reduce::Prod => Binary::Mul,
        }
    }
}

/// The geometry of a convolution, channels last. Space always has three axes (depth, height,
/// width); a lower-dimensional convolution has leading axes of length 1.
///
/// Input `(n, in.., groups*cin)`, kernel `(kernel.., cin, cout)`, output `(n, out.., cout)`.
/// Output position `o` reads input `o*stride - pad + k*dilation`; outside the input is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Batch size.
    pub n: usize,
    /// Input lengths.
    pub input: [usize; 3],
    /// Output lengths.
    pub output: [usize; 3],
    /// Kernel lengths.
    pub kernel: [usize; 3],
    /// Strides.
    pub stride: [usize; 3],
    /// Zeros before the first element.
    pub pad: [usize; 3],
    /// Distances between kernel elements.
    pub dilation: [usize; 3],
    /// Channel groups; both channel counts are multiples of it.
    pub groups: usize,
    /// Input channels of one group.
    pub cin: usize,
    /// Output channels of all groups.
    pub cout: usize,
}

impl ConvGeometry {
    /// Floating-point operations of the forward pass and of either gradient: two for each product.
    pub fn flops(&self) -> u64 {
        let space: u64 = self.output.iter().chain(&self.kernel).map(|&d| d as u64).product();
        2 * space * [self.n, self.cin, self.cout].map(|d| d as u64).iter().product::<u64>()
    }

    /// Elements of the input.
    pub fn input_elements(&self) -> usize {
        self.n * self.input.iter().product::<usize>() * self.groups * self.cin
    }

    /// Elements of the kernel.
    pub fn kernel_elements(&self) -> usize {
        self.kernel.iter().product::<usize>() * self.cin * self.cout
    }

    /// Elements of the output.
    pub fn output_elements(&self) -> usize {
        self.n * self.output.iter().product::<usize>() * self.cout
    }
}

/// The geometry of pooling, channels last, three space axes as in [`ConvGeometry`].
///
/// Input `(n, in.., channels)`, output `(n, out.., channels)`. Window `o` covers input
/// `o*stride - pad + k` for `k` in `0..window`; positions outside the input do not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolGeometry {
    /// Batch size.
    pub n: usize,
    /// Input lengths.
    pub input: [usize; 3],
    /// Output lengths.
    pub output: [usize; 3],
    /// Window lengths.
    pub window: [usize; 3],
    /// Strides.
    pub stride: [usize; 3],
    /// Padding before the first element.
    pub pad: [usize; 3],
    /// Channels.
    pub channels: usize,
}

impl PoolGeometry {
    /// Elements of the input.
    pub fn input_elements(&self) -> usize {
        self.n * self.input.iter().product::<usize>() * self.channels
    }

    /// Elements of the output.
    pub fn output_elements(&self) -> usize {
        self.n * self.output.iter().product::<usize>() * self.channels
    }
}

/// Shared host numbers, equal only to themselves: graphs are compared often, megabytes should not be.
#[derive(Clone, Debug)]
pub struct Literal(pub Arc<Data>);

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Literal {}

impl Hash for Literal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// A primitive operation. The comment of each gives its inputs and its output.
///
/// Elementwise operations take inputs of equal shapes: [`Tensor`](crate::Tensor) methods insert
/// the broadcasts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    // Leaves.
    /// Argument number `.0` of a compiled function.
    Input(usize),
    /// The value of a variable when the program starts.
    Variable(Variable),
    /// Numbers in host memory.
    Constant(Literal),
    /// Numbers in device memory.
    Stored(Stored),
    /// Every element is this.
    Full(Scalar),
    /// `i32`: the coordinate along an axis.
    Iota(usize),
    /// Random bits, `u32`: Threefry-2x32-20 of the row-major index and `stream` under the key, which is
    /// the input, `u32 (2,)`. See [`threefry`](crate::random::threefry).
    Random(u32),

    // Elementwise: `(a)`, `(a, b)`, `(condition, a, b)`.
    /// A function of one operand.
    Unary(Unary),
    /// A function of two operands.
    Binary(Binary),
    /// A comparison; `bool`.
    Compare(Compare),
    /// `a` where the condition holds, else `b`.
    Select,
    /// Conversion. Float to integer truncates and saturates (NaN gives 0); integers wrap when their sign changes; to `bool`
    /// compares with zero.
    Cast(DType),

    // Reduction: `(x)`; the reduced axes stay with length 1.
    /// Reduction over sorted axes.
    Reduce(Reduce, Vec<usize>),

    // Movement: `(x)`.
    /// Same elements in row-major order, other shape.
    Reshape,
    /// Output axis `i` is input axis `.0[i]`.
    Permute(Vec<usize>),
    /// Axes of length 1 repeated to the output's shape; ranks are equal.
    Broadcast,
    /// Elements from `start` on, as many as the output's shape says, along each axis.
    Slice(Vec<usize>),
    /// Zeros before and after each axis.
    Pad(Vec<(usize, usize)>),
    /// Reversed along these axes.
    Flip(Vec<usize>),

    // Indexed.
    /// `(table (rows, ..), index i32 (..))` to `index.shape ++ table.shape[1..]`. An index out of range gives NaN
    /// (zero for integers).
    Gather,
    /// `(index i32 (..), source index.shape ++ row)` to `(rows, row..)`: zeros to which each source row is
    /// added at its index. An index out of range adds nothing.
    ScatterAdd(usize),

    // Contractions and windows.
    /// `(a (batch.., m, k), b (batch.., k, n))` to `(batch.., m, n)`. Batch axes are equal. Accumulates in `f32`.
    MatMul,
    /// `(input, kernel)` to output.
    Conv(ConvGeometry),
    /// `(output gradient, kernel)` to input gradient.
    ConvInputGrad(ConvGeometry),
    /// `(input, output gradient)` to kernel gradient.
    ConvKernelGrad(ConvGeometry),
    /// `(x, values)` to, for each window, the element of `values` where `x` is largest: the first such place in
    /// row-major order, or the first NaN. `values` is `x` itself for max pooling.
    MaxPool(PoolGeometry),
    /// `(x, output gradient)` to input gradient: each goes to the place that [`Op::MaxPool`] reads.
    MaxPoolGrad(PoolGeometry),
    /// `(x)` to the sum of each window.
    SumPool(PoolGeometry),
    /// `(output gradient)` to input gradient of [`Op::SumPool`].
    SumPoolGrad(PoolGeometry),

    // Recurrence.
    /// `(z (n, t, 4u), recurrent (u, 4u), h0 (n, u), c0 (n, u))` to `(n, t, 6u)`: for each step `h, c, i, f, g, o`.
    ///
    /// Keras's gate order: `i, f, g, o = split(z[t] + h[t-1] @ recurrent)`, `i, f, o` through the sigmoid, `g` through
    /// tanh, `c[t] = f*c[t-1] + i*g`, `h[t] = o*tanh(c[t])`.
    Lstm,
    /// `(lstm output (n, t, 6u), recurrent, c0, dh (n, t, u), dc (n, t, u))` to `(n, t, 5u)`: for each step the gradient
    /// of `z` (4u) and of the cell state before the step (u). `dh` and `dc` come from outside the recurrence.
    LstmGrad,
}

impl Op {
    /// The name in messages and listings.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Variable(_) => "variable",
            Op::Constant(_) => "constant",
            Op::Stored(_) => "stored",
            Op::Full(_) => "full",
            Op::Iota(_) => "iota",
            Op::Random(_) => "random",
            Op::Unary(u) => u.name(),
            Op::Binary(b) => b.name(),
            Op::Compare(c) => c.name(),
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::Reduce(r, _) => r.name(),
            Op::Reshape => "reshape",
            Op::Permute(_) => "permute",
            Op::Broadcast => "broadcast",
            Op::Slice(_) => "slice",
            Op::Pad(_) => "pad",
            Op::Flip(_) => "flip",
            Op::Gather => "gather",
            Op::ScatterAdd(_) => "scatter_add",
            Op::MatMul => "matmul",
            Op::Conv(_) => "conv",
            Op::ConvInputGrad(_) => "conv_input_grad",
            Op::ConvKernelGrad(_) => "conv_kernel_grad",
            Op::MaxPool(_) => "max_pool",
            Op::MaxPoolGrad(_) => "max_pool_grad",
            Op::SumPool(_) => "sum_pool",
            Op::SumPoolGrad(_) => "sum_pool_grad",
            Op::Lstm => "lstm",
            Op::LstmGrad => "lstm_grad",
        }
    }

    /// True for operations without inputs that a buffer holds.
    pub fn is_buffer_leaf(&self) -> bool {
        matches!(self, Op::Input(_) | Op::Variable(_) | Op::Constant(_) | Op::Stored(_))
    }

    /// True for operations that compute one output element from the same element of each input.
    pub fn is_elementwise(&self) -> bool {
        matches!(self, Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Select | Op::Cast(_))
    }

    /// True for operations that only rename, repeat or drop elements.
    pub fn is_movement(&self) -> bool {
        matches!(self, Op::Reshape | Op::Permute(_) | Op::Broadcast | Op::Slice(_) | Op::Pad(_) | Op::Flip(_))
    }
}

/// Names of enum variants, in one place.
macro_rules! names {
    ($ty:ident { $($variant:ident $name:literal),* $(,)? }) => {
        impl $ty {
            /// Every variant.
            pub const ALL: &[$ty] = &[$($ty::$variant),*];

            /// The name in messages and listings.
            pub const fn name(self) -> &'static str {
                match self { $($ty::$variant => $name),* }
            }
        }
    };
}

names!(Unary {
    Neg "neg", Abs "abs", Sign "sign", Exp "exp", Expm1 "expm1", Log "log", Log1p "log1p", Sqrt "sqrt", Rsqrt "rsqrt",
    Recip "recip", Sin "sin", Cos "cos", Tanh "tanh", Sigmoid "sigmoid", Erf "erf", Floor "floor", Ceil "ceil",
    Round "round", Not "not",
});
names!(Binary {
    Add "add", Sub "sub", Mul "mul", Div "div", Rem "rem", Pow "pow", Max "max", Min "min", And "and", Or "or",
    Xor "xor", Shl "shl", Shr "shr",
});
names!(Compare { Eq "eq", Ne "ne", Lt "lt", Le "le", Gt "gt", Ge "ge" });
names!(Reduce { Sum "sum", Max "reduce_max", Min "reduce_min", Prod "prod" });
