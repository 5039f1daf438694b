//! A program as text, for people.

use super::{Instr, KernelKind, Program, Role};
use std::fmt::Write;

impl Program {
    /// One line for each kernel, with the buffers it touches, its floating-point operations and bytes, and a summary of memory.
    pub fn explain(&self) -> String {
        let mut out = String::new();
        // Writing to a string can not fail.
        let _ = self.write_explanation(&mut out);
        out
    }

    fn write_explanation(&self, out: &mut String) -> std::fmt::Result {
        let width = self.kernels.iter().map(|k| k.label.len()).max().unwrap_or(0).min(60);
        for (i, kernel) in self.kernels.iter().enumerate() {
            let names = |ids: Vec<super::BufferId>| ids.iter().map(|&b| self.name(b)).collect::<Vec<_>>().join(" ");
            writeln!(
                out,
                "{i:3} {:<14} {:<width$} {:>9} flop {:>9} B  {} -> {}",
                kernel.kind.describe(),
                kernel.label,
                si(kernel.flops),
                si(kernel.bytes),
                names(kernel.kind.reads()),
                names(kernel.kind.writes()),
            )?;
        }
        writeln!(
            out,
            "{} kernels, {}flop, {}B moved; scratch {}B in {} slots ({}B unplanned), bound {}B",
            self.kernels.len(),
            si(self.flops()),
            si(self.bytes()),
            si(self.scratch_bytes() as u64),
            self.slots.len(),
            si(self.unplanned_bytes as u64),
            si((self.total_bytes() - self.scratch_bytes()) as u64),
        )
    }

    fn name(&self, id: super::BufferId) -> String {
        let decl = &self[id];
        let name = match decl.role {
            Role::Input(i) => format!("in{i}"),
            Role::Variable(i) => format!("var{i}"),
            Role::Constant(i) => format!("const{i}"),
            Role::Output(i) => format!("out{i}"),
            Role::Temp(slot) => format!("t{}@{slot}", id.0),
        };
        format!("{name}{}", decl.shape)
    }
}

impl KernelKind {
    fn describe(&self) -> String {
        match self {
            KernelKind::Loop(l) if l.body.instrs.iter().any(|i| matches!(i, Instr::Reduce(..))) => {
                let [a, r, b] = l.extents();
                format!("reduce {a}x[{r}]x{b}")
            }
            KernelKind::Loop(l) => format!("map {}", l.dims.iter().product::<usize>()),
            KernelKind::MatMul(k) => format!("matmul {}", [k.batch, k.m, k.n, k.k].map(|d| d.to_string()).join("x")),
            KernelKind::Conv(_) => "conv".into(),
            KernelKind::Pool(_) => "pool".into(),
            KernelKind::Gather(_) => "gather".into(),
            KernelKind::ScatterAdd(_) => "scatter".into(),
            KernelKind::Lstm(_) => "lstm".into(),
            KernelKind::LstmGrad(_) => "lstm grad".into(),
            KernelKind::Copy { .. } => "copy".into(),
        }
    }
}

/// `1.23 M`
fn si(value: u64) -> String {
    let mut scaled = value as f64;
    for unit in ["", "k", "M", "G", "T"] {
        if scaled < 1000.0 {
            return if unit.is_empty() { format!("{value} ") } else { format!("{scaled:.2} {unit}") };
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.2} P")
}
