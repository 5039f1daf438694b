//! Convolutions and their gradients.

use super::contraction::{Contraction, Mode, Side, combine};
use super::shader::{Builder, addressable, bindings};
use crate::dispatch::{Lowered, Target, Traits};
use ibex_core::Result;
use ibex_core::graph::ConvGeometry;
use ibex_core::program::{Conv, ConvPass};

const DIRECT: &str = include_str!("../../../../shaders/conv_direct.wgsl");

pub(super) fn lower(k: &Conv, traits: &Traits) -> Result<Lowered> {
    let g = &k.geometry;
    if k.dims().iter().product::<usize>() == 0 {
        return Ok(Lowered::default());
    }
    addressable("conv", &[g.input_elements(), g.kernel_elements(), g.output_elements()])?;
    // Narrow groups leave the tiles of a contraction nearly empty, but a contraction can be split.
    let narrow = g.groups > 1 && (g.cin < 4 || g.cout / g.groups < 8);
    if narrow && iterations(k, traits) <= traits.max_iterations { direct(k, traits) } else { contraction(k, traits) }
}

/// The number of the pass in the shaders.
fn number(pass: ConvPass) -> usize {
    match pass {
        ConvPass::Forward => 1,
        ConvPass::InputGrad => 2,
        ConvPass::KernelGrad => 3,
    }
}

fn label(pass: ConvPass) -> &'static str {
    match pass {
        ConvPass::Forward => "conv",
        ConvPass::InputGrad => "conv_input_grad",
        ConvPass::KernelGrad => "conv_kernel_grad",
    }
}

/// Three constants of a name, one for each axis.
fn axes(names: [&'static str; 3], values: [usize; 3]) -> [(&'static str, usize); 3] {
    [(names[0], values[0]), (names[1], values[1]), (names[2], values[2])]
}

fn window(g: &ConvGeometry) -> Vec<(&'static str, usize)> {
    let mut all = axes(["STRIDE_D", "STRIDE_H", "STRIDE_W"], g.stride).to_vec();
    all.extend(axes(["PAD_D", "PAD_H", "PAD_W"], g.pad));
    all.extend(axes(["DILATION_D", "DILATION_H", "DILATION_W"], g.dilation));
    all.extend([("KERNEL_H", g.kernel[1]), ("KERNEL_W", g.kernel[2])]);
    all
}

/// An implicit matrix product: pixels by channels, over taps and channels (or taps and channels by channels, over pixels).
fn contraction(k: &Conv, traits: &Traits) -> Result<Lowered> {
    let g = &k.geometry;
    let cout = g.cout / g.groups;
    let taps: usize = g.kernel.iter().product();
    let pixels = |space: [usize; 3]| g.n * space.iter().product::<usize>();
    let mut constants = window(g);
    constants.push(("PASS", number(k.pass)));
    let (grid, source) = match k.pass {
        ConvPass::Forward | ConvPass::KernelGrad => (g.output, g.input),
        ConvPass::InputGrad => (g.input, g.output),
    };
    constants.extend(axes(["GRID_D", "GRID_H", "GRID_W"], grid.map(|n| n.max(1))));
    constants.extend(axes(["SOURCE_D", "SOURCE_H", "SOURCE_W"], source));
    let channels = if k.pass == ConvPass::InputGrad { cout } else { g.cin };
    constants.extend([("CHANNELS", channels.max(1)), ("ALL_CHANNELS", channels * g.groups)]);

    // All strides of the vectors' starting points are channel counts, so that alignment follows from whole vectors.
    let whole = |n: usize| n > 0 && n.is_multiple_of(4);
    let (m, n, depth, b) = match k.pass {
        ConvPass::Forward => {
            constants.extend([("B_BATCH", cout), ("B_ROW", g.cout), ("B_COL", 1), ("B_SPAN", (taps * g.cin).max(1))]);
            (pixels(g.output), cout, taps * g.cin, Mode::AlongResult)
        }
        ConvPass::KernelGrad => {
            constants.extend([("B_BATCH", cout), ("B_ROW", g.cout), ("B_COL", 1), ("B_SPAN", pixels(g.output).max(1))]);
            (taps * g.cin, cout, pixels(g.output), Mode::AlongResult)
        }
        ConvPass::InputGrad => {
            constants.extend([("B_BATCH", cout), ("B_ROW", 1), ("B_COL", g.cout), ("B_SPAN", cout.max(1))]);
            constants.push(("B_TAP", g.cin * g.cout));
            (pixels(g.input), g.cin, taps * cout, Mode::AlongK)
        }
    };
    constants.extend([("OUT_BATCH", n), ("OUT_ROW", g.groups * n)]);
    let a = if k.pass == ConvPass::KernelGrad { Mode::AlongResult } else { Mode::AlongK };
    let or_elements = |mode: Mode, length: usize| if whole(length) { mode } else { Mode::Elements };
    let (left, right) = match k.pass {
        ConvPass::Forward => (g.input_elements(), g.kernel_elements()),
        ConvPass::InputGrad => (g.output_elements(), g.kernel_elements()),
        ConvPass::KernelGrad => (g.input_elements(), g.output_elements()),
    };
    let a = Side { buffer: k.lhs, mode: or_elements(a, channels), aligned: true, elements: left };
    let b = Side { buffer: k.rhs, mode: or_elements(b, cout), aligned: true, elements: right };
    let (label, dims) = (label(k.pass), k.dims().to_vec());
    // The kernel gradient of a group lies between those of the others only along the channels: rows are taps and channels.
    Contraction { label, z: g.groups, m, n, k: depth, a, b, constants, epilogue: &k.epilogue, dims }.lower(traits)
}

