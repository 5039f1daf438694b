//! Configurations of layers, losses and optimizers as JSON objects.

use ibex_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A JSON object with Keras's field names.
pub type Config = serde_json::Map<String, serde_json::Value>;

/// A loss or an optimizer, as it stands in a configuration.
#[derive(Serialize, Deserialize)]
pub(crate) struct Part {
    pub class_name: String,
    pub config: Config,
}

/// Writes a value's fields.
///
/// # Errors
/// `Value` if the type does not serialise to an object.
pub fn save<T: Serialize>(value: &T) -> Result<Config> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(map)) => Ok(map),
        // A type without fields.
        Ok(serde_json::Value::Null) => Ok(Config::new()),
        Ok(other) => Err(Error::value(format!("a configuration must be an object, not {other}"))),
        Err(error) => Err(Error::value(format!("configuration can not be written: {error}"))),
    }
}

/// Reads a value from its fields.
///
/// # Errors
/// `Format` naming the field that is missing or wrong.
pub fn load<T: DeserializeOwned>(config: Config) -> Result<T> {
    serde_json::from_value(serde_json::Value::Object(config)).map_err(|error| Error::format(error.to_string()))
}

/// [`load`], with the fields of the type's default where some are missing.
///
/// # Errors
/// As [`load`].
pub fn load_or_default<T: Serialize + DeserializeOwned + Default>(config: Config) -> Result<T> {
    let mut all = save(&T::default())?;
    all.extend(config);
    load(all)
}
