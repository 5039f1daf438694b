//! What `interop.py` runs: a list of jobs, each of which loads a model, predicts, trains and saves it again. Prints a line of JSON for each.
//!
//! `keras_interop jobs.json`, where a job is `{"load": "a.keras", "x": "x.npz", "predict": "y.npz", "y": "targets.npz", "epochs": 2, "save": ["b.keras"]}`;
//! only `load` must be there, or `"make": "operations"` for a model of all operations on symbolic tensors. Arrays are called `0`, `1`, ... in their order. With `"own": true` the
//! loss and the metric are [`Stretched`] and [`Distance`].

#[path = "../common/operations.rs"]
mod operations;

use ibex::prelude::*;
use ibex::{Data, Error, Result};
use ibex_formats::npy::{self, Array};
use serde::Serialize;
use serde_json::{Value, json};

/// Squared errors, so many times: a loss that neither library has.
#[derive(Debug, Serialize)]
struct Stretched {
    factor: f32,
}

impl Loss for Stretched {
    fn class_name(&self) -> &'static str {
        "Stretched"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, y_true: &Tensor, y_pred: &Tensor) -> Result<Tensor> {
        Ok((y_pred - y_true).square().mean(&[-1]) * self.factor)
    }
}

/// The mean absolute error under another name.
#[derive(Debug)]
struct Distance;

impl Metric for Distance {
    fn name(&self) -> String {
        "distance".into()
    }

    fn values(&self, y_true: &Tensor, y_pred: &Tensor, _sparse: bool) -> Result<Tensor> {
        Ok((y_pred - y_true).abs())
    }
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| Error::value("give a file of jobs"))?;
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(format!("{path}: {e}")))?;
    let jobs: Vec<Value> = serde_json::from_str(&text).map_err(|e| Error::format(format!("{path}: {e}")))?;
    for job in &jobs {
        println!("{}", run(job).unwrap_or_else(|error| json!({"error": error.to_string()})));
    }
    Ok(())
}

fn run(job: &Value) -> Result<Value> {
    let text = |name: &str| job[name].as_str();
    let mut model = match text("json") {
        _ if text("make") == Some("operations") => operations::model()?,
        Some(path) => Model::from_json(&std::fs::read_to_string(path).map_err(|e| Error::io(format!("{path}: {e}")))?)?,
        None => Model::load(text("load").ok_or_else(|| Error::value("a job has nothing to load"))?)?,
    };
    if job["own"] == true {
        model.recompile(None, Some(vec![Box::new(Stretched { factor: 3.0 })]), Some(vec![Box::new(Distance)]))?;
    }
    if let Some(path) = text("weights") {
        model.load_weights(path)?;
    }
    let mut inputs = Vec::new();
    if let Some(path) = text("x") {
        let wanted: Vec<DType> = model.inputs().iter().map(|input| input.dtype()).collect();
        inputs = tensors(path, &wanted)?;
    }
    let mut result = json!({"ok": true, "inputs": model.input_names(), "outputs": model.output_names()});
    if let Some(path) = text("predict") {
        let mut arrays = Vec::new();
        for output in model.predict_all(&inputs)? {
            let data = ibex::core::backend::block_on(output.read())?;
            arrays.push(Array::new(output.shape().to_vec(), data)?);
        }
        let named: Vec<(String, &Array)> = arrays.iter().enumerate().map(|(i, array)| (i.to_string(), array)).collect();
        npy::save_npz(path, named.iter().map(|(name, array)| (&name[..], *array)))?;
    }
    if let Some(path) = text("y") {
        let targets = tensors(path, &[])?;
        if let Some(epochs) = job["epochs"].as_u64() {
            let options = Fit::epochs(epochs as usize).batch_size(8).shuffle(false).verbose(0);
            let history = model.fit((&inputs, &targets), options)?;
            result["loss"] = json!(&history["loss"]);
        }
        let evaluated = model.evaluate((&inputs, &targets), 8)?;
        result["evaluate"] = json!(
            evaluated.iter().map(|(name, value)| (name.clone(), *value)).collect::<std::collections::BTreeMap<_, _>>()
        );
    }
    for path in job["save"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        model.save(path)?;
    }
    Ok(result)
}

/// All arrays of a file in order; the first of them in the given element types.
fn tensors(path: &str, dtypes: &[DType]) -> Result<Vec<Tensor>> {
    let mut arrays = npy::open_npz(path)?;
    arrays.sort_by_key(|(name, _)| name.parse::<usize>().unwrap_or(usize::MAX));
    let tensor = |(i, (_, array)): (usize, (String, Array))| {
        let dtype = dtypes.get(i).copied().unwrap_or_else(|| array.data.dtype());
        Tensor::from_data(Data::from_f64(dtype, &array.data.to_f64()), array.shape)
    };
    Ok(arrays.into_iter().enumerate().map(tensor).collect())
}
