//! The fused body behind a hand-written shader: a function that takes the raw result of one element.

use super::access::{self, Var};
use super::emit::{self, Emitter};
use super::library::Library;
use crate::dispatch::{Binding, Target, Traits};
use ibex_core::program::{Body, BufferId, Instr, Load, View};
use ibex_core::{DType, Error, Result};
use std::fmt::Write;

/// WGSL that replaces the marked blocks of a hand-written shader.
#[derive(Clone, Debug)]
pub(crate) struct EpilogueCode {
    /// Buffer declarations, for the block `// @bindings`.
    pub declarations: String,
    /// Helper functions and `fn epilogue(row_major_index: u32, acc: f32)`, for the block `// @epilogue`; and `epilogue4` for four neighbours
    /// along the last axis, from a multiple of four on, whose last argument is 4 but not known to the compiler. `prepare` is called before it
    /// with the index of the same columns in any row.
    pub function: String,
    /// What the declarations bind, in order, from `first_binding` on.
    pub buffers: Vec<Binding>,
    /// The shader must begin with `enable f16;`, which is the caller's to add.
    pub f16: bool,
}

/// Code for an epilogue over `dims`. Buffers in `taken` are declared by the shader, under the name given there, as arrays of single
/// elements (`bf16` as `u32` pairs); all others are declared here. With `quads` the shader only calls `epilogue4`.
///
/// # Errors
/// `Unsupported` for a body that reduces, or that stores `bf16` to a buffer of the shader.
pub(crate) fn epilogue(
    body: &Body,
    dims: &[usize],
    first_binding: u32,
    taken: &[(BufferId, &str, DType)],
    quads: bool,
    traits: &Traits,
) -> Result<EpilogueCode> {
    if body.instrs.iter().any(|i| matches!(i, Instr::Reduce(..))) {
        return Err(Error::unsupported("an epilogue can not reduce"));
    }
    // What the shader declares itself is an array of single elements.
    let shared = body.buffers().iter().any(|id| taken.iter().any(|t| t.0 == *id));
    let axis = dims.len().checked_sub(1).filter(|&d| quads && !shared && access::fours(body, dims, d, |_| false));
    let mut vars = Vec::new();
    for (n, id) in body.buffers().into_iter().enumerate() {
        let own = taken.iter().find(|t| t.0 == id);
        let name = own.map_or_else(|| format!("epilogue_{n}"), |t| t.1.to_string());
        let loads = body.loads.iter().filter(|l| l.buffer == id).map(|l| l.dtype);
        let mut dtypes = loads.chain(body.stores.iter().filter(|s| s.buffer == id).map(|s| s.dtype));
        let Some(dtype) = dtypes.next() else { continue };
        let mut var = Var::new(id, name, dtype, traits);
        let loads = body.loads.iter().filter(|l| l.buffer == id).map(|l| &l.view);
        let mut views = loads.chain(body.stores.iter().filter(|s| s.buffer == id).map(|s| &s.view));
        var.wide = axis.is_some_and(|d| views.any(|v| v.strides[d] == 1));
        if body.stores.iter().any(|s| s.buffer == id) {
            var.stored();
        }
        if own.is_some() && var.is_atomic() {
            return Err(Error::unsupported(format!(
                "an epilogue can not store {dtype} to a buffer that its kernel reads"
            )));
        }
        vars.push(var);
    }
    let (mut declarations, mut buffers) = (String::new(), Vec::new());
    let own = vars.iter().filter(|v| taken.iter().all(|t| t.0 != v.id));
    for (binding, var) in (first_binding..).zip(own) {
        declarations.push_str(&var.declaration(binding));
        buffers.push(Binding::new(Target::Planned(var.id), var.writable));
    }
    let f16 = vars.iter().any(Var::native_half);
    let mut emitter = Emitter {
        body,
        dims,
        regs: body.regs(),
        widths: vec![if axis.is_some() { 4 } else { 1 }; body.instrs.len()],
        axis,
        linear: Some("row_major_index".into()),
        vars,
        library: Library::default(),
        text: String::new(),
    };
    coordinates(&mut emitter);
    // What is the same in all rows is loaded once for the columns of an invocation, by `prepare`.
    let (mut held, mut prepare) = (String::new(), String::new());
    for v in 0..body.instrs.len() {
        let start = emitter.text.len();
        emitter.define(v)?;
        if let (Instr::Load(l), Some(last)) = (body.instrs[v], axis)
            && fixed(&body.loads[l], body, last)
        {
            prepare.push_str(&emitter.text.split_off(start));
            let _ = writeln!(prepare, "held_{v} = v{v};");
            let _ = writeln!(held, "var<private> held_{v}: {}4;", emit::letter(emitter.regs[v]));
            emitter.line(format!("let v{v} = held_{v};"));
        }
    }
    for s in 0..body.stores.len() {
        emitter.store(s)?;
    }
    let (library, text) = (emitter.library.source(), emitter.text);
    let function = match axis {
        Some(last) => format!(
            "{library}{held}fn prepare(row_major_index: u32) {{\nlet c{last} = row_major_index % {}u;\n{prepare}}}\n\
             fn epilogue4(row_major_index: u32, acc: vec4<f32>, four: u32) {{\n{text}}}\n\
             fn epilogue(row_major_index: u32, acc: f32) {{}}\n",
            dims[last]
        ),
        None => format!(
            "{library}fn prepare(row_major_index: u32) {{}}\n\
             fn epilogue(row_major_index: u32, acc: f32) {{\n{text}}}\n\
             fn epilogue4(row_major_index: u32, acc: vec4<f32>, four: u32) {{\n\
             var c = acc;\nfor (var j = 0u; j < four; j++) {{ epilogue(row_major_index + j, c.x); c = c.yzwx; }}\n}}\n"
        ),
    };
    Ok(EpilogueCode { declarations, function, buffers, f16 })
}

