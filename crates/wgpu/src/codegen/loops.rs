//! Fused loops as one dispatch each.
//!
//! Every form is one scheme: a workgroup computes some *points* (coordinates of the outer and inside axes), each by some *lanes*
//! that share the reduce axes and combine their parts in workgroup memory. One lane is a thread per point (elementwise loops, short
//! rows), many lanes are a workgroup per row. Each phase is a sweep along the reduce axes that computes row-level values anew from
//! memory. Where views allow, registers hold four neighbours: along the last point axis, or along the last reduce axis.

use super::access::{self, Var};
use super::emit::{self, Emitter};
use super::library::Library;
use super::reductions::{self, Part};
use crate::dispatch::{Binding, Dispatch, Lowered, Target, Traits, too_long};
use ibex_core::program::{Instr, Loop, Program, Reg, View};
use ibex_core::{Error, Result};
use std::fmt::Write;

/// Which axis registers of width four run along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vector {
    None,
    /// The last outer or inside axis: all values.
    Point(usize),
    /// The last reduce axis: row-level values only.
    Row(usize),
}

impl Vector {
    fn axis(self) -> Option<usize> {
        match self {
            Vector::None => None,
            Vector::Point(d) | Vector::Row(d) => Some(d),
        }
    }
}

/// How a loop is spread over threads.
#[derive(Clone, Copy, Debug)]
struct Shape {
    vector: Vector,
    /// Threads that share one point.
    lanes: usize,
    /// Points of one workgroup.
    points: usize,
    /// Neighbouring threads are lanes of one point, not points.
    lanes_first: bool,
    /// The lanes are a workgroup of their own, and combine by subgroups.
    subgroups: bool,
    /// Points of the whole loop, and steps of a sweep, in units of registers.
    total: usize,
    row: usize,
}

/// The loop as one dispatch; none if it has no points.
///
/// # Errors
/// `Unsupported` if it is too large for the device.
pub(crate) fn lower(kernel: &Loop, label: &str, program: &Program, traits: &Traits) -> Result<Lowered> {
    let levels = levels(kernel, program)?;
    let [outer, row, inside] = kernel.extents();
    if outer * inside == 0 || kernel.body.stores.is_empty() {
        return Ok(Lowered::default());
    }
    if outer * inside > u32::MAX as usize / 2 || row > u32::MAX as usize / 2 {
        return Err(Error::unsupported(format!("a loop over {:?} is too large for the GPU", kernel.dims)));
    }
    let shape = shape(kernel, &levels, traits);
    if shape.row.div_ceil(shape.lanes) * sweeps(kernel) > traits.max_iterations {
        return Err(too_long(&format!("a loop over {:?} has rows", kernel.dims)));
    }
    let groups = shape.total.div_ceil(shape.points);
    let most = traits.max_workgroups_per_dim as usize;
    let (x, y) = if groups <= most { (groups, 1) } else { (most, groups.div_ceil(most)) };
    if y > most {
        return Err(Error::unsupported(format!("a loop over {:?} is too large for the GPU", kernel.dims)));
    }
    let mut writer = Writer::new(kernel, levels, shape, traits);
    let source = writer.write([x, y])?;
    let buffers = (writer.emitter.vars.iter()).map(|v| Binding::new(Target::Planned(v.id), v.writable)).collect();
    let workgroups = [x as u32, y as u32, 1];
    let dispatch = Dispatch { label: label.to_string(), source, constants: Vec::new(), buffers, workgroups };
    Ok(Lowered { dispatches: vec![dispatch], scratch: Vec::new() })
}

/// Which values vary along the reduce axes. An axis of no elements counts as one along which all views with a stride vary, so that
/// nothing of an empty row is read or written.
fn levels(kernel: &Loop, program: &Program) -> Result<Vec<bool>> {
    let range = kernel.outer..kernel.outer + kernel.reduce;
    if !kernel.dims[range.clone()].contains(&0) {
        return Ok(kernel.row_level());
    }
    let mut probe = kernel.clone();
    probe.dims[range.clone()].fill(2);
    let levels = probe.row_level();
    // What does not vary is touched all the same, but was not checked with the row.
    let still = |view: &View| range.clone().all(|d| view.strides[d] == 0);
    probe.dims[range.clone()].fill(1);
    probe.body.loads.retain(|l| still(&l.view));
    probe.body.stores.retain(|s| still(&s.view));
    access::check(&probe.body, &probe.dims, program)?;
    Ok(levels)
}

