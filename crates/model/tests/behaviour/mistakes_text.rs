//! The whole text of what a user reads after a mistake in a model: the layer, the shapes, the line.

use crate::points;
use ibex::prelude::*;
use ibex::{Error, Result, layers};

/// The text of an error that was made on the line of the call.
#[track_caller]
fn reads(result: Result<impl Sized>, text: &str) {
    let error: Error = result.map(drop).expect_err("an error");
    let here = std::panic::Location::caller();
    let place = format!(" (at {}:{}:", here.file(), here.line());
    let shown = error.to_string();
    let (message, rest) = shown.split_once(&place).unwrap_or_else(|| panic!("not at {place}: {shown}"));
    assert_eq!(message, text);
    assert!(rest.trim_end_matches(')').parse::<u32>().is_ok(), "{shown}");
}

/// The first mistake of a model.
fn built(model: Model) -> Result<()> {
    model.check()
}

#[test]
#[rustfmt::skip]
fn inputs_that_a_layer_does_not_take() {
    let row = || Sequential::new([4]);
    reads(built(row().add(Conv2D::new(8, 3))), "layer conv2d (Conv2D) for input (None, 4): takes images (batch, height, width, channels), got input \
        (None, 4); a Reshape layer before it can add an axis");
    reads(built(row().add(LSTM::new(8).named("reader"))), "layer reader (LSTM) for input (None, 4): takes sequences (batch, steps, features), got input \
        (None, 4)");
    reads(built(row().add(Reshape::new([3]))), "layer reshape (Reshape) for input (None, 4): 4 elements do not fill target shape [3]");
    reads(built(Sequential::new([10, 10, 3]).add(MaxPooling2D::new(20))), "layer max_pooling2d (MaxPooling2D) for input (None, 10, 10, 3): max_pool of \
        (None, 10, 10, 3): a window that reaches over 20 elements does not fit an input of length 10; use a smaller window or 'same' padding");
    let (a, b) = (Input::new([4]), Input::new([5]));
    reads(Model::new([&a, &b], &a + &b), "layer operator (Operator) for inputs (None, 4), (None, 5): add: shapes (None, 4) and (None, 5) do not broadcast");
    reads(Model::new([&a, &b], Dot::new(1).apply([&a, &b])), "layer dot (Dot) for inputs (None, 4), (None, 5): inputs (None, 4) and (None, 5) have no axes \
        [1, 1] of one length; the batch axis 0 can not be one");
    let inner = row().add(Dense::new(3));
    reads(Model::new(&b, inner.apply(&b)), "layer sequential (Sequential) for input (None, 5): the model inside takes (None, 4)");
    // A number of the user's own stays, also where it is the length of a probe.
    reads(built(Sequential::new([2]).add(Reshape::new([3]))), "layer reshape (Reshape) for input (None, 2): 2 elements do not fill target shape [3]");
}

#[test]
#[rustfmt::skip]
fn inputs_of_any_length_that_a_layer_does_not_take() {
    let row = || Sequential::new((None, 4));
    reads(built(row().add(Conv2D::new(8, 3))), "layer conv2d (Conv2D) for input (None, None, 4): takes images (batch, height, width, channels), got input \
        (None, None, 4); a Reshape layer before it can add an axis");
    let flat = row().add(Flatten::new());
    reads(built(flat.add(Dense::new(3))), "layer dense (Dense) for input (None, None): its weight kernel would have the shape (None, 3), so the length of that \
        axis can not be None: give it");
    reads(built(row().add(Reshape::new([20]))), "layer reshape (Reshape) for input (None, None, 4): None elements do not fill target shape [20]");
    let mut model = row().add(MaxPooling1D::new(4)).add(GlobalMaxPooling1D::new());
    reads(model.predict(&Tensor::zeros([10, 8, 3], DType::F32)), "predict: inputs have shape (10, 8, 3), the model takes (None, None, 4)");
}

