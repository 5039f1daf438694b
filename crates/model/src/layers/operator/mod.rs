//! Operations on symbolic tensors.

mod constant;
mod index;
mod operation;

pub(crate) use constant::{Constant, dtype, dtype_name};
pub(crate) use index::{Index, Key, Range};
pub(crate) use operation::{Operation, Over};

use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// An operation on tensors: what `&x + &y` and `&x * 2.0` make of symbolic tensors, and what the operations in models of Keras become
/// (`x[:, 0]`, `ops.mean(x, axis=1)`). No weights. As in Keras, masks end here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operator {
    #[serde(flatten)]
    operation: Operation,
    /// Operands that are no inputs, by their position among all operands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    constants: Vec<(usize, Constant)>,
}

impl Operator {
    /// An operation, with constants by their positions among all operands.
    pub(crate) fn new(operation: Operation, constants: Vec<(usize, Constant)>) -> Self {
        Operator { operation, constants }
    }

    pub(crate) fn operation(&self) -> &Operation {
        &self.operation
    }

    pub(crate) fn constants(&self) -> &[(usize, Constant)] {
        &self.constants
    }

    pub(crate) fn add() -> Self {
        Operator::new(Operation::Add, Vec::new())
    }

    pub(crate) fn sub() -> Self {
        Operator::new(Operation::Subtract, Vec::new())
    }

    pub(crate) fn mul() -> Self {
        Operator::new(Operation::Multiply, Vec::new())
    }

    pub(crate) fn div() -> Self {
        Operator::new(Operation::Divide, Vec::new())
    }

    /// With a number as the first operand.
    pub(crate) fn left(self, number: f32) -> Self {
        Operator { constants: vec![(0, number.into())], ..self }
    }

    /// With a number as the second operand.
    pub(crate) fn right(self, number: f32) -> Self {
        Operator { constants: vec![(1, number.into())], ..self }
    }
}

impl Layer for Operator {
    fn class_name(&self) -> &'static str {
        "Operator"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, _weights: &mut Weights, _inputs: &[Shape]) -> Result<()> {
        Ok(())
    }

    fn call_all(&self, inputs: &[Tensor], _cx: &mut Context) -> Result<Vec<Tensor>> {
        let mut inputs = inputs.iter();
        let mut operands = Vec::new();
        loop {
            match self.constants.iter().find(|(place, _)| *place == operands.len()) {
                Some((_, constant)) => operands.push(constant.operand()?),
                None => match inputs.next() {
                    Some(input) => operands.push(constant::Operand::Tensor(input.clone())),
                    None => break,
                },
            }
        }
        self.operation.apply(&operands)
    }
}
