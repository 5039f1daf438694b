//! Instructions as WGSL expressions.

use super::access::{self, Var};
use super::library::Library;
use ibex_core::graph::{Binary, Compare, Reduce, Unary};
use ibex_core::program::{Body, BufferId, Instr, Reg, ValueId, View};
use ibex_core::{DType, Error, Result, Scalar};
use std::fmt::Write;

/// Writes the code of one body. Value `n` is named `v{n}`, coordinate `d` is `c{d}`.
pub(super) struct Emitter<'a> {
    pub body: &'a Body,
    pub dims: &'a [usize],
    pub regs: Vec<Reg>,
    /// 1 or 4: how many points (along `axis`) the register holds.
    pub widths: Vec<usize>,
    /// The axis along which registers of width 4 hold neighbours.
    pub axis: Option<usize>,
    /// The row-major index of the point, where there is a name for it.
    pub linear: Option<String>,
    pub vars: Vec<Var>,
    pub library: Library,
    pub text: String,
}

/// The first letter of a register's type name.
pub(super) fn letter(reg: Reg) -> char {
    match reg {
        Reg::F32 => 'F',
        Reg::I32 => 'I',
        Reg::U32 => 'U',
        Reg::Bool => 'B',
    }
}

impl Emitter<'_> {
    pub fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    pub fn var(&self, buffer: BufferId) -> Result<&Var> {
        let found = self.vars.iter().find(|v| v.id == buffer);
        found.ok_or_else(|| {
            Error::value(format!("buffer {} is not bound; this is a bug of the code generator", buffer.0))
        })
    }

    /// The name of a value at `width`.
    pub fn operand(&self, v: ValueId, width: usize) -> String {
        if self.widths[v.0] == width {
            format!("v{}", v.0)
        } else {
            format!("{}{width}(v{})", letter(self.regs[v.0]), v.0)
        }
    }

    /// Defines value `v`. The coordinates that its view needs must be in scope.
    pub fn define(&mut self, v: usize) -> Result<()> {
        let (width, reg) = (self.widths[v], self.regs[v]);
        let body = self.body;
        match body.instrs[v] {
            Instr::Load(l) => {
                let load = &body.loads[l];
                let index = access::index(&load.view, self.dims, self.linear.as_deref());
                let condition = access::condition(&load.view, self.dims);
                // A view that stands still along the vector axis gives one element for all four points.
                let still = width == 4 && self.axis.is_some_and(|a| load.view.strides[a] == 0 || self.dims[a] == 1);
                let var = self.var(load.buffer)?;
                let value = if still {
                    format!("{}4({})", letter(reg), var.load(&format!("i{v}"), 1))
                } else {
                    var.load(&format!("i{v}"), width)
                };
                if condition.is_empty() {
                    let _ = writeln!(self.text, "let i{v} = {index};\nlet v{v} = {value};");
                } else {
                    let zero = zero(reg, width);
                    let _ = writeln!(
                        self.text,
                        "var v{v} = {zero};\nif {condition} {{ let i{v} = {index}; v{v} = {value}; }}"
                    );
                }
            }
            Instr::Iota(i) => {
                let value = self.iota(&body.iotas[i], width);
                let _ = writeln!(self.text, "let v{v} = {value};");
            }
            _ => {
                let value = self.expression(v);
                let _ = writeln!(self.text, "let v{v} = {value};");
            }
        }
        Ok(())
    }

    fn iota(&self, view: &View, width: usize) -> String {
        let base = format!("bitcast<i32>({})", access::index(view, self.dims, None));
        let moving = self.axis.map_or(0, |a| if self.dims[a] > 1 { view.strides[a] } else { 0 });
        let value = match (width, moving) {
            (1, _) => base,
            (_, 0) => format!("I4({base})"),
            (_, s) => format!("(I4({base}) + I4(0, 1, 2, 3) * I4({}))", s as i32),
        };
        match access::condition(view, self.dims) {
            c if c.is_empty() => value,
            c => format!("select(I{width}(0), {value}, {c})"),
        }
    }

    fn expression(&mut self, v: usize) -> String {
        let width = self.widths[v];
        let reg = self.regs[v];
        match self.body.instrs[v] {
            // Loads and iotas are defined above, reductions by the loop.
            Instr::Load(_) | Instr::Iota(_) | Instr::Reduce(..) => zero(reg, width),
            Instr::Acc => "acc".into(),
            Instr::Const(scalar) => constant(scalar, width, &mut self.library),
            Instr::Threefry([k0, k1], counter, stream) => {
                let f = self.library.name("threefry", width);
                let [k0, k1, c] = [k0, k1, counter].map(|v| self.operand(v, width));
                format!("{f}({k0}, {k1}, {c}, U{width}({stream}u))")
            }
            Instr::Unary(op, a) => {
                let a = self.operand(a, width);
                unary(op, reg, width, &a, &mut self.library)
            }
            Instr::Binary(op, a, b) => self.binary(op, a, b, reg, width),
            Instr::Compare(op, a, b) => {
                let reg = self.regs[a.0];
                let (a, b) = (self.operand(a, width), self.operand(b, width));
                compare(op, reg, width, &a, &b, &mut self.library)
            }
            Instr::Select(c, a, b) => {
                let [c, a, b] = [c, a, b].map(|v| self.operand(v, width));
                format!("select({b}, {a}, {c})")
            }
            Instr::Cast(dtype, a) => {
                let from = self.regs[a.0];
                let a = self.operand(a, width);
                cast(from, dtype, width, &a, &mut self.library)
            }
        }
    }

    fn binary(&mut self, op: Binary, a: ValueId, b: ValueId, reg: Reg, width: usize) -> String {
        let (x, y) = (self.operand(a, width), self.operand(b, width));
        if let (Binary::Pow, Instr::Const(Scalar::Float(power))) = (op, self.body.instrs[b.0])
            && let Some(simple) = constant_power(power, width, &x)
        {
            return simple;
        }
        let zero = |v: ValueId| matches!(self.body.instrs[v.0], Instr::Const(Scalar::Float(0.0)));
        match op {
            _ if reg != Reg::F32 => {}
            Binary::Mul if zero(b) => return format!("{}({x}, {y})", self.library.name("times_zero", width)),
            Binary::Mul if zero(a) => return format!("{}({y}, {x})", self.library.name("times_zero", width)),
            Binary::Sub if a == b => return format!("{}({x})", self.library.name("minus_itself", width)),
            Binary::Div if a == b => return format!("{}({x})", self.library.name("over_itself", width)),
            _ => {}
        }
        binary(op, reg, width, &x, &y, &mut self.library)
    }

    /// Stores number `s` of the body.
    pub fn store(&mut self, s: usize) -> Result<()> {
        let store = &self.body.stores[s];
        let wide = self.axis.is_some_and(|a| self.dims[a] > 1 && store.view.strides[a] == 1);
        let width = if wide { 4 } else { self.widths[store.value.0] };
        let index = access::index(&store.view, self.dims, self.linear.as_deref());
        let value = self.operand(store.value, width);
        let Some(at) = self.vars.iter().position(|v| v.id == store.buffer) else {
            return self.var(store.buffer).map(drop);
        };
        let statement = self.vars[at].store(&format!("o{s}"), &value, width, &mut self.library);
        let condition = access::condition(&store.view, self.dims);
        let (open, close) =
            if condition.is_empty() { (String::new(), "") } else { (format!("if {condition} {{\n"), "\n}") };
        let _ = writeln!(self.text, "{open}let o{s} = {index};\n{statement}{close}");
        Ok(())
    }
}

