//! What users meet: fitting, stopping, saving, loading, summaries, mistakes.

mod augmentation;
mod callbacks;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod fitting;
mod graphs;
mod layers;
mod lengths;
mod mistakes;
mod mistakes_text;
mod mixed;
mod onnx;
mod operations;
mod own;
mod plotting;
mod printing;
mod profiling;
mod randomness;
mod summary;

use ibex::Result;
use ibex::prelude::*;

/// Points in two classes, by the sign of their sum.
fn points(n: usize) -> (Tensor, Tensor) {
    let x = Tensor::rand([n, 4], 7);
    let x: Vec<f32> = ibex::device("cpu").and_then(|d| d.to_vec(&x)).expect("random numbers");
    let x: Vec<f32> = x.into_iter().map(|v| v - 0.5).collect();
    let y: Vec<i32> = x.chunks(4).map(|row| i32::from(row.iter().sum::<f32>() > 0.0)).collect();
    (Tensor::from_vec(x, [n, 4]), Tensor::from_vec(y, [n]))
}

/// A small classifier of [`points`].
fn classifier(device: &Device) -> Result<Model> {
    let mut model = Sequential::new([4])
        .seed(3)
        .on(device)
        .add(Dense::new(8).activation(Tanh))
        .add(Dropout::new(0.1))
        .add(Dense::new(2));
    model.compile(Adam::new(0.05), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    Ok(model)
}
