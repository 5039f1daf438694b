//! Cells: what a recurrent layer does in one step.

use super::recurrent::{Sequence, unrolled};
use super::{Config, Context, GRUCell, LSTMCell, Names, SimpleRNNCell, Weights, below};
use crate::config::{self, Part};
use ibex_core::{DType, Error, ErrorKind, Result, Shape, Tensor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

/// One step of a recurrent layer: its weights, and how it makes an output and new states of an input and the states before. [`RNN`](super::RNN) takes
/// one over a sequence.
///
/// ```
/// use ibex::layers::{Cell, RNN};
/// use ibex::prelude::*;
///
/// /// `h = x @ kernel + h @ recurrent_kernel`
/// #[derive(Debug)]
/// struct Minimal(usize);
///
/// impl Cell for Minimal {
///     fn class_name(&self) -> &'static str {
///         "Minimal"
///     }
///     fn config(&self) -> ibex::Result<Config> {
///         Ok(Config::from_iter([("units".into(), self.0.into())]))
///     }
///     fn state_sizes(&self) -> Vec<usize> {
///         vec![self.0]
///     }
///     fn build(&self, weights: &mut Weights, input: &Shape) -> ibex::Result<()> {
///         weights.add("kernel", [input[1], self.0], Initializer::GlorotUniform)?;
///         weights.add("recurrent_kernel", [self.0, self.0], Initializer::GlorotUniform)?;
///         Ok(())
///     }
///     fn step(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> ibex::Result<(Tensor, Vec<Tensor>)> {
///         let h = x.matmul(cx.weight("kernel")) + states[0].matmul(cx.weight("recurrent_kernel"));
///         Ok((h.clone(), vec![h]))
///     }
/// }
///
/// # fn main() -> ibex::Result<()> {
/// let model = Sequential::new([5, 3]).add(RNN::new(Minimal(4))).add(Dense::new(1));
/// # model.check()?;
/// # assert_eq!(model.count_params(), 3 * 4 + 4 * 4 + 4 + 1);
/// # Ok(())
/// # }
/// ```
pub trait Cell: Debug + Send + Sync + 'static {
    /// The class name in files.
    fn class_name(&self) -> &'static str;

    /// The configuration that an equal cell can be made from; see [`register_cell`].
    ///
    /// # Errors
    /// If the cell can not be written to a file.
    fn config(&self) -> Result<Config>;

    /// The width of each of its states, one at least.
    fn state_sizes(&self) -> Vec<usize>;

    /// The width of its output: that of its first state unless it says otherwise.
    fn output_size(&self) -> usize {
        self.state_sizes().first().copied().unwrap_or_default()
    }

    /// Declares the weights for inputs `(batch, ..)` of one step.
    ///
    /// # Errors
    /// If the cell does not take such inputs.
    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()>;

    /// The output and the new states for the input of one step, `(batch, ..)`, and the states before, each `(batch, size)`.
    ///
    /// # Errors
    /// If the cell can not do with such an input.
    fn step(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<(Tensor, Vec<Tensor>)>;

    /// As [`Layer::keras_place`](super::Layer::keras_place).
    fn keras_place(&self, weight: &str) -> String {
        weight.rsplit_once('/').map_or_else(String::new, |(place, _)| place.into())
    }

    /// All steps of a sequence `(batch, steps, ..)`, none of them masked. One after the other unless the cell knows a better way, such as to multiply all
    /// inputs by a kernel at once.
    ///
    /// # Errors
    /// Those of [`Cell::step`].
    fn sequence(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<Sequence> {
        let states = states.iter().map(|state| state.cast(cx.compute_dtype())).collect();
        unrolled(x, states, |x, states| self.step(x, states, cx))
    }

    /// What stands for the output before the first step that is not masked: the first state, which is the output of a step before in most cells.
    fn output_before(&self, states: &[Tensor]) -> Tensor {
        match states {
            [first, ..] if first.dim(-1) == self.output_size() => first.clone(),
            [first, ..] => Tensor::zeros([first.dim(0), self.output_size()], DType::F32),
            [] => Tensor::poisoned(Error::model("a cell needs a state at least")),
        }
    }
}

/// [`Cell::step`] of a cell that computes whole sequences.
pub(super) fn one_step(
    cell: &dyn Cell,
    x: &Tensor,
    states: &[Tensor],
    cx: &mut Context,
) -> Result<(Tensor, Vec<Tensor>)> {
    let sequence = cell.sequence(&x.unsqueeze(1), states, cx)?;
    Ok((sequence.outputs.squeeze(1), sequence.states.iter().map(|state| state.squeeze(1)).collect()))
}

type Loader = fn(Config) -> Result<CellBox>;

static REGISTERED: RwLock<BTreeMap<String, Loader>> = RwLock::new(BTreeMap::new());

fn load<C: Cell + serde::de::DeserializeOwned>(config: Config) -> Result<CellBox> {
    Ok(CellBox::new(config::load::<C>(config)?))
}

/// Makes a cell of your own known by its class name, so that files with it can be loaded, and so that
/// [`Bidirectional`](super::Bidirectional) can make a second one of it.
pub fn register_cell<C: Cell + serde::de::DeserializeOwned>(class_name: &str) {
    REGISTERED.write().unwrap_or_else(PoisonError::into_inner).insert(class_name.to_string(), load::<C>);
}

/// Any cell, written as class name and configuration.
#[derive(Clone, Debug)]
pub(super) struct CellBox(Arc<dyn Cell>);

impl CellBox {
    pub fn new(cell: impl Cell) -> Self {
        CellBox(Arc::new(cell))
    }
}

impl std::ops::Deref for CellBox {
    type Target = dyn Cell;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Serialize for CellBox {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let config = self.config().map_err(serde::ser::Error::custom)?;
        Part { class_name: self.class_name().into(), config }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CellBox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Part { class_name, config } = Part::deserialize(deserializer)?;
        let own = REGISTERED.read().unwrap_or_else(PoisonError::into_inner).get(&class_name).copied();
        let loader = own.or(match &*class_name {
            "LSTMCell" => Some(load::<LSTMCell>),
            "GRUCell" => Some(load::<GRUCell>),
            "SimpleRNNCell" => Some(load::<SimpleRNNCell>),
            "StackedRNNCells" => Some(load::<StackedRNNCells>),
            _ => None,
        });
        let cell = loader.map(|loader| loader(config)).unwrap_or_else(|| {
            let text = format!(
                "unknown cell class {class_name:?}; if it is your own, call `ibex::layers::register_cell::<{class_name}>({class_name:?})` before"
            );
            Err(Error::new(ErrorKind::Unsupported, text))
        });
        cell.map_err(serde::de::Error::custom)
    }
}

/// Cells on top of each other: the output of each is the input of the next. Its states are those of all its cells, one after another.
///
/// Weights: those of its cells, as `cell_0/kernel`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StackedRNNCells {
    cells: Vec<CellBox>,
}

impl StackedRNNCells {
    /// No cells so far.
    pub fn new() -> Self {
        StackedRNNCells::default()
    }

    /// With a cell on top.
    pub fn cell(mut self, cell: impl Cell) -> Self {
        self.cells.push(CellBox::new(cell));
        self
    }

    /// Each cell with its name and its part of a list that has an entry for each state.
    fn split<'a, T>(&'a self, mut states: &'a [T]) -> impl Iterator<Item = (String, &'a dyn Cell, &'a [T])> {
        self.cells.iter().enumerate().map(move |(i, cell)| {
            let count = cell.state_sizes().len().min(states.len());
            let (own, rest) = states.split_at(count);
            states = rest;
            (format!("cell_{i}"), &**cell, own)
        })
    }
}

