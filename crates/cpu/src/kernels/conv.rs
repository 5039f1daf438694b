//! Convolutions by implicit matrix product.

use super::gemm::{self, Ahead, Gathered, Rows, Tile};
use super::sink::{Floats, FloatsRef, Scratch, Shared, Sink, grain, with_local};
use super::windows::{Axis, Strip, Windows};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::threads::{parallel, threads};
use ibex_core::graph::ConvGeometry;
use ibex_core::program::{self, ConvPass};

/// Most floats of the result of a strip: they stay in the second-level cache.
const RESULTS: usize = 1 << 15;
/// The same where the kernel is so small that it costs nothing to read it again for each strip: results stay in the first-level cache until
/// the epilogue has finished them.
const FEW_RESULTS: usize = 1 << 12;
/// Pixels whose share of a kernel gradient is added at a time: their windows and a panel of their gradients stay in the first-level cache.
const PIXELS: usize = 128;
/// Most floats of a kernel gradient that one task accumulates.
const PARTIAL: usize = 1 << 16;

/// Fewest elements of a window with which memory is asked for ahead: shorter sums end before it comes.
const DEEP: usize = 64;

/// A convolution or one of its gradients, prepared.
#[derive(Debug)]
pub(crate) struct Conv {
    pass: ConvPass,
    geometry: ConvGeometry,
    lhs: Floats,
    rhs: Floats,
    /// One set of windows for each residue of the result's position modulo the stride (forward: just one).
    phases: Vec<Windows>,
    /// How many residues along each axis.
    residues: [usize; 3],
    /// Packed kernels, or partial kernel gradients.
    scratch: Scratch,
}

/// Splits of a kernel gradient.
struct Splits {
    /// How many partial sums.
    sums: usize,
    /// Rows of one task.
    rows: Vec<std::ops::Range<usize>>,
}

impl Conv {
    pub(crate) fn new(kernel: &program::Conv) -> Conv {
        let g = kernel.geometry;
        let (lhs, rhs) = match kernel.pass {
            ConvPass::Forward => (g.input_elements(), g.kernel_elements()),
            ConvPass::InputGrad => (g.output_elements(), g.kernel_elements()),
            ConvPass::KernelGrad => (g.input_elements(), g.output_elements()),
        };
        let residues: [usize; 3] = match kernel.pass {
            ConvPass::InputGrad => std::array::from_fn(|a| g.stride[a].min(g.input[a]).max(1)),
            _ => [1; 3],
        };
        let mut phases = Vec::new();
        for d in 0..residues[0] {
            for h in 0..residues[1] {
                for w in 0..residues[2] {
                    phases.push(windows(&g, kernel.pass, [d, h, w]));
                }
            }
        }
        let mut conv = Conv {
            pass: kernel.pass,
            geometry: g,
            lhs: Floats::new(kernel.lhs.0, kernel.lhs.1, 0, lhs),
            rhs: Floats::new(kernel.rhs.0, kernel.rhs.1, 0, rhs),
            phases,
            residues,
            scratch: Scratch::default(),
        };
        let scratch = match kernel.pass {
            ConvPass::KernelGrad => conv.splits().sums * g.kernel_elements(),
            _ => conv.phases.iter().map(|w| g.groups * conv.packed_len(w)).sum(),
        };
        conv.scratch = Scratch::new(scratch);
        conv
    }

    pub(crate) fn run(&self, epilogue: &Epilogue, mem: &Memory) {
        let (lhs, rhs) = (self.lhs.get(mem), self.rhs.get(mem));
        let sink = Sink::new(epilogue, mem);
        match self.pass {
            ConvPass::KernelGrad => self.kernel_grad(&lhs, &rhs, &sink),
            _ => self.image(&lhs, &rhs, &sink),
        }
    }

    /// Channels of the image that is read and of the result, of one group each.
    fn channels(&self) -> (usize, usize) {
        let g = &self.geometry;
        let cout = g.cout / g.groups.max(1);
        if self.pass == ConvPass::InputGrad { (cout, g.cin) } else { (g.cin, cout) }
    }

    fn packed_len(&self, windows: &Windows) -> usize {
        gemm::packed_len(gemm::isa(), windows.len, self.channels().1)
    }

