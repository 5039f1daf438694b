//! What `ibex tune` measures: every variant that a device can run, on problems of many sizes. One that is wrong anywhere can not win.

use crate::adapter;
use crate::codegen::Reductions;
use crate::kernels::{Contractions, Extent};
use crate::{Options, Tuning, WgpuBackend};
use ibex_core::backend::{Backend, Buffer, Executable, block_on};
use ibex_core::graph::{Binary, Reduce, Unary};
use ibex_core::program::{
    Body, BufferDecl, BufferId, Instr, Kernel, KernelKind, Load, Loop, MatMul, Operand, Program, Role, Store, ValueId,
    View,
};
use ibex_core::{DType, Data, Error, ErrorKind, Result, Shape};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Measures every kernel on contractions of many sizes, and reductions in every way, on adapter number `index`. What is wrong anywhere is
/// left out, and told to `progress` like everything else.
///
/// # Errors
/// What opening the adapter gives.
pub fn tune(index: usize, progress: &mut dyn FnMut(&str)) -> Result<Tuning> {
    let plain = open(index, Contractions::Tiled, Reductions::Workgroup)?;
    let info = &plain.device.info;
    Ok(Tuning {
        adapter: info.name.clone(),
        driver: adapter::driver(info),
        contractions: contractions(index, DType::F32, progress)?,
        halves: contractions(index, DType::F16, progress)?,
        reductions: reductions(index, &plain, progress)?,
    })
}

fn open(index: usize, contractions: Contractions, reductions: Reductions) -> Result<WgpuBackend> {
    let (contractions, reductions) = (Some(contractions), Some(reductions));
    WgpuBackend::open_blocking(index, Options { contractions, reductions, ..Options::default() })
}

/// The best kernel for contractions of each size, for operands of a type. Nothing for `f16` if it has no kernel of its own.
fn contractions(index: usize, dtype: DType, progress: &mut dyn FnMut(&str)) -> Result<Vec<(Extent, Contractions)>> {
    let mut candidates = Vec::new();
    for kernel in Contractions::ALL {
        let opened = open(index, kernel, Reductions::Workgroup);
        let right = opened.and_then(|backend| {
            if !kernel.runs_on(dtype == DType::F16, &backend.device.traits) {
                return Ok(None);
            }
            for [z, m, n, k] in [[1, 37, 45, 70], [2, 130, 128, 64]] {
                for transposed in [false, true] {
                    product(&backend, Extent { z, m, n, k }, (dtype, transposed), true, Duration::ZERO)?;
                }
            }
            Ok(Some(backend))
        });
        match right {
            Ok(Some(backend)) => candidates.push((kernel, backend)),
            Ok(None) => {}
            Err(e) if e.kind() == ErrorKind::Unsupported => {}
            Err(e) => progress(&format!("{} is left out for {dtype}: {e}", kernel.name())),
        }
    }
    if dtype == DType::F16 && !candidates.iter().any(|c| c.0 == Contractions::Cooperative) {
        return Ok(Vec::new());
    }
    let sizes = [64, 256, 1024, 4096];
    let most = if candidates.iter().any(|c| c.1.is_software()) { 1u64 << 28 } else { 1 << 38 };
    let mut found = Vec::new();
    for (m, n, k) in sizes.iter().flat_map(|m| sizes.iter().flat_map(move |n| sizes.map(|k| (*m, *n, k)))) {
        if 2 * (m * n * k) as u64 > most {
            continue;
        }
        let e = Extent { z: 1, m, n, k };
        let (mut times, mut wrong) = (Vec::new(), Vec::new());
        for (kernel, backend) in &candidates {
            match product(backend, e, (dtype, false), false, Duration::from_millis(40)) {
                Ok(time) => times.push((*kernel, time)),
                Err(error) => {
                    progress(&format!("{m} x {n} x {k}, {}: {error}", kernel.name()));
                    // Too little memory says nothing of smaller sizes.
                    wrong.extend((error.kind() != ErrorKind::OutOfMemory).then_some(*kernel));
                }
            }
        }
        candidates.retain(|c| !wrong.contains(&c.0));
        found.push((e, times));
    }
    // A kernel that was wrong once wins nowhere.
    let right = |kernel: Contractions| candidates.iter().any(|c| c.0 == kernel);
    let best = found.into_iter().filter_map(|(e, times)| {
        let (kernel, time) = times.into_iter().filter(|t| right(t.0)).min_by_key(|t| t.1)?;
        let speed = 2.0 * (e.m * e.n * e.k) as f64 / time.as_secs_f64() / 1e9;
        progress(&format!("{dtype} {} x {} x {}: {} at {speed:.0} GFLOP/s", e.m, e.n, e.k, kernel.name()));
        Some((e, kernel))
    });
    Ok(best.collect())
}

