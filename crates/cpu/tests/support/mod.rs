//! A naive evaluation of loops in `f64`, and a way to run one on the device.
#![allow(dead_code, reason = "each test file uses some of it")]

use ibex_core::backend::{Backend, Buffer, block_on};
use ibex_core::graph::{Binary, Compare, Reduce, Unary};
use ibex_core::program::{
    Body, BufferDecl, BufferId, Instr, Kernel, KernelKind, Load, Loop, Program, Reg, Role, Store, ValueId, View,
};
use ibex_core::{DType, Data, Scalar, Shape};
use std::sync::Arc;

/// A loop with its buffers: element type, contents before.
pub struct Case {
    pub k: Loop,
    pub data: Vec<Data>,
}

/// Writes down a body.
#[derive(Default)]
pub struct Builder {
    pub body: Body,
    pub data: Vec<Data>,
}

impl Builder {
    pub fn buffer(&mut self, data: Data) -> BufferId {
        self.data.push(data);
        BufferId(self.data.len() - 1)
    }

    pub fn push(&mut self, instr: Instr) -> ValueId {
        self.body.instrs.push(instr);
        ValueId(self.body.instrs.len() - 1)
    }

    pub fn load(&mut self, buffer: BufferId, view: View) -> ValueId {
        let dtype = self.data[buffer.0].dtype();
        self.body.loads.push(Load { buffer, dtype, view });
        self.push(Instr::Load(self.body.loads.len() - 1))
    }

    pub fn value(&mut self, x: f32) -> ValueId {
        self.push(Instr::Const(Scalar::Float(x)))
    }

    pub fn unary(&mut self, op: Unary, a: ValueId) -> ValueId {
        self.push(Instr::Unary(op, a))
    }

    pub fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.push(Instr::Binary(op, a, b))
    }

    pub fn reduce(&mut self, op: Reduce, a: ValueId) -> ValueId {
        self.push(Instr::Reduce(op, a))
    }

    /// A new buffer that `value` is stored to.
    pub fn store(&mut self, value: ValueId, dtype: DType, len: usize, view: View) -> BufferId {
        let buffer = self.buffer(Data::zeros(dtype, len));
        self.store_to(value, buffer, view);
        buffer
    }

    pub fn store_to(&mut self, value: ValueId, buffer: BufferId, view: View) {
        let dtype = self.data[buffer.0].dtype();
        self.body.stores.push(Store { value, buffer, dtype, view });
    }

    pub fn done(self, dims: &[usize], outer: usize, reduce: usize) -> Case {
        Case { k: Loop { dims: dims.to_vec(), outer, reduce, body: self.body }, data: self.data }
    }
}

/// Numbers between -2 and 2 that every type holds well.
pub fn numbers(seed: u32, len: usize) -> Vec<f64> {
    let random = |i: usize| ibex_core::random::threefry([seed, 1], [i as u32, 0])[0];
    (0..len).map(|i| f64::from((random(i) >> 8) as f32 / 4_194_304.0 - 2.0)).collect()
}

/// One loop as a program over external buffers.
pub fn program(case: &Case) -> Program {
    let mut program = Program::default();
    for (i, data) in case.data.iter().enumerate() {
        program.buffers.push(BufferDecl {
            role: Role::Variable(i),
            dtype: data.dtype(),
            shape: Shape::from(data.len()),
        });
    }
    program.kernels.push(Kernel { kind: KernelKind::Loop(case.k.clone()), label: "test".into(), flops: 0, bytes: 0 });
    program
}

pub fn upload(device: &dyn Backend, data: &[Data]) -> Vec<Arc<dyn Buffer>> {
    let up = |d: &Data| {
        let bytes = d.as_bytes();
        let buffer = device.allocate(bytes.len()).unwrap();
        device.write(&buffer, bytes.len(), &mut |to| to.copy_from_slice(bytes)).unwrap();
        buffer
    };
    data.iter().map(up).collect()
}

pub fn download(device: &dyn Backend, buffers: &[Arc<dyn Buffer>], data: &[Data]) -> Vec<Data> {
    let down = |(b, d): (&Arc<dyn Buffer>, &Data)| {
        let bytes = block_on(device.read(b, 0..d.as_bytes().len())).unwrap();
        Data::from_bytes(d.dtype(), &bytes).unwrap()
    };
    buffers.iter().zip(data).map(down).collect()
}

/// Contents of all buffers after a run on the CPU.
pub fn run(case: &Case) -> Vec<Data> {
    let device = ibex_cpu::CpuBackend::new();
    let executable = device.load(Arc::new(program(case))).unwrap();
    let buffers = upload(&device, &case.data);
    executable.run(&buffers).unwrap();
    download(&device, &buffers, &case.data)
}

fn round(dtype: DType, x: f64) -> f64 {
    Scalar::from_f64(x, dtype).to_f64()
}