#[test]
#[rustfmt::skip]
fn equations_that_say_nothing() {
    let says = |layer: EinsumDense, text: &str| {
        let error = built(Sequential::new([3, 4]).add(layer)).expect_err("no equation").to_string();
        let (message, _) = error.split_once(" (at ").expect("a place");
        assert_eq!(message, format!("layer einsum_dense (EinsumDense) for input (None, 3, 4): {text}"));
    };
    let form = "must have the form \"ab,bc->ac\", \"...b,bc->...c\" or \"ab...,bc->ac...\", each letter once in a part";
    for equation in ["abc,cd", "abc->abc", "abb,bc->ac", "...c,cd->d", "a1c,cd->ad", ",->", "...abc...,cd->...abd..."] {
        says(EinsumDense::new(equation, 5), &format!("equation {equation:?} {form}"));
    }
    says(EinsumDense::new("ab,bc->ac", 5), "equation \"ab,bc->ac\" does not fit input (None, 3, 4): its first part must name each axis, the batch too");
    says(EinsumDense::new("abc,cd->abd", 5), "output shape (5,) must have 2 lengths, those of bd in equation \"abc,cd->abd\"");
    says(EinsumDense::new("abc,cd->abd", [2, 5]), "axis b of equation \"abc,cd->abd\" is 3 in the input, 2 in the output shape");
    says(EinsumDense::new("abc,cd->abd", (3, None)), "axis d of equation \"abc,cd->abd\" is not in the input, so the output shape must say its length");
    says(EinsumDense::new("abc,ce->abd", [3, 5]), "axis e of the kernel is neither in the input nor in the output of equation \"abc,ce->abd\"");
    says(EinsumDense::new("abc,c->abd", [3, 5]), "axis d of the output is neither in the input nor in the kernel of equation \"abc,c->abd\"");
    says(EinsumDense::new("abc,cd->abd", (None, 5)).bias_axes("c"), "bias axis c is not in the output of equation \"abc,cd->abd\"");
    let any = Sequential::new((None, 4)).add(EinsumDense::new("abc,cd->abd", (None, 5)).bias_axes("d"));
    assert_eq!(any.output_shape(), &Shape::from((None, 5)));
}

#[test]
fn names_of_activations() {
    // In a program a wrong name of an activation does not compile; where names come from text, they are checked.
    let known = "linear, relu, sigmoid, tanh, softmax, log_softmax, elu, selu, gelu, silu, softplus, softsign, exponential, leaky_relu, hard_sigmoid, \
        relu6, mish, hard_silu, log_sigmoid, celu, glu, hard_tanh, hard_shrink, soft_shrink, tanh_shrink, sparse_plus, sparse_sigmoid, sparsemax, \
        squareplus";
    let text = |e: Error| e.to_string();
    let wrong = format!("unknown activation \"rleu\"; known are {known}");
    assert_eq!("rleu".parse::<Activation>().map_err(text), Err(wrong.clone()));
    let config = config::save(&std::collections::BTreeMap::from([("activation", "rleu")])).expect("a configuration");
    let loaded = layers::from_config("Dense", config).map(drop).map_err(text);
    assert_eq!(loaded, Err(wrong));
}

#[test]
#[rustfmt::skip]
fn losses_and_outputs_that_disagree() -> Result<()> {
    let (x, y) = points(10);
    let fit = || Fit::epochs(1).verbose(0);
    let floats = |value: f64, shape: &[usize]| Tensor::full(shape, value, DType::F32);
    let mut model = Sequential::new([4]).add(Dense::new(3)).add(Dense::new(2).named("kind"));
    reads(model.compile(SGD::new(0.1), (MeanSquaredError::new(), Huber::new()), ()), "compile: got 2 losses for 1 outputs (kind); give one for all, or one \
        for each");
    model.compile(SGD::new(0.1), MeanSquaredError::new(), ())?;
    reads(model.fit((&x, &floats(0.0, &[10, 3])), fit()), "loss MeanSquaredError of output kind: mean_squared_error: targets (10, 3) do not fit predictions \
        (10, 2)");
    model.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), ())?;
    let loss = "loss SparseCategoricalCrossentropy of output kind";
    reads(model.fit((&x, &Tensor::full([10], 7.0, DType::I32)), fit()), &format!("fit: y: {loss}: label 7 at position 0 is out of range: the model has 2 \
        classes, so labels are 0 to 1"));
    reads(model.evaluate((&x, &floats(0.5, &[10])), 4), &format!("evaluate: y: {loss}: labels must be integers from 0 to 1, the numbers of the 2 classes; \
        these are f32, 0.5 at position 0; for a probability of each class use CategoricalCrossentropy"));
    reads(model.train_on_batch((&x, &floats(0.0, &[10, 2]))), &format!("{loss}: sparse_categorical_crossentropy: labels (10, 2) do not fit predictions \
        (10, 2): need one label for each row of classes; for one-hot targets use CategoricalCrossentropy"));
    reads(model.fit((&floats(0.0, &[10, 3]), &y), fit()), "fit: inputs have shape (10, 3), the model takes (None, 4)");
    reads(model.predict(Predict::new(&x).batch_size(0)), "predict: batch_size must be at least 1");
    reads(model.predict(&floats(0.0, &[10, 3])), "predict: inputs have shape (10, 3), the model takes (None, 4)");
    // Whole numbers are labels in any type, as in Keras.
    model.fit((&x, &y.cast(DType::F32).eval()?), fit())?;
    Ok(())
}
