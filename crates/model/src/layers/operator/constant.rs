//! Operands of an operator that are no tensors of the model.

use ibex_core::{DType, Data, Error, Result, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// A number, or a tensor as Keras writes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Constant {
    /// Takes the element type of what it meets, unless that has only whole numbers and this is none.
    Number(Number),
    /// True or false.
    Bool(bool),
    /// `{"class_name": "__tensor__", "config": {"value": [[1.0, 2.0]], "dtype": "float32"}}`
    Tensor { class_name: String, config: TensorConfig },
    /// Lists in lists.
    List(Vec<Value>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TensorConfig {
    value: Value,
    dtype: String,
}

/// What an operation works on.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Tensor(Tensor),
    /// A number, and whether it is written as a whole one.
    Number(f64, bool),
}

impl From<f32> for Constant {
    fn from(number: f32) -> Self {
        // NaN and infinities are no numbers in JSON.
        match Number::from_f64(f64::from(number)) {
            Some(number) => Constant::Number(number),
            None => Constant::Tensor {
                class_name: "__tensor__".into(),
                config: TensorConfig { value: Value::String(number.to_string()), dtype: "float32".into() },
            },
        }
    }
}

impl From<i32> for Constant {
    fn from(number: i32) -> Self {
        Constant::Number(number.into())
    }
}

impl Constant {
    pub(super) fn operand(&self) -> Result<Operand> {
        let (value, dtype) = match self {
            Constant::Number(number) => {
                return Ok(Operand::Number(number.as_f64().unwrap_or(f64::NAN), !number.is_f64()));
            }
            Constant::Bool(value) => return Ok(Operand::Tensor(Tensor::full([], f64::from(u8::from(*value)), DType::Bool))),
            Constant::Tensor { class_name, config } if ["__tensor__", "__numpy__"].contains(&&**class_name) => {
                (config.value.clone(), dtype(&config.dtype)?)
            }
            Constant::Tensor { class_name, .. } => {
                return Err(Error::unsupported(format!("a constant of class {class_name:?} is not known")));
            }
            Constant::List(list) => {
                let value = Value::Array(list.clone());
                let dtype = if whole(&value) { DType::I32 } else { DType::F32 };
                (value, dtype)
            }
        };
        let (mut numbers, mut shape) = (Vec::new(), Vec::new());
        flatten(&value, 0, &mut numbers, &mut shape)?;
        if shape.iter().product::<usize>() != numbers.len() {
            return Err(Error::format("the lists of a constant differ in their lengths"));
        }
        Ok(Operand::Tensor(Tensor::from_data(Data::from_f64(dtype, &numbers), shape)))
    }
}

/// Are all numbers written as whole ones?
fn whole(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().all(whole),
        Value::Number(number) => !number.is_f64(),
        _ => true,
    }
}

fn flatten(value: &Value, depth: usize, numbers: &mut Vec<f64>, shape: &mut Vec<usize>) -> Result<()> {
    match value {
        Value::Array(list) => {
            match shape.get(depth) {
                None => shape.push(list.len()),
                Some(&length) if length == list.len() => {}
                Some(_) => return Err(Error::format("the lists of a constant differ in their lengths")),
            }
            return list.iter().try_for_each(|value| flatten(value, depth + 1, numbers, shape));
        }
        Value::Number(number) => numbers.push(number.as_f64().unwrap_or(f64::NAN)),
        Value::Bool(value) => numbers.push(f64::from(u8::from(*value))),
        // As Python and Rust write what JSON can not.
        Value::String(text) => {
            let number = text.parse().map_err(|_| Error::format(format!("{text:?} is not a number of a constant")))?;
            numbers.push(number);
        }
        other => return Err(Error::format(format!("{other} is not a number of a constant"))),
    }
    Ok(())
}

/// The element type of a Keras name: the nearest that there is.
pub(crate) fn dtype(name: &str) -> Result<DType> {
    Ok(match name {
        "float32" | "float64" | "float" => DType::F32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "int8" | "int16" | "int32" | "int64" | "int" => DType::I32,
        "uint8" | "uint16" | "uint32" | "uint64" => DType::U32,
        "bool" => DType::Bool,
        other => return Err(Error::unsupported(format!("element type {other:?} is not supported"))),
    })
}

/// Keras's name of an element type.
pub(crate) fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::I32 => "int32",
        DType::U32 => "uint32",
        DType::Bool => "bool",
    }
}
