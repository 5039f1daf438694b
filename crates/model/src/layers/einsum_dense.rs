//! A dense layer along any axes, by an equation.

use super::{Config, Context, Layer, Weights};
use crate::{Activation, IntoActivation, Constraint, Initializer, Regularizer, config};
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `activation(einsum(equation, x, kernel) + bias)`: a dense layer along any axes. `EinsumDense::new("abc,cd->abd", (None, 64)).bias_axes("d")` is
/// `Dense::new(64)` on sequences, `"...x,xy->...y"` on inputs of any rank, `"abc,cde->abde"` gives several heads.
///
/// An equation names the axes of the input, of the kernel and of the output, the batch first; axes with one name are multiplied, and those that the output
/// does not have are summed. `...` at the beginning (with the batch) or at the end of input and output stands for any further axes.
///
/// Weights: `kernel`, with the axes that the equation gives it, Glorot uniform; with [`EinsumDense::bias_axes`] `bias`, zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EinsumDense {
    equation: String,
    output_shape: Lengths,
    #[serde(default)]
    activation: Activation,
    #[serde(default)]
    bias_axes: Option<String>,
    #[serde(default = "glorot")]
    kernel_initializer: Initializer,
    #[serde(default = "zeros")]
    bias_initializer: Initializer,
    #[serde(default)]
    kernel_regularizer: Option<Regularizer>,
    #[serde(default)]
    bias_regularizer: Option<Regularizer>,
    #[serde(default)]
    activity_regularizer: Option<Regularizer>,
    #[serde(default)]
    kernel_constraint: Option<Constraint>,
    #[serde(default)]
    bias_constraint: Option<Constraint>,
}

fn glorot() -> Initializer {
    Initializer::GlorotUniform
}

fn zeros() -> Initializer {
    Initializer::Zeros
}

/// As Keras writes them: one, or a list where `None` is that of the input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Lengths {
    One(usize),
    Several(Vec<Option<usize>>),
}

impl EinsumDense {
    /// A layer of an equation and the lengths of the output's axes, without the batch and those in `...`. `None` is the length that the axis has in the
    /// input: `(None, 64)`.
    pub fn new(equation: impl Into<String>, output_shape: impl Into<Shape>) -> Self {
        let lengths = output_shape.into().iter().map(|&axis| (axis != Shape::ANY).then_some(axis)).collect();
        EinsumDense {
            equation: equation.into(),
            output_shape: Lengths::Several(lengths),
            activation: Activation::Linear,
            bias_axes: None,
            kernel_initializer: glorot(),
            bias_initializer: zeros(),
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
        }
    }

    /// Adds a bias along these axes of the output; none by default.
    pub fn bias_axes(mut self, bias_axes: impl Into<String>) -> Self {
        self.bias_axes = Some(bias_axes.into());
        self
    }
}

options! { EinsumDense {
    /// Applied to the result.
    activation: impl IntoActivation,
    /// How the kernel starts.
    kernel_initializer: Initializer,
    /// How the bias starts.
    bias_initializer: Initializer,
    /// What the kernel adds to the loss.
    kernel_regularizer: impl Into<Option<Regularizer>>,
    /// What the bias adds to the loss.
    bias_regularizer: impl Into<Option<Regularizer>>,
    /// What the output adds to the loss, divided by the size of the batch.
    activity_regularizer: impl Into<Option<Regularizer>>,
    /// What the kernel is made to keep to after every step.
    kernel_constraint: impl Into<Option<Constraint>>,
    /// What the bias is made to keep to after every step.
    bias_constraint: impl Into<Option<Constraint>>,
} }

/// The names of all axes, one for each, and their lengths.
struct Equation {
    input: Vec<char>,
    kernel: Vec<char>,
    output: Vec<char>,
    lengths: BTreeMap<char, usize>,
}