/// Into how many parts the sum over output pixels of a direct kernel gradient is split, and the pixels of a part.
fn splits(k: &Conv, traits: &Traits) -> (usize, usize) {
    let g = &k.geometry;
    let size: usize = k.dims().iter().product();
    let pixels = g.n * g.output.iter().product::<usize>();
    let parts = match k.pass {
        // One more binding is the scratch of a split.
        ConvPass::KernelGrad if bindings(1, &k.epilogue) <= traits.max_bindings as usize => {
            let parts = (65536 / size).min(pixels / 64).min((16 << 20) / size);
            parts.max(pixels.div_ceil(traits.max_iterations)).max(1)
        }
        _ => 1,
    };
    let chunk = pixels.div_ceil(parts).max(1);
    (pixels.div_ceil(chunk).max(1), chunk)
}

/// Iterations of the loops of one invocation of the direct form, at most.
fn iterations(k: &Conv, traits: &Traits) -> usize {
    let g = &k.geometry;
    let taps: usize = g.kernel.iter().product();
    match k.pass {
        ConvPass::Forward => taps.saturating_mul(1 + g.cin),
        ConvPass::InputGrad => taps.saturating_mul(1 + g.cout / g.groups),
        ConvPass::KernelGrad => splits(k, traits).1,
    }
}

/// One invocation for each result element.
fn direct(k: &Conv, traits: &Traits) -> Result<Lowered> {
    let g = &k.geometry;
    let size: usize = k.dims().iter().product();
    let pixels = g.n * g.output.iter().product::<usize>();
    let (parts, chunk) = splits(k, traits);
    addressable("conv", &[size * parts])?;
    let label = label(k.pass);
    let builder = Builder::new(label, DIRECT, traits)
        .operand("a", k.lhs, None)?
        .operand("b", k.rhs, None)?
        .constants(&window(g))
        .constants(&axes(["INPUT_D", "INPUT_H", "INPUT_W"], g.input.map(|n| n.max(1))))
        .constants(&axes(["OUTPUT_D", "OUTPUT_H", "OUTPUT_W"], g.output.map(|n| n.max(1))))
        .constants(&[
            ("PASS", number(k.pass)),
            ("SIZE", size),
            ("SPLITS", parts),
            ("CHUNK", chunk),
            // Without output pixels the input gradient is zero: no tap is looked at.
            ("KERNEL_D", if pixels == 0 { 0 } else { g.kernel[0] }),
            ("BATCH", if pixels == 0 { 0 } else { g.n }),
            ("GROUPS", g.groups),
            ("CIN", g.cin),
            ("COUT", g.cout / g.groups),
        ]);
    let groups = (size * parts).div_ceil(64);
    if parts == 1 {
        let dispatch = builder.epilogue(&k.epilogue, &k.dims(), false)?.groups(groups)?;
        return Ok(Lowered { dispatches: vec![dispatch], scratch: Vec::new() });
    }
    let first = builder.bind(&[(Target::Scratch(0), true)]).groups(groups)?;
    let second = combine(label, size, parts, &k.epilogue, &k.dims(), traits)?;
    Ok(Lowered { dispatches: vec![first, second.groups(size.div_ceil(64))?], scratch: vec![4 * size * parts] })
}
