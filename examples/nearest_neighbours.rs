//! k nearest neighbours, with tensors alone: every held-out digit is what most of the five training digits that look most like it are.
//! The 5,000 digits ship with Ibex. `cargo run --release --example nearest_neighbours`

use ibex::prelude::*;

const NEIGHBOURS: usize = 5;

fn main() -> ibex::Result<()> {
    let digits = ibex::data::mnist_subset()?;
    let (known, new) = (digits.train.x.flatten(1), digits.test.x.flatten(1)); // (4000, 784) and (1000, 784)

    // |a - b|^2 = |a|^2 - 2 a b + |b|^2, for each pair: (1000, 4000).
    let distance = new.square().sum_keep(&[1]) - new.matmul(known.t()) * 2.0 + known.square().sum(&[1]);
    let [_, nearest] = (-distance).top_k(NEIGHBOURS); // (1000, 5)
    let votes = digits.train.y.gather(&nearest).one_hot(10, DType::F32).sum(&[1]); // (1000, 10)
    let right = votes.argmax(-1).eq(&digits.test.y).cast(DType::F32);

    // Nothing has been computed so far: reading runs it all as one compiled program.
    let accuracy: f32 = right.mean(&[]).item()?;
    println!(
        "accuracy: {:.2} % of {} digits, by {NEIGHBOURS} neighbours among {}",
        100.0 * accuracy,
        new.dim(0),
        known.dim(0)
    );

    let (labels, first) = (digits.train.y.to_vec::<i32>()?, nearest.narrow(0, 0, 3).to_vec::<i32>()?);
    for (truth, places) in digits.test.y.to_vec::<i32>()?.iter().zip(first.chunks(NEIGHBOURS)) {
        let neighbours: Vec<i32> = places.iter().filter_map(|&i| labels.get(i as usize).copied()).collect();
        println!("a {truth} has the neighbours {neighbours:?}");
    }
    Ok(())
}
