//! Graphs that nobody thought of.

use crate::case::{Case, Grad};
use crate::run::Outcome;
use crate::tolerance::Class;
use ibex_core::random::threefry;
use ibex_core::{DType, Result, Tensor};

/// A stream of choices from a seed.
struct Choices {
    seed: u32,
    count: u32,
}

impl Choices {
    fn below(&mut self, n: usize) -> usize {
        self.count += 1;
        threefry([self.seed, 0x1BEC], [self.count, 0])[0] as usize % n.max(1)
    }
}

/// A value of the graph. Values that were only moved or chosen from inputs are the same in every precision, and may be compared.
#[derive(Clone)]
struct Value {
    tensor: Tensor,
    exact: bool,
}

/// A graph of `ops` random operations on small tensors. The same seed with fewer operations is a prefix of it.
pub fn random_graph(seed: u32, ops: usize) -> Case {
    Case::new(format!("property/{seed}"), move |inputs| {
        let mut choices = Choices { seed, count: 0 };
        let shapes = [vec![2, 3], vec![3], vec![4, 3], vec![2, 1, 3], vec![], vec![3, 4], vec![1, 3], vec![2, 2, 3]];
        let mut pool: Vec<Value> = (0..3)
            .map(|_| Value { tensor: inputs.normal(&shapes[choices.below(shapes.len())][..]), exact: true })
            .collect();
        let mut outputs = Vec::new();
        for _ in 0..ops {
            let value = operation(&mut choices, &pool, inputs);
            if value.tensor.shape().elements() > 600 {
                continue;
            }
            if choices.below(4) == 0 {
                outputs.push(value.tensor.clone());
            }
            pool.push(value);
        }
        outputs.extend(pool.last().map(|v| v.tensor.clone()));
        outputs
    })
    .class(Class::Sum(4096))
    .grad(Grad::First)
}

/// A step of `ops` random operations over four variables of one shape that assigns each another value: its own, another's, a view of
/// one, or something computed. What must be kept while it is overwritten differs with the seed.
pub fn random_step(seed: u32, ops: usize) -> Case {
    let state = |inputs: &mut crate::Inputs| (0..4).map(|_| inputs.normal([3, 3])).collect();
    let step = move |state: &[Tensor], args: &[Tensor]| {
        let mut c = Choices { seed, count: 0 };
        let mut pool = [state, args].concat();
        for _ in 0..ops {
            let [a, b] = [0; 2].map(|_| pool[c.below(pool.len())].clone());
            pool.push(match c.below(12) {
                0 => a.tanh(),
                1 => a.t(),
                2 => a.flip(&[0]),
                3 => &a * 0.5 + &b,
                4 => (&a * &b).sin(),
                5 => a.sum_keep(&[1]) * 0.3 + &b,
                6 => a.max_keep(&[0]) - &b * 0.2,
                7 => a.matmul(&b).tanh(),
                8 => a.permute(&[1, 0]).reshape([9]).reshape([3, 3]),
                9 => Tensor::concat(&[a.narrow(0, 1, 2), b.narrow(0, 0, 1)], 0),
                10 => a.narrow(1, 0, 2).pad(&[(0, 0), (1, 0)]) + &b,
                _ => a.softmax(-1),
            });
        }
        let late = |c: &mut Choices| pool[pool.len() - 1 - c.below(pool.len()).min(c.below(pool.len()))].clone();
        let next = (0..4).map(|_| late(&mut c)).collect();
        let results = (0..c.below(3)).map(|_| late(&mut c)).collect();
        (results, next)
    };
    Case::train(format!("property/step/{seed}"), 3, state, |i| vec![i.normal([3, 3])], step).class(Class::Sum(4096))
}

