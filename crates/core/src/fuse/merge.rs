//! Merges kernels: loops over the same space into one, loops over a contraction's result into its epilogue.

use super::space::{map_views, refine, reshape_body};
use super::{Unit, repeat};
use crate::DType;
use crate::backend::Caps;
use crate::graph::{Graph, NodeId, Op};
use crate::program::{Body, BufferId, Instr, KernelKind, Load, Loop, Store, ValueId, View};
use crate::tensor::Variable;
use std::collections::{HashMap, HashSet};

/// Instructions of one body; beyond it compilers and registers suffer.
pub(super) const LONG: usize = 192;

/// Who reads and writes what.
pub(super) struct Links {
    pub reads: Vec<Vec<BufferId>>,
    pub writer: HashMap<BufferId, usize>,
    readers: HashMap<BufferId, Vec<usize>>,
    /// Buffers that must exist whoever reads them: results and assigned values.
    kept: HashSet<BufferId>,
    /// For the new value of a variable the buffer of the old one, which it will most likely overwrite.
    pub overwrites: HashMap<BufferId, BufferId>,
}

impl Links {
    fn new(graph: &Graph, updates: &[(Variable, NodeId)], units: &[Option<Unit>]) -> Links {
        let mut links = Links {
            reads: vec![vec![]; units.len()],
            writer: HashMap::new(),
            readers: HashMap::new(),
            kept: HashSet::new(),
            overwrites: HashMap::new(),
        };
        for (variable, value) in updates {
            let leaf = graph.nodes.iter().position(|n| matches!(&n.op, Op::Variable(v) if v == variable));
            if let Some(leaf) = leaf {
                links.overwrites.insert(super::buffer(*value), BufferId(leaf));
            }
        }
        // A root that is a reshape lies in the buffer of what it reshapes.
        for mut root in graph.roots() {
            links.kept.insert(super::buffer(root));
            while matches!(graph[root].op, Op::Reshape) {
                root = graph[root].inputs[0];
                links.kept.insert(super::buffer(root));
            }
        }
        for (u, unit) in units.iter().enumerate() {
            let Some(unit) = unit else { continue };
            links.reads[u] = unit.kind.reads();
            for &b in &links.reads[u] {
                links.readers.entry(b).or_default().push(u);
            }
            for b in unit.kind.writes() {
                links.writer.insert(b, u);
            }
        }
        links
    }

    pub fn users(&self, u: usize, units: &[Option<Unit>]) -> Vec<usize> {
        let Some(unit) = &units[u] else { return vec![] };
        let writes = unit.kind.writes();
        writes.iter().flat_map(|b| self.readers.get(b).cloned().unwrap_or_default()).collect()
    }

    /// Is there a way from `from` to `to` through at least one other unit?
    pub fn detour(&self, from: usize, to: usize, units: &[Option<Unit>]) -> bool {
        let mut seen = HashSet::new();
        let mut stack: Vec<usize> = self.users(from, units).into_iter().filter(|&u| u != to).collect();
        while let Some(u) = stack.pop() {
            if u == to {
                return true;
            }
            if seen.insert(u) {
                stack.extend(self.users(u, units));
            }
        }
        false
    }

    /// How many buffers a kernel binds.
    pub fn bindings(&self, buffers: impl IntoIterator<Item = BufferId>) -> usize {
        buffers.into_iter().map(|b| self.overwrites.get(&b).copied().unwrap_or(b)).collect::<HashSet<_>>().len()
    }

    /// Must a buffer still be written if only `inside` and its writer would read it?
    pub fn needed(&self, b: BufferId, inside: &[usize]) -> bool {
        self.kept.contains(&b) || self.readers.get(&b).is_some_and(|r| r.iter().any(|u| !inside.contains(u)))
    }
}

