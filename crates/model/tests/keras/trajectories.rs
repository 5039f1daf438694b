//! Training steps of models beside Keras's, from the same weights on the same batches: the loss of every step, and the weights at the end.

use crate::common::{TRAINING_TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, cases};
use ibex::prelude::*;
use ibex::{Result, losses, optimizers};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    optimizer: String,
    config: Config,
    losses: Vec<String>,
    initial_weights: Vec<Array>,
    batches: Vec<Batch>,
    /// The loss of every step; the batches come in turns.
    values: Vec<f64>,
    final_weights: Vec<Array>,
    /// Of the layers, with the batch, as Keras writes them.
    #[serde(default)]
    shapes: Vec<String>,
}

#[derive(Deserialize)]
struct Batch {
    inputs: Vec<Array>,
    targets: Vec<Array>,
}

/// The models of generate_trajectories.py and generate_lengths.py.
fn model(name: &str) -> Result<Model> {
    match name {
        "mlp" => {
            let i = Input::new([6]);
            let x = Dense::new(8).activation(Tanh).apply(Dense::new(8).activation(Relu).apply(&i));
            Model::new(&i, Dense::new(1).apply(&x))
        }
        "cnn" => {
            let i = Input::new([8, 8, 2]);
            let x = BatchNormalization::new().apply(Conv2D::new(4, 3).padding(Padding::Same).apply(&i));
            let x = MaxPooling2D::new(2).apply(Relu.apply(&x));
            let x = BatchNormalization::new().momentum(0.9).apply(Conv2D::new(6, 3).strides(2).apply(&x));
            Model::new(&i, Dense::new(3).activation(Softmax).apply(Flatten::new().apply(&x)))
        }
        "lstm" => {
            let i = Input::with_dtype([7], DType::I32);
            let x = LSTM::new(5).apply(Embedding::new(12, 4).mask_zero(true).apply(&i));
            Model::new(&i, Dense::new(1).activation(Sigmoid).apply(&x))
        }
        "gru" => {
            let i = Input::new([6, 3]);
            let x = GRU::new(4).return_sequences(true).apply(&i);
            Model::new(&i, Dense::new(2).apply(GRU::new(5).apply(&x)))
        }
        "residual" => {
            let (a, b) = (Input::new([4, 4, 3]), Input::new([5]));
            let shared = Conv2D::new(3, 3).padding(Padding::Same).activation(Relu).shared();
            let x = Add::new().apply([&a, &shared.apply(shared.apply(&a))]);
            let x = GlobalAveragePooling2D::new().apply(&x);
            let x = Concatenate::new().apply([&x, &Dense::new(4).activation(Relu).apply(&b)]);
            let kind = Dense::new(3).activation(Softmax).named("kind").apply(&x);
            Model::new([&a, &b], [&kind, &Dense::new(1).named("size").apply(&x)])
        }
        "attention" => {
            let i = Input::new([5, 8]);
            let x = LayerNormalization::new().apply(&(&i + MultiHeadAttention::new(2, 4).apply([&i, &i])));
            let wide = Dense::new(12).activation(Gelu).apply(&x);
            let x = LayerNormalization::new().apply(&(&x + Dense::new(8).apply(&wide)));
            Model::new(&i, Dense::new(3).activation(Softmax).apply(GlobalAveragePooling1D::new().apply(&x)))
        }
        "tokens" => {
            let i = Input::with_dtype((None,), DType::I32);
            let x = Embedding::new(12, 4).mask_zero(true).apply(&i);
            let x = GRU::new(4).apply(Bidirectional::new(LSTM::new(3).return_sequences(true)).apply(&x));
            Model::new(&i, Dense::new(1).activation(Sigmoid).apply(&x))
        }
        "signal" => {
            let i = Input::new((None, 3));
            let x = MaxPooling1D::new(2).apply(Conv1D::new(4, 3).activation(Relu).apply(&i));
            let x = TimeDistributed::new(Dense::new(5).activation(Tanh)).apply(&x);
            let x = SimpleRNN::new(4).return_sequences(true).apply(&x);
            Model::new(&i, Dense::new(2).apply(GlobalAveragePooling1D::new().apply(&x)))
        }
        "steps" => {
            let i = Input::new((None, 4));
            let x = LayerNormalization::new().apply(&(&i + MultiHeadAttention::new(2, 3).apply([&i, &i])));
            Model::new(&i, Dense::new(3).activation(Softmax).apply(&x))
        }
        "pair" => {
            let (a, b) = (Input::new((None, 4)), Input::new((None, 4)));
            let x = Concatenate::new().axis(1).apply([&Attention::new().apply([&a, &b]), &b]);
            Model::new([&a, &b], Dense::new(1).apply(GlobalMaxPooling1D::new().apply(&x)))
        }
        "image" => {
            let i = Input::new((None, None, 2));
            let x = UpSampling2D::new(2).apply(Conv2D::new(3, 3).strides(2).padding(Padding::Same).apply(&i));
            let x = Reshape::new([-1, 3]).apply(ZeroPadding2D::new(1).apply(&x));
            Model::new(&i, Dense::new(2).apply(GlobalMaxPooling1D::new().apply(&x)))
        }
        other => panic!("unknown model {other}"),
    }
}

fn tensors(arrays: &[Array]) -> Vec<Tensor> {
    arrays.iter().map(Array::tensor).collect()
}

#[test]
fn losses_follow_keras_step_by_step() {
    every_case(&cases("trajectories.json"), |case: &Case| &case.name, check);
}

#[test]
fn batches_of_any_length_follow_keras() {
    every_case(&cases("lengths.json"), |case: &Case| &case.name, check);
}

fn check(case: &Case, device: &Device) -> Result<()> {
    let mut model = model(&case.name)?.on(device);
    if !case.shapes.is_empty() {
        let shape = |node: &ibex::Node| Shape::from([&[Shape::ANY], &node.output().shape()[..]].concat()).to_string();
        // Keras does not count an operator as a layer.
        let layers = model.layers().iter().filter(|n| n.layer().class_name() != "Operator");
        assert_eq!(layers.map(shape).collect::<Vec<_>>(), case.shapes);
    }
    let optimizer = optimizers::from_config(&case.optimizer, case.config.clone())?;
    let each = case.losses.iter().map(|name| losses::from_config(name, Config::new())).collect::<Result<Vec<_>>>()?;
    model.compile(optimizer, each, ())?;
    model.set_weights(&case.initial_weights.iter().map(Array::numbers).collect::<Vec<_>>())?;
    let mut values = Vec::new();
    for step in 0..case.values.len() {
        let batch = &case.batches[step % case.batches.len()];
        let logs = model.train_on_batch((tensors(&batch.inputs), tensors(&batch.targets)))?;
        values.push(logs["loss"]);
    }
    assert_close(&format!("{}: loss", case.name), &values, &case.values, TRAINING_TOLERANCE);
    for ((got, want), weight) in model.get_weights()?.iter().zip(&case.final_weights).zip(model.weights()) {
        let what = format!("{}: {}", case.name, weight.variable.name());
        // The same number for all keys changes no softmax: its gradient is rounding noise, which Adam makes large.
        if what.ends_with("key/bias") {
            continue;
        }
        assert_close(&what, &got.to_f64(), &want.data, TRAINING_TOLERANCE);
    }
    Ok(())
}
