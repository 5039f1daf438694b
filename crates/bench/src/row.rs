//! One row: what is computed, how its result is checked, how it is measured.

use crate::measure::{Fence, Timing, sample, seconds};
use crate::report::Measurement;
use crate::rows::{Replay, Step};
use ibex::core::random::threefry;
use ibex::{Arg, Data, Device, Error, Function, Plan, Profile, Result, Tensor, Variable};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Elements of each result that are held against the truth.
const SPOTS: usize = 8;
/// The largest error that counts as rounding, relative to the result or to what results are like: that of an `f16` and a bit. What is wrong is
/// wrong by more.
const TOLERANCE: f64 = 2e-3;

type Traced = dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync;

/// `(inputs, result, element)` to the true value of that element, computed from the inputs alone; `None` where that would be as much work
/// as the row itself.
type Truth = dyn Fn(&[Vec<f32>], usize, usize) -> Option<f64>;

/// One row of the benchmark.
pub struct Row {
    name: String,
    kind: Kind,
}

pub(crate) enum Kind {
    Program(Program),
    Step(Step),
    Replay(Replay),
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, kind: Kind) -> Row {
        Row { name: name.into(), kind }
    }

    /// Its name: no two rows have the same.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks its result, then measures it.
    ///
    /// # Errors
    /// `Value` if the result is wrong; whatever the device reports.
    pub fn measure(&self, device: &Device, timing: Timing) -> Result<Measurement> {
        match &self.kind {
            Kind::Program(program) => program.measure(&self.name, device, timing),
            Kind::Step(step) => step.measure(&self.name, device, timing),
            Kind::Replay(replay) => replay.measure(&self.name, device, timing),
        }
    }

    /// Measures it kernel by kernel; `None` where the device has no clock.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub fn profile(&self, device: &Device) -> Result<Option<Profile>> {
        const RUNS: usize = 10;
        match &self.kind {
            Kind::Program(program) | Kind::Replay(Replay(program)) => {
                let loaded = program.load(device)?;
                Profile::measure(&loaded.plan, &mut loaded.args(), RUNS)
            }
            Kind::Step(step) => step.profile(device, RUNS),
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({})", self.name)
    }
}

/// The rows whose names contain one of the filters; all of them if there is no filter.
///
/// # Errors
/// `Value` for a filter that no row has, naming those that there are.
pub fn matching(rows: Vec<Row>, filters: &[String]) -> Result<Vec<Row>> {
    if let Some(unknown) = filters.iter().find(|&f| !rows.iter().any(|row| row.name.contains(f))) {
        let names: Vec<&str> = rows.iter().map(Row::name).collect();
        return Err(Error::value(format!("no row has {unknown:?} in its name; there are: {}", names.join(", "))));
    }
    let wanted = |row: &Row| filters.is_empty() || filters.iter().any(|f| row.name.contains(f));
    Ok(rows.into_iter().filter(wanted).collect())
}

/// A compiled function over tensors in device memory.
pub(crate) struct Program {
    args: Vec<Tensor>,
    /// Read and assigned by the function.
    state: Vec<Variable>,
    function: Arc<Traced>,
    truth: Box<Truth>,
    flops: f64,
    bytes: Option<f64>,
}

impl Program {
    /// What `f` makes of `args`, each element of it checked by `truth`.
    pub fn new(
        args: impl Into<Vec<Tensor>>,
        f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
        truth: impl Fn(&[Vec<f32>], usize, usize) -> Option<f64> + 'static,
    ) -> Program {
        let (args, function, truth) = (args.into(), Arc::new(f), Box::new(truth));
        Program { args, state: Vec::new(), function, truth, flops: 0.0, bytes: None }
    }

    /// With variables that the function updates. For the truth they are inputs behind the arguments, and results behind the others.
    pub fn state(self, state: Vec<Variable>) -> Program {
        Program { state, ..self }
    }

    /// The floating-point operations it needs, where they may take longer than its memory traffic.
    pub fn flops(self, flops: usize) -> Program {
        Program { flops: flops as f64, ..self }
    }

    /// The bytes it must move, if that is not every argument and result once, and state twice.
    pub fn bytes(self, bytes: usize) -> Program {
        Program { bytes: Some(bytes as f64), ..self }
    }

    pub fn row(self, name: impl Into<String>) -> Row {
        Row::new(name, Kind::Program(self))
    }

    /// Brings the arguments to the device and compiles the function for it.
    pub fn load(&self, device: &Device) -> Result<Loaded> {
        let args = self.args.iter().map(|arg| Ok(device.eval(std::slice::from_ref(arg))?.remove(0)));
        let args = args.collect::<Result<Vec<_>>>()?;
        let f = self.function.clone();
        let function = Function::from_slice(device, move |args: &[Tensor]| f(args));
        let specs: Vec<_> = args.iter().map(|t| (t.shape().clone(), t.dtype())).collect();
        let start = Instant::now();
        let plan = function.plan(&specs)?;
        Ok(Loaded { plan, args, compiled: start.elapsed() })
    }

