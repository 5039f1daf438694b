//! Pooling and its gradients, vectorised over channels.

use super::simd::simd;
use super::sink::{Floats, Sink, grain};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::threads::{parallel, threads};
use ibex_core::graph::PoolGeometry;
use ibex_core::program::{self, PoolPass};

/// Pooling or its gradient, prepared.
#[derive(Debug)]
pub(crate) struct Pool {
    pass: PoolPass,
    geometry: PoolGeometry,
    inputs: Vec<Floats>,
    /// True if the values pooled by `Max` are what is compared.
    plain: bool,
}

/// Windows side by side along the last axis that read the same places relative to their first.
struct Run<'a> {
    /// First window and their number.
    first: usize,
    count: usize,
    /// Image element of the first window's first place.
    base: usize,
    /// Elements between windows.
    step: usize,
    /// Elements from the first place of a window to each of its places, in row-major order.
    places: &'a [usize],
}

/// Channels in registers at a time.
const W: usize = 16;

/// True if `x` replaces `best` as the largest so far: it is greater, or the first NaN.
#[inline(always)]
fn beats(x: f32, best: f32) -> bool {
    // Two comparisons: "not at most" holds for a NaN as well.
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    let more = !(x <= best);
    more & !best.is_nan()
}

/// The larger of two numbers.
#[inline(always)]
fn larger(x: f32, best: f32) -> f32 {
    if x > best { x } else { best }
}

simd! {
    /// Largest of each window, or a NaN.
    pub(crate) fn max_run(out: &mut [f32], x: &[f32], base: usize, step: usize, places: &[usize], channels: usize) {
        // The usual window of four places in one pass over the channels.
        if let &[a, b, c, d] = places {
            for (i, out) in out.chunks_exact_mut(channels).enumerate() {
                let at = base + i * step;
                let [a, b, c, d] = [a, b, c, d].map(|p| &x[at + p..][..channels]);
                for ((((out, &a), &b), &c), &d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    // One look for NaN at all four.
                    let nan = (a.is_nan() | b.is_nan()) | (c.is_nan() | d.is_nan());
                    *out = if nan { f32::NAN } else { larger(larger(a, b), larger(c, d)) };
                }
            }
            return;
        }
        for (i, out) in out.chunks_exact_mut(channels).enumerate() {
            let at = base + i * step;
            let mut chunks = out.chunks_exact_mut(W);
            let mut first = at;
            for chunk in chunks.by_ref() {
                let mut best = [0f32; W];
                best.copy_from_slice(&x[first + places[0]..][..W]);
                for &p in &places[1..] {
                    let x = &x[first + p..][..W];
                    for c in 0..W {
                        best[c] = if beats(x[c], best[c]) { x[c] } else { best[c] };
                    }
                }
                chunk.copy_from_slice(&best);
                first += W;
            }
            for (c, o) in chunks.into_remainder().iter_mut().enumerate() {
                let mut best = x[first + c + places[0]];
                for &p in &places[1..] {
                    let x = x[first + c + p];
                    if beats(x, best) {
                        best = x;
                    }
                }
                *o = best;
            }
        }
    }
}

simd! {
    /// Other values where the largest of each window is.
    pub(crate) fn pick_run(
        out: &mut [f32], x: &[f32], values: &[f32], base: usize, step: usize, places: &[usize], channels: usize,
    ) {
        for (i, out) in out.chunks_exact_mut(channels).enumerate() {
            let at = base + i * step;
            for (c, o) in out.iter_mut().enumerate() {
                let mut best = x[at + c + places[0]];
                *o = values[at + c + places[0]];
                for &p in &places[1..] {
                    let v = x[at + c + p];
                    if beats(v, best) {
                        (best, *o) = (v, values[at + c + p]);
                    }
                }
            }
        }
    }
}

