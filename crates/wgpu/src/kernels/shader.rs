//! Building one dispatch from a shader file.

use crate::codegen;
use crate::dispatch::{Access, Binding, Dispatch, TEXELS, Target, Traits, too_long};
use ibex_core::program::{Body, BufferId};
use ibex_core::{DType, Error, Result};

/// A shader that is being specialised, and what it is run on.
pub(super) struct Builder<'a> {
    label: &'static str,
    source: String,
    constants: Vec<(String, f64)>,
    buffers: Vec<Binding>,
    /// Operands that an epilogue may read under the shader's own name.
    taken: Vec<(BufferId, &'static str, DType)>,
    /// All operands, and whether they are read as vectors.
    operands: Vec<(BufferId, DType, bool, &'static str)>,
    f16: bool,
    enable: Option<&'static str>,
    traits: &'a Traits,
}

impl<'a> Builder<'a> {
    pub(super) fn new(label: &'static str, source: &str, traits: &'a Traits) -> Self {
        Builder {
            label,
            source: source.to_string(),
            constants: Vec::new(),
            buffers: Vec::new(),
            taken: Vec::new(),
            operands: Vec::new(),
            f16: false,
            enable: None,
            traits,
        }
    }

    /// Values of `override` constants.
    pub(super) fn constants(mut self, values: &[(&str, usize)]) -> Self {
        self.constants.extend(values.iter().map(|&(name, value)| (name.to_string(), value as f64)));
        self
    }

    /// A language extension that the shader needs.
    pub(super) fn enable(self, extension: Option<&'static str>) -> Self {
        Builder { enable: extension, ..self }
    }

    /// Replaces what stands between the line `// @name` and the next `// @end`.
    pub(super) fn block(mut self, name: &str, with: &str) -> Result<Self> {
        let ends = |from: &str, line: &str| from.find(line).map(|at| (at, at + line.len()));
        let place = ends(&self.source, &format!("// @{name}\n"))
            .and_then(|(start, inside)| Some((start, inside + ends(&self.source[inside..], "// @end\n")?.1)));
        let Some((start, end)) = place else {
            return Err(Error::unsupported(format!("shader {} has no block {name}", self.label)));
        };
        self.source.replace_range(start..end, with);
        Ok(self)
    }

    /// The next bindings.
    pub(super) fn bind(mut self, targets: &[(Target, bool)]) -> Self {
        self.buffers.extend(targets.iter().map(|&(buffer, writable)| Binding::new(buffer, writable)));
        self
    }

    /// Replaces the one line that begins so.
    pub(super) fn line(mut self, start: &str, with: &str) -> Result<Self> {
        let mut found = 0;
        let lines: Vec<&str> = (self.source.lines())
            .map(|line| {
                let hit = line.starts_with(start);
                found += usize::from(hit);
                if hit { with } else { line }
            })
            .collect();
        if found != 1 {
            return Err(Error::unsupported(format!(
                "shader {} has {found} lines that begin with {start:?}",
                self.label
            )));
        }
        self.source = lines.join("\n") + "\n";
        Ok(self)
    }

    /// Binds an `f32` operand as texels. `aligned` says that vectors are whole texels.
    pub(super) fn texels(self, name: &'static str, operand: (BufferId, DType), aligned: bool) -> Result<Self> {
        let (id, dtype) = operand;
        let declaration = format!("@group(0) @binding({}) var", self.buffers.len());
        if let Some(&(.., first)) = self.operands.iter().find(|o| (o.0, o.1, o.2) == (id, dtype, aligned)) {
            // One buffer read twice is copied once.
            return self.line(&format!("{declaration}<storage, read> {name}:"), "")?.same(name, first, aligned);
        }
        let texel = format!("textureLoad({name}, vec2u(i / 4u % {TEXELS}u, i / 4u / {TEXELS}u))");
        let mut new = self
            .line(
                &format!("{declaration}<storage, read> {name}:"),
                &format!("{declaration} {name}: texture_storage_2d<rgba32float, read>;"),
            )?
            .line(
                &format!("fn {name}_at("),
                &format!("fn {name}_at(i: u32) -> f32 {{ let four = {texel}; return four[i % 4u]; }}"),
            )?;
        if aligned {
            let vector = format!("fn {name}_vec(i: u32) -> vec4f {{ return {texel}; }}");
            new = new.line(&format!("fn {name}_vec("), &vector)?;
        }
        new.buffers.push(Binding { buffer: Target::Planned(id), access: Access::Texels });
        new.operands.push((id, dtype, aligned, name));
        Ok(new)
    }

    /// Reads operand `name` through the functions of operand `first`.
    fn same(self, name: &str, first: &str, vectors: bool) -> Result<Self> {
        let call = |kind: &str, ty: &str| format!("fn {name}_{kind}(i: u32) -> {ty} {{ return {first}_{kind}(i); }}");
        let new = self.line(&format!("fn {name}_at("), &call("at", "f32"))?;
        if vectors { new.line(&format!("fn {name}_vec("), &call("vec", "vec4f")) } else { Ok(new) }
    }

    /// Binds a float operand named `name`, read through `name_at` (and `name_vec`, if `vectors` says anything: then
    /// whether vectors are aligned).
    pub(super) fn operand(self, name: &'static str, operand: (BufferId, DType), vectors: Option<bool>) -> Result<Self> {
        let (id, dtype) = operand;
        let binding = self.buffers.len();
        let aligned = vectors == Some(true);
        let declaration = format!("@group(0) @binding({binding}) var<storage, read> {name}:");
        if let Some(&(.., first)) = self.operands.iter().find(|o| (o.0, o.1, o.2) == (id, dtype, aligned)) {
            // One buffer read twice takes one binding.
            return self.line(&declaration, "")?.same(name, first, vectors.is_some());
        }
        let native = dtype == DType::F32 || (dtype == DType::F16 && self.traits.f16);
        let element = if dtype == DType::F16 { "f16" } else { "f32" };
        let (ty, at, vec) = match dtype {
            DType::F32 | DType::F16 if native && aligned => {
                (format!("vec4<{element}>"), format!("f32({name}[i / 4u][i % 4u])"), format!("vec4f({name}[i / 4u])"))
            }
            DType::F32 | DType::F16 if native => (element.to_string(), format!("f32({name}[i])"), String::new()),
            DType::F16 => ("u32".to_string(), format!("unpack2x16float({name}[i / 2u])[i % 2u]"), String::new()),
            DType::BF16 => {
                let at = format!("bitcast<f32>(({name}[i / 2u] >> (i % 2u * 16u)) << 16u)");
                ("u32".to_string(), at, String::new())
            }
            _ => return Err(Error::dtype(format!("{} takes floats, not {dtype}; cast the operand", self.label))),
        };
        let mut new = self
            .line(&declaration, &format!("{declaration} array<{ty}>;"))?
            .line(&format!("fn {name}_at("), &format!("fn {name}_at(i: u32) -> f32 {{ return {at}; }}"))?
            .bind(&[(Target::Planned(id), false)]);
        if !vec.is_empty() {
            new =
                new.line(&format!("fn {name}_vec("), &format!("fn {name}_vec(i: u32) -> vec4f {{ return {vec}; }}"))?;
        }
        if !aligned {
            new.taken.push((id, name, dtype));
        }
        new.operands.push((id, dtype, aligned, name));
        new.f16 |= element == "f16" && native;
        Ok(new)
    }

    /// Puts the fused epilogue in. With `quads` the shader calls it for four elements at once only.
    pub(super) fn epilogue(mut self, body: &Body, dims: &[usize], quads: bool) -> Result<Self> {
        if let Some(store) = body.stores.iter().find(|s| self.taken.iter().any(|t| t.0 == s.buffer)) {
            return Err(Error::unsupported(format!(
                "kernel {} would overwrite buffer {} while other invocations read it",
                self.label, store.buffer.0
            )));
        }
        let code = codegen::epilogue(body, dims, self.buffers.len() as u32, &self.taken, quads, self.traits)?;
        self.source = codegen::splice(&self.source, &code);
        self.buffers.extend(code.buffers.iter().copied());
        self.f16 |= code.f16;
        Ok(self)
    }

    /// The dispatch of this many workgroups, which the shader counts as one number.
    pub(super) fn groups(self, count: usize) -> Result<Dispatch> {
        let workgroups = fold(count, self.traits, self.label)?;
        Ok(self.grid(workgroups))
    }

    /// The dispatch of a grid that the shader knows.
    pub(super) fn grid(self, workgroups: [u32; 3]) -> Dispatch {
        let mut enable = String::from(if self.f16 { "enable f16;\n" } else { "" });
        if let Some(extension) = self.enable {
            enable += &format!("enable {extension};\n");
        }
        Dispatch {
            label: self.label.to_string(),
            source: format!("{enable}{}", self.source),
            constants: self.constants,
            buffers: self.buffers,
            workgroups,
        }
    }
}

/// Bindings of a shader that declares `own` and runs `body`, if they share none.
pub(super) fn bindings(own: usize, body: &Body) -> usize {
    own + body.buffers().len()
}

/// At least `count` workgroups in three dimensions, none above the device's limit.
fn fold(count: usize, traits: &Traits, label: &str) -> Result<[u32; 3]> {
    let limit = traits.max_workgroups_per_dim.max(1) as usize;
    let x = count.clamp(1, limit);
    let y = count.div_ceil(x).clamp(1, limit);
    let z = count.div_ceil(x * y).max(1);
    // Invocations are counted in 32 bits.
    if z > limit || x * y * z > 1 << 25 {
        return Err(Error::unsupported(format!("kernel {label} is too large for this device: make the batch smaller")));
    }
    Ok([x as u32, y as u32, z as u32])
}

/// Fails where the loops of an invocation have more iterations than the device runs.
pub(super) fn runnable(label: &str, iterations: usize, traits: &Traits) -> Result<()> {
    if iterations > traits.max_iterations {
        return Err(too_long(&format!("kernel {label} has loops")));
    }
    Ok(())
}

/// Fails where an element number would not fit a signed 32-bit integer.
pub(super) fn addressable(label: &str, elements: &[usize]) -> Result<()> {
    match elements.iter().find(|&&n| n >= 1 << 31) {
        Some(n) => Err(Error::unsupported(format!(
            "kernel {label} has an operand of {n} elements, and a GPU kernel addresses 2^31: make the batch smaller"
        ))),
        None => Ok(()),
    }
}
