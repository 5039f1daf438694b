//! Depthwise convolutions: every channel alone, so vectors run over channels and nothing is packed.

use super::conv::combine;
use super::simd::simd;
use super::sink::{Floats, Scratch, Shared, Sink, grain};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::threads::{parallel, threads};
use ibex_core::graph::ConvGeometry;
use ibex_core::program::{self, ConvPass};

/// Channels in registers at a time.
const W: usize = 32;

/// True if every group has one input and one output channel, and there are enough of them.
pub(crate) fn fits(g: &ConvGeometry) -> bool {
    g.cin == 1 && g.cout == g.groups && g.groups > 1
}

/// A depthwise convolution or one of its gradients, prepared.
#[derive(Debug)]
pub(crate) struct Depthwise {
    pass: ConvPass,
    geometry: ConvGeometry,
    lhs: Floats,
    rhs: Floats,
    sums: usize,
    scratch: Scratch,
}

simd! {
    /// `acc[p*channels + c] += sum over terms (i, j) of a[i + p*step + c] * b[j + c]`.
    pub(crate) fn accumulate(
        acc: &mut [f32], channels: usize, a: &[f32], step: usize, b: &[f32], terms: &[(usize, usize)],
    ) {
        for (p, acc) in acc.chunks_exact_mut(channels).enumerate() {
            let (chunks, rest) = acc.as_chunks_mut::<W>();
            let mut first = 0;
            for out in chunks {
                let mut sum = *out;
                for &(i, j) in terms {
                    let (x, y) = (&a[i + p * step + first..][..W], &b[j + first..][..W]);
                    for c in 0..W {
                        sum[c] += x[c] * y[c];
                    }
                }
                *out = sum;
                first += W;
            }
            for &(i, j) in terms {
                for ((o, x), y) in rest.iter_mut().zip(&a[i + p * step + first..]).zip(&b[j + first..]) {
                    *o += x * y;
                }
            }
        }
    }
}

impl Depthwise {
    pub(crate) fn new(kernel: &program::Conv) -> Depthwise {
        let g = kernel.geometry;
        let (lhs, rhs) = match kernel.pass {
            ConvPass::Forward => (g.input_elements(), g.kernel_elements()),
            ConvPass::InputGrad => (g.output_elements(), g.kernel_elements()),
            ConvPass::KernelGrad => (g.input_elements(), g.output_elements()),
        };
        let rows = g.n * g.output[0] * g.output[1];
        let sums = if kernel.pass == ConvPass::KernelGrad { (threads() * 2).min(rows).max(1) } else { 0 };
        Depthwise {
            pass: kernel.pass,
            geometry: g,
            lhs: Floats::new(kernel.lhs.0, kernel.lhs.1, 0, lhs),
            rhs: Floats::new(kernel.rhs.0, kernel.rhs.1, 0, rhs),
            sums,
            scratch: Scratch::new(sums * g.kernel_elements()),
        }
    }

    pub(crate) fn run(&self, epilogue: &Epilogue, mem: &Memory) {
        let (lhs, rhs) = (self.lhs.get(mem), self.rhs.get(mem));
        let sink = Sink::new(epilogue, mem);
        if self.pass == ConvPass::KernelGrad {
            self.kernel_grad(&lhs, &rhs, &sink);
        } else {
            self.image(&lhs, &rhs, &sink);
        }
    }

    /// Where along axis `a` the result's position `p` meets the other image through kernel element `t`.
    fn meet(&self, a: usize, p: usize, t: usize) -> Option<usize> {
        let g = &self.geometry;
        if self.pass == ConvPass::InputGrad {
            let o = (p + g.pad[a]).checked_sub(t * g.dilation[a])?;
            (o % g.stride[a] == 0 && o / g.stride[a] < g.output[a]).then(|| o / g.stride[a])
        } else {
            let i = (p * g.stride[a] + t * g.dilation[a]).checked_sub(g.pad[a])?;
            (i < g.input[a]).then_some(i)
        }
    }

    /// How far the other image's position moves with the result's, where that is the same everywhere.
    fn pace(&self) -> usize {
        if self.pass == ConvPass::InputGrad { 1 } else { self.geometry.stride[2] }
    }

