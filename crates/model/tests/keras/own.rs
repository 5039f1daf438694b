//! Losses and metrics of Keras's users, and those of Keras that are not supported: `generate_own.py` made them.

use crate::common::Folder;
use ibex::Result;
use ibex::prelude::*;
use serde_json::Value;

/// What [`Model::compile`] set, in the words of Keras.
fn compiled(model: &Model) -> Result<[Value; 2]> {
    let json: Value = serde_json::from_str(&model.to_json()?).expect("JSON");
    Ok(["loss", "metrics"].map(|field| json["compile_config"][field].clone()))
}

/// None of them becomes another one that happens to have its name, and every file calls them as Keras did.
#[test]
fn what_is_not_known_stays_as_it_was() -> Result<()> {
    let folder = Folder::new("keras-own");
    let files: Value = serde_json::from_str(include_str!("files/own.json")).expect("JSON");
    let (x, y) = (Tensor::rand([4, 3], 0), Tensor::rand([4, 1], 1));
    for (name, loss, metric) in [
        ("function", "unknown loss \"my_loss\"; known are", Some("keras.metrics.Accuracy counts equal numbers")),
        (
            "class",
            "unknown loss \"mine>MeanSquaredError\"",
            Some("unknown metric \"AUC\", a class that is not Keras's own"),
        ),
        ("imported", "unknown loss \"Huber\", a class that is not Keras's own", None),
    ] {
        let config = &files[name]["compile_config"];
        let wanted = [config["loss"].clone(), config["metrics"].clone()];
        let mut model = Model::from_json(&files[name].to_string())?;
        for ending in ["json", "safetensors", "keras", "h5", "safetensors"] {
            let file = folder.0.join(format!("{name}.{ending}"));
            if ending != "json" {
                model.save(&file)?;
                model = Model::load(&file)?;
            }
            let mut got = compiled(&model)?;
            // Known ones say no element type.
            if name == "class" {
                got[1][2] = wanted[1][2].clone();
            }
            assert_eq!(got, wanted, "{name}.{ending}");
            let error = model.evaluate((&x, &y), 4).expect_err("an unknown loss").to_string();
            assert!(error.contains(loss) && error.contains("Some(losses)"), "{name}.{ending}: {error}");
        }
        let Some(metric) = metric else { continue };
        model.recompile(None, Some(vec![Box::new(MeanSquaredError::new())]), None)?;
        let error = model.evaluate((&x, &y), 4).expect_err("an unknown metric").to_string();
        assert!(error.contains(metric) && error.contains("Some(metrics)"), "{name}: {error}");
    }
    Ok(())
}
