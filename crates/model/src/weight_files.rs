//! Weights alone in files: Keras's HDF5 of both kinds, NumPy's `.npz`, safetensors.

use crate::graph::Node;
use crate::layers::{Names, Weight, below, is_keras_layer};
use crate::model::Model;
use ibex_core::{DType, Data, Error, Result};
use ibex_data::io::{Kind, failed};
use ibex_formats::hdf5::{Dataset, Group};
use ibex_formats::keras::Archive;
use ibex_formats::npy;
use ibex_formats::weights::{self, legacy};
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// A weight of a model that is in its files.
struct Placed<'m> {
    node: &'m Node,
    weight: &'m Weight,
    /// Where Keras has it: `layers/lstm/cell`.
    place: String,
}

impl Placed<'_> {
    /// `dense/kernel`
    fn name(&self) -> String {
        format!("{}/{}", self.node.name(), self.weight.name())
    }

    /// An error if `dataset`, which the file has at `path`, does not fit.
    fn check(&self, path: &str, dataset: &Dataset) -> Result<()> {
        let (variable, class) = (&self.weight.variable, self.node.layer().class_name());
        let kinds = |dtype: DType| (dtype.is_float(), dtype.is_int());
        let fits = kinds(dataset.dtype) == kinds(variable.dtype());
        if fits && dataset.shape == variable.shape()[..] {
            return Ok(());
        }
        let (name, weight) = (self.node.name(), self.weight.name());
        let (dtype, shape) = (variable.dtype(), variable.shape());
        Err(Error::shape(format!(
            "layer {name} ({class}): its weight {weight} is {dtype} {shape}, the file has {dataset:?} ({path}); make the layer as it was when the file was \
             written"
        )))
    }

    /// Takes the numbers of `dataset`, which fit.
    fn set(&self, dataset: &Dataset) -> Result<()> {
        let data = dataset.read()?.into_owned();
        let variable = &self.weight.variable;
        let set = match data.dtype() == variable.dtype() {
            true => variable.set_owned(data),
            false => variable.set_owned(Data::from_f64(variable.dtype(), &data.to_f64())),
        };
        set.map_err(|e| e.context(format!("layer {}", self.node.name())))
    }
}

