//! Matrix products and convolutions as one contraction, in four shaders: small or large tiles in workgroup memory, tiles in
//! the registers of a subgroup, or cooperative matrices.

use super::shader::{Builder, bindings, runnable};
use super::table::{Extent, Variant};
use crate::dispatch::{Lowered, Target, Traits, too_long};
use ibex_core::program::{Body, BufferId};
use ibex_core::{DType, Result};

const TILED: &str = include_str!("../../../../shaders/contraction_tiled.wgsl");
const LARGE: &str = include_str!("../../../../shaders/contraction_large.wgsl");
const SUBGROUP: &str = include_str!("../../../../shaders/contraction_subgroup.wgsl");
const COMBINE: &str = include_str!("../../../../shaders/combine.wgsl");

/// How an operand is read; the numbers of `A_MODE` and `B_MODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Element by element.
    Elements = 0,
    /// Four along the contraction.
    AlongK = 1,
    /// Four along the result.
    AlongResult = 2,
}

/// An operand of a contraction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub buffer: (BufferId, DType),
    pub mode: Mode,
    /// Every vector begins at a multiple of four elements.
    pub aligned: bool,
    /// One more than the last element that is read.
    pub elements: usize,
}

impl Side {
    /// Binds it, as whole vectors if it can be read so, for a contraction of this many products.
    fn bind<'a>(self, builder: Builder<'a>, name: &'static str, work: usize, traits: &Traits) -> Result<Builder<'a>> {
        let vectors = self.aligned && self.mode != Mode::Elements;
        // Small products take less time than the copy. Element by element texels are faster too, but make longer code.
        let worth = work >= if vectors { 1 << 20 } else { 1 << 26 };
        if worth && self.buffer.1 == DType::F32 && self.elements <= traits.max_texels {
            return builder.texels(name, self.buffer, vectors);
        }
        builder.operand(name, self.buffer, Some(vectors))
    }
}

/// `z` contractions `(m, k) x (k, n)`.
#[derive(Debug)]
pub(super) struct Contraction<'a> {
    pub label: &'static str,
    pub z: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Side,
    pub b: Side,
    /// Addresses; see the shader.
    pub constants: Vec<(&'static str, usize)>,
    pub epilogue: &'a Body,
    /// The epilogue's iteration space.
    pub dims: Vec<usize>,
}

/// Into how many parts the contraction is split, and the length of a part. Long contractions of few tiles are split so
/// that the device has something to do.
fn splits(c: &Contraction, variant: Variant, tiles: usize, traits: &Traits) -> (usize, usize) {
    let (wanted, least) = if traits.software { (8, 256) } else { (256, 128) };
    let memory = (64 << 20) / (4 * c.z * c.m * c.n);
    let parts = (wanted / tiles).min(c.k / least).min(memory).max(c.k.div_ceil(variant.longest(traits))).max(1);
    let chunk = c.k.div_ceil(parts).next_multiple_of(variant.step()).max(variant.step());
    (c.k.div_ceil(chunk).max(1), chunk)
}

impl Contraction<'_> {
    /// The dispatches.
    pub(super) fn lower(mut self, traits: &Traits) -> Result<Lowered> {
        let extent = Extent { z: self.z, m: self.m, n: self.n, k: self.k };
        let half = self.a.buffer.1 == DType::F16 && self.b.buffer.1 == DType::F16;
        let variant = Variant::choose(extent, half, traits);
        if let Variant::Subgroup { blocks, .. } = variant {
            // Vectors along the rows fill four blocks at once.
            if blocks < 4 && self.a.mode == Mode::AlongResult {
                self.a.mode = Mode::Elements;
            }
        }
        // A contraction over nothing has operands too small to be an array of vectors.
        self.a.aligned &= self.k > 0;
        self.b.aligned &= self.k > 0;
        let (rows, columns) = variant.tile();
        let tiles = self.m.div_ceil(rows) * self.n.div_ceil(columns) * self.z;
        // A vector operand that the epilogue reads too takes a second binding; one more is the scratch of a split.
        let limit = traits.max_bindings as usize;
        if bindings(2, self.epilogue) > limit {
            (self.a.aligned, self.b.aligned) = (false, false);
            // Nor are there texels beside the buffer.
            (self.a.elements, self.b.elements) = (usize::MAX, usize::MAX);
        }
        let (mut parts, mut chunk) = splits(&self, variant, tiles, traits);
        if bindings(1, self.epilogue) > limit {
            (parts, chunk) = (1, self.k.next_multiple_of(variant.step()).max(variant.step()));
        }
        if chunk >= variant.longest(traits).saturating_add(variant.step()) {
            return Err(too_long(&format!("{} over {} products is", self.label, self.k)));
        }
        let size = self.z * self.m * self.n;
        super::shader::addressable(self.label, &[size * parts])?;

        let mut builder = match variant {
            Variant::Tiled { tm, tn } => Builder::new(self.label, TILED, traits)
                .line("const TM: u32", &format!("const TM: u32 = {tm}u;"))?
                .line("const TN: u32", &format!("const TN: u32 = {tn}u;"))?,
            Variant::Large => Builder::new(self.label, LARGE, traits),
            Variant::Subgroup { blocks, subgroups } => {
                Builder::new(self.label, SUBGROUP, traits).constants(&[("BLOCKS", blocks), ("SUBGROUPS", subgroups)])
            }
            Variant::Cooperative(tile) => tile.shader(self.label, traits)?,
        };
        let work = self.z * self.m * self.n * self.k;
        builder = self.a.bind(builder, "a", work, traits)?;
        builder = self
            .b
            .bind(builder, "b", work, traits)?
            .constants(&[
                ("M", self.m),
                ("N", self.n),
                ("K", self.k),
                ("Z", self.z),
                ("K_CHUNK", chunk),
                ("SPLITS", parts),
                ("RAGGED", usize::from(self.k == 0 || !self.k.is_multiple_of(variant.step()))),
                ("OUT_SIZE", size),
                ("A_MODE", self.a.mode as usize),
                ("B_MODE", self.b.mode as usize),
            ])
            .constants(&self.constants);
        if parts == 1 {
            let quads = self.n.is_multiple_of(4) && !matches!(variant, Variant::Tiled { .. });
            let dispatch = builder.epilogue(self.epilogue, &self.dims, quads)?.groups(tiles)?;
            return Ok(Lowered { dispatches: vec![dispatch], scratch: Vec::new() });
        }
        let first = builder.bind(&[(Target::Scratch(0), true)]).groups(tiles * parts)?;
        let second = combine(self.label, size, parts, self.epilogue, &self.dims, traits)?;
        Ok(Lowered { dispatches: vec![first, second.groups(size.div_ceil(64))?], scratch: vec![4 * size * parts] })
    }
}

/// The sum of `parts` partial results in scratch buffer 0, and the epilogue.
pub(super) fn combine<'a>(
    label: &'static str,
    size: usize,
    parts: usize,
    epilogue: &Body,
    dims: &[usize],
    traits: &'a Traits,
) -> Result<Builder<'a>> {
    runnable(label, parts, traits)?;
    Builder::new(label, COMBINE, traits)
        .constants(&[("SIZE", size), ("SPLITS", parts)])
        .bind(&[(Target::Scratch(0), false)])
        .epilogue(epilogue, dims, false)
}
