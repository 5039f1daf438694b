//! Derivatives against central differences, all in `f64`.

use crate::case::{Case, Grad, Kind};
use crate::inputs::Inputs;
use crate::run::Outcome;
use crate::tolerance::{Class, Tolerance};
use ibex_core::{DType, Error, Result, Tensor, oracle};

/// The step of the differences: their own error is about its square.
const STEP: f64 = 1e-4;
/// Of a large input only about this many elements are moved.
const PROBES: usize = 24;

/// Checks the derivatives of a case as far as its [`Grad`] says. Needs no device: the reference computes both sides in `f64`.
///
/// # Errors
/// What the case, autodiff or the reference reports. A wrong derivative is no error but an [`Outcome`] that did not pass.
pub fn gradients(case: &Case) -> Result<Outcome> {
    let mut inputs = Inputs::new(&case.name);
    let none = Outcome { error: 0.0, worst: String::new() };
    let Kind::Eval(build) = &case.kind else { return Ok(none) };
    if case.grad == Grad::None {
        return Ok(none);
    }
    let outputs = build(&mut inputs);
    let leaves: Vec<Tensor> = inputs.made().iter().filter(|t| t.dtype() == DType::F32).cloned().collect();
    let loss = weighted_sum(&outputs, &mut inputs)?;
    let (first, grads) = against_differences("gradient", &loss, &leaves)?;
    if case.grad == Grad::First {
        return Ok(first);
    }
    let loss = weighted_sum(&grads, &mut inputs)?;
    Ok(first.and(against_differences("second derivative", &loss, &leaves)?.0))
}

/// A scalar that depends on every element, on each in another way.
fn weighted_sum(tensors: &[Tensor], inputs: &mut Inputs) -> Result<Tensor> {
    let mut sum = Tensor::zeros([], DType::F32);
    for tensor in tensors.iter().filter(|t| t.dtype().is_float()) {
        let weights = inputs.uniform(tensor.shape(), 0.5, 1.5);
        sum = sum + (tensor.cast(DType::F32) * weights).sum(&[]);
    }
    sum.check()?;
    Ok(sum)
}

fn against_differences(what: &str, loss: &Tensor, leaves: &[Tensor]) -> Result<(Outcome, Vec<Tensor>)> {
    let grads: Vec<Tensor> = loss
        .gradients(leaves)?
        .into_iter()
        .zip(leaves)
        .map(|(grad, leaf)| grad.unwrap_or_else(|| Tensor::zeros(leaf.shape(), leaf.dtype())))
        .collect();
    let mut outcome = Outcome { error: 0.0, worst: String::new() };
    for (number, (leaf, got)) in leaves.iter().zip(oracle::eval(&grads)?).enumerate() {
        let data = leaf.data().ok_or_else(|| Error::value("an input of a case must be host numbers"))?.to_f64();
        let every = data.len().div_ceil(PROBES).max(1);
        for i in (0..data.len()).step_by(every) {
            let at = |delta: f64| -> Result<f64> {
                let mut moved = data.clone();
                moved[i] += delta;
                Ok(oracle::eval_at(loss, leaf, &moved)?[0])
            };
            let want = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            // The differences themselves are good for about seven digits; constants in the graph are `f32`.
            let tolerance = Tolerance::new(Class::Sum(16), DType::F32, &[want, 1.0]);
            outcome =
                outcome.and(Outcome::of(&format!("{what} of input {number} at {i}"), &got[i..=i], &[want], tolerance));
        }
    }
    Ok((outcome, grads))
}
