//! Masks of a model that is written: Keras has them as arguments of calls, computed by operations.

use super::arguments::recurrent;
use super::network::{Argument, Arguments, Place};
use super::write::{LISTS, Writer};
use crate::config::Config;
use crate::graph::Node;
use ibex_core::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Where the mask of a tensor comes from.
#[derive(Clone, Debug, PartialEq)]
enum Mask {
    None,
    /// An embedding of this tensor.
    NotZero(Place),
    /// Steps of this tensor of which no feature is another number.
    Steps(Place, Value),
    /// All of these.
    Or(Vec<Mask>),
    /// It was given.
    Given(Place),
    /// It was taken away.
    Removed,
    /// Keras finds it itself when the model runs.
    Derived,
}

impl Mask {
    /// Does Keras find it only if it is told?
    fn told(&self) -> bool {
        match self {
            Mask::Given(_) | Mask::Removed => true,
            Mask::Or(all) => all.iter().any(Mask::told),
            _ => false,
        }
    }
}

/// The masks of all tensors so far.
#[derive(Debug, Default)]
pub(super) struct Masks {
    masks: HashMap<Place, Mask>,
    /// Tensors with a mask that was given: what they are without it.
    bare: HashMap<Place, Place>,
    /// Operations that compute masks.
    made: Vec<(Mask, Place)>,
}

impl Masks {
    fn of(&self, place: &Place) -> Mask {
        self.masks.get(place).cloned().unwrap_or(Mask::None)
    }

    fn bare_one(&self, place: &Place) -> Place {
        self.bare.get(place).unwrap_or(place).clone()
    }

    /// The tensors without given masks.
    pub fn bare(&self, places: &[Place]) -> Vec<Place> {
        places.iter().map(|place| self.bare_one(place)).collect()
    }

    /// A tensor is another with a mask, or without its own.
    pub fn give(&mut self, given: &Place, inputs: &[Place]) {
        let Some(x) = inputs.first() else { return };
        let mask = match inputs.get(1) {
            Some(mask) => Mask::Given(self.bare_one(mask)),
            None if self.of(&self.bare_one(x)) == Mask::None => Mask::None,
            None => Mask::Removed,
        };
        self.bare.insert(given.clone(), self.bare_one(x));
        self.masks.insert(given.clone(), mask);
    }

    /// What Keras calls a layer with.
    pub fn call(&mut self, writer: &mut Writer, node: &Node, class: &str, inputs: &[Place]) -> Result<Arguments> {
        let masks: Vec<Mask> = inputs.iter().map(|place| self.of(place)).collect();
        let tensors: Vec<Argument> = self.bare(inputs).into_iter().map(Argument::Tensor).collect();
        let mut call = Arguments::default();
        let mut kwarg = |name: &str, argument: Argument| call.kwargs.push((name.to_string(), argument));
        let first = masks.first().cloned().unwrap_or(Mask::None);
        match class {
            "MultiHeadAttention" => {
                // The mask of the query is that which its tensor has.
                if first.told() {
                    return Err(Error::unsupported("Keras does not let a mask of the query be given"));
                }
                kwarg_masks(self, writer, &masks, ["query_mask", "value_mask", "key_mask"], &mut kwarg)?;
                if let Some(key) = tensors.get(2) {
                    kwarg("key", key.clone());
                }
                call.args = tensors.into_iter().take(2).collect();
            }
            "Attention" | "AdditiveAttention" => {
                let all = masks.iter().map(|mask| self.argument(writer, mask)).collect::<Result<Vec<_>>>()?;
                if all.iter().any(|mask| !mask.is_null()) {
                    kwarg("mask", Argument::List(all));
                }
                call.args = vec![Argument::List(tensors)];
            }
            class if recurrent(class) => {
                let states = tensors.len() > 1;
                // Beside states Keras looks for no mask.
                let mask = match &first {
                    Mask::Removed if states => Mask::None,
                    Mask::Derived if states => {
                        return Err(Error::unsupported(
                            "the mask of its input can not be written beside initial states",
                        ));
                    }
                    mask => mask.clone(),
                };
                let mask = self.argument(writer, &mask)?;
                if !mask.is_null() {
                    kwarg("mask", mask);
                }
                if states {
                    kwarg("initial_state", Argument::List(tensors[1..].to_vec()));
                }
                call.args = tensors.into_iter().take(1).collect();
            }
            "TimeDistributed"
            | "GlobalAveragePooling1D"
            | "BatchNormalization"
            | "Softmax"
            | "Sequential"
            | "Functional"
                if tensors.len() == 1 =>
            {
                let mask = self.argument(writer, &first)?;
                if !mask.is_null() {
                    kwarg("mask", mask);
                }
                call.args = tensors;
            }
            class => {
                let counts =
                    ["Multiply", "Maximum", "Minimum", "Concatenate", "Sequential", "Functional"].contains(&class);
                if masks.iter().any(Mask::told) && (counts || !crate::layers::is_built_in(node.layer().class_name())) {
                    return Err(Error::unsupported("Keras does not let a mask of its inputs be given"));
                }
                call.args =
                    if tensors.len() == 1 && !LISTS.contains(&class) { tensors } else { vec![Argument::List(tensors)] };
            }
        }
        Ok(call)
    }

