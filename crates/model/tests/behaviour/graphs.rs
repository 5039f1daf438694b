//! Models of any shape: symbolic tensors, shared layers, several inputs and outputs, models inside of models.

use crate::common::devices;
use ibex::prelude::*;
use ibex::{Error, Result};

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

fn message<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn a_layer_applied_twice_shares_its_weights() -> Result<()> {
    for device in devices() {
        let (a, b) = (Input::new([3]), Input::new([3]).named("other"));
        let encode = Dense::new(4).named("encode");
        let difference = &encode.apply(&a) - &encode.apply(&b);
        let mut model = Model::new([&a, &b], &difference)?.on(&device);
        assert_eq!(model.count_params(), 16);
        assert_eq!(model.input_names(), ["input_layer", "other"]);
        let x = Tensor::rand([5, 3], 1);
        let zero = model.predict([&x, &x])?;
        assert!(device.to_vec::<f32>(&zero)?.iter().all(|v| *v == 0.0));
        // One gradient for both places: equal inputs and targets of zero leave the weights as they are.
        model.compile(SGD::new(0.5), MeanSquaredError::new(), ())?;
        let before = model.get_weights()?;
        model.fit(([&x, &x], &Tensor::zeros([5, 4], DType::F32)), Fit::epochs(2).verbose(0))?;
        assert_eq!(before, model.get_weights()?);
    }
    Ok(())
}

#[test]
fn arithmetic_on_symbolic_tensors() -> Result<()> {
    for device in devices() {
        let (a, b) = (Input::new([2]), Input::new([2]));
        let y = (1.0 - &a) * 2.0 + &a / &b - 0.5;
        let model = Model::new([&a, &b], &y)?.on(&device);
        let (x, z) =
            (Tensor::from_vec(vec![1f32, 2.0, 3.0, 4.0], [2, 2]), Tensor::from_vec(vec![2f32, 4.0, 5.0, 8.0], [2, 2]));
        let got = device.to_vec::<f32>(&model.predict([&x, &z])?)?;
        assert!(close(&got, &[0.0, -2.0, -3.9, -6.0]), "{got:?}");
    }
    Ok(())
}

/// Two outputs with losses and metrics of their own; the file brings all of it back, training state included.
#[test]
fn several_outputs_train_and_come_back_from_a_file() -> Result<()> {
    for device in devices() {
        let (image, number) = (Input::new([4, 4, 1]).named("image"), Input::new([2]).named("number"));
        let x = Flatten::new().apply(Conv2D::new(3, 2).activation(Relu).apply(&image));
        let x = Concatenate::new().apply([&x, &number]);
        let kind = Dense::new(3).named("kind").apply(&x);
        let size = Dense::new(1).named("size").apply(&x);
        let mut model = Model::new([&image, &number], [&kind, &size])?.on(&device).seed(3);
        let losses = (SparseCategoricalCrossentropy::from_logits(), MeanSquaredError::new().weighted(0.25));
        model.compile(Adam::new(0.01), losses, [RootMeanSquaredError::new().of("size")])?;
        let inputs = (Tensor::rand([12, 4, 4, 1], 0), Tensor::rand([12, 2], 1));
        let labels = Tensor::from_vec((0..12).map(|i| i % 3).collect::<Vec<i32>>(), [12]);
        let data = || ([&inputs.0, &inputs.1], [&labels, &inputs.1.narrow(1, 0, 1)].map(Clone::clone).to_vec());
        let (x, y) = data();
        let history = model.fit((x, y), Fit::epochs(2).batch_size(5).verbose(0))?;
        let logs = |h: &History| h.history.keys().cloned().collect::<Vec<_>>();
        assert_eq!(logs(&history), ["kind_loss", "loss", "size_loss", "size_root_mean_squared_error"]);
        let (loss, kind, size) = (history.last("loss"), history.last("kind_loss"), history.last("size_loss"));
        // As in Keras 3.15, the losses of outputs are shown without their weights.
        assert!((loss.unwrap() - kind.unwrap() - 0.25 * size.unwrap()).abs() < 1e-5, "{loss:?} {kind:?} {size:?}");

        let bytes = ibex::core::backend::block_on(model.to_bytes())?;
        let mut loaded = Model::from_bytes(&bytes)?.on(&device);
        assert_eq!(loaded.summary(), model.summary());
        assert_eq!(loaded.output_names(), ["kind", "size"]);
        let (x, y) = data();
        let (a, b) = (model.train_on_batch((x, y))?, {
            let (x, y) = data();
            loaded.train_on_batch((x, y))?
        });
        assert_eq!(a, b);
        assert_eq!(model.get_weights()?, loaded.get_weights()?);
    }
    Ok(())
}

