//! Attention with one head.

use super::dropout::{check_rate, drop};
use super::{Config, Context, Layer, Weights};
use crate::{Initializer, config};
use ibex_core::{DType, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Query, value and key, which is the value if it is not given.
pub(super) fn three<T>(inputs: &[T]) -> Result<[&T; 3]> {
    match inputs {
        [query, value] => Ok([query, value, value]),
        [query, value, key] => Ok([query, value, key]),
        _ => Err(Error::model(format!("takes [query, value] or [query, value, key], got {} inputs", inputs.len()))),
    }
}

/// Query, value and key as `(batch, steps, features)`.
fn sequences(inputs: &[Shape]) -> Result<[&Shape; 3]> {
    let [query, value, key] = three(inputs)?;
    let fit = [query, value, key].iter().all(|shape| shape.rank() == 3) && query[2] == key[2] && value[1] == key[1];
    if fit {
        return Ok([query, value, key]);
    }
    Err(Error::shape(format!(
        "takes a query (batch, steps, dim), a value (batch, keys, any) and a key (batch, keys, dim), got {query}, {value} and {key}"
    )))
}

/// `bool (1, queries, keys)`: the keys that are not later than the query.
pub(super) fn causal_mask(queries: usize, keys: usize) -> Tensor {
    let shape = [1, queries, keys];
    Tensor::iota(shape, 1).ge(Tensor::iota(shape, 2))
}

/// Scores of how a layer attends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreMode {
    /// `query . key`
    #[default]
    Dot,
    /// `sum(tanh(query + key))`
    Concat,
}

/// What is done with scores: `softmax(scores) . value`, without the steps that masks take out, and the scores after the softmax.
fn attend(scores: Tensor, inputs: &[Tensor], options: (bool, f64, bool), cx: &mut Context) -> Result<Vec<Tensor>> {
    let (causal, dropout, with_scores) = options;
    let values = cx.mask(1).map(|mask| mask.unsqueeze(1));
    let causal = causal.then(|| causal_mask(scores.dim(1), scores.dim(2)));
    let scores = match values.into_iter().chain(causal).reduce(|a, b| a.and(b)) {
        Some(mask) => {
            let low = if scores.dtype() == DType::F16 { 65504.0 } else { 1e9 };
            mask.select(&scores, &scores - low)
        }
        None => scores,
    };
    let weights = scores.softmax(-1);
    let weights = drop(&weights, dropout, weights.shape(), cx);
    let mut y = weights.matmul(&inputs[1]);
    if let Some(mask) = cx.mask(0) {
        y = mask.unsqueeze(-1).select(&y, 0.0);
    }
    Ok(if with_scores { vec![y, weights] } else { vec![y] })
}

/// Attention of each step of a query to all steps of a key: `softmax(score(query, key)) . value` (Luong et al. 2015).
///
/// Two or three inputs: query `(batch, steps, dim)`, value `(batch, keys, any)`, key `(batch, keys, dim)`, which is the value if it is not given. Output
/// `(batch, steps, any)`, and the weights `(batch, steps, keys)` if they are wanted. Steps that the mask of the value takes out do not count; those that
/// the mask of the query takes out are 0.
///
/// Weights: `scale ()`, ones, if it is used; `concat_score_weight ()`, ones, in that mode.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attention {
    use_scale: bool,
    score_mode: ScoreMode,
    dropout: f64,
    use_causal_mask: bool,
    return_attention_scores: bool,
}

impl Attention {
    /// With the product as the score.
    pub fn new() -> Self {
        Attention::default()
    }
}

options! { Attention {
    /// With or without a learned factor of the scores; without by default.
    use_scale: bool,
    /// The score; the product by default.
    score_mode: ScoreMode,
    /// Share of the weights that is dropped while training; 0 by default.
    dropout: f64,
    /// Does a step see only keys that are not later? Keras has this as an argument of the call. No by default.
    use_causal_mask: bool,
    /// Are the weights a second output? Keras has this as an argument of the call. No by default.
    return_attention_scores: bool,
} }

impl Layer for Attention {
    fn class_name(&self) -> &'static str {
        "Attention"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        sequences(inputs)?;
        if self.use_scale {
            weights.add("scale", [], Initializer::Ones)?;
        }
        if self.score_mode == ScoreMode::Concat {
            weights.add("concat_score_weight", [], Initializer::Ones)?;
        }
        check_rate(self.dropout)
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        let [query, _, key] = three(inputs)?;
        let scaled = |x: Tensor, cx: &Context| if self.use_scale { x * cx.weight("scale") } else { x };
        let scores = match self.score_mode {
            ScoreMode::Dot => scaled(query.matmul(key.transpose(-1, -2)), cx),
            ScoreMode::Concat => {
                let sum = scaled(query.unsqueeze(2) + key.unsqueeze(1), cx);
                sum.tanh().sum(&[-1]) * cx.weight("concat_score_weight")
            }
        };
        attend(scores, inputs, (self.use_causal_mask, self.dropout, self.return_attention_scores), cx)
    }

    fn supports_masking(&self) -> bool {
        true
    }
}

/// Attention with the score `sum(scale * tanh(query + key))` (Bahdanau et al. 2015); else as [`Attention`].
///
/// Weights: `scale (dim,)`, Glorot uniform, if it is used.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct AdditiveAttention {
    use_scale: bool,
    dropout: f64,
    use_causal_mask: bool,
    return_attention_scores: bool,
}

impl Default for AdditiveAttention {
    fn default() -> Self {
        AdditiveAttention { use_scale: true, dropout: 0.0, use_causal_mask: false, return_attention_scores: false }
    }
}

impl AdditiveAttention {
    /// With a learned scale.
    pub fn new() -> Self {
        AdditiveAttention::default()
    }
}

options! { AdditiveAttention {
    /// With or without a learned factor for each feature; with by default.
    use_scale: bool,
    /// Share of the weights that is dropped while training; 0 by default.
    dropout: f64,
    /// Does a step see only keys that are not later? Keras has this as an argument of the call. No by default.
    use_causal_mask: bool,
    /// Are the weights a second output? Keras has this as an argument of the call. No by default.
    return_attention_scores: bool,
} }

impl Layer for AdditiveAttention {
    fn class_name(&self) -> &'static str {
        "AdditiveAttention"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        let [query, ..] = sequences(inputs)?;
        if self.use_scale {
            weights.add("scale", [query[2]], Initializer::GlorotUniform)?;
        }
        check_rate(self.dropout)
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        let [query, _, key] = three(inputs)?;
        let mut sums = (query.unsqueeze(2) + key.unsqueeze(1)).tanh();
        if self.use_scale {
            sums = sums * cx.weight("scale");
        }
        let options = (self.use_causal_mask, self.dropout, self.return_attention_scores);
        attend(sums.sum(&[-1]), inputs, options, cx)
    }

    fn supports_masking(&self) -> bool {
        true
    }
}
