//! Models as ONNX files, for inference elsewhere.
//!
//! The predicting program is traced (`traced`) and written primitive by primitive (`lower`), so that every layer can be exported, also those of users.
//! Steps that ONNX has one operation for become that operation (`patterns`, `normalization`, `window`, `recurrent`); moved axes are followed as views
//! (`view`) until somebody needs them; what nobody needs is not written (`file`).

mod builder;
mod file;
mod lower;
mod normalization;
mod patterns;
mod recurrent;
mod traced;
mod view;
mod window;

use crate::model::Model;
#[cfg(not(target_arch = "wasm32"))]
use ibex_core::Error;
use ibex_core::graph::Op;
use ibex_core::{DType, Data, Result};
#[cfg(not(target_arch = "wasm32"))]
use ibex_data::io::write_atomic;
use lower::{Lowering, Weights};
use std::collections::HashMap;
#[cfg(not(target_arch = "wasm32"))]
use std::io::Write;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use traced::{Dim, Traced};

impl Model {
    /// Writes what the model predicts to an ONNX file (opset 18, IR version 8), whole or not at all: the way out to other runtimes and to servers. Not there
    /// in a browser, where it is `to_onnx().await`.
    ///
    /// The file has the model's inputs and outputs under their names, with batches of any size, and the weights under theirs (a kernel in the layout that
    /// ONNX wants). It holds no training state; to go on training use [`Model::save`]. Indices out of range, which give NaN here, are an error there. An
    /// `LSTM` is one operation; the steps of `GRU`, `SimpleRNN` and cells of your own are written one by one, as they run here.
    ///
    /// ```
    /// use ibex::prelude::*;
    ///
    /// # fn main() -> ibex::Result<()> {
    /// let model = Sequential::new([4]).add(Dense::new(8).activation(Relu)).add(Dense::new(3).activation(Softmax));
    /// # let folder = std::env::temp_dir().join(format!("ibex-onnx-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("model.onnx");
    /// model.export(&path)?;
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Value` if the path does not end in `.onnx`; as [`Model::to_onnx`]; `Io` if the file system refuses, in which case an old file is intact.
    #[cfg(not(target_arch = "wasm32"))]
    #[doc(alias = "onnx")]
    pub fn export(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let context = |e: Error| e.context(format!("can not export to {}", path.display()));
        if path.extension().is_none_or(|e| e != "onnx") {
            return Err(context(Error::value("models are exported as ONNX; give the file a name that ends in .onnx")));
        }
        let bytes = ibex_core::backend::block_on(self.to_onnx()).map_err(context)?;
        write_atomic(path, |file| file.write_all(&bytes))
    }

    /// The contents of an ONNX file: see [`Model::export`].
    ///
    /// # Errors
    /// `Unsupported` for what ONNX can not say, naming the layer: random numbers, state that changes with every prediction, axes of any length but
    /// that of the batch, lengths that are no linear function of its size, more than 2 GB; whatever the device reports.
    pub async fn to_onnx(&self) -> Result<Vec<u8>> {
        self.check()?;
        let traced = Traced::of(self)?;
        let (mut weights, mut stored) = (Weights::new(), HashMap::new());
        let device = self.open()?;
        let key = self.key()?;
        let names: HashMap<_, String> =
            self.named_weights().into_iter().map(|(name, weight)| (weight.variable.id(), name)).collect();
        for (i, node) in traced.nodes.iter().enumerate().filter(|(_, node)| node.needed) {
            match &node.op {
                // It is what random numbers are made of.
                Op::Variable(variable) if variable.id() == key.id() => {}
                Op::Variable(variable) if !weights.contains_key(&variable.id()) => {
                    let name = names.get(&variable.id()).map_or_else(|| variable.name(), String::as_str);
                    let data: Data = device.read(&variable.value()).await?;
                    weights.insert(variable.id(), (name.to_string(), data));
                }
                Op::Stored(numbers) => {
                    let elements = lower::lengths(&node.shape).unwrap_or_default().iter().product();
                    stored.insert(i, numbers.read(0..elements, node.dtype).await?);
                }
                _ => {}
            }
        }
        let batch = traced.batch.map_or(Dim { scale: 1, offset: 0 }, Dim::fixed);
        let input = |rest: &[usize], dtype: DType| {
            let rest = rest.iter().map(|&d| Dim::fixed(d));
            (dtype, std::iter::once(batch).chain(rest).collect::<Vec<_>>())
        };
        let inputs: Vec<_> = self.inputs().iter().map(|i| input(i.shape(), i.dtype())).collect();
        let (built, outputs) = Lowering::run(&traced, &weights, &stored, &inputs)?;
        // The numbers that the file needs are in what was built.
        drop((weights, stored));
        let names = file::Names {
            graph: self.name(),
            layers: &traced.layers,
            inputs: self.input_names(),
            outputs: &self.output_names(),
        };
        file::encode(built, &outputs, &names)
    }
}