    /// How many positions from `x` on meet all kernel elements along the last axis; 1 if `x` itself does not.
    fn run_length(&self, x: usize, end: usize) -> usize {
        let g = &self.geometry;
        if self.pass == ConvPass::InputGrad && g.stride[2] != 1 || g.kernel[2] == 0 {
            return 1;
        }
        let whole = |x: &usize| self.meet(2, *x, 0).is_some() && self.meet(2, *x, g.kernel[2] - 1).is_some();
        (x..end).take_while(whole).count().max(1)
    }

    fn image(&self, image: &[f32], kernel: &[f32], sink: &Sink) {
        let g = &self.geometry;
        let (to, from) = if self.pass == ConvPass::Forward { (g.output, g.input) } else { (g.input, g.output) };
        let (rows, channels) = (g.n * to[0] * to[1], g.cout);
        let row_len = to[2] * channels;
        if rows * row_len == 0 {
            return;
        }
        let each = grain(rows, 2 * row_len * g.kernel.iter().product::<usize>());
        parallel(rows.div_ceil(each), |task| {
            let mut terms = Vec::new();
            let first = task * each;
            let count = each.min(rows - first);
            let compute = |acc: &mut [f32]| {
                acc.fill(0.0);
                for (i, line) in acc.chunks_exact_mut(row_len).enumerate() {
                    let row = first + i;
                    let (y, z, n) = (row % to[1], row / to[1] % to[0], row / to[1] / to[0]);
                    let mut x = 0;
                    while x < to[2] {
                        let run = self.run_length(x, to[2]);
                        let out = &mut line[x * channels..(x + run) * channels];
                        terms.clear();
                        for kd in 0..g.kernel[0] {
                            let Some(d) = self.meet(0, z, kd) else { continue };
                            for kh in 0..g.kernel[1] {
                                let Some(h) = self.meet(1, y, kh) else { continue };
                                let start = ((n * from[0] + d) * from[1] + h) * from[2];
                                let tap = (kd * g.kernel[1] + kh) * g.kernel[2];
                                terms.extend((0..g.kernel[2]).filter_map(|kw| {
                                    let w = self.meet(2, x, kw)?;
                                    Some(((start + w) * channels, (tap + kw) * channels))
                                }));
                            }
                        }
                        accumulate(out, channels, image, self.pace() * channels, kernel, &terms);
                        x += run;
                    }
                }
            };
            // SAFETY: tasks have disjoint rows.
            unsafe { sink.flat(first * row_len, count * row_len, compute) };
        });
    }

    fn kernel_grad(&self, image: &[f32], grad: &[f32], sink: &Sink) {
        let g = &self.geometry;
        let (channels, total, sums) = (g.cout, g.kernel_elements(), self.sums);
        if total == 0 {
            return;
        }
        let rows = g.n * g.output[0] * g.output[1];
        let mut guard = self.scratch.get();
        let partial = Shared::new(&mut guard);
        parallel(sums, |sum| {
            // SAFETY: every task has its own partial sum.
            let acc = unsafe { partial.slice(sum * total, total) };
            acc.fill(0.0);
            let mut terms = Vec::new();
            for row in rows * sum / sums..rows * (sum + 1) / sums {
                let (y, z, n) = (row % g.output[1], row / g.output[1] % g.output[0], row / g.output[1] / g.output[0]);
                for (tap, out) in acc.chunks_exact_mut(channels).enumerate() {
                    let (kw, rest) = (tap % g.kernel[2], tap / g.kernel[2]);
                    let (kh, kd) = (rest % g.kernel[1], rest / g.kernel[1]);
                    let (Some(d), Some(h)) = (self.meet(0, z, kd), self.meet(1, y, kh)) else { continue };
                    let start = ((n * g.input[0] + d) * g.input[1] + h) * g.input[2];
                    terms.clear();
                    terms.extend((0..g.output[2]).filter_map(|x| {
                        let w = self.meet(2, x, kw)?;
                        Some(((start + w) * channels, (row * g.output[2] + x) * channels))
                    }));
                    accumulate(out, channels, image, 0, grad, &terms);
                }
            }
        });
        combine(&partial, sums, total, sink);
    }
}
