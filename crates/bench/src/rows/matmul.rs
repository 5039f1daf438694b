//! Matrix products, named `m x k x n`.

use super::at;
use crate::row::{Program, Row};
use ibex::{DType, Tensor};

#[derive(Clone, Copy)]
struct Product {
    batch: usize,
    m: usize,
    k: usize,
    n: usize,
    dtype: DType,
    /// The left, the right operand is stored transposed.
    transposed: [bool; 2],
}

impl Product {
    fn new(m: usize, k: usize, n: usize) -> Product {
        Product { batch: 1, m, k, n, dtype: DType::F32, transposed: [false; 2] }
    }

    fn row(self, name: String) -> Row {
        let Product { batch, m, k, n, dtype, transposed } = self;
        let matrix = |rows: usize, cols: usize, transposed: bool, seed| {
            let [rows, cols] = if transposed { [cols, rows] } else { [rows, cols] };
            let shape = if batch == 1 { vec![rows, cols] } else { vec![batch, rows, cols] };
            Tensor::randn(shape, seed).cast(dtype)
        };
        let args = [matrix(m, k, transposed[0], 1), matrix(k, n, transposed[1], 2)];
        let plain = |x: &Tensor, transposed: bool| if transposed { x.t() } else { x.clone() };
        let f = move |x: &[Tensor]| Ok(vec![plain(&x[0], transposed[0]).matmul(plain(&x[1], transposed[1]))]);
        let program = Program::new(args, f, move |x, _, i| {
            let (b, row, col) = (i / (m * n), i / n % m, i % n);
            let left = |p: usize| b * m * k + if transposed[0] { p * m + row } else { row * k + p };
            let right = |p: usize| b * k * n + if transposed[1] { col * k + p } else { p * n + col };
            Some((0..k).map(|p| at(&x[0], left(p)) * at(&x[1], right(p))).sum())
        });
        program.flops(2 * batch * m * k * n).row(name)
    }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for n in [256, 512, 1024, 2048, 4096] {
        rows.push(Product::new(n, n, n).row(format!("matmul_{n}")));
    }
    for n in [256, 512, 1024, 2048, 4096] {
        rows.push(Product { dtype: DType::F16, ..Product::new(n, n, n) }.row(format!("matmul_{n}_f16")));
    }
    for (form, transposed) in [("tn", [true, false]), ("nt", [false, true]), ("tt", [true, true])] {
        rows.push(Product { transposed, ..Product::new(1024, 1024, 1024) }.row(format!("matmul_1024_{form}")));
    }
    let thin =
        [(64, 784, 128), (1, 4096, 4096), (4096, 64, 4096), (4096, 4096, 64), (128, 9216, 128), (9216, 128, 128)];
    for (m, k, n) in thin {
        rows.push(Product::new(m, k, n).row(format!("matmul_{m}x{k}x{n}")));
    }
    // The two products of attention: 32 heads, 128 positions, 64 features.
    rows.push(
        Product { batch: 32, transposed: [false, true], ..Product::new(128, 64, 128) }
            .row("matmul_32x128x64x128_nt".into()),
    );
    rows.push(Product { batch: 32, ..Product::new(128, 128, 64) }.row("matmul_32x128x128x64".into()));
    rows
}