/// The letters of a part of an equation, and whether `...` stands before or after them.
fn letters(part: &str) -> Option<(Vec<char>, bool, bool)> {
    let (before, part) = part.strip_prefix("...").map_or((false, part), |rest| (true, rest));
    let (after, part) = part.strip_suffix("...").map_or((false, part), |rest| (true, rest));
    let valid = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphabetic());
    let letters: Vec<char> = part.chars().collect();
    let twice = (1..letters.len()).any(|i| letters[..i].contains(&letters[i]));
    (valid && !twice && !(before && after)).then_some((letters, before, after))
}

impl EinsumDense {
    /// The equation for an input of a shape.
    fn equation(&self, shape: &Shape) -> Result<Equation> {
        let text = &self.equation;
        let parts = text.split_once("->").and_then(|(from, to)| {
            let (x, kernel) = from.split_once(',')?;
            Some((letters(x)?, letters(kernel)?, letters(to)?))
        });
        let parts = parts.filter(|((_, before, after), kernel, to)| {
            !kernel.1 && !kernel.2 && (*before, *after) == (to.1, to.2)
        });
        let Some(((x, before, after), (kernel, ..), (to, ..))) = parts else {
            return Err(Error::value(format!(
                "equation {text:?} must have the form \"ab,bc->ac\", \"...b,bc->...c\" or \"ab...,bc->ac...\", each letter once in a part"
            )));
        };
        let more = shape.rank().checked_sub(x.len()).filter(|&more| (more > 0) == (before || after) || (after && more == 0));
        let Some(more) = more else {
            let text = format!("equation {text:?} does not fit input {shape}: its first part must name each axis, the batch too");
            return Err(Error::shape(text));
        };
        // Axes in `...` get names that no letter has.
        let further: Vec<char> = ('\u{e000}'..).take(more).collect();
        let whole = |letters: &[char]| match before {
            true => [&further[..], letters].concat(),
            false => [letters, &further[..]].concat(),
        };
        let (input, output) = (whole(&x), whole(&to));
        let mut lengths: BTreeMap<char, usize> = input.iter().copied().zip(shape.iter().copied()).collect();
        let given: Vec<Option<usize>> = match &self.output_shape {
            Lengths::One(length) => vec![Some(*length)],
            Lengths::Several(lengths) => lengths.clone(),
        };
        let named = if before { &to[..] } else { &to[1..] };
        if given.len() != named.len() {
            return Err(Error::shape(format!(
                "output shape {} must have {} lengths, those of {} in equation {text:?}",
                Shape::from(given.iter().map(|length| length.unwrap_or(Shape::ANY)).collect::<Vec<_>>()),
                named.len(),
                named.iter().collect::<String>()
            )));
        }
        for (&axis, length) in named.iter().zip(given) {
            match (lengths.get(&axis), length) {
                (Some(&old), Some(new)) if old != new => {
                    let lengths = format!("{old} in the input, {new} in the output shape");
                    return Err(Error::shape(format!("axis {axis} of equation {text:?} is {lengths}")));
                }
                (_, Some(new)) => {
                    lengths.insert(axis, new);
                }
                (Some(_), None) => {}
                (None, None) => {
                    let why = "is not in the input, so the output shape must say its length";
                    return Err(Error::shape(format!("axis {axis} of equation {text:?} {why}")));
                }
            }
        }
        let known = |axis: &&char| lengths.contains_key(axis) && (input.contains(axis) || output.contains(axis));
        if let Some(axis) = kernel.iter().find(|axis| !known(axis)) {
            let where_not = "is neither in the input nor in the output";
            return Err(Error::value(format!("axis {axis} of the kernel {where_not} of equation {text:?}")));
        }
        if let Some(axis) = output.iter().find(|axis| !input.contains(axis) && !kernel.contains(axis)) {
            let where_not = "is neither in the input nor in the kernel";
            return Err(Error::value(format!("axis {axis} of the output {where_not} of equation {text:?}")));
        }
        Ok(Equation { input, kernel, output, lengths })
    }

