//! What `compile` sets: `compile_config` of a `.keras` file, `training_config` of an old `.h5` file.

use super::layer::plain;
use super::network::wrong;
use super::write::{object, own_object};
use crate::config::{self, Config};
use crate::losses::{self, Loss};
use crate::metrics::{self, Metric};
use crate::model::{Model, Training};
use crate::optimizers::{self, Optimizer};
use crate::saving::unknown::{UNKNOWN, Unknown};
use ibex_core::{Error, Result};
use serde_json::{Value, json};

/// Optimizer, losses and metrics of a model.
pub(super) struct Compiled {
    optimizer: Result<Box<dyn Optimizer>>,
    losses: Vec<Box<dyn Loss>>,
    metrics: Vec<Box<dyn Metric>>,
}

impl Model {
    /// Compiles the model as its file says, if it says so. What is not known here is reported when the model shall be trained. `keys` are the names of
    /// outputs where they are a dictionary.
    pub(super) fn compile_as(&mut self, config: &Value, keys: &[String]) {
        let names = ["optimizer", "optimizer_config"];
        if names.iter().all(|name| config.get(*name).is_none_or(Value::is_null)) {
            return;
        }
        match Compiled::read(config, &self.output_names(), keys) {
            Ok(read) => self.compile_read(read.optimizer, read.losses, read.metrics),
            Err(error) => self.compile_read(Err(error), Vec::new(), Vec::new()),
        }
    }
}

impl Compiled {
    fn read(config: &Value, outputs: &[String], keys: &[String]) -> Result<Compiled> {
        let field = |name: &str| by_layers(config.get(name).cloned().unwrap_or_default(), outputs, keys);
        let given = match field("optimizer") {
            Value::Null => field("optimizer_config"),
            given => given,
        };
        let losses = each_output("loss", field("loss"), outputs)?;
        let weights = each_output("loss_weights", field("loss_weights"), outputs)?;
        let mut all: Vec<Box<dyn Loss>> = Vec::new();
        for ((value, weight), output) in losses.into_iter().zip(weights).zip(outputs) {
            let read = loss(value.clone()).map_err(|e| e.context(format!("the loss of output {output}")));
            let loss = read.unwrap_or_else(|error| Box::new(Unknown::new(value, error)));
            all.push(match weight.as_f64() {
                None | Some(1.0) => loss,
                Some(weight) => Box::new(loss.weighted(weight as f32)),
            });
        }
        let mut watched = metrics(field("metrics"), outputs, false)?;
        watched.extend(metrics(field("weighted_metrics"), outputs, true)?);
        Ok(Compiled { optimizer: optimizer(given), losses: all, metrics: watched })
    }
}

/// A dictionary by the names of the layers that make the outputs, rather than by those of a dictionary of outputs.
fn by_layers(value: Value, outputs: &[String], keys: &[String]) -> Value {
    match value {
        Value::Object(by_name) if !by_name.contains_key("class_name") && keys.len() == outputs.len() => {
            let layer = |key: String| keys.iter().position(|k| *k == key).map_or(key, |i| outputs[i].clone());
            by_name.into_iter().map(|(key, value)| (layer(key), value)).collect()
        }
        value => value,
    }
}

/// A value for each output: given for all, as a list, or by name.
fn each_output(what: &str, value: Value, outputs: &[String]) -> Result<Vec<Value>> {
    match value {
        Value::Array(list) if list.len() == outputs.len() => Ok(list),
        Value::Array(list) => {
            Err(wrong(format!("{what} has {} entries, the model has {} outputs", list.len(), outputs.len())))
        }
        Value::Object(mut by_name) if !by_name.contains_key("class_name") => {
            Ok(outputs.iter().map(|name| by_name.remove(name).unwrap_or_default()).collect())
        }
        one => Ok(vec![one; outputs.len()]),
    }
}