/// Contents of all buffers after a naive evaluation.
pub fn naive(case: &Case) -> Vec<Vec<f64>> {
    let k = &case.k;
    let before: Vec<Vec<f64>> = case.data.iter().map(Data::to_f64).collect();
    let mut after = before.clone();
    let range = k.outer..k.outer + k.reduce;
    let count = |dims: &[usize]| dims.iter().product::<usize>();
    let (outer, length, inside) =
        (count(&k.dims[..k.outer]), count(&k.dims[range.clone()]), count(&k.dims[range.end..]));
    let regs = k.body.regs();
    for point in 0..outer * inside {
        let coordinates = |r: usize| {
            let mut flat = (point / inside * length + r) * inside + point % inside;
            let mut c = vec![0; k.dims.len()];
            for d in (0..k.dims.len()).rev() {
                c[d] = flat % k.dims[d];
                flat /= k.dims[d];
            }
            c
        };
        // A point exists also where the row is empty.
        let row: Vec<Vec<usize>> = (0..length.max(usize::from(k.reduce == 0))).map(coordinates).collect();
        let point_coordinates = if length == 0 {
            let mut dims = k.dims.clone();
            range.clone().for_each(|d| dims[d] = 1);
            let mut flat = point;
            let mut c = vec![0; dims.len()];
            for d in (0..dims.len()).rev() {
                c[d] = flat % dims[d];
                flat /= dims[d];
            }
            c
        } else {
            coordinates(0)
        };
        let all: Vec<Vec<usize>> = if row.is_empty() { vec![point_coordinates.clone()] } else { row.clone() };
        let mut values: Vec<Vec<f64>> = Vec::new();
        for (v, instr) in k.body.instrs.iter().enumerate() {
            let reg = |o: ValueId| regs[o.0];
            let at = |o: ValueId, i: usize| values[o.0][i];
            let mut one = |i: usize| -> f64 {
                let c = &all[i];
                match *instr {
                    Instr::Load(l) => {
                        let load = &k.body.loads[l];
                        load.view.at(c).and_then(|e| before[load.buffer.0].get(e)).map_or(0.0, |&x| x)
                    }
                    Instr::Acc => unreachable!(),
                    Instr::Const(s) => s.to_f64(),
                    Instr::Iota(m) => k.body.iotas[m].at(c).map_or(0.0, |e| e as i64 as i32 as f64),
                    Instr::Threefry([a, b], n, stream) => {
                        let word = |o: ValueId| at(o, i) as u32;
                        f64::from(ibex_core::random::threefry([word(a), word(b)], [word(n), stream])[0])
                    }
                    Instr::Unary(op, a) => unary(op, at(a, i)),
                    Instr::Binary(op, a, b) => binary(op, reg(a), at(a, i), at(b, i)),
                    Instr::Compare(op, a, b) => f64::from(u8::from(compare(op, at(a, i), at(b, i)))),
                    Instr::Select(c, a, b) => {
                        if at(c, i) != 0.0 {
                            at(a, i)
                        } else {
                            at(b, i)
                        }
                    }
                    Instr::Cast(to, a) => round(to, at(a, i)),
                    Instr::Reduce(op, a) => {
                        let rows = if row.is_empty() { 0 } else { row.len() };
                        let dtype = match reg(a) {
                            Reg::F32 => DType::F32,
                            Reg::I32 => DType::I32,
                            Reg::U32 => DType::U32,
                            Reg::Bool => DType::Bool,
                        };
                        let start = op.identity(dtype).to_f64();
                        (0..rows).fold(start, |s, j| binary(op.combine(), reg(a), s, at(a, j)))
                    }
                }
            };
            let reduced = matches!(instr, Instr::Reduce(..));
            let result = if reduced { vec![one(0); all.len()] } else { (0..all.len()).map(&mut one).collect() };
            let _ = v;
            values.push(result);
        }
        let levels = k.row_level();
        for store in &k.body.stores {
            let element = |c: &[usize]| store.view.at(c).unwrap();
            if k.reduce > 0 && !levels[store.value.0] {
                after[store.buffer.0][element(&point_coordinates)] = round(store.dtype, values[store.value.0][0]);
            } else {
                for (i, c) in row.iter().enumerate() {
                    after[store.buffer.0][element(c)] = round(store.dtype, values[store.value.0][i]);
                }
            }
        }
    }
    after
}

fn unary(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Exp => x.exp(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Recip => 1.0 / x,
        Unary::Log => x.ln(),
        Unary::Sin => x.sin(),
        Unary::Not => 1.0 - x,
        _ => unimplemented!("{}", op.name()),
    }
}

fn binary(op: Binary, reg: Reg, a: f64, b: f64) -> f64 {
    let nan = |v: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { v };
    let wrap = |v: f64| match reg {
        Reg::I32 => f64::from((v as i64) as i32),
        Reg::U32 => f64::from((v as i64) as u32),
        _ => v,
    };
    match op {
        Binary::Add => wrap(a + b),
        Binary::Sub => wrap(a - b),
        Binary::Mul => match reg {
            Reg::F32 | Reg::Bool => a * b,
            _ => wrap(((a as i64).wrapping_mul(b as i64) as u32 as i64) as f64),
        },
        Binary::Div => a / b,
        Binary::Max => nan(a.max(b)),
        Binary::Min => nan(a.min(b)),
        Binary::And => f64::from(a as u32 & b as u32),
        Binary::Or => f64::from(a as u32 | b as u32),
        _ => unimplemented!("{}", op.name()),
    }
}

fn compare(op: Compare, a: f64, b: f64) -> bool {
    match op {
        Compare::Eq => a == b,
        Compare::Ne => a != b,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
    }
}

/// Runs the case both ways and compares every buffer.
pub fn check(case: &Case, what: &str) {
    let (got, want) = (run(case), naive(case));
    for (id, (got, want)) in got.iter().zip(&want).enumerate() {
        let tolerance = match got.dtype() {
            DType::F32 => 2e-4,
            DType::F16 => 2e-3,
            DType::BF16 => 1.6e-2,
            _ => 0.0,
        };
        for (i, (&g, &w)) in got.to_f64().iter().zip(want).enumerate() {
            let close = g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= tolerance * (1.0 + w.abs());
            assert!(close, "{what}: element {i} of buffer {id} is {g}, not {w}\n{:?}", case.k);
        }
    }
}