/// The best way to combine reductions: that of the shortest time for softmax along rows of several lengths, all together.
fn reductions(index: usize, plain: &WgpuBackend, progress: &mut dyn FnMut(&str)) -> Result<Option<Reductions>> {
    let rows = if plain.is_software() {
        [[1, 65536], [32, 1024], [16, 4096]]
    } else {
        [[8192, 1024], [1024, 4096], [64, 65536]]
    };
    let mut best: Option<(Reductions, Duration)> = None;
    for way in Reductions::ALL.into_iter().filter(|r| r.runs_on(&plain.device.traits)) {
        let backend = open(index, Contractions::Tiled, way)?;
        let right = [[3, 4099], [5, 600], [1, 30_000]]
            .iter()
            .try_for_each(|&odd| softmax(&backend, odd, true, Duration::ZERO).map(drop));
        let time = right.and_then(|()| {
            rows.iter().map(|&r| softmax(&backend, r, false, Duration::from_millis(100))).sum::<Result<Duration>>()
        });
        match time {
            Ok(time) => {
                progress(&format!("reductions by {}: {:.3} ms", way.name(), 1e3 * time.as_secs_f64()));
                // What gains less than measuring varies gains nothing.
                if best.is_none_or(|b| time < b.1.mul_f64(0.97)) {
                    best = Some((way, time));
                }
            }
            Err(e) => progress(&format!("reductions by {} are left out: {e}", way.name())),
        }
    }
    Ok(best.map(|b| b.0))
}

/// Operand number `seed`: numbers in -1..1, with all the digits of `f32`, so that a product in less than its precision is found wrong, or so few that
/// all other types hold them exactly.
fn numbers(len: usize, seed: u32, dtype: DType) -> Vec<f32> {
    let bits = if dtype == DType::F32 { 24 } else { 8 };
    let word = |i: usize| ibex_core::random::threefry([5, seed], [i as u32, 0])[0] >> (32 - bits);
    (0..len).map(|i| word(i) as f32 / (1u32 << (bits - 1)) as f32 - 1.0).collect()
}

/// A program of one kernel that ran once: its inputs are the first buffers, its result is the last.
struct Ran<'a> {
    backend: &'a WgpuBackend,
    executable: Box<dyn Executable>,
    buffers: Vec<Arc<dyn Buffer>>,
    result: Vec<f32>,
}

impl<'a> Ran<'a> {
    /// Inputs of type `dtype`, and a result of so many `f32`.
    fn new(
        backend: &'a WgpuBackend,
        kind: KernelKind,
        dtype: DType,
        inputs: &[Vec<f32>],
        elements: usize,
    ) -> Result<Ran<'a>> {
        let (mut program, mut buffers) = (Program::default(), Vec::new());
        let sizes = inputs.iter().map(Vec::len).chain([elements]);
        for (i, len) in sizes.enumerate() {
            let (role, dtype) = if i < inputs.len() { (Role::Input(i), dtype) } else { (Role::Output(0), DType::F32) };
            program.buffers.push(BufferDecl { role, dtype, shape: Shape::from(&[len][..]) });
            let buffer = backend.allocate(dtype.size() * len)?;
            if let Some(values) = inputs.get(i) {
                let data = Data::from_f64(dtype, &values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
                backend.write(&buffer, data.as_bytes().len(), &mut |to| to.copy_from_slice(data.as_bytes()))?;
            }
            buffers.push(buffer);
        }
        program.kernels = vec![Kernel { kind, label: "tune".into(), flops: 0, bytes: 0 }];
        let executable = backend.load(Arc::new(program))?;
        executable.run(&buffers)?;
        let mut ran = Ran { backend, executable, buffers, result: Vec::new() };
        ran.result = ran.read(elements)?;
        Ok(ran)
    }

    fn read(&self, elements: usize) -> Result<Vec<f32>> {
        let Some(buffer) = self.buffers.last() else { return Ok(Vec::new()) };
        let bytes = block_on(self.backend.read(buffer, 0..4 * elements))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
    }

    /// The shortest time of a run, measured over about `budget`. Fails if the last run gives other numbers than the first: then threads race.
    fn time(&self, budget: Duration) -> Result<Duration> {
        let (started, mut best) = (Instant::now(), Duration::MAX);
        while started.elapsed() < budget {
            let start = Instant::now();
            self.executable.run(&self.buffers)?;
            self.executable.run(&self.buffers)?;
            block_on(self.backend.read(&self.buffers[0], 0..4))?;
            best = best.min(start.elapsed() / 2);
        }
        if best < Duration::MAX && self.read(self.result.len())? != self.result {
            return Err(Error::device("the same operands give other numbers from run to run"));
        }
        Ok(best)
    }

