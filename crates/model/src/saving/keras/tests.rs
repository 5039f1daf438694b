use super::*;
use ibex_core::{DType, Data, Shape, Tensor};

fn array(value: &Value) -> (Shape, String, Vec<f64>) {
    let list = |field: &str| {
        value[field].as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect::<Vec<_>>()
    };
    (
        list("shape").iter().map(|&n| n as usize).collect::<Vec<_>>().into(),
        value["dtype"].as_str().expect("a name").into(),
        list("data"),
    )
}

#[test]
#[ignore = "needs a file that a script makes"]
fn cases() {
    let text = std::fs::read_to_string("/tmp/cases.json").expect("cases");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let (mut good, mut bad) = (0, 0);
    for case in &cases {
        let name = case["name"].as_str().unwrap_or_default();
        let run = || -> Result<f64> {
            let value = serde_json::from_str(case["json"].as_str().unwrap_or_default()).map_err(wrong)?;
            let Read { mut model, layers } = model_of(value, &Load::new())?;
            let weights = file_weights(&layers);
            let given = case["weights"].as_array().expect("a list");
            if weights.len() != given.len() {
                let names: Vec<&str> = weights.iter().map(|w| w.variable.name()).collect();
                return Err(Error::shape(format!("{} weights, {} given: {names:?}", weights.len(), given.len())));
            }
            for (weight, value) in weights.iter().zip(given) {
                let (shape, _, data) = array(value);
                if shape != *weight.variable.shape() {
                    return Err(Error::shape(format!(
                        "{} is {}, given {shape}",
                        weight.variable.name(),
                        weight.variable.shape()
                    )));
                }
                weight.variable.set(&Data::from_f64(weight.variable.dtype(), &data))?;
            }
            let inputs: Vec<Tensor> = case["x"]
                .as_array()
                .expect("a list")
                .iter()
                .zip(model.inputs())
                .map(|(x, input)| {
                    let (shape, _, data) = array(x);
                    Tensor::from_data(Data::from_f64(input.dtype(), &data), shape)
                })
                .collect();
            let device = model.open()?;
            let got = model.predict_all(&inputs)?;
            let mut worst = 0f64;
            let wanted = case["y"].as_array().expect("a list");
            if got.len() != wanted.len() {
                return Err(Error::shape(format!("{} outputs", got.len())));
            }
            for (got, want) in got.iter().zip(wanted) {
                let (shape, _, want) = array(want);
                if shape != *got.shape() {
                    return Err(Error::shape(format!("output {} not {shape}", got.shape())));
                }
                let got = device.read_now(&got.cast(DType::F32))?.to_f64();
                worst = got
                    .iter()
                    .zip(&want)
                    .map(|(a, b)| (a - b).abs() / (1.0 + b.abs()))
                    .fold(worst, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
            }
            Ok(worst)
        };
        match run() {
            Ok(worst) if worst < 1e-5 => good += 1,
            Ok(worst) => {
                bad += 1;
                println!("DIFF  {name}: {worst:e}")
            }
            Err(error) => {
                bad += 1;
                println!("ERROR {name}: {error}")
            }
        }
    }
    println!("{good} good, {bad} bad");
}
