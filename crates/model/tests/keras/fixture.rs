//! Reading the fixtures.

use ibex::prelude::*;
use ibex::{Data, Result, layers, losses, metrics, optimizers};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// An array of the fixtures.
#[derive(Clone, Debug, Deserialize)]
pub struct Array {
    pub shape: Vec<usize>,
    dtype: String,
    #[serde(deserialize_with = "numbers")]
    pub data: Vec<f64>,
}

/// Numbers, or truth values as 0 and 1.
fn numbers<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Vec<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(f64),
        Truth(bool),
    }
    let list = Vec::<Number>::deserialize(from)?;
    Ok(list
        .into_iter()
        .map(|n| match n {
            Number::Number(n) => n,
            Number::Truth(t) => f64::from(u8::from(t)),
        })
        .collect())
}

impl Array {
    pub fn dtype(&self) -> DType {
        match &self.dtype[..] {
            "f32" => DType::F32,
            "i32" => DType::I32,
            "bool" => DType::Bool,
            other => panic!("element type {other}"),
        }
    }

    pub fn numbers(&self) -> Data {
        Data::from_f64(self.dtype(), &self.data)
    }

    pub fn tensor(&self) -> Tensor {
        Tensor::from_data(self.numbers(), &self.shape[..])
    }

    pub fn spec(&self) -> (Shape, DType) {
        (Shape::from(&self.shape[..]), self.dtype())
    }
}

/// The parsed contents of a file.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

pub fn cases<T: DeserializeOwned>(name: &str) -> Vec<T> {
    read::<Cases<T>>(name).cases
}

#[derive(Clone, Debug, Deserialize)]
pub struct LayerConfig {
    layer: String,
    config: Config,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ModelConfig {
    input_shape: Vec<usize>,
    input_dtype: String,
    layers: Vec<LayerConfig>,
}

impl ModelConfig {
    pub fn model(&self) -> Result<Model> {
        let dtype = if self.input_dtype == "i32" { DType::I32 } else { DType::F32 };
        let mut model = Sequential::with_dtype(&self.input_shape[..], dtype);
        for layer in &self.layers {
            model = model.add(layers::from_config(&layer.layer, layer.config.clone())?);
        }
        model.check()?;
        Ok(model)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct OptimizerConfig {
    pub optimizer: String,
    pub config: Config,
}

#[derive(Clone, Debug, Deserialize)]
pub struct LossConfig {
    pub loss: String,
    pub config: Config,
}

pub fn loss(config: &LossConfig) -> Result<Box<dyn Loss>> {
    losses::from_config(&config.loss, config.config.clone())
}

impl OptimizerConfig {
    pub fn boxed(&self) -> Result<Box<dyn Optimizer>> {
        optimizers::from_config(&self.optimizer, self.config.clone())
    }
}

/// Compiles with the optimizer of a fixture.
pub fn compile(
    model: &mut Model,
    optimizer: &OptimizerConfig,
    loss: impl Loss,
    metrics: impl metrics::IntoMetrics,
) -> Result<()> {
    model.compile(optimizer.boxed()?, loss, metrics)
}

/// The sum of its weights times its input: the gradient of each weight is its part of the input.
#[derive(Debug, Serialize, Deserialize)]
pub struct Linear;

impl Layer for Linear {
    fn class_name(&self) -> &'static str {
        "Linear"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn build(&self, weights: &mut Weights, _input: &Shape) -> Result<()> {
        weights.add("a", [3, 4], Initializer::Zeros)?;
        weights.add("b", [5], Initializer::Zeros)?;
        Ok(())
    }
    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let all = Tensor::concat(&[cx.weight("a").reshape([12]), cx.weight("b")], 0);
        Ok((x * all).sum(&[-1]).unsqueeze(-1))
    }
}

/// The prediction itself.
#[derive(Debug)]
pub struct Prediction;

impl Loss for Prediction {
    fn class_name(&self) -> &'static str {
        "Prediction"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn call(&self, _y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        Ok(y_pred.squeeze(-1))
    }
}
