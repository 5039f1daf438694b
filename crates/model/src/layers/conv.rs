//! Convolution over sequences, images and volumes.

use super::convolution::{Convolution, convolution_options, kernel_options};
use super::window::{Sizes, channels, class};
use super::{Config, Context, Layer, Weights, at_least_one};
use crate::{Constraint, Initializer, Regularizer, config};
use ibex_core::{Error, Padding, Result, Shape, Tensor};
use serde::{Deserialize, Deserializer, Serialize, de};

/// `activation(conv(x, kernel) + bias)`: `(batch, space.., channels)` to `(batch, out.., filters)` with `N` space axes, where each output is the
/// sum of the products of a window of the input and a kernel (a cross-correlation, as everywhere in deep learning).
///
/// Output lengths: `(n - (k - 1) * dilation - 1) / strides + 1` for valid padding, `ceil(n / strides)` for same and causal padding.
///
/// Weights: `kernel (window.., channels / groups, filters)`, Glorot uniform; `bias (filters,)`, zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, bound = "")]
pub struct Conv<const N: usize> {
    filters: usize,
    #[serde(deserialize_with = "edge::<_, N>")]
    padding: Edge,
    groups: usize,
    kernel_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    kernel_constraint: Option<Constraint>,
    #[serde(flatten)]
    convolution: Convolution<N>,
}

/// [`Conv`] over sequences `(batch, steps, channels)`.
pub type Conv1D = Conv<1>;
/// [`Conv`] over images `(batch, height, width, channels)`.
pub type Conv2D = Conv<2>;
/// [`Conv`] over volumes `(batch, depth, height, width, channels)`.
pub type Conv3D = Conv<3>;

/// [`Padding`], or one that only sequences have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Edge {
    Valid,
    Same,
    Causal,
}

fn edge<'de, D: Deserializer<'de>, const N: usize>(from: D) -> std::result::Result<Edge, D::Error> {
    match Edge::deserialize(from)? {
        Edge::Causal if N != 1 => Err(de::Error::custom("padding \"causal\" is for Conv1D only")),
        edge => Ok(edge),
    }
}

impl<const N: usize> Default for Conv<N> {
    fn default() -> Self {
        Conv {
            filters: 1,
            padding: Edge::Valid,
            groups: 1,
            kernel_initializer: Initializer::GlorotUniform,
            kernel_regularizer: None,
            kernel_constraint: None,
            convolution: Convolution::default(),
        }
    }
}

impl<const N: usize> Conv<N> {
    /// A layer with `filters` output channels and windows of `kernel_size`: `Conv2D::new(32, 3)`, `Conv2D::new(32, (3, 5))`.
    pub fn new(filters: usize, kernel_size: impl Into<Sizes<N>>) -> Self {
        Conv { filters, convolution: Convolution::new(kernel_size.into()), ..Conv::default() }
    }

    /// Windows inside of the input (valid, the default), or as many as there are places for (same).
    pub fn padding(self, padding: Padding) -> Self {
        let padding = match padding {
            Padding::Valid => Edge::Valid,
            Padding::Same => Edge::Same,
        };
        Conv { padding, ..self }
    }

    /// Divides input and output channels into groups that do not see each other; 1 by default.
    pub fn groups(self, groups: usize) -> Self {
        Conv { groups, ..self }
    }

    convolution_options!();
    kernel_options!("kernel": kernel_initializer kernel_regularizer kernel_constraint);
}

impl Conv1D {
    /// Windows that end at each step, with zeros before the first: no output sees a later step. Keras's `padding="causal"`.
    pub fn causal(self) -> Self {
        Conv { padding: Edge::Causal, ..self }
    }
}

impl<const N: usize> Layer for Conv<N> {
    fn class_name(&self) -> &'static str {
        class::<N>(["Conv1D", "Conv2D", "Conv3D"])
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        let (channels, groups, filters) = (channels::<N>(input)?, self.groups, self.filters);
        at_least_one("filters", filters)?;
        at_least_one("groups", groups)?;
        if !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            return Err(Error::value(format!(
                "{groups} groups must divide {channels} input channels and {filters} filters"
            )));
        }
        let shape = self.convolution.kernel(channels / groups, filters);
        let kernel = weights.add("kernel", shape, self.kernel_initializer)?;
        kernel.regularized(self.kernel_regularizer).constrained(self.kernel_constraint.clone());
        self.convolution.add_bias(weights, filters)
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let (mut x, mut padding) = (x.clone(), Padding::Valid);
        match self.padding {
            Edge::Valid => {}
            Edge::Same => padding = Padding::Same,
            Edge::Causal => {
                let reach = self.convolution.kernel_size.0[0].saturating_sub(1) * self.convolution.dilation_rate.0[0];
                x = x.pad(&[(0, 0), (reach, 0), (0, 0)]);
            }
        }
        let y = x.conv(cx.weight("kernel"), &self.convolution.window(padding), self.groups);
        Ok(self.convolution.finish(y, cx))
    }
}