    /// Packs the kernel of every phase and group, one after the other.
    fn pack_kernels(&self, kernel: &FloatsRef, out: &Shared<f32>) {
        let (g, isa) = (&self.geometry, gemm::isa());
        let (from, to) = self.channels();
        let panels = to.div_ceil(isa.cols);
        let mut units = Vec::new();
        let mut at = 0;
        for windows in &self.phases {
            for group in 0..g.groups {
                for ks in gemm::k_blocks(windows.len) {
                    for panel in 0..panels {
                        let len = ks.len() * isa.cols;
                        units.push((windows, group, ks.clone(), panel, at, len));
                        at += len;
                    }
                }
            }
        }
        let each = grain(units.len(), 4 * gemm::KC * isa.cols);
        parallel(units.len().div_ceil(each), |task| {
            for (windows, group, ks, panel, at, len) in units.iter().skip(task * each).take(each) {
                // SAFETY: every unit has a panel of its own.
                let out = unsafe { out.slice(*at, *len) };
                let tap = |k: usize| windows.taps[k / from] * g.cin * g.cout;
                if self.pass == ConvPass::Forward {
                    let row = |k: usize| tap(k) + k % from * g.cout + group * to;
                    gemm::pack_rhs(isa, kernel, row, 1, to, ks.clone(), *panel, out);
                } else {
                    let row = |k: usize| tap(k) + group * from + k % from;
                    gemm::pack_rhs(isa, kernel, row, g.cout, to, ks.clone(), *panel, out);
                }
            }
        });
    }

    /// Forward pass and input gradient: the rows are pixels of the result.
    fn image(&self, image: &FloatsRef, kernel: &FloatsRef, sink: &Sink) {
        let (g, isa) = (&self.geometry, gemm::isa());
        let (from, to) = self.channels();
        let (width, space) =
            if self.pass == ConvPass::Forward { (g.cout, g.output) } else { (g.groups * g.cin, g.input) };
        let pixels = g.n * space.iter().product::<usize>();
        if pixels * width == 0 {
            return;
        }
        let mut guard = self.scratch.get();
        let packed = Shared::new(&mut guard);
        self.pack_kernels(kernel, &packed);
        // SAFETY: packed above, and only read from here on.
        let packed: &[f32] = unsafe { packed.slice(0, packed.len()) };

        // Where the kernels of each phase begin.
        let mut starts = vec![0];
        for windows in &self.phases {
            starts.push(starts[starts.len() - 1] + g.groups * self.packed_len(windows));
        }
        // All groups of the pixels of a strip of one phase.
        let compute = |phase: usize, strip: &Strip, ask: &mut dyn FnMut(), tile: Tile| {
            let windows = &self.phases[phase];
            if windows.len == 0 {
                // SAFETY: the tile has all rows and groups.
                return unsafe { tile.nothing(strip.len(), width) };
            }
            let (before, len) = (starts[phase], self.packed_len(windows));
            windows.with(image, strip, |left| {
                windows.blocks(strip, |rows, parts| {
                    for group in 0..g.groups {
                        let rhs = &packed[before + group * len..][..len];
                        let left = Gathered { at: left.at.wrapping_add(group * from), ..left };
                        let tile = tile.part(0, group * to);
                        // SAFETY: `with` answers for what is read; the tile has all rows and groups.
                        unsafe { gemm::gathered(isa, left, rows, parts, rhs, to, tile, false, &mut *ask) };
                    }
                });
            });
        };

        if self.residues == [1; 3] {
            let windows = &self.phases[0];
            let (strips, deep) = (windows.strips(g.n), windows.len >= DEEP);
            let each = grain(strips, 2 * width * windows.len.max(1) * (pixels / strips));
            parallel(strips.div_ceil(each), |task| {
                let end = ((task + 1) * each).min(strips);
                for i in task * each..end {
                    let strip = windows.strip(i);
                    let (start, len) = (windows.first(&strip) * width, strip.len() * width);
                    let tiles = strip.len().div_ceil(isa.rows) * to.div_ceil(isa.cols) * g.groups;
                    let calls = (tiles * gemm::k_blocks(windows.len).count()).max(1);
                    let mut ahead =
                        if deep && i + 1 < end { windows.ahead(image, &windows.strip(i + 1)) } else { Ahead::none() };
                    ahead.over(calls);
                    let (mut asked, share) = (if deep { 0 } else { len }, len.div_ceil(calls).next_multiple_of(16));
                    let mut ask = || {
                        ahead.ask();
                        if asked < len {
                            sink.ask(start + asked, share.min(len - asked));
                            asked += share;
                        }
                    };
                    // What is added to again and again is best where it stays in cache.
                    let in_place = windows.len <= gemm::KC || len > RESULTS;
                    let compute = |tile: Tile| compute(0, &strip, &mut ask, tile);
                    // SAFETY: strips have disjoint pixels.
                    unsafe { sink.tile(start, strip.len(), width, width, in_place, compute) };
                }
            });
            return;
        }
        // Image rows: along one, the pixels of a phase are equally far apart.
        let (rows, [rd, rh, rw]) = (pixels / space[2], self.residues);
        let each = grain(rows, 2 * width * space[2] * self.phases[0].len.max(1));
        parallel(rows.div_ceil(each), |task| {
            for row in task * each..((task + 1) * each).min(rows) {
                let (h, rest) = (row % space[1], row / space[1]);
                let (d, n) = (rest % space[0], rest / space[0]);
                let compute = |tile: Tile| {
                    for w in 0..rw {
                        let phase = (d % rd * rh + h % rh) * rw + w;
                        for strip in self.phases[phase].row(n, d / rd, h / rh) {
                            let part = tile.part(w + strip.columns.start * rw, 0);
                            compute(phase, &strip, &mut || {}, Tile { ld: tile.ld * rw, ..part });
                        }
                    }
                };
                // SAFETY: tasks have disjoint image rows.
                unsafe { sink.tile(row * space[2] * width, space[2], width, width, true, compute) };
            }
        });
    }

