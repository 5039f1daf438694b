use ibex::prelude::*;
fn show(r: ibex::Result<impl Sized>) { println!("{}\n", r.map(drop).expect_err("an error")); }
#[test]
fn scratch() -> ibex::Result<()> {
    show(Sequential::new([4]).add(Conv2D::new(8, 3)).check());
    show(Sequential::new([28, 28]).add(LSTM::new(8)).add(LSTM::new(8)).check());
    show(Sequential::new([4]).add(Flatten::new()).add(Reshape::new([3])).check());
    show(Sequential::new([10, 10, 3]).add(MaxPooling2D::new(20)).check());
    show(Sequential::new([4]).add(LSTM::new(8)).check());
    show(Model::new([&Input::new([4])], &Input::new([4])));
    let (a, b) = (Input::new([4]), Input::new([5]));
    show(Model::new([&a, &b], &(&a + &b)));
    show(Model::new([&a, &b], &Add::new().apply([&a, &b])));
    show(Model::new([&a, &b], &Concatenate::new().axis(1).apply([&Input::new([4,3]), &b])));
    show(Model::new([&a], &Dot::new(1).apply([&a, &b])));
    let inner = Sequential::new([4]).add(Dense::new(3));
    show(Model::new([&b], &inner.apply(&b)));
    show("rleu".parse::<ibex::Activation>());
    let config = serde_json::json!({"units": 3, "activation": "rleu"});
    show(ibex::layers::from_config("Dense", serde_json::from_value(config).expect("json")));
    let (x, y) = crate::points(10);
    let mut model = Sequential::new([4]).add(Dense::new(3)).add(Dense::new(2).named("kind"));
    model.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    show(model.fit((&x, &Tensor::full([10], 0.5, DType::F32)), Fit::epochs(1)));
    show(model.fit((&x, &Tensor::full([10], 7.0, DType::I32)), Fit::epochs(1)));
    show(model.fit((&x, &Tensor::zeros([10, 2], DType::F32)), Fit::epochs(1)));
    show(model.fit((&x, &Tensor::zeros([10, 3], DType::F32)), Fit::epochs(1)));
    show(model.fit((&Tensor::zeros([10, 3], DType::F32), &y), Fit::epochs(1)));
    show(model.predict(&Tensor::zeros([10, 3], DType::F32)));
    show(model.compile(SGD::new(0.1), (MeanSquaredError::new(), Huber::new()), ()));
    model.compile(SGD::new(0.1), MeanSquaredError::new(), ())?;
    show(model.fit((&x, &Tensor::zeros([10, 3], DType::F32)), Fit::epochs(1)));
    show(ibex::device("gpu:9"));
    // None
    show(Sequential::new((None, 4)).add(Conv2D::new(8, 3)).check());
    show(Sequential::new((None, 4)).add(Flatten::new()).add(Dense::new(3)).check());
    show(Sequential::new((None, 4)).add(Reshape::new([20])).check());
    let model = Sequential::new((None, 4)).add(GRU::new(8).return_sequences(true)).add(Conv1D::new(3, 3));
    println!("{}", model.summary());
    let mut model = Sequential::new((None, 4)).add(Dense::new(3)).add(LayerNormalization::new().axis([1])).add(Dense::new(2));
    show(model.check());
    show(model.fit((&x, &y), Fit::epochs(1)));
    let t = std::time::Instant::now();
    let _ = Sequential::new((None, 4)).add(GRU::new(8));
    println!("GRU {:?}", t.elapsed());
    let mut model = Sequential::new((None, 4)).add(MaxPooling1D::new(4)).add(GlobalMaxPooling1D::new());
    println!("{:?}", model.predict(&Tensor::zeros([10, 8, 4], DType::F32))?.shape());
    println!("{:?}", model.predict(&Tensor::zeros([10, 4, 4], DType::F32))?.shape());
    show(model.predict(&Tensor::zeros([10, 3, 4], DType::F32)));
    show(model.predict(&Tensor::zeros([10, 3, 3], DType::F32)));
    Ok(())
}