/// True for a load that depends on no coordinate but the last, of a buffer that the body does not change.
fn fixed(load: &Load, body: &Body, last: usize) -> bool {
    let still = load.view.strides.iter().enumerate().all(|(d, s)| d == last || *s == 0);
    still && load.view.bounds.is_empty() && body.stores.iter().all(|s| s.buffer != load.buffer)
}

/// Defines the coordinates that some view needs.
fn coordinates(emitter: &mut Emitter) {
    let (body, dims) = (emitter.body, emitter.dims);
    let addressed = body.loads.iter().map(|l| &l.view).chain(body.stores.iter().map(|s| &s.view));
    let views: Vec<&View> = addressed.filter(|v| !access::is_linear(v, dims)).chain(&body.iotas).collect();
    let mut below = 1;
    for d in (0..dims.len()).rev() {
        if views.iter().any(|v| v.strides[d] != 0 || !v.bounds.is_empty()) {
            let above = if below == 1 { "row_major_index".to_string() } else { format!("row_major_index / {below}u") };
            let outermost = dims[..d].iter().all(|&dim| dim == 1);
            let part = if outermost { above } else { format!("({above}) % {}u", dims[d].max(1)) };
            emitter.line(format!("let c{d} = {part};"));
        }
        below *= dims[d].max(1);
    }
}

/// The shader with its blocks `// @bindings` and `// @epilogue`, each up to the next `// @end`, replaced.
pub(crate) fn splice(shader: &str, code: &EpilogueCode) -> String {
    let mut text = String::with_capacity(shader.len() + code.declarations.len() + code.function.len());
    let mut skipping = false;
    for line in shader.lines() {
        match line.trim() {
            "// @bindings" => {
                text.push_str(&code.declarations);
                skipping = true;
            }
            "// @epilogue" => {
                text.push_str(&code.function);
                skipping = true;
            }
            "// @end" if skipping => skipping = false,
            _ if skipping => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}
