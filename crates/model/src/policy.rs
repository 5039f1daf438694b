//! Mixed precision: the element type that layers compute in.

use ibex_core::{DType, Error};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The element type that layers compute in, as in Keras: `Sequential::new(..).dtype_policy(MixedFloat16)` for all layers of a model,
/// [`Layer::dtype`](crate::layers::Layer::dtype) for one of them.
///
/// Weights, optimizer state and moving averages are `f32` under every policy, and so are losses, metrics and what
/// [`predict`](crate::Model::predict) returns. A layer casts its float inputs and its weights to the compute type; what lies between layers
/// takes half the memory under the mixed policies. Sums of matrix products, convolutions and reductions run in `f32` always and are rounded once.
/// Some layers compute in `f32` inside, since `f16` would overflow or lose too much: `BatchNormalization`, and the recurrence of `LSTM`.
///
/// The last layer is best kept in `f32`:
///
/// ```
/// use ibex::prelude::*;
///
/// # fn main() -> ibex::Result<()> {
/// let mut model = Sequential::new([28, 28, 1])
///     .dtype_policy(MixedFloat16)
///     .add(Conv2D::new(8, 3).activation(Relu))
///     .add(Flatten::new())
///     .add(Dense::new(10).dtype(Float32));
/// model.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
/// assert_eq!(model.loss_scale()?, 32768.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DTypePolicy {
    /// `f32` everywhere.
    #[default]
    Float32,
    /// Layers compute in `f16`: 11 bits of precision, up to 65504. Small gradients would vanish below 6e-8, so `compile` adds a
    /// [`LossScaleOptimizer`](crate::optimizers::LossScaleOptimizer).
    MixedFloat16,
    /// Layers compute in `bf16`: 8 bits of precision and the range of `f32`, so that no loss scaling is needed.
    MixedBfloat16,
}

impl DTypePolicy {
    /// Every policy.
    pub const ALL: [DTypePolicy; 3] = [DTypePolicy::Float32, DTypePolicy::MixedFloat16, DTypePolicy::MixedBfloat16];

    /// Keras's name: `"mixed_float16"`.
    pub const fn name(self) -> &'static str {
        match self {
            DTypePolicy::Float32 => "float32",
            DTypePolicy::MixedFloat16 => "mixed_float16",
            DTypePolicy::MixedBfloat16 => "mixed_bfloat16",
        }
    }

    /// What layers compute in.
    pub const fn compute_dtype(self) -> DType {
        match self {
            DTypePolicy::Float32 => DType::F32,
            DTypePolicy::MixedFloat16 => DType::F16,
            DTypePolicy::MixedBfloat16 => DType::BF16,
        }
    }
}

impl fmt::Display for DTypePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DTypePolicy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        DTypePolicy::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
            let known = DTypePolicy::ALL.map(DTypePolicy::name).join(", ");
            Error::value(format!("unknown dtype policy {name:?}; known are {known}"))
        })
    }
}
