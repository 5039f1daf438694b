//! Transfer learning: a network that Keras trained on the digits 0 to 4 learns the digits 5 to 9 from three pictures of each. Its convolutions stay as
//! they are, the last layer is new. `cargo run --release --example transfer [-- FILE]`; FILE is a model of Keras 3 with a layer called `flatten`, and ships
//! with Ibex (examples/data/digits-0-to-4.py makes it). The digits ship with Ibex too.

use ibex::prelude::*;

/// The digits 5 to 9 as classes 0 to 4, at most so many of each.
fn five_to_nine(digits: &Dataset, most: usize) -> ibex::Result<Dataset> {
    let labels: Vec<i32> = digits.y.to_vec()?;
    let mut count = [0; 10];
    let rows: Vec<u32> = (0..)
        .zip(&labels)
        .filter(|(_, digit)| {
            count[**digit as usize] += 1;
            **digit >= 5 && count[**digit as usize] <= most
        })
        .map(|(row, _)| row)
        .collect();
    let chosen = digits.take(&rows)?;
    Dataset::new(chosen.x, chosen.y - 5)
}

fn main() -> ibex::Result<()> {
    let path = std::env::args().nth(1).unwrap_or("examples/data/digits-0-to-4.keras".to_string());
    let digits = ibex::data::mnist_subset()?;
    let (train, test) = (five_to_nine(&digits.train, 3)?, five_to_nine(&digits.test, usize::MAX)?);
    println!("{} pictures to train, {} to test", train.len(), test.len());

    // All up to the layer `flatten`, frozen, and a new layer on top.
    let trained = Model::load(path)?;
    trained.set_trainable(false);
    let logits = Dense::new(5).named("head").apply(trained.get_layer("flatten")?.output());
    let mut model = Model::new(trained.inputs(), &logits)?;
    println!("{}", model.summary());
    let transferred = accuracy(&mut model, &train, &test)?;

    // The same network from random weights, all of them trained.
    model.set_trainable(true);
    let mut model = model.seed(1);
    let from_nothing = accuracy(&mut model, &train, &test)?;
    println!("test accuracy: {transferred:.1} % with what was learned from other digits, {from_nothing:.1} % without");
    Ok(())
}

/// Trains, and gives the share of test digits that are right, in percent.
fn accuracy(model: &mut Model, train: &Dataset, test: &Dataset) -> ibex::Result<f64> {
    model.compile(Adam::new(5e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    model.fit(train, Fit::epochs(60).batch_size(5).verbose(0))?;
    Ok(100.0 * model.evaluate(test, 256)?["accuracy"])
}
