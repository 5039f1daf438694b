//! Convolution and pooling, channels last. Names as elsewhere: `height x width x channels _ output channels`, `s` for same padding.

use super::{at, with_gradients};
use crate::row::{Program, Row};
use ibex::{Padding, Result, Tensor, Window};

/// A convolution of square images.
#[derive(Clone, Copy)]
struct Conv {
    n: usize,
    /// Side of the images.
    side: usize,
    cin: usize,
    cout: usize,
    /// Side of the kernel.
    kernel: usize,
    stride: usize,
    same: bool,
    groups: usize,
}

impl Conv {
    fn window(&self) -> Window {
        let padding = if self.same { Padding::Same } else { Padding::Valid };
        Window { strides: vec![self.stride; 2], padding, ..Window::new([self.kernel; 2]) }
    }

    /// Side of the result, and zeros before the images.
    fn output(&self) -> (usize, usize) {
        self.window().along(0, self.side).unwrap_or_default()
    }

    fn flops(&self) -> usize {
        let side = self.output().0;
        2 * self.n * side * side * self.cout * self.kernel * self.kernel * self.cin / self.groups
    }

    fn x(&self) -> Tensor {
        Tensor::randn([self.n, self.side, self.side, self.cin], 1)
    }

    fn w(&self) -> Tensor {
        Tensor::randn([self.kernel, self.kernel, self.cin / self.groups, self.cout], 2) * 0.1
    }

    fn g(&self) -> Tensor {
        let side = self.output().0;
        Tensor::randn([self.n, side, side, self.cout], 3)
    }

    fn call(&self, x: &Tensor, w: &Tensor) -> Tensor {
        x.conv(w, &self.window(), self.groups)
    }

    /// Kernel rows (or columns) and the outputs they give to, for one input coordinate.
    fn users(&self, input: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (side, pad) = self.output();
        let stride = self.stride;
        let reach = (0..self.kernel).filter_map(move |k| (input + pad).checked_sub(k).map(|o| (k, o)));
        reach.filter(move |(_, o)| o % stride == 0 && o / stride < side).map(move |(k, o)| (k, o / stride))
    }

