//! Iteration spaces: splitting and joining axes of loops without changing what they compute.

use crate::program::{Body, KernelKind, View};

/// The coarsest list of lengths that both lists are groupings of; `None` if there is none. Axes of length 1 are ignored.
pub(super) fn refine(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (mut i, mut j) = (0, 0);
    let (a, b): (Vec<usize>, Vec<usize>) = (long(a), long(b));
    let (mut left, mut right) = (1, 1);
    let mut out = Vec::new();
    // From the innermost axis outward.
    loop {
        if left == 1 {
            if i == a.len() {
                break;
            }
            i += 1;
            left = a[a.len() - i];
        }
        if right == 1 {
            if j == b.len() {
                return None;
            }
            j += 1;
            right = b[b.len() - j];
        }
        let part = left.min(right);
        if left % part != 0 || right % part != 0 {
            return None;
        }
        out.push(part);
        left /= part;
        right /= part;
    }
    if right != 1 || j != b.len() {
        return None;
    }
    out.reverse();
    Some(out)
}

fn long(dims: &[usize]) -> Vec<usize> {
    dims.iter().copied().filter(|&d| d != 1).collect()
}

/// `view` over `from` as a view over `to`, a grouping, a refinement or both of the same elements in the same order; `None` if it
/// is not affine there.
pub(super) fn reshape_view(view: &View, from: &[usize], to: &[usize]) -> Option<View> {
    let fine = refine(from, to)?;
    join(&split(view, from, &fine)?, &fine, to)
}

/// Splits axes: `fine` is a refinement of `from`.
fn split(view: &View, from: &[usize], fine: &[usize]) -> Option<View> {
    let (mut strides, mut bounds) = (vec![0; fine.len()], vec![]);
    let mut k = fine.len();
    if !view.bounds.is_empty() {
        bounds = fine.iter().map(|&d| (0, d as i64)).collect();
    }
    for (d, &len) in from.iter().enumerate().rev() {
        let (mut rest, mut stride) = (len, view.strides[d]);
        let limited = view.bounds.get(d).filter(|&&b| b != (0, len as i64));
        while rest > 1 {
            k -= 1;
            strides[k] = stride;
            if let Some(&bound) = limited {
                if bound.0 >= bound.1 {
                    bounds[k] = (0, 0);
                } else if fine[k] != len {
                    // A range of a split axis is no box, unless it cuts between blocks of the inner part: not worth the case.
                    return None;
                } else {
                    bounds[k] = bound;
                }
            }
            stride *= fine[k] as i64;
            rest /= fine[k];
        }
        if len == 1 && limited.is_some() {
            bounds = vec![(0, 0); fine.len()];
        }
    }
    Some(View { offset: view.offset, strides, bounds })
}

/// Joins axes: `fine` is a refinement of `to`.
fn join(view: &View, fine: &[usize], to: &[usize]) -> Option<View> {
    let mut strides = vec![0; to.len()];
    let mut bounds: Vec<(i64, i64)> =
        if view.bounds.is_empty() { vec![] } else { to.iter().map(|&d| (0, d as i64)).collect() };
    let mut k = fine.len();
    for (d, &len) in to.iter().enumerate().rev() {
        let (mut joined, mut first) = (1, true);
        while joined < len {
            k -= 1;
            let bound = view.bounds.get(k).copied().filter(|&b| b != (0, fine[k] as i64));
            if first {
                strides[d] = view.strides[k];
                if let Some(bound) = bound {
                    bounds[d] = bound;
                }
            } else {
                if view.strides[k] != strides[d] * joined as i64 {
                    return None;
                }
                // The outer axis of two may be cut where the inner one is whole.
                match (bound, bounds.get(d).copied()) {
                    (None, None) => {}
                    (None, Some(inner)) if inner == (0, joined as i64) => bounds[d] = (0, (joined * fine[k]) as i64),
                    (Some((lo, hi)), Some(inner)) if inner == (0, joined as i64) => {
                        bounds[d] = (lo * joined as i64, hi * joined as i64);
                    }
                    _ => return None,
                }
            }
            if first && bound.is_none() && !view.bounds.is_empty() {
                bounds[d] = (0, fine[k] as i64);
            }
            first = false;
            joined *= fine[k];
        }
        if len == 1 && !view.bounds.is_empty() {
            bounds[d] = (0, 1);
        }
    }
    Some(View { offset: view.offset, strides, bounds })
}

