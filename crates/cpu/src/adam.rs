//! Adam's update of a weight in one pass over memory, where steps would take five and copy what they make.

use crate::access::{Load, Store};
use crate::code::key;
use crate::join::{Average, either};
use crate::math;
use crate::simd::{Kernel, Level};
use crate::steps::Rank;
use ibex_core::graph::{Binary, Unary};
use ibex_core::program::{Body, BufferDecl, BufferId, Instr, Reg, Role, ValueId};
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// The instructions of an update:
/// `m += (g - m) * c1; v += (g * g - v) * c2; w -= m * alpha / (sqrt(v) + epsilon)`.
#[derive(Debug)]
pub(crate) struct Adam {
    pub(crate) gradient: usize,
    /// The weight before the update, unless that is what lies in the memory of `w`.
    pub(crate) weight: Option<usize>,
    /// `c1`, `c2`, `alpha` and `epsilon`.
    pub(crate) scalars: [usize; 4],
    /// The stores of `m`, `v` and `w`.
    pub(crate) stores: [usize; 3],
    /// All that the pass computes.
    pub(crate) values: Vec<usize>,
    pub(crate) kernel: AdamFn,
}

impl Adam {
    /// What the pass reads but for its state.
    pub(crate) fn operands(&self) -> impl Iterator<Item = usize> {
        [self.gradient].into_iter().chain(self.weight).chain(self.scalars)
    }
}

/// Arguments of the pass: `n` elements each, but for the scalars. `m`, `v` and `w` overlap nothing else.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) gradient: *const f32,
    /// Null if `w` holds it.
    pub(crate) weight: *const f32,
    pub(crate) scalars: [f32; 4],
    /// `m`, `v` and `w`.
    pub(crate) state: [*mut f32; 3],
    pub(crate) n: usize,
}

/// The pass for one instruction set. Its safety: the pointers are valid as [`Pass`] says.
pub(crate) type AdamFn = unsafe fn(Pass);

struct Update;

impl Kernel<Pass> for Update {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(pass: Pass) {
        let Pass { gradient, weight, scalars: [c1, c2, alpha, epsilon], state, n } = pass;
        // SAFETY: see `AdamFn`.
        unsafe {
            let g = from_raw_parts(gradient, n);
            let [m, v, w] = state.map(|at| from_raw_parts_mut(at, n));
            if !weight.is_null() {
                w.copy_from_slice(from_raw_parts(weight, n));
            }
            for (((g, m), v), w) in g.iter().zip(m).zip(v).zip(w) {
                let first = math::fma::<FMA>(g - *m, c1, *m);
                let second = math::fma::<FMA>(math::fma::<FMA>(*g, *g, -*v), c2, *v);
                *w -= first * alpha / (epsilon + second.sqrt());
                (*m, *v) = (first, second);
            }
        }
    }
}

/// What the pattern is looked for in.
pub(crate) struct Parts<'a> {
    pub(crate) body: &'a Body,
    pub(crate) ranks: &'a [Rank],
    pub(crate) buffers: &'a [BufferDecl],
    pub(crate) loads: &'a [Load],
    pub(crate) stores: &'a [Store],
}

