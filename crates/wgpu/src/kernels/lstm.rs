//! LSTM and its gradient: one dispatch where the state of four batch rows fits a workgroup, else one for each step.

use super::shader::{Builder, addressable, runnable};
use crate::dispatch::{Dispatch, Lowered, Target, Traits};
use ibex_core::program::{Lstm, LstmGrad};
use ibex_core::{Error, Result};

const SEQUENCE: &str = include_str!("../../../../shaders/lstm_sequence.wgsl");
const STEP: &str = include_str!("../../../../shaders/lstm_step.wgsl");
const GRAD_SEQUENCE: &str = include_str!("../../../../shaders/lstm_grad_sequence.wgsl");
const GRAD_STEP: &str = include_str!("../../../../shaders/lstm_grad_step.wgsl");
const TRANSPOSE: &str = include_str!("../../../../shaders/transpose.wgsl");

/// What the forward pass and the gradient have in common.
struct Recurrence<'a> {
    label: &'static str,
    sequence: &'static str,
    step: &'static str,
    /// Vectors of four rows that a workgroup holds for each unit.
    held: usize,
    n: usize,
    steps: usize,
    units: usize,
    buffers: Vec<(Target, bool)>,
    constants: Vec<(&'static str, usize)>,
    traits: &'a Traits,
}

impl Recurrence<'_> {
    fn lower(&self) -> Result<Vec<Dispatch>> {
        let (units, traits) = (self.units, self.traits);
        addressable(self.label, &[self.n * self.steps * 6 * units, 4 * units * units])?;
        let width = units.next_multiple_of(64);
        let start = |source: &str| {
            Builder::new(self.label, source, traits)
                .bind(&self.buffers)
                .constants(&[("BATCH", self.n), ("STEPS", self.steps), ("UNITS", units)])
                .constants(&self.constants)
        };
        let fits = 16 * self.held * width <= traits.max_workgroup_storage as usize
            // One pass over the units for each vector that is held, at every step.
            && self.steps * (self.held * units + 8) <= traits.max_iterations;
        if fits && width <= 256.min(traits.max_invocations as usize) {
            let dispatch = start(self.sequence)
                .constants(&[("WIDTH", width)])
                .line("const CAPACITY: u32", &format!("const CAPACITY: u32 = {}u;", self.held * width))?
                .groups(self.n.div_ceil(4))?;
            return Ok(vec![dispatch]);
        }
        runnable(self.label, self.held * units + 8, traits)?;
        let (tiles, rows) = (units.div_ceil(64), self.n.div_ceil(4));
        let limit = traits.max_workgroups_per_dim as usize;
        if tiles + self.steps > limit || rows > limit {
            return Err(Error::unsupported(format!(
                "{} of {} steps and batch size {} is too large for this device: make the batch or the sequence smaller",
                self.label, self.steps, self.n
            )));
        }
        // The grid is wider by one workgroup at each step, which tells the shader the step.
        Ok((0..self.steps)
            .map(|step| start(self.step).constants(&[("TILES", tiles)]).grid([(tiles + step) as u32, rows as u32, 1]))
            .collect())
    }
}

pub(super) fn forward(k: &Lstm, traits: &Traits) -> Result<Lowered> {
    if k.n * k.steps * k.units == 0 {
        return Ok(Lowered::default());
    }
    let read = |id| (Target::Planned(id), false);
    let recurrence = Recurrence {
        label: "lstm",
        sequence: SEQUENCE,
        step: STEP,
        held: 1,
        n: k.n,
        steps: k.steps,
        units: k.units,
        buffers: vec![read(k.z), read(k.recurrent), read(k.h0), read(k.c0), (Target::Planned(k.out), true)],
        constants: Vec::new(),
        traits,
    };
    Ok(Lowered { dispatches: recurrence.lower()?, scratch: Vec::new() })
}

pub(super) fn gradient(k: &LstmGrad, traits: &Traits) -> Result<Lowered> {
    if k.n * k.steps * k.units == 0 {
        return Ok(Lowered::default());
    }
    let read = |id| (Target::Planned(id), false);
    let weights = 4 * k.units * k.units;
    // Neighbouring invocations read neighbouring weights.
    let transpose = Builder::new("lstm_grad", TRANSPOSE, traits)
        .bind(&[read(k.recurrent), (Target::Scratch(0), true)])
        .constants(&[("ROWS", k.units), ("COLUMNS", 4 * k.units)])
        .groups(weights.div_ceil(64))?;
    let recurrence = Recurrence {
        label: "lstm_grad",
        sequence: GRAD_SEQUENCE,
        step: GRAD_STEP,
        held: 4,
        n: k.n,
        steps: k.steps,
        units: k.units,
        buffers: vec![
            read(k.forward),
            (Target::Scratch(0), false),
            read(k.c0),
            read(k.dh.unwrap_or(k.c0)),
            read(k.dc.unwrap_or(k.c0)),
            (Target::Planned(k.out), true),
        ],
        constants: vec![("HAS_DH", usize::from(k.dh.is_some())), ("HAS_DC", usize::from(k.dc.is_some()))],
        traits,
    };
    let mut dispatches = vec![transpose];
    dispatches.extend(recurrence.lower()?);
    Ok(Lowered { dispatches, scratch: vec![4 * weights] })
}
