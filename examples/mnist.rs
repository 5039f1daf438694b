//! Trains a small CNN on handwritten digits: `cargo run --release --example mnist [-- --epochs N --data DIR --policy mixed_float16]`.
//! Without `--data` it takes the 5,000 digits that ship with Ibex; DIR is a folder with the four original files of MNIST.

use ibex::prelude::*;

fn main() -> ibex::Result<()> {
    let (epochs, data, policy) = arguments();
    let mnist = match &data {
        Some(dir) => ibex::data::mnist_from_dir(dir)?,
        None => ibex::data::mnist_subset()?,
    };

    let mut model = Sequential::new([28, 28, 1])
        .dtype_policy(policy.unwrap_or_default())
        .add(Conv2D::new(32, 3).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(64, 3).activation(Relu))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new())
        .add(Dropout::new(0.4))
        .add(Dense::new(128).activation(Relu))
        .add(Dropout::new(0.4))
        .add(Dense::new(10).dtype(Float32));
    model.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    println!("{}", model.summary());

    let epochs = epochs.unwrap_or(if data.is_some() { 5 } else { 12 });
    let history = model.fit(&mnist.train, Fit::epochs(epochs).batch_size(64).validation(&mnist.test))?;
    history.plot("mnist.svg")?;
    let scores = model.evaluate(&mnist.test, 256)?;
    println!("test accuracy: {:.2} %, learning curves in mnist.svg", 100.0 * scores["accuracy"]);

    model.save("mnist.safetensors")?;
    let loaded = Model::load("mnist.safetensors")?;
    let (before, after) = (model.predict(&mnist.test.x)?, loaded.predict(&mnist.test.x)?);
    if before.to_vec::<f32>()? != after.to_vec::<f32>()? {
        return Err(ibex::Error::value("the loaded model predicts something else"));
    }
    println!("saved to mnist.safetensors and loaded again: predictions are equal");
    Ok(())
}

/// `--epochs N`, `--data DIR` and `--policy NAME`.
fn arguments() -> (Option<usize>, Option<String>, Option<DTypePolicy>) {
    let (mut epochs, mut data, mut policy) = (None, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (&word[..], words.next()) {
            ("--epochs", Some(n)) if n.parse::<usize>().is_ok() => epochs = n.parse().ok(),
            ("--data", Some(dir)) => data = Some(dir),
            ("--policy", Some(name)) if name.parse::<DTypePolicy>().is_ok() => policy = name.parse().ok(),
            _ => {
                eprintln!("usage: mnist [--epochs N] [--data DIR] [--policy float32|mixed_float16|mixed_bfloat16]");
                std::process::exit(2);
            }
        }
    }
    (epochs, data, policy)
}
