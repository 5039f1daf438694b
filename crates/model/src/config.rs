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

/// Keras's two ways to write an object: its name alone, or a class name and fields, some of which may be missing.
#[derive(Deserialize)]
#[serde(from = "NameOrObject")]
pub(crate) struct Described {
    pub class_name: String,
    pub config: Config,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NameOrObject {
    Name(String),
    Object {
        class_name: String,
        #[serde(default)]
        config: Config,
    },
}

impl From<NameOrObject> for Described {
    fn from(described: NameOrObject) -> Self {
        match described {
            NameOrObject::Name(class_name) => Described { class_name, config: Config::new() },
            NameOrObject::Object { class_name, config } => Described { class_name, config },
        }
    }
}

impl Described {
    /// The class name in small letters without underscores, under which `GlorotUniform` and `glorot_uniform` are one.
    pub fn plain(&self) -> String {
        self.class_name.to_lowercase().replace('_', "")
    }

    /// A field, or what stands for a missing one.
    ///
    /// # Errors
    /// `Format` naming the class and the field, if it has the wrong type.
    pub fn field<T: DeserializeOwned>(&self, field: &str, default: T) -> Result<T> {
        let Some(value) = self.config.get(field) else { return Ok(default) };
        serde_json::from_value(value.clone()).map_err(|e| Error::format(format!("{}: {field}: {e}", self.class_name)))
    }

    /// A number that must not be negative.
    ///
    /// # Errors
    /// As [`Described::field`]; `Value` for a negative number.
    pub fn factor(&self, field: &str, default: f32) -> Result<f32> {
        let value = self.field(field, default)?;
        if value >= 0.0 && value.is_finite() {
            return Ok(value);
        }
        Err(Error::value(format!("{}: {field} is {value}, it must be a number that is not negative", self.class_name)))
    }
}

/// Axes as Keras writes them: none (which means all), one, or a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Axes {
    /// All axes.
    #[default]
    All,
    /// One axis.
    One(isize),
    /// Several axes.
    Several(Vec<isize>),
}

impl Axes {
    /// As [`Tensor::sum`](ibex_core::Tensor::sum) takes them.
    pub fn list(&self) -> &[isize] {
        match self {
            Axes::All => &[],
            Axes::One(axis) => std::slice::from_ref(axis),
            Axes::Several(axes) => axes,
        }
    }
}

impl From<isize> for Axes {
    fn from(axis: isize) -> Self {
        Axes::One(axis)
    }
}

impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Self {
        Axes::Several(axes.to_vec())
    }
}
