//! Gather and scatter-add.

use super::shader::{Builder, addressable};
use crate::dispatch::{Lowered, Target, Traits};
use ibex_core::program::{Gather, ScatterAdd};
use ibex_core::{DType, Error, Result};

const GATHER: &str = include_str!("../../../../shaders/gather.wgsl");
const SCATTER: &str = include_str!("../../../../shaders/scatter_add.wgsl");
const SCATTER_ATOMIC: &str = include_str!("../../../../shaders/scatter_add_atomic.wgsl");

pub(super) fn gather(k: &Gather, traits: &Traits) -> Result<Lowered> {
    let elements = k.count * k.width;
    if elements == 0 {
        return Ok(Lowered::default());
    }
    addressable("gather", &[elements, k.rows * k.width])?;
    let (packed, missing) = match k.dtype {
        DType::F32 => (1, 0x7fc0_0000),
        DType::F16 => (2, 0x7e00),
        DType::BF16 => (2, 0x7fc0),
        DType::I32 | DType::U32 | DType::Bool => (1, 0),
    };
    let size = elements.div_ceil(packed);
    let dispatch = Builder::new("gather", GATHER, traits)
        .bind(&[(Target::Planned(k.table), false), (Target::Planned(k.index), false), (Target::Planned(k.out), true)])
        .constants(&[
            ("SIZE", size),
            ("WIDTH", k.width),
            ("ROWS", k.rows),
            ("COUNT", k.count),
            ("PACKED", packed),
            ("MISSING", missing),
        ])
        .groups(size.div_ceil(64))?;
    Ok(Lowered { dispatches: vec![dispatch], scratch: Vec::new() })
}

pub(super) fn scatter_add(k: &ScatterAdd, traits: &Traits) -> Result<Lowered> {
    let size = k.rows * k.width;
    if size == 0 {
        return Ok(Lowered::default());
    }
    addressable("scatter_add", &[size, k.count * k.width])?;
    let element = match k.dtype {
        DType::F32 => "f32",
        DType::I32 => "i32",
        DType::U32 => "u32",
        other => return Err(Error::dtype(format!("scatter_add takes f32, i32 or u32, not {other}; cast around it"))),
    };
    // The ordered form compares all pairs of indices.
    let most = if traits.software { 4096 } else { 16384 };
    let buffers =
        [(Target::Planned(k.index), false), (Target::Planned(k.source), false), (Target::Planned(k.out), true)];
    let ordered = |phase: usize| -> Result<Builder> {
        Ok(Builder::new("scatter_add", SCATTER, traits)
            .line("alias Elem", &format!("alias Elem = {element};"))?
            .bind(&buffers)
            .constants(&[("PHASE", phase), ("SIZE", size), ("WIDTH", k.width), ("ROWS", k.rows), ("COUNT", k.count)]))
    };
    // Of one invocation: a look at what comes before, and a pass over all indices for each of its columns.
    let iterations = k.count.div_ceil(64) + k.width.div_ceil(64) * (k.count + 1);
    let mut dispatches = vec![ordered(0)?.groups(size.div_ceil(64))?];
    if k.count > 0 && k.count <= most && iterations <= traits.max_iterations {
        dispatches.push(ordered(1)?.groups(k.count)?);
    } else if k.count > 0 {
        let terms = k.count * k.width;
        let float = usize::from(k.dtype == DType::F32);
        let atomic = Builder::new("scatter_add", SCATTER_ATOMIC, traits)
            .bind(&buffers)
            .constants(&[("SIZE", terms), ("WIDTH", k.width), ("ROWS", k.rows), ("FLOAT", float)])
            .groups(terms.div_ceil(64))?;
        dispatches.push(atomic);
    }
    Ok(Lowered { dispatches, scratch: Vec::new() })
}
