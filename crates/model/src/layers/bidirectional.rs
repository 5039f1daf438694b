//! A sequence read from both ends.

use super::{Config, Context, Layer, LayerBox, Weights, below, from_config};
use crate::config;
use ibex_core::{Data, Error, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// How [`Bidirectional`] makes one output of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMode {
    /// One beside the other: `(batch, .., 2 units)`.
    Concat,
    /// Their sum.
    Sum,
    /// Their product.
    Mul,
    /// Their mean.
    Ave,
}

/// Two recurrent layers of one kind, one of which reads the sequence from its end (Schuster and Paliwal 1997). Where they give all steps, the outputs of the
/// second are turned round, so that both speak of the same step, and masked steps give zeros.
///
/// With `return_state` the states of the first, then those of the second follow as outputs; initial states come in the same order.
///
/// Weights: those of both, as `forward_layer/kernel` and `backward_layer/kernel`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bidirectional {
    layer: LayerBox,
    #[serde(default = "concat")]
    merge_mode: Option<MergeMode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backward_layer: Option<LayerBox>,
}

#[allow(clippy::unnecessary_wraps, reason = "a default of the field's type")]
fn concat() -> Option<MergeMode> {
    Some(MergeMode::Concat)
}

impl Bidirectional {
    /// This layer, and another like it that reads backwards.
    pub fn new(layer: impl Layer) -> Self {
        Bidirectional { layer: LayerBox::new(layer), merge_mode: concat(), backward_layer: None }
    }

    /// How the outputs are merged; `None` gives both. By default one stands beside the other.
    pub fn merge_mode(self, merge_mode: impl Into<Option<MergeMode>>) -> Self {
        Bidirectional { merge_mode: merge_mode.into(), ..self }
    }

    /// The layer that reads backwards, if it is not like the first. It goes the other way, and gives as much.
    pub fn backward_layer(self, layer: impl Layer) -> Self {
        Bidirectional { backward_layer: Some(LayerBox::new(layer)), ..self }
    }

    fn pair(&self) -> Result<Pair> {
        let first = self.layer.config()?;
        let second = match &self.backward_layer {
            Some(layer) => layer.config()?,
            None => Config::from_iter(first.clone().into_iter().chain([("go_backwards".into(), true.into())])),
        };
        let flag = |config: &Config, name: &str| config.get(name).and_then(serde_json::Value::as_bool).unwrap_or(false);
        if flag(&first, "go_backwards") == flag(&second, "go_backwards") {
            return Err(Error::value("both layers read in one direction; `go_backwards` must differ"));
        }
        for name in ["return_sequences", "return_state", "stateful"] {
            if flag(&first, name) != flag(&second, name) {
                return Err(Error::value(format!("`{name}` must be the same in the layer and the backward layer")));
            }
        }
        let return_sequences = flag(&first, "return_sequences");
        let return_state = flag(&first, "return_state");
        let made = |layer: &LayerBox, mut config: Config| {
            config.insert("zero_output_for_mask".into(), return_sequences.into());
            from_config(layer.class_name(), config)
        };
        let backward = made(self.backward_layer.as_ref().unwrap_or(&self.layer), second)?;
        Ok(Pair { forward: made(&self.layer, first)?, backward, return_sequences, return_state })
    }
}

/// Both layers.
struct Pair {
    forward: Box<dyn Layer>,
    backward: Box<dyn Layer>,
    return_sequences: bool,
    return_state: bool,
}

/// The inputs of both layers: each has the sequence and its half of the initial states.
fn halves<T: Clone>(inputs: &[T]) -> Result<[Vec<T>; 2]> {
    match inputs.split_first() {
        Some((x, states)) if states.len() % 2 == 0 => {
            let (first, second) = states.split_at(states.len() / 2);
            Ok([first, second].map(|states| std::iter::once(x).chain(states).cloned().collect()))
        }
        _ => Err(Error::model(format!("takes a sequence and initial states in pairs, got {} inputs", inputs.len()))),
    }
}

impl Layer for Bidirectional {
    fn class_name(&self) -> &'static str {
        "Bidirectional"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        let pair = self.pair()?;
        let [first, second] = halves(inputs)?;
        weights.within("forward_layer", |weights| pair.forward.build_all(weights, &first))?;
        weights.within("backward_layer", |weights| pair.backward.build_all(weights, &second))
    }

    fn keras_place(&self, weight: &str) -> String {
        match weight.split_once('/') {
            Some((half, weight)) => below(half, &self.layer.keras_place(weight)),
            None => String::new(),
        }
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        let pair = self.pair()?;
        let [first, second] = halves(inputs)?;
        let mut first = cx.within("forward_layer", |cx| pair.forward.call_all(&first, cx))?.into_iter();
        let mut second = cx.within("backward_layer", |cx| pair.backward.call_all(&second, cx))?.into_iter();
        cx.set_mask(cx.mask(0).filter(|_| pair.return_sequences));
        let (Some(x), Some(mut y)) = (first.next(), second.next()) else {
            return Err(Error::model("a layer inside has no output"));
        };
        if pair.return_sequences {
            y = y.flip(&[1]);
        }
        let mut results = match self.merge_mode {
            Some(MergeMode::Concat) => vec![Tensor::concat(&[x, y], -1)],
            Some(MergeMode::Sum) => vec![x + y],
            Some(MergeMode::Mul) => vec![x * y],
            Some(MergeMode::Ave) => vec![(x + y) / 2.0],
            None => vec![x, y],
        };
        results.extend(first.chain(second).filter(|_| pair.return_state));
        Ok(results)
    }

    fn check_data(&self, data: &Data) -> Result<()> {
        self.layer.check_data(data)
    }
}