/// A trained model as a layer: weights are shared, frozen ones stay, and the whole can be saved.
#[test]
fn a_frozen_model_inside_of_another() -> Result<()> {
    for device in devices() {
        let mut base = Sequential::new([6])
            .named("base")
            .on(&device)
            .add(Dense::new(5).activation(Relu))
            .add(BatchNormalization::new())
            .add(Dense::new(4));
        base.compile(Adam::new(0.01), MeanSquaredError::new(), ())?;
        let (x, y) = (Tensor::rand([16, 6], 0), Tensor::rand([16, 4], 1));
        base.fit((&x, &y), Fit::epochs(1).verbose(0))?;

        base.set_trainable(false);
        let input = Input::new([6]);
        let output = Dense::new(1).named("head").apply(base.apply(&input));
        let mut model = Model::new(&input, &output)?.on(&device);
        model.compile(Adam::new(0.05), MeanSquaredError::new(), ())?;
        let frozen = base.get_weights()?;
        let target = Tensor::rand([16, 1], 2);
        model.fit((&x, &target), Fit::epochs(2).verbose(0))?;
        assert_eq!(base.get_weights()?, frozen, "a frozen model changed, or its moving averages did");
        assert_eq!(model.weights().filter(|w| w.trainable()).count(), 2);

        // Thawed and compiled anew, it learns, and the model that it came from with it.
        base.set_trainable(true);
        model.compile(Adam::new(0.05), MeanSquaredError::new(), ())?;
        model.fit((&x, &target), Fit::epochs(1).verbose(0))?;
        assert_ne!(base.get_weights()?, frozen);

        let bytes = ibex::core::backend::block_on(model.to_bytes())?;
        let loaded = Model::from_bytes(&bytes)?.on(&device);
        let (a, b) = (model.predict(&x)?, loaded.predict(&x)?);
        assert_eq!(device.to_vec::<f32>(&a)?, device.to_vec::<f32>(&b)?);
        assert!(loaded.weights().next().is_some_and(|w| w.name() == "dense/kernel"));
    }
    Ok(())
}

/// The output of a layer in the middle is the output of a model.
#[test]
fn features_from_the_middle() -> Result<()> {
    let model = Sequential::new([3]).add(Dense::new(4).activation(Tanh).named("code")).add(Dense::new(2));
    let encoder = Model::new(model.inputs(), model.get_layer("code")?.output())?;
    let x = Tensor::rand([2, 3], 0);
    let code = encoder.predict(&x)?;
    assert_eq!(code.shape()[..], [2, 4]);
    model.predict(&x)?;
    assert!(message(model.get_layer("cod").map(drop)).contains("code"));
    Ok(())
}