/// A name, or the class name and the config of an object; of Keras's own classes, for those of its users can have the same names.
fn named(what: &str, value: Value) -> Result<(String, Option<Config>)> {
    match plain(value) {
        Value::String(name) => Ok((name, None)),
        Value::Object(mut object) => {
            let text = |field: &str| object.get(field).and_then(Value::as_str);
            let class = text("class_name").ok_or_else(|| wrong("an object has no class_name"))?;
            // Keras 2.11 and 2.12 write its own optimizers as if they were users'.
            let class = class.strip_prefix("Custom>").filter(|_| what == "optimizer").unwrap_or(class).to_string();
            // Classes of users are registered, and of a module of theirs, or of none if that is the main program. Keras 2 writes neither.
            let keras = |module: &str| {
                ["keras", "tf_keras", "tensorflow", "builtins"].contains(&module.split('.').next().unwrap_or(""))
            };
            if let (false, Some(own)) = (text("module").is_some_and(keras), text("registered_name")) {
                return Err(Error::unsupported(format!("unknown {what} {own:?}, a class that is not Keras's own")));
            }
            match object.remove("config") {
                Some(Value::Object(config)) => Ok((class, Some(config))),
                Some(Value::String(function)) => Ok((function, None)),
                _ => Ok((class, Some(Config::new()))),
            }
        }
        other => Err(wrong(format!("{other} is neither a name nor an object"))),
    }
}

