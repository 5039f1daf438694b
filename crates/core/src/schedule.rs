//! Orders kernels so that few intermediate values live at a time, and so that a variable is overwritten after its last reader.

use crate::fuse::{Fused, Unit, buffer, reads_in_place};
use crate::graph::{Graph, NodeId, Op};
use crate::program::{BufferId, KernelKind};
use crate::tensor::Variable;
use std::collections::{HashMap, HashSet};

/// Kernels in execution order, and what the buffers they name are.
pub(crate) struct Schedule {
    pub units: Vec<Unit>,
    /// Result `i` is written to this buffer.
    pub outputs: Vec<BufferId>,
    /// Every variable that is read or written, with its buffer.
    pub variables: Vec<(Variable, BufferId)>,
    /// Buffers that are no node's: name, and the node whose type and shape they have.
    pub extra: HashMap<BufferId, NodeId>,
}

/// Orders the kernels of a graph.
pub(crate) fn schedule(graph: &Graph, fused: Fused) -> Schedule {
    let Fused { units, homes } = fused;
    let mut s = Scheduler {
        edges: vec![HashSet::new(); units.len()],
        units,
        extra: HashMap::new(),
        next: graph.nodes.len(),
        writer: HashMap::new(),
        readers: HashMap::new(),
    };
    s.link();

    let mut variables: Vec<(Variable, BufferId)> = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        if let Op::Variable(v) = &node.op {
            variables.push((v.clone(), buffer(NodeId(i))));
        }
    }

    let mut claimed: HashSet<BufferId> = HashSet::new();
    let mut outputs = Vec::new();
    for &id in &graph.outputs {
        let home = homes[id.0].unwrap_or(id);
        if graph[home].op.is_buffer_leaf() || !claimed.insert(buffer(home)) {
            outputs.push(s.copy(buffer(home), None, id));
        } else {
            outputs.push(buffer(home));
        }
    }

    // The old value of a variable that is overwritten too is put aside before anything is overwritten.
    let mut aside: HashMap<NodeId, BufferId> = HashMap::new();
    for (variable, id) in &graph.updates {
        let home = homes[id.0].unwrap_or(*id);
        if let Op::Variable(source) = &graph[home].op
            && source != variable
            && graph.updates.iter().any(|(v, _)| v == source)
            && graph[home].shape.elements() > 0
        {
            aside.entry(home).or_insert_with(|| s.copy(buffer(home), None, home));
        }
    }

    let mut renames: HashMap<BufferId, BufferId> = HashMap::new();
    for (variable, id) in &graph.updates {
        let home = homes[id.0].unwrap_or(*id);
        let from = aside.get(&home).copied().filter(|_| graph[home].op != Op::Variable(variable.clone()));
        let from = from.unwrap_or(buffer(home));
        let known = variables.iter().find(|(v, _)| v == variable).map(|(_, b)| *b);
        let target = known.unwrap_or_else(|| {
            let b = s.fresh(*id);
            variables.push((variable.clone(), b));
            b
        });
        // Assigning a variable its own value changes nothing.
        if from == target {
            continue;
        }
        let is_leaf = graph[homes[id.0].unwrap_or(*id)].op.is_buffer_leaf();
        if !is_leaf && !claimed.contains(&from) && s.in_place(from, target) {
            claimed.insert(from);
            renames.insert(from, target);
        } else if graph[*id].shape.elements() > 0 {
            s.copy(from, Some(target), *id);
        }
    }

    let order = s.order(graph);
    let mut units: Vec<Option<Unit>> = s.units.into_iter().map(Some).collect();
    let mut ordered: Vec<Unit> = order.into_iter().filter_map(|u| units[u].take()).collect();
    for unit in &mut ordered {
        rename(&mut unit.kind, &renames);
    }
    Schedule { units: ordered, outputs, variables, extra: s.extra }
}

struct Scheduler {
    units: Vec<Unit>,
    /// For every unit those that must run after it.
    edges: Vec<HashSet<usize>>,
    extra: HashMap<BufferId, NodeId>,
    next: usize,
    writer: HashMap<BufferId, usize>,
    readers: HashMap<BufferId, Vec<usize>>,
}

impl Scheduler {
    fn link(&mut self) {
        for (u, unit) in self.units.iter().enumerate() {
            for b in unit.kind.writes() {
                self.writer.insert(b, u);
            }
            for b in unit.kind.reads() {
                self.readers.entry(b).or_default().push(u);
            }
        }
        for (b, readers) in &self.readers {
            if let Some(&w) = self.writer.get(b) {
                self.edges[w].extend(readers.iter().filter(|&&r| r != w));
            }
        }
    }

    /// A new buffer like that of `node`.
    fn fresh(&mut self, node: NodeId) -> BufferId {
        let id = BufferId(self.next);
        self.next += 1;
        self.extra.insert(id, node);
        id
    }

    /// Adds a copy that runs after everything that reads its target.
    fn copy(&mut self, from: BufferId, to: Option<BufferId>, like: NodeId) -> BufferId {
        let u = self.units.len();
        let to = to.unwrap_or_else(|| {
            let fresh = self.fresh(like);
            self.writer.insert(fresh, u);
            fresh
        });
        self.units.push(Unit { kind: KernelKind::Copy { from, to }, names: vec!["copy"] });
        self.edges.push(HashSet::new());
        let before = self.writer.get(&from).into_iter().chain(self.readers.get(&to).into_iter().flatten()).copied();
        for v in before.collect::<Vec<_>>() {
            self.edges[v].insert(u);
        }
        self.readers.entry(from).or_default().push(u);
        to
    }