#[test]
fn weights_of_samples_and_classes() -> Result<()> {
    for device in devices() {
        let model = || -> Result<Model> {
            let mut model = Sequential::new([2]).on(&device).add(Dense::new(3).activation(Softmax));
            model.compile(
                SGD::new(0.1),
                SparseCategoricalCrossentropy::new(),
                (Accuracy::new(), Accuracy::new().weighted()),
            )?;
            Ok(model)
        };
        let x = Tensor::rand([6, 2], 0);
        let y = Tensor::from_vec(vec![0, 1, 2, 0, 1, 1], [6]);
        let w = Tensor::from_vec(vec![1.0f32, 3.0, 0.5, 1.0, 3.0, 3.0], [6]);
        let (mut a, mut b) = (model()?, model()?);
        let by_sample = a.fit((&x, &y, &w), Fit::epochs(3).verbose(0))?;
        let by_class = b.fit((&x, &y), Fit::epochs(3).class_weight([(1, 3.0), (2, 0.5)]).verbose(0))?;
        assert_eq!(by_sample.history, by_class.history);
        assert_eq!(a.get_weights()?, b.get_weights()?);
        // Targets that nobody has computed yet.
        let (mut c, mut d) = (model()?, model()?);
        let (lazy, weights) = (Tensor::arange(6) % 3, [(1, 3.0), (2, 0.5)]);
        c.fit((&x, &lazy), Fit::epochs(2).class_weight(weights).verbose(0))?;
        d.fit((&x, &device.eval(&[lazy])?[0]), Fit::epochs(2).class_weight(weights).verbose(0))?;
        assert_eq!(c.get_weights()?, d.get_weights()?);
        let twice = b.fit((&x, &y, &w), Fit::epochs(1).class_weight([(1, 3.0)]).verbose(0));
        assert!(message(twice).contains("both"));
        let misfit = b.fit((&x, &y, &w.reshape([3, 2])), Fit::epochs(1).verbose(0));
        assert!(message(misfit).contains("sample_weight has 3"));
    }
    Ok(())
}

/// Batches from an iterator give what the same rows in arrays give, drawn ahead or not.
#[test]
fn batches_from_an_iterator() -> Result<()> {
    for device in devices() {
        let model = || -> Result<Model> {
            let mut model = Sequential::new([3]).on(&device).add(Dense::new(1));
            model.compile(Adam::new(0.01), MeanSquaredError::new(), ())?;
            Ok(model)
        };
        let host = |t: Tensor| -> Result<Tensor> { Ok(Tensor::from_data(device.read_now(&t)?, t.shape())) };
        let (x, y) = (host(Tensor::rand([10, 3], 0))?, host(Tensor::rand([10, 1], 1))?);
        let (a, b) = (x.clone(), y.clone());
        let batches = move || {
            let (a, b) = (a.clone(), b.clone());
            (0..3).map(move |i| {
                let len = if i == 2 { 2 } else { 4 };
                Examples::new(&a.narrow(0, 4 * i, len), &b.narrow(0, 4 * i, len))
            })
        };
        let (mut one, mut two, mut three) = (model()?, model()?, model()?);
        let fit = || Fit::epochs(3).batch_size(4).shuffle(false).verbose(0);
        let from_arrays = one.fit((&x, &y), fit().validation((&x, &y)))?;
        let from_batches = two.fit(Batches::new(batches.clone()), fit().validation(Batches::new(batches.clone())))?;
        assert_eq!(from_arrays, from_batches);
        assert_eq!(one.get_weights()?, two.get_weights()?);
        // Epochs of two steps: the second goes on with the third batch.
        let ahead = three.fit(Batches::new(batches).prefetch(2), fit().steps_per_epoch(2))?;
        assert_eq!(ahead.steps, 2);
        let failing = Batches::new(|| [Err(Error::value("the disk is gone"))]).prefetch(1);
        assert!(message(three.fit(failing, fit())).contains("the disk is gone"));
        assert!(message(three.fit(Batches::new(Vec::new), fit())).contains("no batches"));
    }
    Ok(())
}

