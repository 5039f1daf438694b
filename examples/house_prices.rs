//! Prices of houses from 79 columns of numbers and text, many with gaps: 1,460 houses in Ames, Iowa (De Cock 2011; "House Prices" of Kaggle).
//! `cargo run --release --example house_prices [-- FILE]`; FILE is Kaggle's `train.csv`, and unless it is given a copy that ships with Ibex (see
//! examples/data/SOURCE.md).

use ibex::data::{Csv, Fill, Imputer, OneHotEncoder, StandardScaler, Table, shuffled_indices};
use ibex::prelude::*;

/// How columns become features; all of it is learned from training houses.
struct Features {
    numbers: Vec<String>,
    imputer: Imputer,
    scaler: StandardScaler,
    encoder: OneHotEncoder,
}

impl Features {
    fn fit(houses: &Table) -> ibex::Result<Features> {
        let numbers = houses.number_names().into_iter().filter(|name| !["Id", "SalePrice"].contains(name));
        let numbers: Vec<String> = numbers.map(String::from).collect();
        let imputer = Imputer::fit(&houses.numbers(&numbers)?, Fill::Median)?;
        let scaler = StandardScaler::fit(&imputer.transform(&houses.numbers(&numbers)?)?)?;
        let encoder = OneHotEncoder::fit(houses, &houses.text_names())?;
        Ok(Features { numbers, imputer, scaler, encoder })
    }

    /// `(houses, features)`: numbers with gaps filled, of mean 0 and deviation 1; and a column of 0 and 1 for each text.
    fn of(&self, houses: &Table) -> ibex::Result<Tensor> {
        let numbers = self.scaler.transform(&self.imputer.transform(&houses.numbers(&self.numbers)?)?)?;
        Ok(Tensor::concat(&[numbers.clamp(-4.0, 4.0), self.encoder.transform(houses)?], 1))
    }
}

fn main() -> ibex::Result<()> {
    let path = std::env::args().nth(1).unwrap_or("examples/data/house-prices.csv.gz".to_string());
    // The class of a building is a number without meaning.
    let houses = Csv::new().text(["MSSubClass"]).read(path)?;
    let order = shuffled_indices(houses.len() as u32, 42, 0);
    let (validation, train) = order.split_at(houses.len() / 5);
    let (train, validation) = (houses.take(train)?, houses.take(validation)?);

    let features = Features::fit(&train)?;
    // Errors of a logarithm are relative ones. 12 is its usual value: 160,000 dollars.
    let log_price = |houses: &Table| Ok::<Tensor, ibex::Error>(houses.numbers(&["SalePrice"])?.log() - 12.0);
    let (x, y) = (features.of(&train)?, log_price(&train)?);
    let (x_validation, y_validation) = (features.of(&validation)?, log_price(&validation)?);
    println!("{} houses to train with {} features, {} to validate", train.len(), x.dim(1), validation.len());

    let l2 = Regularizer::l2(3e-3);
    let mut model = Sequential::new([x.dim(1)])
        .add(Dense::new(64).activation(Relu).kernel_regularizer(l2))
        .add(Dropout::new(0.2))
        .add(Dense::new(1).kernel_regularizer(l2));
    // 37 batches in an epoch.
    model.compile(
        Adam::new(CosineDecay::new(2e-3, 100 * 37)),
        MeanSquaredError::new(),
        [RootMeanSquaredError::new()],
    )?;
    let held_out = (&x_validation, &y_validation);
    model.fit((&x, &y), Fit::epochs(100).validation(held_out))?;
    let rmse = model.evaluate(held_out, 256)?["root_mean_squared_error"];
    println!("validation RMSE of log price: {rmse:.4}, so a price is usually {:.0} % off", 100.0 * rmse.exp_m1());
    Ok(())
}
