//! An activation function as a layer of its own.

pub use crate::Activation;

use super::{Config, Context, Layer};
use ibex_core::{Result, Tensor};

/// `.add(Relu)`: applies the function to an input of any shape. No weights.
impl Layer for Activation {
    fn class_name(&self) -> &'static str {
        "Activation"
    }

    fn config(&self) -> Result<Config> {
        Ok(Config::from_iter([("activation".to_string(), self.name().into())]))
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Ok(self.activate(x))
    }
}
