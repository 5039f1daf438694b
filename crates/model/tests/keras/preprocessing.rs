//! Preprocessing layers and what prepares texts, beside Keras; random augmentations where they are not random.

use crate::common::{TOLERANCE, assert_close, devices, every_case};
use crate::fixture::{self, Array};
use crate::layers::{Case, check};
use ibex::config::Config;
use ibex::data::{SplitText, Standardize, StringLookup, TextMode, TextVectorization};
use ibex::layers::{self, Discretization, IntegerLookup, Normalization};
use ibex::{Arg, Device, Input, Model, Plan, Result, Tensor};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
    values: Vec<Plain>,
    adapted: Vec<Adapted>,
}

/// A layer without a gradient.
#[derive(Deserialize)]
struct Plain {
    name: String,
    layer: String,
    config: Config,
    inputs: Vec<Array>,
    output: Array,
}

#[derive(Deserialize)]
struct Adapted {
    name: String,
    layer: String,
    config: Config,
    x: Array,
    learned: Vec<Array>,
}

#[test]
fn preprocessing_layers_are_those_of_keras() {
    let file: File = fixture::read("preprocessing.json");
    every_case(&file.cases, |case| &case.name, check);
    every_case(&file.values, |case| &case.name, check_values);
}

fn check_values(case: &Plain, device: &Device) -> Result<()> {
    let layer = layers::from_config(&case.layer, case.config.clone())?;
    // What a layer writes makes the same layer.
    let layer = layers::from_config(&case.layer, layer.config()?)?;
    let inputs: Vec<_> = case.inputs.iter().map(|x| Input::with_dtype(&x.shape[1..], x.dtype())).collect();
    let output = ibex::Instance::from(layer).apply(&inputs);
    let model = Model::new(&inputs, &output)?.on(device);
    let specs: Vec<_> = case.inputs.iter().map(Array::spec).collect();
    let plan = Plan::trace(device, &specs, |args| model.call_all(args, false))?;
    let mut args: Vec<Arg> = case.inputs.iter().map(|x| Arg::Tensor(x.tensor())).collect();
    let got = plan.run(&mut args)?.remove(0);
    let what = format!("{} {}", case.name, case.layer);
    assert_eq!((got.shape().to_vec(), got.dtype()), (case.output.shape.clone(), case.output.dtype()), "{what}");
    assert_close(&what, &device.read_now(&got)?.to_f64(), &case.output.data, TOLERANCE);
    Ok(())
}

fn from<L: DeserializeOwned>(config: &Config) -> L {
    ibex::config::load(config.clone()).expect("a configuration")
}

