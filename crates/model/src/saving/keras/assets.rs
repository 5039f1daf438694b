//! Vocabularies, which Keras keeps beside the description of a model if they were learned.

use super::network::wrong;
use crate::layers::Names;
use ibex_core::Result;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Puts the vocabularies of an archive's `assets` into the description of the model that stands at `place` there: at no place, or at
/// `layers/sequential/`.
pub(super) fn take(model: &mut Value, place: &str, assets: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut names = Names::default();
    let layers = model.get_mut("config").and_then(|config| config.get_mut("layers")).and_then(Value::as_array_mut);
    for layer in layers.into_iter().flatten() {
        let Some(class) = layer.get("class_name").and_then(Value::as_str) else { continue };
        let place = format!("{place}layers/{}", names.next(class));
        if let Some(file) = assets.get(&format!("{place}/vocabulary.txt"))
            && class == "IntegerLookup"
            && let Some(Value::Object(config)) = layer.get_mut("config")
        {
            let vocabulary =
                vocabulary(file, config).map_err(|e| e.context(format!("assets/{place}/vocabulary.txt")))?;
            config.insert("vocabulary".into(), vocabulary.into());
        }
        take(layer, &format!("{place}/"), assets)?;
    }
    Ok(())
}

/// The integers of a file, one in a line, without those for the mask and for what is unknown, which come first.
fn vocabulary(file: &[u8], config: &Map<String, Value>) -> Result<Vec<i64>> {
    let text = std::str::from_utf8(file).map_err(wrong)?;
    let number = |name: &str| config.get(name).and_then(Value::as_u64);
    let masked = config.get("mask_token").is_some_and(|token| !token.is_null());
    let indices = config.get("output_mode").and_then(Value::as_str).unwrap_or("int") == "int";
    let special = u64::from(masked && indices) + number("num_oov_indices").unwrap_or(1);
    let lines = text.lines().filter(|line| !line.is_empty()).skip(special as usize);
    lines.map(|line| line.trim().parse().map_err(|_| wrong(format!("{line:?} is no integer")))).collect()
}

#[cfg(test)]
mod tests {
    use crate::model::Model;
    use crate::{Eval, Result, Tensor};
    use ibex_formats::hdf5::Group;
    use ibex_formats::keras::Archive;
    use serde_json::json;

    /// The second lookup of a model, in a model inside. The file is as `IndexLookup.save_assets` of Keras writes it.
    #[test]
    fn learned_vocabularies() -> Result<()> {
        let lookup = |vocabulary: serde_json::Value| {
            json!({ "module": "keras.layers", "class_name": "IntegerLookup", "config": {
                "name": format!("lookup_{vocabulary}"), "num_oov_indices": 1, "mask_token": 0, "oov_token": -1, "output_mode": "int",
                "vocabulary": vocabulary
            } })
        };
        let input = json!({ "module": "keras.layers", "class_name": "InputLayer", "config": {
            "batch_shape": [null, 3], "dtype": "int32", "name": "numbers"
        } });
        let inner = json!({ "module": "keras", "class_name": "Sequential", "config": { "name": "inner", "layers": [input, lookup(json!(null))] } });
        let config = json!({ "module": "keras", "class_name": "Sequential", "config": { "name": "model", "layers": [input, inner] } });
        let mut archive = Archive::new(config, Group::default());
        archive
            .assets
            .insert("layers/sequential/layers/integer_lookup/vocabulary.txt".into(), b"0\n-1\n7\n40\n5".to_vec());
        let model = Model::from_bytes(&archive.to_bytes()?)?;
        let y = model.predict(&Tensor::from_vec(vec![5, 7, 8], [1, 3]))?;
        assert_eq!(y.to_vec::<i32>()?, [4, 2, 1]);
        archive
            .assets
            .insert("layers/sequential/layers/integer_lookup/vocabulary.txt".into(), b"0\n-1\nseven".to_vec());
        let error = Model::from_bytes(&archive.to_bytes()?).expect_err("no integer").to_string();
        assert!(error.contains("vocabulary.txt") && error.contains("seven"), "{error}");
        Ok(())
    }
}