/// Merges loops with loops until nothing changes.
pub(super) fn loops(graph: &Graph, updates: &[(Variable, NodeId)], units: &mut Vec<Unit>, caps: &Caps) {
    let mut slots: Vec<Option<Unit>> = std::mem::take(units).into_iter().map(Some).collect();
    let mut links = Links::new(graph, updates, &slots);
    while let Some((p, c, unit)) = find(&slots, &links, caps) {
        slots[p] = None;
        slots[c] = Some(unit);
        links = Links::new(graph, updates, &slots);
    }
    while let Some((p, c, unit)) = repeat::siblings(&slots, &links, caps).or_else(|| repeat::find(&slots, &links, caps))
    {
        slots[p] = None;
        slots[c] = Some(unit);
        links = Links::new(graph, updates, &slots);
    }
    *units = order(slots, &links);
}

/// A pair of loops that may become one, and that one.
fn find(units: &[Option<Unit>], links: &Links, caps: &Caps) -> Option<(usize, usize, Unit)> {
    let is_loop = |u: usize| matches!(&units[u], Some(Unit { kind: KernelKind::Loop(_), .. }));
    let attempt = |p: usize, c: usize| {
        if p == c || !is_loop(p) || !is_loop(c) || links.detour(p, c, units) || better_behind(p, c, units, links, caps)
        {
            return None;
        }
        let unit = join(units[p].as_ref()?, units[c].as_ref()?, links, [p, c], caps)?;
        Some((p, c, unit))
    };
    for c in 0..units.len() {
        for b in &links.reads[c] {
            if let Some(&p) = links.writer.get(b)
                && let Some(found) = attempt(p, c)
            {
                return Some(found);
            }
        }
    }
    // Siblings that read the same buffer; first those of one kind, so that reductions meet in one pass rather than each in a later one.
    let reduces = |u: usize| matches!(&units[u], Some(Unit { kind: KernelKind::Loop(l), .. }) if l.reduce > 0);
    for (kinds, c) in [true, false].into_iter().flat_map(|kinds| (0..units.len()).map(move |c| (kinds, c))) {
        for b in &links.reads[c] {
            for &p in
                links.readers.get(b).into_iter().flatten().filter(|&&p| p < c && (reduces(p) == reduces(c)) == kinds)
            {
                if shares_load(units[p].as_ref(), units[c].as_ref())
                    && !links.detour(c, p, units)
                    && !links.users(c, units).contains(&p)
                    && let Some(found) = attempt(p, c)
                {
                    return Some(found);
                }
            }
        }
    }
    None
}

/// True if the plain loop `p`, whose values are stored in any case, can hang behind a contraction or a window instead of going into the
/// reduction `c`: what it reads then never goes through memory.
fn better_behind(p: usize, c: usize, units: &[Option<Unit>], links: &Links, caps: &Caps) -> bool {
    let reduces = |u: usize| matches!(&units[u], Some(Unit { kind: KernelKind::Loop(l), .. }) if l.reduce > 0);
    let Some(unit) = units[p].as_ref().filter(|_| !reduces(p) && reduces(c)) else { return false };
    if !unit.kind.writes().iter().any(|b| links.needed(*b, &[p, c])) {
        return false;
    }
    links.reads[p].iter().filter_map(|b| links.writer.get(b)).any(|&h| {
        let head = units[h].as_ref().filter(|u| !matches!(u.kind, KernelKind::Loop(_)) && u.kind.body().is_some());
        head.is_some_and(|head| !links.detour(h, p, units) && attach(head, unit, links, [h, p], caps).is_some())
    })
}

/// True if two loops would share a load of more than a few elements.
fn shares_load(a: Option<&Unit>, b: Option<&Unit>) -> bool {
    let (Some(Unit { kind: KernelKind::Loop(a), .. }), Some(Unit { kind: KernelKind::Loop(b), .. })) = (a, b) else {
        return false;
    };
    let large = |l: &&Load, dims: &[usize]| {
        let moving = l.view.strides.iter().zip(dims).filter(|(s, _)| **s != 0).map(|(_, d)| d).product::<usize>();
        moving * 2 >= dims.iter().product::<usize>()
    };
    let buffers: HashSet<BufferId> = a.body.loads.iter().filter(|l| large(l, &a.dims)).map(|l| l.buffer).collect();
    b.body.loads.iter().filter(|l| large(l, &b.dims)).any(|l| buffers.contains(&l.buffer))
}

