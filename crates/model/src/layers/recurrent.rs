//! What all recurrent layers share: masks, states, directions.

use super::{Cell, Context, Weights};
use crate::{Initializer, Regularizer};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// All steps of a cell over a sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// `(batch, steps, output_size)`
    pub outputs: Tensor,
    /// Each state after each step: `(batch, steps, size)`.
    pub states: Vec<Tensor>,
}

/// Goes through the steps of a sequence one by one.
pub(super) fn unrolled(
    x: &Tensor,
    mut states: Vec<Tensor>,
    mut step: impl FnMut(&Tensor, &[Tensor]) -> Result<(Tensor, Vec<Tensor>)>,
) -> Result<Sequence> {
    // Each is traced by itself.
    const MOST: usize = 1 << 16;
    if x.dim(1) > MOST {
        let text = format!("{} steps are too many for a cell that goes step by step; at most {MOST}", x.dim(1));
        return Err(Error::value(text));
    }
    let mut outputs = Vec::new();
    let mut after = vec![Vec::new(); states.len()];
    for t in 0..x.dim(1) {
        let (output, next) = step(&x.index(1, t), &states)?;
        if next.len() != states.len() {
            return Err(Error::model(format!("the cell has {} states, its step gave {}", states.len(), next.len())));
        }
        after.iter_mut().zip(&next).for_each(|(all, state)| all.push(state.clone()));
        outputs.push(output);
        states = next;
    }
    Ok(Sequence {
        outputs: Tensor::stack(&outputs, 1),
        states: after.iter().map(|all| Tensor::stack(all, 1)).collect(),
    })
}

/// What a recurrent layer does around its cell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Recurrence {
    pub return_sequences: bool,
    pub return_state: bool,
    pub go_backwards: bool,
    pub stateful: bool,
    pub zero_output_for_mask: bool,
    pub activity_regularizer: Option<Regularizer>,
}

impl Recurrence {
    /// The inputs are a sequence, and maybe initial states.
    pub fn build(&self, cell: &dyn Cell, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        let (input, states) = match inputs.split_first() {
            Some((input, states)) if input.len() >= 3 && input[1] > 0 => (input, states),
            _ => {
                let input = inputs.first().map(Shape::to_string).unwrap_or_default();
                let advice = match inputs.first() {
                    Some(input) if input.len() < 3 => {
                        "; a recurrent layer before it gives them with return_sequences(true), else a Reshape layer can add an axis"
                    }
                    _ => "",
                };
                let text = format!("takes sequences (batch, steps, features), got input {input}{advice}");
                return Err(Error::shape(text));
            }
        };
        let sizes = cell.state_sizes();
        let wanted: Vec<Shape> = sizes.iter().map(|&size| [input[0], size].into()).collect();
        if !states.is_empty() && states != wanted {
            let list = |shapes: &[Shape]| {
                let shapes: Vec<String> = shapes.iter().map(|s| crate::model::batched(&s[1..])).collect();
                shapes.join(", ")
            };
            return Err(Error::shape(format!("its initial states are {}, got {}", list(&wanted), list(states))));
        }
        cell.build(weights, &[&[input[0]], &input[2..]].concat().into())?;
        if self.stateful {
            for (i, shape) in wanted.iter().enumerate() {
                weights.add_state(&state_name(i), shape, Initializer::Zeros)?.transient();
            }
        }
        Ok(())
    }

    /// The output, and with `return_state` the states in the end.
    pub fn call(&self, cell: &dyn Cell, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        let Some((x, given)) = inputs.split_first() else { return Err(Error::model("takes a sequence, got nothing")) };
        let mask = cx.mask(0);
        cx.set_mask(mask.clone().filter(|_| self.return_sequences));
        let ahead = |t: &Tensor| if self.go_backwards { t.flip(&[1]) } else { t.clone() };
        let (mut x, mask) = (ahead(x), mask.as_ref().map(ahead));
        let before = self.initial(cell, x.dim(0), given, cx)?;

        let kept = mask.as_ref().map(Kept::new);
        if let Some(kept) = &kept {
            x = kept.to_front(&x);
        }
        let Sequence { outputs, states: after } = cell.sequence(&x, &before, cx)?;
        let after = || after.iter().zip(&before);
        let last = |steps: &Tensor| steps.index(1, steps.dim(1) - 1);
        let (mut output, states): (Tensor, Vec<Tensor>) = match &kept {
            None if self.return_sequences => (outputs, after().map(|(state, _)| last(state)).collect()),
            None => (last(&outputs), after().map(|(state, _)| last(state)).collect()),
            Some(kept) => {
                let first = cell.output_before(&before);
                let output =
                    if self.return_sequences { kept.in_place(&outputs, &first) } else { kept.at_end(&outputs, &first) };
                (output, after().map(|(state, before)| kept.at_end(state, before)).collect())
            }
        };
        if let Some(mask) = mask.filter(|_| self.zero_output_for_mask) {
            let mask = if self.return_sequences { mask } else { last(&mask) };
            output = mask.unsqueeze(-1).select(output, 0.0);
        }
        if self.stateful {
            states.iter().enumerate().try_for_each(|(i, state)| cx.assign(&state_name(i), state))?;
        }
        let results = std::iter::once(output).chain(states.into_iter().filter(|_| self.return_state));
        let results: Vec<Tensor> = results.map(|result| result.cast(cx.compute_dtype())).collect();
        if let Some(regularizer) = self.activity_regularizer {
            let of_sample = |y: &Tensor| regularizer.penalty(&y.cast(DType::F32)) / y.dim(0) as f32;
            results.iter().for_each(|y| cx.add_loss(of_sample(y)));
        }
        Ok(results)
    }

