//! Contractions by cooperative matrices: what a device offers, and the generated blocks of the shader.
//!
//! A matrix belongs to a subgroup as a whole. The four operations on it are written in one of two forms: those of the language
//! extension, or an emulation in plain WGSL with which the rest of the kernel is tested on devices that have no such matrices.
//!
//! No device with such matrices has run it yet. One doubt is known: naga declares SPIR-V's Vulkan memory model for these shaders, under which a
//! barrier orders what threads write for one another only if the accesses say so, which naga's do not. So nothing chooses this kernel but
//! tuning, which compares its results first.

use super::shader::Builder;
use super::table::Extent;
use crate::dispatch::Traits;
use ibex_core::Result;
use std::fmt::Write;

const SOURCE: &str = include_str!("../../../../shaders/contraction_cooperative.wgsl");

/// Subgroups that share a tile, as the shader has it.
const UNITS: usize = 4;

/// The square matrices of a device whose products are added in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cooperative {
    /// The side of matrices of `f16`.
    pub half: Option<usize>,
    /// The side of matrices of `f32`.
    pub single: Option<usize>,
    /// Threads of a subgroup. If they are more or fewer, products are right all the same.
    pub subgroup: usize,
    /// There are none: plain WGSL does what they would.
    pub emulated: bool,
}

impl Cooperative {
    /// For tests on any device with subgroups: both types, in both sizes.
    pub fn emulated(f16: bool) -> Cooperative {
        Cooperative { half: f16.then_some(16), single: Some(8), subgroup: 8, emulated: true }
    }

    /// What an adapter lists; `None` if nothing of it is of use.
    pub fn of(adapter: &wgpu::Adapter) -> Option<Cooperative> {
        use wgpu::CooperativeScalarType::{F16, F32};
        let (all, info) = (adapter.cooperative_matrix_properties(), adapter.get_info());
        let side = |element| {
            let square = all.iter().filter(|p| p.m_size == p.n_size && p.n_size == p.k_size);
            let fits = square.filter(|p| p.ab_type == element && p.cr_type == F32);
            fits.map(|p| p.m_size as usize).filter(|size| [8, 16].contains(size)).max()
        };
        let half = side(F16).filter(|_| adapter.features().contains(wgpu::Features::SHADER_F16));
        // Metal gives no size; all its devices with such matrices have this one.
        let subgroup = match info.backend {
            wgpu::Backend::Metal => 32,
            _ => info.subgroup_max_size as usize,
        };
        let found = Cooperative { half, single: side(F32), subgroup, emulated: false };
        let needed = wgpu::Features::SUBGROUP | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        (adapter.features().contains(needed) && subgroup > 0 && (found.half, found.single) != (None, None))
            .then_some(found)
    }
}

/// The kernel for one contraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// The side of a matrix.
    size: usize,
    /// Matrices of a unit along each axis.
    blocks: usize,
    /// Their elements are `f16`.
    half: bool,
    threads: usize,
    emulated: bool,
}

impl Tile {
    /// The tile for a contraction whose operands both are `f16`, or not; `None` if the device has no such matrices.
    pub fn choose(e: Extent, half: bool, traits: &Traits) -> Option<Tile> {
        let device = traits.cooperative?;
        let (size, half) = match (device.half, device.single) {
            (Some(size), _) if half => (size, true),
            (_, Some(size)) => (size, false),
            _ => return None,
        };
        let tile = |quarter: usize| Tile {
            size,
            blocks: quarter / size,
            half,
            threads: UNITS * device.subgroup,
            emulated: device.emulated,
        };
        let fits = |t: &Tile| {
            t.bytes() <= traits.max_workgroup_storage as usize && t.threads <= traits.max_invocations as usize
        };
        // Large tiles only where they are full and enough of them keep the device busy.
        let [large, small] = [64, 32].map(tile);
        let full = e.m * e.n * 4 >= 3 * (e.m.next_multiple_of(128) * e.n.next_multiple_of(128));
        [large, small].into_iter().filter(fits).find(|t| *t == small || full && e.tiles(t.side(), t.side()) >= 64)
    }

    /// Rows and columns of the tile of a workgroup.
    pub fn side(self) -> usize {
        2 * self.blocks * self.size
    }

    /// Steps of `k` in one pass of the main loop.
    pub fn steps(self) -> usize {
        if self.half { 32 } else { 16 }
    }

    /// Workgroup memory.
    fn bytes(self) -> usize {
        let (side, steps) = (self.side(), self.steps());
        let elements = side * (steps + 8) + steps * (side + 8);
        elements * if self.half { 2 } else { 4 } + 4 * UNITS * self.size * self.size
    }

    /// The shader with its generated blocks.
    pub fn shader<'a>(self, label: &'static str, traits: &'a Traits) -> Result<Builder<'a>> {
        let enable = (!self.emulated).then_some("wgpu_cooperative_matrix");
        Builder::new(label, SOURCE, traits)
            .enable(enable)
            .block("matrices", &self.matrices())?
            .block("begin", &self.begin())?
            .block("multiply", &self.multiply())?
            .block("store", &self.store())
    }