impl Parts<'_> {
    /// All updates of the body. None if the gradient of one is the weight of another, as where two weights are multiplied: updates come one
    /// after the other.
    pub(crate) fn updates(&self, level: Level) -> Vec<Adam> {
        let updates: Vec<Adam> = (0..self.stores.len()).filter_map(|w| self.update(w, level)).collect();
        let all: Vec<usize> = updates.iter().flat_map(|update| update.stores).collect();
        let free =
            |update: &Adam| self.load(ValueId(update.gradient)).is_none_or(|load| !self.touches(load.buffer, &all));
        if updates.iter().all(free) { updates } else { vec![] }
    }

    /// True if a buffer is the memory of one of these stores.
    fn touches(&self, id: BufferId, stores: &[usize]) -> bool {
        stores.iter().any(|&s| self.key(self.stores[s].buffer) == self.key(id))
    }

    fn key(&self, id: BufferId) -> Role {
        key(self.buffers, id)
    }

    fn instr(&self, v: ValueId) -> Instr {
        self.body.instrs[v.0]
    }

    fn load(&self, v: ValueId) -> Option<&Load> {
        if let Instr::Load(i) = self.instr(v) { Some(&self.loads[i]) } else { None }
    }

    /// How many operands it is.
    fn uses(&self, v: ValueId) -> usize {
        self.body.instrs.iter().flat_map(|i| i.operands()).filter(|o| *o == v).count()
    }

    fn stores(&self, v: ValueId) -> Vec<usize> {
        (0..self.stores.len()).filter(|&s| self.body.stores[s].value == v).collect()
    }

    /// The update that ends in the store `w`: if nobody else reads what is between its operands and its results, and `m`, `v` and `w` are
    /// changed where they lie, which nothing else in the body touches.
    fn update(&self, w: usize, level: Level) -> Option<Adam> {
        let Instr::Binary(Binary::Sub, weight, quotient) = self.instr(self.body.stores[w].value) else { return None };
        let Instr::Binary(Binary::Div, product, sum) = self.instr(quotient) else { return None };
        let Instr::Binary(Binary::Add, p, q) = self.instr(sum) else { return None };
        let (root, epsilon, second) = either(p, q).find_map(|(root, epsilon)| match self.instr(root) {
            Instr::Unary(Unary::Sqrt, second) => Some((root, epsilon, second)),
            _ => None,
        })?;
        let v = Average::of(self.body, second)?;
        let Instr::Binary(Binary::Mul, gradient, same) = self.instr(v.b) else { return None };
        let Instr::Binary(Binary::Mul, p, q) = self.instr(product) else { return None };
        let (first, alpha, m) = either(p, q).find_map(|(first, alpha)| {
            let m = Average::of(self.body, first).filter(|m| m.b == gradient && m.b == same)?;
            Some((first, alpha, m))
        })?;

        let results = [first, second, self.body.stores[w].value];
        let between: Vec<ValueId> =
            [quotient, product, sum, root, v.b].into_iter().chain(m.between).chain(v.between).collect();
        let own = between.iter().all(|&v| self.uses(v) == 1 && self.stores(v).is_empty())
            && results.map(|v| self.uses(v)) == [1, 1, 0]
            && [m.a, v.a].iter().all(|&v| self.uses(v) == 2 && self.stores(v).is_empty());

        let scalars = [m.c, v.c, alpha, epsilon];
        let regs = self.body.regs();
        let ranks = scalars.iter().all(|v| self.ranks[v.0] == Rank::Uniform)
            && [gradient, weight].iter().chain(&results).all(|v| self.ranks[v.0] == Rank::Row && regs[v.0] == Reg::F32);

        let [Ok([at_m]), Ok([at_v]), Ok([at_w])] = results.map(|v| <[usize; 1]>::try_from(self.stores(v))) else {
            return None;
        };
        let stores = [at_m, at_v, at_w];
        let place = |v: ValueId, s: usize| {
            let (load, store) = (self.load(v)?, &self.stores[s]);
            Some(load.in_place() && load.walk == store.walk && self.key(load.buffer) == self.key(store.buffer))
        };
        let places = place(m.a, at_m) == Some(true)
            && place(v.a, at_v) == Some(true)
            && place(weight, at_w) != Some(false)
            && stores.iter().all(|&s| self.stores[s].in_place() && self.stores[s].walk.is_contiguous())
            && self.load(gradient).is_none_or(|load| load.in_place() && load.walk.is_contiguous());

        // Other steps, which come before, may read the weight: to let it decay, for one.
        let others = (0..self.body.instrs.len()).map(ValueId).filter(|i| ![m.a, v.a].contains(i));
        let [a, b, c] = stores.map(|s| self.key(self.stores[s].buffer));
        let alone = (a != b && b != c && c != a)
            && others.clone().filter_map(|v| self.load(v)).all(|load| !self.touches(load.buffer, &[at_m, at_v]))
            // What is stored as it was loaded is copied when all is done.
            && others.filter_map(|v| Some((v, self.load(v)?))).all(|(v, load)| {
                self.stores(v).is_empty() || !self.touches(load.buffer, &stores)
            })
            && self.stores.iter().filter(|store| self.touches(store.buffer, &stores)).count() == stores.len();

        (own && ranks && places && alone).then(|| Adam {
            gradient: gradient.0,
            weight: self.load(weight).is_none().then_some(weight.0),
            scalars: scalars.map(|v| v.0),
            stores,
            values: between.iter().chain(&results).map(|v| v.0).collect(),
            kernel: level.compile::<Pass, Update>(),
        })
    }
}
