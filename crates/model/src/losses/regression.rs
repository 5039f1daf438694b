//! Losses of numbers.

use super::{EPSILON, Loss, aligned, head, loss, mean};
use ibex_core::{Result, Tensor};

macro_rules! of_pairs {
    ($($(#[$doc:meta])* $name:ident $class:literal $snake:literal $of:expr;)+) => { $(
        loss! {
            $(#[$doc])*
            $name {}
        }

        impl Loss for $name {
            head!($class);

            fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
                let (y, p) = aligned($snake, y_true, y_pred)?;
                let of: fn(&Tensor, &Tensor) -> Tensor = $of;
                Ok(mean(of(&y, &p)))
            }
        }
    )+ };
}

of_pairs! {
    /// Mean over the last axis of `(y_pred - y_true)^2`.
    MeanSquaredError "MeanSquaredError" "mean_squared_error" |y, p| (p - y).square();
    /// Mean over the last axis of `|y_pred - y_true|`.
    MeanAbsoluteError "MeanAbsoluteError" "mean_absolute_error" |y, p| (p - y).abs();
    /// Mean over the last axis of `100 * |y_true - y_pred| / max(|y_true|, 1e-7)`.
    MeanAbsolutePercentageError "MeanAbsolutePercentageError" "mean_absolute_percentage_error"
        |y, p| ((y - p) / y.abs().maximum(EPSILON)).abs() * 100.0;
    /// Mean over the last axis of `(ln(y_pred + 1) - ln(y_true + 1))^2`, with numbers below 1e-7 raised to that.
    MeanSquaredLogarithmicError "MeanSquaredLogarithmicError" "mean_squared_logarithmic_error"
        |y, p| ((p.maximum(EPSILON) + 1.0).log() - (y.maximum(EPSILON) + 1.0).log()).square();
    /// Mean over the last axis of `ln(cosh(y_pred - y_true))`: nearly half the square of small errors, nearly the size of large ones.
    LogCosh "LogCosh" "log_cosh" |y, p| {
        let error = p - y;
        &error + (&error * -2.0).softplus() - std::f32::consts::LN_2
    };
}

loss! {
    /// Mean over the last axis of half the squared error up to `delta`, and `delta * |error| - delta^2 / 2` beyond (Huber 1964).
    Huber {
        /// Where the square becomes a line; 1 by default.
        delta: f32 = 1.0,
    }
}

impl Loss for Huber {
    head!("Huber");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (y, p) = aligned("huber", y_true, y_pred)?;
        let (error, delta) = (p - y, self.delta);
        let size = error.abs();
        Ok(mean(size.le(delta).select(error.square() * 0.5, size * delta - 0.5 * delta * delta)))
    }
}
