//! Schedules, regularizers and constraints; what their files look like, and what mistakes in them say.

use crate::common::{TOLERANCE, assert_close, every_case};
use crate::fixture::{Array, cases};
use ibex::config::Config;
use ibex::optimizers::{self, LearningRate, schedules};
use ibex::{Constraint, DType, Device, Error, Plan, Regularizer, Result, Tensor, losses};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Debug;

#[derive(Deserialize)]
struct Schedule {
    name: String,
    /// As Keras serialises it.
    object: Value,
    steps: Vec<i32>,
    rates: Vec<f64>,
}

#[test]
fn schedules_are_those_of_keras() {
    every_case(&cases("rules_schedules.json"), |case: &Schedule| &case.name, scheduled);
}

fn scheduled(case: &Schedule, device: &Device) -> Result<()> {
    let rate: LearningRate = round_trip(&case.object);
    // One program for all steps, as in training.
    let plan = Plan::trace(device, &[(ibex::Shape::default(), DType::I32)], |args| Ok(vec![rate.at(&args[0])]))?;
    let mut rates = Vec::new();
    for &step in &case.steps {
        let outputs = plan.run(&mut [ibex::Arg::Tensor(Tensor::scalar(step))])?;
        rates.extend(device.read_now(&outputs[0])?.to_f64());
    }
    // Rates are small: compared relative to the largest.
    let most = case.rates.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    let scaled = |rates: &[f64]| rates.iter().map(|r| r / most).collect::<Vec<_>>();
    assert_close(&case.name, &scaled(&rates), &scaled(&case.rates), TOLERANCE);
    Ok(())
}

/// Reads an object of Keras; what is written of it reads back equal.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(object: &Value) -> T {
    let value: T = serde_json::from_value(object.clone()).unwrap_or_else(|e| panic!("{object}: {e}"));
    let written = serde_json::to_value(&value).expect("an object");
    assert_eq!(written["class_name"], object["class_name"]);
    for (field, kept) in written["config"].as_object().into_iter().flatten() {
        let (kept, want) = (kept.clone(), object["config"][field].clone());
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs();
        let same = kept == want || kept.as_f64().zip(want.as_f64()).is_some_and(|(a, b)| close(a, b));
        assert!(same || kept.is_array(), "{object}: {field} is {kept}");
    }
    assert_eq!(serde_json::from_value::<T>(written).expect("its own object"), value);
    value
}

#[derive(Deserialize)]
struct Weight {
    name: String,
    object: Value,
    weight: Array,
    /// The penalty and its gradient, or the weight under the constraint.
    penalty: Option<f64>,
    grad: Option<Array>,
    after: Option<Array>,
}

#[test]
fn regularizers_and_constraints_are_those_of_keras() {
    every_case(&cases("rules_weights.json"), |case: &Weight| &case.name, weighed);
}

fn weighed(case: &Weight, device: &Device) -> Result<()> {
    let weight = case.weight.tensor();
    let read = |t: &Tensor| Ok::<_, Error>(device.read_now(t)?.to_f64());
    if let (Some(penalty), Some(grad)) = (case.penalty, &case.grad) {
        let regularizer: Regularizer = round_trip(&case.object);
        let got = regularizer.penalty(&weight);
        let [gradient] = got.grad([&weight]);
        assert_close(&case.name, &read(&got)?, &[penalty], TOLERANCE);
        assert_close(&format!("{} gradient", case.name), &read(&gradient)?, &grad.data, TOLERANCE);
    } else {
        let constraint: Constraint = round_trip(&case.object);
        let after = case.after.as_ref().expect("a regularizer or a constraint");
        assert_close(&case.name, &read(&constraint.constrain(&weight))?, &after.data, TOLERANCE);
    }
    Ok(())
}

#[test]
fn names_stand_for_defaults() {
    let read = |name: &str| serde_json::from_value::<Regularizer>(json!(name)).expect(name);
    assert_eq!([read("l2"), read("L1")], [Regularizer::l2(0.01), Regularizer::l1(0.01)]);
    let read = |name: &str| serde_json::from_value::<Constraint>(json!(name)).expect(name);
    assert_eq!([read("max_norm"), read("NonNeg")], [Constraint::max_norm(2.0), Constraint::NonNeg]);
    assert_eq!(serde_json::from_value::<Option<Constraint>>(Value::Null).expect("none"), None);
    for (name, class) in [("mse", "MeanSquaredError"), ("KLD", "KLDivergence"), ("squared_hinge", "SquaredHinge")] {
        assert_eq!(losses::from_config(name, Config::new()).expect(name).class_name(), class);
    }
    assert_eq!(optimizers::from_config("adamw", Config::new()).expect("in any case").class_name(), "AdamW");
}

