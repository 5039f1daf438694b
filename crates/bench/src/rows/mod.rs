//! The list.

mod conv;
mod lstm;
mod matmul;
mod memory;
mod normalisation;
mod optimizer;
mod replay;
mod step;

pub(crate) use replay::Replay;
pub(crate) use step::Step;

use crate::row::Row;
use ibex::{Error, Result, Tensor};

/// Every row, in the order of printing. Names are unique.
pub fn rows() -> Vec<Row> {
    let groups = [
        matmul::rows(),
        conv::rows(),
        conv::pools(),
        lstm::rows(),
        normalisation::rows(),
        memory::rows(),
        optimizer::rows(),
        step::rows(),
        replay::rows(),
    ];
    groups.into_iter().flatten().collect()
}

/// `f64` of an element.
fn at(x: &[f32], i: usize) -> f64 {
    f64::from(x[i])
}

/// The results of `y`'s row with gradients: `y`, and what `upstream` does to each of `wrt`.
fn with_gradients(y: Tensor, upstream: &Tensor, wrt: &[Tensor]) -> Result<Vec<Tensor>> {
    let gradients = y.vjp(upstream, wrt)?;
    let there = gradients.into_iter().map(|g| g.ok_or_else(|| Error::value("a gradient is missing")));
    std::iter::once(Ok(y)).chain(there).collect()
}

#[cfg(test)]
mod tests {
    use super::rows;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let rows = rows();
        let names: BTreeSet<&str> = rows.iter().map(crate::Row::name).collect();
        assert_eq!(names.len(), rows.len());
    }

    /// Results are joined with those of other engines by name.
    #[test]
    fn peers_rows_are_there() {
        let peers = "matmul_256 matmul_512 matmul_1024 matmul_2048 matmul_64x784x128 conv_28x28x1_32_fwd_nhwc conv_28x28x1_32_fwdbwd_nhwc \
            conv_32x32x3_32s_fwd_nhwc conv_32x32x3_32s_fwdbwd_nhwc conv_56x56x64_64s_fwd_nhwc conv_56x56x64_64s_fwdbwd_nhwc maxpool_fwd_nhwc \
            maxpool_fwdbwd_nhwc lstm_fwd lstm_fwdbwd eltwise_4M softmax_4096x1024 sum_16M layernorm_4096x1024 step_mlp_b128 step_cnn_b128 \
            step_lstm_b32";
        let rows = rows();
        for name in peers.split_whitespace() {
            assert!(rows.iter().any(|row| row.name() == name), "{name}");
        }
    }
}
