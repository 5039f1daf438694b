//! Whole models from Keras's files: `.keras`, and `.h5` as Keras 2 wrote them.

use super::network::wrong;
use super::{assets, model_of};
use crate::layers::Draw;
use crate::model::Model;
use crate::saving::Load;
use crate::saving::native::{STATE, WEIGHTS_ALONE};
use ibex_core::{Data, Error, Result, Variable};
use ibex_formats::hdf5::{Dataset, Group};
use ibex_formats::keras::Archive;
use ibex_formats::weights::{self, legacy};
use serde_json::Value;

impl Model {
    /// The model of a `.keras` file.
    pub(in crate::saving) fn from_archive(mut archive: Archive, load: &Load) -> Result<Model> {
        let compile = archive.config.get_mut("compile_config").map(Value::take).unwrap_or_default();
        assets::take(&mut archive.config, "", &archive.assets)?;
        let (mut model, keys) = model_of(archive.config, load, Draw::Zeros)?;
        model.take_weights(&archive.weights)?;
        model.compile_as(&compile, &keys);
        let state = weights::numbered(&archive.weights, "optimizer")?;
        model.take_state(&state.into_iter().map(|dataset| ("", dataset)).collect::<Vec<_>>());
        Ok(model)
    }

    /// The model of an `.h5` file that holds a whole model.
    pub(in crate::saving) fn from_hdf5(file: &Group, load: &Load) -> Result<Model> {
        let json =
            |name: &str| file.text(name).map(|text| serde_json::from_str::<Value>(text).map_err(wrong)).transpose();
        let Some(config) = json("model_config")? else {
            return Err(Error::format(WEIGHTS_ALONE));
        };
        let (mut model, keys) = model_of(config, load, Draw::Zeros)?;
        model.take_weights(file)?;
        model.compile_as(&json("training_config")?.unwrap_or_default(), &keys);
        if let Some(group) = file.groups.get("optimizer_weights") {
            let state = legacy::variables(group)?;
            let state: Vec<_> = state.iter().map(|(name, dataset)| (&name[..], *dataset)).collect();
            model.take_state(&state);
        }
        Ok(model)
    }

    /// Takes the optimizer's variables from a file, which come with names in some files; none leave it as it is. Those that do not fit are reported when
    /// the model shall be trained.
    fn take_state(&mut self, file: &[(&str, &Dataset)]) {
        if file.is_empty() || self.training.is_none() {
            return;
        }
        if let Err(error) = self.take_state_of(file) {
            self.leave_uncompiled(error.context(STATE));
        }
    }

    fn take_state_of(&self, file: &[(&str, &Dataset)]) -> Result<()> {
        if is_fresh(file)? {
            return Ok(());
        }
        let training = self.training()?;
        let order: Vec<usize> = (0..training.trained.len()).collect();
        let class = training.optimizer.class_name();
        let mut file = file;
        let mut pairs: Vec<(&Variable, &Dataset)> = Vec::new();
        if let Some(scaling) = &training.scaling {
            // Beside two numbers without meaning: the count of steps and the factor, then what the optimizer inside has.
            let [_, _, (_, steps), (_, scale), inner @ ..] = file else { return Err(wrong("it has no loss scale")) };
            pairs.extend([(&scaling.steps, *steps), (&scaling.scale, *scale)]);
            file = inner;
        }
        // TensorFlow's optimizers of old have all slots of one kind together, and most of them no rate.
        let old = file.iter().any(|(name, _)| name.ends_with("/m:0") || name.ends_with("/v:0"));
        let mut wanted = 0;
        for (together, rate) in [(old, true), (old, false), (!old, true), (!old, false)] {
            let own = training.state.in_keras_order(&*training.optimizer, &order, together);
            wanted = wanted.max(own.len());
            let own: Vec<&Variable> =
                own.into_iter().filter(|variable| rate || !training.state.is_rate(variable)).collect();
            let fits = own.len() == file.len()
                && own.iter().zip(file).all(|(own, (_, dataset))| own.shape()[..] == dataset.shape[..]);
            if fits {
                pairs.extend(own.into_iter().zip(file.iter().map(|(_, dataset)| *dataset)));
                return pairs.into_iter().try_for_each(|(variable, dataset)| set(variable, dataset));
            }
        }
        Err(Error::shape(format!(
            "the file has {} variables of the optimizer, {class} has {wanted} here, or their shapes differ",
            file.len()
        )))
    }
}

/// Is it of an optimizer before its first step? Keras then has counters and the rate, which the configuration has too, but no slots.
fn is_fresh(file: &[(&str, &Dataset)]) -> Result<bool> {
    for (_, dataset) in file {
        let counter = !dataset.dtype.is_float();
        if !dataset.shape.is_empty() || counter && dataset.read()?.to_f64() != [0.0] {
            return Ok(false);
        }
    }
    Ok(true)
}

fn set(variable: &Variable, dataset: &Dataset) -> Result<()> {
    let data = dataset.read()?.into_owned();
    match data.dtype() == variable.dtype() {
        true => variable.set_owned(data),
        false => variable.set_owned(Data::from_f64(variable.dtype(), &data.to_f64())),
    }
}