impl Model {
    /// Replaces the weights by those of a file: Keras's `.weights.h5`, `.h5` and `.keras`, NumPy's `.npz`, or `.safetensors`, whatever its name is.
    /// Files of whole models will do, their architecture is not looked at. Every weight must be there with its shape; if not, no weight is changed.
    ///
    /// In files of Keras layers are told apart by their class and their order, in `.h5` files of Keras 2 by their order alone. `.npz` and
    /// `.safetensors` have the weights by name: `dense/kernel`.
    ///
    /// # Errors
    /// `Io` if the file can not be read; `Format` if it is damaged, or of another model; `Shape` if a weight does not fit, naming the layer and both
    /// shapes.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.load_weights_file(path).map_err(|e| e.context(format!("can not load weights from {}", path.display())))
    }

    fn load_weights_file(&mut self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return self.take_weights(&Archive::open(path)?.weights);
        }
        match Kind::of_file(path)? {
            Kind::Hdf5 => self.take_weights(&Group::open(path)?),
            Kind::Zip if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz")) => {
                self.take_arrays(npy::open_npz(path)?)
            }
            Kind::Zip => match Archive::open(path) {
                Ok(archive) => self.take_weights(&archive.weights),
                Err(error) => self.take_arrays(npy::open_npz(path).map_err(|_| error)?),
            },
            _ => self.take_safetensors(&std::fs::read(path).map_err(|e| failed("read", path, &e))?),
        }
    }

    /// [`Model::load_weights`] of a file's contents.
    ///
    /// # Errors
    /// As [`Model::load_weights`].
    pub fn load_weights_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match Kind::of(bytes) {
            Kind::Hdf5 => self.take_weights(&Group::from_bytes(bytes.to_vec())?),
            Kind::Zip => match Archive::from_bytes(bytes.to_vec()) {
                Ok(archive) => self.take_weights(&archive.weights),
                Err(error) => self.take_arrays(npy::npz_from_bytes(bytes).map_err(|_| error)?),
            },
            _ => self.take_safetensors(bytes),
        }
    }

    /// All weights that are in files, in the order of layers; shared ones once. Within a layer those that training changes come first, as in Keras.
    fn placed(&self) -> Vec<Placed<'_>> {
        let mut names = Names::default();
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for node in self.layers() {
            let layer = node.layer();
            if !is_keras_layer(layer) {
                continue;
            }
            let place = format!("layers/{}", names.next(layer.class_name()));
            let mut weights: Vec<&Weight> = node.weights().iter().filter(|w| !w.is_transient()).collect();
            weights.sort_by_key(|w| w.is_state());
            for weight in weights {
                if seen.insert(weight.variable.id()) {
                    all.push(Placed { node, weight, place: below(&place, &layer.keras_place(weight.name())) });
                }
            }
        }
        all
    }

    /// The weights of Keras's file of either kind.
    pub(crate) fn take_weights(&mut self, file: &Group) -> Result<()> {
        self.check()?;
        match legacy::group(file) {
            Some(group) => self.take_legacy(group),
            None => {
                let placed = self.placed();
                let places: Vec<String> = placed.iter().map(|p| p.place.clone()).collect();
                let found = weights::find(file, &places)?;
                take(placed.iter().zip(found).map(|(p, f)| (p, f.path, f.dataset)))
            }
        }
    }

    /// The weights of a file of Keras 2: by the order of the layers that have some.
    fn take_legacy(&self, group: &Group) -> Result<()> {
        let layers = legacy::layers(group)?;
        let layers: Vec<_> = layers.into_iter().filter(|layer| !layer.weights.is_empty()).collect();
        let own = self.legacy_order();
        if own.len() != layers.len() {
            let names = layers.iter().map(|layer| &layer.name[..]).collect::<Vec<_>>().join(", ");
            return Err(Error::format(format!(
                "the file has weights of {} layers ({names}), this model of {}; make the model as the one that was saved",
                layers.len(),
                own.len()
            )));
        }
        let mut pairs = Vec::new();
        for (own, layer) in own.iter().zip(&layers) {
            if let (Some(first), true) = (own.first(), own.len() != layer.weights.len()) {
                let (name, class) = (first.node.name(), first.node.layer().class_name());
                return Err(Error::format(format!(
                    "layer {name} ({class}) has {} weights, layer {} of the file {}; make the layer as it was when the file was written",
                    own.len(),
                    layer.name,
                    layer.weights.len()
                )));
            }
            let paths = layer.weights.iter().map(|(name, dataset)| (format!("{}/{name}", layer.name), *dataset));
            pairs.extend(own.iter().zip(paths).map(|(own, (path, dataset))| (own, path, dataset)));
        }
        take(pairs.into_iter())
    }

    /// The weights layer by layer, those that are trained first: weights of frozen layers inside of a layer come last.
    fn legacy_order(&self) -> Vec<Vec<Placed<'_>>> {
        let layer = |node| -> Vec<Placed<'_>> {
            let own = Node::weights(node).iter().filter(|w| !w.is_transient());
            let mut own: Vec<_> = own.map(|weight| Placed { node, weight, place: String::new() }).collect();
            own.sort_by_key(|placed| !placed.weight.trainable());
            own
        };
        self.layers().iter().map(layer).filter(|weights| !weights.is_empty()).collect()
    }

    fn take_arrays(&self, arrays: Vec<(String, npy::Array)>) -> Result<()> {
        self.check()?;
        self.take_named(arrays.into_iter().map(|(name, array)| (name, Dataset::new(array.shape, array.data))).collect())
    }

    /// The weights of a file of safetensors; one that [`Model::save`] wrote has more in it.
    fn take_safetensors(&self, bytes: &[u8]) -> Result<()> {
        self.check()?;
        let damaged = |e| Error::format(format!("it is no file of weights that is known, and no safetensors: {e}"));
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let whole = file.names().iter().any(|name| name.starts_with("layers/"));
        let mut named = BTreeMap::new();
        for (name, view) in file.iter() {
            let name = match name.strip_prefix("layers/") {
                Some(name) => name,
                None if whole => continue,
                None => name,
            };
            let dtype = crate::saving::view_dtype(view.dtype());
            let dtype = dtype.ok_or_else(|| Error::unsupported(format!("weight {name} is {:?}", view.dtype())))?;
            named.insert(name.to_string(), Dataset::new(view.shape(), Data::from_bytes(dtype, view.data())?));
        }
        self.take_named(named)
    }

    fn take_named(&self, mut file: BTreeMap<String, Dataset>) -> Result<()> {
        let mut pairs = Vec::new();
        let placed = self.by_name();
        for own in &placed {
            let name = own.name();
            let Some(dataset) = file.remove(&name) else {
                let text = format!("the file has no weight {name}; name the layers as in the model that was saved");
                return Err(Error::format(text));
            };
            pairs.push((own, name, dataset));
        }
        if let Some((name, dataset)) = file.first_key_value() {
            return Err(Error::format(format!(
                "the file has a weight {name} ({dataset:?}), which no layer of this model takes; make the model as the one that was saved"
            )));
        }
        take(pairs.iter().map(|(own, name, dataset)| (*own, name.clone(), dataset)))
    }

    /// As [`Model::placed`], of layers that Keras does not have too.
    fn by_name(&self) -> Vec<Placed<'_>> {
        let mut seen = HashSet::new();
        let all = self.layers().iter().flat_map(|node| node.weights().iter().map(move |weight| (node, weight)));
        let all = all.filter(|(_, weight)| !weight.is_transient());
        all.filter(|(_, weight)| seen.insert(weight.variable.id()))
            .map(|(node, weight)| Placed { node, weight, place: String::new() })
            .collect()
    }
}

