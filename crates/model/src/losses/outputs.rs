//! Losses of models with several outputs.

use super::{Loss, Reduction};
use crate::config::Config;
use ibex_core::{Data, Result, Shape, Tensor};

/// What `compile` takes as losses: one for all outputs, a tuple or an array with one for each, or a vector of boxes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no loss, nor an array, a tuple or a vector of them",
    label = "no losses",
    note = "give a value such as `MeanSquaredError::new()`; a name becomes a loss by `losses::from_config(\"mse\", Config::new())`",
    note = "several outputs take a tuple with a loss for each: `(MeanSquaredError::new(), BinaryCrossentropy::new())`"
)]
pub trait IntoLosses {
    /// As boxes.
    fn into_losses(self) -> Vec<Box<dyn Loss>>;
}

impl<L: Loss> IntoLosses for L {
    fn into_losses(self) -> Vec<Box<dyn Loss>> {
        vec![Box::new(self)]
    }
}

impl IntoLosses for Vec<Box<dyn Loss>> {
    fn into_losses(self) -> Vec<Box<dyn Loss>> {
        self
    }
}

impl<L: Loss, const N: usize> IntoLosses for [L; N] {
    fn into_losses(self) -> Vec<Box<dyn Loss>> {
        self.into_iter().map(|l| Box::new(l) as Box<dyn Loss>).collect()
    }
}

macro_rules! tuples {
    ($(($($name:ident $field:tt),+))+) => { $(
        impl<$($name: Loss),+> IntoLosses for ($($name,)+) {
            fn into_losses(self) -> Vec<Box<dyn Loss>> {
                vec![$(Box::new(self.$field)),+]
            }
        }
    )+ };
}

tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

/// A loss that counts so many times in the sum over all outputs (Keras's `loss_weights`): [`Loss::weighted`] makes one.
#[derive(Debug)]
pub struct Weighted<L> {
    pub(super) loss: L,
    pub(super) weight: f32,
}

impl<L: Loss> Loss for Weighted<L> {
    fn class_name(&self) -> &'static str {
        self.loss.class_name()
    }

    fn config(&self) -> Result<Config> {
        self.loss.config()
    }

    fn check(&self) -> Result<()> {
        self.loss.check()
    }

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        self.loss.call(y_true, y_pred)
    }

    fn mask(&self, y_true: &Tensor, y_pred: &Tensor, losses: &Tensor) -> Option<Tensor> {
        self.loss.mask(y_true, y_pred, losses)
    }

    fn reduction(&self) -> Reduction {
        self.loss.reduction()
    }

    fn check_targets(&self, targets: &Data, pred: &Shape) -> Result<()> {
        self.loss.check_targets(targets, pred)
    }

    fn sparse_targets(&self) -> bool {
        self.loss.sparse_targets()
    }

    fn weight(&self) -> f32 {
        self.weight * self.loss.weight()
    }
}
