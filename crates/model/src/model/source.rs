//! What models learn from and are tested on.

use ibex_core::{Result, Tensor};
use ibex_data::{Dataset, View};

/// Inputs and targets: a data set, a view of one, or a pair of tensors.
pub trait Source {
    /// As rows of a data set.
    ///
    /// # Errors
    /// If inputs and targets do not have the same length, or are no host tensors.
    fn view(&self) -> Result<View>;
}

impl Source for &Dataset {
    fn view(&self) -> Result<View> {
        // Made anew, since the fields of a data set may have been changed.
        Ok(Dataset::new(self.x.clone(), self.y.clone())?.view())
    }
}

impl Source for View {
    fn view(&self) -> Result<View> {
        Ok(self.clone())
    }
}

impl Source for &View {
    fn view(&self) -> Result<View> {
        Ok((*self).clone())
    }
}

impl Source for (&Tensor, &Tensor) {
    fn view(&self) -> Result<View> {
        Ok(Dataset::new(self.0.clone(), self.1.clone())?.view())
    }
}
