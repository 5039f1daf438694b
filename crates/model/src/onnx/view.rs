//! Values as the model sees them: moved, renamed and repeated elements of an ONNX value, which nothing is computed for until somebody needs them so.
//!
//! Thus a chain of convolutions, which ONNX has channels first, stays channels first with all that is elementwise between, and moves that undo one
//! another vanish.

use super::builder::{Builder, Id};
use super::traced::Dim;

/// First the axes are moved, then they get other lengths, then those of length 1 are repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub id: Id,
    /// Axis `i` is axis `order[i]` of the value.
    pub order: Vec<usize>,
    /// The shape before axes are repeated.
    pub shape: Vec<Dim>,
    /// The shape after that, if it differs.
    pub repeated: Option<Vec<Dim>>,
}

impl View {
    /// A value as it is.
    pub fn of(b: &Builder, id: Id) -> View {
        let shape = b.shape(id).to_vec();
        View { id, order: (0..shape.len()).collect(), shape, repeated: None }
    }

    /// The shape between moving axes and giving them other lengths.
    pub fn moved(&self, b: &Builder) -> Vec<Dim> {
        self.order.iter().map(|&axis| b.shape(self.id)[axis]).collect()
    }

    /// Nothing but axes that are moved, and maybe repeated: then there is an axis of the value behind each.
    pub fn aligned(&self, b: &mut Builder) -> View {
        if self.moved(b) == self.shape {
            return self.clone();
        }
        let moved = b.transpose(self.id, &self.order);
        let id = b.reshape(moved, &self.shape);
        View { repeated: self.repeated.clone(), ..View::of(b, id) }
    }

    /// With repeated axes as axes of the value.
    pub fn unrepeated(&self, b: &mut Builder) -> View {
        match &self.repeated {
            Some(repeated) => {
                let id = self.narrow(b);
                let id = b.expand(id, repeated);
                View::of(b, id)
            }
            None => self.clone(),
        }
    }

    /// The elements before axes are repeated, as a value.
    pub fn narrow(&self, b: &mut Builder) -> Id {
        let moved = b.transpose(self.id, &self.order);
        b.reshape(moved, &self.shape)
    }

    /// The elements as a value.
    pub fn wide(&self, b: &mut Builder) -> Id {
        let view = self.unrepeated(b);
        view.narrow(b)
    }

    pub fn reshaped(&self, b: &mut Builder, shape: &[Dim]) -> View {
        View { shape: shape.to_vec(), ..self.unrepeated(b) }
    }

    pub fn permuted(&self, b: &mut Builder, order: &[usize]) -> View {
        let view = self.aligned(b);
        let pick = |dims: &[Dim]| order.iter().map(|&axis| dims[axis]).collect();
        View {
            id: view.id,
            order: order.iter().map(|&axis| view.order[axis]).collect(),
            shape: pick(&view.shape),
            repeated: view.repeated.as_deref().map(pick),
        }
    }

    pub fn repeated(&self, shape: &[Dim]) -> View {
        let repeated = (self.shape != shape).then(|| shape.to_vec());
        View { repeated, ..self.clone() }
    }

    /// Is it one number?
    fn is_single(&self) -> bool {
        self.shape.iter().all(|&d| d == Dim::ONE)
    }
}

/// Operands of an elementwise operation in one layout.
pub(super) struct Operands {
    pub ids: Vec<Id>,
    /// The shape of the result.
    shape: Vec<Dim>,
    order: Vec<usize>,
    /// The shape as the model sees it.
    seen: Vec<Dim>,
}

impl Operands {
    /// Brings operands into the layout that most work was done in.
    pub fn new(b: &mut Builder, views: &[View]) -> Operands {
        let rank = views.iter().map(|v| v.shape.len()).max().unwrap_or(0);
        let several: Vec<&View> = views.iter().filter(|v| !v.is_single()).collect();
        let Some((&first, rest)) = several.split_first() else {
            let ids: Vec<Id> = views.iter().map(|view| view.narrow(b)).collect();
            let shape = vec![Dim::ONE; rank];
            return Operands { ids, shape: shape.clone(), order: (0..rank).collect(), seen: shape };
        };
        let layout = |v: &View| (v.order.clone(), b.shape(v.id).to_vec(), v.shape.clone());
        if rest.iter().all(|v| layout(v) == layout(first)) {
            let (order, shape, seen) = layout(first);
            let ids = views.iter().map(|v| if v.is_single() { single(b, v) } else { v.id }).collect();
            return Operands { ids, shape, order, seen };
        }
        let axis = |i: usize| several.iter().map(|v| v.shape[i]).find(|&d| d != Dim::ONE).unwrap_or(Dim::ONE);
        let seen: Vec<Dim> = (0..rank).map(axis).collect();
        let leads = |v: &&&View| v.moved(b) == v.shape && !v.order.is_sorted();
        // An operand that has all elements, else any that is not in the usual order.
        let whole = |v: &&&View| v.shape == seen && !b.is_known(v.id);
        let lead = if several.iter().any(|v| whole(&v)) {
            several.iter().find(|v| whole(v) && leads(v))
        } else {
            several.iter().find(leads)
        };
        let order = lead.map_or_else(|| (0..rank).collect(), |v| v.order.clone());
        let mut inverse = vec![0; rank];
        order.iter().enumerate().for_each(|(i, &axis)| inverse[axis] = i);
        // Operands may have fewer axes in front if another has them all.
        let fewer = inverse.first().is_some_and(|&axis| several.iter().any(|v| v.shape[axis] != Dim::ONE));
        let mut ids = Vec::new();
        for view in views {
            if view.is_single() {
                ids.push(single(b, view));
                continue;
            }
            let id = View { repeated: None, ..view.clone() }.permuted(b, &inverse).narrow(b);
            let free = fewer && (b.is_known(id) || b.made_by(id, "Reshape").is_some());
            let front = b.shape(id).iter().take_while(|&&d| free && d == Dim::ONE).count();
            let shape = b.shape(id)[front..].to_vec();
            ids.push(b.reshape(id, &shape));
        }
        let shape = inverse.iter().map(|&axis| seen[axis]).collect();
        Operands { ids, shape, order, seen }
    }

    /// The shape of the result.
    pub fn shape(&self) -> Vec<Dim> {
        self.shape.clone()
    }

    /// The result as the model sees it, with the shape that it wants.
    pub fn view(self, id: Id, shape: &[Dim]) -> View {
        View { id, order: self.order, shape: self.seen, repeated: None }.repeated(shape)
    }
}

/// One number; without axes if it is known and no weight.
fn single(b: &mut Builder, view: &View) -> Id {
    match (b.is_known(view.id), b.name(view.id)) {
        (true, None) => b.reshape(view.id, &[]),
        (true, Some(_)) if b.shape(view.id).len() <= view.shape.len() => view.id,
        _ => view.narrow(b),
    }
}
