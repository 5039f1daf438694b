//! NaN, infinities, zeros, the edges of the number range.

use super::elementwise::{binary, compare};
use crate::case::Case;
use crate::tolerance::Class;
use ibex_core::graph::{Binary, Compare};
use ibex_core::{DType, Tensor, Window};

const ODD: [f64; 8] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.0, -1.5, 3e38];

/// Every pair of odd numbers, as a column and a row.
fn odd(i: &mut crate::Inputs) -> (Tensor, Tensor) {
    (i.list(DType::F32, &ODD, [8, 1]), i.list(DType::F32, &ODD, [1, 8]))
}

pub(super) fn add(all: &mut Vec<Case>) {
    for &op in &[Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min] {
        all.push(Case::new(format!("special/{}", op.name()), move |i| {
            let (a, b) = odd(i);
            vec![binary(op, &a, &b)]
        }));
    }
    for &op in Compare::ALL {
        all.push(Case::new(format!("special/{}", op.name()), move |i| {
            let (a, b) = odd(i);
            vec![compare(op, &a, &b), compare(op, &a, &a)]
        }));
    }
    all.push(Case::new("special/unary", |i| {
        let x = i.list(DType::F32, &ODD, [8]);
        let edges = i.list(DType::F32, &[-0.0, 0.0, 1.0, f64::INFINITY, f64::NAN], [5]);
        let large = i.list(
            DType::F32,
            &[-1e4, -200.0, -90.0, 90.0, 200.0, 1e4, f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
            [9],
        );
        vec![
            x.neg(),
            x.abs(),
            x.sign(),
            x.floor(),
            x.is_nan(),
            edges.sqrt(),
            edges.log(),
            edges.recip(),
            edges.rsqrt(),
            large.exp(),
            large.expm1(),
            large.tanh(),
            large.sigmoid(),
            large.erf(),
        ]
    }));
    all.push(
        Case::new("special/near_zero", |i| {
            let x = i.list(DType::F32, &[1e-3, -1e-3, 1e-6, -1e-6, 1e-12, 1e-30, 0.01, -0.02], [8]);
            vec![x.expm1(), x.log1p(), x.tanh(), x.erf(), x.sin()]
        })
        .class(Class::Relative),
    );
    all.push(Case::new("special/rounding", |i| {
        let x =
            i.list(DType::F32, &[0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 8388609.0, 1e10, -1e10, 2.7, -2.7], [12]);
        vec![x.round(), x.floor(), x.ceil(), x.cast(DType::I32)]
    }));
    all.push(Case::new("special/pow", |i| {
        let a = i.list(DType::F32, &[-2.0, -2.0, -2.0, 0.0, 0.0, 2.0, 1.0, -1.0], [8]);
        let b = i.list(DType::F32, &[2.0, 3.0, 0.5, 2.0, 0.0, -3.0, 1000.0, 7.0], [8]);
        vec![a.pow(&b), a.pow(2.0), a.pow(3.0), a.pow(1.0)]
    }));
    all.push(Case::new("special/float_rem", |i| {
        let a = i.list(DType::F32, &[5.5, -5.5, 5.5, -5.5, 0.0, 6.0], [6]);
        let b = i.list(DType::F32, &[2.0, 2.0, -2.0, -2.0, 3.0, 3.0], [6]);
        vec![&a % &b]
    }));
    all.push(Case::new("special/integers", |i| {
        let a = i.list(DType::I32, &[-2147483648.0, 2147483647.0, -7.0, 7.0, 0.0, 5.0], [6, 1]);
        let b = i.list(DType::I32, &[-1.0, 0.0, 1.0, 2.0, -3.0, 2147483647.0], [1, 6]);
        let u = i.list(DType::U32, &[4294967295.0, 2147483648.0, 7.0, 0.0], [4, 1]);
        let v = i.list(DType::U32, &[0.0, 1.0, 3.0, 4294967295.0], [1, 4]);
        vec![
            &a + &b,
            &a - &b,
            &a * &b,
            &a / &b,
            &a % &b,
            a.maximum(&b),
            a.neg(),
            a.abs(),
            &u + &v,
            &u - &v,
            &u * &v,
            &u / &v,
            &u % &v,
            u.minimum(&v),
            u.neg(),
            u.gt(&v),
            a.lt(&b),
        ]
    }));
    // Nothing may be assumed of a product with zero, a difference of equals, a comparison with itself.
    all.push(Case::new("special/no_shortcuts", |i| {
        let x = i.list(DType::F32, &ODD, [8]);
        vec![&x * 0.0, x.sub(&x), x.div(&x), x.eq(&x), x.maximum(&x), (&x * 2.0) * 0.5, x.relu(), x.clamp(-1.0, 1.0)]
    }));
    for (what, at) in [("first", 0), ("middle", 300), ("last", 700)] {
        all.push(Case::new(format!("special/reduce_nan/{what}"), move |i| {
            let mut values: Vec<f64> = (0..701).map(|v| f64::from(v % 13)).collect();
            values[at] = f64::NAN;
            let x = i.list(DType::F32, &values, [701]);
            vec![x.max(&[]), x.min(&[]), x.sum(&[]), x.argmax(0)]
        }));
    }
    all.push(Case::new("special/top_k_ties", |i| {
        let x =
            i.list(DType::F32, &[f64::NEG_INFINITY, 2.0, f64::NEG_INFINITY, 2.0, f64::NAN, 1.0, f64::NAN, 1.0], [2, 4]);
        let n = i.list(DType::U32, &[0.0, 7.0, 0.0, 7.0], [4]);
        [x.top_k(4), n.top_k(3), n.cast(DType::I32).top_k(4)].concat()
    }));
    all.push(Case::new("special/reduce_infinite", |i| {
        let x = i.list(DType::F32, &[f64::NEG_INFINITY, f64::NEG_INFINITY, 1.0, f64::INFINITY], [2, 2]);
        vec![x.max(&[1]), x.min(&[1]), x.max(&[0]), x.min(&[0]), x.sum(&[0]), x.prod(&[])]
    }));
    all.push(Case::new("special/max_pool_nan", |i| {
        let x =
            i.list(DType::F32, &[1.0, f64::NAN, 2.0, 5.0, f64::NEG_INFINITY, f64::NEG_INFINITY, 7.0, 7.0], [1, 8, 1]);
        let mut window = Window::new([2]);
        window.strides = vec![2];
        let y = x.max_pool(&window);
        let [g] = y.sum(&[]).grad([&x]);
        vec![y, g]
    }));
    all.push(Case::new("special/softmax_infinite", |i| {
        let x = i.list(DType::F32, &[f64::NEG_INFINITY, 1.0, 2.0, 1e30, 3.0, -1e30, 88.0, 89.0, -88.0], [3, 3]);
        vec![x.softmax(-1), x.log_softmax(-1), x.logsumexp_keep(-1)]
    }));
    all.push(Case::new("special/f16_overflow", |i| {
        let x = i.list(DType::F16, &[60000.0, -60000.0, 1.0, 6e-8], [4]);
        vec![&x + &x, &x * 0.5, x.cast(DType::F32) * 2.0]
    }));
}
