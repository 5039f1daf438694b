//! Every instruction on every register type, scalar and vector, against `f64`.

use super::reference::{Value, binary, unary};
use super::{close, compare, elementwise, load, numbers, program, run, store, view};
use ibex_core::graph::{Binary, Compare, Unary};
use ibex_core::program::{Body, Instr, KernelKind, ValueId};
use ibex_core::{DType, Data, Scalar};

const F: DType = DType::F32;
const I: DType = DType::I32;
const U: DType = DType::U32;
const B: DType = DType::Bool;

/// One instruction over whole arrays; `data` is the operands. Lengths with and without a rest.
fn apply(instr: Instr, data: &[Data], out: DType) -> Vec<Data> {
    let Some(backends) = super::backends() else { return Vec::new() };
    let mut results = Vec::new();
    for backend in backends {
        for cut in [0, 1] {
            let len = data[0].len() - cut;
            let dtypes: Vec<_> = data.iter().map(|d| (d.dtype(), d.len())).collect();
            let body = Body {
                loads: (0..data.len()).map(|i| load(i, data[i].dtype(), view(0, &[1]))).collect(),
                iotas: Vec::new(),
                instrs: (0..data.len()).map(Instr::Load).chain([instr]).collect(),
                stores: vec![store(data.len(), data.len(), out, view(0, &[1]))],
            };
            let kernel = KernelKind::Loop(elementwise(&[len], body));
            let mut all = data.to_vec();
            all.push(Data::zeros(out, len));
            results.extend(run(backend, program(&dtypes, &[(out, len)], vec![kernel]), &all).pop());
        }
    }
    results
}

fn floats() -> Vec<f64> {
    let mut list = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        -1.5,
        2.5,
        -2.5,
        3.5,
        1e-7,
        -1e-7,
        1e-4,
        1e-3,
        -1e-3,
        0.01,
        -0.2,
        0.3,
        -0.3,
        0.42,
        0.9,
        -0.99,
        0.99999,
        1.00001,
        1.1,
        2.0,
        -2.0,
        3.0,
        4.0,
        -4.0,
        7.0,
        10.0,
        -10.0,
        15.9,
        20.5,
        -20.5,
        33.0,
        80.0,
        -80.0,
        88.0,
        88.6,
        89.0,
        -87.0,
        100.0,
        1000.0,
        -1000.0,
        12345.678,
        1e10,
        -1e10,
        1e30,
        -1e30,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        2147483648.0,
        -2147483648.0,
        4294967296.0,
        3e9,
        255.5,
        16777217.0,
        2.2,
        -7.3,
    ];
    while !list.len().is_multiple_of(4) {
        list.push(0.7);
    }
    list
}

fn f32s(list: &[f64]) -> Data {
    Data::from_f64(F, list)
}

#[test]
fn float_unary() {
    let x = f32s(&floats());
    for &op in Unary::ALL.iter().filter(|op| **op != Unary::Not) {
        for got in apply(Instr::Unary(op, ValueId(0)), std::slice::from_ref(&x), F) {
            let want = x.to_f64().into_iter().map(|v| match unary(op, Value::F(v)) {
                Value::F(y) if y.abs() > f64::from(f32::MAX) => f64::INFINITY.copysign(y),
                // Below the normal range devices may flush.
                Value::F(y) if y.abs() < 1e-37 => 0.0,
                Value::F(y) => y,
                _ => unreachable!(),
            });
            let got: Vec<f64> = got.to_f64().iter().map(|&y| if y.abs() < 1e-37 { 0.0 } else { y }).collect();
            let (got, want): (Vec<_>, Vec<_>) = if matches!(op, Unary::Sin | Unary::Cos) {
                // Argument reduction is for angles up to some thousands; the error is absolute near the roots.
                let small = x.to_f64().into_iter().map(|v| v.abs() < 1e5 || !v.is_finite());
                let some: Vec<_> = got.iter().zip(want).zip(small).filter(|p| p.1).map(|p| p.0).collect();
                some.into_iter().map(|(g, w)| (g + 10.0, w + 10.0)).unzip()
            } else {
                let want = want.take(got.len()).collect();
                (got, want)
            };
            close(&got, &want, 1e-6, op.name());
        }
    }
}