    fn splits(&self) -> Splits {
        let g = &self.geometry;
        let (m, n) = (self.phases[0].len, self.channels().1);
        let pixels = g.n * g.output.iter().product::<usize>();
        let rows = gemm::isa().rows;
        let most = (PARTIAL / n.max(1) / rows).max(4) * rows;
        let rows: Vec<_> = gemm::split(0..m, most).collect();
        // A fixed number of partial sums, added in a fixed order: the result depends on nothing but the number of threads.
        let work = 2 * m * n * pixels / (1 << 18) + 1;
        let sums = (threads() * 2).div_ceil(rows.len().max(1)).min(self.phases[0].strips(g.n)).min(work).max(1);
        Splits { sums, rows }
    }

    /// Kernel gradient: the rows are window elements, the contraction runs over pixels and is split.
    fn kernel_grad(&self, image: &FloatsRef, grad: &FloatsRef, sink: &Sink) {
        let (g, isa) = (&self.geometry, gemm::isa());
        let (from, to) = self.channels();
        let total = g.kernel_elements();
        if total == 0 {
            return;
        }
        let windows = &self.phases[0];
        let Splits { sums, rows } = self.splits();
        let strips = windows.strips(g.n);
        let panels = to.div_ceil(isa.cols);
        let mut guard = self.scratch.get();
        let partial = Shared::new(&mut guard);
        parallel(sums * rows.len(), |task| {
            let (part, sum) = (&rows[task % rows.len()], task / rows.len());
            let tile = |group: usize| {
                let at = partial.at(sum * total + part.start * g.cout + group * to);
                Tile::new(at, g.cout)
            };
            let mine = strips * sum / sums..strips * (sum + 1) / sums;
            if mine.is_empty() {
                // SAFETY: the task's own rows of its partial sum.
                return unsafe { tile(0).nothing(part.len(), g.cout) };
            }
            with_local(PIXELS * panels * isa.cols, |rhs| {
                let mut add = false;
                for strip in mine.map(|i| windows.strip(i)) {
                    let first = windows.first(&strip);
                    windows.with(image, &strip, |left| {
                        for pixels in gemm::split(0..strip.len(), PIXELS) {
                            let k = pixels.len();
                            let all = 0..k;
                            for group in 0..g.groups {
                                for (p, out) in rhs.chunks_exact_mut(k * isa.cols).take(panels).enumerate() {
                                    let row = |k: usize| (first + pixels.start + k) * g.cout + group * to;
                                    gemm::pack_rhs(isa, grad, row, 1, to, 0..k, p, out);
                                }
                                let at = left.at.wrapping_add(group * from);
                                let (places, elements) = (&left.elements[part.clone()], &left.places[pixels.clone()]);
                                let left = Gathered { at, places, elements };
                                let (rows, tile) = (Rows::all(part.len()), tile(group));
                                // SAFETY: `with` answers for what is read; the task's own rows of its partial sum.
                                unsafe {
                                    let all = std::slice::from_ref(&all);
                                    gemm::gathered(isa, left, rows, all, rhs, to, tile, add, || {});
                                }
                            }
                            add = true;
                        }
                    });
                }
            });
        });
        combine(&partial, sums, total, sink);
    }
}

