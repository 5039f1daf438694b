//! Reverse-mode differentiation, graph to graph: gradients are tensors like any other, so gradients of gradients work.

mod lstm;
mod rules;

use crate::tensor::Tensor;
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::panic::Location;

impl Tensor {
    /// Gradients of a scalar with respect to `wrt`; zeros for what it does not depend on.
    ///
    /// Poisoned if `self` is not a float scalar.
    #[track_caller]
    pub fn grad<const N: usize>(&self, wrt: [&Tensor; N]) -> [Tensor; N] {
        let site = Location::caller();
        match self.gradients(&wrt.map(Clone::clone)) {
            Ok(mut grads) => std::array::from_fn(|i| match grads[i].take() {
                Some(grad) => grad,
                None => Tensor::zeros(wrt[i].shape(), wrt[i].dtype()),
            }),
            Err(error) => std::array::from_fn(|_| Tensor::poisoned(error.clone().at(site))),
        }
    }

    /// Gradients of a scalar with respect to `wrt`; `None` for what it does not depend on.
    ///
    /// # Errors
    /// `Shape` if `self` is no scalar, `DType` if it is no float; the error of a poisoned tensor.
    #[track_caller]
    pub fn gradients(&self, wrt: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
        self.check()?;
        if self.shape().elements() != 1 {
            let text =
                format!("grad: gradients are of a scalar, this has shape {}; reduce it or use vjp", self.shape());
            return Err(Error::shape(text).at(Location::caller()));
        }
        self.vjp(&Tensor::ones(self.shape(), self.dtype()), wrt)
    }

    /// The vector-Jacobian product: gradients of `sum(self * upstream)` with respect to `wrt`; `None` for what `self` does not
    /// depend on.
    ///
    /// # Errors
    /// `Shape` if `upstream` has another shape or element type, `DType` if `self` is no float; the error of a poisoned tensor.
    #[track_caller]
    pub fn vjp(&self, upstream: &Tensor, wrt: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
        self.pull(upstream, wrt, false)
    }

    /// [`Tensor::vjp`]; with `partial`, `wrt` counts as independent even where one is computed from another.
    #[track_caller]
    fn pull(&self, upstream: &Tensor, wrt: &[Tensor], partial: bool) -> Result<Vec<Option<Tensor>>> {
        let site = Location::caller();
        for tensor in wrt.iter().chain([self, upstream]) {
            tensor.check()?;
        }
        if !self.dtype().is_float() {
            return Err(Error::dtype(format!("grad: only floats have gradients, this is {}", self.dtype())).at(site));
        }
        if upstream.shape() != self.shape() || upstream.dtype() != self.dtype() {
            let text = format!(
                "vjp: upstream gradient is {} {}, the tensor is {} {}",
                upstream.dtype(),
                upstream.shape(),
                self.dtype(),
                self.shape()
            );
            return Err(Error::shape(text).at(site));
        }

        let order = between(self, wrt);
        let mut grads: HashMap<u64, Tensor> = HashMap::from([(self.id(), upstream.clone())]);
        let on_path: HashSet<u64> = order.iter().map(Tensor::id).collect();
        let wanted: HashSet<u64> = wrt.iter().map(Tensor::id).collect();
        for node in order.iter().rev() {
            // Results that somebody asked for stay; all others are used up here.
            let grad =
                if wanted.contains(&node.id()) { grads.get(&node.id()).cloned() } else { grads.remove(&node.id()) };
            let Some(grad) = grad.filter(|_| !node.inputs().is_empty()) else { continue };
            if partial && wanted.contains(&node.id()) {
                continue;
            }
            let needed: Vec<bool> = node.inputs().iter().map(|t| on_path.contains(&t.id())).collect();
            if !needed.contains(&true) {
                continue;
            }
            for (input, grad) in node.inputs().iter().zip(rules::backward(node, &grad, &needed)) {
                let Some(grad) = grad.filter(|_| on_path.contains(&input.id())) else { continue };
                grad.check()?;
                let sum = match grads.remove(&input.id()) {
                    Some(sum) => sum.add(grad),
                    None => grad,
                };
                grads.insert(input.id(), sum);
            }
        }
        Ok(wrt.iter().map(|t| grads.get(&t.id()).cloned()).collect())
    }
}

/// The nodes on a path from `wrt` to `output`, operands before users.
fn between(output: &Tensor, wrt: &[Tensor]) -> Vec<Tensor> {
    let wanted: HashSet<u64> = wrt.iter().map(Tensor::id).collect();
    let mut depends: HashMap<u64, bool> = HashMap::new();
    let mut order = Vec::new();
    let mut stack = vec![(output.clone(), false)];
    while let Some((node, expanded)) = stack.pop() {
        if depends.contains_key(&node.id()) {
            continue;
        }
        if !expanded {
            let inputs: Vec<Tensor> = node.inputs().to_vec();
            stack.push((node, true));
            stack.extend(inputs.into_iter().map(|t| (t, false)));
            continue;
        }
        let yes = wanted.contains(&node.id()) || node.inputs().iter().any(|t| depends[&t.id()]);
        depends.insert(node.id(), yes);
        if yes {
            order.push(node);
        }
    }
    order
}