/// A window of four: the gradient `dy` goes to where the largest of the inputs `x` is, 0 to the others. All slices are of equal length.
#[inline(always)]
fn share(dx: [&mut [f32]; 4], x: [&[f32]; 4], dy: &[f32]) {
    let [da, db, dc, dd] = dx;
    let [a, b, c, d] = x;
    let inputs = a.iter().zip(b).zip(c).zip(d).zip(dy);
    let outputs = da.iter_mut().zip(db).zip(dc).zip(dd);
    for ((((da, db), dc), dd), ((((&a, &b), &c), &d), &dy)) in outputs.zip(inputs) {
        let beaten = beats(b, a);
        let best = if beaten { b } else { a };
        let (to_a, to_b) = if beaten { (0.0, dy) } else { (dy, 0.0) };
        let beaten = beats(c, best);
        let best = if beaten { c } else { best };
        let (to_a, to_b, to_c) = if beaten { (0.0, 0.0, dy) } else { (to_a, to_b, 0.0) };
        let beaten = beats(d, best);
        (*da, *db, *dc, *dd) = if beaten { (0.0, 0.0, 0.0, dy) } else { (to_a, to_b, to_c, 0.0) };
    }
}

simd! {
    /// Adds each window's gradient where the window's largest is; with `alone`, no two windows meet, and it is written. `dx` and `x` begin at
    /// the same element.
    pub(crate) fn max_grad_run(
        dx: &mut [f32], x: &[f32], dy: &[f32], base: usize, step: usize, places: &[usize], channels: usize, alone: bool,
    ) {
        if let (&[a, b, c, d], true) = (places, alone) {
            for (i, dy) in dy.chunks_exact(channels).enumerate() {
                let at = base + i * step;
                // Places ascend, a pixel or more apart.
                let (da, rest) = dx[at + a..].split_at_mut(b - a);
                let (db, rest) = rest.split_at_mut(c - b);
                let (dc, dd) = rest.split_at_mut(d - c);
                let dx = [da, db, dc, dd].map(|dx| &mut dx[..channels]);
                share(dx, [a, b, c, d].map(|p| &x[at + p..][..channels]), dy);
            }
            return;
        }
        // Plain loops over many channels: the compiler vectorises these, and not ones of a fixed short length.
        const BLOCK: usize = 256;
        let (mut best, mut place) = ([0f32; BLOCK], [0u32; BLOCK]);
        for (i, dy) in dy.chunks_exact(channels).enumerate() {
            for (block, dy) in dy.chunks(BLOCK).enumerate() {
                let (at, len) = (base + i * step + block * BLOCK, dy.len());
                let (best, place) = (&mut best[..len], &mut place[..len]);
                best.copy_from_slice(&x[at + places[0]..][..len]);
                place.fill(0);
                for (number, &p) in (0u32..).zip(places).skip(1) {
                    for ((best, place), &x) in best.iter_mut().zip(place.iter_mut()).zip(&x[at + p..][..len]) {
                        let better = beats(x, *best);
                        *best = if better { x } else { *best };
                        *place = if better { number } else { *place };
                    }
                }
                for (number, &p) in (0u32..).zip(places) {
                    let shares = place.iter().zip(dy).map(|(&place, &dy)| if place == number { dy } else { 0.0 });
                    let dx = dx[at + p..][..len].iter_mut().zip(shares);
                    if alone {
                        dx.for_each(|(dx, share)| *dx = share);
                    } else {
                        dx.for_each(|(dx, share)| *dx += share);
                    }
                }
            }
        }
    }
}

simd! {
    /// Sum of each window.
    pub(crate) fn sum_run(out: &mut [f32], x: &[f32], base: usize, step: usize, places: &[usize], channels: usize) {
        for (i, out) in out.chunks_exact_mut(channels).enumerate() {
            out.fill(0.0);
            for &p in places {
                for (o, x) in out.iter_mut().zip(&x[base + i * step + p..]) {
                    *o += x;
                }
            }
        }
    }
}