    /// The states before the first step.
    fn initial(&self, cell: &dyn Cell, batch: usize, given: &[Tensor], cx: &Context) -> Result<Vec<Tensor>> {
        let sizes = cell.state_sizes();
        if !given.is_empty() && given.len() != sizes.len() {
            return Err(Error::model(format!("takes {} initial states, got {}", sizes.len(), given.len())));
        }
        if self.stateful {
            let kept = cx.weight(&state_name(0)).dim(0);
            if kept != batch {
                return Err(Error::shape(format!(
                    "it is stateful and keeps the states of {kept} samples, got a batch of {batch}; fix the size of batches with \
                     `Input::new(..).batches_of({batch})`"
                )));
            }
            if given.is_empty() {
                return Ok((0..sizes.len()).map(|i| cx.weight(&state_name(i))).collect());
            }
        }
        if given.is_empty() {
            return Ok(sizes.iter().map(|&size| Tensor::zeros([batch, size], DType::F32)).collect());
        }
        Ok(given.to_vec())
    }
}

fn state_name(i: usize) -> String {
    format!("state_{i}")
}

/// How masked steps are moved out of the way, so that a recurrence runs without a mask: the steps that count come first, and in the end every step takes
/// what was there after as many of them as there are up to it. Nothing is computed from a masked step, and no gradient flows to it.
struct Kept {
    /// `i32 (batch, steps)`: how many steps count up to this one.
    counts: Tensor,
    /// `i32 (batch, steps)`: the step that comes next in order of those that count, as a row of `(batch * steps, ..)`.
    rows: Tensor,
    /// `bool (batch, steps)`: is there such a step?
    filled: Tensor,
}

impl Kept {
    /// Of a mask `(batch, steps)`.
    fn new(mask: &Tensor) -> Kept {
        let (batch, steps) = (mask.dim(0), mask.dim(1));
        let up_to = Tensor::iota([steps, steps], 0).le(Tensor::iota([steps, steps], 1));
        let counts = mask.cast(DType::F32).matmul(up_to.cast(DType::F32)).cast(DType::I32);
        // The step before which all steps have a count of at most `i`.
        let before = counts.unsqueeze(1).le(Tensor::iota([1, steps, 1], 1));
        let step = before.cast(DType::F32).sum(&[-1]).cast(DType::I32);
        Kept {
            rows: Tensor::iota([batch, 1], 0) * steps as f32 + step.minimum((steps - 1) as f32),
            filled: step.lt(steps as f32),
            counts,
        }
    }

    /// The steps that count one after another, then zeros.
    fn to_front(&self, x: &Tensor) -> Tensor {
        let shape = x.shape();
        let Some((&[batch, steps], rest)) = shape.split_first_chunk::<2>() else { return x.clone() };
        let rows = x.reshape([&[batch * steps], rest].concat()).gather(&self.rows);
        let filled = self.filled.reshape([&[batch, steps][..], &vec![1; rest.len()]].concat());
        filled.select(rows, 0.0)
    }

    /// Of `(batch, steps, n)` in order of the steps that count, what was there at each step of the mask.
    fn in_place(&self, steps: &Tensor, before: &Tensor) -> Tensor {
        self.after(&self.counts, steps, before)
    }

    /// As [`Kept::in_place`], at the last step alone.
    fn at_end(&self, steps: &Tensor, before: &Tensor) -> Tensor {
        self.after(&self.counts.narrow(1, self.counts.dim(1) - 1, 1), steps, before).squeeze(1)
    }

