//! Operations in a Keras model, `x + y` or `ops.mean(x, axis=1)`, as layers.

use super::layer::plain;
use super::network::{Argument, Arguments, Entry, Place};
use crate::Activation;
use crate::config::{self, Config};
use crate::layers::{Constant, Operation, Operator};
use crate::model::snake_case;
use ibex_core::{Error, Result};
use serde_json::{Value, json};

impl Entry {
    /// Is it an operation rather than a layer?
    pub fn is_operation(&self) -> bool {
        match self.module.as_deref() {
            Some(module) => module.starts_with("keras.src.ops") || module.starts_with("keras.ops"),
            // Legacy files do not say. Layers have more settings than a name.
            None => {
                is_lambda(&self.class_name)
                    || !self.is_input()
                        && !self.is_model()
                        && !self.config.contains_key("trainable")
                        && self.named_operation().is_ok()
            }
        }
    }

    fn named_operation(&self) -> Result<Operation> {
        let Value::Object(config) = plain(Value::Object(self.config.clone())) else {
            return Err(Error::format("a config"));
        };
        operation(&snake_case(&self.class_name), config)
    }

    /// The operation of a call, and the tensors that it takes.
    pub fn operator(&self, call: &Arguments) -> Result<(Operator, Vec<Place>)> {
        if is_lambda(&self.class_name) {
            return tensorflow(self.config.get("function").and_then(Value::as_str).unwrap_or_default(), call);
        }
        let mut config = self.config.clone();
        let mut args = call.args.clone();
        for (name, argument) in &call.kwargs {
            match argument {
                argument if argument.is_null() => {}
                Argument::Value(value) => drop(config.insert(name.clone(), value.clone())),
                _ => args.push(argument.clone()),
            }
        }
        if self.class_name == "GetItem"
            && args.len() == 2
            && let Some(Argument::Value(key)) = args.pop()
        {
            config.insert("key".into(), key);
        }
        let Value::Object(config) = plain(Value::Object(config)) else { return Err(Error::format("a config")) };
        let operation = operation(&snake_case(&self.class_name), config).map_err(|e| {
            Error::unsupported(format!("the operation {} is not supported so: {}", self.class_name, e.message()))
        })?;
        operator(operation, &args)
    }
}

/// Tensors and constants, as an operator takes them.
fn operator(operation: Operation, args: &[Argument]) -> Result<(Operator, Vec<Place>)> {
    let (mut places, mut constants, mut position) = (Vec::new(), Vec::new(), 0);
    let mut take = |argument: &Argument| -> Result<()> {
        match argument {
            Argument::Tensor(place) => places.push(place.clone()),
            Argument::Value(value) => {
                let constant: Constant = serde_json::from_value(value.clone())
                    .map_err(|_| Error::unsupported(format!("the constant {value} is not supported")))?;
                constants.push((position, constant));
            }
            Argument::List(_) => return Err(Error::unsupported("lists of tensors in lists are not supported")),
        }
        position += 1;
        Ok(())
    };
    for argument in args {
        match argument {
            Argument::List(list) => list.iter().try_for_each(&mut take)?,
            one => take(one)?,
        }
    }
    if places.is_empty() {
        return Err(Error::unsupported("all of its operands are constants"));
    }
    Ok((Operator::new(operation, constants), places))
}

/// The operation of a name with underscores.
fn operation(name: &str, mut config: Config) -> Result<Operation> {
    config.remove("name");
    config.remove("trainable");
    let defaults = [("alpha", json!(1.0)), ("axis", json!(-1)), ("threshold", json!(0.5)), ("b", json!(4))];
    let usual = config.iter().all(|(field, value)| {
        let default = defaults.iter().find(|(name, _)| name == field).and_then(|(_, default)| default.as_f64());
        value.is_null() || default.is_some() && value.as_f64() == default
    });
    // Those with settings have a place among the operations.
    let own = ["softmax", "log_softmax", "leaky_relu", "elu", "gelu"].contains(&name);
    if let (Ok(activation), true, false) = (name.parse::<Activation>(), usual, own) {
        return Ok(Operation::Activation { activation });
    }
    config.insert("operation".into(), name.into());
    config::load(config)
}

/// Layers that TensorFlow's Keras made of operations.
fn is_lambda(class: &str) -> bool {
    ["TFOpLambda", "SlicingOpLambda"].contains(&class)
}

