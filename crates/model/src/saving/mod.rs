//! Models in files: our own, and Keras's.

mod keras;
mod native;
pub(crate) mod unknown;

#[cfg(all(feature = "keras", not(target_arch = "wasm32")))]
pub(crate) use native::dtype_to;
#[cfg(feature = "keras")]
pub(crate) use native::view_dtype;
pub(crate) use native::{graph_config, nested_from_config};

use crate::model::Model;
use ibex_core::Result;
use ibex_data::io::{Kind, failed};
use std::collections::BTreeMap;
use std::path::Path;

/// How a model is loaded, where [`Model::load`] needs to know more than the file says.
///
/// ```no_run
/// use ibex::Load;
///
/// # fn main() -> ibex::Result<()> {
/// // The file leaves the number of steps open; the model shall be for 80.
/// let model = Load::new().input_shape("tokens", [80]).file("sentiment.keras")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Load {
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Load {
    /// As the file says.
    pub fn new() -> Self {
        Load::default()
    }

    /// The shape of an input without the batch axis, for one whose lengths a file of Keras leaves open (`None`), which are of any length
    /// else.
    #[must_use]
    pub fn input_shape(mut self, input: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        self.shapes.insert(input.into(), shape.into());
        self
    }

    /// [`Model::load`].
    ///
    /// # Errors
    /// As there.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<Model> {
        let path = path.as_ref();
        self.read(path).map_err(|e| {
            let name = path.display().to_string();
            // What the file system or a container says names the file already.
            if e.to_string().contains(&name) { e } else { e.context(format!("can not load {name}")) }
        })
    }

    fn read(&self, path: &Path) -> Result<Model> {
        // A folder is an archive that was unpacked.
        match if path.is_dir() { Kind::Zip } else { Kind::of_file(path)? } {
            // Of files of Keras weights are read one after another.
            #[cfg(feature = "keras")]
            Kind::Zip => Model::from_archive(ibex_formats::keras::Archive::open(path)?, self),
            #[cfg(feature = "keras")]
            Kind::Hdf5 => Model::from_hdf5(&ibex_formats::hdf5::Group::open(path)?, self),
            Kind::Json | Kind::Other => self.bytes(&std::fs::read(path).map_err(|e| failed("read", path, &e))?),
            #[cfg(not(feature = "keras"))]
            _ => Err(without_keras()),
        }
    }

    /// [`Model::from_bytes`].
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn bytes(&self, bytes: &[u8]) -> Result<Model> {
        match Kind::of(bytes) {
            Kind::Other => Model::from_native(bytes),
            #[cfg(feature = "keras")]
            Kind::Zip => Model::from_archive(ibex_formats::keras::Archive::from_bytes(bytes.to_vec())?, self),
            #[cfg(feature = "keras")]
            Kind::Hdf5 => Model::from_hdf5(&ibex_formats::hdf5::Group::from_bytes(bytes.to_vec())?, self),
            Kind::Json => match std::str::from_utf8(bytes) {
                Ok(text) => self.json(text.trim_start_matches('\u{feff}')),
                Err(_) => Err(ibex_core::Error::format("the file begins as JSON, but is no text")),
            },
            #[cfg(not(feature = "keras"))]
            _ => Err(without_keras()),
        }
    }
}

#[cfg(not(feature = "keras"))]
fn without_keras() -> ibex_core::Error {
    ibex_core::Error::unsupported("this program was built without the feature \"keras\", which reads files of Keras")
}

#[cfg(not(target_arch = "wasm32"))]
fn ending(path: &Path) -> Option<String> {
    path.extension().and_then(|e| e.to_str()).map(str::to_lowercase)
}

impl Model {
    /// Writes the model with its weights, compile settings and optimizer state to one file, whole or not at all, as the file's name says: `.safetensors` in
    /// our own format, which has the state of random numbers too; `.keras` as Keras 3 does it, `.h5` as Keras 2, `.onnx` for
    /// prediction elsewhere ([`Model::export`]). A loss or metric of your own is written by its name and configuration: [`Model::recompile`] gives it
    /// back after loading, Keras loads such a file with `custom_objects` or `compile=False`. Not there in a browser, where it is `to_bytes().await`.
    ///
    /// # Errors
    /// If a layer can not be written; `Io` if the file system refuses, in which case an old file is intact.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let saved = match ending(path).as_deref() {
            #[cfg(feature = "keras")]
            Some("keras") => self.to_archive().and_then(|archive| archive.save(path)),
            #[cfg(feature = "keras")]
            Some("h5" | "hdf5") => self.to_hdf5().and_then(|file| file.save(path)),
            #[cfg(not(feature = "keras"))]
            Some("keras" | "h5" | "hdf5") => Err(without_keras()),
            Some("onnx") => self.export(path),
            Some("safetensors") => ibex_core::backend::block_on(self.to_bytes())
                .and_then(|bytes| ibex_data::io::write_atomic(path, |file| std::io::Write::write_all(file, &bytes))),
            _ => Err(ibex_core::Error::value("a model's file ends in .safetensors, .keras, .h5 or .onnx")),
        };
        saved.map_err(|e| e.context(format!("can not write {}", path.display())))
    }

    /// Tells whether [`Model::save`] can describe the model in a file of that name, before there is anything to lose.
    ///
    /// # Errors
    /// What keeps the model from being written.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn check_saving(&self, path: &Path) -> Result<()> {
        let described = match ending(path).as_deref() {
            #[cfg(feature = "keras")]
            Some("keras") => self.to_archive().map(drop),
            #[cfg(feature = "keras")]
            Some("h5" | "hdf5") => self.to_hdf5().map(drop),
            #[cfg(not(feature = "keras"))]
            Some("keras" | "h5" | "hdf5") => Err(without_keras()),
            _ => self.check_native(),
        };
        described.map_err(|e| e.context(format!("can not write {}", path.display())))
    }

    /// Reads a model, for the default device: one that [`Model::save`] wrote, Keras's `.keras` and `.h5` files of any version, or the JSON of an architecture,
    /// whatever the file is called. Optimizer state comes along; training goes on where it was.
    ///
    /// # Errors
    /// `Io` if the file can not be read; `Format` if it is damaged or no model, saying how; `Unsupported` for an unknown layer, naming it. Settings for training
    /// that are not known here, as a loss of your own, are reported when the model shall be trained: [`Model::recompile`] gives them, and keeps the rest.
    pub fn load(path: impl AsRef<Path>) -> Result<Model> {
        Load::new().file(path)
    }

    /// The model of a file's contents.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Model> {
        Load::new().bytes(bytes)
    }
}
