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

/// A step counts where it counts in one of the inputs; no mask if not all inputs have one. As in Keras.
fn common_mask(inputs: usize, cx: &Context) -> Option<Tensor> {
    let masks: Option<Vec<Tensor>> = (0..inputs).map(|i| cx.mask(i)).collect();
    masks?.into_iter().reduce(|a, b| a.or(b))
}

/// The masks of inputs, each with as many axes as its input.
fn element_masks(inputs: &[Tensor], cx: &Context) -> Vec<Option<Tensor>> {
    let widen = |(i, x): (usize, &Tensor)| {
        let mut mask = cx.mask(i)?;
        while mask.rank() < x.rank() {
            mask = mask.unsqueeze(-1);
        }
        Some(mask)
    };
    inputs.iter().enumerate().map(widen).collect()
}

/// The product, in which masked elements do not count; 0 where none counts.
fn product(inputs: &[Tensor], masks: &[Option<Tensor>]) -> Option<Tensor> {
    let counted = inputs.iter().zip(masks).map(|(x, mask)| match mask {
        Some(mask) => mask.broadcast_to(x.shape()).select(x, 1.0),
        None => x.clone(),
    });
    let product = counted.reduce(|a, b| a * b)?;
    let any = masks.iter().cloned().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().reduce(|a, b| a.or(b)));
    Some(match any {
        Some(any) => any.broadcast_to(product.shape()).select(product, 0.0),
        None => product,
    })
}

/// The largest (or smallest) element, of those that are not masked.
fn extreme(inputs: &[Tensor], masks: &[Option<Tensor>], pick: fn(&Tensor, &Tensor) -> Tensor) -> Option<Tensor> {
    let (mut best, mut counts) = (inputs.first()?.clone(), masks.first().cloned().flatten());
    for (x, mask) in inputs.iter().zip(masks).skip(1) {
        let shape = x.shape().broadcast(best.shape()).unwrap_or_else(|| x.shape().clone());
        let mut x = x.clone();
        if let Some(mask) = mask {
            x = mask.broadcast_to(&shape).select(&x, &best);
        }
        if let Some(counts) = &counts {
            best = counts.broadcast_to(&shape).select(&best, &x);
        }
        counts = counts.zip(mask.as_ref()).map(|(a, b)| a.or(b));
        best = pick(&best, &x);
    }
    Some(best)
}

/// They differ in what they make of the inputs and their masks.
macro_rules! merges {
    ($($name:ident $doc:literal $merge:expr;)+) => { $(
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
                let masks = element_masks(inputs, cx);
                cx.set_mask(common_mask(inputs.len(), cx));
                let merge: fn(&[Tensor], &[Option<Tensor>]) -> Option<Tensor> = $merge;
                let merged = merge(&aligned(inputs), &masks);
                Ok(vec![merged.ok_or_else(|| Error::model(format!("takes exactly 2 inputs, got {}", inputs.len())))?])
            }
        }
    )+ };
}

fn sum(inputs: &[Tensor]) -> Option<Tensor> {
    inputs.iter().cloned().reduce(|a, b| a + b)
}

merges! {
    Add "The sum of the inputs, element by element." |x, _| sum(x);
    Subtract "The first input without the second, element by element; it takes exactly two."
        |x, _| if let [a, b] = x { Some(a - b) } else { None };
    Multiply "The product of the inputs, element by element." product;
    Average "The mean of the inputs, element by element." |x, _| Some(sum(x)? / x.len() as f32);
    Maximum "The largest of the inputs, element by element." |x, masks| extreme(x, masks, |a, b| a.maximum(b));
    Minimum "The smallest of the inputs, element by element." |x, masks| extreme(x, masks, |a, b| a.minimum(b));
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
    /// The masks side by side if steps are joined, else where one of them counts; inputs without a mask count everywhere.
    fn mask(&self, inputs: &[Tensor], cx: &Context) -> Option<Tensor> {
        (0..inputs.len()).find(|&i| cx.mask(i).is_some())?;
        let mask = |(i, x): (usize, &Tensor)| {
            cx.mask(i).unwrap_or_else(|| Tensor::ones(&x.shape()[..2.min(x.rank())], DType::Bool))
        };
        let masks: Vec<Tensor> = inputs.iter().enumerate().map(mask).collect();
        match inputs[0].shape().axis(self.axis) {
            Some(1) if inputs[0].rank() > 2 => Some(Tensor::concat(&masks, 1)),
            _ => masks.into_iter().reduce(|a, b| a.or(b)),
        }
    }
}
