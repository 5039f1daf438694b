//! A backend that runs programs point by point, straight from the documented meaning of each kernel. It has no speed and no tricks: a
//! program that is wrong here is the compiler's fault, one that is wrong only elsewhere is that backend's.

mod body;
mod program;
mod scalar;
mod window;

pub use program::check_program;

use ibex_core::backend::{Backend, BoxFuture, Buffer, Caps, Counters, DeviceInfo, Executable, foreign_buffer};
use ibex_core::program::{BufferId, KernelKind, MatMul, Program, Role};
use ibex_core::{DType, Error, Result};
use std::any::Any;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What memory holds before anybody wrote it: a huge float and a wild index, so that reading it is noticed.
const GARBAGE: u8 = 0xFB;

/// The reference backend.
#[derive(Debug, Default)]
pub struct Reference {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    allocations: AtomicU64,
    runs: AtomicU64,
    kernels: AtomicU64,
    reads: AtomicU64,
}

#[derive(Debug)]
struct HostBuffer(Mutex<Vec<u8>>);

impl HostBuffer {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Buffer for HostBuffer {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn bytes(&self) -> usize {
        self.with(|bytes| bytes.len())
    }
}

fn host(buffer: &Arc<dyn Buffer>) -> Result<&HostBuffer> {
    buffer.as_any().downcast_ref().ok_or_else(foreign_buffer)
}

fn too_small(bytes: usize, buffer: &Arc<dyn Buffer>) -> Error {
    Error::value(format!("a buffer of {} bytes is too small for {bytes}", buffer.bytes()))
}

impl Backend for Reference {
    fn info(&self) -> DeviceInfo {
        DeviceInfo { id: "reference".into(), name: "reference".into(), details: "point by point in f64".into() }
    }

    fn caps(&self) -> Caps {
        Caps {
            max_bindings: 8,
            max_epilogue_bindings: 8,
            max_buffer_bytes: 1 << 30,
            split_elements: usize::MAX,
            split_outputs: usize::MAX,
            bounded_stores: true,
            fuse: true,
        }
    }

    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Buffer>> {
        self.counts.allocations.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(HostBuffer(Mutex::new(vec![GARBAGE; bytes]))))
    }

    fn write(&self, buffer: &Arc<dyn Buffer>, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        host(buffer)?.with(|all| all.get_mut(..bytes).map(fill)).ok_or_else(|| too_small(bytes, buffer))
    }

