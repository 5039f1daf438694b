//! Losses of distributions.

use super::{EPSILON, Loss, aligned, head, loss, mean};
use ibex_core::{Result, Tensor};

loss! {
    /// Sum over the last axis of `y_true * ln(y_true / y_pred)`, with both cut to `[1e-7, 1]` (Kullback and Leibler 1951).
    #[doc(alias = "KLD")]
    KLDivergence {}
}

loss! {
    /// Mean over the last axis of `y_pred - y_true * ln(y_pred + 1e-7)`: the negative log-likelihood of counts, but for what `y_true` alone adds.
    Poisson {}
}

impl Loss for KLDivergence {
    head!("KLDivergence");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (y, p) = aligned("kl_divergence", y_true, y_pred)?;
        let (y, p) = (y.clamp(EPSILON, 1.0), p.clamp(EPSILON, 1.0));
        let each = &y * (&y / p).log();
        Ok(if each.rank() == 0 { each } else { each.sum(&[-1]) })
    }
}

impl Loss for Poisson {
    head!("Poisson");

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        let (y, p) = aligned("poisson", y_true, y_pred)?;
        Ok(mean(&p - y * (&p + EPSILON).log()))
    }
}