simd! {
    /// Adds each window's gradient to all its places.
    pub(crate) fn sum_grad_run(
        dx: &mut [f32], dy: &[f32], base: usize, step: usize, places: &[usize], channels: usize,
    ) {
        for (i, dy) in dy.chunks_exact(channels).enumerate() {
            for &p in places {
                for (o, y) in dx[base + i * step + p..].iter_mut().zip(dy) {
                    *o += y;
                }
            }
        }
    }
}

impl Pool {
    pub(crate) fn new(kernel: &program::Pool) -> Pool {
        let g = kernel.geometry;
        let lens = match kernel.pass {
            PoolPass::Max => vec![g.input_elements(); 2],
            PoolPass::MaxGrad => vec![g.input_elements(), g.output_elements()],
            PoolPass::Sum => vec![g.input_elements()],
            PoolPass::SumGrad => vec![g.output_elements()],
        };
        let plain = kernel.inputs.windows(2).all(|w| w[0] == w[1]);
        let used = if plain { 1 } else { lens.len() };
        let inputs = kernel.inputs.iter().zip(lens).take(used).map(|(i, len)| Floats::new(i.0, i.1, 0, len)).collect();
        Pool { pass: kernel.pass, geometry: g, inputs, plain }
    }

    pub(crate) fn run(&self, epilogue: &Epilogue, mem: &Memory) {
        let inputs: Vec<_> = self.inputs.iter().map(|i| i.get(mem)).collect();
        let Some(first) = inputs.first() else { return };
        let last = inputs.last().unwrap_or(first);
        let sink = Sink::new(epilogue, mem);
        match self.pass {
            PoolPass::Max | PoolPass::Sum => self.forward(first, last, &sink),
            PoolPass::MaxGrad | PoolPass::SumGrad => self.backward(first, last, &sink),
        }
    }

    /// The runs of windows of output row `row` (of `n * output[0] * output[1]`). Windows without any place are left out.
    fn runs(&self, row: usize, places: &mut Vec<usize>, mut f: impl FnMut(Run)) {
        let g = &self.geometry;
        let (y, z, n) = (row % g.output[1], row / g.output[1] % g.output[0], row / g.output[1] / g.output[0]);
        let range = |a: usize, o: usize| {
            let start = o * g.stride[a];
            let lo = start.max(g.pad[a]) - g.pad[a];
            lo..(start + g.window[a]).saturating_sub(g.pad[a]).min(g.input[a])
        };
        let (zs, ys) = (range(0, z), range(1, y));
        if zs.is_empty() || ys.is_empty() {
            return;
        }
        let whole = |o: usize| range(2, o).len() == g.window[2];
        let mut x = 0;
        while x < g.output[2] {
            let xs = range(2, x);
            let mut count = 1;
            if whole(x) {
                // Whole windows stand next to each other.
                while x + count < g.output[2] && whole(x + count) {
                    count += 1;
                }
            }
            if !xs.is_empty() {
                let at = |d: usize, h: usize, w: usize| {
                    (((n * g.input[0] + d) * g.input[1] + h) * g.input[2] + w) * g.channels
                };
                let base = at(zs.start, ys.start, xs.start);
                places.clear();
                for d in zs.clone() {
                    for h in ys.clone() {
                        places.extend(xs.clone().map(|w| at(d, h, w) - base));
                    }
                }
                f(Run { first: x, count, base, step: g.stride[2] * g.channels, places });
            }
            x += count;
        }
    }

