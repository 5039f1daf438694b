//! The input gradient of a convolution with few input channels: one product gives the share of each output pixel in its whole
//! window, and windows are added up. The implicit product of [`conv`](super::conv) would fill a few lanes of a vector only.

use super::gemm::{self, Matrix, Packed, Tile};
use super::sink::{Floats, Scratch, Sink};
use crate::epilogue::Epilogue;
use crate::memory::Memory;
use crate::threads::parallel;
use ibex_core::graph::ConvGeometry;
use ibex_core::program::{self, ConvPass};

/// Output pixels whose windows are computed at once.
const ROWS: usize = 56;

/// An input gradient, prepared.
#[derive(Debug)]
pub(crate) struct Col2im {
    geometry: ConvGeometry,
    grad: Floats,
    kernel: Floats,
    packed: Scratch,
}

/// True for input gradients of one group with at most four channels.
pub(crate) fn fits(kernel: &program::Conv) -> bool {
    let g = &kernel.geometry;
    kernel.pass == ConvPass::InputGrad && g.groups == 1 && (1..=4).contains(&g.cin) && g.cout > 0
}

impl Col2im {
    pub(crate) fn new(kernel: &program::Conv) -> Col2im {
        let g = kernel.geometry;
        let window = g.kernel.iter().product::<usize>() * g.cin;
        Col2im {
            geometry: g,
            grad: Floats::new(kernel.lhs.0, kernel.lhs.1, 0, g.output_elements()),
            kernel: Floats::new(kernel.rhs.0, kernel.rhs.1, 0, g.kernel_elements()),
            packed: Scratch::new(gemm::packed_len(gemm::isa(), g.cout, window)),
        }
    }

    pub(crate) fn run(&self, epilogue: &Epilogue, mem: &Memory) {
        let (g, isa) = (&self.geometry, gemm::isa());
        let (grad, kernel) = (self.grad.get(mem), self.kernel.get(mem));
        let sink = Sink::new(epilogue, mem);
        let window = g.kernel.iter().product::<usize>() * g.cin;
        let image = g.input.iter().product::<usize>() * g.cin;
        let pixels = g.output.iter().product::<usize>();
        if g.n * image == 0 {
            return;
        }
        let mut guard = self.packed.get();
        // The transpose of the kernel.
        Matrix { data: &kernel, row_stride: 1, col_stride: g.cout }.pack(isa, g.cout, window, &mut guard);
        let packed: &[f32] = &guard;
        parallel(g.n, |n| {
            let mut shares = vec![0f32; ROWS * window];
            let compute = |dx: &mut [f32]| {
                dx.fill(0.0);
                let mut rhs = Packed { data: packed, n: window };
                let lhs = Matrix { data: &grad[n * pixels * g.cout..], row_stride: g.cout, col_stride: 1 };
                for rows in gemm::split(0..pixels, ROWS) {
                    let tile = Tile::new(shares.as_mut_ptr(), window);
                    // SAFETY: `shares` has these rows.
                    unsafe { gemm::block(isa, &lhs, rows.clone(), 0..0, &mut rhs, g.cout, window, tile) };
                    for (pixel, share) in rows.zip(shares.chunks_exact(window)) {
                        self.add(pixel, share, dx);
                    }
                }
            };
            // SAFETY: tasks have disjoint images.
            unsafe { sink.flat(n * image, image, compute) };
        });
    }

    /// Adds the share of an output pixel to its window in the image.
    #[inline]
    fn add(&self, pixel: usize, share: &[f32], dx: &mut [f32]) {
        let g = &self.geometry;
        let o = [pixel / (g.output[1] * g.output[2]), pixel / g.output[2] % g.output[1], pixel % g.output[2]];
        let at = |a: usize, t: usize| {
            (o[a] * g.stride[a] + t * g.dilation[a]).checked_sub(g.pad[a]).filter(|&p| p < g.input[a])
        };
        // Elements along the last axis lie side by side unless the kernel is dilated.
        let whole = g.dilation[2] == 1 && at(2, 0).is_some() && at(2, g.kernel[2] - 1).is_some();
        let (taps, len) = if whole { (1, g.kernel[2] * g.cin) } else { (g.kernel[2], g.cin) };
        let mut lines = share.chunks_exact(len);
        for d in 0..g.kernel[0] {
            for h in 0..g.kernel[1] {
                for w in 0..taps {
                    let Some(line) = lines.next() else { return };
                    if let (Some(d), Some(h), Some(w)) = (at(0, d), at(1, h), at(2, w)) {
                        let start = ((d * g.input[1] + h) * g.input[2] + w) * g.cin;
                        for (x, s) in dx[start..start + len].iter_mut().zip(line) {
                            *x += s;
                        }
                    }
                }
            }
        }
    }
}
