//! A recurrent layer over any cell.

use super::cell::CellBox;
use super::recurrent::{Recurrence, recurrent};
use super::{Cell, Config, Context, Layer, Weights};
use crate::{Regularizer, config};
use ibex_core::{Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// A [`Cell`], of your own or one of ours, over a sequence: `(batch, steps, ..)` to its last output `(batch, n)`, or with `return_sequences` to all of
/// them, `(batch, steps, n)`. With `return_state` the states in the end follow as outputs, each `(batch, size)`; as many more inputs like that are the
/// states to start from, else zeros.
///
/// A masked step repeats the output before and changes no state.
///
/// Weights: those of the cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RNN {
    cell: CellBox,
    #[serde(flatten)]
    recurrence: Recurrence,
}

impl RNN {
    /// The cell's last output.
    pub fn new(cell: impl Cell) -> Self {
        RNN { cell: CellBox::new(cell), recurrence: Recurrence::default() }
    }

    fn cell(&self) -> &dyn Cell {
        &*self.cell
    }
}

recurrent! { @layer RNN }