#[test]
fn mistakes_name_the_layer_the_shapes_and_the_line() -> Result<()> {
    let (a, b) = (Input::new([3]), Input::new([4]));
    let line = line!() + 1;
    let bad = Add::new().named("sum").apply([&Dense::new(2).apply(&a), &b]);
    let text = message(Model::new([&a, &b], Dense::new(1).apply(&bad)));
    for part in ["sum", "Add", "(None, 2)", "(None, 4)", &format!("graphs.rs:{line}")] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    let missing = message(Model::new(&a, Concatenate::new().apply([&a, &b])));
    assert!(missing.contains("not among the model's inputs"), "{missing}");
    let twice = [Dense::new(2).named("d").apply(&a), Dense::new(2).named("d").apply(&a)];
    assert!(message(Model::new(&a, twice)).contains("two layers are named \"d\""));
    let mut model =
        Model::new([&a, &b], [&Dense::new(2).apply(&a), &Dense::new(2).apply(&b), &Dense::new(2).apply(&b)])?;
    let losses = (MeanSquaredError::new(), MeanSquaredError::new());
    assert!(message(model.compile(SGD::new(0.1), losses, ())).contains("got 2 losses for 3 outputs"));
    model.compile(SGD::new(0.1), MeanSquaredError::new(), ())?;
    let x = Tensor::rand([2, 3], 0);
    assert!(message(model.fit((&x, &x), Fit::epochs(1))).contains("got 1 inputs, the model takes 2"));
    assert!(message(model.predict([&x, &Tensor::rand([2, 4], 0)])).contains("predict_all"));
    let other = message(model.predict_all([&x, &x]));
    assert!(other.contains("input_layer_1") && other.contains("(None, 4)"), "{other}");
    Ok(())
}

/// A seed draws the weights of models inside too.
#[test]
fn seeds_reach_models_inside() -> Result<()> {
    let make = |seed: u64| -> Result<Vec<ibex::Data>> {
        let inner = Sequential::new([3]).add(Dense::new(4));
        let x = Input::new([3]);
        let model = Model::new(&x, Dense::new(2).apply(inner.apply(&x)))?.seed(seed);
        model.get_weights()
    };
    assert_eq!(make(1)?, make(1)?);
    let (a, b) = (make(1)?, make(2)?);
    // Kernels, not the zeros of biases.
    assert!(a[0] != b[0] && a[2] != b[2], "{a:?} {b:?}");
    Ok(())
}

#[test]
fn weights_of_one_layer() -> Result<()> {
    for device in devices() {
        let body = Dense::new(2).activation(Relu).named("body");
        let model = Sequential::new([3]).on(&device).add(body).add(BatchNormalization::new()).add(Dense::new(1));
        let x = Tensor::ones([4, 3], DType::F32);
        model.predict(&x)?;
        let weights = model.get_layer("body")?.get_weights()?;
        assert_eq!(weights, model.get_weights()?[..2]);
        assert_eq!(weights[0].as_slice::<f32>().map(<[f32]>::len), Some(6));
        assert_eq!(weights[1].to_vec::<f32>()?, [0.0, 0.0]);
        assert!(weights[0].as_slice::<i32>().is_none());
        let there = std::panic::Location::caller().file();
        let text = message(weights[0].to_vec::<i32>());
        assert!(
            text.starts_with(&format!("these numbers are f32, not i32; `to_f64` converts them (at {there}")),
            "{text}"
        );
        assert_eq!(ibex::Data::Bool(vec![1, 0]).to_vec::<bool>()?, [true, false]);

        let new = [ibex::Data::F32(vec![0.5; 6]), ibex::Data::F32(vec![1.0, -9.0])];
        model.get_layer("body")?.set_weights(&new)?;
        assert_eq!(model.get_layer("body")?.get_weights()?, new);
        assert_eq!(model.get_weights()?[..2], new);
        let inside = Model::new(model.inputs(), model.get_layer("body")?.output())?.on(&device);
        assert_eq!(device.to_vec::<f32>(&inside.call(&x, false)?)?, [2.5, 0.0].repeat(4));
        let body = model.get_layer("body")?;
        assert_eq!(message(body.set_weights(&new[..1])), "layer body has 2 weights, got 1 arrays");
        let swapped = [new[1].clone(), new[0].clone()];
        let wrong = "weight body/kernel is f32 (3, 2), got 2 numbers of type f32; nothing was changed";
        assert_eq!(message(body.set_weights(&swapped)), wrong);
        assert_eq!(model.get_layer("batch_normalization")?.get_weights()?.len(), 4);
    }
    Ok(())
}
