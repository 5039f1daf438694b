//! Forecasts the passengers of an airline with an LSTM: 144 months from 1949 to 1960 (Box and Jenkins 1976), of which the last 24 are held out.
//! `cargo run --release --example airline [-- FILE]`; FILE has the columns Date and Passengers, and ships with Ibex (see examples/data/SOURCE.md).

use ibex::data::{Table, Windows};
use ibex::prelude::*;

const YEAR: usize = 12;
const HELD_OUT: usize = 24;

fn main() -> ibex::Result<()> {
    let path = std::env::args().nth(1).unwrap_or("examples/data/airline-passengers.csv".to_string());
    let passengers: Vec<f32> = Table::from_csv(path)?.numbers(&["Passengers"])?.to_vec()?;
    if passengers.len() < HELD_OUT + 3 * YEAR {
        return Err(ibex::Error::value(format!("{} months are too few; give five years or more", passengers.len())));
    }
    let (known, future) = passengers.split_at(passengers.len() - HELD_OUT);

    // Growth from month to month has no trend, unlike the numbers themselves: log p[t] - log p[t - 1]. From a year of it the next year follows.
    let mut growth: Vec<f32> = known.windows(2).map(|p| (p[1] / p[0]).ln()).collect();
    let next: Vec<f32> = growth[YEAR..].windows(YEAR).flatten().copied().collect();
    let next = Tensor::from_vec(next.clone(), [next.len() / YEAR, YEAR]);
    let years = Windows::of(YEAR).with_targets(&Tensor::from_vec(growth.clone(), [growth.len(), 1]), &next)?;

    // Noise on the little data that there is keeps the model from learning it by heart.
    let mut model = Sequential::new([YEAR, 1]).add(GaussianNoise::new(0.05)).add(LSTM::new(32)).add(Dense::new(YEAR));
    model.compile(Adam::new(CosineDecay::new(5e-3, 500 * 7)), MeanSquaredError::new(), ())?;
    let history = model.fit(&years, Fit::epochs(500).batch_size(16).verbose(0))?;
    println!("mean squared error of growth: {:.4}", history.last("loss").unwrap_or(f64::NAN));

    // The forecast of one year is what the next one starts from: nothing of the last two years is seen.
    let mut last = known.iter().copied().last().unwrap_or_default();
    let mut forecast = Vec::new();
    for _ in 0..HELD_OUT / YEAR {
        let year = Tensor::from_vec(growth[growth.len() - YEAR..].to_vec(), [1, YEAR, 1]);
        for next in model.predict(&year)?.to_vec::<f32>()? {
            growth.push(next);
            last *= next.exp();
            forecast.push(last);
        }
    }
    let year_before: Vec<f32> = known[known.len() - YEAR..].iter().cycle().take(HELD_OUT).copied().collect();
    for (month, (truth, guess)) in future.iter().zip(&forecast).enumerate() {
        println!("month {:2}: {truth} thousand passengers, forecast {guess:.0}", month + 1);
    }
    let error = |guesses: &[f32]| {
        100.0 * future.iter().zip(guesses).map(|(truth, guess)| (guess / truth - 1.0).abs()).sum::<f32>()
            / HELD_OUT as f32
    };
    println!(
        "mean error of {HELD_OUT} months: {:.1} % ({:.1} % if all goes on as in the last year)",
        error(&forecast),
        error(&year_before)
    );
    Ok(())
}
