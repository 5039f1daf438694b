//! Short reductions that are repeated inside of a larger loop which uses them, instead of taking a kernel of their own.
//!
//! The second step of a split reduction has few elements: adding them up in each workgroup costs less than another dispatch.

use super::Unit;
use super::merge::{self, LONG, Links, append, refined, without_dead};
use super::space::{collapse, map_views, refine, reshape_body};
use crate::backend::Caps;
use crate::program::{Body, Instr, KernelKind, Loop, Store, View};

/// A reduction and the plain loop that it goes into, and both as one.
pub(super) fn find(units: &[Option<Unit>], links: &Links, caps: &Caps) -> Option<(usize, usize, Unit)> {
    if !caps.bounded_stores {
        return None;
    }
    for c in 0..units.len() {
        for p in links.reads[c].iter().filter_map(|b| links.writer.get(b).copied()) {
            if p != c
                && !links.detour(p, c, units)
                && let (Some(a), Some(b)) = (&units[p], &units[c])
                && let Some(unit) = join(a, b, links, [p, c], caps)
            {
                return Some((p, c, unit));
            }
        }
    }
    None
}

/// Two short reductions over one space of which neither needs the other, and both as one.
pub(super) fn siblings(units: &[Option<Unit>], links: &Links, caps: &Caps) -> Option<(usize, usize, Unit)> {
    if !caps.bounded_stores {
        return None;
    }
    let short = |u: usize| match &units[u] {
        Some(Unit { kind: KernelKind::Loop(l), .. }) if l.reduce > 0 && l.outer == 0 => {
            let [_, row, inside] = l.extents();
            (row * inside <= caps.split_elements && inside < caps.split_outputs).then_some([row, inside])
        }
        _ => None,
    };
    let leads = |a: usize, b: usize| links.users(a, units).contains(&b) || links.detour(a, b, units);
    for c in 0..units.len() {
        let Some(space) = short(c) else { continue };
        for p in (0..c).filter(|&p| short(p) == Some(space)) {
            if !leads(p, c)
                && !leads(c, p)
                && let (Some(a), Some(b)) = (&units[p], &units[c])
                && let Some(unit) = merge::join(a, b, links, [p, c], caps)
            {
                return Some((p, c, unit));
            }
        }
    }
    None
}

fn join(p: &Unit, c: &Unit, links: &Links, at: [usize; 2], caps: &Caps) -> Option<Unit> {
    let (mut first, mut second) = (p.kind.clone(), c.kind.clone());
    // Axes that are walked as one can be split anywhere.
    [&mut first, &mut second].into_iter().for_each(collapse);
    let (KernelKind::Loop(a), KernelKind::Loop(b)) = (&first, &second) else { return None };
    let (few, many): (usize, usize) = (a.dims.iter().product(), b.dims.iter().product());
    if a.reduce == 0 || a.outer > 0 || b.reduce > 0 || few == 0 || !many.is_multiple_of(few) || few == many {
        return None;
    }
    let times = many / few;
    let dims = refine(&[&[times], &a.dims[..]].concat(), &b.dims)?;
    let mut repeats = 0;
    while dims[..repeats].iter().product::<usize>() < times {
        repeats += 1;
    }
    let a = refined(a, &dims[repeats..])?;
    let over = |view: &View, range: fn(usize) -> (i64, i64)| {
        let outer = dims[..repeats].iter();
        let mut view = view.clone();
        view.strides.splice(0..0, vec![0; repeats]);
        if !view.bounds.is_empty() {
            view.bounds.splice(0..0, outer.map(|&d| range(d)));
        }
        view
    };
    let mut body = map_views(&a.body, |view| Some(over(view, |d| (0, d as i64))))?;
    let tail = reshape_body(&b.body, &b.dims, &dims)?;
    let values = append(&mut body, &tail)?;
    let stores: Vec<Store> = tail.stores.iter().map(|s| Store { value: values[s.value.0], ..s.clone() }).collect();
    // What is overwritten in place is read where it is written, unless other values need it too.
    let old: Vec<_> = body.stores.iter().filter_map(|s| links.overwrites.get(&s.buffer).copied()).collect();
    let used = used(&body, &stores);
    for (l, load) in body.loads.iter_mut().enumerate() {
        if old.contains(&load.buffer) && !used[l] {
            first_time(&mut load.view, &dims, repeats);
        }
    }
    body.stores.iter_mut().for_each(|s| first_time(&mut s.view, &dims, repeats));
    body.stores.extend(stores);
    body.stores.retain(|s| links.needed(s.buffer, &at));
    let body = without_dead(body);
    if links.bindings(body.buffers()) > caps.max_bindings || body.instrs.len() > LONG {
        return None;
    }
    let names = [&p.names[..], &c.names[..]].concat();
    Some(Unit { kind: KernelKind::Loop(Loop { dims, outer: repeats, reduce: a.reduce, body }), names })
}

/// Bounds the view to the first repetition.
fn first_time(view: &mut View, dims: &[usize], repeats: usize) {
    if view.bounds.is_empty() {
        view.bounds = dims.iter().map(|&d| (0, d as i64)).collect();
    }
    view.bounds[..repeats].fill((0, 1));
}

/// Which loads of a body these stores depend on.
fn used(body: &Body, stores: &[Store]) -> Vec<bool> {
    let mut values = vec![false; body.instrs.len()];
    stores.iter().for_each(|s| values[s.value.0] = true);
    let mut loads = vec![false; body.loads.len()];
    for (v, instr) in body.instrs.iter().enumerate().rev() {
        if values[v] {
            instr.operands().for_each(|a| values[a.0] = true);
            if let Instr::Load(l) = instr {
                loads[*l] = true;
            }
        }
    }
    loads
}
