//! A convolutional autoencoder: it learns to write 784 pixels as 16 numbers, and to draw the digit again from those. The 5,000 digits ship with
//! Ibex. `cargo run --release --example autoencoder`

use ibex::prelude::*;

const CODE: usize = 16;

fn main() -> ibex::Result<()> {
    let digits = ibex::data::mnist_subset()?;
    let (train, test) = (&digits.train.x, &digits.test.x);

    // Two models that stand one behind the other in a third: what trains the third trains both.
    let encoder = Sequential::new([28, 28, 1])
        .named("encoder")
        .add(Conv2D::new(16, 3).strides(2).padding(Padding::Same).activation(Relu))
        .add(Conv2D::new(32, 3).strides(2).padding(Padding::Same).activation(Relu))
        .add(Flatten::new())
        .add(Dense::new(CODE));
    let decoder = Sequential::new([CODE])
        .named("decoder")
        .add(Dense::new(7 * 7 * 32).activation(Relu))
        .add(Reshape::new([7, 7, 32]))
        .add(Conv2DTranspose::new(16, 3).strides(2).padding(Padding::Same).activation(Relu))
        .add(Conv2DTranspose::new(1, 3).strides(2).padding(Padding::Same).activation(Sigmoid));
    let image = Input::new([28, 28, 1]);
    let mut autoencoder = Model::new(&image, decoder.apply(encoder.apply(&image)))?;
    autoencoder.compile(Adam::new(2e-3), BinaryCrossentropy::new(), [metrics::MeanSquaredError::new()])?;
    println!("{}", autoencoder.summary());
    autoencoder.fit((train, train), Fit::epochs(20).batch_size(64).validation((test, test)))?;

    let error = autoencoder.evaluate((test, test), 256)?["mean_squared_error"];
    let variance: f32 = (test - train.mean(&[0])).square().mean(&[]).item()?;
    println!(
        "held-out digits: mean squared error {error:.4} from {CODE} numbers ({variance:.4} from none, by the mean digit)"
    );

    let code = encoder.predict(&test.narrow(0, 0, 1))?;
    println!("code: {:.1?}", code.to_vec::<f32>()?);
    let drawn = decoder.predict(&code)?.to_vec::<f32>()?;
    let original = test.narrow(0, 0, 1).to_vec::<f32>()?;
    for (left, right) in original.chunks(28).zip(drawn.chunks(28)) {
        println!("{}    {}", shades(left), shades(right));
    }
    Ok(())
}

/// A row of pixels as characters.
fn shades(row: &[f32]) -> String {
    row.iter().flat_map(|&p| [[' ', '.', ':', 'o', '@'][(p.clamp(0.0, 1.0) * 4.0).round() as usize]; 2]).collect()
}