    /// Runs it once and holds its results against the truth. Gives the bytes that must be moved, and the seconds of this first run.
    pub fn check(&self, device: &Device, loaded: &Loaded) -> Result<(f64, f64)> {
        let read = |t: &Tensor| Ok(numbers(device.read_now(t)?));
        let state = || self.state.iter().map(Variable::value);
        let inputs: Vec<Vec<f32>> =
            loaded.args.iter().cloned().chain(state()).map(|t| read(&t)).collect::<Result<_>>()?;
        let fence = Fence::new(device)?;
        let mut outputs = Vec::new();
        let first = seconds(|| {
            outputs = loaded.plan.run(&mut loaded.args())?;
            fence.wait()
        })?;
        let size = |t: &Tensor| t.shape().elements() * t.dtype().size();
        let moved =
            loaded.args.iter().chain(&outputs).map(size).sum::<usize>() + 2 * state().map(|t| size(&t)).sum::<usize>();
        for (i, output) in outputs.into_iter().chain(state()).enumerate() {
            let got = read(&output)?;
            if let Some(at) = got.iter().position(|v| !v.is_finite()) {
                return Err(Error::value(format!("element {at} of result {i} is {}", got[at])));
            }
            let spots = spots(got.len());
            let truth = spots.iter().map(|&at| (self.truth)(&inputs, i, at)).collect::<Option<Vec<f64>>>();
            let Some(truth) = truth else { continue };
            let usual = (truth.iter().map(|v| v * v).sum::<f64>() / truth.len().max(1) as f64).sqrt();
            for (&at, want) in spots.iter().zip(truth) {
                let got = f64::from(got[at]);
                // A NaN is no small difference.
                let close = (got - want).abs() <= TOLERANCE * want.abs().max(usual);
                if !close {
                    return Err(Error::value(format!("wrong: element {at} of result {i} is {got}, not {want}")));
                }
            }
        }
        Ok((self.bytes.unwrap_or(moved as f64), first))
    }

    fn measure(&self, name: &str, device: &Device, timing: Timing) -> Result<Measurement> {
        let loaded = self.load(device)?;
        let (bytes, first) = self.check(device, &loaded)?;
        let samples = sample(device, timing, || loaded.plan.run(&mut loaded.args()).map(drop))?;
        let first = first + loaded.compiled.as_secs_f64();
        Ok(Measurement::new(name, &samples, self.flops, bytes).with("first_ms", first * 1e3))
    }
}

/// A program ready to be replayed.
pub(crate) struct Loaded {
    pub plan: Arc<Plan>,
    args: Vec<Tensor>,
    /// The time from tracing to a program that can run.
    compiled: Duration,
}

impl Loaded {
    pub fn args(&self) -> Vec<Arg<'static>> {
        self.args.iter().cloned().map(Arg::Tensor).collect()
    }
}

/// Some elements of `len`: the first, the last, and others that follow no pattern.
fn spots(len: usize) -> Vec<usize> {
    let at = |i: usize| match i {
        0 => 0,
        1 => len - 1,
        _ => threefry([len as u32, 0], [i as u32, 0])[0] as usize % len,
    };
    (0..SPOTS.min(len)).map(at).collect()
}

fn numbers(data: Data) -> Vec<f32> {
    match data {
        Data::F32(v) => v,
        other => other.to_f64().into_iter().map(|v| v as f32).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_result_is_not_timed() {
        let x = || [Tensor::rand([4, 4], 1)];
        let twice = |x: &[Tensor]| Ok(vec![&x[0] * 2.0]);
        let device = ibex::device("cpu").unwrap();
        let measure = |p: Program| p.row("x").measure(&device, Timing::QUICK);
        assert!(measure(Program::new(x(), twice, |x, _, at| Some(2.0 * f64::from(x[0][at])))).is_ok());
        let error = measure(Program::new(x(), twice, |x, _, at| Some(2.01 * f64::from(x[0][at])))).unwrap_err();
        assert!(error.to_string().contains("wrong: element 0 of result 0"), "{error}");
        let nan = measure(Program::new(x(), |x| Ok(vec![(&x[0] - 2.0).log()]), |_, _, _| None)).unwrap_err();
        assert!(nan.to_string().contains("NaN"), "{nan}");
    }

    #[test]
    fn state_counts_as_input_and_result() {
        let v = Variable::new("v", Tensor::full([3], 2.0, ibex::DType::F32)).unwrap();
        let inside = v.clone();
        let f = move |x: &[Tensor]| {
            inside.assign(&inside.value() + &x[0])?;
            Ok(vec![])
        };
        let program = Program::new([Tensor::full([3], 1.0, ibex::DType::F32)], f, |x, _, at| {
            Some(f64::from(x[0][at]) + f64::from(x[1][at]))
        });
        let program = program.state(vec![v]);
        let device = ibex::device("cpu").unwrap();
        let loaded = program.load(&device).unwrap();
        assert_eq!(program.check(&device, &loaded).unwrap().0, 36.0);
    }
}
