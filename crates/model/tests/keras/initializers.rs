//! Statistics of initial weights.

use crate::fixture::cases;
use ibex::{Initializer, Shape};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    class: String,
    config: ibex::config::Config,
    shape: Vec<usize>,
    values: usize,
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
    theory: Theory,
}

#[derive(Deserialize)]
struct Theory {
    mean: f64,
    stddev: f64,
    limit: Option<f64>,
    max_abs_qtq_minus_identity: Option<f64>,
}

#[test]
fn initializers_are_those_of_keras() {
    for case in cases::<Case>("initializers.json").into_iter().chain(cases("rules_initializers.json")) {
        let described = serde_json::json!({ "class_name": case.class, "config": case.config });
        let initializer: Initializer = serde_json::from_value(described).expect(&case.name);
        let written = serde_json::to_value(initializer).expect(&case.name);
        assert_eq!(serde_json::from_value::<Initializer>(written).expect(&case.name), initializer);
        let shape = Shape::from(&case.shape[..]);
        let draws = (case.values / shape.elements()) as u64;
        let values: Vec<f64> = (0..draws)
            .flat_map(|seed| initializer.tensor(&shape, seed, 3).data().expect("host numbers").to_f64())
            .collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let (min, max) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        let name = &case.name;
        // Five standard errors, for Keras's draws and for ours.
        let error = 5.0 * case.theory.stddev / n.sqrt() + 1e-7;
        assert!(
            (mean - case.theory.mean).abs() <= error && (mean - case.mean).abs() <= 2.0 * error,
            "{name}: mean {mean}"
        );
        assert!(
            (std - case.theory.stddev).abs() <= error && (std - case.std).abs() <= 2.0 * error,
            "{name}: std {std}"
        );
        if let Some(limit) = case.theory.limit {
            assert!(min >= -limit * 1.000_001 && max <= limit * 1.000_001, "{name}: {min} to {max} within {limit}");
            assert!(
                (min - case.min).abs() < limit * 1e-2 && (max - case.max).abs() < limit * 1e-2,
                "{name}: {min} to {max}"
            );
        }
        if let Some(tolerance) = case.theory.max_abs_qtq_minus_identity {
            let cols = *shape.last().expect("an axis");
            let q = &values[..shape.elements()];
            let rows = q.len() / cols;
            for a in 0..cols {
                for b in 0..cols {
                    let dot: f64 = (0..rows).map(|r| q[r * cols + a] * q[r * cols + b]).sum();
                    assert!(
                        (dot - f64::from(u8::from(a == b))).abs() <= 2.0 * tolerance,
                        "{name}: columns {a}, {b}: {dot}"
                    );
                }
            }
        }
    }
}

/// Two weights of a model, and two models with other seeds, have nothing in common.
#[test]
fn draws_differ() {
    let draw = |seed, index| {
        Initializer::RandomNormal { mean: 0.0, stddev: 1.0 }
            .tensor(&Shape::from([500]), seed, index)
            .data()
            .expect("host")
            .to_f64()
    };
    let a = draw(1, 0);
    assert_eq!(a, draw(1, 0));
    for other in [draw(1, 1), draw(2, 0), draw(1 << 32, 0)] {
        let correlation = a.iter().zip(&other).map(|(x, y)| x * y).sum::<f64>() / 500.0;
        assert!(correlation.abs() < 0.2, "{correlation}");
    }
}