    /// What was there after so many steps `(batch, n)`; `before` after none.
    fn after(&self, counts: &Tensor, steps: &Tensor, before: &Tensor) -> Tensor {
        let all = Tensor::concat(&[before.cast(steps.dtype()).unsqueeze(1), steps.clone()], 1);
        let (batch, len, width) = (all.dim(0), all.dim(1), all.dim(2));
        let rows = Tensor::iota([batch, 1], 0) * len as f32 + counts;
        all.reshape([batch * len, width]).gather(rows)
    }
}

/// Factors that drop a part of numbers in training, and make up for it: none, one, or as many as there are gates. They are the same in all steps.
pub(super) fn noise(cx: &mut Context, shape: impl Into<Shape>, rate: f32, count: usize) -> Vec<Tensor> {
    if !cx.training() || rate <= 0.0 || rate >= 1.0 {
        return Vec::new();
    }
    let shape = shape.into();
    (0..count).map(|_| cx.uniform(&shape).ge(rate).select(1.0 / (1.0 - rate), 0.0)).collect()
}

/// `x @ kernel`, with noise on `x`: one for each gate's part of the kernel if there are several.
pub(super) fn project(x: &Tensor, kernel: &Tensor, noise: &[Tensor]) -> Tensor {
    match noise {
        [] => x.matmul(kernel),
        [one] => (x * one.cast(x.dtype())).matmul(kernel),
        gates => {
            let units = kernel.dim(-1) / gates.len();
            let gate =
                |(k, noise): (usize, &Tensor)| (x * noise.cast(x.dtype())).matmul(kernel.narrow(-1, k * units, units));
            Tensor::concat(&gates.iter().enumerate().map(gate).collect::<Vec<_>>(), -1)
        }
    }
}