/// One more operation on values of the pool, mostly late ones.
fn operation(c: &mut Choices, pool: &[Value], inputs: &mut crate::Inputs) -> Value {
    let pick = |c: &mut Choices| {
        let back = c.below(pool.len()).min(c.below(pool.len()));
        pool[pool.len() - 1 - back].clone()
    };
    let (a, b) = (pick(c), pick(c));
    let x = &a.tensor;
    let rank = x.rank();
    let axis = c.below(rank) as isize;
    let inexact = |tensor: Tensor| Value { tensor, exact: false };
    let kept = |tensor: Tensor| Value { tensor, exact: a.exact };
    let fits = x.shape().broadcast(b.tensor.shape()).is_some();
    match c.below(30) {
        0 => inexact(x.tanh()),
        1 => inexact(x.sin()),
        2 => inexact((x.abs() + 0.5).log()),
        3 => inexact(x.sigmoid() * 2.0 - 0.3),
        4 => kept(-x),
        5 => kept(x.abs()),
        6 | 7 if fits => inexact(x * 0.7 + &b.tensor * 0.6),
        8 if fits => inexact((x * &b.tensor).tanh()),
        9 if fits => Value { tensor: x.maximum(&b.tensor), exact: a.exact && b.exact },
        10 if fits && a.exact && b.exact => Value { tensor: x.lt(&b.tensor).select(&b.tensor, x), exact: true },
        11 if a.exact => inexact(x.gt(0.0).select(x, x.expm1())),
        12 if rank > 0 => inexact(x.sum_keep(&[axis]) * 0.5),
        13 if rank > 0 => inexact(x.mean(&[axis])),
        14 if rank > 0 && x.dim(axis) > 0 => kept(x.max(&[axis])),
        15 if rank > 0 && x.dim(axis) > 0 => inexact(x.softmax(axis)),
        16 if rank > 1 => {
            let mut order: Vec<usize> = (0..rank).collect();
            let first = c.below(rank);
            order.swap(first, axis as usize);
            order.rotate_left(c.below(rank));
            kept(x.permute(&order))
        }
        17 => {
            let len = x.shape().elements();
            let divisors: Vec<usize> = (1..=len.max(1)).filter(|d| len % d == 0).collect();
            let d = divisors[c.below(divisors.len())];
            kept(x.reshape([d, len / d]))
        }
        18 if rank > 0 => {
            let len = x.dim(axis);
            let start = c.below(len);
            kept(x.narrow(axis, start, 1 + c.below(len - start)))
        }
        19 if rank > 0 => {
            let mut pads = vec![(0, 0); rank];
            pads[axis as usize] = (c.below(3), c.below(3));
            kept(x.pad(&pads))
        }
        20 if rank > 0 => kept(x.flip(&[axis])),
        21 if rank < 4 => {
            let at = c.below(rank + 1);
            let mut shape = x.shape().to_vec();
            shape.insert(at, 1 + c.below(3));
            kept(x.unsqueeze(at as isize).broadcast_to(shape))
        }
        22 if rank > 0 => {
            let other = x.cos();
            inexact(Tensor::concat(&[x.clone(), other], axis))
        }
        23 if rank > 1 => {
            let k = x.dim(-1);
            let n = 1 + c.below(4);
            inexact(x.matmul(inputs.uniform([k, n], -0.5, 0.5)))
        }
        24 if rank > 1 => inexact(x.matmul(x.t()) * 0.2),
        25 if rank > 0 => {
            let rows = x.dim(0) as f64;
            let at = inputs.typed(DType::I32, [2], 0.0, rows - 1.0);
            kept(x.gather(&at))
        }
        26 => inexact((x.abs() + 0.25).sqrt().recip()),
        27 if rank > 0 => {
            let index = Tensor::iota(x.shape(), axis).rem(3);
            inexact(index.eq(1).select(x.sin(), index.cast(DType::F32) * x))
        }
        28 => {
            // A derivative: much of what models run.
            let y = (x.tanh() * x.sigmoid()).sum(&[]);
            let [g] = y.grad([x]);
            inexact(g)
        }
        29 if rank > 0 && x.dim(0) > 0 => {
            let rows = 1 + c.below(4);
            let at = inputs.typed(DType::I32, [x.dim(0)], -1.0, rows as f64);
            inexact(x.scatter_add(&at, rows))
        }
        _ => inexact(x.square() * 0.3 + inputs.uniform([], -1.0, 1.0)),
    }
}

/// The fewest operations with which a random case still fails, and what is wrong then: `None` if it passes with all of them.
pub fn shrink(
    ops: usize,
    make: impl Fn(usize) -> Case,
    run: impl Fn(&Case) -> Result<Outcome>,
) -> Option<(usize, String)> {
    let fails = |ops: usize| match run(&make(ops)) {
        Ok(outcome) if outcome.passed() => None,
        Ok(outcome) => Some(format!("{} ({:.2} times the tolerance)", outcome.worst, outcome.error)),
        Err(error) => Some(error.to_string()),
    };
    fails(ops)?;
    (0..=ops).find_map(|n| fails(n).map(|why| (n, why)))
}
