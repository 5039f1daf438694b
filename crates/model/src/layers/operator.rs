//! Arithmetic on symbolic tensors.

use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Arithmetic, element by element and with broadcasting: what `&x + &y` and `&x * 2.0` make of symbolic tensors. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operator {
    operation: Operation,
    /// A number on the left side, or on the right side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    right: Option<f32>,
}

impl Operator {
    fn new(operation: Operation) -> Self {
        Operator { operation, left: None, right: None }
    }

    pub(crate) fn add() -> Self {
        Operator::new(Operation::Add)
    }

    pub(crate) fn sub() -> Self {
        Operator::new(Operation::Subtract)
    }

    pub(crate) fn mul() -> Self {
        Operator::new(Operation::Multiply)
    }

    pub(crate) fn div() -> Self {
        Operator::new(Operation::Divide)
    }

    pub(crate) fn left(self, number: f32) -> Self {
        Operator { left: Some(number), ..self }
    }

    pub(crate) fn right(self, number: f32) -> Self {
        Operator { right: Some(number), ..self }
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
        let number = |n: f32, like: &Tensor| Tensor::full([], f64::from(n), like.dtype());
        let (a, b) = match (inputs, self.left, self.right) {
            ([a, b], None, None) => (a.clone(), b.clone()),
            ([x], Some(left), None) => (number(left, x), x.clone()),
            ([x], None, Some(right)) => (x.clone(), number(right, x)),
            _ => return Err(Error::model(format!("takes two operands, got {} inputs and the numbers {:?}, {:?}", inputs.len(), self.left, self.right))),
        };
        Ok(vec![match self.operation {
            Operation::Add => a + b,
            Operation::Subtract => a - b,
            Operation::Multiply => a * b,
            Operation::Divide => a / b,
        }])
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