/// A cell with `units` outputs, and the recurrent layer of it: the options that all such cells have, and those of its own.
macro_rules! recurrent {
    (
        $(#[$cell_doc:meta])* $cell:ident;
        $(#[$layer_doc:meta])* $layer:ident;
        $($(#[$own_doc:meta])* $own:ident: $own_type:ty = $own_default:expr;)*
    ) => {
        $crate::layers::recurrent::recurrent! { @options
            $(#[$cell_doc])* $cell; $(#[$layer_doc])* $layer;
            /// Of new values; tanh by default.
            activation: Activation, impl $crate::IntoActivation = Activation::Tanh;
            /// With or without bias; with by default.
            use_bias: bool, bool = true;
            /// How the input's kernel starts.
            kernel_initializer: Initializer, Initializer = Initializer::GlorotUniform;
            /// How the recurrent kernel starts.
            recurrent_initializer: Initializer, Initializer = Initializer::Orthogonal { gain: 1.0 };
            /// How the bias starts.
            bias_initializer: Initializer, Initializer = Initializer::Zeros;
            /// A penalty for the input's kernel.
            kernel_regularizer: Option<Regularizer>, impl Into<Option<Regularizer>> = None;
            /// A penalty for the recurrent kernel.
            recurrent_regularizer: Option<Regularizer>, impl Into<Option<Regularizer>> = None;
            /// A penalty for the bias.
            bias_regularizer: Option<Regularizer>, impl Into<Option<Regularizer>> = None;
            /// What the input's kernel must fulfil after every step of training.
            kernel_constraint: Option<Constraint>, impl Into<Option<Constraint>> = None;
            /// What the recurrent kernel must fulfil after every step of training.
            recurrent_constraint: Option<Constraint>, impl Into<Option<Constraint>> = None;
            /// What the bias must fulfil after every step of training.
            bias_constraint: Option<Constraint>, impl Into<Option<Constraint>> = None;
            /// The part of the input that is dropped in training, the same in all steps; 0 by default, and 1 drops nothing, as in Keras.
            dropout: f32, f32 = 0.0;
            /// The part of the states that is dropped on the way to the gates in training, the same in all steps (Gal and Ghahramani 2016); 0 by default.
            recurrent_dropout: f32, f32 = 0.0;
            $($(#[$own_doc])* $own: $own_type, $own_type = $own_default;)*
        }
    };
    (
        @options $(#[$cell_doc:meta])* $cell:ident; $(#[$layer_doc:meta])* $layer:ident;
        $($(#[$doc:meta])* $field:ident: $type:ty, $argument:ty = $default:expr;)*
    ) => {
        $(#[$cell_doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $cell {
            units: usize,
            $($field: $type,)*
        }

        impl Default for $cell {
            fn default() -> Self {
                $cell { units: 1, $($field: $default,)* }
            }
        }

        impl $cell {
            /// A cell with `units` outputs.
            pub fn new(units: usize) -> Self {
                $cell { units, ..$cell::default() }
            }

            $($(#[$doc])*
            pub fn $field(mut self, $field: $argument) -> Self {
                self.$field = $field.into();
                self
            })*

            /// Declares both kernels, for so many gates, and a bias.
            fn declare(
                &self,
                weights: &mut Weights,
                input: &Shape,
                gates: usize,
                bias: impl FnOnce(&Weights) -> Tensor,
            ) -> Result<()> {
                let units = self.units;
                let features = match input[..] {
                    [_, features] => features,
                    _ => return Err(Error::shape(format!("takes steps (batch, features), got steps {input}"))),
                };
                $crate::layers::at_least_one("units", units)?;
                weights
                    .add("kernel", [features, gates * units], self.kernel_initializer)?
                    .regularized(self.kernel_regularizer)
                    .constrained(self.kernel_constraint.clone());
                weights
                    .add("recurrent_kernel", [units, gates * units], self.recurrent_initializer)?
                    .regularized(self.recurrent_regularizer)
                    .constrained(self.recurrent_constraint.clone());
                if self.use_bias {
                    let bias = bias(weights);
                    weights
                        .push("bias", bias, true)?
                        .regularized(self.bias_regularizer)
                        .constrained(self.bias_constraint.clone());
                }
                Ok(())
            }

            /// Noise for the input `(batch, steps, n)` and for the states.
            fn noises(&self, x: &Tensor, gates: usize, cx: &mut Context) -> [Vec<Tensor>; 2] {
                // As in Keras, one for each gate if the states have noise.
                let count = if self.recurrent_dropout > 0.0 { gates } else { 1 };
                [
                    $crate::layers::recurrent::noise(cx, [x.dim(0), 1, x.dim(2)], self.dropout, count),
                    $crate::layers::recurrent::noise(cx, [x.dim(0), self.units], self.recurrent_dropout, count),
                ]
            }
        }

        $(#[$layer_doc])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        pub struct $layer {
            #[serde(flatten)]
            cell: $cell,
            #[serde(flatten)]
            recurrence: $crate::layers::recurrent::Recurrence,
        }

        impl $layer {
            /// A layer with `units` outputs.
            pub fn new(units: usize) -> Self {
                $layer { cell: $cell::new(units), ..$layer::default() }
            }

            fn cell(&self) -> &dyn Cell {
                &self.cell
            }

            $($(#[$doc])*
            pub fn $field(self, $field: $argument) -> Self {
                $layer { cell: self.cell.$field($field), ..self }
            })*
        }

        $crate::layers::recurrent::recurrent! { @layer $layer }
    };
    (@layer $layer:ident) => {
        impl $layer {
            /// Gives the outputs of all steps instead of the last one.
            pub fn return_sequences(mut self, return_sequences: bool) -> Self {
                self.recurrence.return_sequences = return_sequences;
                self
            }

            /// Gives the states in the end too, each as an output of its own: use [`Layer::apply_all`].
            pub fn return_state(mut self, return_state: bool) -> Self {
                self.recurrence.return_state = return_state;
                self
            }

            /// Reads the sequence from its end; outputs come in the order they are computed in.
            pub fn go_backwards(mut self, go_backwards: bool) -> Self {
                self.recurrence.go_backwards = go_backwards;
                self
            }

            /// Starts from the states that the batch before ended with, until [`Model::reset_states`](crate::Model::reset_states). The size of batches
            /// must be fixed: `Input::new(..).batches_of(n)`.
            pub fn stateful(mut self, stateful: bool) -> Self {
                self.recurrence.stateful = stateful;
                self
            }

            /// Gives zeros at masked steps instead of the output before.
            pub fn zero_output_for_mask(mut self, zero_output_for_mask: bool) -> Self {
                self.recurrence.zero_output_for_mask = zero_output_for_mask;
                self
            }

            /// A penalty for what the layer gives, divided by the size of the batch.
            pub fn activity_regularizer(mut self, activity_regularizer: impl Into<Option<Regularizer>>) -> Self {
                self.recurrence.activity_regularizer = activity_regularizer.into();
                self
            }
        }

        impl Layer for $layer {
            fn class_name(&self) -> &'static str {
                stringify!($layer)
            }

            fn config(&self) -> Result<Config> {
                config::save(self)
            }

            fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
                self.recurrence.build(self.cell(), weights, inputs)
            }

            fn keras_place(&self, weight: &str) -> String {
                super::below("cell", &self.cell().keras_place(weight))
            }

            fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
                self.recurrence.call(self.cell(), inputs, cx)
            }
        }
    };
}

pub(super) use recurrent;
