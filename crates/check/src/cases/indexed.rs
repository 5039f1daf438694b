//! Gather, scatter-add, random numbers, the recurrence.

use super::named;
use crate::case::{Case, Grad};
use crate::tolerance::Class;
use ibex_core::{DType, Tensor};

pub(super) fn add(all: &mut Vec<Case>) {
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::I32, DType::U32, DType::Bool] {
        let grad = if dtype == DType::F32 { Grad::First } else { Grad::None };
        let tables: [(&[usize], &[usize]); 6] = [
            (&[5, 3], &[4]),
            (&[7], &[2, 3]),
            (&[5, 2, 3], &[]),
            (&[1, 1], &[3]),
            (&[4, 3], &[0]),
            (&[300, 65], &[129]),
        ];
        for (table, index) in tables {
            let name = format!("gather/{dtype}/{}_{}", named(table), named(index));
            let grad = if table.len() == 2 && table[0] < 100 { grad } else { Grad::None };
            let build = move |i: &mut crate::Inputs| {
                // Some rows twice, and where NaN does no harm some out of range on either side.
                let (rows, out) = (table[0] as f64, f64::from(u8::from(grad == Grad::None)));
                let at = i.typed(DType::I32, index, -out, rows - 1.0 + out);
                vec![i.typed(dtype, table, 0.0, 9.0).gather(&at)]
            };
            all.push(Case::new(name, build).class(Class::Exact).grad(grad));
        }
        if dtype == DType::Bool {
            continue;
        }
        let sources: [(&[usize], &[usize], usize); 5] =
            [(&[6], &[3], 4), (&[2, 3], &[], 5), (&[], &[4], 3), (&[0], &[3], 4), (&[500], &[7], 11)];
        for (index, row, rows) in sources {
            let name = format!("scatter_add/{dtype}/{}_{}/{rows}", named(index), named(row));
            let build = move |i: &mut crate::Inputs| {
                let at = i.typed(DType::I32, index, -1.0, rows as f64);
                let (lo, hi) = if dtype.is_float() { (0.5, 1.0) } else { (0.0, 1e9) };
                let source = i.typed(dtype, [index, row].concat(), lo, hi);
                vec![source.scatter_add(&at, rows)]
            };
            let grad = if index.len() == 1 && index[0] < 100 { grad } else { Grad::None };
            all.push(Case::new(name, build).class(Class::Sum(64)).grad(grad));
        }
    }
    all.push(
        Case::new("gather/of_views", |i| {
            let table = i.normal([4, 6]);
            let at = i.typed(DType::I32, [3, 2], 0.0, 5.0);
            let rows = table.t().gather(at.t());
            vec![rows.exp(), table.tanh().gather(&at.flip(&[0]) % 4), rows.sum(&[-1])]
        })
        .grad(Grad::Second),
    );
    all.push(
        Case::new("scatter_add/of_views", |i| {
            let source = i.normal([4, 6]);
            let at = i.typed(DType::I32, [12], 0.0, 2.0);
            vec![(source.t().reshape([12, 2]) * 2.0).scatter_add(&at, 3).tanh()]
        })
        .class(Class::Sum(12))
        .grad(Grad::Second),
    );
    all.push(
        Case::new("gather/empty_table", |i| {
            let at = i.typed(DType::I32, [3], -1.0, 1.0);
            vec![i.normal([0, 2]).gather(&at), i.typed(DType::I32, [0, 2], 0.0, 1.0).gather(&at)]
        })
        .class(Class::Exact),
    );
    all.push(Case::new("one_hot", |i| {
        let at = i.typed(DType::I32, [2, 5], -1.0, 4.0);
        vec![at.one_hot(4, DType::F32), at.one_hot(4, DType::Bool), at.cast(DType::U32).one_hot(3, DType::I32)]
    }));
    all.push(
        Case::new("pick", |i| {
            let at = i.typed(DType::I32, [4], -1.0, 3.0);
            vec![i.normal([4, 3]).pick(&at)]
        })
        .grad(Grad::First),
    );

    for shape in [&[][..], &[1], &[5], &[3, 70, 2], &[0, 3], &[4097]] {
        all.push(Case::new(format!("random/{}", named(shape)), move |i| {
            let key = i.list(DType::U32, &[0xDEAD_BEEF_u32.into(), 7.0], [2]);
            vec![
                Tensor::random_bits(&key, 3, shape),
                Tensor::random_uniform(&key, 4, shape),
                Tensor::random_bits(&key + 1, 3, shape),
            ]
        }));
    }
    all.push(Case::new("random/views", |_| {
        let bits = Tensor::random_bits(Tensor::random_key(7), 0, [6, 4]);
        let shifted = bits.shr(16);
        vec![
            shifted.t(),
            shifted.pad(&[(1, 0), (0, 2)]),
            shifted.flip(&[0]).narrow(0, 1, 3),
            shifted.sum(&[0]),
            bits.reshape([8, 3]),
            bits,
        ]
    }));
    all.push(
        Case::new("random/normal", |_| {
            vec![Tensor::randn([37, 11], 42), Tensor::rand([5], 1), Tensor::full([2], 9.0, DType::U32)]
        })
        .class(Class::Sum(10_000)),
    );
    all.push(Case::new("random/uniform_key", |_| {
        let key = Tensor::full([2], 9.0, DType::U32);
        vec![Tensor::random_bits(&key, 0, [9]), Tensor::random_uniform(&key, 1, [2, 2])]
    }));

    for (n, t, u) in [(1, 1, 1), (2, 3, 2), (3, 1, 5), (1, 6, 3), (17, 5, 33), (2, 0, 3), (0, 2, 3)] {
        let small = n * t * u <= 20;
        all.push(
            Case::new(format!("lstm/{n}x{t}x{u}"), move |i| {
                let (z, w) = (i.normal([n, t, 4 * u]), i.uniform([u, 4 * u], -0.5, 0.5));
                let (h0, c0) = (i.normal([n, u]), i.normal([n, u]));
                let [h, c] = z.lstm(&w, &h0, &c0);
                vec![h, c]
            })
            .class(Class::Sum(4 * u))
            .grad(match small {
                true if t <= 3 && t > 0 => Grad::Second,
                true if t > 0 => Grad::First,
                _ => Grad::None,
            }),
        );
        // One tensor in two places, and one computed from another: each counts once.
        if (n, t, u) == (2, 3, 2) {
            all.push(
                Case::new("lstm/tied", move |i| {
                    let (w, h) = (i.uniform([u, 4 * u], -0.5, 0.5), i.normal([n, u]));
                    let z = h.matmul(&w).reshape([n, 1, 4 * u]).broadcast_to([n, t, 4 * u]);
                    z.lstm(&w, &h, &h).to_vec()
                })
                .class(Class::Sum(4 * u))
                .grad(Grad::Second),
            );
        }
        // The gradient's kernel on the device itself, with either of the two incoming gradients and with both.
        all.push(
            Case::new(format!("lstm_grad/{n}x{t}x{u}"), move |i| {
                let (z, w) = (i.normal([n, t, 4 * u]), i.uniform([u, 4 * u], -0.5, 0.5));
                let (h0, c0) = (i.normal([n, u]), i.normal([n, u]));
                let [h, c] = z.lstm(&w, &h0, &c0);
                let weights = i.normal([n, t, u]);
                let mut out = Vec::new();
                for loss in [(&h * &weights).sum(&[]), (&c * &weights).sum(&[]), (&h * &c).sum(&[])] {
                    out.extend(loss.grad([&z, &w, &h0, &c0]));
                }
                if t > 0 {
                    out.extend(h.index(1, t - 1).sum(&[]).grad([&z, &w]));
                }
                out
            })
            .class(Class::Sum(4 * u * n.max(1))),
        );
    }
}