impl Cell for StackedRNNCells {
    fn class_name(&self) -> &'static str {
        "StackedRNNCells"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn state_sizes(&self) -> Vec<usize> {
        self.cells.iter().flat_map(|cell| cell.state_sizes()).collect()
    }

    fn output_size(&self) -> usize {
        self.cells.last().map_or(0, |cell| cell.output_size())
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        if self.cells.is_empty() {
            return Err(Error::model(
                "no cells are stacked; add some with `StackedRNNCells::new().cell(LSTMCell::new(8))`",
            ));
        }
        let mut input = input.clone();
        for (name, cell, _) in self.split::<()>(&[]) {
            weights.within(&name, |weights| cell.build(weights, &input))?;
            input = [input.first().copied().unwrap_or_default(), cell.output_size()].into();
        }
        Ok(())
    }

    fn keras_place(&self, weight: &str) -> String {
        let mut names = Names::default();
        for (name, cell, _) in self.split::<()>(&[]) {
            let place = format!("cells/{}", names.next(cell.class_name()));
            if let Some(weight) = weight.strip_prefix(&name[..]).and_then(|rest| rest.strip_prefix('/')) {
                return below(&place, &cell.keras_place(weight));
            }
        }
        String::new()
    }

    fn step(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<(Tensor, Vec<Tensor>)> {
        one_step(self, x, states, cx)
    }

    /// No step is masked, so that a cell can go through all steps before the next one does.
    fn sequence(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<Sequence> {
        let mut all = Sequence { outputs: x.clone(), states: Vec::new() };
        for (name, cell, states) in self.split(states) {
            let x = all.outputs.cast(cx.compute_dtype());
            let sequence = cx.within(&name, |cx| cell.sequence(&x, states, cx))?;
            all.outputs = sequence.outputs;
            all.states.extend(sequence.states);
        }
        Ok(all)
    }

    fn output_before(&self, states: &[Tensor]) -> Tensor {
        let last = self.split(states).last();
        last.map_or_else(
            || Tensor::poisoned(Error::model("no cells are stacked")),
            |(_, cell, own)| cell.output_before(own),
        )
    }
}
