//! How the threads of a workgroup combine the parts of a reduction.

use super::emit;
use super::library::Library;
use crate::dispatch::Traits;
use ibex_core::graph::Reduce;
use ibex_core::program::Reg;

/// The ways to combine the parts of a row that several threads share. A device is opened with one of them forced in tests and by
/// `ibex tune`; else the first is taken, unless tuning measured the second to be right and faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reductions {
    /// A tree in workgroup memory, with a barrier for each level: any device.
    Workgroup,
    /// Subgroup operations, and one part of each subgroup through workgroup memory.
    Subgroup,
}

impl Reductions {
    /// All of them.
    pub const ALL: [Reductions; 2] = [Reductions::Workgroup, Reductions::Subgroup];

    /// Its name in files and in `IBEX_GPU_REDUCTIONS`.
    pub fn name(self) -> &'static str {
        match self {
            Reductions::Workgroup => "workgroup",
            Reductions::Subgroup => "subgroup",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Reductions> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }

    /// True if the device can run it.
    pub(crate) fn runs_on(self, traits: &Traits) -> bool {
        self == Reductions::Workgroup || traits.subgroups.is_some()
    }
}

/// True if this device combines by subgroups.
pub(super) fn by_subgroups(traits: &Traits) -> bool {
    let measured = || traits.tuning.as_ref()?.reductions.filter(|r| r.runs_on(traits));
    traits.reductions.or_else(measured) == Some(Reductions::Subgroup)
}

/// A reduction of a sweep: value `v`, its register, and the workgroup array it may use.
pub(super) struct Part {
    pub v: usize,
    pub op: Reduce,
    pub reg: Reg,
    pub array: String,
}

/// Combines `h{v}` of all threads of a workgroup of one point into `v{v}` of each.
///
/// Nothing is assumed of which threads make a subgroup, how many there are of them, or that all are full: a subgroup is known by
/// `subgroup_id` alone, and the first of its threads (`leader`) hands its part on.
pub(super) fn combine(parts: &[Part], library: &mut Library) -> String {
    let mut text = String::new();
    for Part { v, op, reg, .. } in parts {
        text += &format!("let g{v} = {};\n", collective(*op, *reg, &format!("h{v}"), library));
    }
    text += "if leader {\n";
    for Part { v, array, .. } in parts {
        text += &format!("{array}[subgroup] = g{v};\n");
    }
    text += "}\nworkgroupBarrier();\n";
    for Part { v, array, .. } in parts {
        text += &format!("var t{v} = {array}[0];\n");
    }
    text += "for (var s = 1u; s < subgroups; s++) {\n";
    for Part { v, op, reg, array } in parts {
        let both = emit::binary(op.combine(), *reg, 1, &format!("t{v}"), &format!("{array}[s]"), library);
        text += &format!("t{v} = {both};\n");
    }
    text += "}\n";
    for Part { v, .. } in parts {
        text += &format!("let v{v} = t{v};\n");
    }
    // The arrays are written again by the next sweep.
    text + "workgroupBarrier();\n"
}

/// The subgroup's combination of `a`, in each of its threads.
fn collective(op: Reduce, reg: Reg, a: &str, library: &mut Library) -> String {
    let name = match (op, reg) {
        (Reduce::Sum | Reduce::Max, Reg::Bool) => "subgroupAny",
        (Reduce::Prod | Reduce::Min, Reg::Bool) => "subgroupAll",
        (Reduce::Sum, _) => "subgroupAdd",
        (Reduce::Prod, _) => "subgroupMul",
        (Reduce::Max, _) => "subgroupMax",
        (Reduce::Min, _) => "subgroupMin",
    };
    if reg == Reg::F32 && matches!(op, Reduce::Max | Reduce::Min) {
        // Subgroup operations leave open what they make of NaN.
        let (bits, nan) = (library.name("bits", 1), library.name("nan", 1));
        return format!("select({name}({a}), {bits}(0x7fc00000u), subgroupAny({nan}({a})))");
    }
    format!("{name}({a})")
}

/// Declarations of the built-in values, as parameters of `main`.
pub(super) const BUILTINS: &str = ", @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32, \
                                   @builtin(subgroup_invocation_id) in_subgroup: u32";

/// Which thread of a subgroup speaks for it: its first that runs.
pub(super) const LEADER: &str = "let leader = in_subgroup == subgroupMin(in_subgroup);";
