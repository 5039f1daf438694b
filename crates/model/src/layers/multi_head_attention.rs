//! Attention with several heads.

use super::attention::{causal_mask, three};
use super::dropout::{check_rate, drop};
use super::softmax::masked_softmax;
use super::{Config, Context, Layer, Weights, at_least_one};
use crate::{Constraint, Initializer, Regularizer, config};
use ibex_core::{Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Attention in several subspaces at once (Vaswani et al. 2017): each head projects query, key and value, and attends with
/// `softmax(query . key / sqrt(key_dim)) . value`; the heads together are projected to the output.
///
/// Two or three inputs: query `(batch, steps, n)`, value `(batch, keys, m)`, key `(batch, keys, l)`, which is the value if it is not given. Output
/// `(batch, steps, n)`, or another last axis ([`MultiHeadAttention::output_shape`]); and the weights `(batch, heads, steps, keys)` if they are wanted.
/// Keys that a mask of the value or the key takes out do not count. Attention along axes other than the steps is not built.
///
/// Weights: `query/kernel (n, heads, key_dim)`, `query/bias (heads, key_dim)`, `key/..`, `value/kernel (m, heads, value_dim)`, `value/bias`,
/// `attention_output/kernel (heads, value_dim, n)`, `attention_output/bias (n,)`. Kernels Glorot uniform, biases zeros.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MultiHeadAttention {
    num_heads: usize,
    key_dim: usize,
    #[serde(flatten)]
    more: More,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
struct More {
    value_dim: Option<usize>,
    dropout: f64,
    use_bias: bool,
    output_shape: Option<Vec<usize>>,
    attention_axes: Option<Vec<isize>>,
    sliding_window: Option<usize>,
    use_gate: bool,
    use_causal_mask: bool,
    return_attention_scores: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
    activity_regularizer: Option<Regularizer>,
    kernel_constraint: Option<Constraint>,
    bias_constraint: Option<Constraint>,
}

impl Default for More {
    fn default() -> Self {
        More {
            value_dim: None,
            dropout: 0.0,
            use_bias: true,
            output_shape: None,
            attention_axes: None,
            sliding_window: None,
            use_gate: false,
            use_causal_mask: false,
            return_attention_scores: false,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            bias_regularizer: None,
            activity_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
        }
    }
}

impl MultiHeadAttention {
    /// So many heads, with queries and keys of `key_dim` features each.
    pub fn new(num_heads: usize, key_dim: usize) -> Self {
        MultiHeadAttention { num_heads, key_dim, more: More::default() }
    }

    /// Declares a projection from some last axes to others.
    fn declare(&self, weights: &mut Weights, name: &str, from: &[usize], to: &[usize]) -> Result<()> {
        let more = &self.more;
        weights.within(name, |weights| {
            weights
                .add("kernel", [from, to].concat(), more.kernel_initializer)?
                .regularized(more.kernel_regularizer)
                .constrained(more.kernel_constraint.clone());
            if more.use_bias {
                weights
                    .add("bias", to, more.bias_initializer)?
                    .regularized(more.bias_regularizer)
                    .constrained(more.bias_constraint.clone());
            }
            Ok(())
        })
    }

    /// `(batch, steps, n)` to `(batch, steps, to..)`.
    fn project(&self, x: &Tensor, name: &str, to: &[usize], cx: &mut Context) -> Tensor {
        let width: usize = to.iter().product();
        cx.within(name, |cx| {
            let mut y = x.matmul(cx.weight("kernel").reshape([x.dim(-1), width]));
            if self.more.use_bias {
                y = y + cx.weight("bias").reshape([width]);
            }
            let y = y.reshape([&[x.dim(0), x.dim(1)], to].concat());
            cx.penalize(self.more.activity_regularizer, &y);
            y
        })
    }

    fn value_width(&self) -> usize {
        self.more.value_dim.unwrap_or(self.key_dim)
    }

    /// The last axes of the output.
    fn outputs(&self, query: &Shape) -> Vec<usize> {
        self.more.output_shape.clone().unwrap_or_else(|| vec![query[2]])
    }

    /// `bool`, broadcasts to `(batch, steps, keys)`: what each step may see.
    fn mask(&self, queries: usize, keys: usize, cx: &Context) -> Option<Tensor> {
        let of_keys = (1..3).filter_map(|i| cx.mask(i)).map(|mask| mask.unsqueeze(1));
        let near = self.more.sliding_window.map(|window| {
            let shape = [1, queries, keys];
            (Tensor::iota(shape, 1) - Tensor::iota(shape, 2)).abs().lt(window as f32)
        });
        let causal = self.more.use_causal_mask.then(|| causal_mask(queries, keys));
        let of_queries = cx.mask(0).map(|mask| mask.unsqueeze(-1));
        of_queries.into_iter().chain(of_keys).chain(causal).chain(near).reduce(|a, b| a.and(b))
    }
}

options! { MultiHeadAttention {
    /// Features of a value in each head; `key_dim` by default.
    value_dim in more: impl Into<Option<usize>>,
    /// Share of the weights that is dropped while training; 0 by default.
    dropout in more: f64,
    /// With or without biases; with by default.
    use_bias in more: bool,
    /// The last axes of the output; that of the query by default.
    output_shape in more: impl Into<Option<Vec<usize>>>,
    /// A step sees only keys at a smaller distance than this; all by default.
    sliding_window in more: impl Into<Option<usize>>,
    /// With or without a learned gate for what the heads give; without by default. Its weights `gate/..` stand before those of the value.
    use_gate in more: bool,
    /// Does a step see only keys that are not later? Keras has this as an argument of the call. No by default.
    use_causal_mask in more: bool,
    /// Are the weights a second output? Keras has this as an argument of the call. No by default.
    return_attention_scores in more: bool,
    /// How kernels start.
    kernel_initializer in more: Initializer,
    /// How biases start.
    bias_initializer in more: Initializer,
    /// What kernels add to the loss.
    kernel_regularizer in more: impl Into<Option<Regularizer>>,
    /// What biases add to the loss.
    bias_regularizer in more: impl Into<Option<Regularizer>>,
    /// What each projection adds to the loss, divided by the size of the batch.
    activity_regularizer in more: impl Into<Option<Regularizer>>,
    /// What kernels are made to keep to after every step.
    kernel_constraint in more: impl Into<Option<Constraint>>,
    /// What biases are made to keep to after every step.
    bias_constraint in more: impl Into<Option<Constraint>>,
} }

impl Layer for MultiHeadAttention {
    fn class_name(&self) -> &'static str {
        "MultiHeadAttention"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        let [query, value, key] = three(inputs)?;
        if [query, value, key].iter().any(|shape| shape.rank() != 3) || value[1] != key[1] {
            return Err(Error::shape(format!(
                "takes a query (batch, steps, n), a value (batch, keys, m) and a key (batch, keys, l), got {query}, {value} and {key}"
            )));
        }
        if let Some(axes) = self.more.attention_axes.as_deref().filter(|axes| !matches!(axes, [1] | [-2])) {
            return Err(Error::unsupported(format!("attention_axes {axes:?}: only attention along axis 1 is built")));
        }
        let (heads, values) = (self.num_heads, self.value_width());
        let counts = [("num_heads", heads), ("key_dim", self.key_dim), ("value_dim", values)];
        counts.into_iter().try_for_each(|(what, count)| at_least_one(what, count))?;
        check_rate(self.more.dropout)?;
        self.declare(weights, "query", &query[2..], &[heads, self.key_dim])?;
        self.declare(weights, "key", &key[2..], &[heads, self.key_dim])?;
        if self.more.use_gate {
            self.declare(weights, "gate", &query[2..], &[heads, values])?;
        }
        self.declare(weights, "value", &value[2..], &[heads, values])?;
        self.declare(weights, "attention_output", &[heads, values], &self.outputs(query))
    }

    fn keras_place(&self, weight: &str) -> String {
        match weight.split_once('/') {
            Some(("attention_output", _)) => "output_dense".into(),
            Some(("gate", _)) => "_gate_dense".into(),
            Some((name, _)) => format!("{name}_dense"),
            None => String::new(),
        }
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        let [query, value, key] = three(inputs)?;
        let (heads, values) = (self.num_heads, self.value_width());
        let (queries, keys) = (query.dim(1), key.dim(1));
        // (batch, heads, steps, features)
        let q = self.project(query, "query", &[heads, self.key_dim], cx).transpose(1, 2);
        let k = self.project(key, "key", &[heads, self.key_dim], cx).transpose(1, 2);
        let gate = self.more.use_gate.then(|| {
            let gate = self.project(query, "gate", &[heads, values], cx);
            gate.sigmoid()
        });
        let v = self.project(value, "value", &[heads, values], cx).transpose(1, 2);
        let scores = (q * (self.key_dim as f32).powf(-0.5)).matmul(k.transpose(-1, -2));
        let mask = self.mask(queries, keys, cx).map(|mask| mask.unsqueeze(1));
        let weights = match mask {
            // As in Keras, a step that may see nothing sees the mean of all values where weights are neither dropped nor given.
            Some(mask) if self.more.dropout == 0.0 && !self.more.return_attention_scores => {
                let low = if scores.dtype() == ibex_core::DType::F16 { -3e4 } else { -1e9 };
                mask.select(&scores, low).softmax(-1)
            }
            mask => masked_softmax(&scores, mask.as_ref(), &[-1]),
        };
        let seen = drop(&weights, self.more.dropout, weights.shape(), cx).matmul(v).transpose(1, 2);
        let gated = gate.map_or_else(|| seen.clone(), |gate| &seen * gate);
        let joined = gated.reshape([query.dim(0), queries, heads * values]);
        let y = self.project(&joined, "attention_output", &self.outputs(query.shape()), cx);
        Ok(if self.more.return_attention_scores { vec![y, weights] } else { vec![y] })
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
