//! Files of weights that Keras wrote, read into models that were built here.

use ibex::layers::{GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells};
use ibex::prelude::*;
use ibex::{Data, Result};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Case {
    x: Vec<f32>,
    y: Vec<f32>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keras/weights").join(name)
}

/// A file of this test run that is gone when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Temporary(std::env::temp_dir().join(format!("ibex-{}-{name}", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn recurrent() -> Model {
    let stack = StackedRNNCells::new().cell(LSTMCell::new(4)).cell(GRUCell::new(3)).cell(GRUCell::new(2));
    let pair = StackedRNNCells::new().cell(SimpleRNNCell::new(2)).cell(SimpleRNNCell::new(3));
    Sequential::new([5, 3])
        .add(RNN::new(stack).return_sequences(true))
        .add(Bidirectional::new(LSTM::new(2).return_sequences(true)))
        .add(TimeDistributed::new(Dense::new(2)))
        .add(GRU::new(3).reset_after(false).return_sequences(true))
        .add(Bidirectional::new(RNN::new(pair)))
        .add(Dense::new(2))
}

fn nested() -> Result<Model> {
    let deep = Sequential::new([6, 3]).add(Dense::new(4)).add(PReLU::new().shared_axes([1]));
    let frozen = Dense::new(3).activation(Relu).trainable(false);
    let x = Input::new([6, 4]).named("inner");
    let y = deep.apply(frozen.apply(BatchNormalization::new().apply(&x)));
    let inner = Model::new(&x, &y)?;
    let steps = Input::new([6, 4]).named("steps");
    let x = Normalization::new().apply(&steps);
    let x = Add::new().apply([&x, &MultiHeadAttention::new(2, 3).apply([&x, &x])]);
    let x = LayerNormalization::new().apply(&(inner.apply(&x) + &x));
    let x = GlobalAveragePooling1D::new().apply(Attention::new().use_scale(true).apply([&x, &x]));
    let outputs = [Dense::new(2).named("first").apply(&x), Dense::new(1).named("second").apply(&x)];
    Model::new(&steps, Concatenate::new().apply([&outputs[0], &outputs[1]]))
}

fn space() -> Model {
    Sequential::new([6, 6, 3])
        .add(SeparableConv2D::new(4, 3).padding(Padding::Same).depth_multiplier(2))
        .add(GroupNormalization::new(2))
        .add(Conv2DTranspose::new(3, 2).strides(2))
        .add(DepthwiseConv2D::new(2))
        .add(BatchNormalization::new().scale(false))
        .add(RMSNormalization::new())
        .add(Dropout::new(0.2))
        .add(Flatten::new())
        .add(Dense::new(2))
}

/// Loads Keras's file and predicts as Keras does; then every kind of file brings the weights to another model.
fn check(name: &str, ending: &str, make: impl Fn() -> Result<Model>) -> Result<()> {
    let text = std::fs::read_to_string(path(&format!("{name}.json"))).expect("the fixture");
    let case: Case = serde_json::from_str(&text).expect("the fixture's numbers");
    let mut model = make()?;
    model.load_weights(path(&format!("{name}{ending}")))?;
    let sample: usize = model.input_shape().elements();
    let shape = [&[case.x.len() / sample], &model.input_shape()[..]].concat();
    let x = Tensor::from_vec(case.x.clone(), shape);
    let far = |model: &mut Model| -> Result<f32> {
        let y = model.predict(&x)?.to_vec::<f32>()?;
        assert_eq!(y.len(), case.y.len());
        Ok(y.iter().zip(&case.y).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max))
    };
    let distance = far(&mut model)?;
    assert!(distance < 1e-5, "{name}{ending}: {distance}");
    for ending in ["weights.h5", "h5", "npz", "safetensors"] {
        let file = Temporary::new(&format!("{name}.{ending}"));
        model.save_weights(&file.0)?;
        let mut other = make()?;
        assert!(far(&mut other)? > 1e-3);
        other.load_weights(&file.0)?;
        let (a, b): (Vec<Data>, Vec<Data>) = (model.get_weights()?, other.get_weights()?);
        assert!(a == b, "{name}.{ending}");
    }
    Ok(())
}

#[test]
fn weights_of_recurrent_layers() -> Result<()> {
    check("recurrent", ".weights.h5", || Ok(recurrent()))
}

#[test]
fn weights_of_models_in_models() -> Result<()> {
    check("nested", ".weights.h5", nested)
}

#[test]
fn weights_of_models_in_models_as_keras_2_has_them() -> Result<()> {
    check("nested", ".h5", nested)
}

#[test]
fn weights_of_convolutions() -> Result<()> {
    check("space", ".weights.h5", || Ok(space()))
}

#[test]
fn weights_of_other_models_are_refused() {
    let mut model = Sequential::new([6, 6, 3])
        .add(SeparableConv2D::new(5, 3).padding(Padding::Same).depth_multiplier(2))
        .add(Flatten::new())
        .add(Dense::new(2));
    let before = model.get_weights().expect("weights");
    let error = |model: &mut Model, name: &str| model.load_weights(path(name)).expect_err(name).to_string();
    for (file, words) in [
        ("space.weights.h5", ["batch_normalization", "no layer of this model"]),
        ("recurrent.weights.h5", ["layers/separable_conv2d/vars/0", "no such layer"]),
        ("nested.h5", ["weights of 7 layers", "this model of 2"]),
        ("none.h5", ["none.h5", "check the path"]),
        ("space.json", ["space.json", "no file of weights"]),
    ] {
        let error = error(&mut model, file);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let mut wider = recurrent();
    wider = Sequential::new([5, 3]).add(Dense::new(wider.output_shape()[0]));
    let mut narrow = Sequential::new([5, 3]).add(Dense::new(3));
    let file = Temporary::new("mismatch.weights.h5");
    wider.save_weights(&file.0).expect("a file");
    let error = narrow.load_weights(&file.0).expect_err("another shape").to_string();
    for word in ["layer dense (Dense)", "kernel", "(3, 3)", "(3, 2)", "layers/dense/vars/0"] {
        assert!(error.contains(word), "{error}");
    }
    assert!(model.get_weights().expect("weights") == before, "a refused file changed weights");
    let error = model.save_weights("weights.txt").expect_err("an unknown ending").to_string();
    assert!(error.contains(".weights.h5"), "{error}");
}

#[test]
fn checkpoints_of_weights_alone() -> Result<()> {
    let make = || Sequential::new([3]).add(Dense::new(2));
    let mut model = make();
    model.compile(SGD::new(0.1), MeanSquaredError::new(), [metrics::MeanSquaredError::new()])?;
    let (x, y) = (Tensor::rand([8, 3], 1), Tensor::rand([8, 2], 2));
    let file = Temporary::new("checkpoint.weights.h5");
    let checkpoint = ModelCheckpoint::new(file.0.to_string_lossy()).save_weights_only(true);
    model.fit((&x, &y), Fit::epochs(1).verbose(0).callback(checkpoint))?;
    let mut other = make();
    other.load_weights(&file.0)?;
    assert!(model.get_weights()? == other.get_weights()?);
    Ok(())
}