/// Every view of a body, reshaped.
pub(super) fn reshape_body(body: &Body, from: &[usize], to: &[usize]) -> Option<Body> {
    map_views(body, |view| reshape_view(view, from, to))
}

/// Every view of a body, replaced.
pub(super) fn map_views(body: &Body, mut f: impl FnMut(&View) -> Option<View>) -> Option<Body> {
    let mut body = body.clone();
    for load in &mut body.loads {
        load.view = f(&load.view)?;
    }
    for view in &mut body.iotas {
        *view = f(view)?;
    }
    for store in &mut body.stores {
        store.view = f(&store.view)?;
    }
    Some(body)
}

/// Joins the axes of a loop that every view walks as one, so that backends see few and long ones.
pub(super) fn collapse(kind: &mut KernelKind) {
    let KernelKind::Loop(l) = kind else { return };
    let mut d = 0;
    while d + 1 < l.dims.len() {
        let same_group = d + 1 != l.outer && d + 1 != l.outer + l.reduce;
        if same_group {
            let mut to = l.dims.clone();
            to[d] *= to.remove(d + 1);
            if let Some(body) = map_views(&l.body, |view| join_pair(view, &l.dims, d)) {
                if d < l.outer {
                    l.outer -= 1;
                } else if d < l.outer + l.reduce {
                    l.reduce -= 1;
                }
                (l.body, l.dims) = (body, to);
                continue;
            }
        }
        d += 1;
    }
}

/// Axes `d` and `d + 1` as one.
fn join_pair(view: &View, dims: &[usize], d: usize) -> Option<View> {
    let whole = |k: usize| view.bounds.get(k).is_none_or(|&b| b == (0, dims[k] as i64));
    let inner = dims[d + 1] as i64;
    if view.strides[d] != view.strides[d + 1] * inner || !whole(d + 1) {
        return None;
    }
    let mut joined = view.clone();
    joined.strides.remove(d);
    if !joined.bounds.is_empty() {
        let (lo, hi) = joined.bounds[d];
        joined.bounds[d] = (lo * inner, hi * inner);
        joined.bounds.remove(d + 1);
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refinement() {
        assert_eq!(refine(&[6, 4], &[2, 12]), Some(vec![2, 3, 4]));
        assert_eq!(refine(&[1, 6, 1], &[6]), Some(vec![6]));
        assert_eq!(refine(&[4, 6], &[6, 4]), None);
        assert_eq!(refine(&[], &[1]), Some(vec![]));
        assert_eq!(refine(&[6], &[5]), None);
        assert_eq!(refine(&[6], &[]), None);
        assert_eq!(refine(&[], &[3]), None);
    }

    /// A reshaped view gives the same element at the same row-major position.
    #[test]
    fn views_keep_their_elements() {
        let cases: [(&[usize], &[usize], View); 4] = [
            (&[6, 4], &[2, 3, 4], View { offset: 3, strides: vec![10, -1], bounds: vec![] }),
            (&[2, 3, 4], &[6, 4], View { offset: 0, strides: vec![30, 10, 2], bounds: vec![(0, 2), (0, 3), (1, 3)] }),
            (&[2, 3, 4], &[2, 12], View { offset: 0, strides: vec![7, 4, 1], bounds: vec![(1, 2), (1, 3), (0, 4)] }),
            (&[1, 5, 1], &[5], View { offset: 1, strides: vec![9, 2, 9], bounds: vec![(0, 1), (2, 4), (0, 1)] }),
        ];
        for (from, to, view) in cases {
            let reshaped = reshape_view(&view, from, to).expect("affine");
            let total: usize = from.iter().product();
            for flat in 0..total {
                let at = |dims: &[usize]| {
                    let strides = crate::Shape::from(dims).strides();
                    let c: Vec<usize> = dims.iter().zip(strides).map(|(d, s)| flat / s as usize % d).collect();
                    c
                };
                assert_eq!(view.at(&at(from)), reshaped.at(&at(to)), "{from:?} {to:?} {flat}");
            }
        }
    }
}
