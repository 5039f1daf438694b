//! What is bound by memory: elementwise chains, reductions, moved and looked-up elements.

use super::at;
use crate::row::{Program, Row};
use ibex::{DType, Tensor};

/// `f` of one tensor.
fn of(
    shape: &[usize],
    f: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    truth: impl Fn(&[f32], usize) -> f64 + 'static,
) -> Program {
    let args = [Tensor::randn(shape, 1)];
    Program::new(args, move |x| Ok(vec![f(&x[0])]), move |x, _, i| Some(truth(&x[0], i)))
}

/// The sum over the middle one of three axes.
fn sum(name: &str, [a, b, c]: [usize; 3]) -> Row {
    let truth = move |x: &[f32], i: usize| (0..b).map(|k| at(x, (i / c * b + k) * c + i % c)).sum();
    of(&[a, b, c], |x| x.sum(&[1]), truth).row(name)
}

/// `count` indices below `rows`, the same one rarely next to itself.
fn indices(count: usize, rows: usize) -> Tensor {
    Tensor::from_vec((0..count).map(|i| (i * 7919 % rows) as i32).collect(), [count])
}

/// Looking up and adding `count` rows of a table of `rows` rows of `width`.
fn indexed(rows: usize, width: usize, count: usize) -> [Row; 2] {
    let size = format!("{rows}x{width}_{count}");
    let gather = Program::new(
        [Tensor::randn([rows, width], 1), indices(count, rows)],
        |x| Ok(vec![x[0].gather(&x[1])]),
        move |x, _, i| Some(at(&x[0], x[1][i / width] as usize * width + i % width)),
    );
    let scatter = Program::new(
        [Tensor::randn([count, width], 1), indices(count, rows)],
        move |x| Ok(vec![x[0].scatter_add(&x[1], rows)]),
        move |x, _, i| {
            let hit = (0..count).filter(|&k| x[1][k] as usize == i / width);
            Some(hit.map(|k| at(&x[0], k * width + i % width)).sum())
        },
    );
    [
        gather.bytes((2 * count * width + count) * 4).row(format!("gather_{size}")),
        scatter.row(format!("scatteradd_{size}")),
    ]
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn rows() -> Vec<Row> {
    const MANY: usize = 1 << 24;
    let chain = |x: &Tensor| (x * 1.5 + 0.25).tanh() * x.sigmoid();
    let two = [1, 2].map(|seed| Tensor::randn([MANY], seed));
    let bias = [Tensor::randn([86528, 32], 1), Tensor::randn([32], 2)];
    let mut rows = vec![
        of(&[4_000_000], chain, |x, i| (at(x, i) * 1.5 + 0.25).tanh() * sigmoid(at(x, i))).row("eltwise_4M"),
        of(&[MANY], |x| x.clone(), at).row("copy_16M"),
        Program::new(two, |x| Ok(vec![&x[0] + &x[1]]), |x, _, i| Some(at(&x[0], i) + at(&x[1], i))).row("add_16M"),
        of(&[MANY], |x| x.cast(DType::F16), at).row("cast_f16_16M"),
        Program::new(
            bias,
            |x| Ok(vec![(&x[0] + &x[1]).relu()]),
            |x, _, i| Some((at(&x[0], i) + at(&x[1], i % 32)).max(0.0)),
        )
        .row("bias_relu_86528x32"),
        of(&[2048, 4096], Tensor::t, |x, i| at(x, i % 2048 * 4096 + i / 2048)).row("transpose_2048x4096"),
        sum("sum_16M", [1, MANY, 1]),
        sum("sum_rows_4096x4096", [4096, 4096, 1]),
        sum("sum_columns_4096x4096", [1, 4096, 4096]),
        sum("sum_columns_86528x32", [1, 86528, 32]),
        sum("sum_middle_64x1024x256", [64, 1024, 256]),
        of(
            &[4096, 1000],
            |x| x.argmax(-1),
            |x, i| {
                let row = &x[i * 1000..][..1000];
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter().position(|&v| v == largest).unwrap_or(0) as f64
            },
        )
        .row("argmax_4096x1000"),
    ];
    rows.extend(indexed(50000, 256, 8192));
    rows.extend(indexed(10000, 64, 3200));
    rows
}
