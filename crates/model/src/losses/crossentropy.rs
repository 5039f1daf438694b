//! Cross-entropies.

use super::{EPSILON, Loss, aligned, head, loss};
use ibex_core::{DType, Data, Error, Result, Shape, Tensor};

loss! {
    /// `-log p[label]`, with integer labels `(batch,)` or `(batch, 1)` and predictions `(batch, .., classes)`.
    SparseCategoricalCrossentropy [from_logits] {
        /// A label whose samples do not count: it need not be a class. None by default.
        ignore_class: Option<i32> = None,
        /// The axis of the classes; -1 by default.
        axis: isize = -1,
    }
}

loss! {
    /// `-sum(y_true * log p)` over the classes, with one-hot (or soft) targets.
    CategoricalCrossentropy [from_logits] {
        /// Moves targets toward the uniform distribution by this share.
        label_smoothing: f32 = 0.0,
        /// The axis of the classes; -1 by default.
        axis: isize = -1,
    }
}

loss! {
    /// `-(y log p + (1 - y) log(1 - p))`, mean over an axis.
    BinaryCrossentropy [from_logits] {
        /// Moves targets toward one half by this share.
        label_smoothing: f32 = 0.0,
        /// The axis of the mean; -1 by default.
        axis: isize = -1,
    }
}

loss! {
    /// `(1 - p[label]^q) / q`, which wrong labels mislead less than a cross-entropy (Zhang and Sabuncu 2018); integer labels.
    CategoricalGeneralizedCrossEntropy {
        /// Between 0 (the cross-entropy) and 1 (the mean absolute error); 0.5 by default.
        q: f32 = 0.5,
    }
}

/// Logarithms of class probabilities. Probabilities are first divided by their sum and clipped, as in Keras.
fn log_probabilities(y_pred: &Tensor, from_logits: bool, axis: isize) -> Tensor {
    if from_logits {
        return y_pred.log_softmax(axis);
    }
    let p = y_pred / y_pred.sum_keep(&[axis]);
    p.clamp(EPSILON, 1.0 - EPSILON).log()
}

/// Labels without a last axis of length 1, one for each row of classes.
fn labels(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
    let labels =
        if y_true.rank() == y_pred.rank() && y_true.dim(-1) == 1 { y_true.squeeze(-1) } else { y_true.clone() };
    if labels.shape()[..] != y_pred.shape()[..y_pred.rank().saturating_sub(1)] {
        let one_hot = match y_true.shape() == y_pred.shape() {
            true => "; for one-hot targets use CategoricalCrossentropy",
            false => "",
        };
        return Err(Error::shape(format!(
            "{name}: labels {} do not fit predictions {}: need one label for each row of classes{one_hot}",
            y_true.shape(),
            y_pred.shape()
        )));
    }
    Ok(labels.cast(DType::I32))
}

/// Looks for labels that are no class, but for one.
fn check_labels(targets: &Data, pred: &Shape, axis: isize, ignored: Option<i32>) -> Result<()> {
    let classes = pred.axis(axis).map_or(0, |axis| pred[axis]);
    let fits = |label: f64| {
        (label >= 0.0 && label < classes as f64 && label.fract() == 0.0)
            || ignored.is_some_and(|i| label == f64::from(i))
    };
    let bad = match targets {
        Data::I32(v) => v.iter().position(|&l| !fits(f64::from(l))).map(|i| (i, v[i].to_string())),
        Data::U32(v) | Data::Bool(v) => v.iter().position(|&l| !fits(f64::from(l))).map(|i| (i, v[i].to_string())),
        other => {
            let v = other.to_f64();
            v.iter().position(|&l| !fits(l)).map(|i| (i, v[i].to_string()))
        }
    };
    let Some((at, label)) = bad else { return Ok(()) };
    let last = classes.saturating_sub(1);
    Err(Error::value(match targets.dtype() {
        dtype if dtype.is_float() && label.parse::<f64>().is_ok_and(|l| l.fract() != 0.0) => format!(
            "labels must be integers from 0 to {last}, the numbers of the {classes} classes; these are {dtype}, {label} at position {at}; \
             for a probability of each class use CategoricalCrossentropy"
        ),
        _ => format!(
            "label {label} at position {at} is out of range: the model has {classes} classes, so labels are 0 to {last}"
        ),
    }))
}