/// A dense sweep, for accuracy between the chosen values.
#[test]
fn transcendental_accuracy() {
    let ranges = [
        (Unary::Exp, -87.0, 88.0),
        (Unary::Expm1, -3.0, 3.0),
        (Unary::Log, 1e-6, 5.0),
        (Unary::Log1p, -0.9, 3.0),
        (Unary::Tanh, -9.0, 9.0),
        (Unary::Sigmoid, -30.0, 30.0),
        (Unary::Erf, -4.5, 4.5),
    ];
    for (op, low, high) in ranges {
        let x = numbers(F, 10_000, low, high);
        for got in apply(Instr::Unary(op, ValueId(0)), std::slice::from_ref(&x), F) {
            let want: Vec<f64> = x.to_f64()[..got.len()]
                .iter()
                .map(|&v| match unary(op, Value::F(v)) {
                    Value::F(y) => y,
                    _ => unreachable!(),
                })
                .collect();
            let worst =
                got.to_f64().iter().zip(&want).map(|(g, w)| (g - w).abs() / w.abs().max(1e-30)).fold(0.0, f64::max);
            println!("{} {worst:e}", op.name());
            close(&got.to_f64(), &want, 1e-6, op.name());
        }
    }
}

/// All pairs of a list, as two columns.
fn pairs(list: &[f64], dtype: DType) -> [Data; 2] {
    let left: Vec<f64> = list.iter().flat_map(|&a| vec![a; list.len()]).collect();
    let right: Vec<f64> = list.iter().flat_map(|_| list.to_vec()).collect();
    [Data::from_f64(dtype, &left), Data::from_f64(dtype, &right)]
}

#[test]
fn float_binary() {
    let data = pairs(&floats(), F);
    for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Rem, Binary::Pow, Binary::Max, Binary::Min] {
        for got in apply(Instr::Binary(op, ValueId(0), ValueId(1)), &data, F) {
            let (a, b) = (data[0].to_f64(), data[1].to_f64());
            let got = got.to_f64();
            for (i, &g) in got.iter().enumerate() {
                let Value::F(w) = binary(op, Value::F(a[i]), Value::F(b[i])) else { unreachable!() };
                let single = f64::from(w as f32);
                // Remainders after huge quotients, and cancelled sums, have no relative accuracy in f32.
                if op == Binary::Rem && (a[i] / b[i]).abs() > 1e7 {
                    continue;
                }
                let scale = match op {
                    Binary::Add | Binary::Sub => a[i].abs().max(b[i].abs()),
                    Binary::Rem => w.abs().max(b[i].abs().min(1e30)),
                    _ => w.abs(),
                };
                let tolerance = if op == Binary::Pow { 2e-6 } else { 5e-7 };
                let same = g == single
                    || g.is_nan() && w.is_nan()
                    || (g - w).abs() <= tolerance * scale
                    || g.abs() < 1e-37 && w.abs() < 1e-37
                    // Devices may divide by way of a reciprocal that is subnormal.
                    || op == Binary::Div && b[i].abs() > 1e37;
                assert!(same, "{} of {} and {}: got {g}, want {w}", op.name(), a[i], b[i]);
            }
        }
    }
}

#[test]
fn constant_powers() {
    for power in [1.0, 2.0, 3.0, -1.0, 0.5, 0.0, -0.5, 2.5] {
        let x = numbers(F, 101, -3.0, 3.0);
        let body = Body {
            loads: vec![load(0, F, view(0, &[1]))],
            iotas: vec![],
            instrs: vec![
                Instr::Load(0),
                Instr::Const(Scalar::Float(power)),
                Instr::Binary(Binary::Pow, ValueId(0), ValueId(1)),
            ],
            stores: vec![store(2, 1, F, view(0, &[1]))],
        };
        compare(elementwise(&[101], body), vec![x, Data::zeros(F, 101)], 1e-6);
    }
}

fn integers() -> Vec<f64> {
    [
        0,
        1,
        -1,
        2,
        3,
        -3,
        7,
        -7,
        31,
        32,
        33,
        100,
        -100,
        65535,
        123456789,
        -123456789,
        i32::MAX,
        i32::MIN,
        i32::MIN + 1,
        5,
    ]
    .map(f64::from)
    .to_vec()
}

