//! Gives every buffer its memory: bound from outside, or a scratch slot shared with buffers that are dead by then.

use crate::fuse::buffer;
use crate::graph::{Graph, NodeId, Op};
use crate::program::{BufferDecl, BufferId, Kernel, KernelKind, Program, Role};
use crate::schedule::{Schedule, rename};
use std::collections::HashMap;

/// The finished program of a scheduled graph.
pub(crate) fn plan(graph: &Graph, schedule: Schedule) -> Program {
    let Schedule { mut units, outputs, variables, extra } = schedule;
    let mut program = Program { unplanned_bytes: unplanned(graph), ..Program::default() };
    let mut names: HashMap<BufferId, BufferId> = HashMap::new();
    let like = |b: BufferId| &graph[extra.get(&b).copied().unwrap_or(NodeId(b.0))];

    let mut declare = |program: &mut Program, b: BufferId, role: Role| {
        names.entry(b).or_insert_with(|| {
            let node = like(b);
            program.buffers.push(BufferDecl { role, dtype: node.dtype, shape: node.shape.clone() });
            BufferId(program.buffers.len() - 1)
        });
    };
    for (i, node) in graph.nodes.iter().enumerate() {
        let b = buffer(NodeId(i));
        match &node.op {
            Op::Input(slot) => declare(&mut program, b, Role::Input(*slot)),
            Op::Constant(literal) => {
                let role = Role::Constant(program.constants.len());
                program.constants.push(literal.0.clone());
                declare(&mut program, b, role);
            }
            _ => {}
        }
    }
    for (i, (variable, b)) in variables.iter().enumerate() {
        program.variables.push(variable.id());
        declare(&mut program, *b, Role::Variable(i));
    }
    for (i, b) in outputs.iter().enumerate() {
        declare(&mut program, *b, Role::Output(i));
    }

    // Everything else is scratch, from its first write to its last read.
    let mut last_use: HashMap<BufferId, usize> = HashMap::new();
    for (t, unit) in units.iter().enumerate() {
        for b in unit.kind.reads().into_iter().chain(unit.kind.writes()) {
            last_use.insert(b, t);
        }
    }
    let mut free: Vec<usize> = Vec::new();
    let mut held: Vec<(BufferId, usize)> = Vec::new();
    for (t, unit) in units.iter().enumerate() {
        for b in unit.kind.writes() {
            if names.contains_key(&b) {
                continue;
            }
            let node = like(b);
            let decl = BufferDecl { role: Role::Temp(0), dtype: node.dtype, shape: node.shape.clone() };
            let slot = take_slot(&mut free, &mut program.slots, decl.bytes());
            held.push((b, slot));
            program.buffers.push(BufferDecl { role: Role::Temp(slot), ..decl });
            names.insert(b, BufferId(program.buffers.len() - 1));
        }
        held.retain(|(b, slot)| {
            let alive = last_use[b] > t;
            if !alive {
                free.push(*slot);
            }
            alive
        });
    }

    for unit in &mut units {
        rename(&mut unit.kind, &names);
    }
    program.kernels = units.into_iter().map(|unit| kernel(&program, unit.kind, &unit.names)).collect();
    program
}

/// The free slot that wastes least, or a new one.
fn take_slot(free: &mut Vec<usize>, slots: &mut Vec<usize>, bytes: usize) -> usize {
    let fits = (0..free.len()).filter(|&i| slots[free[i]] >= bytes).min_by_key(|&i| slots[free[i]]);
    // Growing the largest costs less than a slot of its own.
    let grows = || (0..free.len()).max_by_key(|&i| slots[free[i]]);
    match fits.or_else(grows) {
        Some(i) => {
            let slot = free.swap_remove(i);
            slots[slot] = slots[slot].max(bytes);
            slot
        }
        None => {
            slots.push(bytes);
            slots.len() - 1
        }
    }
}

/// Bytes of all values that operations make, were each kept in memory of its own.
fn unplanned(graph: &Graph) -> usize {
    let made = |op: &Op| !op.is_buffer_leaf() && !matches!(op, Op::Full(_) | Op::Reshape);
    graph.nodes.iter().filter(|n| made(&n.op)).map(|n| n.shape.elements() * n.dtype.size()).sum()
}

fn kernel(program: &Program, kind: KernelKind, names: &[&'static str]) -> Kernel {
    // Counted in 64 bits: the products overflow 32.
    let points = |dims: &[usize]| dims.iter().map(|&d| d as u64).product::<u64>();
    let fused = match (&kind, kind.dims(), kind.body()) {
        (KernelKind::Loop(l), ..) => {
            let [outer, reduce, inside] = l.extents();
            let row = l.row_level();
            let count = |wanted: bool| {
                let arithmetic = |i: &usize| {
                    use crate::program::Instr::{Binary, Reduce, Unary};
                    let level = match l.body.instrs[*i] {
                        Reduce(_, v) => row[v.0],
                        _ => row[*i],
                    };
                    level == wanted && matches!(l.body.instrs[*i], Unary(..) | Binary(..) | Reduce(..))
                };
                (0..row.len()).filter(arithmetic).count() as u64
            };
            points(&[outer, inside]) * (count(false) + count(true) * reduce as u64)
        }
        (_, Some(dims), Some(body)) => points(&dims) * body.flops(),
        _ => 0,
    };
    let own = match &kind {
        KernelKind::MatMul(k) => 2 * points(&[k.batch, k.m, k.n, k.k]),
        KernelKind::Conv(k) => k.geometry.flops(),
        KernelKind::Pool(k) => points(&[k.geometry.output_elements()]) * points(&k.geometry.window),
        KernelKind::ScatterAdd(k) => points(&[k.count, k.width]),
        // The recurrent product, and about a dozen operations for each cell.
        KernelKind::Lstm(k) => points(&[k.n, k.steps, k.units]) * (8 * k.units as u64 + 14),
        KernelKind::LstmGrad(k) => points(&[k.n, k.steps, k.units]) * (8 * k.units as u64 + 30),
        _ => 0,
    };
    let mut touched = kind.reads();
    touched.extend(kind.writes());
    let mut bytes = touched.iter().map(|&b| program[b].bytes() as u64).sum();
    if let KernelKind::Gather(k) = &kind {
        // Only the rows that are asked for.
        bytes = bytes - program[k.table].bytes() as u64 + (k.count * k.width * k.dtype.size()) as u64;
    }
    Kernel { label: label(names), flops: own + fused, bytes, kind }
}

/// Each name once, at most eight: `"conv+add+max"`.
fn label(names: &[&'static str]) -> String {
    let mut unique: Vec<&str> = Vec::new();
    names.iter().filter(|n| **n != "copy" || names.len() == 1).for_each(|n| {
        if !unique.contains(n) {
            unique.push(n);
        }
    });
    let more = unique.len().saturating_sub(8);
    unique.truncate(8);
    let mut label = unique.join("+");
    if more > 0 {
        label.push_str(&format!("+{more} more"));
    }
    label
}