    fn matrices(self) -> String {
        let Tile { size, blocks, threads, .. } = self;
        let (steps, element) = (self.steps(), if self.half { "f16" } else { "f32" });
        let mut text = format!(
            "// Rows and columns of a matrix; matrices of a unit along each axis; steps of `k` in workgroup memory.\n\
             const SIZE: u32 = {size}u;\nconst BLOCKS: u32 = {blocks}u;\nconst STEPS: u32 = {steps}u;\n\
             const THREADS: u32 = {threads}u;\nalias Element = {element};\n"
        );
        if self.emulated {
            text += EMULATION;
        }
        text
    }

    /// Accumulators of zeros: the first matrix of `results` holds them.
    fn begin(self) -> String {
        let Tile { size, emulated, .. } = self;
        if emulated {
            return "load_matrices(lane, lanes, once);\n".into();
        }
        self.each(|text, i, j| {
            writeln!(text, "var c{i}_{j} = coopLoadT<coop_mat{size}x{size}<f32, C>>(&results[0], SIZE);")
        })
    }

    /// One product of matrices along `k` for each accumulator.
    fn multiply(self) -> String {
        let Tile { size, blocks, half, emulated, .. } = self;
        let element = if half { "f16" } else { "f32" };
        let load = |role: char, tile: &str, stride: &str, at: String| match emulated {
            true => at,
            false => format!("coopLoadT<coop_mat{size}x{size}<{element}, {role}>>(&{tile}[{at}], {stride})"),
        };
        let mut text = String::new();
        for i in 0..blocks {
            let a = load('A', "tile_a", "A_STRIDE", format!("(row + {}u) * A_STRIDE + k", i * size));
            let b = load('B', "tile_b", "B_STRIDE", format!("k * B_STRIDE + column + {}u", i * size));
            let _ = writeln!(text, "let a{i} = {a};\nlet b{i} = {b};");
        }
        if emulated {
            let list = |name| (0..blocks).map(|i| format!("{name}{i}")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "let a = array({});\nlet b = array({});", list("a"), list("b"));
            return text + "multiply_add(a, b, lane, lanes, once);\n";
        }
        text + &self.each(|text, i, j| writeln!(text, "c{i}_{j} = coopMultiplyAdd(a{i}, b{j}, c{i}_{j});"))
    }

    /// Accumulator number `i` to `results[at]`.
    fn store(self) -> String {
        if self.emulated {
            return "store_matrix(i, at, lane, lanes);\n".into();
        }
        let last = self.blocks - 1;
        self.each(|text, i, j| {
            let end = if (i, j) == (last, last) { "}\n" } else { "} else " };
            let number = i * self.blocks + j;
            write!(text, "if (i == {number}u) {{\ncoopStoreT(c{i}_{j}, &results[at], SIZE);\n{end}")
        })
    }

    /// A text for each accumulator, by row and column.
    fn each(self, one: impl Fn(&mut String, usize, usize) -> std::fmt::Result) -> String {
        let mut text = String::new();
        for (i, j) in (0..self.blocks).flat_map(|i| (0..self.blocks).map(move |j| (i, j))) {
            // Writing to a string does not fail.
            let _ = one(&mut text, i, j);
        }
        text
    }
}

/// A factor is the place where it lies; the elements of an accumulator are dealt out to the threads of the subgroup, of which there are
/// at least eight. Bounds that are only known when run (`once` is 1) keep compilers from unrolling this into very long code;
/// see [`Traits::max_iterations`] for llvmpipe's limit on all of them together.
const EMULATION: &str = "
alias Places = array<u32, BLOCKS>;

var<private> accumulators: array<array<f32, SIZE * SIZE / 8u>, BLOCKS * BLOCKS>;

fn load_matrices(lane: u32, lanes: u32, once: u32) {
    for (var i = 0u; i < BLOCKS * BLOCKS * once; i++) {
        for (var e = lane; e < SIZE * SIZE; e += lanes) {
            accumulators[i][e / lanes] = results[e];
        }
    }
}

fn term(row: u32, column: u32, k: u32) -> f32 {
    return f32(tile_a[row + k]) * f32(tile_b[column + k * B_STRIDE]);
}

fn multiply_add(a: Places, b: Places, lane: u32, lanes: u32, once: u32) {
    var left = a;
    var right = b;
    for (var i = 0u; i < BLOCKS * BLOCKS * once; i++) {
        for (var e = lane; e < SIZE * SIZE; e += lanes) {
            let row = left[i / BLOCKS] + e / SIZE * A_STRIDE;
            let column = right[i % BLOCKS] + e % SIZE;
            var sum = accumulators[i][e / lanes];
            for (var k = 0u; k < SIZE * once; k += 8u) {
                sum += term(row, column, k) + term(row, column, k + 1u) + term(row, column, k + 2u)
                    + term(row, column, k + 3u) + term(row, column, k + 4u) + term(row, column, k + 5u)
                    + term(row, column, k + 6u) + term(row, column, k + 7u);
            }
            accumulators[i][e / lanes] = sum;
        }
    }
}

fn store_matrix(i: u32, at: u32, lane: u32, lanes: u32) {
    for (var e = lane; e < SIZE * SIZE; e += lanes) {
        results[at + e] = accumulators[i][e / lanes];
    }
}
";
