//! Which kernel runs a contraction: the one place where shapes and classes of devices meet the verified variants.

use super::cooperative::Tile;
use crate::dispatch::Traits;

/// The kernels for contractions. A device is opened with one of them forced in tests and by `ibex tune`; else the table decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contractions {
    /// Tiles of up to 64 x 64 in workgroup memory: any device.
    Tiled,
    /// Tiles of 128 x 128 in workgroup memory, for large results on a real GPU.
    Large,
    /// Tiles in the registers of subgroups of 8, for software.
    Subgroup,
    /// Cooperative matrices (tensor cores, SIMD-group matrices), added in `f32`. An experimental feature of `wgpu`, asked of a device only
    /// when this is forced or was tuned; contractions whose operands are of another type run as [`Contractions::Tiled`].
    Cooperative,
}

impl Contractions {
    /// All of them.
    pub const ALL: [Contractions; 4] =
        [Contractions::Tiled, Contractions::Large, Contractions::Subgroup, Contractions::Cooperative];

    /// Its name in files and in `IBEX_GPU_CONTRACTIONS`.
    pub fn name(self) -> &'static str {
        match self {
            Contractions::Tiled => "tiled",
            Contractions::Large => "large",
            Contractions::Subgroup => "subgroup",
            Contractions::Cooperative => "cooperative",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Contractions> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// True if the device can run it for operands that are `f16`, or that are not.
    pub(crate) fn runs_on(self, half: bool, traits: &Traits) -> bool {
        match self {
            Contractions::Tiled => true,
            Contractions::Large => traits.max_workgroup_storage >= 16384 && traits.max_invocations >= 256,
            Contractions::Subgroup => traits.subgroups == Some((8, 8)),
            Contractions::Cooperative => Tile::choose(Extent { z: 1, m: 1, n: 1, k: 1 }, half, traits).is_some(),
        }
    }
}

/// The size of a contraction: `z` times `(m, k) x (k, n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Extent {
    pub z: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Extent {
    /// Tiles of this size that cover the result.
    pub fn tiles(self, rows: usize, columns: usize) -> usize {
        self.m.div_ceil(rows) * self.n.div_ceil(columns) * self.z
    }
}

/// A kernel with its tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// Workgroup tiles of `16*tm` by `16*tn`.
    Tiled { tm: usize, tn: usize },
    /// Workgroup tiles of 128 by 128.
    Large,
    /// Subgroup tiles of `8*blocks` by 32, `subgroups` of them below one another in a workgroup.
    Subgroup { blocks: usize, subgroups: usize },
    /// Workgroup tiles of cooperative matrices.
    Cooperative(Tile),
}

impl Variant {
    /// The kernel for a contraction whose operands both are `f16`, or not.
    pub fn choose(e: Extent, half: bool, traits: &Traits) -> Variant {
        let measured = || traits.tuning.as_ref()?.contraction(e, half).filter(|kernel| kernel.runs_on(half, traits));
        match traits.contractions.or_else(measured).unwrap_or_else(|| table(e, traits)) {
            Contractions::Tiled => tiled(e, traits),
            Contractions::Large => Variant::Large,
            Contractions::Subgroup => subgroup(e),
            Contractions::Cooperative => {
                Tile::choose(e, half, traits).map_or_else(|| tiled(e, traits), Variant::Cooperative)
            }
        }
    }

    pub fn tile(self) -> (usize, usize) {
        match self {
            Variant::Tiled { tm, tn } => (16 * tm, 16 * tn),
            Variant::Large => (128, 128),
            Variant::Subgroup { blocks, subgroups } => (8 * blocks * subgroups, 32),
            Variant::Cooperative(tile) => (tile.side(), tile.side()),
        }
    }

    /// The most steps of `k` for which the loops of an invocation have few enough iterations.
    pub fn longest(self, traits: &Traits) -> usize {
        match self {
            Variant::Tiled { .. } | Variant::Large => traits.max_iterations / 3,
            Variant::Subgroup { .. } => traits.max_iterations.saturating_mul(2),
            Variant::Cooperative(_) => traits.max_iterations / 64,
        }
    }

    /// Steps of `k` in one pass of the main loop.
    pub fn step(self) -> usize {
        match self {
            Variant::Tiled { .. } | Variant::Large => 16,
            Variant::Subgroup { .. } => 4,
            Variant::Cooperative(tile) => tile.steps(),
        }
    }
}

/// The table.
fn table(e: Extent, traits: &Traits) -> Contractions {
    if traits.software {
        return if Contractions::Subgroup.runs_on(false, traits) {
            Contractions::Subgroup
        } else {
            Contractions::Tiled
        };
    }
    // Large tiles reuse each number twice as often, but only pay where they are full and enough of them keep the device busy.
    let full = e.m * e.n * 4 >= 3 * (e.m.next_multiple_of(128) * e.n.next_multiple_of(128));
    if Contractions::Large.runs_on(false, traits) && full && e.tiles(128, 128) >= 64 {
        return Contractions::Large;
    }
    Contractions::Tiled
}

/// Tiles at least half full, and 64 x 64 only where enough of them keep the device busy.
fn tiled(e: Extent, traits: &Traits) -> Variant {
    let fit = |n: usize| [4, 2].into_iter().find(|t| 16 * t <= n + 8 * t).unwrap_or(1);
    let (mut tm, mut tn) = (fit(e.m), fit(e.n));
    let bytes = |tm: usize, tn: usize| 16 * 4 * 16 * (tm + tn);
    while tm * tn > 1
        && (tm * tn > 4 && e.tiles(16 * tm, 16 * tn) < 64 || bytes(tm, tn) > traits.max_workgroup_storage as usize)
    {
        if tm >= tn {
            tm /= 2;
        } else {
            tn /= 2;
        }
    }
    Variant::Tiled { tm, tn }
}

fn subgroup(e: Extent) -> Variant {
    // A small product takes longer to compile than to run: it gets the short code.
    let small = e.z * e.m * e.n * e.k <= 1 << 18;
    let blocks = match e.m {
        17.. if !small => 4,
        9.. if !small => 2,
        _ => 1,
    };
    Variant::Subgroup { blocks, subgroups: if e.m > 32 && e.tiles(64, 32) >= 8 { 2 } else { 1 } }
}
