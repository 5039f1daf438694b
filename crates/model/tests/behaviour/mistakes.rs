//! Bad input is an error that says what is wrong, before anything is trained.

use crate::common::devices;
use crate::{classifier, points};
use ibex::prelude::*;
use ibex::{Error, ErrorKind, Result};

fn says(result: Result<impl Sized>, kind: ErrorKind, words: &[&str]) {
    let error: Error = result.map(drop).expect_err("an error");
    let text = error.to_string();
    assert!(error.kind() == kind && words.iter().all(|w| text.contains(w)), "{:?}: {text}", error.kind());
}

#[test]
fn data_that_does_not_fit() -> Result<()> {
    let mut model = classifier(&devices()[0])?;
    let (x, y) = points(10);
    let before = model.get_weights()?;
    let fit = || Fit::epochs(1).verbose(0);
    let with = |i: usize, v: f32| {
        let mut values = x.data().expect("host").to_f64();
        values[i] = f64::from(v);
        Tensor::from_data(ibex::Data::from_f64(DType::F32, &values), [10, 4])
    };
    let labels = |v: i32| Tensor::from_vec([&[0; 9][..], &[v]].concat(), [10]);

    let wide = Tensor::zeros([10, 5], DType::F32);
    says(model.fit((&wide, &y), fit()), ErrorKind::Shape, &["fit", "(10, 5)", "(None, 4)"]);
    says(model.predict(&wide), ErrorKind::Shape, &["predict", "(10, 5)", "(None, 4)"]);
    says(model.predict(&x.index(0, 0)), ErrorKind::Shape, &["predict", "(4,)"]);
    says(model.fit((&x, &labels(2)), fit()), ErrorKind::Value, &["label 2", "position 9", "2 classes"]);
    says(model.fit((&x, &labels(-1)), fit()), ErrorKind::Value, &["label -1"]);
    says(model.fit((&with(6, f32::NAN), &y), fit()), ErrorKind::Value, &["x", "sample 1", "NaN"]);
    says(model.fit((&with(39, f32::INFINITY), &y), fit()), ErrorKind::Value, &["sample 9", "inf"]);
    says(model.evaluate((&with(0, f32::NAN), &y), 4), ErrorKind::Value, &["evaluate", "NaN"]);
    let nine = Tensor::from_vec(vec![0i32; 9], [9]);
    says(model.fit((&x, &nine), fit()), ErrorKind::Shape, &["10", "9"]);
    says(model.fit((&x, &y), fit().batch_size(0)), ErrorKind::Value, &["batch_size"]);
    says(model.fit((&x, &y), fit().validation_split(1.0)), ErrorKind::Value, &["validation_split"]);
    says(model.fit((&x, &y), fit().validation((&wide, &y))), ErrorKind::Shape, &["validation", "(10, 5)"]);
    says(model.fit((&x, &Tensor::zeros([10, 3], DType::I32)), fit()), ErrorKind::Shape, &["labels", "(10, 3)"]);
    let none = (&Tensor::zeros([0, 4], DType::F32), &Tensor::zeros([0], DType::I32));
    says(model.fit(none, fit()), ErrorKind::Value, &["no samples"]);
    assert_eq!(model.get_weights()?, before, "nothing was trained");
    model.fit((&x, &y), fit())?;
    Ok(())
}

#[test]
fn models_that_are_not_whole() {
    let (x, y) = points(4);
    let mut bare = Sequential::new([4]).add(Dense::new(2));
    says(bare.fit((&x, &y), Fit::epochs(1)), ErrorKind::Model, &["compile"]);
    let mut empty = Sequential::new([4]);
    says(empty.predict(&x), ErrorKind::Model, &["no layers"]);
    says(empty.compile(SGD::new(0.1), MeanSquaredError::new(), ()), ErrorKind::Model, &["no layers"]);
    says(bare.set_weights(&[]), ErrorKind::Shape, &["2 weights", "0"]);
}

