//! Symbolic tensors have the operations of tensors.

#[path = "../common/operations.rs"]
mod all;

use ibex::prelude::*;
use ibex::{Result, SymbolicOperand};

fn inputs() -> Result<[Tensor; 2]> {
    let draw = |seed| (Tensor::randn([3, 6, 4], seed) * 1.5).to_host();
    Ok([draw(1)?, draw(2)?])
}

#[test]
fn they_compute_what_tensors_compute() -> Result<()> {
    let [x, z] = inputs()?;
    let path = std::env::temp_dir().join(format!("ibex-operations-{}.keras", std::process::id()));
    let model = all::model()?;
    model.save(&path)?;
    let loaded = Model::load(&path);
    std::fs::remove_file(&path).expect("the file");
    for model in [model, loaded?] {
        let got = model.predict_all([&x, &z])?;
        let want = all::computed(&x, &z);
        assert_eq!(got.len(), want.len());
        for ((name, want), got) in want.iter().zip(&got) {
            assert_eq!(got.shape(), want.shape(), "{name}");
            let (got, want) = (got.to_vec::<f32>()?, want.to_vec::<f32>()?);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
            assert!(got.iter().zip(&want).all(close), "{name}: {got:?}, not {want:?}");
        }
    }
    Ok(())
}

#[test]
fn mistakes_name_the_operation_and_the_line() {
    let x = Input::new([6, 4]);
    for (bad, words) in [
        (x.narrow(1, 4, 3), &["narrow", "3 from 4", "length 6"][..]),
        (x.index(2, 4), &["index", "4", "length 4"]),
        (x.index(0, 0), &["index", "axis 0"]),
        (x.narrow(-4, 0, 1), &["narrow", "(None, 6, 4)", "axis -4"]),
        (x.mean(&[]), &["lost the batch"]),
        (x.reshape([5, 5]), &["(None, 6, 4)"]),
        (x.matmul(&x), &["matmul"]),
        (x.transpose(1, 5), &["5"]),
        (x.sum(&[7]), &["7"]),
    ] {
        let error = bad.check().expect_err("a mistake").to_string();
        assert!(words.iter().all(|word| error.contains(word)) && error.contains("operations.rs"), "{error}");
        // What is made of it carries the first mistake on.
        assert_eq!(bad.exp().check().expect_err("a mistake").to_string(), error);
    }
}

#[test]
fn whole_numbers_and_axes_of_any_length() -> Result<()> {
    let words = Input::with_dtype((None, 2), DType::I32);
    let known = words.ne(0).select(&words, SymbolicOperand::from(7));
    let model = Model::new(&words, [&known, &words.narrow(1, 1, 2), &words.max(&[1])])?;
    let x = Tensor::from([[[1, 0], [0, 2], [3, 4]]]);
    let outputs = model.predict_all(&x)?;
    assert_eq!(outputs[0].to_vec::<i32>()?, [1, 7, 7, 2, 3, 4]);
    assert_eq!(outputs[1].to_vec::<i32>()?, [0, 2, 3, 4]);
    assert_eq!(outputs[2].to_vec::<i32>()?, [3, 4]);
    Ok(())
}