    /// The input coordinate below kernel row (or column) `k` of output `o`.
    fn below(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k).checked_sub(self.output().1).filter(|&i| i < self.side)
    }

    /// Element `i` of the result.
    fn forward_at(&self, x: &[f32], w: &[f32], i: usize) -> f64 {
        let (side, c) = (self.output().0, self.cin / self.groups);
        let (o, col, row, n) =
            (i % self.cout, i / self.cout % side, i / (self.cout * side) % side, i / (self.cout * side * side));
        let group = o / (self.cout / self.groups);
        let mut sum = 0.0;
        for (ky, y) in (0..self.kernel).filter_map(|k| Some((k, self.below(row, k)?))) {
            for (kx, z) in (0..self.kernel).filter_map(|k| Some((k, self.below(col, k)?))) {
                let from = ((n * self.side + y) * self.side + z) * self.cin + group * c;
                let by = (ky * self.kernel + kx) * c;
                sum += (0..c).map(|p| at(x, from + p) * at(w, (by + p) * self.cout + o)).sum::<f64>();
            }
        }
        sum
    }

    /// Element `i` of the input's gradient.
    fn input_grad_at(&self, w: &[f32], g: &[f32], i: usize) -> f64 {
        let (s, side, c) = (self.side, self.output().0, self.cin / self.groups);
        let (channel, col, row, n) = (i % self.cin, i / self.cin % s, i / (self.cin * s) % s, i / (self.cin * s * s));
        let outs = self.cout / self.groups;
        let (group, p) = (channel / c, channel % c);
        let mut sum = 0.0;
        for (ky, y) in self.users(row) {
            for (kx, z) in self.users(col) {
                let from = ((n * side + y) * side + z) * self.cout;
                let by = ((ky * self.kernel + kx) * c + p) * self.cout;
                sum += (group * outs..(group + 1) * outs).map(|o| at(g, from + o) * at(w, by + o)).sum::<f64>();
            }
        }
        sum
    }

    /// Element `i` of the kernel's gradient.
    fn kernel_grad_at(&self, x: &[f32], g: &[f32], i: usize) -> f64 {
        let (side, c) = (self.output().0, self.cin / self.groups);
        let (o, p, kx, ky) =
            (i % self.cout, i / self.cout % c, i / (self.cout * c) % self.kernel, i / (self.cout * c * self.kernel));
        let channel = o / (self.cout / self.groups) * c + p;
        let mut sum = 0.0;
        for n in 0..self.n {
            for (row, y) in (0..side).filter_map(|o| Some((o, self.below(o, ky)?))) {
                for (col, z) in (0..side).filter_map(|o| Some((o, self.below(o, kx)?))) {
                    let (from, to) = ((n * self.side + y) * self.side + z, (n * side + row) * side + col);
                    sum += at(x, from * self.cin + channel) * at(g, to * self.cout + o);
                }
            }
        }
        sum
    }

    /// Each pass for itself, without bias. A gradient does not depend on what it is the gradient of, so that may be anything.
    fn passes(self, name: &str) -> [Row; 3] {
        let forward = move |x: &[Tensor]| Ok(vec![self.call(&x[0], &x[1])]);
        let forward =
            Program::new([self.x(), self.w()], forward, move |x, _, i| Some(self.forward_at(&x[0], &x[1], i)));
        let input = move |x: &[Tensor]| {
            let any = self.x();
            Ok(with_gradients(self.call(&any, &x[0]), &x[1], std::slice::from_ref(&any))?.split_off(1))
        };
        let input = Program::new([self.w(), self.g()], input, move |x, _, i| Some(self.input_grad_at(&x[0], &x[1], i)));
        let kernel = move |x: &[Tensor]| {
            let any = self.w();
            Ok(with_gradients(self.call(&x[0], &any), &x[1], std::slice::from_ref(&any))?.split_off(1))
        };
        let kernel =
            Program::new([self.x(), self.g()], kernel, move |x, _, i| Some(self.kernel_grad_at(&x[0], &x[1], i)));
        [("fwd", forward), ("inputgrad", input), ("kernelgrad", kernel)]
            .map(|(pass, program)| program.flops(self.flops()).row(format!("{name}_{pass}_nhwc")))
    }

    /// The rows that other engines are measured with: with bias, and all gradients together beside the result.
    fn peers(self, name: &str) -> [Row; 2] {
        let bias = Tensor::randn([self.cout], 4);
        let forward = move |x: &[Tensor]| Ok(vec![self.call(&x[0], &x[1]) + &x[2]]);
        let forward_at = move |x: &[Vec<f32>], i: usize| self.forward_at(&x[0], &x[1], i) + at(&x[2], i % self.cout);
        let all = move |x: &[Tensor]| with_gradients(self.call(&x[0], &x[1]) + &x[2], &x[3], &x[..3]);
        let truth = move |x: &[Vec<f32>], result: usize, i: usize| {
            Some(match result {
                0 => forward_at(x, i),
                1 => self.input_grad_at(&x[1], &x[3], i),
                2 => self.kernel_grad_at(&x[0], &x[3], i),
                _ => x[3].iter().skip(i).step_by(self.cout).map(|&v| f64::from(v)).sum(),
            })
        };
        let args = [self.x(), self.w(), bias, self.g()];
        let forward = Program::new(&args[..3], forward, move |x, _, i| Some(forward_at(x, i)));
        [
            forward.flops(self.flops()).row(format!("{name}_fwd_nhwc")),
            Program::new(args, all, truth).flops(3 * self.flops()).row(format!("{name}_fwdbwd_nhwc")),
        ]
    }
}

