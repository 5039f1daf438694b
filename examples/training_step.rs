//! A training step of one's own, which `fit` does not have: digits are also learned as an opponent would change them, each pixel by a little in the
//! direction that misleads the model most (Goodfellow et al. 2015). `cargo run --release --example training_step`

use ibex::prelude::*;
use std::sync::Arc;

const BATCH: usize = 50;
const EPOCHS: usize = 8;
/// How far an opponent may change a pixel between 0 and 1.
const REACH: f32 = 0.1;

/// The mean loss of scores for labels, as logarithms of probabilities.
fn loss(scores: &Tensor, labels: &Tensor) -> Tensor {
    -scores.log_softmax(-1).pick(labels).mean(&[])
}

/// Pictures as an opponent changes them.
fn misleading(model: &Model, x: &Tensor, y: &Tensor) -> ibex::Result<Tensor> {
    let [slope] = loss(&model.call(x, false)?, y).grad([x]);
    Ok((x + slope.sign() * REACH).clamp(0.0, 1.0).stop_gradient())
}

fn main() -> ibex::Result<()> {
    let device = ibex::default_device()?;
    let digits = ibex::data::mnist_subset()?;
    let mut model = Sequential::new([28, 28, 1])
        .add(Flatten::new())
        .add(Dense::new(256).activation(Relu))
        .add(Dropout::new(0.2))
        .add(Dense::new(10));
    model.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    let model = Arc::new(model);

    // Both functions are traced once, with all gradients and the optimizer's update, and replayed for every batch.
    let trained = model.clone();
    let step = Function::from_slice(&device, move |args| {
        let [x, y] = args else { return Err(ibex::Error::value("takes x and y")) };
        let changed = misleading(&trained, x, y)?;
        let loss = (loss(&trained.call(x, true)?, y) + loss(&trained.call(&changed, true)?, y)) / 2.0;
        trained.minimize(&loss)?;
        Ok(vec![loss])
    });
    let judge = model.clone();
    let accuracy = Function::from_slice(&device, move |args| {
        let [x, y] = args else { return Err(ibex::Error::value("takes x and y")) };
        let right = |x: &Tensor| Ok(judge.call(x, false)?.argmax(-1).eq(y).cast(DType::F32).mean(&[]));
        Ok(vec![right(x)?, right(&misleading(&judge, x, y)?)?])
    });

    let (train, test) = (&digits.train, &digits.test);
    for epoch in 0..EPOCHS {
        let mut total = 0.0;
        for batch in train.view().shuffled(0, epoch as u32).chunks(BATCH) {
            let batch = train.take(batch)?;
            total += step.call(&[&batch.x, &batch.y])?[0].item::<f32>()? * batch.len() as f32;
        }
        let scores = accuracy.call(&[&test.x, &test.y])?;
        let [plain, changed] = [&scores[0], &scores[1]].map(|score| score.item::<f32>());
        let (loss, plain, changed) = (total / train.len() as f32, 100.0 * plain?, 100.0 * changed?);
        println!(
            "epoch {}: loss {loss:.4}, test accuracy {plain:.2} %, of misleading digits {changed:.2} %",
            epoch + 1
        );
    }
    // Both functions hold the model too; it is saved all the same, with the state of its optimizer.
    let path = std::env::temp_dir().join("ibex-training-step.safetensors");
    model.save(&path)?;
    let loaded = Model::load(&path)?;
    let right = loaded.predict(&test.x)?.argmax(-1).eq(&test.y).cast(DType::F32).mean(&[]).item::<f32>()?;
    println!("saved and loaded again: {:.2} %, after {} steps of the optimizer", 100.0 * right, loaded.iterations()?);
    Ok(())
}
