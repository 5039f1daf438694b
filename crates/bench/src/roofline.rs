//! What the device can do at best: its measured roofline.

use crate::measure::{Samples, Timing, sample};
use crate::report::Measurement;
use ibex::core::graph::Binary;
use ibex::core::program::{
    Body, BufferDecl, BufferId, Instr, Kernel, KernelKind, Load, Loop, Program, Role, Store, ValueId, View,
};
use ibex::core::{Data, Scalar};
use ibex::{DType, Device, Error, Function, Result, Shape, Tensor};
use std::sync::Arc;

/// Bytes moved by the copies that are measured. Caches make small ones faster.
const STREAMS: [usize; 8] = [1 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20, 64 << 20, 128 << 20, 256 << 20];

/// The best rates of a device: the roof over every row.
#[derive(Clone, Debug)]
pub struct Ceiling {
    /// Floating-point operations per second.
    flops: f64,
    /// Bytes moved, and the rate at which the best kernel moved them, in bytes per second.
    streams: Vec<(f64, f64)>,
}

impl Ceiling {
    /// Measures multiply-adds that wait for nothing, and copies and sums of many sizes: the ceiling, and a row for each.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn measure(device: &Device, timing: Timing) -> Result<(Ceiling, Vec<Measurement>)> {
        let timing = timing.ceiling();
        let mut list = Vec::new();
        let (flops, samples) = multiply_adds(device, timing)?;
        list.push(Measurement::new("ceiling_multiply_add", &samples, flops, 0.0));
        let mut ceiling = Ceiling { flops: flops / samples.least(), streams: Vec::new() };
        for bytes in STREAMS {
            let samples = stream(device, timing, bytes)?;
            list.push(Measurement::new(format!("ceiling_stream_{}MB", bytes >> 20), &samples, 0.0, bytes as f64));
            ceiling.streams.push((bytes as f64, bytes as f64 / samples.least()));
        }
        Ok((ceiling, list))
    }

    /// The seconds in which this device could do so many operations while it moves so many bytes. Traffic of a size between two that were
    /// measured gets the rate of the smaller one, which is the higher: less traffic is never slower than more.
    pub fn seconds(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops).max(bytes / self.rate(bytes))
    }

    fn rate(&self, bytes: f64) -> f64 {
        let from = self.streams.iter().rposition(|(size, _)| *size <= bytes).unwrap_or(0);
        self.streams[from..].iter().map(|(_, rate)| *rate).fold(0.0, f64::max)
    }
}

/// The best of a copy, an elementwise kernel and a sum that move so many bytes.
fn stream(device: &Device, timing: Timing, bytes: usize) -> Result<Samples> {
    type Stream = fn(&Tensor) -> Tensor;
    let kernels: [(usize, Stream); 3] = [(bytes / 8, |x| x.clone()), (bytes / 8, |x| -x), (bytes / 4, |x| x.sum(&[]))];
    let largest = device.backend().caps().max_buffer_bytes;
    let mut best: Option<Samples> = None;
    for (elements, f) in kernels.into_iter().filter(|(elements, _)| 4 * *elements as u64 <= largest) {
        let x = device.eval(&[Tensor::rand([elements], 1)])?.remove(0);
        let function = Function::new(device, move |[x]| f(&x));
        let samples = sample(device, timing, || function.call(&[&x]).map(drop))?;
        best = best.filter(|best| best.least() <= samples.least()).or(Some(samples));
    }
    best.ok_or_else(|| Error::unsupported(format!("buffers of {largest} bytes are too small to measure memory with")))
}

