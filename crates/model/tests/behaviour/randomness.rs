//! What layers that draw random numbers do to mean and variance, seed by seed.

use crate::common::devices;
use ibex::prelude::*;
use ibex::{Instance, Result};

/// A layer, what it gets, how many numbers of its own it draws for that, and mean and variance of what it then gives.
struct Law {
    layer: fn() -> Instance,
    input: Tensor,
    draws: usize,
    mean: f64,
    variance: f64,
}

fn laws() -> Vec<Law> {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32);
    let dropped = 0.3 / 0.7;
    let law = |layer, input, draws, mean, variance| Law { layer, input, draws, mean, variance };
    vec![
        law(|| Dropout::new(0.3).into(), ones(&[100, 200]), 20_000, 1.0, dropped),
        law(|| Dropout::new(0.3).noise_shape([None, Some(1)]).into(), ones(&[5000, 3]), 5000, 1.0, dropped),
        law(|| SpatialDropout1D::new(0.3).into(), ones(&[100, 3, 80]), 8000, 1.0, dropped),
        law(|| SpatialDropout2D::new(0.3).into(), ones(&[100, 2, 3, 80]), 8000, 1.0, dropped),
        law(|| SpatialDropout3D::new(0.3).into(), ones(&[100, 2, 2, 2, 80]), 8000, 1.0, dropped),
        law(|| GaussianDropout::new(0.3).into(), ones(&[100, 200]), 20_000, 1.0, dropped),
        law(|| GaussianNoise::new(0.5).into(), ones(&[100, 200]), 20_000, 1.0, 0.25),
        // It keeps the mean and the variance of what has 0 and 1.
        law(|| AlphaDropout::new(0.3).into(), Tensor::randn([100, 200], 5), 20_000, 0.0, 1.0),
    ]
}

#[test]
fn mean_and_variance_for_each_seed() -> Result<()> {
    for device in devices() {
        for Law { layer, input, draws, mean, variance } in laws() {
            let name = layer().layer().class_name();
            let run = |seed: u64, training: bool| -> Result<Vec<f32>> {
                let model = Sequential::new(&input.shape()[1..]).seed(seed).on(&device).add(layer());
                device.to_vec(&model.call(&input, training)?)
            };
            let (first, second) = (run(1, true)?, run(2, true)?);
            assert_eq!(first, run(1, true)?, "{name}: the same numbers for the same seed");
            assert_ne!(first, second, "{name}: others for another");
            assert_eq!(run(1, false)?, device.to_vec::<f32>(&input)?, "{name}: nothing outside of training");
            for numbers in [first, second] {
                let count = numbers.len() as f64;
                let got = numbers.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
                let spread = numbers.iter().map(|&v| (f64::from(v) - got).powi(2)).sum::<f64>() / count;
                // Five standard errors; those of the variance are at most a normal distribution's.
                let error = 5.0 / (draws as f64).sqrt();
                assert!((got - mean).abs() < error * variance.sqrt(), "{name}: mean {got}, should be {mean}");
                assert!(
                    (spread - variance).abs() < error * 2f64.sqrt() * variance,
                    "{name}: variance {spread}, should be {variance}"
                );
            }
        }
    }
    Ok(())
}

/// Spatial dropout drops whole channels, and not the same ones in all samples.
#[test]
fn channels_are_dropped_as_a_whole() -> Result<()> {
    for device in devices() {
        let model = Sequential::new([4, 5, 6]).on(&device).add(SpatialDropout2D::new(0.5));
        let y = device.to_vec::<f32>(&model.call(&Tensor::ones([8, 4, 5, 6], DType::F32), true)?)?;
        let samples: Vec<&[f32]> = y.chunks(4 * 5 * 6).collect();
        assert!(samples.iter().all(|sample| sample.chunks(6).all(|pixel| pixel == &sample[..6])));
        assert!(samples.iter().any(|sample| sample[..6] != samples[0][..6]));
    }
    Ok(())
}
