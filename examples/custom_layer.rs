//! A layer of one's own, in one's own crate: trained, saved and loaded like the built-in ones. `cargo run --release --example custom_layer`
//! A crate of one's own needs `cargo add serde --features derive` for it.

use ibex::layers::register;
use ibex::prelude::*;
use serde::{Deserialize, Serialize};

/// Radial basis functions: `y[j] = exp(-width * |x - centre[j]|^2)`, `(batch, n)` to `(batch, units)`.
#[derive(Debug, Serialize, Deserialize)]
struct RadialBasis {
    units: usize,
    width: f32,
}

impl Layer for RadialBasis {
    fn class_name(&self) -> &'static str {
        "RadialBasis"
    }

    fn config(&self) -> ibex::Result<Config> {
        config::save(self)
    }

    fn build(&self, weights: &mut Weights, input: &Shape) -> ibex::Result<()> {
        weights.add("centres", [self.units, input[1]], Initializer::RandomUniform { minval: -1.0, maxval: 1.0 })?;
        Ok(())
    }

    // Forward only: derivatives come from the operations it is made of.
    fn call(&self, x: &Tensor, cx: &mut Context) -> ibex::Result<Tensor> {
        let distance = (x.unsqueeze(1) - cx.weight("centres")).square().sum(&[-1]);
        Ok((distance * -self.width).exp())
    }
}

fn main() -> ibex::Result<()> {
    register::<RadialBasis>("RadialBasis");

    // Points in a square: are they in the ring between two circles? No linear layer can tell.
    let points: Vec<f32> = (Tensor::rand([2000, 2], 1) * 2.0 - 1.0).to_vec()?;
    let in_ring = |p: &[f32]| i32::from((0.4..0.8).contains(&p[0].hypot(p[1])));
    let labels: Vec<i32> = points.chunks(2).map(in_ring).collect();
    let data = Dataset::new(Tensor::from_vec(points, [2000, 2]), Tensor::from_vec(labels, [2000]))?;

    let mut model = Sequential::new([2]).add(RadialBasis { units: 32, width: 8.0 }).add(Dense::new(2));
    model.compile(Adam::new(0.02), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    println!("{}", model.summary());
    model.fit(&data, Fit::epochs(10).validation_split(0.2))?;

    let path = std::env::temp_dir().join("ibex-custom-layer.safetensors");
    model.save(&path)?;
    let mut loaded = Model::load(&path)?;
    let same = model.evaluate(&data, 100)? == loaded.evaluate(&data, 100)?;
    println!("loaded from {}: {}", path.display(), if same { "the same scores" } else { "other scores" });
    Ok(())
}