/// Two loops as one: `p` first, `c` reading its values where it read its buffers.
pub(super) fn join(p: &Unit, c: &Unit, links: &Links, at: [usize; 2], caps: &Caps) -> Option<Unit> {
    let (KernelKind::Loop(a), KernelKind::Loop(b)) = (&p.kind, &c.kind) else { return None };
    let (a, b) = common_space(a, b)?;
    let mut body = a.body;
    let values = append(&mut body, &b.body)?;
    body.stores.extend(b.body.stores.iter().map(|s| Store { value: values[s.value.0], ..s.clone() }));
    body.stores.retain(|s| links.needed(s.buffer, &at));
    let body = without_dead(body);
    if links.bindings(body.buffers()) > caps.max_bindings || body.instrs.len() > LONG {
        return None;
    }
    let names = [&p.names[..], &c.names[..]].concat();
    Some(Unit { kind: KernelKind::Loop(Loop { body, ..b }), names })
}

/// Both loops over one space with the same groups of axes.
fn common_space(a: &Loop, b: &Loop) -> Option<(Loop, Loop)> {
    if let Some(dims) = refine(&a.dims, &b.dims) {
        let (a, b) = (refined(a, &dims)?, refined(b, &dims)?);
        return match (a.reduce, b.reduce) {
            (0, 0) => Some((a, b)),
            (0, _) => Some((Loop { outer: b.outer, reduce: b.reduce, ..a }, b)),
            (_, 0) => Some((a.clone(), Loop { outer: a.outer, reduce: a.reduce, ..b })),
            _ if (a.outer, a.reduce) == (b.outer, b.reduce) => Some((a, b)),
            _ => None,
        };
    }
    // A plain loop over the points that a reduction yields.
    if a.reduce > 0 && b.reduce == 0 {
        let (b, a) = points(b, a)?;
        return Some((a, b));
    }
    if b.reduce > 0 && a.reduce == 0 {
        return points(a, b);
    }
    None
}

/// The plain loop `plain` as part of the space of the reduction `whole`, whose points it visits.
fn points(plain: &Loop, whole: &Loop) -> Option<(Loop, Loop)> {
    let range = whole.outer..whole.outer + whole.reduce;
    let kept: Vec<usize> = whole.dims[..range.start].iter().chain(&whole.dims[range.end..]).copied().collect();
    let dims = refine(&kept, &plain.dims)?;
    // Only a refinement that keeps outer and inside axes apart.
    let outer_len: usize = whole.dims[..whole.outer].iter().product();
    let (mut outer, mut seen) = (0, 1);
    while seen < outer_len {
        seen *= dims.get(outer)?;
        outer += 1;
    }
    if seen != outer_len {
        return None;
    }
    let full = [&dims[..outer], &whole.dims[range.clone()], &dims[outer..]].concat();
    let whole = refined(whole, &full)?;
    let body = reshape_body(&plain.body, &plain.dims, &dims)?;
    let body = map_views(&body, |view| {
        let mut view = view.clone();
        for k in 0..whole.reduce {
            view.strides.insert(outer, 0);
            if !view.bounds.is_empty() {
                view.bounds.insert(outer, (0, whole.dims[whole.outer + whole.reduce - 1 - k] as i64));
            }
        }
        Some(view)
    })?;
    Some((Loop { dims: whole.dims.clone(), outer: whole.outer, reduce: whole.reduce, body }, whole))
}

