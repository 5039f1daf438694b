//! The pass of Adam against `f64` on every instruction set, and the bodies that it may run.

use crate::adam::Pass;
use crate::code::Code;
use crate::simd::Level;
use ibex_core::graph::{Binary, Unary};
use ibex_core::program::{Body, BufferDecl, BufferId, Instr, Load, Role, Store, ValueId, View};
use ibex_core::{DType, Scalar};

const N: usize = 75;

/// The instructions of an update with the gradient `acc`: `m`, `v` and `w` are buffers 0, 1 and 2, those behind them are free.
fn update() -> (Body, Vec<BufferDecl>) {
    let view = View::contiguous(&[N]);
    let load = |i: usize| Load { buffer: BufferId(i), dtype: DType::F32, view: view.clone() };
    let store = |i: usize, value: usize| Store {
        value: ValueId(value),
        buffer: BufferId(i),
        dtype: DType::F32,
        view: view.clone(),
    };
    let number = |x: f32| Instr::Const(Scalar::Float(x));
    let binary = |op: Binary, a: usize, b: usize| Instr::Binary(op, ValueId(a), ValueId(b));
    let instrs = vec![
        Instr::Acc,
        Instr::Load(0),
        Instr::Load(1),
        Instr::Load(2),
        number(0.1),
        number(0.001),
        number(0.01),
        number(1e-7),
        // m, 10
        binary(Binary::Sub, 0, 1),
        binary(Binary::Mul, 8, 4),
        binary(Binary::Add, 1, 9),
        // v, 14
        binary(Binary::Mul, 0, 0),
        binary(Binary::Sub, 11, 2),
        binary(Binary::Mul, 12, 5),
        binary(Binary::Add, 2, 13),
        // w, 19
        binary(Binary::Mul, 10, 6),
        Instr::Unary(Unary::Sqrt, ValueId(14)),
        binary(Binary::Add, 16, 7),
        binary(Binary::Div, 15, 17),
        binary(Binary::Sub, 3, 18),
    ];
    let body = Body {
        loads: (0..3).map(load).collect(),
        iotas: vec![],
        instrs,
        stores: vec![store(0, 10), store(1, 14), store(2, 19)],
    };
    let buffer = |i: usize| BufferDecl { role: Role::Variable(i), dtype: DType::F32, shape: [N].into() };
    (body, (0..5).map(buffer).collect())
}

/// How many updates a body is known to be.
fn updates(change: impl FnOnce(&mut Body, &mut Vec<BufferDecl>)) -> usize {
    let (mut body, mut buffers) = update();
    change(&mut body, &mut buffers);
    Code::new(&body, &[N], 0..0, &buffers, Level::get()).unwrap().updates.len()
}

#[test]
fn updates_are_found() {
    assert_eq!(updates(|_, _| ()), 1);
    // A sum, a product and a moving average mind no order.
    let turned = |body: &mut Body, _: &mut Vec<BufferDecl>| {
        for i in [9, 10, 13, 14, 15, 17] {
            let Instr::Binary(op, a, b) = body.instrs[i] else { panic!("{i}") };
            body.instrs[i] = Instr::Binary(op, b, a);
        }
    };
    assert_eq!(updates(turned), 1);
    // A weight that decays first is computed.
    let decayed = |body: &mut Body, _: &mut Vec<BufferDecl>| {
        body.instrs.push(body.instrs[19]);
        body.instrs[19] = Instr::Binary(Binary::Mul, ValueId(3), ValueId(4));
        body.instrs[20] = Instr::Binary(Binary::Sub, ValueId(19), ValueId(18));
        body.stores[2].value = ValueId(20);
    };
    assert_eq!(updates(decayed), 1);
}

