//! Runs a case on a device and holds the result against the reference.

use crate::case::{Case, Kind, Step};
use crate::inputs::Inputs;
use crate::tolerance::{Class, Tolerance};
use ibex_core::program::Program;
use ibex_core::{Data, Device, Error, Function, Result, Tensor, Variable, oracle};
use std::sync::Arc;

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The largest error as a multiple of what is allowed: at most 1 is right.
    pub error: f64,
    /// Where that is, for people; empty if there is no error at all.
    pub worst: String,
}

impl Outcome {
    /// True if every element is as exact as it must be.
    pub fn passed(&self) -> bool {
        self.error <= 1.0
    }

    fn none() -> Outcome {
        Outcome { error: 0.0, worst: String::new() }
    }

    /// The worse of two.
    pub(crate) fn and(self, other: Outcome) -> Outcome {
        if other.error > self.error { other } else { self }
    }

    /// Holds `got` against true values.
    pub(crate) fn of(what: &str, got: &[f64], want: &[f64], tolerance: Tolerance) -> Outcome {
        if got.len() != want.len() {
            return Outcome {
                error: f64::INFINITY,
                worst: format!("{what}: {} values, not {}", got.len(), want.len()),
            };
        }
        let mut outcome = Outcome::none();
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            let error = tolerance.error(got, want);
            if error > outcome.error {
                outcome = Outcome { error, worst: format!("{what}, element {i}: {got}, not {want}") };
            }
        }
        outcome
    }
}

/// Runs cases and lists those that fail, each with the reason: the main loop of every test and of `ibex check`.
pub fn failures<'a>(
    cases: impl IntoIterator<Item = &'a Case>,
    run: impl Fn(&Case) -> Result<Outcome>,
) -> Vec<(String, String)> {
    let why = |case: &Case| match run(case) {
        Ok(outcome) if outcome.passed() => None,
        Ok(outcome) => Some(format!("{} ({:.3} times the tolerance)", outcome.worst, outcome.error)),
        Err(error) => Some(error.to_string()),
    };
    cases.into_iter().filter_map(|case| why(case).map(|why| (case.name.clone(), why))).collect()
}

/// Runs a case on a device against the `f64` reference.
///
/// # Errors
/// What the case, the compiler or the device reports. A wrong result is no error but an [`Outcome`] that did not pass.
pub fn compare(device: &Device, case: &Case) -> Result<Outcome> {
    let mut inputs = Inputs::new(&case.name);
    match &case.kind {
        Kind::Eval(build) => evaluated(device, &build(&mut inputs), case.class),
        Kind::Train { state, args, step, calls } => {
            let initial = state(&mut inputs);
            let (variables, function) = stepper(device, &initial, step)?;
            let mut outcome = Outcome::none();
            let mut truth = initial;
            for call in 0..*calls {
                let args = args(&mut inputs);
                let got = function.call(&args.iter().collect::<Vec<_>>())?;
                let (results, next) = step(&truth, &args);
                let want = oracle::eval(&[results, next].concat())?;
                for (i, (tensor, want)) in got.iter().zip(&want).enumerate() {
                    outcome = outcome.and(held(device, &format!("call {call}, result {i}"), tensor, want, case.class)?);
                }
                truth.clear();
                for (i, (variable, want)) in variables.iter().zip(&want[got.len()..]).enumerate() {
                    let what = format!("call {call}, variable {i}");
                    outcome = outcome.and(held(device, &what, &variable.value(), want, case.class)?);
                    truth.push(oracle::leaf(variable.dtype(), want, variable.shape()));
                }
            }
            Ok(outcome)
        }
    }
}

/// The program a device runs for a case, for listings and counts.
///
/// # Errors
/// As [`compare`].
pub fn program(device: &Device, case: &Case) -> Result<Program> {
    let mut inputs = Inputs::new(&case.name);
    let plan = match &case.kind {
        Kind::Eval(build) => {
            let outputs = build(&mut inputs);
            Function::from_slice(device, move |_: &[Tensor]| Ok(outputs.clone())).plan(&[])?
        }
        Kind::Train { state, args, step, .. } => {
            let initial = state(&mut inputs);
            let specs: Vec<_> = args(&mut inputs).iter().map(|t| (t.shape().clone(), t.dtype())).collect();
            stepper(device, &initial, step)?.1.plan(&specs)?
        }
    };
    Ok(plan.program().clone())
}

/// Variables with the initial state, and the compiled step over them.
fn stepper(device: &Device, initial: &[Tensor], step: &Arc<Step>) -> Result<(Vec<Variable>, Function)> {
    let named = |(i, value)| Variable::new(format!("v{i}"), value);
    let variables: Vec<Variable> = initial.iter().enumerate().map(named).collect::<Result<_>>()?;
    let (inside, step) = (variables.clone(), step.clone());
    let function = Function::from_slice(device, move |args: &[Tensor]| {
        let state: Vec<Tensor> = inside.iter().map(Variable::value).collect();
        let (results, next) = step(&state, args);
        inside.iter().zip(next).try_for_each(|(variable, value)| variable.assign(value))?;
        Ok(results)
    });
    Ok((variables, function))
}

/// Tensors evaluated together on a device against the reference.
///
/// # Errors
/// As [`compare`].
pub(crate) fn evaluated(device: &Device, tensors: &[Tensor], class: Class) -> Result<Outcome> {
    let want = oracle::eval(tensors)?;
    let got = device.eval(tensors)?;
    let mut outcome = Outcome::none();
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        outcome = outcome.and(held(device, &format!("output {i}"), got, want, class)?);
    }
    Ok(outcome)
}

fn held(device: &Device, what: &str, got: &Tensor, want: &[f64], class: Class) -> Result<Outcome> {
    let data = device.read_now(got)?;
    if data.dtype() != got.dtype() {
        return Err(Error::dtype(format!("{what} holds {}, not {}", data.dtype(), got.dtype())));
    }
    // The reference does not round to the element type.
    let want = Data::from_f64(got.dtype(), want).to_f64();
    Ok(Outcome::of(what, &data.to_f64(), &want, Tolerance::new(class, got.dtype(), &want)))
}