fn optimizer(value: Value) -> Result<Box<dyn Optimizer>> {
    let (class, config) = named("optimizer", value).map_err(|e| e.context("the optimizer"))?;
    let mut config = config.unwrap_or_default();
    // What is not set has its default.
    config.retain(|_, value| !value.is_null());
    if let Some(rate) = config.remove("lr") {
        config.entry("learning_rate").or_insert(rate);
    }
    if config.get("weight_decay") == Some(&Value::Bool(false)) {
        config.remove("weight_decay");
    }
    // Before there were schedules, a rate could fall with the steps.
    if let Some(decay) = config.remove("decay").as_ref().and_then(Value::as_f64).filter(|decay| *decay != 0.0) {
        let rate = config.get("learning_rate").and_then(Value::as_f64).unwrap_or(1e-3);
        let schedule = json!({"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay});
        config.insert("learning_rate".into(), json!({"class_name": "InverseTimeDecay", "config": schedule}));
    }
    if config.get("loss_scale_factor").is_some() {
        return Err(Error::unsupported("the optimizer has a fixed loss_scale_factor; use LossScaleOptimizer"));
    }
    if let Some(inner) = config.remove("inner_optimizer").or_else(|| config.remove("optimizer")) {
        let inner = optimizer(inner)?;
        let mut all = Config::from_iter([
            ("initial_scale".to_string(), json!(32768.0)),
            ("dynamic_growth_steps".to_string(), json!(2000)),
        ]);
        all.extend(config.into_iter().filter(|(name, _)| all.contains_key(name)).collect::<Vec<_>>());
        all.insert("inner_optimizer".into(), json!({"class_name": inner.class_name(), "config": inner.config()?}));
        return optimizers::from_config("LossScaleOptimizer", all);
    }
    optimizers::from_config(&class, config)
}

/// The loss of a name or an object.
///
/// # Errors
/// If it is not known, or has settings that are not.
pub(in crate::saving) fn loss(value: Value) -> Result<Box<dyn Loss>> {
    if value.is_null() {
        return Err(Error::unsupported("there is none; every output needs a loss here"));
    }
    let (class, config) = named("loss", value)?;
    let mut config = config.unwrap_or_default();
    config.retain(|_, value| !value.is_null());
    if config.get("reduction").is_some_and(|r| r == "auto") {
        config.remove("reduction");
    }
    let loss = losses::from_config(&class, config.clone())?;
    nothing_lost(&config, &loss.config()?)?;
    Ok(loss)
}

/// Fields that are dropped say only what is so anyway.
fn nothing_lost(file: &Config, ours: &Config) -> Result<()> {
    let plain = |field: &str, value: &Value| match field {
        "name" | "dtype" | "fn" => true,
        "axis" => value.as_f64() == Some(-1.0),
        _ => value.is_null() || value == &Value::Bool(false),
    };
    match file.iter().find(|(field, value)| !ours.contains_key(*field) && !plain(field, value)) {
        Some((field, value)) => Err(Error::unsupported(format!("its setting {field} = {value} is not supported"))),
        None => Ok(()),
    }
}

/// A list for one output, lists for several, or either by the names of outputs.
fn metrics(value: Value, outputs: &[String], weighted: bool) -> Result<Vec<Box<dyn Metric>>> {
    let several = outputs.len() > 1;
    let by_output: Vec<(Option<&String>, Value)> = match value {
        Value::Null => Vec::new(),
        Value::Object(by_name) if !by_name.contains_key("class_name") => {
            let find = |name: &String| {
                outputs
                    .iter()
                    .find(|output| *output == name)
                    .ok_or_else(|| wrong(format!("there is no output {name:?} for a metric")))
            };
            by_name.into_iter().map(|(name, value)| Ok((Some(find(&name)?), value))).collect::<Result<_>>()?
        }
        Value::Array(list) if several && list.len() == outputs.len() => outputs.iter().map(Some).zip(list).collect(),
        all => vec![(None, all)],
    };
    let mut metrics: Vec<Box<dyn Metric>> = Vec::new();
    for (output, value) in by_output {
        let list = match value {
            Value::Null => Vec::new(),
            Value::Array(list) => list,
            one => vec![one],
        };
        for value in list.into_iter().flat_map(flat) {
            let metric = metric(value.clone()).unwrap_or_else(|error| Box::new(Unknown::new(value, error)));
            metrics.push(match (output.filter(|_| several), weighted) {
                (Some(output), true) => Box::new(metric.of(output).weighted()),
                (Some(output), false) => Box::new(metric.of(output)),
                (None, true) => Box::new(metric.weighted()),
                (None, false) => metric,
            });
        }
    }
    Ok(metrics)
}

/// Lists in lists, as some versions write them for one output.
fn flat(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list.into_iter().flat_map(flat).collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// The metric of a name or an object.
///
/// # Errors
/// As of [`loss`].
pub(in crate::saving) fn metric(value: Value) -> Result<Box<dyn Metric>> {
    let text = value.is_string();
    let (class, config) = named("metric", value).map_err(|e| e.context("a metric"))?;
    let Some(mut config) = config else {
        // A name, which is its name in logs too.
        let metric = metrics::get(&class)?;
        let named = Config::from_iter([("name".to_string(), Value::String(class.clone()))]);
        return if text { metrics::from_config(metric.class_name(), named) } else { Ok(metric) };
    };
    config.retain(|_, value| !value.is_null());
    // A function, wrapped.
    if class == "MeanMetricWrapper" || class == "SumOverBatchSizeMetricWrapper" {
        let function = config.get("fn").cloned().unwrap_or_default();
        let (function, _) = named("metric", function).map_err(|e| e.context(class))?;
        let kind = metrics::get(&function)?;
        config.retain(|field, _| !["fn", "dtype", "reduction"].contains(&&**field));
        let metric = metrics::from_config(kind.class_name(), config.clone())?;
        nothing_lost(&config, &metric.config()?).map_err(|e| e.context(format!("metric {function}")))?;
        return Ok(metric);
    }
    if class == "Accuracy" {
        let text = "keras.metrics.Accuracy counts equal numbers; the metric \"accuracy\" is another one";
        return Err(Error::unsupported(text));
    }
    let metric = metrics::from_config(&class, config.clone())?;
    nothing_lost(&config, &metric.config()?).map_err(|e| e.context(format!("metric {class}")))?;
    Ok(metric)
}

/// What `compile` set, as Keras 3 writes it.
pub(super) fn write(training: &Training, outputs: &[String]) -> Result<Value> {
    let count = outputs.len();
    let loss = |loss: &dyn Loss| -> Result<Value> {
        let known = |class: &str, config| losses::from_config(class, config).is_ok();
        Ok(written("keras.losses", loss.class_name(), loss.config()?, known))
    };
    let losses: Vec<Value> = (0..count).map(|i| loss(training.loss(i))).collect::<Result<_>>()?;
    let weights: Vec<f32> = (0..count).map(|i| training.loss(i).weight()).collect();
    let one_or_all =
        |mut list: Vec<Value>| if count == 1 { list.pop().unwrap_or_default() } else { Value::Array(list) };
    let metrics = |weighted: bool| -> Result<Value> {
        let mut by_output: Vec<Vec<Value>> = vec![Vec::new(); count];
        for metric in training.metrics.iter().filter(|metric| metric.takes_weights() == weighted) {
            let value = written_metric(metric.class_name(), metric.config()?)?;
            let all = by_output.iter_mut().zip(outputs);
            all.filter(|(_, name)| metric.output().is_none_or(|own| own == *name))
                .for_each(|(list, _)| list.push(value.clone()));
        }
        Ok(match &by_output[..] {
            all if all.iter().all(Vec::is_empty) => Value::Null,
            [one] => json!(one),
            all => json!(all),
        })
    };
    Ok(json!({
        "optimizer": written_optimizer(training.optimizer.class_name(), training.optimizer.config()?)?,
        "loss": one_or_all(losses),
        "loss_weights": if weights.iter().all(|w| *w == 1.0) { Value::Null } else { json!(weights) },
        "metrics": metrics(false)?,
        "weighted_metrics": metrics(true)?,
        "run_eagerly": false,
        "steps_per_execution": 1,
        "jit_compile": "auto",
    }))
}

/// A loss or a metric: one of Keras, one's own, or what a file had that is not known here.
fn written(module: &str, class: &str, config: Config, known: impl Fn(&str, Config) -> bool) -> Value {
    match class {
        UNKNOWN => match Unknown::object(config) {
            // A function of the user's.
            Value::String(name) => {
                json!({"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"})
            }
            Value::Object(mut object) if object.contains_key("class_name") => {
                // Of Keras 2, or of our own files.
                if !object.contains_key("module") {
                    let class = object.get("class_name").and_then(Value::as_str).unwrap_or_default().to_string();
                    let (module, own) =
                        if known(&class, Config::new()) { (Some(module), None) } else { (None, Some(class)) };
                    object.extend([("module".into(), json!(module)), ("registered_name".into(), json!(own))]);
                }
                Value::Object(object)
            }
            other => other,
        },
        _ if known(class, config.clone()) => object(module, class, config),
        _ => own_object(class, config),
    }
}

fn written_optimizer(class: &str, mut config: Config) -> Result<Value> {
    if let Some(inner) = config.get_mut("inner_optimizer") {
        let part: config::Part = serde_json::from_value(inner.take()).map_err(wrong)?;
        *inner = written_optimizer(&part.class_name, part.config)?;
        return Ok(object("keras.optimizers", class, config));
    }
    let known = optimizers::from_config(class, config.clone()).is_ok();
    Ok(if known { object("keras.optimizers", class, config) } else { own_object(class, config) })
}

fn written_metric(class: &str, mut config: Config) -> Result<Value> {
    Ok(match class {
        // The wrapper that says which output, and whether weights count.
        "Attached" => {
            let inner = config.remove("metric").unwrap_or_default();
            let part: config::Part = serde_json::from_value(inner).map_err(wrong)?;
            written_metric(&part.class_name, part.config)?
        }
        // Keras's class of that name is another metric.
        "Accuracy" => json!("accuracy"),
        _ => {
            let known = |class: &str, config| metrics::from_config(class, config).is_ok();
            written("keras.metrics", class, config, known)
        }
    })
}
