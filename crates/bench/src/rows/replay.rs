//! What replaying a program costs the host.

use super::at;
use crate::measure::{Fence, Timing, collect, seconds};
use crate::report::Measurement;
use crate::row::{Kind, Program, Row};
use ibex::{Device, Result, Tensor};

/// Products of tiny matrices one after the other, every second with a transposed operand: dispatches that take the device no time, that nothing
/// fuses, and that change the pipeline each time. A multiple of `SIDE`.
const DISPATCHES: usize = 400;
const SIDE: usize = 8;

/// A program whose time is that of the host: from the call until it returns, the device idle before and not waited for after. On the CPU, which
/// is its own device, that includes the work.
pub(crate) struct Replay(pub Program);

pub(super) fn rows() -> Vec<Row> {
    // Moves every column to the next place, the last to the first: after as many products as there are columns all is as it was.
    let shift = |i: usize| f32::from(u8::from((i / SIDE + 1) % SIDE == i % SIDE));
    let shift = Tensor::from_vec((0..SIDE * SIDE).map(shift).collect(), [SIDE; 2]);
    let f = |x: &[Tensor]| {
        let product = |y: Tensor, i: usize| if i.is_multiple_of(2) { y.matmul(&x[1]) } else { y.matmul(x[2].t()) };
        Ok(vec![(0..DISPATCHES).fold(x[0].clone(), product)])
    };
    let program =
        Program::new([Tensor::randn([SIDE; 2], 1), shift.clone(), shift.t()], f, |x, _, i| Some(at(&x[0], i)));
    vec![Row::new("replay", Kind::Replay(Replay(program)))]
}

impl Replay {
    pub fn measure(&self, name: &str, device: &Device, timing: Timing) -> Result<Measurement> {
        let loaded = self.0.load(device)?;
        self.0.check(device, &loaded)?;
        let fence = Fence::new(device)?;
        let mut args = loaded.args();
        let mut once = || {
            fence.wait()?;
            seconds(|| loaded.plan.run(&mut args).map(drop))
        };
        // Pools and bind groups fill.
        (0..5).try_for_each(|_| once().map(drop))?;
        let before = device.counters();
        once()?;
        let dispatches = device.counters().dispatches - before.dispatches;
        let samples = collect(timing, once)?;
        // The least: other programs only ever add to the time of the host.
        let each = samples.least() * 1e6 / dispatches.max(1) as f64;
        Ok(Measurement::new(name, &samples, 0.0, 0.0)
            .with("dispatches", dispatches as f64)
            .with("us_per_dispatch", each))
    }
}