/// Takes all or nothing, as far as shapes tell.
fn take<'m>(pairs: impl Iterator<Item = (&'m Placed<'m>, String, &'m Dataset)>) -> Result<()> {
    let pairs: Vec<_> = pairs.collect();
    pairs.iter().try_for_each(|(own, path, dataset)| own.check(path, dataset))?;
    pairs.iter().try_for_each(|(own, _, dataset)| own.set(dataset))
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod write {
    use super::*;
    use ibex_core::{Device, Variable};
    use ibex_data::io::write_atomic;
    use ibex_formats::hdf5::Values;
    use ibex_formats::weights::Object;
    use safetensors::tensor::TensorView;
    use std::borrow::Cow;
    use std::io::Write;

    impl Model {
        /// Writes the weights alone, whole or not at all, as the file's name says: `.weights.h5` as Keras 3 does it, other `.h5` as Keras 2, `.npz`,
        /// or `.safetensors`. Keras reads the first two.
        ///
        /// # Errors
        /// `Value` for another ending; `Io` if the file system refuses, in which case an old file is intact; whatever the device reports.
        pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
            let path = path.as_ref();
            self.check()?;
            let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
            match name.rsplit_once('.').map(|(_, ending)| ending) {
                Some("h5") if name.ends_with(".weights.h5") => self.keras_weights()?.save(path),
                Some("h5" | "hdf5") => self.legacy_weights()?.save(path),
                Some("npz") => {
                    let mut arrays = Vec::new();
                    for (name, dataset) in self.named_datasets()? {
                        let array = npy::Array::new(dataset.shape.clone(), dataset.read()?.into_owned())?;
                        arrays.push((name, array));
                    }
                    npy::save_npz(path, arrays.iter().map(|(name, array)| (&name[..], array)))
                }
                Some("safetensors") => self.save_safetensors(path),
                _ => Err(Error::value(format!(
                    "can not write weights to {}: end its name with .weights.h5 (Keras 3), .h5 (Keras 2), .npz or .safetensors",
                    path.display()
                ))),
            }
        }

        /// The tree of Keras 3's files of weights, whose numbers are read from the device when they are written.
        pub(crate) fn keras_weights(&self) -> Result<Group> {
            let mut objects = vec![Object { path: String::new(), name: self.name().into() }];
            if !self.is_sequential() {
                let mut names = Names::default();
                objects.extend(
                    self.input_names().iter().map(|name| Object {
                        path: format!("layers/{}", names.next("InputLayer")),
                        name: name.clone(),
                    }),
                );
            }
            let mut names = Names::default();
            let layers = self.layers().iter().filter(|node| is_keras_layer(node.layer()));
            objects.extend(layers.map(|node| Object {
                path: format!("layers/{}", names.next(node.layer().class_name())),
                name: node.name().into(),
            }));
            let device = self.open()?;
            let placed = self.placed();
            weights::tree(&objects, placed.into_iter().map(|p| (p.place.clone(), dataset(&device, &p.weight.variable))))
        }

        /// The tree of Keras 2's files of weights, likewise.
        pub(crate) fn legacy_weights(&self) -> Result<Group> {
            let device = self.open()?;
            let mut own = self.legacy_order().into_iter().peekable();
            let mut layers = Vec::new();
            let inputs = self.input_names().iter().filter(|_| !self.is_sequential());
            layers.extend(inputs.map(|name| legacy::Layer { name: name.clone(), weights: Vec::new() }));
            for node in self.layers().iter().filter(|node| is_keras_layer(node.layer())) {
                let own = own.next_if(|own| own.first().is_some_and(|p| p.node.name() == node.name()));
                let weight =
                    |p: Placed| (format!("{}/{}", self.name(), p.name()), dataset(&device, &p.weight.variable));
                let weights = own.unwrap_or_default().into_iter().map(weight).collect();
                layers.push(legacy::Layer { name: node.name().into(), weights });
            }
            legacy::weights_group(layers)
        }

        fn named_datasets(&self) -> Result<Vec<(String, Dataset)>> {
            let device = self.open()?;
            Ok(self.by_name().into_iter().map(|p| (p.name(), dataset(&device, &p.weight.variable))).collect())
        }

        fn save_safetensors(&self, path: &Path) -> Result<()> {
            let wrong = |e: safetensors::SafeTensorError| Error::format(format!("the weights can not be written: {e}"));
            let mut all = Vec::new();
            for (name, dataset) in self.named_datasets()? {
                all.push((name, dataset.shape.clone(), dataset.read()?.into_owned()));
            }
            let mut views = Vec::new();
            for (name, shape, data) in &all {
                let dtype = crate::saving::dtype_to(data.dtype());
                views.push((&name[..], TensorView::new(dtype, shape.clone(), data.as_bytes()).map_err(wrong)?));
            }
            let bytes = safetensors::serialize(views, None).map_err(wrong)?;
            write_atomic(path, |file| file.write_all(&bytes))
        }
    }

    /// A variable's numbers, when they are asked for.
    pub(crate) fn dataset(device: &Device, variable: &Variable) -> Dataset {
        let values = OnDevice { device: device.clone(), variable: variable.clone() };
        Dataset::lazy(variable.shape().to_vec(), variable.dtype(), values)
    }

    struct OnDevice {
        device: Device,
        variable: Variable,
    }

    impl Values for OnDevice {
        fn read(&self) -> Result<Cow<'_, Data>> {
            self.device.read_now(&self.variable.value()).map(Cow::Owned)
        }

        fn read_parts(&self, take: &mut dyn FnMut(&Data) -> Result<()>) -> Result<()> {
            // 16 MB at most: few enough reads that their cost does not show, little beside what such an array takes on the device.
            self.device.read_parts(&self.variable.value(), 1 << 22, take)
        }
    }
}