pub(super) fn zero(reg: Reg, width: usize) -> String {
    match reg {
        Reg::F32 => format!("F{width}(0.0)"),
        Reg::I32 => format!("I{width}(0)"),
        Reg::U32 => format!("U{width}(0u)"),
        Reg::Bool => format!("B{width}(false)"),
    }
}

/// A constant. Numbers that a constant expression must not have come from their bits at run time.
pub(super) fn constant(scalar: Scalar, width: usize, library: &mut Library) -> String {
    match scalar {
        Scalar::Float(x) if x.is_normal() || x.to_bits() == 0 => format!("F{width}({x:?})"),
        Scalar::Float(x) => format!("{}(U{width}({}u))", library.name("bits", width), x.to_bits()),
        Scalar::Int(x) => format!("I{width}({x})"),
        Scalar::Uint(x) => format!("U{width}({x}u)"),
        Scalar::Bool(x) => format!("B{width}({x})"),
    }
}

/// Powers that have a cheaper form.
fn constant_power(power: f32, width: usize, x: &str) -> Option<String> {
    match power {
        1.0 => Some(x.to_string()),
        2.0 => Some(format!("({x} * {x})")),
        3.0 => Some(format!("({x} * {x} * {x})")),
        -1.0 => Some(format!("(F{width}(1.0) / {x})")),
        _ => None,
    }
}

fn unary(op: Unary, reg: Reg, w: usize, a: &str, library: &mut Library) -> String {
    let mut call = |name: &str| format!("{}({a})", library.name(name, w));
    match (op, reg) {
        (Unary::Neg, Reg::U32) => format!("(U{w}(0u) - {a})"),
        (Unary::Neg, _) => format!("(-{a})"),
        (Unary::Abs, Reg::U32) => a.to_string(),
        (Unary::Abs, _) => format!("abs({a})"),
        (Unary::Sign, Reg::F32) => call("sign"),
        (Unary::Sign, Reg::U32) => format!("min({a}, U{w}(1u))"),
        (Unary::Sign, _) => format!("sign({a})"),
        (Unary::Exp, _) => call("exp"),
        (Unary::Expm1, _) => call("expm1"),
        (Unary::Log, _) => call("log"),
        (Unary::Log1p, _) => call("log1p"),
        (Unary::Sqrt, _) => format!("sqrt({a})"),
        (Unary::Rsqrt, _) => format!("inverseSqrt({a})"),
        (Unary::Recip, _) => format!("(F{w}(1.0) / {a})"),
        (Unary::Sin, _) => call("sin"),
        (Unary::Cos, _) => call("cos"),
        (Unary::Tanh, _) => call("tanh"),
        (Unary::Sigmoid, _) => call("sigmoid"),
        (Unary::Erf, _) => call("erf"),
        (Unary::Floor, _) => format!("floor({a})"),
        (Unary::Ceil, _) => format!("ceil({a})"),
        (Unary::Round, _) => format!("round({a})"),
        (Unary::Not, _) => format!("(!{a})"),
    }
}