/// Operations of one call, and its times.
fn multiply_adds(device: &Device, timing: Timing) -> Result<(f64, Samples)> {
    if device.info().id == "cpu" {
        const ROUNDS: usize = 1 << 18;
        let samples = sample(device, timing, || {
            ibex_cpu::multiply_adds(ROUNDS);
            Ok(())
        })?;
        return Ok((ibex_cpu::multiply_adds(ROUNDS), samples));
    }
    // As many points as keep the device busy for some milliseconds.
    let mut points = 1 << 16;
    loop {
        let (program, flops) = chains(points);
        let backend = device.backend();
        let executable = backend.load(Arc::new(program))?;
        let buffers = [backend.allocate(4 * points)?, backend.allocate(4 * points)?];
        let numbers = Data::F32(vec![0.5; points]);
        backend.write(&buffers[0], 4 * points, &mut |out| out.copy_from_slice(numbers.as_bytes()))?;
        let mut run = || executable.run(&buffers);
        let once = sample(device, Timing::QUICK, &mut run)?;
        if once.least() > 4e-3 || points >= 1 << 24 {
            return Ok((flops, sample(device, timing, run)?));
        }
        points *= 4;
    }
}

/// A program that a compiler can neither shorten nor slow down by waiting: at every point some independent chains of dependent
/// multiply-adds, summed in the end. Written by hand, since fusion would cut an expression of this length.
fn chains(points: usize) -> (Program, f64) {
    const CHAINS: usize = 8;
    const LENGTH: usize = 64;
    let mut instrs = vec![Instr::Load(0)];
    let add = |instrs: &mut Vec<Instr>, instr: Instr| {
        instrs.push(instr);
        ValueId(instrs.len() - 1)
    };
    let mut sum = None;
    for chain in 0..CHAINS {
        let factor = add(&mut instrs, Instr::Const(Scalar::Float(0.999 - chain as f32 * 0.01)));
        let term = add(&mut instrs, Instr::Const(Scalar::Float(0.1 + chain as f32 * 0.01)));
        let mut x = ValueId(0);
        for _ in 0..LENGTH {
            let product = add(&mut instrs, Instr::Binary(Binary::Mul, x, factor));
            x = add(&mut instrs, Instr::Binary(Binary::Add, product, term));
        }
        sum = Some(match sum {
            Some(sum) => add(&mut instrs, Instr::Binary(Binary::Add, sum, x)),
            None => x,
        });
    }
    let view = View::contiguous(&[points]);
    let body = Body {
        loads: vec![Load { buffer: BufferId(0), dtype: DType::F32, view: view.clone() }],
        iotas: vec![],
        instrs,
        stores: vec![Store { value: sum.unwrap_or(ValueId(0)), buffer: BufferId(1), dtype: DType::F32, view }],
    };
    let decl = |role| BufferDecl { role, dtype: DType::F32, shape: Shape::from([points]) };
    let flops = 2 * CHAINS * LENGTH * points;
    let kind = KernelKind::Loop(Loop { dims: vec![points], outer: 1, reduce: 0, body });
    let kernel = Kernel { kind, label: "multiply-adds".into(), flops: flops as u64, bytes: 8 * points as u64 };
    let buffers = vec![decl(Role::Input(0)), decl(Role::Output(0))];
    (Program { buffers, kernels: vec![kernel], ..Program::default() }, flops as f64)
}

#[cfg(test)]
mod tests {
    use super::Ceiling;

    #[test]
    fn the_slower_of_arithmetic_and_traffic() {
        let ceiling = Ceiling { flops: 100.0, streams: vec![(10.0, 20.0), (1000.0, 5.0)] };
        assert_eq!(ceiling.seconds(200.0, 10.0), 2.0);
        // Small traffic at the rate of the smallest copy, larger at that of the next smaller.
        assert_eq!((ceiling.seconds(0.0, 1.0), ceiling.seconds(0.0, 999.0)), (0.05, 999.0 / 20.0));
        assert_eq!(ceiling.seconds(0.0, 1000.0), 200.0);
        let noisy = Ceiling { flops: 1.0, streams: vec![(10.0, 4.0), (1000.0, 5.0)] };
        assert_eq!(noisy.seconds(0.0, 10.0), 2.0);
    }
}
