//! Reading tensors on the default device.

use crate::device::default_device;
#[cfg(not(target_arch = "wasm32"))]
use ibex_core::Element;
use ibex_core::{Data, Result, Tensor};

/// Computes tensors on the [default device](crate::default_device). [`Device`](crate::Device) has the same for a device of your choice.
pub trait Eval {
    /// The value, kept in device memory.
    ///
    /// # Errors
    /// The error of an invalid operation; whatever the device reports.
    fn eval(&self) -> Result<Tensor>;

    /// The value, kept in host memory: what scalers, encoders, splits and windows take. Not there in a browser, where it is
    /// `Tensor::from_data(x.read().await?, x.shape())`.
    ///
    /// ```
    /// use ibex::data::StandardScaler;
    /// use ibex::prelude::*;
    ///
    /// # fn main() -> ibex::Result<()> {
    /// let x = (Tensor::rand([8, 2], 0) + 1.0).log();
    /// assert!(StandardScaler::fit(&x).is_err());
    /// let scaler = StandardScaler::fit(&x.to_host()?)?;
    /// # assert_eq!(scaler.mean().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Eval::eval`].
    #[cfg(not(target_arch = "wasm32"))]
    fn to_host(&self) -> Result<Tensor>;

    /// The numbers.
    ///
    /// # Errors
    /// As [`Eval::eval`].
    fn read(&self) -> impl Future<Output = Result<Data>>;

    /// The numbers in row-major order. Not there in a browser, where reading is `read().await`.
    ///
    /// # Errors
    /// `DType` if the tensor holds another element type; as [`Eval::eval`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    fn to_vec<T: Element>(&self) -> Result<Vec<T>>;

    /// The only number. Not there in a browser.
    ///
    /// # Errors
    /// `Shape` if there is not exactly one; as [`Eval::to_vec`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    fn item<T: Element>(&self) -> Result<T>;
}

impl Eval for Tensor {
    fn eval(&self) -> Result<Tensor> {
        Ok(default_device()?.eval(std::slice::from_ref(self))?.remove(0))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn to_host(&self) -> Result<Tensor> {
        Ok(Tensor::from_data(default_device()?.read_now(self)?, self.shape()))
    }

    async fn read(&self) -> Result<Data> {
        default_device()?.read(self).await
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        default_device()?.to_vec(self)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn item<T: Element>(&self) -> Result<T> {
        match self.to_vec::<T>()?[..] {
            [value] => Ok(value),
            _ => {
                let text = format!("item: shape {} does not have exactly one element", self.shape());
                Err(ibex_core::Error::shape(text).at(std::panic::Location::caller()))
            }
        }
    }
}
