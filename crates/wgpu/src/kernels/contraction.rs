//! Matrix products and convolutions as one contraction, in two shaders: tiles in workgroup memory, or tiles in the
//! registers of a subgroup.

use super::shader::{Builder, bindings};
use crate::dispatch::{Lowered, Target, Traits};
use ibex_core::program::{Body, BufferId};
use ibex_core::{DType, Result};

const TILED: &str = include_str!("../../../../shaders/contraction_tiled.wgsl");
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

/// A variant: its tile and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// Workgroup tiles of `16*tm` by `16*tn`.
    Tiled { tm: usize, tn: usize },
    /// Subgroup tiles of `8*blocks` by 32, `subgroups` of them below one another in a workgroup.
    Subgroup { blocks: usize, subgroups: usize },
}

impl Variant {
    fn tile(self) -> (usize, usize) {
        match self {
            Variant::Tiled { tm, tn } => (16 * tm, 16 * tn),
            Variant::Subgroup { blocks, subgroups } => (8 * blocks * subgroups, 32),
        }
    }

    /// Steps of `k` in one pass of the main loop.
    fn step(self) -> usize {
        match self {
            Variant::Tiled { .. } => 16,
            Variant::Subgroup { .. } => 4,
        }
    }

    /// The table of shapes. Tiles at least half full; large ones only where enough of them keep the device busy.
    fn choose(c: &Contraction, traits: &Traits) -> Variant {
        if traits.software && traits.subgroups == Some((8, 8)) {
            let blocks = match c.m {
                17.. => 4,
                9.. => 2,
                _ => 1,
            };
            let tiles = c.m.div_ceil(64) * c.n.div_ceil(32) * c.z;
            return Variant::Subgroup { blocks, subgroups: if c.m > 32 && tiles >= 8 { 2 } else { 1 } };
        }
        let fit = |n: usize| [8, 4, 2].into_iter().find(|t| 16 * t <= n + 8 * t).unwrap_or(1);
        let (mut tm, mut tn) = (fit(c.m), fit(c.n));
        while tm * tn > 4 && c.m.div_ceil(16 * tm) * c.n.div_ceil(16 * tn) * c.z < if tm * tn > 16 { 256 } else { 64 } {
            if tm >= tn {
                tm /= 2;
            } else {
                tn /= 2;
            }
        }
        while 16 * 4 * 16 * (tm + tn) > traits.max_workgroup_storage as usize && tm * tn > 1 {
            if tm >= tn {
                tm /= 2;
            } else {
                tn /= 2;
            }
        }
        Variant::Tiled { tm, tn }
    }
}

/// Into how many parts the contraction is split, and the length of a part. Long contractions of few tiles are split so
/// that the device has something to do.
fn splits(c: &Contraction, variant: Variant, tiles: usize, traits: &Traits) -> (usize, usize) {
    let (wanted, least) = if traits.software { (8, 256) } else { (256, 128) };
    let memory = (64 << 20) / (4 * c.z * c.m * c.n);
    let parts = (wanted / tiles).min(c.k / least).min(memory).max(1);
    let chunk = c.k.div_ceil(parts).next_multiple_of(variant.step()).max(variant.step());
    (c.k.div_ceil(chunk).max(1), chunk)
}

impl Contraction<'_> {
    /// The dispatches.
    pub(super) fn lower(mut self, traits: &Traits) -> Result<Lowered> {
        let variant = Variant::choose(&self, traits);
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
        }
        let (mut parts, mut chunk) = splits(&self, variant, tiles, traits);
        if bindings(1, self.epilogue) > limit {
            (parts, chunk) = (1, self.k.next_multiple_of(variant.step()).max(variant.step()));
        }
        let size = self.z * self.m * self.n;
        super::shader::addressable(self.label, &[size * parts])?;

        let mut builder = match variant {
            Variant::Tiled { tm, tn } => Builder::new(self.label, TILED, traits)
                .line("const TM: u32", &format!("const TM: u32 = {tm}u;"))?
                .line("const TN: u32", &format!("const TN: u32 = {tn}u;"))?,
            Variant::Subgroup { blocks, subgroups } => {
                Builder::new(self.label, SUBGROUP, traits).constants(&[("BLOCKS", blocks), ("SUBGROUPS", subgroups)])
            }
        };
        builder = builder
            .operand("a", self.a.buffer, Some(self.a.aligned && self.a.mode != Mode::Elements))?
            .operand("b", self.b.buffer, Some(self.b.aligned && self.b.mode != Mode::Elements))?
            .constants(&[
                ("M", self.m),
                ("N", self.n),
                ("K", self.k),
                ("Z", self.z),
                ("K_CHUNK", chunk),
                ("SPLITS", parts),
                ("OUT_SIZE", size),
                ("A_MODE", self.a.mode as usize),
                ("B_MODE", self.b.mode as usize),
            ])
            .constants(&self.constants);
        if parts == 1 {
            let dispatch = builder.epilogue(self.epilogue, &self.dims)?.groups(tiles)?;
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
    Builder::new(label, COMBINE, traits)
        .constants(&[("SIZE", size), ("SPLITS", parts)])
        .bind(&[(Target::Scratch(0), false)])
        .epilogue(epilogue, dims)
}