pub(super) fn binary(op: Binary, reg: Reg, w: usize, a: &str, b: &str, library: &mut Library) -> String {
    let mut call = |name: &str| format!("{}({a}, {b})", library.name(name, w));
    // The count is taken modulo 32 here, since wgpu leaves larger ones to the driver.
    let count = match reg {
        Reg::I32 => format!("(bitcast<U{w}>({b}) & U{w}(31u))"),
        _ => format!("({b} & U{w}(31u))"),
    };
    match (op, reg) {
        // Truth values add and multiply as "any" and "all".
        (Binary::Add | Binary::Max | Binary::Or, Reg::Bool) | (Binary::Or, _) => format!("({a} | {b})"),
        (Binary::Mul | Binary::Min | Binary::And, Reg::Bool) | (Binary::And, _) => format!("({a} & {b})"),
        (Binary::Sub | Binary::Xor, Reg::Bool) => format!("({a} != {b})"),
        (Binary::Xor, _) => format!("({a} ^ {b})"),
        (Binary::Add, _) => format!("({a} + {b})"),
        (Binary::Sub, _) => format!("({a} - {b})"),
        (Binary::Mul, _) => format!("({a} * {b})"),
        (Binary::Div, Reg::I32) => call("idiv"),
        (Binary::Div, Reg::U32) => call("udiv"),
        (Binary::Div, _) => format!("({a} / {b})"),
        (Binary::Rem, Reg::I32) => call("irem"),
        (Binary::Rem, Reg::U32) => call("urem"),
        (Binary::Rem, _) => call("rem"),
        (Binary::Pow, _) => call("pow"),
        (Binary::Max, Reg::F32) => call("max"),
        (Binary::Min, Reg::F32) => call("min"),
        (Binary::Max, _) => format!("max({a}, {b})"),
        (Binary::Min, _) => format!("min({a}, {b})"),
        (Binary::Shl, _) => format!("({a} << {count})"),
        (Binary::Shr, _) => format!("({a} >> {count})"),
    }
}

fn compare(op: Compare, reg: Reg, w: usize, a: &str, b: &str, library: &mut Library) -> String {
    let symbol = match op {
        Compare::Eq => "==",
        Compare::Ne => "!=",
        Compare::Lt => "<",
        Compare::Le => "<=",
        Compare::Gt => ">",
        Compare::Ge => ">=",
    };
    match reg {
        // A compiler may assume that there is no NaN, so it is looked for by its bits.
        Reg::F32 => {
            let nan = library.name("nan", w);
            match op {
                Compare::Ne => format!("(({a} != {b}) | {nan}({a}) | {nan}({b}))"),
                _ => format!("(({a} {symbol} {b}) & !({nan}({a}) | {nan}({b})))"),
            }
        }
        Reg::Bool if matches!(op, Compare::Eq | Compare::Ne) => format!("({a} {symbol} {b})"),
        Reg::Bool => {
            let number = |x: &str| format!("select(U{w}(0u), U{w}(1u), {x})");
            format!("({} {symbol} {})", number(a), number(b))
        }
        _ => format!("({a} {symbol} {b})"),
    }
}

fn cast(from: Reg, to: DType, w: usize, a: &str, library: &mut Library) -> String {
    let target = Reg::from(to);
    let value = match (from, target) {
        (x, y) if x == y => a.to_string(),
        (Reg::F32, Reg::I32) => format!("{}({a})", library.name("to_i32", w)),
        (Reg::F32, Reg::U32) => format!("{}({a})", library.name("to_u32", w)),
        (Reg::F32, _) => format!("{}({a})", library.name("to_bool", w)),
        (Reg::Bool, Reg::F32) => format!("select(F{w}(0.0), F{w}(1.0), {a})"),
        (Reg::Bool, Reg::I32) => format!("select(I{w}(0), I{w}(1), {a})"),
        (Reg::Bool, _) => format!("select(U{w}(0u), U{w}(1u), {a})"),
        (Reg::I32, Reg::Bool) => format!("({a} != I{w}(0))"),
        (Reg::U32, Reg::Bool) => format!("({a} != U{w}(0u))"),
        (_, y) => format!("{}{w}({a})", letter(y)),
    };
    match to {
        DType::F16 => format!("{}({value})", library.name("round_f16", w)),
        DType::BF16 => format!("{}({value})", library.name("round_bf16", w)),
        _ => value,
    }
}

/// The value of an empty reduction.
pub(super) fn identity(op: Reduce, reg: Reg, width: usize, library: &mut Library) -> String {
    let dtype = match reg {
        Reg::F32 => DType::F32,
        Reg::I32 => DType::I32,
        Reg::U32 => DType::U32,
        Reg::Bool => DType::Bool,
    };
    constant(op.identity(dtype), width, library)
}