#[test]
fn devices_by_name() {
    says(ibex::device("tpu"), ErrorKind::Device, &["\"tpu\"", "cpu"]);
    says(ibex::device("gpu:x"), ErrorKind::Device, &["gpu:x", "cpu"]);
    says(ibex::device("gpu:99"), ErrorKind::Device, &["no device \"gpu:99\"; there are: cpu"]);
    assert!(ibex::devices().iter().any(|d| d.id == "cpu"));
}

/// Declares a weight that it does not use.
#[derive(Debug)]
struct Idle;

impl Layer for Idle {
    fn class_name(&self) -> &'static str {
        "Idle"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn build(&self, weights: &mut Weights, _input: &Shape) -> Result<()> {
        weights.add("spare", [3], Initializer::Ones)?;
        Ok(())
    }
    fn call(&self, x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Ok(x.clone())
    }
}

#[test]
fn weights_without_gradient() -> Result<()> {
    let (x, y) = points(4);
    let mut model = Sequential::new([4]).add(Dense::new(2)).add(Idle);
    model.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), ())?;
    says(model.fit((&x, &y), Fit::epochs(1).verbose(0)), ErrorKind::Model, &["idle/spare"]);
    Ok(())
}

/// As in Keras, numbers of any type are good for an input of floats; those that a float can not hold are not changed silently.
#[test]
fn integers_for_an_input_of_floats() -> Result<()> {
    for device in devices() {
        let mut model =
            Sequential::new([3]).on(&device).add(Embedding::new(5, 2)).add(Flatten::new()).add(Dense::new(2));
        model.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), ())?;
        let (x, y) = (Tensor::arange(12) % 5, Tensor::from_vec(vec![0, 1, 0, 1], [4]));
        let x = device.eval(&[x.reshape([4, 3])])?.remove(0);
        model.fit((&x, &y), Fit::epochs(2).verbose(0))?;
        let by_integers = device.to_vec::<f32>(&model.predict(&x)?)?;
        assert_eq!(by_integers, device.to_vec::<f32>(&model.predict(&x.cast(DType::F32))?)?);
        assert_eq!(by_integers, device.to_vec::<f32>(&model.call(&x, false)?)?);
        let far = Tensor::from_vec(vec![0, 1, 2, 3, 16_777_217, 0], [2, 3]);
        says(
            model.predict(&far),
            ErrorKind::Value,
            &["predict: x", "16777217 at position 4", "with_dtype(shape, DType::I32)"],
        );
        let whole = Sequential::with_dtype([3], DType::I32).on(&device).add(Embedding::new(5, 2));
        says(whole.predict(&x.cast(DType::F32)), ErrorKind::DType, &["predict", "f32", "takes i32; cast them"]);
    }
    Ok(())
}

/// Targets and inputs that no row of the model answers to.
#[test]
fn numbers_out_of_range() -> Result<()> {
    for device in devices() {
        let mut model = Sequential::with_dtype([3], DType::I32).on(&device);
        model = model.add(Embedding::new(5, 2)).add(Flatten::new()).add(Dense::new(1).activation(Sigmoid));
        model.compile(SGD::new(0.1), BinaryCrossentropy::new(), ())?;
        let x = Tensor::from_vec(vec![0, 1, 2, 3, 4, 5], [2, 3]);
        let y = Tensor::from_vec(vec![0f32, 1.0], [2]);
        let error = model.fit((&x, &y), Fit::epochs(1).verbose(0)).expect_err("5 is no row").to_string();
        assert!(error.contains("number 5 at position 5") && error.contains("0 to 4"), "{error}");
        let error = model.predict(&Tensor::from_vec(vec![0, -1, 2], [1, 3])).expect_err("-1 is no row").to_string();
        assert!(error.contains("number -1 at position 1") && error.contains("embedding"), "{error}");
        let good = Tensor::from_vec(vec![0, 1, 2, 3, 4, 4], [2, 3]);
        let y = Tensor::from_vec(vec![0f32, 2.0], [2]);
        let error = model.fit((&good, &y), Fit::epochs(1).verbose(0)).expect_err("2 is no probability").to_string();
        assert!(error.contains("target 2 at position 1"), "{error}");
    }
    Ok(())
}