#[test]
fn others_are_not_taken_for_updates() {
    let also = |body: &mut Body, value: usize| {
        let store = Store { value: ValueId(value), buffer: BufferId(3), ..body.stores[0].clone() };
        body.stores.push(store);
    };
    // Somebody else wants what is between: the root, a step of the average.
    assert_eq!(updates(|body, _| also(body, 16)), 0);
    assert_eq!(updates(|body, _| also(body, 9)), 0);
    // Or the old state.
    assert_eq!(updates(|body, _| also(body, 1)), 0);
    assert_eq!(updates(|body, _| also(body, 3)), 0);
    // But the gradient may be stored as well.
    assert_eq!(updates(|body, _| also(body, 0)), 1);
    // State is not where it was; or two arrays are one memory.
    assert_eq!(updates(|body, _| body.stores[1].buffer = BufferId(3)), 0);
    assert_eq!(updates(|body, _| body.stores[2].buffer = BufferId(3)), 0);
    assert_eq!(updates(|_, buffers| buffers[1].role = buffers[0].role), 0);
    // The gradient is a load of the state.
    let gradient = |view: fn(&mut View), buffer: usize| {
        move |body: &mut Body, _: &mut Vec<BufferDecl>| {
            body.instrs[0] = Instr::Load(3);
            body.loads.push(Load { buffer: BufferId(buffer), ..body.loads[0].clone() });
            view(&mut body.loads[3].view);
        }
    };
    assert_eq!(updates(gradient(|_| (), 3)), 1);
    assert_eq!(updates(gradient(|_| (), 2)), 0);
    // It repeats.
    assert_eq!(updates(gradient(|view| view.strides[0] = 0, 3)), 0);
    assert_eq!(updates(gradient(|view| (view.offset, view.strides[0]) = (N as i64 - 1, -1), 3)), 0);
    // Another function; the averages of two gradients.
    assert_eq!(updates(|body, _| body.instrs[16] = Instr::Unary(Unary::Exp, ValueId(14))), 0);
    assert_eq!(updates(|body, _| body.instrs[11] = Instr::Binary(Binary::Mul, ValueId(0), ValueId(3))), 0);
    assert_eq!(updates(|body, _| body.instrs[8] = Instr::Binary(Binary::Sub, ValueId(3), ValueId(1))), 0);
}

/// Two updates of one body, the gradient of the first being memory of buffer `of`.
fn pair(of: usize) -> usize {
    updates(|body, buffers| {
        let (second, buffers_of_one) = (body.clone(), 5);
        let shift = body.instrs.len();
        for instr in &second.instrs {
            body.instrs.push(match *instr {
                Instr::Load(i) => Instr::Load(i + second.loads.len()),
                instr => instr.map(|v| ValueId(v.0 + shift)),
            });
        }
        let moved = |id: BufferId| BufferId(id.0 + buffers_of_one);
        body.loads.extend(second.loads.iter().map(|l| Load { buffer: moved(l.buffer), ..l.clone() }));
        let stores = second.stores.iter();
        body.stores.extend(stores.map(|s| {
            let value = ValueId(s.value.0 + shift);
            Store { value, buffer: moved(s.buffer), ..s.clone() }
        }));
        body.instrs[0] = Instr::Load(body.loads.len());
        body.loads.push(Load { buffer: BufferId(of), ..body.loads[0].clone() });
        for i in 0..buffers_of_one {
            buffers.push(BufferDecl { role: Role::Variable(buffers_of_one + i), ..buffers[i].clone() });
        }
    })
}

#[test]
fn updates_do_not_read_each_other() {
    assert_eq!(pair(4), 2);
    // The second's weight, as where two weights are multiplied.
    assert_eq!(pair(7), 0);
}

#[test]
fn a_pass_is_an_update() {
    let numbers = |salt: u32, n: usize| -> Vec<f32> {
        (0..n as u32).map(|i| ibex_core::random::threefry([salt, 7], [i, 0])[0] as i32 as f32 * 1e-9).collect()
    };
    let (body, buffers) = update();
    let scalars = [0.1, 0.001, 0.01, 1e-7f32];
    for level in Level::all() {
        let kernel = Code::new(&body, &[N], 0..0, &buffers, level).unwrap().updates[0].kernel;
        for (n, apart) in (0..N).flat_map(|n| [(n, false), (n, true)]) {
            let (g, decayed) = (numbers(0, n), numbers(4, n));
            let v: Vec<f32> = numbers(2, n + 1).iter().map(|x| x.abs()).collect();
            let old = [numbers(1, n + 1), v, numbers(3, n + 1)];
            let mut new = old.clone();
            let state = new.each_mut().map(|array| array.as_mut_ptr());
            let weight = if apart { decayed.as_ptr() } else { std::ptr::null() };
            // SAFETY: all arrays have `n` elements or more.
            unsafe { kernel(Pass { gradient: g.as_ptr(), weight, scalars, state, n }) };
            for i in 0..n {
                let [c1, c2, alpha, epsilon] = scalars.map(f64::from);
                let (g, [m, v, w]) = (f64::from(g[i]), old.each_ref().map(|array| f64::from(array[i])));
                let w = if apart { f64::from(decayed[i]) } else { w };
                let (m, v) = (m + (g - m) * c1, v + (g * g - v) * c2);
                let expected = [m, v, w - m * alpha / (v.sqrt() + epsilon)];
                for (new, expected) in new.each_ref().map(|array| f64::from(array[i])).into_iter().zip(expected) {
                    assert!(
                        (new - expected).abs() <= 4e-7 * (1.0 + expected.abs()),
                        "{level:?} {n} {i}: {new} {expected}"
                    );
                }
            }
            assert_eq!(new.each_ref().map(|array| array[n]), old.each_ref().map(|array| array[n]), "{level:?} {n}");
        }
    }
}