#[test]
fn integer_binary() {
    let all = Binary::ALL.iter().filter(|op| **op != Binary::Pow);
    for &op in all {
        let list = integers();
        let unsigned: Vec<f64> = list.iter().map(|&v| f64::from(v as i32 as u32)).collect();
        for (dtype, list) in [(I, &list), (U, &unsigned)] {
            let data = pairs(list, dtype);
            for got in apply(Instr::Binary(op, ValueId(0), ValueId(1)), &data, dtype) {
                for (i, g) in got.to_f64().into_iter().enumerate() {
                    let (a, b) = (data[0].to_f64()[i], data[1].to_f64()[i]);
                    let want = match dtype {
                        I => binary(op, Value::I(a as i32), Value::I(b as i32)),
                        _ => binary(op, Value::U(a as u32), Value::U(b as u32)),
                    };
                    let want = match want {
                        Value::I(w) => f64::from(w),
                        Value::U(w) => f64::from(w),
                        _ => unreachable!(),
                    };
                    assert_eq!(g, want, "{} of {a} and {b} ({dtype})", op.name());
                }
            }
        }
    }
}

#[test]
fn integer_and_bool_unary() {
    let x = Data::from_f64(I, &integers());
    for op in [Unary::Neg, Unary::Abs, Unary::Sign] {
        for got in apply(Instr::Unary(op, ValueId(0)), std::slice::from_ref(&x), I) {
            let want: Vec<f64> = integers()
                .iter()
                .map(|&v| match unary(op, Value::I(v as i32)) {
                    Value::I(w) => f64::from(w),
                    _ => unreachable!(),
                })
                .collect();
            close(&got.to_f64(), &want[..got.len()], 0.0, op.name());
        }
    }
    let b = Data::Bool(vec![0, 1, 1, 0, 1, 0, 0, 0]);
    for got in apply(Instr::Unary(Unary::Not, ValueId(0)), std::slice::from_ref(&b), B) {
        close(&got.to_f64(), &[1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0][..got.len()], 0.0, "not");
    }
    let data = pairs(&[0.0, 1.0], B);
    for (op, want) in [(Binary::And, [0., 0., 0., 1.]), (Binary::Or, [0., 1., 1., 1.]), (Binary::Xor, [0., 1., 1., 0.])]
    {
        for got in apply(Instr::Binary(op, ValueId(0), ValueId(1)), &data, B) {
            close(&got.to_f64(), &want[..got.len()], 0.0, op.name());
        }
    }
}

#[test]
fn comparisons() {
    let ints = integers();
    let special = [0.0, -0.0, 1.0, -2.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 3.5];
    for &op in Compare::ALL {
        for data in [
            pairs(&special, F),
            pairs(&ints, I),
            pairs(&[0.0, 7.0, 4294967295.0, 2147483648.0], U),
            pairs(&[0.0, 1.0], B),
        ] {
            for got in apply(Instr::Compare(op, ValueId(0), ValueId(1)), &data, B) {
                for (i, g) in got.to_f64().into_iter().enumerate() {
                    let (a, b) = (data[0].to_f64()[i], data[1].to_f64()[i]);
                    let want = match op {
                        Compare::Eq => a == b,
                        Compare::Ne => a != b,
                        Compare::Lt => a < b,
                        Compare::Le => a <= b,
                        Compare::Gt => a > b,
                        Compare::Ge => a >= b,
                    };
                    assert_eq!(g == 1.0, want, "{} of {a} and {b}", op.name());
                }
            }
        }
    }
}

#[test]
fn select_takes_either() {
    let c = Data::Bool(vec![0, 1, 1, 0, 1, 0, 0, 1]);
    for dtype in [F, I, U, B] {
        let (a, b) = (numbers(dtype, 8, 0.0, 100.0), numbers(dtype, 8, 200.0, 300.0));
        for got in apply(Instr::Select(ValueId(0), ValueId(1), ValueId(2)), &[c.clone(), a.clone(), b.clone()], dtype) {
            for (i, g) in got.to_f64().into_iter().enumerate() {
                let from = if c.to_f64()[i] != 0.0 { &a } else { &b };
                assert_eq!(g, from.to_f64()[i]);
            }
        }
    }
}

