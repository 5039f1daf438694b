//! What a layer of a Keras file is called with.

use super::network::{Argument, Arguments, Place};
use crate::config::Config;
use ibex_core::{Error, Result};
use serde_json::Value;

/// The inputs of a call, as our layers take them.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub inputs: Vec<Place>,
    /// Masks that are given, by the number of the input.
    pub masks: Vec<(usize, Place)>,
    /// What Keras has as arguments of the call, and our layers as settings.
    pub settings: Config,
    /// Keras looks for a mask only if a call takes one tensor, or has an argument for the mask of each.
    pub ignores_mask: bool,
}

/// Arguments that say nothing here: `fit` and `predict` say themselves whether they train, in Keras too.
const IGNORED: &[&str] = &["training", "name", "flash_attention", "constants"];

impl Arguments {
    /// Of a layer of a class.
    pub fn taken(&self, class: &str) -> Result<Taken> {
        let mut taken = Taken::default();
        for argument in &self.args {
            match argument {
                Argument::Value(value) if !argument.is_null() => {
                    return Err(Error::unsupported(format!("its input is a constant: {value}")));
                }
                argument => taken.inputs.extend(argument.tensors().into_iter().cloned()),
            }
        }
        let named = |name: &str| self.kwargs.iter().find(|(n, _)| n == name).map(|(_, argument)| argument);
        let tensors = |name: &str| named(name).map(Argument::tensors).unwrap_or_default().into_iter().cloned();
        // Inputs by name, in the order in which layers take them.
        let by_name = ["inputs", "sequences", "sequence", "x", "query", "value", "key", "initial_state"];
        taken.inputs.extend(by_name.iter().flat_map(|name| tensors(name)));
        taken.ignores_mask =
            named("initial_state").is_some_and(|state| !state.is_null()) || recurrent(class) && taken.inputs.len() > 1;
        for (name, argument) in &self.kwargs {
            let name = &**name;
            match (name, argument) {
                _ if IGNORED.contains(&name) || by_name.contains(&name) || argument.is_null() => {}
                ("mask" | "query_mask" | "value_mask" | "key_mask", _) => {
                    let first =
                        ["query_mask", "value_mask", "key_mask"].iter().position(|n| *n == name).unwrap_or_default();
                    let masks = match argument {
                        Argument::List(list) => list.iter().collect(),
                        one => vec![one],
                    };
                    for (i, mask) in masks.into_iter().enumerate() {
                        match mask {
                            Argument::Tensor(place) => taken.masks.push((first + i, place.clone())),
                            mask if mask.is_null() => {}
                            _ => {
                                return Err(Error::unsupported(
                                    "its mask is a constant; make it an input of the model",
                                ));
                            }
                        }
                    }
                }
                ("use_causal_mask" | "return_attention_scores", Argument::Value(Value::Bool(flag))) => {
                    if *flag {
                        taken.settings.insert(name.into(), true.into());
                    }
                }
                _ => {
                    return Err(Error::unsupported(format!("its argument {name} is not supported; call it without")));
                }
            }
        }
        Ok(taken)
    }
}

/// Does a layer of the class take states after its sequence?
pub(super) fn recurrent(class: &str) -> bool {
    ["LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional"].contains(&class)
}