/// A loop over finer axes; a group boundary must stay a boundary.
pub(super) fn refined(l: &Loop, dims: &[usize]) -> Option<Loop> {
    let axes = |range: &[usize], from: usize| -> Option<usize> {
        let len: usize = range.iter().product();
        let (mut n, mut seen) = (0, 1);
        while seen < len {
            seen *= dims.get(from + n)?;
            n += 1;
        }
        (seen == len).then_some(n)
    };
    let outer = axes(&l.dims[..l.outer], 0)?;
    let reduce = axes(&l.dims[l.outer..l.outer + l.reduce], outer)?;
    let body = reshape_body(&l.body, &l.dims, dims)?;
    // All axes of a plain loop are outer ones.
    let outer = if l.reduce == 0 { dims.len() } else { outer };
    Some(Loop { dims: dims.to_vec(), outer, reduce, body })
}

/// Appends the instructions of `tail` to `body`, sharing equal ones and taking values instead of loading what `body` stores. Gives the new
/// name of every value of `tail`. Stores are left to the caller. `None` if `tail` reads elsewhere what `body` writes here.
pub(super) fn append(body: &mut Body, tail: &Body) -> Option<Vec<ValueId>> {
    let mut known: HashMap<Instr, ValueId> =
        body.instrs.iter().enumerate().map(|(i, &instr)| (instr, ValueId(i))).collect();
    let mut values: Vec<ValueId> = Vec::with_capacity(tail.instrs.len());
    for instr in &tail.instrs {
        let instr = match *instr {
            Instr::Load(i) => {
                let load = &tail.loads[i];
                if let Some(store) = body.stores.iter().find(|s| s.buffer == load.buffer) {
                    if store.view != load.view {
                        return None;
                    }
                    // What went through memory was rounded to the element type.
                    let value = store.value;
                    values.push(match load.dtype {
                        DType::F16 | DType::BF16 => intern(body, &mut known, Instr::Cast(load.dtype, value)),
                        _ => value,
                    });
                    continue;
                }
                Instr::Load(position(&mut body.loads, load))
            }
            Instr::Iota(i) => Instr::Iota(position(&mut body.iotas, &tail.iotas[i])),
            other => other.map(|v| values[v.0]),
        };
        values.push(intern(body, &mut known, instr));
    }
    // The head must not read what the tail writes at another place either.
    let clash = |load: &Load| tail.stores.iter().any(|s| s.buffer == load.buffer && s.view != load.view);
    if body.loads.iter().any(clash) { None } else { Some(values) }
}

fn intern(body: &mut Body, known: &mut HashMap<Instr, ValueId>, instr: Instr) -> ValueId {
    *known.entry(instr).or_insert_with(|| {
        body.instrs.push(instr);
        ValueId(body.instrs.len() - 1)
    })
}

fn position<T: PartialEq + Clone>(list: &mut Vec<T>, item: &T) -> usize {
    list.iter().position(|x| x == item).unwrap_or_else(|| {
        list.push(item.clone());
        list.len() - 1
    })
}

/// Without the instructions, loads and iotas that no store needs.
pub(super) fn without_dead(body: Body) -> Body {
    let mut live = vec![false; body.instrs.len()];
    body.stores.iter().for_each(|s| live[s.value.0] = true);
    for i in (0..live.len()).rev() {
        if live[i] {
            body.instrs[i].operands().for_each(|v| live[v.0] = true);
        }
    }
    let mut out = Body::default();
    let mut renamed = vec![ValueId(usize::MAX); live.len()];
    for (i, instr) in body.instrs.iter().enumerate().filter(|(i, _)| live[*i]) {
        let instr = match *instr {
            Instr::Load(l) => Instr::Load(position(&mut out.loads, &body.loads[l])),
            Instr::Iota(l) => Instr::Iota(position(&mut out.iotas, &body.iotas[l])),
            other => other.map(|v| renamed[v.0]),
        };
        out.instrs.push(instr);
        renamed[i] = ValueId(out.instrs.len() - 1);
    }
    out.stores = body.stores.into_iter().map(|s| Store { value: renamed[s.value.0], ..s }).collect();
    out
}

