//! The whole text of what a user reads after a mistake in a model: the layer, the shapes, the line.

use crate::common::Folder;
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
        (None, 4); a recurrent layer before it gives them with return_sequences(true), else a Reshape layer can add an axis");
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
    let model = row().add(MaxPooling1D::new(4)).add(GlobalMaxPooling1D::new());
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

#[test]
#[rustfmt::skip]
fn sizes_and_rates_out_of_their_domain() {
    let images = || Sequential::new([8, 8, 4]);
    reads(built(Sequential::new([4]).add(Dense::new(0))), "layer dense (Dense) for input (None, 4): units is 0, it must be at least 1");
    reads(built(images().add(Conv2D::new(0, 3))), "layer conv2d (Conv2D) for input (None, 8, 8, 4): filters is 0, it must be at least 1");
    reads(built(images().add(Conv2D::new(2, 3).groups(0))), "layer conv2d (Conv2D) for input (None, 8, 8, 4): groups is 0, it must be at least 1");
    reads(built(images().add(Conv2D::new(6, 3).groups(4))), "layer conv2d (Conv2D) for input (None, 8, 8, 4): 4 groups must divide 4 input channels and 6 \
        filters");
    reads(built(Sequential::new([4]).add(Embedding::new(0, 3))), "layer embedding (Embedding) for input (None, 4): input_dim is 0, it must be at least 1");
    reads(built(Sequential::new([4]).add(Embedding::new(3, 0))), "layer embedding (Embedding) for input (None, 4): output_dim is 0, it must be at least 1");
    reads(built(Sequential::new([4]).add(RepeatVector::new(0))), "layer repeat_vector (RepeatVector) for input (None, 4): n is 0, it must be at least 1");
    let mut model = Sequential::new([4]).add(Dense::new(1));
    reads(model.compile(Adam::new(-1.0), MeanSquaredError::new(), ()), "optimizer Adam: learning_rate is -1, it must be a number that is not negative; to \
        climb, train on the negative loss");
    reads(model.compile(SGD::new(f32::NAN), MeanSquaredError::new(), ()), "optimizer SGD: learning_rate is NaN, it must be a number that is not negative; to \
        climb, train on the negative loss");
}

#[test]
#[rustfmt::skip]
fn files_that_are_no_models() -> Result<()> {
    let folder = Folder::new("no-models");
    let loaded = |name: &str, bytes: &[u8]| {
        let path = folder.0.join(name);
        std::fs::write(&path, bytes).expect("a file");
        let text = Model::load(&path).map(drop).expect_err("no model").to_string();
        text.replace(&path.display().to_string(), "FILE")
    };
    let no_model = "can not load FILE: the file is no model: neither of Ibex (.safetensors) nor .keras, .h5 or .json; or its beginning is damaged";
    assert_eq!(loaded("junk.keras", b"junk"), no_model);
    assert_eq!(loaded("long.keras", &[b'x'; 1000]), no_model);
    assert_eq!(loaded("empty.keras", b""), "can not load FILE: the file is empty");
    let missing = Model::load(folder.0.join("none.keras")).map(drop).expect_err("no file").to_string();
    assert_eq!(missing.matches("none.keras").count(), 1, "{missing}");
    let mut model = Sequential::new([4]).add(Dense::new(1));
    let whole = ibex::core::backend::block_on(model.to_bytes())?;
    let cut = "can not load FILE: the file is damaged: it is shorter or longer than its beginning says; use a good copy";
    assert_eq!(loaded("cut.safetensors", &whole[..whole.len() - 9]), cut);
    assert_eq!(loaded("cut.safetensors", &whole[..30]), cut);
    let weights = |model: &mut Model, name: &str| -> Result<String> {
        let path = folder.0.join(name);
        model.save_weights(&path)?;
        Ok(loaded(name, &std::fs::read(&path).expect("weights")))
    };
    let advice = "weights, but no model; make the model, then call `load_weights`";
    assert_eq!(weights(&mut model, "w.weights.h5")?, format!("can not load FILE: the file holds {advice}"));
    assert_eq!(weights(&mut model, "w.safetensors")?, format!("can not load FILE: the file holds {advice}"));
    assert_eq!(weights(&mut model, "w.npz")?, format!("can not read FILE: the file is an .npz of arrays: {advice}"));
    Ok(())
}

#[test]
#[rustfmt::skip]
fn layers_that_are_not_here() {
    let text = |class: &str| layers::from_config(class, Config::new()).map(drop).expect_err("not there").to_string();
    assert_eq!(text("ConvLSTM2D"), "Ibex does not have Keras's layer ConvLSTM2D; build the model without it, or write it in Rust and call \
        `ibex::layers::register::<MyConvLSTM2D>(\"ConvLSTM2D\")` before loading");
    assert_eq!(text("TextVectorization"), "Ibex has no layer TextVectorization in models, which take numbers; prepare text by \
        `ibex::data::TextVectorization`, and give the model what that makes of it");
    assert_eq!(text("Mine"), "unknown layer class \"Mine\"; if it is your own, call `ibex::layers::register::<Mine>(\"Mine\")` before loading");
}

#[test]
fn names_of_values() -> Result<()> {
    let (x, y) = points(10);
    let mut model = Sequential::new([4]).add(Dense::new(2));
    model.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    let panics = |index: &dyn Fn()| {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(index)).expect_err("a panic");
        panic.downcast_ref::<String>().cloned().expect("a text")
    };
    let history = model.fit((&x, &y), Fit::epochs(1).verbose(0))?;
    let scores = model.evaluate((&x, &y), 10)?;
    let known = "there are: accuracy, loss";
    assert_eq!(panics(&|| assert!(scores["acc"] >= 0.0)), format!("there is no value \"acc\"; {known}"));
    assert_eq!(panics(&|| drop(history["lossy"].to_vec())), format!("there is no value \"lossy\"; {known}"));
    assert_eq!((history.get("lossy"), history.get("loss").map(<[f64]>::len)), (None, Some(1)));
    assert_eq!((&scores).into_iter().count(), scores.len());
    reads(x.to_vec::<i32>(), "the tensor holds f32, not i32; cast it first");
    reads(x.item::<f32>(), "item: shape (10, 4) does not have exactly one element");
    Ok(())
}
