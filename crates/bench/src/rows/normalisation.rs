//! Softmax, cross-entropy, layer and batch normalisation.

use super::{at, with_gradients};
use crate::row::{Program, Row};
use ibex::Tensor;

fn softmax(rows: usize, cols: usize) -> Row {
    let truth = move |x: &[Vec<f32>], _: usize, i: usize| {
        let row = &x[0][i / cols * cols..][..cols];
        Some(at(row, i % cols).exp() / row.iter().map(|&v| f64::from(v).exp()).sum::<f64>())
    };
    Program::new([Tensor::randn([rows, cols], 1)], |x| Ok(vec![x[0].softmax(-1)]), truth)
        .row(format!("softmax_{rows}x{cols}"))
}

fn softmax_gradient(rows: usize, cols: usize) -> Row {
    let f = |x: &[Tensor]| with_gradients(x[0].softmax(-1), &x[1], &x[..1]);
    let truth = move |x: &[Vec<f32>], result: usize, i: usize| {
        let [x, g] = [0, 1].map(|n| &x[n][i / cols * cols..][..cols]);
        let total: f64 = x.iter().map(|&v| f64::from(v).exp()).sum();
        let y = |j: usize| at(x, j).exp() / total;
        let j = i % cols;
        Some(if result == 0 { y(j) } else { y(j) * (at(g, j) - (0..cols).map(|k| at(g, k) * y(k)).sum::<f64>()) })
    };
    Program::new([1, 2].map(|seed| Tensor::randn([rows, cols], seed)), f, truth)
        .row(format!("softmax_fwdbwd_{rows}x{cols}"))
}

/// The mean loss of integer labels against logits, and the gradient of the logits.
fn crossentropy(rows: usize, cols: usize) -> Row {
    let labels = Tensor::from_vec((0..rows).map(|i| (i * 7919 % cols) as i32).collect(), [rows]);
    let f = |x: &[Tensor]| {
        let loss = -x[0].log_softmax(-1).pick(&x[1]).mean(&[]);
        let [gradient] = loss.grad([&x[0]]);
        Ok(vec![loss, gradient])
    };
    let truth = move |x: &[Vec<f32>], result: usize, i: usize| {
        let row = |r: usize| &x[0][r * cols..][..cols];
        let total = |r: usize| row(r).iter().map(|&v| f64::from(v).exp()).sum::<f64>();
        let label = |r: usize| x[1][r] as usize;
        Some(match result {
            0 => (0..rows).map(|r| total(r).ln() - at(row(r), label(r))).sum::<f64>() / rows as f64,
            _ => {
                let (r, j) = (i / cols, i % cols);
                (at(row(r), j).exp() / total(r) - f64::from(u8::from(j == label(r)))) / rows as f64
            }
        })
    };
    Program::new([Tensor::randn([rows, cols], 1), labels], f, truth).row(format!("crossentropy_fwdbwd_{rows}x{cols}"))
}

/// A matrix normalised along its rows (layer normalisation) or its columns (batch normalisation over images, which are rows of channels).
#[derive(Clone, Copy)]
struct Norm {
    rows: usize,
    cols: usize,
    /// Each row for itself.
    layer: bool,
}

const EPSILON: f64 = 1e-5;

impl Norm {
    fn call(self, x: &[Tensor]) -> Tensor {
        let [mean, variance] = x[0].moments_keep(&[if self.layer { -1 } else { 0 }]);
        (&x[0] - mean) * (variance + EPSILON).rsqrt() * &x[1] + &x[2]
    }

    /// The elements normalised together with element `i`.
    fn group(self, i: usize) -> impl Iterator<Item = usize> + Clone {
        let Norm { rows, cols, layer } = self;
        let (start, step, count) = if layer { (i / cols * cols, 1, cols) } else { (i % cols, cols, rows) };
        (0..count).map(move |k| start + k * step)
    }

    /// Mean of the group of `i`, and one over the root of its variance.
    fn moments(self, x: &[f32], i: usize) -> (f64, f64) {
        let count = self.group(i).count() as f64;
        let mean = self.group(i).map(|k| at(x, k)).sum::<f64>() / count;
        let variance = self.group(i).map(|k| (at(x, k) - mean).powi(2)).sum::<f64>() / count;
        (mean, 1.0 / (variance + EPSILON).sqrt())
    }

    fn truth(self, x: &[Vec<f32>], result: usize, i: usize) -> Option<f64> {
        let (values, gamma, beta) = (&x[0], &x[1], &x[2]);
        let cols = self.cols;
        Some(match result {
            0 => {
                let (mean, scale) = self.moments(values, i);
                (at(values, i) - mean) * scale * at(gamma, i % cols) + at(beta, i % cols)
            }
            1 => {
                let (mean, scale) = self.moments(values, i);
                let normal = |k: usize| (at(values, k) - mean) * scale;
                let d = |k: usize| at(&x[3], k) * at(gamma, k % cols);
                let count = self.group(i).count() as f64;
                let sums = self.group(i).map(|k| (d(k), d(k) * normal(k)));
                let (sum, product) = sums.fold((0.0, 0.0), |(s, p), (a, b)| (s + a, p + b));
                scale * (d(i) - sum / count - normal(i) * product / count)
            }
            // Parameters go by columns. Batch normalisation has one group for each.
            2 if self.layer => {
                let term = |k: usize| {
                    let (mean, scale) = self.moments(values, k);
                    at(&x[3], k) * (at(values, k) - mean) * scale
                };
                (0..self.rows).map(|r| term(r * cols + i)).sum()
            }
            2 => {
                let (mean, scale) = self.moments(values, i);
                self.group(i).map(|k| at(&x[3], k) * (at(values, k) - mean) * scale).sum()
            }
            _ => (0..self.rows).map(|r| at(&x[3], r * cols + i)).sum(),
        })
    }

    fn rows(self, name: &str) -> [Row; 2] {
        let Norm { rows, cols, .. } = self;
        let args = [([rows, cols], 1), ([1, cols], 2), ([1, cols], 3), ([rows, cols], 4)];
        let args = args.map(|(shape, seed)| Tensor::randn(shape, seed));
        let truth = move |x: &[Vec<f32>], result: usize, i: usize| self.truth(x, result, i);
        let all = move |x: &[Tensor]| with_gradients(self.call(x), &x[3], &x[..3]);
        [
            Program::new(&args[..3], move |x| Ok(vec![self.call(x)]), truth).row(format!("{name}_{rows}x{cols}")),
            Program::new(args, all, truth).row(format!("{name}_fwdbwd_{rows}x{cols}")),
        ]
    }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![softmax(4096, 1024), softmax_gradient(4096, 1024), softmax(128, 10), crossentropy(4096, 1000)];
    rows.extend(Norm { rows: 4096, cols: 1024, layer: true }.rows("layernorm"));
    // 8 images of 56 x 56.
    rows.extend(Norm { rows: 25088, cols: 64, layer: false }.rows("batchnorm"));
    rows
}
