//! A model as a layer of another.

use super::{Graph, Masked};
use crate::config::Config;
use crate::layers::{Context, Draw, Layer, Names, Weights, below, is_keras_layer};
use ibex_core::{Data, Error, Result, Shape, Tensor};
use std::sync::Arc;

/// A model as a layer: [`Model::apply`](crate::Model::apply) makes one. Its weights are those of the model.
#[derive(Clone, Debug)]
pub(crate) struct Nested {
    pub graph: Arc<Graph>,
    pub sequential: bool,
}

impl Layer for Nested {
    fn class_name(&self) -> &'static str {
        if self.sequential { "Sequential" } else { "Functional" }
    }

    fn config(&self) -> Result<Config> {
        crate::saving::graph_config(&self.graph)
    }

    fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        let wanted = &self.graph.inputs;
        if inputs.len() != wanted.len()
            || inputs.iter().zip(wanted).any(|(i, w)| !w.shape().admits(i.get(1..).unwrap_or_default()))
        {
            let wanted: Vec<String> = wanted.iter().map(|w| crate::model::batched(w.shape())).collect();
            return Err(Error::shape(format!("the model inside takes {}", wanted.join(", "))));
        }
        for node in &self.graph.nodes {
            if let Draw::Seed(seed, before) = weights.drawing() {
                node.instance.draw(&node.name, seed, before)?;
            }
            weights.within(&node.name, |weights| {
                node.instance.any_weights().iter().try_for_each(|w| weights.adopt(w.name(), w).map(drop))
            })?;
        }
        Ok(())
    }

    fn keras_place(&self, weight: &str) -> String {
        let mut names = Names::default();
        for node in self.graph.nodes.iter().filter(|node| is_keras_layer(node.layer())) {
            let place = format!("layers/{}", names.next(node.layer().class_name()));
            if let Some(weight) = weight.strip_prefix(node.name()).and_then(|rest| rest.strip_prefix('/')) {
                return below(&place, &node.layer().keras_place(weight));
            }
        }
        String::new()
    }

    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        let masked: Vec<Masked> = inputs.iter().enumerate().map(|(i, x)| (x.clone(), cx.mask(i))).collect();
        let inside = !cx.trainable();
        let frozen = std::mem::replace(&mut cx.pass.frozen, inside);
        let results = self.graph.run(&masked, cx.pass);
        cx.pass.frozen = frozen;
        let (ys, mut masks): (Vec<_>, Vec<_>) = results?.into_iter().unzip();
        cx.set_mask(masks.swap_remove(0));
        Ok(ys)
    }

    fn check_data(&self, data: &Data) -> Result<()> {
        // Of several inputs it is not known which this is.
        if self.graph.inputs.len() > 1 {
            return Ok(());
        }
        self.graph.readers(0).try_for_each(|node| node.layer().check_data(data))
    }
}