    /// The mask as an argument.
    fn argument(&mut self, writer: &mut Writer, mask: &Mask) -> Result<Argument> {
        Ok(match mask {
            Mask::None | Mask::Derived => Argument::Value(Value::Null),
            // There are no calls; masks travel beside tensors.
            _ if writer.network.sequential => Argument::Value(Value::Null),
            Mask::Removed => return Err(Error::unsupported("Keras does not let the mask of its input be taken away")),
            mask => self.made(writer, mask).map_or(Argument::Value(Value::Null), Argument::Tensor),
        })
    }

    /// The tensor that the mask is.
    fn made(&mut self, writer: &mut Writer, mask: &Mask) -> Option<Place> {
        if let Some((_, place)) = self.made.iter().find(|(made, _)| made == mask) {
            return Some(place.clone());
        }
        let place = match mask {
            Mask::Given(place) => place.clone(),
            Mask::NotZero(tensor) => not_equal(writer, tensor, json!(0)),
            Mask::Steps(tensor, number) => {
                let each = not_equal(writer, tensor, number.clone());
                let mut shape = writer.shape(&each);
                shape.pop();
                let config =
                    Config::from_iter([("axis".to_string(), json!(-1)), ("keepdims".to_string(), json!(false))]);
                writer.operation("any", config, vec![Argument::Tensor(each)], shape)
            }
            Mask::Or(all) => {
                let mut parts = all.iter().map(|mask| self.made(writer, mask)).collect::<Option<Vec<_>>>()?.into_iter();
                let first = parts.next()?;
                parts.fold(first, |a, b| {
                    let shape = writer.shape(&a);
                    writer.operation("logical_or", Config::new(), vec![Argument::Tensor(a), Argument::Tensor(b)], shape)
                })
            }
            Mask::None | Mask::Removed | Mask::Derived => return None,
        };
        self.made.push((mask.clone(), place.clone()));
        Some(place)
    }

    /// What mask the (first) output of a layer has.
    pub fn pass(&mut self, node: &Node, inputs: &[Place], output: Place) {
        let layer = node.layer();
        let config = layer.config().unwrap_or_default();
        let flag = |config: &Config, name: &str| config.get(name).and_then(Value::as_bool).unwrap_or(false);
        let masks: Vec<Mask> = inputs.iter().map(|place| self.of(place)).collect();
        let first = masks.first().cloned().unwrap_or(Mask::None);
        let input = inputs.first().map(|place| self.bare_one(place));
        let mask = match (layer.class_name(), input) {
            ("Operator", _) => Mask::None,
            ("Embedding", Some(input)) if flag(&config, "mask_zero") => Mask::NotZero(input),
            ("Embedding", _) => Mask::None,
            ("Masking", Some(input)) => Mask::Steps(input, config.get("mask_value").cloned().unwrap_or(json!(0.0))),
            (class, _) if recurrent(class) => {
                let inside = config.get("layer").and_then(|layer| layer.get("config")?.as_object());
                if flag(inside.unwrap_or(&config), "return_sequences") { first } else { Mask::None }
            }
            ("Add" | "Subtract" | "Multiply" | "Average" | "Maximum" | "Minimum", _) => {
                match masks.iter().any(|mask| *mask == Mask::None) {
                    true => Mask::None,
                    false if masks.iter().any(|mask| matches!(mask, Mask::Derived | Mask::Removed)) => Mask::Derived,
                    false => Mask::Or(masks),
                }
            }
            ("Concatenate" | "Sequential" | "Functional", _) => Mask::Derived,
            _ if layer.supports_masking() => first,
            _ => Mask::None,
        };
        self.masks.insert(output, mask);
    }
}

/// The masks of several inputs, each under its name.
fn kwarg_masks(
    masks: &mut Masks,
    writer: &mut Writer,
    all: &[Mask],
    names: [&str; 3],
    kwarg: &mut impl FnMut(&str, Argument),
) -> Result<()> {
    for (mask, name) in all.iter().zip(names) {
        let mask = masks.argument(writer, mask)?;
        if !mask.is_null() {
            kwarg(name, mask);
        }
    }
    Ok(())
}

fn not_equal(writer: &mut Writer, tensor: &Place, number: Value) -> Place {
    let shape = writer.shape(tensor);
    writer.operation("not_equal", Config::new(), vec![Argument::Tensor(tensor.clone()), Argument::Value(number)], shape)
}