#[test]
fn casts() {
    let float = f32s(&floats());
    let int = Data::from_f64(I, &integers());
    let unsigned = Data::U32(vec![0, 1, 2, 77, 65536, i32::MAX as u32, 0x8000_0000, u32::MAX]);
    let truth = Data::Bool(vec![0, 1, 1, 0]);
    for from in [&float, &int, &unsigned, &truth] {
        for to in [F, I, U, B] {
            for got in apply(Instr::Cast(to, ValueId(0)), std::slice::from_ref(from), to) {
                for (i, g) in got.to_f64().into_iter().enumerate() {
                    let x = from.to_f64()[i];
                    let want = match (from.dtype(), to) {
                        (F, I) => f64::from(x as i32),
                        (F, U) => f64::from(x as u32),
                        (I, U) => f64::from(x as i32 as u32),
                        (U, I) => f64::from(x as u32 as i32),
                        (_, B) => f64::from(u8::from(x != 0.0)),
                        (_, F) => f64::from(x as f32),
                        _ => x,
                    };
                    assert!(
                        g == want || g.is_nan() && want.is_nan(),
                        "{} {x} as {to}: got {g}, want {want}",
                        from.dtype()
                    );
                }
            }
        }
    }
}

/// Rounding to half types: in registers, when stored, and back when loaded.
#[test]
fn half_types() {
    let mut list = floats();
    list.extend([
        65504.0,
        65519.9,
        65520.0,
        1e-5,
        6e-8,
        2.9e-8,
        3e-8,
        -4.7e-6,
        2049.0,
        2051.0,
        1.0009765625,
        1.00048828125,
    ]);
    let x = f32s(&list);
    for half in [DType::F16, DType::BF16] {
        let want = Data::from_f64(half, &x.to_f64()).to_f64();
        for got in apply(Instr::Cast(half, ValueId(0)), std::slice::from_ref(&x), F) {
            close(&got.to_f64(), &want[..got.len()], 0.0, &format!("cast to {half}"));
        }
        for got in apply(Instr::Unary(Unary::Neg, ValueId(0)), std::slice::from_ref(&x), half) {
            let negative: Vec<f64> = want.iter().map(|v| -v).collect();
            close(&got.to_f64(), &negative[..got.len()], 0.0, &format!("store of {half}"));
        }
        let stored = Data::from_f64(half, &x.to_f64());
        for got in apply(Instr::Unary(Unary::Abs, ValueId(0)), std::slice::from_ref(&stored), F) {
            let absolute: Vec<f64> = want.iter().map(|v| v.abs()).collect();
            close(&got.to_f64(), &absolute[..got.len()], 0.0, &format!("load of {half}"));
        }
    }
}

#[test]
fn random_bits_and_iota() {
    for len in [64, 37] {
        let key = Data::U32(vec![0x1319_8a2e, 0x0370_7344]);
        let body = Body {
            loads: vec![load(0, U, view(0, &[0])), load(0, U, view(1, &[0]))],
            iotas: vec![view(5, &[-3]), view(0, &[1])],
            instrs: vec![
                Instr::Load(0),
                Instr::Load(1),
                Instr::Iota(0),
                Instr::Iota(1),
                Instr::Cast(U, ValueId(3)),
                Instr::Threefry([ValueId(0), ValueId(1)], ValueId(4), 9),
            ],
            stores: vec![store(2, 1, I, view(0, &[1])), store(5, 2, U, view(0, &[1]))],
        };
        compare(elementwise(&[len], body), vec![key, Data::zeros(I, len), Data::zeros(U, len)], 0.0);
    }
}

#[test]
fn constants_of_every_kind() {
    let scalars = [
        Scalar::Float(f32::INFINITY),
        Scalar::Float(f32::NEG_INFINITY),
        Scalar::Float(f32::NAN),
        Scalar::Float(-0.0),
        Scalar::Float(f32::MAX),
        Scalar::Float(1.0e-7),
        Scalar::Float(16777216.0),
        Scalar::Int(i32::MIN),
        Scalar::Int(-5),
        Scalar::Uint(u32::MAX),
        Scalar::Bool(true),
    ];
    for scalar in scalars {
        let dtype = match scalar {
            Scalar::Float(_) => F,
            Scalar::Int(_) => I,
            Scalar::Uint(_) => U,
            Scalar::Bool(_) => B,
        };
        for len in [8, 5] {
            let body = Body {
                instrs: vec![Instr::Const(scalar)],
                stores: vec![store(0, 0, dtype, view(0, &[1]))],
                ..Body::default()
            };
            compare(elementwise(&[len], body), vec![Data::zeros(dtype, len)], 0.0);
        }
    }
}