/// The axes of points: outer and inside.
fn point_axes(kernel: &Loop) -> Vec<usize> {
    (0..kernel.dims.len()).filter(|d| !(kernel.outer..kernel.outer + kernel.reduce).contains(d)).collect()
}

/// Passes along the rows, at most.
fn sweeps(kernel: &Loop) -> usize {
    kernel.phases().into_iter().max().unwrap_or(0) + 2
}

fn shape(kernel: &Loop, levels: &[bool], traits: &Traits) -> Shape {
    let vector = vector(kernel, levels);
    let [outer, mut row, inside] = kernel.extents();
    let mut total = outer * inside;
    match vector {
        Vector::None => {}
        Vector::Point(_) => total /= 4,
        Vector::Row(_) => row /= 4,
    }
    let mut size = 256;
    while size > traits.max_invocations as usize {
        size /= 2;
    }
    // Rows that lie along memory are shared by neighbouring threads.
    let last = (kernel.outer + kernel.reduce).wrapping_sub(1);
    let along = |v: &View| kernel.reduce > 0 && v.strides[last].abs() == 1 && kernel.dims[last] > 1;
    let lanes_first = inside <= 1 || kernel.body.loads.iter().any(|l| along(&l.view));
    // Enough threads to fill the device, but no lane with nothing to do. On a CPU, lanes only cost barriers.
    let (threads, work) = if traits.software { (size, 16) } else { (1 << 16, 4) };
    let mut lanes = 1;
    if kernel.reduce > 0 {
        let most = if lanes_first { size } else { (size / 16).max(size / total.next_power_of_two()).min(size) };
        let wanted = if lanes_first && !traits.software { size * total } else { threads };
        while lanes < most && lanes * total < wanted && row >= lanes * 2 * work {
            lanes *= 2;
        }
        while lanes < most && row.div_ceil(lanes) * sweeps(kernel) > traits.max_iterations {
            lanes *= 2;
        }
    }
    // A workgroup of one point needs not know which of its threads make a subgroup.
    let whole = traits.subgroups.is_some_and(|(_, largest)| lanes >= largest as usize);
    let one = lanes == size || lanes_first;
    let subgroups =
        lanes > 1 && one && whole && !matches!(vector, Vector::Point(_)) && reductions::by_subgroups(traits);
    let points = if subgroups { 1 } else { size / lanes };
    Shape { vector, lanes, points, lanes_first, subgroups, total, row }
}

/// Finds an axis along which all accesses are whole vectors, broadcasts, or (for row vectors) point-level.
fn vector(kernel: &Loop, levels: &[bool]) -> Vector {
    let fits = |d: usize, row: bool| {
        access::fours(&kernel.body, &kernel.dims, d, |s| row && !levels[s.value.0] && s.view.strides[d] == 0)
    };
    if kernel.reduce > 0 {
        let d = kernel.outer + kernel.reduce - 1;
        if fits(d, true) {
            return Vector::Row(d);
        }
    }
    match point_axes(kernel).last() {
        Some(&d) if fits(d, false) => Vector::Point(d),
        _ => Vector::None,
    }
}

struct Writer<'a> {
    kernel: &'a Loop,
    emitter: Emitter<'a>,
    levels: Vec<bool>,
    phases: Vec<usize>,
    shape: Shape,
    /// Stores along the row: the sweep in which each happens.
    row_stores: Vec<(usize, usize)>,
    sweeps: usize,
    /// Widths of accumulators.
    row_width: usize,
    point_width: usize,
    /// Workgroup arrays: register type and number.
    shared: Vec<(Reg, usize)>,
    /// Arrays of one type that fit in workgroup memory, whatever the mix of types.
    slots: usize,
}