    /// Lets the writer of `from` write `variable` instead, if the old value is not needed afterwards.
    fn in_place(&mut self, from: BufferId, variable: BufferId) -> bool {
        let Some(&w) = self.writer.get(&from) else { return false };
        let kind = &self.units[w].kind;
        let store = kind.body().and_then(|b| b.stores.iter().find(|s| s.buffer == from)).map(|s| s.view.clone());
        let reads_it = kind.reads().contains(&variable);
        if reads_it && !store.is_some_and(|view| reads_in_place(kind, variable, &view)) {
            return false;
        }
        let others: Vec<usize> =
            self.readers.get(&variable).into_iter().flatten().copied().filter(|&r| r != w).collect();
        if others.iter().any(|&r| self.reaches(w, r)) {
            return false;
        }
        for r in others {
            self.edges[r].insert(w);
        }
        true
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let (mut stack, mut seen) = (vec![from], HashSet::new());
        while let Some(u) = stack.pop() {
            if u == to {
                return true;
            }
            if seen.insert(u) {
                stack.extend(&self.edges[u]);
            }
        }
        false
    }

    /// The better of two topological orders: as recorded, and greedily by the change in live memory.
    fn order(&self, graph: &Graph) -> Vec<usize> {
        let bytes = |b: &BufferId| {
            let node = self.extra.get(b).copied().unwrap_or(NodeId(b.0));
            let node = &graph[node];
            // What comes from outside or stays is no scratch memory.
            if node.op.is_buffer_leaf() { 0 } else { (node.shape.elements() * node.dtype.size()) as i64 }
        };
        let writes: Vec<Vec<BufferId>> = self.units.iter().map(|u| u.kind.writes()).collect();
        let reads: Vec<Vec<BufferId>> = self.units.iter().map(|u| u.kind.reads()).collect();
        let run = |greedy: bool| {
            let mut waiting = vec![0; self.units.len()];
            self.edges.iter().flatten().for_each(|&v| waiting[v] += 1);
            let mut left: HashMap<BufferId, usize> = self.readers.iter().map(|(b, r)| (*b, r.len())).collect();
            let mut ready: Vec<usize> = (0..self.units.len()).filter(|&u| waiting[u] == 0).collect();
            let (mut order, mut live, mut peak) = (Vec::new(), 0, 0);
            while !ready.is_empty() {
                let freed = |u: usize, left: &HashMap<BufferId, usize>| -> i64 {
                    reads[u].iter().filter(|b| self.writer.contains_key(b) && left[b] == 1).map(bytes).sum()
                };
                let grown = |u: usize| -> i64 { writes[u].iter().map(bytes).sum() };
                let key = |&&u: &&usize| if greedy { (grown(u) - freed(u, &left), u) } else { (0, u) };
                let Some(&u) = ready.iter().min_by_key(key) else { break };
                ready.retain(|&v| v != u);
                live += grown(u);
                peak = peak.max(live);
                live -= freed(u, &left);
                for b in &reads[u] {
                    left.entry(*b).and_modify(|n| *n -= 1);
                }
                order.push(u);
                for &v in &self.edges[u] {
                    waiting[v] -= 1;
                    if waiting[v] == 0 {
                        ready.push(v);
                    }
                }
            }
            (peak, order)
        };
        let (recorded, greedy) = (run(false), run(true));
        if greedy.0 < recorded.0 { greedy.1 } else { recorded.1 }
    }
}

/// Replaces buffer names in a kernel.
pub(crate) fn rename(kind: &mut KernelKind, names: &HashMap<BufferId, BufferId>) {
    let f = |b: &mut BufferId| {
        if let Some(to) = names.get(b) {
            *b = *to;
        }
    };
    match kind {
        KernelKind::Loop(_) => {}
        KernelKind::MatMul(k) => [&mut k.a.buffer, &mut k.b.buffer].into_iter().for_each(f),
        KernelKind::Conv(k) => [&mut k.lhs.0, &mut k.rhs.0].into_iter().for_each(f),
        KernelKind::Pool(k) => k.inputs.iter_mut().map(|i| &mut i.0).for_each(f),
        KernelKind::Gather(k) => [&mut k.table, &mut k.index, &mut k.out].into_iter().for_each(f),
        KernelKind::ScatterAdd(k) => [&mut k.index, &mut k.source, &mut k.out].into_iter().for_each(f),
        KernelKind::Lstm(k) => [&mut k.z, &mut k.recurrent, &mut k.h0, &mut k.c0, &mut k.out].into_iter().for_each(f),
        KernelKind::LstmGrad(k) => {
            [&mut k.forward, &mut k.recurrent, &mut k.c0, &mut k.out].into_iter().for_each(f);
            [&mut k.dh, &mut k.dc].into_iter().flatten().for_each(f);
        }
        KernelKind::Copy { from, to } => [from, to].into_iter().for_each(f),
    }
    if let Some(body) = kind.body_mut() {
        body.loads.iter_mut().map(|l| &mut l.buffer).chain(body.stores.iter_mut().map(|s| &mut s.buffer)).for_each(f);
    }
}