#[test]
fn what_layers_learn_is_what_those_of_keras_learn() -> Result<()> {
    let file: File = fixture::read("preprocessing.json");
    for case in &file.adapted {
        let x = case.x.tensor();
        match &case.layer[..] {
            "Normalization" => {
                let layer: Normalization = from(&case.config);
                let model = ibex::Sequential::new(&case.x.shape[1..]).on(&devices()[0]).add(layer.adapt(&x)?);
                let model = model.check().map(|_| model)?;
                for (weight, want) in model.weights().zip(&case.learned) {
                    let got = devices()[0].read_now(&weight.variable.value())?;
                    assert_close(&case.name, &got.to_f64(), &want.data, TOLERANCE);
                    assert_eq!(weight.variable.shape()[..], want.shape[..], "{}", case.name);
                    assert!(!weight.trainable());
                }
                assert_eq!(model.weights().count(), 3);
            }
            "Discretization" => {
                let layer = from::<Discretization>(&case.config).adapt(&x)?;
                assert_close(&case.name, layer.bin_boundaries().expect("learned"), &case.learned[0].data, TOLERANCE);
            }
            "IntegerLookup" => {
                let layer = from::<IntegerLookup>(&case.config).adapt(&x)?;
                let want: Vec<i32> = case.learned[0].data.iter().map(|&n| n as i32).collect();
                assert_eq!(layer.get_vocabulary(), want, "{}", case.name);
                // Under tf-idf, what is learned from is transformed too.
                for want in &case.learned[1..] {
                    let model = ibex::Sequential::with_dtype(&case.x.shape[1..], ibex::DType::I32).add(layer.clone());
                    let got = devices()[0].read_now(&model.on(&devices()[0]).predict(&x)?)?;
                    assert_close(&case.name, &got.to_f64(), &want.data, TOLERANCE);
                }
            }
            other => panic!("{other}"),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct TextFile {
    texts: Vec<String>,
    more: Vec<String>,
    cases: Vec<TextCase>,
    lookups: Vec<TextCase>,
}

#[derive(Deserialize)]
struct TextCase {
    name: String,
    config: Config,
    vocabulary: Vec<String>,
    #[serde(default)]
    bare: Vec<String>,
    output: Array,
}

fn mode(value: &Value) -> TextMode {
    match value.as_str() {
        Some("one_hot") => TextMode::OneHot,
        Some("multi_hot") => TextMode::MultiHot,
        Some("count") => TextMode::Count,
        Some("tf_idf") => TextMode::TfIdf,
        other => panic!("{other:?}"),
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn same(name: &str, got: &Tensor, want: &Array) {
    assert_eq!((got.shape().to_vec(), got.dtype()), (want.shape.clone(), want.dtype()), "{name}");
    assert_close(name, &got.data().expect("on the host").to_f64(), &want.data, TOLERANCE);
}

#[test]
fn texts_are_vectorized_as_by_keras() -> Result<()> {
    let file: TextFile = fixture::read("text.json");
    for case in &file.cases {
        let mut layer = TextVectorization::new();
        for (option, value) in &case.config {
            layer = match (&option[..], value.as_str()) {
                ("max_tokens", _) => layer.max_tokens(number(value)),
                ("output_sequence_length", _) => layer.output_sequence_length(number(value)),
                ("standardize", Some("lower")) => layer.standardize(Standardize::Lower),
                ("standardize", Some("strip_punctuation")) => layer.standardize(Standardize::StripPunctuation),
                ("standardize", None) => layer.standardize(Standardize::Keep),
                ("split", Some("character")) => layer.split(SplitText::Character),
                ("split", None) => layer.split(SplitText::Whole),
                ("ngrams", _) if value.is_array() => {
                    layer.ngrams_of(value.as_array().expect("widths").iter().map(number).collect::<Vec<_>>())
                }
                ("ngrams", _) => layer.ngrams(number(value)),
                ("output_mode", _) => layer.output_mode(mode(value)),
                ("pad_to_max_tokens", _) => layer.pad_to_max_tokens(true),
                _ => panic!("{option}: {value}"),
            };
        }
        let layer = layer.adapt(&file.texts)?;
        assert_eq!(layer.get_vocabulary(), case.vocabulary, "{}", case.name);
        assert_eq!(layer.lookup().words(), case.bare, "{}", case.name);
        same(&case.name, &layer.transform(&file.more)?, &case.output);
    }
    Ok(())
}

#[test]
fn strings_are_looked_up_as_by_keras() -> Result<()> {
    let file: TextFile = fixture::read("text.json");
    let rows = [["a", "c", "x"], ["", "d", "a"], ["[UNK]", "b", "b"]];
    for case in &file.lookups {
        let mut layer = StringLookup::new();
        for (option, value) in &case.config {
            layer = match &option[..] {
                "max_tokens" => layer.max_tokens(number(value)),
                "mask_token" => layer.mask_token(value.as_str().expect("a token")),
                "oov_token" => layer.oov_token(value.as_str().expect("a token")),
                "num_oov_indices" => layer.num_oov_indices(number(value)),
                "output_mode" => layer.output_mode(mode(value)),
                _ => panic!("{option}"),
            };
        }
        let layer = layer.adapt(["b", "a", "c", "a", "d", "b", "a", "[UNK]", ""])?;
        assert_eq!(layer.get_vocabulary(), case.vocabulary, "{}", case.name);
        same(&case.name, &layer.transform_rows(rows, None)?, &case.output);
        let one = layer.transform(rows[0])?;
        assert_eq!(one.rank(), if case.output.shape.len() == 3 { 2 } else { 1 }, "{}", case.name);
    }
    Ok(())
}
