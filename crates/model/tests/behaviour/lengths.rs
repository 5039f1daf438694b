//! Inputs whose axes have any length.

use crate::common::devices;
use ibex::prelude::*;
use ibex::{ErrorKind, Result};

fn reader() -> Model {
    Sequential::new((None, 3)).add(Conv1D::new(4, 3).padding(Padding::Same)).add(LSTM::new(5)).add(Dense::new(2))
}

/// Sequences of one length, and the class of each.
fn sequences(n: usize, steps: usize) -> Result<Examples> {
    let labels: Vec<i32> = (0..n as i32).map(|i| i % 2).collect();
    Examples::new(&Tensor::randn([n, steps, 3], steps as u64), &Tensor::from_vec(labels, [n]))
}

#[test]
fn batches_of_several_lengths() -> Result<()> {
    for device in devices() {
        let mut model = reader().on(&device);
        assert_eq!(model.input_shape(), &Shape::from((None, 3)));
        model.compile(Adam::new(0.01), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
        let batches = || Batches::new(|| [5, 1, 9, 5].map(|steps| sequences(4, steps)));
        let history = model.fit(batches(), Fit::epochs(2).verbose(0).validation(&sequences(6, 7)?))?;
        assert_eq!(history.steps, 4);
        assert!(model.evaluate(batches(), 32)?["loss"].is_finite());
        // Each length has its own predictions, which are those of its sequences alone.
        let x = Tensor::randn([3, 6, 3], 1);
        let all = device.to_vec::<f32>(&model.predict(&x)?)?;
        for i in 0..3 {
            let one = device.to_vec::<f32>(&model.predict(&x.narrow(0, i, 1))?)?;
            assert!(one.iter().zip(&all[2 * i..]).all(|(a, b)| (a - b).abs() < 1e-5));
        }

        let loaded = Model::from_bytes(&ibex::core::backend::block_on(model.to_bytes())?)?.on(&device);
        assert_eq!(loaded.summary(), model.summary());
        assert!(loaded.summary().contains("(None, None, 4)"));
        assert_eq!(device.to_vec::<f32>(&loaded.predict(&x)?)?, all);
        assert!(model.to_svg()?.contains("(None, None, 3)"));
    }
    Ok(())
}

#[test]
fn a_model_of_any_length_inside_of_another() -> Result<()> {
    let inner = reader();
    let (fixed, any) = (Input::new([6, 3]), Input::new((None, 3)));
    let both = Concatenate::new().apply([&inner.apply(&fixed), &inner.apply(&any)]);
    let model = Model::new([&fixed, &any], &both)?;
    assert_eq!(model.output_shape(), &Shape::from([4]));
    let y = model.predict([&Tensor::randn([2, 6, 3], 0), &Tensor::randn([2, 3, 3], 1)])?;
    assert_eq!(y.shape(), &Shape::from([2, 4]));
    Ok(())
}

#[test]
fn predictions_of_several_lengths_make_no_tensor() -> Result<()> {
    let model = Sequential::new((None, 3)).add(Dense::new(2));
    assert_eq!(model.predict(&Tensor::zeros([4, 7, 3], DType::F32))?.shape(), &Shape::from([4, 7, 2]));
    assert_eq!(model.predict(&Tensor::zeros([0, 7, 3], DType::F32))?.shape(), &Shape::from([0, 0, 2]));
    let batches = |lengths: [usize; 3]| {
        Batches::new(move || lengths.map(|steps| Examples::new(&Tensor::zeros([2, steps, 3], DType::F32), Vec::new())))
    };
    let error = model.predict(batches([5, 5, 7])).expect_err("two lengths");
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains("output dense are (5, 2) in one batch and (7, 2) in another"), "{error}");
    assert_eq!(model.predict(batches([5; 3]))?.shape(), &Shape::from([6, 5, 2]));
    assert_eq!(model.predict(Predict::new(batches([5, 5, 7])).steps(2))?.shape(), &Shape::from([4, 5, 2]));
    Ok(())
}
