//! One entry of the list.

use crate::inputs::Inputs;
use crate::tolerance::Class;
use ibex_core::Tensor;
use std::fmt;
use std::sync::Arc;

/// Which derivatives of a case are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grad {
    /// None: there are none, or the case is too large for finite differences.
    None,
    /// Gradients.
    First,
    /// Gradients, and gradients of gradients.
    Second,
}

/// What is done with the state of a [`Kind::Train`] case: `(state, arguments)` to `(results, new state)`.
pub type Step = dyn Fn(&[Tensor], &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) + Send + Sync;

/// Makes tensors from inputs.
pub type Build = dyn Fn(&mut Inputs) -> Vec<Tensor> + Send + Sync;

/// What a case computes.
pub enum Kind {
    /// Tensors, evaluated together.
    Eval(Box<Build>),
    /// A compiled function over variables, called several times: the first closure makes the initial state and the arguments.
    Train {
        /// Initial values of the variables.
        state: Box<Build>,
        /// The arguments of one call.
        args: Box<Build>,
        /// One call.
        step: Arc<Step>,
        /// How often it is called.
        calls: usize,
    },
}

/// A computation with a known answer.
pub struct Case {
    /// A unique name: `"reduce/sum/2x3x4/axis1"`.
    pub name: String,
    /// How exact it must be.
    pub class: Class,
    /// Which derivatives are checked.
    pub grad: Grad,
    /// What it computes.
    pub kind: Kind,
}

impl Case {
    /// A case that evaluates tensors: elementwise tolerance, no derivatives.
    pub fn new(name: impl Into<String>, build: impl Fn(&mut Inputs) -> Vec<Tensor> + Send + Sync + 'static) -> Case {
        Case { name: name.into(), class: Class::Elementwise, grad: Grad::None, kind: Kind::Eval(Box::new(build)) }
    }

    /// A case that calls a compiled function over variables.
    pub fn train(
        name: impl Into<String>,
        calls: usize,
        state: impl Fn(&mut Inputs) -> Vec<Tensor> + Send + Sync + 'static,
        args: impl Fn(&mut Inputs) -> Vec<Tensor> + Send + Sync + 'static,
        step: impl Fn(&[Tensor], &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) + Send + Sync + 'static,
    ) -> Case {
        let kind = Kind::Train { state: Box::new(state), args: Box::new(args), step: Arc::new(step), calls };
        Case { name: name.into(), class: Class::Elementwise, grad: Grad::None, kind }
    }

    /// With another tolerance.
    pub fn class(self, class: Class) -> Case {
        Case { class, ..self }
    }

    /// With derivatives to be checked.
    pub fn grad(self, grad: Grad) -> Case {
        Case { grad, ..self }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}