    /// Fails at the first element that is not near enough to the true one.
    fn check(&self, at: usize, want: f64, allowed: f64, what: &dyn Fn() -> String) -> Result<()> {
        match self.result.get(at) {
            Some(got) if (f64::from(*got) - want).abs() <= allowed => Ok(()),
            got => Err(Error::device(format!("element {at} of {} is {got:?}, not {want}", what()))),
        }
    }
}

/// Which elements of a result are compared with `f64`.
fn sample(len: usize, everywhere: bool) -> impl Iterator<Item = usize> {
    (0..len).step_by(if everywhere { 1 } else { (len / 61).max(1) | 1 })
}

/// The time of one product, measured over about `budget`, of operands of a type, which both may be stored transposed; its result is compared
/// with `f64`, everywhere or here and there.
pub(crate) fn product(
    backend: &WgpuBackend,
    e: Extent,
    (dtype, transposed): (DType, bool),
    everywhere: bool,
    budget: Duration,
) -> Result<Duration> {
    let Extent { z, m, n, k } = e;
    let operand = |buffer, rows: usize, columns: usize| {
        let (row_stride, col_stride) = if transposed { (1, rows) } else { (columns, 1) };
        Operand { buffer: BufferId(buffer), dtype, offset: 0, batch_stride: rows * columns, row_stride, col_stride }
    };
    let (left, right) = (operand(0, m, k), operand(1, k, n));
    let view = View::contiguous(&[z, m, n]);
    let store = Store { value: ValueId(0), buffer: BufferId(2), dtype: DType::F32, view };
    let epilogue = Body { instrs: vec![Instr::Acc], stores: vec![store], ..Body::default() };
    let kind = KernelKind::MatMul(MatMul { batch: z, m, n, k, a: left, b: right, epilogue });
    let values = [numbers(z * m * k, 0, dtype), numbers(z * k * n, 1, dtype)];
    let ran = Ran::new(backend, kind, dtype, &values, z * m * n)?;
    for at in sample(z * m * n, everywhere) {
        let (batch, row, column) = (at / (m * n), at / n % m, at % n);
        let term = |i: usize| {
            let a = batch * left.batch_stride + row * left.row_stride + i * left.col_stride;
            let b = batch * right.batch_stride + i * right.row_stride + column * right.col_stride;
            f64::from(values[0][a]) * f64::from(values[1][b])
        };
        let want: f64 = (0..k).map(term).sum();
        let allowed = 1e-5 * (k as f64).sqrt().max(1.0) * (1.0 + want.abs());
        ran.check(at, want, allowed, &|| format!("{dtype} {z} x {m} x {n} x {k}"))?;
    }
    ran.time(budget)
}

/// The time of softmax along rows, `[rows, columns]`, in the same way.
pub(crate) fn softmax(backend: &WgpuBackend, dims: [usize; 2], everywhere: bool, budget: Duration) -> Result<Duration> {
    let [rows, columns] = dims;
    let (value, view) = (ValueId, View::contiguous(&dims));
    let body = Body {
        loads: vec![Load { buffer: BufferId(0), dtype: DType::F32, view: view.clone() }],
        instrs: vec![
            Instr::Load(0),
            Instr::Reduce(Reduce::Max, value(0)),
            Instr::Binary(Binary::Sub, value(0), value(1)),
            Instr::Unary(Unary::Exp, value(2)),
            Instr::Reduce(Reduce::Sum, value(3)),
            Instr::Binary(Binary::Div, value(3), value(4)),
        ],
        stores: vec![Store { value: value(5), buffer: BufferId(1), dtype: DType::F32, view }],
        ..Body::default()
    };
    let values = [numbers(rows * columns, 2, DType::F32)];
    let kind = KernelKind::Loop(Loop { dims: dims.to_vec(), outer: 1, reduce: 1, body });
    let ran = Ran::new(backend, kind, DType::F32, &values, rows * columns)?;
    let sums: Vec<f64> = values[0].chunks(columns).map(|row| row.iter().map(|&v| f64::from(v).exp()).sum()).collect();
    for at in sample(rows * columns, everywhere) {
        let want = f64::from(values[0][at]).exp() / sums[at / columns];
        ran.check(at, want, 2e-5 * want, &|| format!("softmax of {rows} x {columns}"))?;
    }
    ran.time(budget)
}