impl SparseCategoricalCrossentropy {
    /// Predictions with the classes on the last axis.
    fn classes_last(&self, y_pred: &Tensor) -> Tensor {
        let Some(axis) = y_pred.shape().axis(self.axis) else { return y_pred.clone() };
        let mut order: Vec<usize> = (0..y_pred.rank()).filter(|&i| i != axis).collect();
        order.push(axis);
        y_pred.permute(&order)
    }
}

impl Loss for SparseCategoricalCrossentropy {
    head!("SparseCategoricalCrossentropy");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let y_pred = self.classes_last(y_pred);
        let labels = labels("sparse_categorical_crossentropy", y_true, &y_pred)?;
        let losses = -log_probabilities(&y_pred, self.from_logits, -1).pick(&labels);
        Ok(match self.ignore_class {
            Some(class) => labels.ne(class).select(losses, 0.0),
            None => losses,
        })
    }

    fn mask(&self, y_true: &Tensor, y_pred: &Tensor, _losses: &Tensor) -> Option<Tensor> {
        let class = self.ignore_class?;
        let labels = labels("sparse_categorical_crossentropy", y_true, &self.classes_last(y_pred));
        Some(labels.map_or_else(Tensor::poisoned, |labels| labels.ne(class)))
    }

    fn sparse_targets(&self) -> bool {
        true
    }

    fn check_targets(&self, targets: &Data, pred: &Shape) -> Result<()> {
        // `pred` has no batch axis.
        let axis = if self.axis > 0 { self.axis - 1 } else { self.axis };
        check_labels(targets, pred, axis, self.ignore_class)
    }
}

impl Loss for CategoricalCrossentropy {
    head!("CategoricalCrossentropy");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        if y_true.shape() != y_pred.shape() {
            return Err(Error::shape(format!(
                "categorical_crossentropy: targets {} do not fit predictions {}; for integer labels use SparseCategoricalCrossentropy",
                y_true.shape(),
                y_pred.shape()
            )));
        }
        let mut y = y_true.cast(y_pred.dtype());
        if self.label_smoothing != 0.0 {
            y = y * (1.0 - self.label_smoothing) + self.label_smoothing / y_pred.dim(-1) as f32;
        }
        Ok(-(y * log_probabilities(y_pred, self.from_logits, self.axis)).sum(&[self.axis]))
    }
}

impl Loss for BinaryCrossentropy {
    head!("BinaryCrossentropy");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (mut y, p) = aligned("binary_crossentropy", y_true, y_pred)?;
        if self.label_smoothing != 0.0 {
            y = y * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing;
        }
        let each = if self.from_logits {
            p.softplus() - p * y
        } else {
            let p = p.clamp(EPSILON, 1.0 - EPSILON);
            -(&y * p.log() + (1.0 - &y) * (1.0 - p).log())
        };
        Ok(if each.rank() == 0 { each } else { each.mean(&[self.axis]) })
    }

    fn check_targets(&self, targets: &Data, _pred: &Shape) -> Result<()> {
        let values = targets.to_f64();
        match values.iter().position(|v| !(0.0..=1.0).contains(v)) {
            None => Ok(()),
            Some(at) => Err(Error::value(format!(
                "target {} at position {at} is out of range: binary cross-entropy takes probabilities from 0 to 1",
                values[at]
            ))),
        }
    }
}

impl Loss for CategoricalGeneralizedCrossEntropy {
    head!("CategoricalGeneralizedCrossEntropy");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        if !(self.q > 0.0 && self.q < 1.0) {
            return Err(Error::value(format!(
                "categorical_generalized_cross_entropy: q is {}, it must lie between 0 and 1",
                self.q
            )));
        }
        let labels = labels("categorical_generalized_cross_entropy", y_true, y_pred)?;
        Ok((1.0 - y_pred.pick(labels).pow(self.q)) / self.q)
    }

    fn sparse_targets(&self) -> bool {
        true
    }

    fn check_targets(&self, targets: &Data, pred: &Shape) -> Result<()> {
        check_labels(targets, pred, -1, None)
    }
}