    fn read(&self, buffer: &Arc<dyn Buffer>, range: Range<usize>) -> BoxFuture<'static, Result<Vec<u8>>> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        let end = range.end;
        let bytes = host(buffer)
            .and_then(|b| b.with(|all| all.get(range).map(<[u8]>::to_vec)).ok_or_else(|| too_small(end, buffer)));
        Box::pin(std::future::ready(bytes))
    }

    fn copy(&self, from: &Arc<dyn Buffer>, to: &Arc<dyn Buffer>, bytes: usize) -> Result<()> {
        let data = host(from)?.with(|all| all.get(..bytes).map(<[u8]>::to_vec));
        let data = data.ok_or_else(|| too_small(bytes, from))?;
        self.write(to, bytes, &mut |out| out.copy_from_slice(&data))
    }

    fn load(&self, program: Arc<Program>) -> Result<Box<dyn Executable>> {
        check_program(&program)?;
        Ok(Box::new(Loaded { program, counts: self.counts.clone() }))
    }

    fn counters(&self) -> Counters {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counters {
            allocations: get(&self.counts.allocations),
            submissions: get(&self.counts.runs),
            dispatches: get(&self.counts.kernels),
            reads: get(&self.counts.reads),
        }
    }

    fn reads_are_free(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Loaded {
    program: Arc<Program>,
    counts: Arc<Counts>,
}

impl Executable for Loaded {
    fn run(&self, externals: &[Arc<dyn Buffer>]) -> Result<()> {
        let program = &*self.program;
        let outside: Vec<BufferId> = program.externals().collect();
        let mut memory = Memory::new(program);
        for (&id, buffer) in outside.iter().zip(externals) {
            let bytes = program[id].bytes();
            let data = host(buffer)?.with(|all| all.get(..bytes).map(<[u8]>::to_vec));
            *memory.bytes_mut(id) = data.ok_or_else(|| too_small(bytes, buffer))?;
        }
        for kernel in &program.kernels {
            let context = |e: Error| e.context(format!("kernel {}", kernel.label));
            memory.run(&kernel.kind).map_err(context)?;
        }
        for (&id, buffer) in outside.iter().zip(externals) {
            if matches!(program[id].role, Role::Output(_) | Role::Variable(_)) {
                let data = memory.bytes_mut(id);
                host(buffer)?.with(|all| all[..data.len()].copy_from_slice(data));
            }
        }
        self.counts.runs.fetch_add(1, Ordering::Relaxed);
        self.counts.kernels.fetch_add(program.kernels.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn profile(&self, externals: &[Arc<dyn Buffer>]) -> Result<Option<Vec<Duration>>> {
        self.run(externals).map(|()| None)
    }
}

/// All memory of one run: scratch slots first, then what is bound from outside.
struct Memory<'a> {
    program: &'a Program,
    places: Vec<usize>,
    memory: Vec<Vec<u8>>,
}

impl<'a> Memory<'a> {
    fn new(program: &'a Program) -> Memory<'a> {
        let mut memory: Vec<Vec<u8>> = program.slots.iter().map(|&bytes| vec![GARBAGE; bytes]).collect();
        let mut places = Vec::new();
        for decl in &program.buffers {
            places.push(match decl.role {
                Role::Temp(slot) => slot,
                _ => {
                    memory.push(vec![]);
                    memory.len() - 1
                }
            });
        }
        Memory { program, places, memory }
    }

    fn bytes_mut(&mut self, id: BufferId) -> &mut Vec<u8> {
        &mut self.memory[self.places[id.0]]
    }

    /// All elements of a buffer.
    fn read(&self, id: BufferId) -> Vec<f64> {
        let decl = &self.program[id];
        let bytes = &self.memory[self.places[id.0]][..decl.bytes()];
        ibex_core::Data::from_bytes(decl.dtype, bytes).map(|data| data.to_f64()).unwrap_or_default()
    }

    fn write(&mut self, id: BufferId, values: &[f64]) {
        let data = ibex_core::Data::from_f64(self.program[id].dtype, values);
        self.bytes_mut(id)[..data.as_bytes().len()].copy_from_slice(data.as_bytes());
    }

    fn run(&mut self, kind: &KernelKind) -> Result<()> {
        match kind {
            KernelKind::Loop(k) => body::run(self, &k.body, &k.dims, k.outer..k.outer + k.reduce, &[]),
            KernelKind::MatMul(k) => {
                let acc = matmul(k, &self.read(k.a.buffer), &self.read(k.b.buffer))?;
                body::run(self, &k.epilogue, &[k.batch, k.m, k.n], 0..0, &acc)
            }
            KernelKind::Conv(k) => {
                let acc = window::conv(k, &self.read(k.lhs.0), &self.read(k.rhs.0));
                body::run(self, &k.epilogue, &k.dims(), 0..0, &acc)
            }
            KernelKind::Pool(k) => {
                let inputs: Vec<Vec<f64>> = k.inputs.iter().map(|i| self.read(i.0)).collect();
                body::run(self, &k.epilogue, &k.dims(), 0..0, &window::pool(k, &inputs))
            }
            KernelKind::Gather(k) => {
                let (table, index) = (self.read(k.table), self.read(k.index));
                let missing = if k.dtype.is_float() { f64::NAN } else { 0.0 };
                let row = |&i: &f64| match (0.0..k.rows as f64).contains(&i) {
                    true => table[i as usize * k.width..][..k.width].to_vec(),
                    false => vec![missing; k.width],
                };
                let out: Vec<f64> = index[..k.count].iter().flat_map(row).collect();
                self.write(k.out, &out);
                Ok(())
            }
            KernelKind::ScatterAdd(k) => {
                if !matches!(k.dtype, DType::F32 | DType::I32 | DType::U32) {
                    return Err(Error::unsupported(format!("scatter_add of {}", k.dtype)));
                }
                let (index, source) = (self.read(k.index), self.read(k.source));
                let mut out = vec![0.0; k.rows * k.width];
                for (i, &row) in index[..k.count].iter().enumerate() {
                    if (0.0..k.rows as f64).contains(&row) {
                        for w in 0..k.width {
                            let slot = &mut out[row as usize * k.width + w];
                            *slot = scalar::sum(k.dtype, *slot, source[i * k.width + w]);
                        }
                    }
                }
                self.write(k.out, &out);
                Ok(())
            }
            KernelKind::Lstm(k) => {
                let [z, w, h0, c0] = [k.z, k.recurrent, k.h0, k.c0].map(|b| self.read(b));
                self.write(k.out, &window::lstm([k.n, k.steps, k.units], &z, &w, &h0, &c0));
                Ok(())
            }
            KernelKind::LstmGrad(k) => {
                let [y, w, c0] = [k.forward, k.recurrent, k.c0].map(|b| self.read(b));
                let [dh, dc] = [k.dh, k.dc].map(|b| b.map(|b| self.read(b)));
                self.write(
                    k.out,
                    &window::lstm_grad([k.n, k.steps, k.units], &y, &w, &c0, dh.as_deref(), dc.as_deref()),
                );
                Ok(())
            }
            KernelKind::Copy { from, to } => {
                let bytes = self.program[*to].bytes();
                let data = self.memory[self.places[from.0]][..bytes].to_vec();
                self.bytes_mut(*to)[..bytes].copy_from_slice(&data);
                Ok(())
            }
        }
    }
}

fn matmul(k: &MatMul, a: &[f64], b: &[f64]) -> Result<Vec<f64>> {
    let past = || Error::device("a matrix operand reaches past its buffer");
    let mut out = Vec::with_capacity(k.batch * k.m * k.n);
    for batch in 0..k.batch {
        for m in 0..k.m {
            for n in 0..k.n {
                let mut sum = 0.0;
                for i in 0..k.k {
                    let left = k.a.offset + batch * k.a.batch_stride + m * k.a.row_stride + i * k.a.col_stride;
                    let right = k.b.offset + batch * k.b.batch_stride + i * k.b.row_stride + n * k.b.col_stride;
                    sum += a.get(left).ok_or_else(past)? * b.get(right).ok_or_else(past)?;
                }
                out.push(sum);
            }
        }
    }
    Ok(out)
}
