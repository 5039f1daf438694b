//! Buffers in generated code: how elements of each type are declared, loaded and stored, and the proof that every index lies
//! in its buffer.

use super::library::Library;
use crate::dispatch::Traits;
use ibex_core::program::{Body, BufferId, Program, Store, View};
use ibex_core::{DType, Error, Result};

/// How elements lie in a WGSL array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// One word each.
    Word,
    /// `f16`.
    Half,
    /// Two in one word, the lower first: `bf16` always, `f16` where shaders have none.
    Pair,
}

/// A buffer of a generated shader.
#[derive(Clone, Debug)]
pub(super) struct Var {
    pub id: BufferId,
    pub name: String,
    pub dtype: DType,
    layout: Layout,
    /// An array of four elements each, for vector access.
    pub wide: bool,
    pub writable: bool,
    /// Threads write halves of one word.
    atomic: bool,
}

impl Var {
    pub fn new(id: BufferId, name: String, dtype: DType, traits: &Traits) -> Var {
        let layout = match dtype {
            DType::F16 if traits.f16 => Layout::Half,
            DType::F16 | DType::BF16 => Layout::Pair,
            _ => Layout::Word,
        };
        Var { id, name, dtype, layout, wide: false, writable: false, atomic: false }
    }

    /// Notes that it is stored to, after `wide` is known.
    pub fn stored(&mut self) {
        self.writable = true;
        self.atomic = self.layout == Layout::Pair && !self.wide;
    }

    /// True if its declaration needs `enable f16`.
    pub fn native_half(&self) -> bool {
        self.layout == Layout::Half
    }

    /// True if a store to it needs atomics.
    pub fn is_atomic(&self) -> bool {
        self.atomic
    }

    pub fn declaration(&self, binding: u32) -> String {
        let word = match self.dtype {
            DType::F32 => "f32",
            DType::I32 => "i32",
            _ => "u32",
        };
        let element = match (self.layout, self.wide) {
            (Layout::Word, false) => word.to_string(),
            (Layout::Word, true) => format!("vec4<{word}>"),
            (Layout::Half, false) => "f16".to_string(),
            (Layout::Half, true) => "vec4<f16>".to_string(),
            (Layout::Pair, true) => "vec2<u32>".to_string(),
            (Layout::Pair, false) if self.atomic => "atomic<u32>".to_string(),
            (Layout::Pair, false) => "u32".to_string(),
        };
        let access = if self.writable { "read_write" } else { "read" };
        format!("@group(0) @binding({binding}) var<storage, {access}> {}: array<{element}>;\n", self.name)
    }

    /// The register value of the element (or the four elements) at number `i`, the name of a `u32`.
    pub fn load(&self, i: &str, width: usize) -> String {
        let name = &self.name;
        if width == 4 {
            let four = format!("{name}[{i} >> 2u]");
            return match (self.layout, self.dtype) {
                (Layout::Word, DType::Bool) => format!("({four} != U4(0u))"),
                (Layout::Word, _) => four,
                (Layout::Half, _) => format!("F4({four})"),
                (Layout::Pair, DType::BF16) => format!(
                    "bitcast<F4>(U4({four}.x << 16u, {four}.x & 0xffff0000u, {four}.y << 16u, {four}.y & 0xffff0000u))"
                ),
                (Layout::Pair, _) => format!("F4(unpack2x16float({four}.x), unpack2x16float({four}.y))"),
            };
        }
        if self.layout == Layout::Pair {
            let word = match (self.wide, self.atomic) {
                (true, _) => format!("{name}[{i} >> 2u][({i} >> 1u) & 1u]"),
                (false, true) => format!("atomicLoad(&{name}[{i} >> 1u])"),
                (false, false) => format!("{name}[{i} >> 1u]"),
            };
            return match self.dtype {
                DType::BF16 => format!("bitcast<f32>(({word} >> (({i} & 1u) << 4u)) << 16u)"),
                _ => format!("unpack2x16float({word} >> (({i} & 1u) << 4u)).x"),
            };
        }
        let one = if self.wide { format!("{name}[{i} >> 2u][{i} & 3u]") } else { format!("{name}[{i}]") };
        match (self.layout, self.dtype) {
            (Layout::Half, _) => format!("f32({one})"),
            (_, DType::Bool) => format!("({one} != 0u)"),
            _ => one,
        }
    }

    /// The statements that store the register `value` (a name) at element number `i` (a name).
    pub fn store(&self, i: &str, value: &str, width: usize, library: &mut Library) -> String {
        let name = &self.name;
        match self.layout {
            Layout::Word | Layout::Half => {
                let at = if self.wide { format!("{name}[{i} >> 2u]") } else { format!("{name}[{i}]") };
                let stored = match (self.layout, self.dtype, width) {
                    (Layout::Half, _, 4) => format!("vec4<f16>({}({value}))", library.name("round_f16", 4)),
                    (Layout::Half, ..) => format!("f16({}({value}))", library.name("round_f16", 1)),
                    (_, DType::Bool, w) => format!("select(U{w}(0u), U{w}(1u), {value})"),
                    _ => value.to_string(),
                };
                format!("{at} = {stored};")
            }
            Layout::Pair => {
                let (function, shift) =
                    if self.dtype == DType::BF16 { ("bf16_bits", " >> 16u") } else { ("f16_bits", "") };
                let bits = library.name(function, width);
                if width == 4 {
                    // bf16 bits come in the upper half.
                    let pair = |low: &str, high: &str| match self.dtype {
                        DType::BF16 => format!("({low} >> 16u) | {high}"),
                        _ => format!("{low} | ({high} << 16u)"),
                    };
                    let (low, high) = (pair("w.x", "w.y"), pair("w.z", "w.w"));
                    format!("{{ let w = {bits}({value}); {name}[{i} >> 2u] = vec2<u32>({low}, {high}); }}")
                } else {
                    // Each half of a word has one writer, so clearing and setting it need not be one step.
                    format!(
                        "{{ let w = {bits}({value}){shift}; let s = ({i} & 1u) << 4u; \
                         atomicAnd(&{name}[{i} >> 1u], 0xffff0000u >> s); atomicOr(&{name}[{i} >> 1u], w << s); }}"
                    )
                }
            }
        }
    }
}