/// Adds partial results in order and finishes them.
pub(crate) fn combine(partial: &Shared<f32>, sums: usize, total: usize, sink: &Sink) {
    // SAFETY: complete, and only read from here on.
    let partial: &[f32] = unsafe { partial.slice(0, sums * total) };
    let each = grain(total, 2 * sums).next_multiple_of(16);
    parallel(total.div_ceil(each), |task| {
        let (start, len) = (task * each, each.min(total - task * each));
        let add = |acc: &mut [f32]| {
            acc.copy_from_slice(&partial[start..start + len]);
            for sum in 1..sums {
                for (a, p) in acc.iter_mut().zip(&partial[sum * total + start..][..len]) {
                    *a += p;
                }
            }
        };
        // SAFETY: tasks are disjoint.
        unsafe { sink.flat(start, len, add) };
    });
}

/// The windows of one phase: over the input for the forward pass and the kernel gradient, over the output gradient for the
/// input gradient.
fn windows(g: &ConvGeometry, pass: ConvPass, phase: [usize; 3]) -> Windows {
    // Windows of a strip: so many that the result stays in cache, few enough that all threads have some.
    let (pixels, width, window) = match pass {
        ConvPass::InputGrad => (g.input_elements() / (g.groups * g.cin).max(1), g.groups * g.cin, g.cout),
        _ => (g.output_elements() / g.cout.max(1), g.cout, g.groups * g.cin),
    };
    let flops = 2 * width * window * g.kernel.iter().product::<usize>();
    let fair = pixels.div_ceil(threads() * 4).max((1 << 17) / flops.max(1));
    let strided = pass == ConvPass::InputGrad && (0..3).any(|a| g.stride[a].min(g.input[a]) > 1);
    let results = if flops <= 2 * FEW_RESULTS { FEW_RESULTS } else { RESULTS };
    let most = fair.min(results / width.max(1)).max(4 * gemm::isa().rows);
    // Where results of several phases take turns, one row of the image is computed at a time.
    let most = if strided { most.min(g.input[2].div_ceil(g.stride[2].max(1))) } else { most };
    if pass != ConvPass::InputGrad {
        let axes = std::array::from_fn(|a| {
            (0..g.kernel[a]).map(|t| ((t * g.dilation[a]) as isize - g.pad[a] as isize, t)).collect::<Axis>()
        });
        return Windows::new(g.input, g.groups * g.cin, g.cin, g.output, g.stride, axes, g.kernel, most, width);
    }
    // Input position `p = grid*stride + phase` met output `(p + pad - t*dilation) / stride` where that is whole.
    let axes = std::array::from_fn(|a| {
        let s = g.stride[a].max(1) as isize;
        let whole = |t: usize| {
            let numerator = (phase[a] + g.pad[a]) as isize - (t * g.dilation[a]) as isize;
            (numerator.rem_euclid(s) == 0).then_some((numerator.div_euclid(s), t))
        };
        (0..g.kernel[a]).rev().filter_map(whole).collect::<Axis>()
    });
    let grid = std::array::from_fn(|a| g.input[a].saturating_sub(phase[a]).div_ceil(g.stride[a].max(1)));
    Windows::new(g.output, g.cout, g.cout / g.groups.max(1), grid, [1; 3], axes, g.kernel, most, g.cin)
}