    /// The shape of the bias: from its first axis in the output to the end, 1 where it has none.
    fn bias_shape(&self, equation: &Equation) -> Result<Option<Shape>> {
        let Some(axes) = &self.bias_axes else { return Ok(None) };
        if let Some(axis) = axes.chars().find(|axis| !equation.output.contains(axis)) {
            return Err(Error::value(format!("bias axis {axis} is not in the output of equation {:?}", self.equation)));
        }
        let first = equation.output.iter().position(|&axis| axes.contains(axis)).unwrap_or(0);
        let length = |axis: &char| if axes.contains(*axis) { equation.lengths[axis] } else { 1 };
        Ok(Some(equation.output[first..].iter().map(length).collect::<Vec<_>>().into()))
    }
}

impl Equation {
    fn shape(&self, axes: &[char]) -> Vec<usize> {
        axes.iter().map(|axis| self.lengths[axis]).collect()
    }

    /// `einsum(equation, x, kernel)` as one matrix product.
    fn product(&self, x: &Tensor, kernel: &Tensor) -> Tensor {
        let of = |from: &[char], also: &[char], out: bool| -> Vec<char> {
            let wanted = |axis: &&char| also.contains(axis) && self.output.contains(axis) == out;
            from.iter().filter(wanted).copied().collect()
        };
        let only = |from: &[char], not: &[char]| -> Vec<char> { from.iter().filter(|a| !not.contains(a)).copied().collect() };
        // In all three parts; summed; of one operand alone.
        let (shared, summed) = (of(&self.input, &self.kernel, true), of(&self.input, &self.kernel, false));
        let (rows, columns) = (only(&self.output, &self.kernel), only(&self.output, &self.input));
        let alone: Vec<char> = only(&only(&self.input, &self.kernel), &self.output);
        let place = |axes: &[char], order: &[char]| -> Vec<usize> {
            order.iter().filter_map(|axis| axes.iter().position(|a| a == axis)).collect()
        };
        let gone: Vec<isize> = place(&self.input, &alone).into_iter().map(|axis| axis as isize).collect();
        let (x, axes) = if gone.is_empty() { (x.clone(), self.input.clone()) } else { (x.sum(&gone), only(&self.input, &alone)) };
        let count = |axes: &[char]| self.shape(axes).iter().product::<usize>();
        // Without shared axes rows need not be joined, so that `x` may keep its shape.
        let left = [&shared[..], &rows, &summed].concat();
        let lead = if shared.is_empty() { self.shape(&rows) } else { [self.shape(&shared), vec![count(&rows)]].concat() };
        let x = x.permute(&place(&axes, &left)).reshape([&lead[..], &[count(&summed)]].concat());
        let right = [&shared[..], &summed, &columns].concat();
        let matrix = [self.shape(&shared), vec![count(&summed), count(&columns)]].concat();
        let kernel = kernel.permute(&place(&self.kernel, &right)).reshape(matrix);
        let made = [&shared[..], &rows, &columns].concat();
        x.matmul(kernel).reshape(self.shape(&made)).permute(&place(&made, &self.output))
    }
}

impl Layer for EinsumDense {
    fn class_name(&self) -> &'static str {
        "EinsumDense"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let equation = self.equation(input)?;
        weights
            .add("kernel", equation.shape(&equation.kernel), self.kernel_initializer)?
            .regularized(self.kernel_regularizer)
            .constrained(self.kernel_constraint.clone());
        if let Some(shape) = self.bias_shape(&equation)? {
            weights
                .add("bias", shape, self.bias_initializer)?
                .regularized(self.bias_regularizer)
                .constrained(self.bias_constraint.clone());
        }
        Ok(())
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let mut y = self.equation(x.shape())?.product(x, &cx.weight("kernel"));
        if self.bias_axes.is_some() {
            y = y + cx.weight("bias");
        }
        let y = self.activation.activate(&y);
        cx.penalize(self.activity_regularizer, &y);
        Ok(y)
    }
}
