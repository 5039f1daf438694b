//! A closure as a layer.

use super::{Config, Context, Layer};
use ibex_core::{Error, Result, Tensor};
use std::fmt;

/// A function of one tensor as a layer: `Lambda::new("square", |x: &Tensor| x.square())`. No weights. It can not be saved, since code is not written
/// to files; a layer of your own can (see `examples/custom_layer.rs`).
pub struct Lambda {
    what: String,
    function: Box<dyn Fn(&Tensor) -> Tensor + Send + Sync>,
}

impl Lambda {
    /// A function, and what it is called in messages.
    pub fn new(what: impl Into<String>, function: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static) -> Self {
        Lambda { what: what.into(), function: Box::new(function) }
    }
}

impl fmt::Debug for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lambda").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Layer for Lambda {
    fn class_name(&self) -> &'static str {
        "Lambda"
    }

    fn config(&self) -> Result<Config> {
        Err(Error::unsupported(format!(
            "the closure {:?} of a Lambda layer can not be saved; write it as a layer of your own, as examples/custom_layer.rs does, or save only \
             the weights",
            self.what
        )))
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Ok((self.function)(x))
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
