//! Whole models in Keras's files, which `generate_files.py` made, and the way back.

use crate::common::{Folder, distance};
use crate::fixture::Array;
use ibex::prelude::*;
use ibex::{Load, Result, layers};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Case {
    x: Vec<Array>,
    predicted: Vec<Array>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keras/files").join(name)
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(path(name)).expect("a file of the fixtures");
    serde_json::from_str(&text).expect("JSON of the fixtures")
}

/// The inputs in the element types of the model.
fn inputs(model: &Model, arrays: &[Array]) -> Vec<Tensor> {
    arrays
        .iter()
        .zip(model.inputs())
        .map(|(array, input)| array.tensor().cast(input.dtype()).eval().expect("numbers"))
        .collect()
}

/// The largest relative error of all outputs.
fn error(model: &mut Model, case: &Case) -> Result<f64> {
    let x = inputs(model, &case.x);
    let got = model.predict_all(&x)?;
    assert_eq!(got.len(), case.predicted.len(), "number of outputs");
    let mut largest = 0f64;
    for (got, want) in got.iter().zip(&case.predicted) {
        assert_eq!(got.shape()[..], want.shape[..], "shape of an output");
        let got: Vec<f64> = got.cast(DType::F32).to_vec::<f32>()?.into_iter().map(f64::from).collect();
        largest = largest.max(distance(&got, &want.data).0);
    }
    Ok(largest)
}

#[test]
fn files_predict_the_same() -> Result<()> {
    let folder = Folder::new("keras-files");
    for (name, case) in read::<BTreeMap<String, Case>>("files.json") {
        let mut model = Model::load(path(&name))?;
        let own = error(&mut model, &case)?;
        assert!(own < 1e-5, "{name}: {own:e}");
        // There and back again, in every format.
        for ending in ["keras", "h5", "safetensors"] {
            let copy = folder.0.join(format!("{name}.{ending}"));
            model.save(&copy).map_err(|e| e.context(name.clone()))?;
            let mut back = Model::load(&copy).map_err(|e| e.context(name.clone()))?;
            assert_eq!(back.output_names(), model.output_names(), "{name}");
            let back = error(&mut back, &case)?;
            assert!(back < 1e-5, "{name} as {ending}: {back:e}");
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Trained {
    x: Vec<Array>,
    y: Vec<Array>,
    evaluate: BTreeMap<String, f64>,
    loss: Vec<f64>,
    predicted: Vec<Array>,
}

/// Two outputs, weights of losses, metrics, a schedule, and an optimizer whose slots stand apart.
#[test]
fn training_goes_on() -> Result<()> {
    let wanted: Trained = read("trained.json");
    let folder = Folder::new("keras-training");
    let first = Model::load(path("trained.keras"))?;
    let (keras, h5) = (folder.0.join("again.keras"), folder.0.join("again.h5"));
    first.save(&keras)?;
    first.save(&h5)?;
    for file in [path("trained.keras"), keras, h5] {
        let mut model = Model::load(&file)?;
        let x = inputs(&model, &wanted.x);
        let y: Vec<Tensor> = wanted.y.iter().map(Array::tensor).collect();
        let evaluated: BTreeMap<String, f64> =
            model.evaluate((&x, &y), 8)?.iter().map(|(n, v)| (n.clone(), *v)).collect();
        assert_eq!(evaluated.keys().collect::<Vec<_>>(), wanted.evaluate.keys().collect::<Vec<_>>());
        for (name, want) in &wanted.evaluate {
            let got = evaluated[name];
            assert!((got - want).abs() < 1e-5 * (1.0 + want.abs()), "{name}: {got}, in Keras {want}");
        }
        let history = model.fit((&x, &y), Fit::epochs(2).batch_size(8).shuffle(false).verbose(0))?;
        for (got, want) in history["loss"].iter().zip(&wanted.loss) {
            assert!((got - want).abs() < 1e-5 * (1.0 + want.abs()), "loss {got}, in Keras {want}");
        }
        let case = Case { x: wanted.x.clone(), predicted: wanted.predicted.clone() };
        let error = error(&mut model, &case)?;
        assert!(error < 1e-4, "{}: {error:e}", file.display());
    }
    Ok(())
}

#[derive(Deserialize)]
struct Compiled {
    x: Array,
    y: Array,
    /// By file: the loss of each epoch.
    loss: BTreeMap<String, Vec<f64>>,
}

/// Keras writes an optimizer before its first step without slots.
#[test]
fn training_begins() -> Result<()> {
    let wanted: Compiled = read("compiled.json");
    let (x, y) = (wanted.x.tensor(), wanted.y.tensor());
    for (name, want) in &wanted.loss {
        let mut model = Model::load(path(name))?;
        let history = model.fit((&x, &y), Fit::epochs(3).batch_size(8).shuffle(false).verbose(0))?;
        let got = &history["loss"];
        assert_eq!((got.len(), model.iterations()?), (want.len(), 6), "{name}");
        let close = |(got, want): (&f64, &f64)| (got - want).abs() < 1e-5 * (1.0 + want.abs());
        assert!(got.iter().zip(want).all(close), "{name}: {got:?}, in Keras {want:?}");
    }
    Ok(())
}

/// The description of a model with one layer of some class.
fn with_layer(layer: &str) -> String {
    format!(
        r#"{{"class_name": "Functional", "config": {{"name": "m", "layers": [
            {{"class_name": "InputLayer", "config": {{"batch_shape": [null, 4], "name": "x"}}, "name": "x", "inbound_nodes": []}},
            {layer}], "input_layers": ["x", 0, 0], "output_layers": ["one", 0, 0]}}}}"#
    )
}

