//! One layer of a Keras file.

use super::arguments::recurrent;
use super::network::{Entry, wrong};
use crate::DTypePolicy;
use crate::config::Config;
use crate::graph::Instance;
use crate::layers::{self, Layer};
use ibex_core::{Error, Result};
use serde_json::{Map, Value};

/// Of an object, in the simplest of the forms that Keras has for it: policies and activations by their names, nothing that only Python needs.
pub(super) fn plain(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(plain).collect(),
        Value::Object(mut object) => {
            object.remove("shared_object_id");
            let class = object.get("class_name").and_then(Value::as_str).unwrap_or_default().to_string();
            let config = object.get("config");
            match (&*class, config) {
                // A function of `keras.activations` as an object.
                ("function", Some(Value::String(name))) => return Value::String(name.clone()),
                ("DTypePolicy" | "Policy" | "FloatDTypePolicy" | "PolicyV1", Some(Value::Object(config))) => {
                    return config.get("name").cloned().unwrap_or_default();
                }
                _ => {}
            }
            Value::Object(object.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
        value => value,
    }
}

/// The policy of a layer, if its element type is one that layers compute in.
pub(super) fn policy(config: &Config) -> Result<Option<DTypePolicy>> {
    let dtype = config.get("dtype").cloned().map(plain);
    Ok(match dtype.as_ref().and_then(Value::as_str) {
        None => None,
        Some("float64") => Some(DTypePolicy::Float32),
        // Of layers that make integers or take strings.
        Some(name) if ["int", "uint", "bool", "string"].iter().any(|kind| name.starts_with(kind)) => None,
        Some(name) => Some(
            name.parse()
                .map_err(|e: Error| Error::unsupported(format!("{}; save the model with one of these", e.message())))?,
        ),
    })
}

impl Entry {
    /// Is it a tensor that the model is given?
    pub fn is_input(&self) -> bool {
        self.class_name == "InputLayer"
    }

    /// Is it a model? A class of one's own is read as one if its config is that of a model.
    pub fn is_model(&self) -> bool {
        let functional = self.config.contains_key("layers") && self.config.contains_key("input_layers");
        ["Sequential", "Functional", "Model"].contains(&&*self.class_name) || functional
    }

    /// The layer, with settings that Keras has as arguments of the call.
    pub fn instance(&self, settings: Config, default: DTypePolicy) -> Result<Instance> {
        let Value::Object(mut config) = plain(Value::Object(self.config.clone())) else {
            return Err(wrong("a config"));
        };
        config.extend(settings);
        if self.activation_layer()?.is_some() {
            config.insert("activation".into(), "linear".into());
        }
        amend(&self.class_name, &mut config)?;
        let loaded = self.load(config.clone())?;
        let flag = |config: &Config| config.get("trainable").and_then(Value::as_bool);
        let trainable = flag(&config).unwrap_or(true) && inner_trainable(&config)?.unwrap_or(true);
        let mut instance = Instance::from(loaded).named(&self.name).trainable(trainable);
        if let Some(policy) = policy(&config)?.filter(|policy| *policy != default) {
            instance = instance.dtype(policy);
        }
        Ok(instance)
    }

    /// A layer as the activation of a layer, which is applied after it: `Dense(8, activation=LeakyReLU())`.
    pub fn activation_layer(&self) -> Result<Option<Instance>> {
        let Some(Value::Object(object)) = self.config.get("activation").cloned().map(plain) else { return Ok(None) };
        let class = object.get("class_name").and_then(Value::as_str).unwrap_or_default();
        let Some(Value::Object(config)) = object.get("config").cloned() else {
            return Err(wrong("an activation has no config"));
        };
        if class == "PReLU" || recurrent(&self.class_name) || !layers::is_built_in(class) {
            return Err(Error::unsupported(format!(
                "its activation is a layer {class:?}; put the layer after it instead"
            )));
        }
        let loaded = layers::from_config(class, config.clone())?;
        nothing_lost(&config, &loaded.config()?).map_err(|e| e.context("its activation"))?;
        Ok(Some(Instance::from(loaded)))
    }

    fn load(&self, config: Config) -> Result<Box<dyn Layer>> {
        let registered = self.registered_name.as_deref();
        let short = |name: &str| name.rsplit('>').next().unwrap_or_default().to_string();
        let own = registered.into_iter().map(str::to_string).chain([self.class_name.clone(), short(&self.class_name)]);
        if let Some(name) = own.into_iter().find(|name| layers::is_registered(name)) {
            return layers::from_config(&name, config);
        }
        // A class of one's own may have the name of one of ours.
        if let Some(name) = registered.filter(|name| name.contains('>') && !name.to_lowercase().starts_with("keras")) {
            let class = short(name);
            return Err(Error::unsupported(format!(
                "unknown layer class {name:?}; write it in Rust and call `ibex::layers::register::<{class}>({name:?})` before loading"
            )));
        }
        let class = match &*short(&self.class_name) {
            "SyncBatchNormalization" | "BatchNormalizationV1" | "BatchNormalizationV2" => {
                "BatchNormalization".to_string()
            }
            name => name.to_string(),
        };
        if class == "Lambda" {
            let text = "a Lambda layer holds Python code; replace it by a layer of your own, registered with \
                        `ibex::layers::register::<MyLambda>(\"Lambda\")`";
            return Err(Error::unsupported(text));
        }
        let loaded = layers::from_config(&class, config.clone())?;
        nothing_lost(&config, &loaded.config()?)?;
        Ok(loaded)
    }
}

/// Changes what older versions wrote differently.
fn amend(class: &str, config: &mut Config) -> Result<()> {
    // An axis in a list.
    if class.contains("BatchNormalization")
        && let Some([axis]) = config.get("axis").and_then(Value::as_array).map(Vec::as_slice)
    {
        let axis = axis.clone();
        config.insert("axis".into(), axis);
    }
    // Before there was a choice, the reset gate came first.
    if class == "GRU" && config.contains_key("implementation") && !config.contains_key("reset_after") {
        config.insert("reset_after".into(), false.into());
    }
    if config.get("time_major").and_then(Value::as_bool) == Some(true) {
        return Err(Error::unsupported("time_major: sequences come as (batch, steps, features); transpose them"));
    }
    for field in ["layer", "backward_layer", "cell"] {
        if let Some(Value::Object(inner)) = config.get_mut(field) {
            let class = inner.get("class_name").and_then(Value::as_str).unwrap_or_default().to_string();
            if let Some(Value::Object(inner)) = inner.get_mut("config") {
                amend(&class, inner)?;
            }
        }
    }
    Ok(())
}

/// Layers inside of a layer have flags of their own: what they say, if they agree.
fn inner_trainable(config: &Config) -> Result<Option<bool>> {
    let inner =
        ["layer", "backward_layer"].iter().filter_map(|field| config.get(*field)?.get("config")?.get("trainable"));
    let mut flags = inner.filter_map(Value::as_bool);
    let Some(first) = flags.next() else { return Ok(None) };
    if flags.any(|flag| flag != first) {
        return Err(Error::unsupported("of two layers inside one is frozen; freeze both or none"));
    }
    Ok(Some(first))
}

/// Fields without meaning here: names, types, seeds, ways to compute.
const IGNORED: &[&str] = &[
    "name",
    "trainable",
    "dtype",
    "seed",
    "unroll",
    "implementation",
    "time_major",
    "batch_input_shape",
    "batch_shape",
    "input_shape",
    "build_input_shape",
    "input_length",
    "sparse",
    "ragged",
    "autocast",
    "fused",
    "build_config",
    "inbound_nodes",
    "optional",
    "_name",
    "renorm_momentum",
    "fill_value",
];

/// Checks that no field of a file is dropped, unless it says what is so anyway.
fn nothing_lost(file: &Config, ours: &Config) -> Result<()> {
    let neutral = |field: &str, value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => [("data_format", "channels_last"), ("fill_mode", "constant")].contains(&(field, text)),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Number(number) => field == "groups" && number.as_u64() == Some(1),
        Value::Bool(true) => false,
    };
    for (field, value) in file {
        match ours.get(field) {
            None if IGNORED.contains(&&**field) || neutral(field, value) => {}
            None => {
                let text = format!("its setting {field} = {value} is not supported; make the model without it");
                return Err(Error::unsupported(text));
            }
            Some(kept) => {
                let config =
                    |value: &Value| -> Option<Map<String, Value>> { value.get("config")?.as_object().cloned() };
                let inside = (config(value).filter(|config| !config.contains_key("layers")), config(kept));
                if let (true, (Some(file), Some(ours))) = (is_layer(field), inside) {
                    nothing_lost(&file, &ours).map_err(|e| e.context(format!("its {field}")))?;
                }
            }
        }
    }
    Ok(())
}

fn is_layer(field: &str) -> bool {
    ["layer", "backward_layer", "cell"].contains(&field)
}
