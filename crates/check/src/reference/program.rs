//! What must hold for every program, whatever it computes.

use ibex_core::program::{Body, BufferId, KernelKind, Program, Role};
use ibex_core::{Error, Result};
use std::collections::HashMap;

/// Checks the rules of the contract that can be seen without running: memory is written before it is read, nothing that still
/// counts is overwritten, kernels do not read what they write, roles are kept.
///
/// # Errors
/// `Device`, with the kernel and the rule.
pub fn check_program(program: &Program) -> Result<()> {
    let memory = |id: BufferId| match program[id].role {
        Role::Temp(slot) => slot,
        _ => program.slots.len() + id.0,
    };
    // For every memory the buffer whose value it holds.
    let mut holds: HashMap<usize, BufferId> = HashMap::new();
    for id in program.externals() {
        if !matches!(program[id].role, Role::Output(_)) {
            holds.insert(memory(id), id);
        }
    }
    for (number, kernel) in program.kernels.iter().enumerate() {
        let fail = |why: String| Err(Error::device(format!("kernel {number} ({}): {why}", kernel.label)));
        let (reads, writes) = (kernel.kind.reads(), kernel.kind.writes());
        if let Some(id) = reads.iter().chain(&writes).find(|id| id.0 >= program.buffers.len()) {
            return fail(format!("buffer {} is not declared", id.0));
        }
        for &id in reads.iter().filter(|&&id| program[id].bytes() > 0) {
            if holds.get(&memory(id)) != Some(&id) {
                return fail(format!("reads buffer {} ({:?}), which is not there", id.0, program[id].role));
            }
        }
        for &id in &writes {
            if matches!(program[id].role, Role::Input(_) | Role::Constant(_)) {
                return fail(format!("writes buffer {} ({:?})", id.0, program[id].role));
            }
            if let Role::Temp(slot) = program[id].role
                && program[id].bytes() > program.slots[slot]
            {
                return fail(format!("buffer {} does not fit slot {slot}", id.0));
            }
            for &other in reads.iter().filter(|&&r| r != id) {
                if memory(other) == memory(id) {
                    return fail(format!("buffers {} and {} share memory", id.0, other.0));
                }
            }
            if reads.contains(&id) && !in_place(&kernel.kind, id) {
                return fail(format!("buffer {} is written and read elsewhere", id.0));
            }
            holds.insert(memory(id), id);
        }
        if let (Some(body), Some(dims)) = (kernel.kind.body(), kernel.kind.dims())
            && let Some(why) = malformed(program, body, dims.len())
        {
            return fail(why);
        }
    }
    match program.externals().find(|&id| holds.get(&memory(id)) != Some(&id) && program[id].bytes() > 0) {
        Some(id) => Err(Error::device(format!("nothing writes buffer {} ({:?})", id.0, program[id].role))),
        None => Ok(()),
    }
}

/// Does every point read of `id` only what it then overwrites?
fn in_place(kind: &KernelKind, id: BufferId) -> bool {
    let Some(body) = kind.body() else { return false };
    let mut bare = kind.clone();
    bare.body_mut().map(std::mem::take);
    let store = body.stores.iter().find(|s| s.buffer == id);
    !bare.reads().contains(&id)
        && store.is_some_and(|s| body.loads.iter().filter(|l| l.buffer == id).all(|l| l.view == s.view))
}

fn malformed(program: &Program, body: &Body, rank: usize) -> Option<String> {
    let views = body.loads.iter().map(|l| &l.view).chain(&body.iotas).chain(body.stores.iter().map(|s| &s.view));
    for view in views {
        if view.strides.len() != rank || !(view.bounds.is_empty() || view.bounds.len() == rank) {
            return Some(format!("a view of rank {} in a space of rank {rank}", view.strides.len()));
        }
    }
    if body.instrs.iter().enumerate().any(|(i, instr)| instr.operands().any(|v| v.0 >= i)) {
        return Some("an operand stands behind its user".into());
    }
    let regs = body.regs();
    if body.stores.iter().any(|s| regs[s.value.0] != s.dtype.into() || program[s.buffer].dtype != s.dtype) {
        return Some("a store has another type than its value or its buffer".into());
    }
    if body.loads.iter().any(|l| program[l.buffer].dtype != l.dtype) {
        return Some("a load has another type than its buffer".into());
    }
    body.stores.is_empty().then(|| "stores nothing".into())
}