const CALL: &str = r#""name": "one", "inbound_nodes": [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}}], "kwargs": {}}]"#;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Doubled {}

impl Layer for Doubled {
    fn class_name(&self) -> &'static str {
        "Doubled"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Ok(x * 2.0)
    }
}

#[test]
fn layers_of_ones_own() -> Result<()> {
    let text = with_layer(&format!(
        r#"{{"module": "my.code", "class_name": "Doubled", "config": {{}}, "registered_name": "mine>Doubled", {CALL}}}"#
    ));
    let error = Model::from_json(&text).expect_err("nobody knows the class").to_string();
    assert!(
        error.contains("layer one (Doubled)") && error.contains("mine>Doubled") && error.contains("register"),
        "{error}"
    );
    layers::register::<Doubled>("Doubled");
    let model = Model::from_json(&text)?;
    let y = model.predict(&Tensor::ones([1, 4], DType::F32))?;
    assert_eq!(y.to_vec::<f32>()?, [2.0; 4]);
    Ok(())
}

#[test]
fn what_is_not_built_is_said() {
    for (layer, words) in [
        (
            r#""class_name": "Dense", "config": {"units": 2, "activation": "relu", "surprise": 3}"#,
            &["layer one (Dense)", "surprise = 3"][..],
        ),
        (r#""class_name": "Lambda", "config": {"function": "x"}"#, &["layer one (Lambda)", "Python code"]),
        (r#""class_name": "Dense", "config": {"units": 2, "dtype": "float8"}"#, &["layer one", "float8"]),
        (
            r#""module": "keras.src.ops.numpy", "class_name": "Cumsum", "config": {"name": "one", "axis": 1}"#,
            &["layer one", "Cumsum"],
        ),
    ] {
        let text = with_layer(&format!("{{{layer}, {CALL}}}"));
        let error = Model::from_json(&text).expect_err(layer).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn lengths_that_the_file_leaves_open() -> Result<()> {
    let layer = r#"{"class_name": "Dense", "config": {"name": "one", "units": 2}, "name": "one", "inbound_nodes": [[["x", 0, 0, {}]]]}"#;
    let text = with_layer(layer).replace("[null, 4]", "[null, null, 4]");
    let open = Model::from_json(&text)?;
    assert_eq!(open.output_shape()[..], [Shape::ANY, 2]);
    assert!(open.to_json()?.replace([' ', '\n'], "").contains(r#""batch_shape":[null,null,4]"#));
    assert_eq!(open.predict(&Tensor::ones([1, 3, 4], DType::F32))?.shape()[..], [1, 3, 2]);
    let model = Load::new().input_shape("x", [7, 4]).json(&text)?;
    assert_eq!(model.output_shape()[..], [7, 2]);
    assert!(Load::new().input_shape("x", [7, 5]).json(&text).is_err(), "a length of the file can not be another");
    Ok(())
}

/// What `Model::to_json` writes is read again, with settings for training.
#[test]
fn architectures_as_json() -> Result<()> {
    let (image, age) = (Input::new([8, 8, 3]).named("image"), Input::new([1]).named("age"));
    let x = Conv2D::new(4, 3).padding(Padding::Same).activation(Relu).apply(&image);
    let x = Flatten::new().apply(&(x * 0.5 + 1.0));
    let x = Concatenate::new().apply([&x, &age]);
    let outputs = [Dense::new(3).activation(Softmax).named("kind").apply(&x), Dense::new(1).named("size").apply(&x)];
    let mut model = Model::new([&image, &age], &outputs[..])?.named("both");
    let losses = (CategoricalCrossentropy::new(), MeanSquaredError::new().weighted(0.25));
    model.compile(
        AdamW::new(CosineDecay::new(1e-3, 100)),
        losses,
        (Accuracy::new().of("kind"), R2Score::new().of("size").weighted()),
    )?;
    let text = model.to_json()?;
    let back = Model::from_json(&text)?;
    assert_eq!(back.summary(), model.summary());
    assert_eq!(back.to_json()?, text);
    Ok(())
}

#[test]
fn closures_can_not_be_written() -> Result<()> {
    let model =
        Sequential::new([4]).add(Dense::new(2)).add(Lambda::new("square", |x: &Tensor| x.square()).named("odd"));
    let error = model.to_json().expect_err("a closure").to_string();
    assert!(error.contains("layer odd (Lambda)") && error.contains("square"), "{error}");
    Ok(())
}