/// True if registers may hold four neighbours along axis `d`: all accesses are whole vectors or broadcasts, and some gain by it. A store
/// that is `still` happens once for all of them.
pub(super) fn fours(body: &Body, dims: &[usize], d: usize, still: impl Fn(&Store) -> bool) -> bool {
    let aligned = |view: &View| {
        let others = view.strides.iter().enumerate().all(|(a, s)| a == d || dims[a] <= 1 || s % 4 == 0);
        view.offset % 4 == 0 && others
    };
    let bounded = |view: &View| {
        let whole = |&(lo, hi): &(i64, i64)| (lo <= 0 || lo % 4 == 0) && (hi >= dims[d] as i64 || hi % 4 == 0);
        view.bounds.get(d).is_none_or(whole)
    };
    let loads = body.loads.iter().all(|l| {
        let stride = l.view.strides[d];
        bounded(&l.view) && (stride == 0 || stride == 1 && aligned(&l.view))
    });
    let iotas = body.iotas.iter().all(bounded);
    let stores = body.stores.iter().all(|s| still(s) || s.view.strides[d] == 1 && aligned(&s.view));
    let mut strides = body.loads.iter().map(|l| l.view.strides[d]).chain(body.stores.iter().map(|s| s.view.strides[d]));
    dims[d] > 0 && dims[d].is_multiple_of(4) && loads && iotas && stores && strides.any(|s| s == 1)
}

/// The index expression of a view, for coordinates named `c0`, `c1`, ... Negative strides wrap around, as `u32` does.
pub(super) fn index(view: &View, dims: &[usize], linear: Option<&str>) -> String {
    let mut terms = Vec::new();
    if let Some(linear) = linear.filter(|_| is_linear(view, dims)) {
        terms.push(linear.to_string());
    } else {
        for (d, &stride) in view.strides.iter().enumerate().filter(|(d, s)| **s != 0 && dims[*d] > 1) {
            terms.push(if stride == 1 { format!("c{d}") } else { format!("c{d} * {}u", stride as u32) });
        }
    }
    if view.offset != 0 || terms.is_empty() {
        terms.push(format!("{}u", view.offset as u32));
    }
    terms.join(" + ")
}

/// True if the view is row-major over `dims`, but for its offset.
pub(super) fn is_linear(view: &View, dims: &[usize]) -> bool {
    let unbounded = condition(view, dims).is_empty();
    let mut expect = 1;
    let contiguous = dims.iter().zip(&view.strides).rev().all(|(&dim, &stride)| {
        let fits = dim <= 1 || stride == expect;
        expect *= dim as i64;
        fits
    });
    unbounded && contiguous
}

/// The condition that coordinates lie in the view's bounds; empty if they always do.
pub(super) fn condition(view: &View, dims: &[usize]) -> String {
    let mut parts = Vec::new();
    for (d, (&(lo, hi), &dim)) in view.bounds.iter().zip(dims).enumerate() {
        if hi <= lo.max(0) {
            return "false".into();
        }
        if lo > 0 {
            parts.push(format!("c{d} >= {lo}u"));
        }
        if hi < dim as i64 {
            parts.push(format!("c{d} < {hi}u"));
        }
    }
    parts.join(" && ")
}

/// Shows that every element which `body` touches over `dims` lies in its buffer.
///
/// # Errors
/// `Unsupported` for elements that a 32-bit index does not reach; `Value` for an element outside (the compiler is wrong).
pub(crate) fn check(body: &Body, dims: &[usize], program: &Program) -> Result<()> {
    let loads = body.loads.iter().map(|l| (l.buffer, l.dtype, &l.view));
    let stores = body.stores.iter().map(|s| (s.buffer, s.dtype, &s.view));
    for (buffer, dtype, view) in loads.chain(stores) {
        let Some((first, last)) = span(view, dims) else { continue };
        let elements = (program[buffer].bytes() / dtype.size()) as i64;
        if dtype != program[buffer].dtype || first < 0 || last >= elements {
            return Err(Error::value(format!(
                "elements {first} to {last} ({dtype}) are outside buffer {} with {elements} elements ({}); this is a bug of the compiler",
                buffer.0, program[buffer].dtype
            )));
        }
        if last > i64::from(u32::MAX) {
            return Err(Error::unsupported(format!("a tensor of {elements} elements has no 32-bit index")));
        }
    }
    Ok(())
}

/// First and last element of a view within its bounds; `None` if it reads nothing.
fn span(view: &View, dims: &[usize]) -> Option<(i64, i64)> {
    let (mut first, mut last) = (view.offset, view.offset);
    for (d, &dim) in dims.iter().enumerate() {
        let (lo, hi) = view.bounds.get(d).copied().unwrap_or((0, dim as i64));
        let (lo, hi) = (lo.max(0), hi.min(dim as i64));
        if lo >= hi {
            return None;
        }
        let ends = [lo * view.strides[d], (hi - 1) * view.strides[d]];
        first += ends[0].min(ends[1]);
        last += ends[0].max(ends[1]);
    }
    Some((first, last))
}
