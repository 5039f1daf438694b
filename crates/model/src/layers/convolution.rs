//! What the convolution layers share: their windows, and bias and activation at the end.

use super::window::{ChannelsLast, Sizes, window};
use super::{Context, Weights};
use crate::{Activation, Constraint, Initializer, Regularizer};
use ibex_core::{DType, Padding, Result, Tensor, Window};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, bound = "")]
pub(super) struct Convolution<const N: usize> {
    pub kernel_size: Sizes<N>,
    pub strides: Sizes<N>,
    pub dilation_rate: Sizes<N>,
    data_format: ChannelsLast,
    pub activation: Activation,
    pub use_bias: bool,
    pub bias_initializer: Initializer,
    pub bias_regularizer: Option<Regularizer>,
    pub bias_constraint: Option<Constraint>,
    pub activity_regularizer: Option<Regularizer>,
}

impl<const N: usize> Default for Convolution<N> {
    fn default() -> Self {
        Convolution {
            kernel_size: 1.into(),
            strides: 1.into(),
            dilation_rate: 1.into(),
            data_format: ChannelsLast,
            activation: Activation::Linear,
            use_bias: true,
            bias_initializer: Initializer::Zeros,
            bias_regularizer: None,
            bias_constraint: None,
            activity_regularizer: None,
        }
    }
}

impl<const N: usize> Convolution<N> {
    pub fn new(kernel_size: Sizes<N>) -> Self {
        Convolution { kernel_size, ..Convolution::default() }
    }

    pub fn window(&self, padding: Padding) -> Window {
        window(self.kernel_size, self.strides, self.dilation_rate, padding)
    }

    /// The shape of a kernel.
    pub fn kernel(&self, before_last: usize, last: usize) -> Vec<usize> {
        [&self.kernel_size.0[..], &[before_last, last]].concat()
    }

    /// The bias, after all kernels.
    pub fn add_bias(&self, weights: &mut Weights, filters: usize) -> Result<()> {
        if self.use_bias {
            let bias = weights.add("bias", [filters], self.bias_initializer)?;
            bias.regularized(self.bias_regularizer).constrained(self.bias_constraint.clone());
        }
        Ok(())
    }

    pub fn finish(&self, mut y: Tensor, cx: &mut Context) -> Tensor {
        if self.use_bias {
            y = y + cx.weight("bias");
        }
        y = self.activation.activate(&y);
        if let (Some(regularizer), true) = (self.activity_regularizer, y.check().is_ok()) {
            cx.add_loss(regularizer.penalty(&y.cast(DType::F32)) / y.dim(0).max(1) as f32);
        }
        y
    }
}

/// The methods that set what a [`Convolution`] holds.
macro_rules! convolution_options {
    () => {
        /// Distance between windows; 1 by default.
        pub fn strides(mut self, strides: impl Into<Sizes<N>>) -> Self {
            self.convolution.strides = strides.into();
            self
        }

        /// Distance between the elements of a window; 1 by default.
        pub fn dilation_rate(mut self, dilation_rate: impl Into<Sizes<N>>) -> Self {
            self.convolution.dilation_rate = dilation_rate.into();
            self
        }

        /// Applied to the result.
        pub fn activation(mut self, activation: impl $crate::IntoActivation) -> Self {
            self.convolution.activation = activation.into();
            self
        }

        /// With or without bias; with by default.
        pub fn use_bias(mut self, use_bias: bool) -> Self {
            self.convolution.use_bias = use_bias;
            self
        }

        /// How the bias starts.
        pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
            self.convolution.bias_initializer = initializer;
            self
        }

        /// A term of the loss for the bias.
        pub fn bias_regularizer(mut self, regularizer: Regularizer) -> Self {
            self.convolution.bias_regularizer = Some(regularizer);
            self
        }

        /// What the bias must fulfil after every step.
        pub fn bias_constraint(mut self, constraint: Constraint) -> Self {
            self.convolution.bias_constraint = Some(constraint);
            self
        }

        /// A term of the loss for the output, divided by the size of the batch.
        pub fn activity_regularizer(mut self, regularizer: Regularizer) -> Self {
            self.convolution.activity_regularizer = Some(regularizer);
            self
        }
    };
}

/// The methods that set the options of a kernel.
macro_rules! kernel_options {
    ($kernel:literal: $initializer:ident $regularizer:ident $constraint:ident) => {
        #[doc = concat!("How the ", $kernel, " starts.")]
        pub fn $initializer(self, $initializer: Initializer) -> Self {
            Self { $initializer, ..self }
        }

        #[doc = concat!("A term of the loss for the ", $kernel, ".")]
        pub fn $regularizer(self, regularizer: Regularizer) -> Self {
            Self { $regularizer: Some(regularizer), ..self }
        }

        #[doc = concat!("What the ", $kernel, " must fulfil after every step.")]
        pub fn $constraint(self, constraint: Constraint) -> Self {
            Self { $constraint: Some(constraint), ..self }
        }
    };
}

pub(super) use {convolution_options, kernel_options};