#[test]
fn a_learning_rate_is_a_number_or_a_schedule() {
    let adam = |config: Value| match config {
        Value::Object(config) => optimizers::from_config("Adam", config),
        _ => unreachable!(),
    };
    let number = adam(json!({ "learning_rate": 0.25 })).expect("a number");
    assert_eq!(number.options().learning_rate, LearningRate::Constant(0.25));
    let schedule = schedules::ExponentialDecay::new(0.5, 100, 0.9).staircase(true);
    let ours = optimizers::Adam::new(schedule.clone());
    let config = optimizers::Optimizer::config(&ours).expect("an object");
    assert_eq!(config["learning_rate"]["module"], "keras.optimizers.schedules");
    let again = adam(Value::Object(config)).expect("its own object");
    assert_eq!(again.options().learning_rate, LearningRate::from(schedule));
}

/// Each message lists what there is, or names the field.
#[test]
fn mistakes_say_what_is_wrong() {
    fn fails<T: DeserializeOwned + Debug>(object: Value) -> String {
        serde_json::from_value::<T>(object).expect_err("a mistake").to_string()
    }
    let object = |class: &str, config: Value| json!({ "class_name": class, "config": config });
    for (message, parts) in [
        (fails::<Regularizer>(json!("l3")), ["\"l3\"", "L1, L2, L1L2, OrthogonalRegularizer"]),
        (fails::<Constraint>(json!("norm")), ["\"norm\"", "NonNeg, MaxNorm, UnitNorm, MinMaxNorm"]),
        (fails::<ibex::Initializer>(json!("random")), ["\"random\"", "HeNormal"]),
        (fails::<ibex::Activation>(json!("reul")), ["\"reul\"", "sparsemax"]),
        (fails::<Regularizer>(object("L2", json!({ "l2": -1.0 }))), ["l2 is -1", "not negative"]),
        (fails::<LearningRate>(object("Decay", json!({}))), ["\"Decay\"", "CosineDecayRestarts"]),
        (
            fails::<LearningRate>(object("CosineDecay", json!({ "decay_steps": 5 }))),
            ["CosineDecay", "initial_learning_rate"],
        ),
        (losses::from_config("MSLEE", Config::new()).expect_err("no loss").to_string(), ["\"MSLEE\"", "Tversky"]),
        (optimizers::from_config("Adamm", Config::new()).expect_err("no optimizer").to_string(), ["\"Adamm\"", "Lion"]),
    ] {
        assert!(parts.iter().all(|part| message.contains(part)), "{message}: {parts:?}");
    }
}

/// Settings out of their domain are told by `compile`, naming them.
#[test]
fn compile_checks_settings() {
    use ibex::prelude::*;
    let mut model = Sequential::new([3]).add(Dense::new(1));
    let mut fails = |optimizer: Box<dyn Optimizer>| {
        model.compile(optimizer, MeanSquaredError::new(), ()).expect_err("a mistake").to_string()
    };
    for (message, part) in [
        (fails(Box::new(Adam::new(0.1).clipnorm(1.0).clipvalue(1.0))), "clipvalue"),
        (fails(Box::new(SGD::new(0.1).use_ema(true).ema_momentum(1.5))), "ema_momentum"),
        (fails(Box::new(SGD::new(0.1).gradient_accumulation_steps(1))), "gradient_accumulation_steps"),
        (fails(Box::new(Lion::new(0.1).beta_1(0.0))), "beta_1"),
        (fails(Box::new(Ftrl::new(0.1).l1_regularization_strength(-1.0))), "l1_regularization_strength"),
        (fails(Box::new(SGD::new(CosineDecay::new(0.1, 0)))), "decay_steps"),
        (fails(Box::new(SGD::new(PiecewiseConstantDecay::new([3], [0.1])))), "boundaries"),
    ] {
        assert!(message.contains(part), "{message}: {part}");
    }
    model.compile(SGD::new(CosineDecay::new(0.1, 9)), MeanSquaredError::new(), ()).expect("a schedule");
    let message = model.set_learning_rate(0.5).expect_err("no number").to_string();
    assert!(message.contains("schedule"), "{message}");
    model
        .compile(SGD::new(0.1), MeanSquaredError::new().with_reduction(Reduction::None), ())
        .expect("until it is used");
    let (x, y) = (Tensor::rand([4, 3], 0), Tensor::rand([4, 1], 1));
    let message = model.fit((&x, &y), Fit::epochs(1).verbose(0)).expect_err("no number").to_string();
    assert!(message.contains("'none'"), "{message}");
}