impl<'a> Writer<'a> {
    fn new(kernel: &'a Loop, levels: Vec<bool>, shape: Shape, traits: &Traits) -> Writer<'a> {
        let body = &kernel.body;
        let phases = kernel.phases();
        let (row_width, point_width) = match shape.vector {
            Vector::None => (1, 1),
            Vector::Point(_) => (4, 4),
            Vector::Row(_) => (4, 1),
        };
        let widths = levels.iter().map(|&row| if row { row_width } else { point_width }).collect();
        let mut vars: Vec<Var> = Vec::new();
        for (n, id) in body.buffers().into_iter().enumerate() {
            let loads = body.loads.iter().filter(|l| l.buffer == id).map(|l| (l.dtype, &l.view));
            let stores = body.stores.iter().filter(|s| s.buffer == id).map(|s| (s.dtype, &s.view));
            let views: Vec<_> = loads.chain(stores).collect();
            let Some(&(dtype, _)) = views.first() else { continue };
            let mut var = Var::new(id, format!("b{n}"), dtype, traits);
            var.wide = shape.vector.axis().is_some_and(|d| views.iter().any(|(_, v)| v.strides[d] == 1));
            if body.stores.iter().any(|s| s.buffer == id) {
                var.stored();
            }
            vars.push(var);
        }
        let range = kernel.outer..kernel.outer + kernel.reduce;
        let reduces = (body.instrs.iter().zip(&phases)).filter(|(i, _)| matches!(i, Instr::Reduce(..)));
        let last_reduce = reduces.map(|(_, &phase)| phase + 1).max().unwrap_or(0);
        let ready = |v: usize| phases[v] + usize::from(matches!(body.instrs[v], Instr::Reduce(..)));
        let along_row: Vec<usize> = (0..body.stores.len())
            .filter(|&s| {
                let store = &body.stores[s];
                levels[store.value.0] || range.clone().any(|d| store.view.strides[d] != 0 && kernel.dims[d] != 1)
            })
            .collect();
        let sweeps = along_row.iter().map(|&s| ready(body.stores[s].value.0) + 1).max().unwrap_or(0).max(last_reduce);
        // What is overwritten in place must not be read again by a later sweep.
        let row_stores = (along_row.into_iter())
            .map(|s| {
                let store = &body.stores[s];
                let loaded = body.loads.iter().any(|l| l.buffer == store.buffer);
                (s, if loaded { sweeps - 1 } else { ready(store.value.0) })
            })
            .collect();
        let array = shape.lanes * shape.points * 4 * point_width;
        let slots = (traits.max_workgroup_storage as usize / array / 4).max(1);
        let emitter = Emitter {
            body,
            dims: &kernel.dims,
            regs: body.regs(),
            widths,
            axis: shape.vector.axis(),
            linear: (kernel.reduce == 0).then(|| "linear".to_string()),
            vars,
            library: Library::default(),
            text: String::new(),
        };
        Writer {
            kernel,
            emitter,
            levels,
            phases,
            shape,
            row_stores,
            sweeps,
            row_width,
            point_width,
            shared: Vec::new(),
            slots,
        }
    }

    /// The whole shader, for a grid of workgroups.
    fn write(&mut self, grid: [usize; 2]) -> Result<String> {
        self.prologue(grid);
        let instrs = self.kernel.body.instrs.len();
        for phase in 0..=self.phases.iter().copied().max().unwrap_or(0).max(self.sweeps) {
            for v in 0..instrs {
                let is_reduce = matches!(self.kernel.body.instrs[v], Instr::Reduce(..));
                if !self.levels[v] && self.phases[v] == phase && !is_reduce {
                    self.emitter.define(v)?;
                }
            }
            if phase < self.sweeps {
                self.sweep(phase)?;
            }
        }
        self.point_stores()?;
        Ok(self.finish())
    }

    /// Thread, point and coordinates.
    fn prologue(&mut self, grid: [usize; 2]) {
        let Shape { lanes, points, total, .. } = self.shape;
        let e = &mut self.emitter;
        if self.shape.subgroups {
            e.line(reductions::LEADER);
        }
        let group = if grid[1] > 1 { format!("group.x + group.y * {}u", grid[0]) } else { "group.x".into() };
        let (lane, point) = match (lanes, self.shape.lanes_first) {
            (1, _) => ("0u".to_string(), "local".to_string()),
            (_, true) => (format!("local % {lanes}u"), format!("local / {lanes}u")),
            (_, false) => (format!("local / {points}u"), format!("local % {points}u")),
        };
        let _ = writeln!(e.text, "let lane = {lane};\nlet slot = {point};\nlet at = ({group}) * {points}u + slot;");
        let exact = grid[0] * grid[1] * points == total;
        match (lanes, exact) {
            (_, true) => e.line("let point = at;"),
            (1, false) => e.line(format!("if at >= {total}u {{ return; }}\nlet point = at;")),
            // Threads past the end must meet the others at barriers; they compute the last point and store nothing.
            (_, false) => e.line(format!("let point = min(at, {}u);", total - 1)),
        }
        let axes = point_axes(self.kernel);
        if self.kernel.reduce == 0 {
            let unit = if self.point_width == 4 { "point * 4u" } else { "point" };
            e.line(format!("let linear = {unit};"));
        }
        self.coordinates("point", &axes);
    }

    /// Splits the number `name` into coordinates of some axes.
    fn coordinates(&mut self, name: &str, axes: &[usize]) {
        let used = self.used();
        let mut rest = name.to_string();
        for (n, &d) in axes.iter().enumerate().rev() {
            let quad = self.emitter.axis == Some(d) && if name == "r" { self.row_width } else { self.point_width } == 4;
            let dim = self.kernel.dims[d] / if quad { 4 } else { 1 };
            let (scale, first) = (if quad { " * 4u" } else { "" }, n == 0);
            if used[d] {
                let part = if first { rest.clone() } else { format!("({rest} % {dim}u)") };
                self.emitter.line(format!("let c{d} = {part}{scale};"));
            }
            if !first && axes[..n].iter().any(|&d| used[d]) {
                self.emitter.line(format!("let {name}{d} = {rest} / {dim}u;"));
                rest = format!("{name}{d}");
            }
        }
    }

    /// The axes whose coordinates some view needs.
    fn used(&self) -> Vec<bool> {
        let (body, dims) = (&self.kernel.body, &self.kernel.dims);
        let linear = self.emitter.linear.is_some();
        let addressed = body.loads.iter().map(|l| &l.view).chain(body.stores.iter().map(|s| &s.view));
        let views: Vec<&View> =
            addressed.filter(|v| !(linear && access::is_linear(v, dims))).chain(&body.iotas).collect();
        (0..dims.len()).map(|d| views.iter().any(|v| v.strides[d] != 0 || !v.bounds.is_empty())).collect()
    }

    /// One pass along the reduce axes: row-level values, row stores, reductions.
    fn sweep(&mut self, phase: usize) -> Result<()> {
        let body = &self.kernel.body;
        let reduces: Vec<(usize, _, usize)> = (body.instrs.iter().enumerate())
            .filter_map(|(v, i)| match *i {
                Instr::Reduce(op, a) if self.phases[v] == phase => Some((v, op, a.0)),
                _ => None,
            })
            .collect();
        let stores: Vec<usize> = self.row_stores.iter().filter(|(_, p)| *p == phase).map(|(s, _)| *s).collect();
        // What this sweep needs of the row-level values.
        let mut needed = vec![false; body.instrs.len()];
        for v in reduces.iter().map(|r| r.2).chain(stores.iter().map(|&s| body.stores[s].value.0)) {
            needed[v] = true;
        }
        for v in (0..body.instrs.len()).rev() {
            if needed[v] && self.levels[v] {
                body.instrs[v].operands().for_each(|a| needed[a.0] = true);
            }
        }
        let e = &mut self.emitter;
        for &(v, op, _) in &reduces {
            let (reg, width) = (e.regs[v], self.row_width);
            let start = emit::identity(op, reg, width, &mut e.library);
            e.line(format!("var a{v} = {start};"));
        }
        let Shape { lanes, row, .. } = self.shape;
        e.line(format!("for (var r = lane; r < {row}u; r += {lanes}u) {{"));
        let axes: Vec<usize> = (self.kernel.outer..self.kernel.outer + self.kernel.reduce).collect();
        self.coordinates("r", &axes);
        for (v, needed) in needed.into_iter().enumerate() {
            if needed && self.levels[v] {
                self.emitter.define(v)?;
            }
        }
        let e = &mut self.emitter;
        for &(v, op, a) in &reduces {
            let value = e.operand(ibex_core::program::ValueId(a), self.row_width);
            let sum = emit::binary(op.combine(), e.regs[v], self.row_width, &format!("a{v}"), &value, &mut e.library);
            e.line(format!("a{v} = {sum};"));
        }
        if !stores.is_empty() && !self.guard().is_empty() {
            self.emitter.line(format!("if {} {{", self.guard()));
        }
        for &s in &stores {
            self.emitter.store(s)?;
        }
        if !stores.is_empty() && !self.guard().is_empty() {
            self.emitter.line("}");
        }
        self.emitter.line("}");
        for chunk in reduces.chunks(self.slots) {
            self.combine(chunk);
        }
        Ok(())
    }

    /// The condition under which a thread's point exists; empty if always.
    fn guard(&self) -> String {
        let total = self.shape.total;
        if self.shape.lanes == 1 || total.is_multiple_of(self.shape.points) {
            // One lane has returned already; whole workgroups overshoot only in two-dimensional grids, which `exact` covers.
            return if self.shape.lanes == 1 { String::new() } else { format!("at < {total}u") };
        }
        format!("at < {total}u")
    }

    /// Combines accumulators, first of a vector, then of all lanes, into values.
    fn combine(&mut self, reduces: &[(usize, ibex_core::graph::Reduce, usize)]) {
        let e = &mut self.emitter;
        let width = self.point_width;
        let mut parts = Vec::new();
        for (slot, &(v, op, _)) in reduces.iter().enumerate() {
            let reg = e.regs[v];
            if self.row_width == 4 && width == 1 {
                let mut two = |a: &str, b: &str| emit::binary(op.combine(), reg, 1, a, b, &mut e.library);
                let pairs = (two(&format!("a{v}.x"), &format!("a{v}.y")), two(&format!("a{v}.z"), &format!("a{v}.w")));
                let all = two(&pairs.0, &pairs.1);
                e.line(format!("let h{v} = {all};"));
            } else {
                e.line(format!("let h{v} = a{v};"));
            }
            if !self.shared.contains(&(reg, slot)) {
                self.shared.push((reg, slot));
            }
            parts.push(Part { v, op, reg, array: format!("s{}{slot}", emit::letter(reg)) });
        }
        let Shape { lanes, points, lanes_first, .. } = self.shape;
        if lanes == 1 {
            parts.iter().for_each(|p| e.line(format!("let v{0} = h{0};", p.v)));
            self.shared.clear();
            return;
        }
        if self.shape.subgroups {
            let text = reductions::combine(&parts, &mut e.library);
            e.text.push_str(&text);
            return;
        }
        let stride = if lanes_first { 1 } else { points };
        for Part { v, array, .. } in &parts {
            e.line(format!("{array}[local] = h{v};"));
        }
        e.line(format!("workgroupBarrier();\nfor (var h = {}u; h > 0u; h = h >> 1u) {{\nif lane < h {{", lanes / 2));
        for Part { op, reg, array, .. } in &parts {
            let other = format!("{array}[local + h * {stride}u]");
            let both = emit::binary(op.combine(), *reg, width, &format!("{array}[local]"), &other, &mut e.library);
            e.line(format!("{array}[local] = {both};"));
        }
        e.line("}\nworkgroupBarrier();\n}");
        for Part { v, array, .. } in &parts {
            e.line(format!("let v{v} = {array}[local - lane * {stride}u];"));
        }
        e.line("workgroupBarrier();");
    }

    /// Stores of values that exist once for each point.
    fn point_stores(&mut self) -> Result<()> {
        let all = self.kernel.body.stores.len();
        let stores: Vec<usize> = (0..all).filter(|s| !self.row_stores.iter().any(|(r, _)| r == s)).collect();
        if stores.is_empty() {
            return Ok(());
        }
        let shared = self.shape.lanes > 1;
        if shared {
            // All lanes have read what lane 0 may overwrite.
            self.emitter.line("workgroupBarrier();");
            self.emitter.line(format!("if lane == 0u && {} {{", self.guard()));
        }
        for s in stores {
            self.emitter.store(s)?;
        }
        if shared {
            self.emitter.line("}");
        }
        Ok(())
    }

    fn finish(&mut self) -> String {
        let e = &self.emitter;
        let size = self.shape.lanes * self.shape.points;
        let mut source = String::new();
        if e.vars.iter().any(Var::native_half) {
            source.push_str("enable f16;\n");
        }
        source.push_str(&e.library.source());
        for (binding, var) in (0..).zip(&e.vars) {
            source.push_str(&var.declaration(binding));
        }
        for (reg, slot) in &self.shared {
            let letter = emit::letter(*reg);
            let _ = writeln!(source, "var<workgroup> s{letter}{slot}: array<{letter}{}, {size}>;", self.point_width);
        }
        let _ = write!(
            source,
            "@compute @workgroup_size({size})\nfn main(@builtin(workgroup_id) group: vec3<u32>, \
             @builtin(local_invocation_index) local: u32{}) {{\n{}}}\n",
            if self.shape.subgroups { reductions::BUILTINS } else { "" },
            e.text
        );
        source
    }
}