    fn forward(&self, x: &[f32], values: &[f32], sink: &Sink) {
        let g = &self.geometry;
        let rows = g.n * g.output[0] * g.output[1];
        let row_len = g.output[2] * g.channels;
        if rows * row_len == 0 {
            return;
        }
        let each = grain(rows, row_len * g.window.iter().product::<usize>());
        let empty = if self.pass == PoolPass::Max && self.plain { f32::NEG_INFINITY } else { 0.0 };
        // True if every window has a place.
        let covers = (0..3).all(|a| {
            let last = (g.output[a] - 1) * g.stride[a];
            g.input[a] > 0 && g.pad[a] < g.window[a] && last < g.input[a] + g.pad[a]
        });
        parallel(rows.div_ceil(each), |task| {
            let first = task * each;
            let count = each.min(rows - first);
            let mut places = Vec::new();
            let compute = |acc: &mut [f32]| {
                if !covers {
                    acc.fill(empty);
                }
                for (i, line) in acc.chunks_exact_mut(row_len).enumerate() {
                    self.runs(first + i, &mut places, |run| {
                        let out = &mut line[run.first * g.channels..][..run.count * g.channels];
                        let Run { base, step, places, .. } = run;
                        match self.pass {
                            PoolPass::Max if self.plain => max_run(out, x, base, step, places, g.channels),
                            PoolPass::Max => pick_run(out, x, values, base, step, places, g.channels),
                            _ => sum_run(out, x, base, step, places, g.channels),
                        }
                    });
                }
            };
            // SAFETY: tasks have disjoint rows.
            unsafe { sink.flat(first * row_len, count * row_len, compute) };
        });
    }

    fn backward(&self, x: &[f32], dy: &[f32], sink: &Sink) {
        let g = &self.geometry;
        let row_len = g.input[2] * g.channels;
        let image = g.input[0] * g.input[1] * row_len;
        if g.n * image == 0 {
            return;
        }
        let alone = (0..3).all(|a| g.stride[a] >= g.window[a]);
        // True if every place is in a window.
        let covered =
            alone && (0..3).all(|a| g.stride[a] == g.window[a] && g.output[a] * g.stride[a] >= g.input[a] + g.pad[a]);
        let written = covered && self.pass == PoolPass::MaxGrad;
        // Images are split into strips of output rows only where no two windows share an input row.
        let apart = g.input[0] == 1 && g.output[0] == 1 && g.stride[1] >= g.window[1];
        let strips = if apart && g.n < threads() * 4 {
            (threads() * 4).div_ceil(g.n).min(g.output[1] * image / (1 << 12)).clamp(1, g.output[1].max(1))
        } else {
            1
        };
        let edge = |strip: usize| match strip {
            0 => 0,
            s if s == strips => g.input[1],
            s => (g.output[1] * s / strips * g.stride[1]).saturating_sub(g.pad[1]).min(g.input[1]),
        };
        let units = g.n * strips;
        let each = grain(units, image / strips * 4);
        parallel(units.div_ceil(each), |task| {
            let mut places = Vec::new();
            for unit in task * each..((task + 1) * each).min(units) {
                let (n, strip) = (unit / strips, unit % strips);
                let start = n * image + edge(strip) * row_len;
                let len = if strips == 1 { image } else { (edge(strip + 1) - edge(strip)) * row_len };
                let rows = if strips == 1 {
                    0..g.output[0] * g.output[1]
                } else {
                    g.output[1] * strip / strips..g.output[1] * (strip + 1) / strips
                };
                let compute = |dx: &mut [f32]| {
                    if !written {
                        dx.fill(0.0);
                    }
                    for row in rows.clone() {
                        let row = n * g.output[0] * g.output[1] + row;
                        self.runs(row, &mut places, |run| {
                            let window = row * g.output[2] + run.first;
                            let dy = &dy[window * g.channels..][..run.count * g.channels];
                            let (base, step) = (run.base - start, run.step);
                            if self.pass == PoolPass::MaxGrad {
                                max_grad_run(dx, &x[start..], dy, base, step, run.places, g.channels, alone);
                            } else {
                                sum_grad_run(dx, dy, base, step, run.places, g.channels);
                            }
                        });
                    }
                };
                // SAFETY: units are disjoint parts of the result.
                unsafe { sink.flat(start, len, compute) };
            }
        });
    }
}