/// Hangs plain loops over a contraction's result behind it.
pub(super) fn epilogues(graph: &Graph, updates: &[(Variable, NodeId)], units: &mut Vec<Unit>, caps: &Caps) {
    let mut slots: Vec<Option<Unit>> = std::mem::take(units).into_iter().map(Some).collect();
    let mut links = Links::new(graph, updates, &slots);
    'again: loop {
        for h in 0..slots.len() {
            let Some(unit) = &slots[h] else { continue };
            if matches!(unit.kind, KernelKind::Loop(_)) || unit.kind.body().is_none() {
                continue;
            }
            let mut users = links.users(h, &slots);
            users.sort_unstable();
            users.dedup();
            for c in users {
                if links.detour(h, c, &slots) {
                    continue;
                }
                if let Some(joined) = slots[c].as_ref().and_then(|user| attach(unit, user, &links, [h, c], caps)) {
                    slots[h] = None;
                    slots[c] = Some(joined);
                    links = Links::new(graph, updates, &slots);
                    continue 'again;
                }
            }
        }
        break;
    }
    *units = order(slots, &links);
}

fn attach(head: &Unit, user: &Unit, links: &Links, at: [usize; 2], caps: &Caps) -> Option<Unit> {
    let KernelKind::Loop(l) = &user.kind else { return None };
    if l.reduce > 0 {
        return None;
    }
    let dims = head.kind.dims()?;
    let tail = reshape_body(&l.body, &l.dims, &dims)?;
    let mut kind = head.kind.clone();
    let body = kind.body_mut()?;
    let values = append(body, &tail)?;
    body.stores.extend(tail.stores.iter().map(|s| Store { value: values[s.value.0], ..s.clone() }));
    body.stores.retain(|s| links.needed(s.buffer, &at));
    *body = without_dead(std::mem::take(body));
    // Operands of the contraction are read at other places than the epilogue's point: they must not be written by it.
    let operands = operand_buffers(&head.kind);
    if body.stores.iter().any(|s| operands.contains(&s.buffer)) {
        return None;
    }
    if links.bindings(body.buffers().into_iter().chain(operands)) > caps.max_bindings.min(caps.max_epilogue_bindings) {
        return None;
    }
    Some(Unit { kind, names: [&head.names[..], &user.names[..]].concat() })
}

/// The buffers a contraction reads itself, whatever its epilogue does.
pub(crate) fn operand_buffers(kind: &KernelKind) -> Vec<BufferId> {
    let mut bare = kind.clone();
    if let Some(body) = bare.body_mut() {
        *body = Body::default();
    }
    bare.reads()
}

/// Producers before users.
fn order(mut slots: Vec<Option<Unit>>, links: &Links) -> Vec<Unit> {
    let mut out = Vec::new();
    let mut placed = vec![false; slots.len()];
    for start in 0..slots.len() {
        let mut stack = vec![start];
        while let Some(&u) = stack.last() {
            let missing = |b: &BufferId| links.writer.get(b).copied().filter(|&w| w != u && !placed[w]);
            match links.reads[u].iter().find_map(missing) {
                Some(producer) if !placed[u] => stack.push(producer),
                _ => {
                    stack.pop();
                    if !std::mem::replace(&mut placed[u], true) {
                        out.extend(slots[u].take());
                    }
                }
            }
        }
    }
    out
}

/// Whether a store may go straight into the memory of a variable that the kernel reads: every load must be of the very element stored.
pub(crate) fn reads_in_place(kind: &KernelKind, variable: BufferId, store: &View) -> bool {
    !operand_buffers(kind).contains(&variable)
        && kind.body().is_some_and(|body| body.loads.iter().all(|l| l.buffer != variable || l.view == *store))
}