/// A convolution with stride 1.
fn conv(n: usize, side: usize, cin: usize, cout: usize, kernel: usize, same: bool) -> Conv {
    Conv { n, side, cin, cout, kernel, stride: 1, same, groups: 1 }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, shape) in [
        ("conv_28x28x1_32", conv(32, 28, 1, 32, 3, false)),
        ("conv_32x32x3_32s", conv(32, 32, 3, 32, 3, true)),
        ("conv_56x56x64_64s", conv(16, 56, 64, 64, 3, true)),
    ] {
        rows.extend(shape.peers(name));
        // The forward row is there, with its bias.
        rows.extend(shape.passes(name).into_iter().skip(1));
    }
    let strided = |shape| Conv { stride: 2, ..shape };
    for (name, shape) in [
        ("resnet_224x224x3_7x7_64_stride2", strided(conv(4, 224, 3, 64, 7, true))),
        ("resnet_56x56x64_1x1_64", conv(8, 56, 64, 64, 1, true)),
        ("resnet_56x56x64_3x3_64", conv(8, 56, 64, 64, 3, true)),
        ("resnet_56x56x64_1x1_256", conv(8, 56, 64, 256, 1, true)),
        ("resnet_56x56x128_3x3_128_stride2", strided(conv(8, 56, 128, 128, 3, true))),
        ("resnet_28x28x128_3x3_128", conv(8, 28, 128, 128, 3, true)),
        ("resnet_14x14x256_3x3_256", conv(8, 14, 256, 256, 3, true)),
        ("resnet_14x14x1024_1x1_256", conv(8, 14, 1024, 256, 1, true)),
        ("resnet_7x7x512_3x3_512", conv(8, 7, 512, 512, 3, true)),
        ("depthwise_56x56x128_3x3", Conv { groups: 128, ..conv(8, 56, 128, 128, 3, true) }),
    ] {
        rows.extend(shape.passes(name));
    }
    rows
}

const POOL: [usize; 4] = [32, 32, 32, 64];

/// Windows of 2 by 2 over `POOL`.
pub(super) fn pools() -> Vec<Row> {
    let [n, side, _, c] = POOL;
    let half = side / 2;
    let window = || Window { strides: vec![2; 2], ..Window::new([2; 2]) };
    // The four inputs of a window.
    let inputs = move |o: usize| {
        let (channel, col, row, n) = (o % c, o / c % half, o / (c * half) % half, o / (c * half * half));
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(y, x)| ((n * side + 2 * row + y) * side + 2 * col + x) * c + channel)
    };
    // The window of an input.
    let output = move |i: usize| {
        let (channel, col, row, n) = (i % c, i / c % side, i / (c * side) % side, i / (c * side * side));
        ((n * half + row / 2) * half + col / 2) * c + channel
    };
    let max = move |x: &[f32], o: usize| inputs(o).iter().map(|&i| at(x, i)).fold(f64::NEG_INFINITY, f64::max);
    let mean = move |x: &[f32], o: usize| inputs(o).iter().map(|&i| at(x, i)).sum::<f64>() / 4.0;
    let args = || [Tensor::randn(POOL, 1), Tensor::randn([n, half, half, c], 2)];
    let forward = |pool: fn(&Tensor, &Window) -> Tensor| move |x: &[Tensor]| Ok(vec![pool(&x[0], &window())]);
    let both = |pool: fn(&Tensor, &Window) -> Tensor| {
        move |x: &[Tensor]| -> Result<Vec<Tensor>> { with_gradients(pool(&x[0], &window()), &x[1], &x[..1]) }
    };
    vec![
        Program::new(&args()[..1], forward(Tensor::max_pool), move |x, _, o| Some(max(&x[0], o)))
            .row("maxpool_fwd_nhwc"),
        Program::new(args(), both(Tensor::max_pool), move |x, result, i| {
            Some(match result {
                0 => max(&x[0], i),
                _ if at(&x[0], i) == max(&x[0], output(i)) => at(&x[1], output(i)),
                _ => 0.0,
            })
        })
        .row("maxpool_fwdbwd_nhwc"),
        Program::new(&args()[..1], forward(Tensor::average_pool), move |x, _, o| Some(mean(&x[0], o)))
            .row("avgpool_fwd_nhwc"),
        Program::new(args(), both(Tensor::average_pool), move |x, result, i| {
            Some(if result == 0 { mean(&x[0], i) } else { at(&x[1], output(i)) / 4.0 })
        })
        .row("avgpool_fwdbwd_nhwc"),
    ]
}
