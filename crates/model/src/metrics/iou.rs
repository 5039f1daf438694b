//! Intersection over union, from a confusion matrix.

use super::define::{described, metric};
use super::{Batch, Metric, misfit, weights_as};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use std::convert::identity;

/// How targets and predictions are read.
struct Matrix<'a> {
    name: &'a str,
    classes: usize,
    ignore_class: Option<i32>,
    sparse_y_true: bool,
    sparse_y_pred: bool,
    axis: isize,
}

impl Matrix<'_> {
    fn state(&self, targets: &[usize]) -> Result<Vec<Shape>> {
        if let Some(class) = targets.iter().find(|&&c| c >= self.classes) {
            let (name, classes) = (self.name, self.classes);
            return Err(Error::value(format!("{name}: class {class} is out of range: num_classes is {classes}")));
        }
        match self.classes {
            0 => Err(Error::value(format!("{}: num_classes must be at least 1", self.name))),
            n => Ok(vec![Shape::from([n, n])]),
        }
    }

    /// Weights of all pairs of a target (row) and a prediction (column). Class numbers out of range are left out.
    fn update(&self, batch: &Batch, y_pred: &Tensor) -> Result<Vec<Tensor>> {
        let class = |t: &Tensor, sparse: bool| if sparse { t.cast(DType::I32) } else { t.argmax(self.axis) };
        let (y, p) = (class(batch.y_true, self.sparse_y_true), class(y_pred, self.sparse_y_pred));
        let n = p.shape().elements();
        if y.shape().elements() != n {
            return Err(misfit(self.name, batch.y_true, batch.y_pred));
        }
        let weights = batch.weights.map(|w| Ok::<_, Error>(weights_as(w, p.shape())?.reshape([n, 1]))).transpose()?;
        let (y, p) = (y.reshape([n]), p.reshape([n]));
        let mut rows = y.one_hot(self.classes, DType::F32);
        if let Some(ignored) = self.ignore_class {
            rows = rows * y.ne(f64::from(ignored)).cast(DType::F32).unsqueeze(-1);
        }
        if let Some(weights) = weights {
            rows = rows * weights;
        }
        Ok(vec![rows.t().matmul(p.one_hot(self.classes, DType::F32))])
    }
}

/// Mean of `tp / (tp + fp + fn)` over those of the classes that occur.
fn mean_iou(matrix: &[f64], classes: usize, targets: &[usize]) -> Vec<f64> {
    let (mut sum, mut valid) = (0.0, 0.0);
    for &c in targets {
        let row: f64 = matrix[c * classes..(c + 1) * classes].iter().sum();
        let column: f64 = (0..classes).map(|r| matrix[r * classes + c]).sum();
        let hits = matrix[c * classes + c];
        let union = row + column - hits;
        if union > 1e-9 {
            sum += hits / (union + 1e-7);
            valid += 1.0;
        }
    }
    vec![sum / (valid + 1e-7)]
}

