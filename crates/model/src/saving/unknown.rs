//! Losses and metrics of files that this program does not know: the user's own.

use super::keras;
use crate::config::Config;
use crate::losses::{self, Loss};
use crate::metrics::{self, Batch, Metric};
use crate::model::snake_case;
use ibex_core::{Error, Result, Shape, Tensor};
use serde_json::{Value, json};

/// The class name in our own files, which no type of the user's can have.
pub(crate) const UNKNOWN: &str = "ibex>Unknown";

/// Stands for a loss or a metric that is not known here until the model is compiled with another one, so that the rest of the file counts, the
/// optimizer's state above all. It is written as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Unknown {
    /// As it stands in the file: a name, or an object with class name and configuration, maybe more.
    object: Value,
    /// Why it is not known.
    error: Error,
}

impl Unknown {
    pub fn new(object: Value, error: Error) -> Unknown {
        Unknown { object, error }
    }

    /// What an unknown one was in the file that it came from.
    pub fn object(mut config: Config) -> Value {
        config.remove("object").unwrap_or_default()
    }

    fn as_config(&self) -> Result<Config> {
        Ok(Config::from_iter([("object".to_string(), self.object.clone())]))
    }

    fn missing(&self, what: &str, advice: &str) -> Error {
        self.error.clone().context(format!("the file's {what} can not be used here; give one by {advice}"))
    }
}

/// The loss of one of our own files.
pub(crate) fn loss(class_name: &str, config: Config) -> Box<dyn Loss> {
    let (object, read) = match class_name {
        UNKNOWN => keras_object(config, keras::loss),
        _ => (described(class_name, &config), losses::from_config(class_name, config)),
    };
    read.unwrap_or_else(|error| Box::new(Unknown::new(object, error)))
}

/// The metric of one of our own files.
pub(crate) fn metric(class_name: &str, config: Config) -> Box<dyn Metric> {
    let (object, read) = match class_name {
        UNKNOWN => keras_object(config, keras::metric),
        _ => (described(class_name, &config), metrics::from_config(class_name, config)),
    };
    read.unwrap_or_else(|error| Box::new(Unknown::new(object, error)))
}

/// What was unknown in a file of Keras is read as from there: the same name can mean something else here.
fn keras_object<T>(config: Config, read: impl FnOnce(Value) -> Result<T>) -> (Value, Result<T>) {
    let object = Unknown::object(config);
    (object.clone(), read(object))
}

fn described(class_name: &str, config: &Config) -> Value {
    json!({"class_name": class_name, "config": config})
}

impl Loss for Unknown {
    fn class_name(&self) -> &'static str {
        UNKNOWN
    }

    fn config(&self) -> Result<Config> {
        self.as_config()
    }

    fn check(&self) -> Result<()> {
        Err(self.missing("loss", "`recompile(None, Some(losses), None)`"))
    }

    fn call(&self, _y_true: &Tensor, _y_pred: &Tensor) -> Result<Tensor> {
        Loss::check(self).map(|()| Tensor::scalar(0.0))
    }
}

impl Metric for Unknown {
    fn name(&self) -> String {
        // The name of a function is the configuration of its object.
        let texts = ["/config/name", "/config", "/class_name", ""].map(|at| self.object.pointer(at)?.as_str());
        let [name, function, class, alone] = texts;
        name.map_or_else(|| snake_case(function.or(class).or(alone).unwrap_or(UNKNOWN)), str::to_string)
    }

    fn class_name(&self) -> &'static str {
        UNKNOWN
    }

    fn config(&self) -> Result<Config> {
        self.as_config()
    }

    fn check(&self) -> Result<()> {
        Err(self.missing("metric", "`recompile(None, None, Some(metrics))`"))
    }

    fn state(&self, _pred: &Shape) -> Result<Vec<Shape>> {
        Ok(Vec::new())
    }

    fn update(&self, _batch: &Batch) -> Result<Vec<Tensor>> {
        Metric::check(self).map(|()| Vec::new())
    }

    fn result(&self, _sums: &[Vec<f64>]) -> Vec<f64> {
        Vec::new()
    }
}
