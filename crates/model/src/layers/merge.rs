//! Layers that make one tensor of several.

use super::{Config, Context, Layer, Weights};
use crate::config;
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// The inputs with as many axes as the one with the most: axes of length 1 stand after the batch.
fn aligned(inputs: &[Tensor]) -> Vec<Tensor> {
    let rank = inputs.iter().map(Tensor::rank).max().unwrap_or(0);
    let align = |x: &Tensor| {
        let mut shape = x.shape().to_vec();
        while shape.len() < rank {
            shape.insert(1, 1);
        }
        if shape.len() == x.rank() { x.clone() } else { x.reshape(shape) }
    };
    inputs.iter().map(align).collect()
}

fn at_least(inputs: usize, least: usize) -> Result<()> {
    if inputs >= least {
        return Ok(());
    }
    Err(Error::model(format!("takes at least {least} inputs, got {inputs}")))
}

/// A step counts where it counts in every input that has a mask; none if not all have one, as in Keras.
fn common_mask(inputs: usize, cx: &Context) -> Option<Tensor> {
    let masks: Option<Vec<Tensor>> = (0..inputs).map(|i| cx.mask(i)).collect();
    masks?.into_iter().reduce(|a, b| a.and(b))
}

/// They differ in what they do to two elements, and at the end.
macro_rules! merges {
    ($($name:ident $doc:literal $fold:expr;)+) => { $(
        #[doc = $doc]
        ///
        /// Two or more inputs `(batch, ..)` of shapes that broadcast to each other. No weights.
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {}

        impl $name {
            /// The layer.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl Layer for $name {
            fn class_name(&self) -> &'static str {
                stringify!($name)
            }

            fn config(&self) -> Result<Config> {
                config::save(self)
            }

            fn build_all(&self, _weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
                at_least(inputs.len(), 2)
            }

            fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
                at_least(inputs.len(), 2)?;
                cx.set_mask(common_mask(inputs.len(), cx));
                let fold: fn(Tensor, Tensor) -> Tensor = $fold;
                let merged = aligned(inputs).into_iter().reduce(fold).unwrap_or_else(|| inputs[0].clone());
                Ok(vec![self.finish(merged, inputs.len())])
            }
        }
    )+ };
}

merges! {
    Add "The sum of the inputs, element by element." |a, b| a + b;
    Subtract "The first input without the second, element by element; it takes exactly two." |a, b| a - b;
    Multiply "The product of the inputs, element by element." |a, b| a * b;
    Average "The mean of the inputs, element by element." |a, b| a + b;
    Maximum "The largest of the inputs, element by element." |a, b| a.maximum(b);
    Minimum "The smallest of the inputs, element by element." |a, b| a.minimum(b);
}

/// What is done to the result in the end.
trait Finish {
    fn finish(&self, merged: Tensor, inputs: usize) -> Tensor;
}

macro_rules! as_it_is {
    ($($name:ident)+) => { $(
        impl Finish for $name {
            fn finish(&self, merged: Tensor, _inputs: usize) -> Tensor {
                merged
            }
        }
    )+ };
}

as_it_is! { Add Multiply Maximum Minimum }

impl Finish for Subtract {
    fn finish(&self, merged: Tensor, inputs: usize) -> Tensor {
        match inputs {
            2 => merged,
            _ => Tensor::poisoned(Error::model(format!("takes exactly 2 inputs, got {inputs}"))),
        }
    }
}

impl Finish for Average {
    fn finish(&self, merged: Tensor, inputs: usize) -> Tensor {
        merged / inputs as f32
    }
}

/// The inputs one after another along an axis: shapes are equal but for it. No weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Concatenate {
    axis: isize,
}

impl Default for Concatenate {
    fn default() -> Self {
        Concatenate { axis: -1 }
    }
}

impl Concatenate {
    /// Along the last axis.
    pub fn new() -> Self {
        Self::default()
    }

    /// The axis; counts from the end if negative. The batch axis is 0.
    pub fn axis(self, axis: isize) -> Self {
        Concatenate { axis }
    }
}

impl Layer for Concatenate {
    fn class_name(&self) -> &'static str {
        "Concatenate"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, _weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        at_least(inputs.len(), 1)?;
        match inputs[0].axis(self.axis) {
            Some(axis) if axis > 0 => Ok(()),
            _ => Err(Error::shape(format!("can not join inputs {} along axis {}", inputs[0], self.axis))),
        }
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        at_least(inputs.len(), 1)?;
        cx.set_mask(self.mask(inputs, cx));
        Ok(vec![Tensor::concat(inputs, self.axis)])
    }
}

impl Concatenate {
    /// The masks side by side if steps are joined, else where all steps count; inputs without a mask count everywhere.
    fn mask(&self, inputs: &[Tensor], cx: &Context) -> Option<Tensor> {
        (0..inputs.len()).find(|&i| cx.mask(i).is_some())?;
        let mask = |(i, x): (usize, &Tensor)| {
            cx.mask(i).unwrap_or_else(|| Tensor::ones(&x.shape()[..2.min(x.rank())], DType::Bool))
        };
        let masks: Vec<Tensor> = inputs.iter().enumerate().map(mask).collect();
        match inputs[0].shape().axis(self.axis) {
            Some(1) => Some(Tensor::concat(&masks, 1)),
            _ => masks.into_iter().reduce(|a, b| a.and(b)),
        }
    }
}