macro_rules! iou {
    ($($(#[$doc:meta])* $class:ident $label:literal { $($must:ident: $must_ty:ty = $none:expr;)* }
        { $($(#[$set:meta])* $field:ident: $ty:ty = $default:expr, $arg:ty => $convert:expr;)* }
        $sparse_y_true:expr, $targets:expr;)+) => { $(
        metric! { required $(#[$doc])* $class $label { num_classes: usize = 0; $($must: $must_ty = $none;)* } {
            /// A class whose targets are left out; none by default.
            ignore_class: Option<i32> = None, i32 => Some;
            $($(#[$set])* $field: $ty = $default, $arg => $convert;)*
            /// The axis of classes where targets or predictions are not class numbers; the last by default.
            axis: isize = -1, isize => identity;
        } }

        impl $class {
            /// For so many classes.
            pub fn new(num_classes: usize $(, $must: impl Into<$must_ty>)*) -> Self {
                $class { num_classes, $($must: $must.into(),)* ..Self::default() }
            }

            fn matrix(&self) -> Matrix<'_> {
                let sparse_y_true: fn(&Self) -> bool = $sparse_y_true;
                Matrix {
                    name: &self.name,
                    classes: self.num_classes,
                    ignore_class: self.ignore_class,
                    sparse_y_true: sparse_y_true(self),
                    sparse_y_pred: self.sparse_y_pred,
                    axis: self.axis,
                }
            }

            fn targets(&self) -> Vec<usize> {
                let targets: fn(&Self) -> Vec<usize> = $targets;
                targets(self)
            }
        }

        impl Metric for $class {
            described!(Some(true));

            fn state(&self, _pred: &Shape) -> Result<Vec<Shape>> {
                self.matrix().state(&self.targets())
            }

            fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
                self.matrix().update(batch, batch.y_pred)
            }

            fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
                mean_iou(&sums[0], self.num_classes, &self.targets())
            }
        }
    )+ };
}

iou! {
    /// Mean over some classes of `tp / (tp + fp + fn)`, from 0 to 1. Classes that do not occur are left out. Weights stay fractions (Keras truncates them to
    /// whole numbers unless the metric has `dtype="float32"`).
    IoU "io_u" { target_class_ids: Vec<usize> = Vec::new(); } {
        /// Targets are class numbers (the default), or else one-hot.
        sparse_y_true: bool = true, bool => identity;
        /// Predictions are class numbers (the default), or else scores of the classes.
        sparse_y_pred: bool = true, bool => identity;
    } |m| m.sparse_y_true, |m| m.target_class_ids.clone();
    /// Mean over all classes of `tp / (tp + fp + fn)`, as [`IoU`].
    MeanIoU "mean_io_u" {} {
        /// Targets are class numbers (the default), or else one-hot.
        sparse_y_true: bool = true, bool => identity;
        /// Predictions are class numbers (the default), or else scores of the classes.
        sparse_y_pred: bool = true, bool => identity;
    } |m| m.sparse_y_true, |m| (0..m.num_classes).collect();
    /// [`IoU`] with one-hot targets, and by default scores of the classes as predictions.
    OneHotIoU "one_hot_io_u" { target_class_ids: Vec<usize> = Vec::new(); } {
        /// Predictions are class numbers. Off by default.
        sparse_y_pred: bool = false, bool => identity;
    } |_| false, |m| m.target_class_ids.clone();
    /// [`MeanIoU`] with one-hot targets, and by default scores of the classes as predictions.
    OneHotMeanIoU "one_hot_mean_io_u" {} {
        /// Predictions are class numbers. Off by default.
        sparse_y_pred: bool = false, bool => identity;
    } |_| false, |m| (0..m.num_classes).collect();
}

metric! {
    /// Mean over class 0, class 1 or both of `tp / (tp + fp + fn)`, where predictions of at least a threshold are class 1. From 0 to 1.
    BinaryIoU "binary_io_u" {
        /// The classes to look at; both by default.
        target_class_ids: Vec<usize> = vec![0, 1], Vec<usize> => identity;
        /// Predictions of at least this are class 1; 0.5 by default.
        threshold: f64 = 0.5, f64 => identity;
    }
}

impl BinaryIoU {
    fn matrix(&self) -> Matrix<'_> {
        Matrix { name: &self.name, classes: 2, ignore_class: None, sparse_y_true: true, sparse_y_pred: true, axis: -1 }
    }
}

impl Metric for BinaryIoU {
    described!(Some(true));

    fn state(&self, _pred: &Shape) -> Result<Vec<Shape>> {
        self.matrix().state(&self.target_class_ids)
    }

    fn update(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        self.matrix().update(batch, &batch.y_pred.ge(self.threshold).cast(DType::I32))
    }

    fn result(&self, sums: &[Vec<f64>]) -> Vec<f64> {
        mean_iou(&sums[0], 2, &self.target_class_ids)
    }
}