fn tensorflow(function: &str, call: &Arguments) -> Result<(Operator, Vec<Place>)> {
    let mut config = Config::new();
    let mut args = call.args.clone();
    for (name, argument) in &call.kwargs {
        match (&**name, argument) {
            ("name", _) => {}
            ("transpose_a" | "transpose_b" | "adjoint_a" | "adjoint_b", Argument::Value(Value::Bool(false))) => {}
            ("slice_spec", Argument::Value(spec)) => drop(config.insert("key".into(), spec.clone())),
            ("keepdims" | "axis" | "shape" | "perm" | "dtype", Argument::Value(value)) => {
                drop(config.insert(name.clone(), value.clone()))
            }
            ("y" | "b" | "values", argument) => args.push(argument.clone()),
            (_, argument) if argument.is_null() => {}
            _ => return Err(Error::unsupported(format!("the argument {name} of {function} is not supported"))),
        }
    }
    let short = function.rsplit('.').next().unwrap_or(function);
    let name = match short.trim_start_matches("reduce_") {
        "sub" => "subtract",
        "mul" => "multiply",
        "div" | "truediv" | "divide" => "divide",
        "pow" => "power",
        "neg" => "negative",
        "abs" => "absolute",
        "concat" => "concatenate",
        "getitem" => "get_item",
        other => other,
    };
    match name {
        "get_item" => {
            let key = config.remove("key").map(slices).unwrap_or_default();
            config.insert("key".into(), key);
        }
        "reshape" => {
            let shape = config.remove("shape").unwrap_or_default();
            config.insert("newshape".into(), shape);
        }
        "transpose" => {
            let axes = config.remove("perm").unwrap_or_default();
            config.insert("axes".into(), axes);
        }
        _ => {}
    }
    let operation = operation(name, config).map_err(|e| {
        Error::unsupported(format!("the TensorFlow function {function} is not supported: {}", e.message()))
    })?;
    operator(operation, &args)
}

/// `{"start": 1, "stop": null, "step": null}` as Keras 3 writes it.
fn slices(spec: Value) -> Value {
    match spec {
        Value::Array(list) => list.into_iter().map(slices).collect(),
        Value::Object(range) if range.contains_key("start") || range.contains_key("stop") => {
            json!({"class_name": "__slice__", "config": range})
        }
        Value::String(text) if text == "..." || text == "Ellipsis" => {
            json!({"class_name": "__ellipsis__", "config": {}})
        }
        other => other,
    }
}

/// Where Keras has the class of an operation.
pub(super) fn module(name: &str) -> &'static str {
    match name {
        "cast" | "stop_gradient" => "keras.src.ops.core",
        "logsumexp" | "rsqrt" | "erf" => "keras.src.ops.math",
        "softmax" | "log_softmax" | "leaky_relu" | "elu" | "gelu" | "one_hot" | "normalize" => "keras.src.ops.nn",
        "tanh" | "exp" => "keras.src.ops.numpy",
        name if name.parse::<Activation>().is_ok() => "keras.src.ops.nn",
        _ => "keras.src.ops.numpy",
    }
}

/// `expand_dims` is `ExpandDims`.
pub(super) fn class_name(name: &str) -> String {
    let word =
        |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>();
    name.split('_').map(word).collect()
}

impl Operator {
    /// Keras's name of the operation, and its settings.
    pub fn described(&self) -> Result<(String, Config)> {
        let mut config = config::save(self.operation())?;
        config.remove("key");
        let name = config.remove("operation").as_ref().and_then(Value::as_str).unwrap_or_default().to_string();
        Ok(match config.remove("activation").as_ref().and_then(Value::as_str) {
            Some("exponential") => ("exp".into(), config),
            Some(activation) => (activation.into(), config),
            None => (name, config),
        })
    }

    /// What Keras calls the operation with.
    pub(super) fn arguments(&self, inputs: Vec<Place>) -> Arguments {
        let mut inputs = inputs.into_iter().map(Argument::Tensor);
        let mut all = Vec::new();
        loop {
            match self.constants().iter().find(|(place, _)| *place == all.len()) {
                Some((_, constant)) => all.push(Argument::Value(serde_json::to_value(constant).unwrap_or_default())),
                None => match inputs.next() {
                    Some(input) => all.push(input),
                    None => break,
                },
            }
        }
        let args = match self.operation() {
            Operation::Concatenate { .. } | Operation::Stack { .. } => vec![Argument::List(all)],
            Operation::GetItem { key } => {
                all.push(Argument::Value(serde_json::to_value(key).unwrap_or_default()));
                all
            }
            _ => all,
        };
        Arguments { args, kwargs: Vec::new() }
    }
}
