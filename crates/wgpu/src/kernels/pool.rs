//! Pooling and its gradients.

use super::shader::{Builder, addressable, bindings, runnable};
use crate::dispatch::{Lowered, Traits};
use ibex_core::program::{Pool, PoolPass};
use ibex_core::{DType, Error, Result};

const FOUR: &str = include_str!("../../../../shaders/pool_four.wgsl");
const POOL: &str = include_str!("../../../../shaders/pool.wgsl");

/// Iterations of three nested loops, with `inner` more in each round of the innermost.
fn nested(lengths: [usize; 3], inner: usize) -> usize {
    lengths.iter().rev().fold(inner, |inner, n| n.saturating_mul(inner.saturating_add(1)))
}

/// Iterations of the loops of one invocation, at most.
fn iterations(k: &Pool) -> usize {
    let g = &k.geometry;
    let window = nested(std::array::from_fn(|d| g.window[d].min(g.input[d])), 0);
    // Windows that cover an input position.
    let covers = std::array::from_fn(|d| g.window[d].div_ceil(g.stride[d].max(1)).min(g.output[d]));
    match k.pass {
        PoolPass::Max | PoolPass::Sum => window,
        PoolPass::MaxGrad => nested(covers, window),
        PoolPass::SumGrad => nested(covers, 0),
    }
}

pub(super) fn lower(k: &Pool, traits: &Traits) -> Result<Lowered> {
    let g = &k.geometry;
    let size: usize = k.dims().iter().product();
    if size == 0 {
        return Ok(Lowered::default());
    }
    addressable("pool", &[g.input_elements(), g.output_elements()])?;
    let (label, pass, operands) = match k.pass {
        PoolPass::Max => ("max_pool", 0, 2),
        PoolPass::MaxGrad => ("max_pool_grad", 1, 2),
        PoolPass::Sum => ("sum_pool", 2, 1),
        PoolPass::SumGrad => ("sum_pool_grad", 3, 1),
    };
    if k.inputs.len() != operands {
        return Err(Error::unsupported(format!("{label} takes {operands} buffers, not {}", k.inputs.len())));
    }
    runnable(label, iterations(k), traits)?;
    // The sums read one buffer; it stands in both places.
    let second = if operands == 2 { k.inputs[1] } else { k.inputs[0] };
    let mut constants = vec![("PASS", pass), ("SIZE", size), ("CHANNELS", g.channels)];
    let names = [
        (["INPUT_D", "INPUT_H", "INPUT_W"], g.input),
        (["OUTPUT_D", "OUTPUT_H", "OUTPUT_W"], g.output),
        (["WINDOW_D", "WINDOW_H", "WINDOW_W"], g.window),
        (["STRIDE_D", "STRIDE_H", "STRIDE_W"], g.stride),
        (["PAD_D", "PAD_H", "PAD_W"], g.pad),
    ];
    for (names, values) in names {
        constants.extend(names.into_iter().zip(values));
    }
    // A vector operand that the epilogue reads too takes a second binding.
    let fit = bindings(operands, &k.epilogue) <= traits.max_bindings as usize;
    let fours = fit && g.channels.is_multiple_of(4) && g.input_elements() > 0 && g.output_elements() > 0;
    let (shader, vectors, each) = if fours { (FOUR, Some(true), 4) } else { (POOL, None, 1) };
    let texels = fours && [k.inputs[0], second].iter().all(|i| i.1 == DType::F32);
    let texels = texels && g.input_elements().max(g.output_elements()) <= traits.max_texels;
    let builder = Builder::new(label, shader, traits);
    let builder = if texels {
        builder.texels("a", k.inputs[0], true)?.texels("b", second, true)?
    } else {
        builder.operand("a", k.inputs[0], vectors)?.operand("b", second, vectors)?
    };
    let dispatch =
        builder.constants(&constants).epilogue(&k.epilogue, &k.dims(), fours)?.groups(size.div_ceil(64 * each))?;
    Ok(Lowered { dispatches: vec![dispatch], scratch: Vec::new() })
}
