//! The order of layers and of their applications in a model: Keras's, so that weights stand in the same order in files.

use super::Instance;
use super::symbolic::{Place, SymbolicTensor};
use ibex_core::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// What lies between inputs and outputs.
pub(super) struct Order {
    pub instances: Vec<Instance>,
    /// Those of applications can run in this order.
    pub places: Vec<Arc<Place>>,
}

type Key = *const Place;

#[derive(Default)]
struct Walk {
    /// After all that they depend on.
    done: Vec<Arc<Place>>,
    state: HashMap<Key, ()>,
    /// Instances in the order in which they are met from the outputs.
    met: Vec<Instance>,
}

impl Order {
    pub fn new(inputs: &[SymbolicTensor], outputs: &[SymbolicTensor]) -> Result<Order> {
        let mut walk = Walk::default();
        for input in inputs {
            walk.state.insert(Arc::as_ptr(input.place()), ());
        }
        for output in outputs {
            walk.visit(output.place())?;
        }
        // Distance from the output, of applications and of layers: the largest of all ways.
        let mut depths: HashMap<Key, usize> = HashMap::new();
        let mut layer_depths = vec![0usize; walk.met.len()];
        for place in walk.done.iter().rev() {
            let Place::Call { instance, inputs, .. } = &**place else { continue };
            let layer = walk.met.iter().position(|i| i.is(instance)).unwrap_or_default();
            let depth = (*depths.get(&Arc::as_ptr(place)).unwrap_or(&0)).max(layer_depths[layer]);
            layer_depths[layer] = depth;
            depths.insert(Arc::as_ptr(place), depth);
            // A mask that is given is no layer in Keras.
            let step = usize::from(instance.layer().class_name() != "ApplyMask");
            for input in inputs {
                let before = depths.entry(Arc::as_ptr(input.place())).or_insert(0);
                *before = (*before).max(depth + step);
            }
        }
        let mut by_depth: Vec<usize> = (0..walk.met.len()).collect();
        by_depth.sort_by_key(|&i| std::cmp::Reverse(layer_depths[i]));
        let instances = by_depth.into_iter().map(|i| walk.met[i].clone()).collect();
        Ok(Order { instances, places: walk.done })
    }
}

impl Walk {
    /// Goes down to the inputs, without recursion: a model may be thousands of layers deep.
    fn visit(&mut self, place: &Arc<Place>) -> Result<()> {
        let mut stack = vec![(place.clone(), false)];
        while let Some((place, finished)) = stack.pop() {
            if finished {
                self.done.push(place);
                continue;
            }
            if self.state.contains_key(&Arc::as_ptr(&place)) {
                continue;
            }
            let Place::Call { instance, inputs, .. } = &*place else {
                let name = match &*place {
                    Place::Input { name: Some(name), .. } => format!("input {name:?}"),
                    _ => "an input".to_string(),
                };
                return Err(Error::model(format!(
                    "an output depends on {name} that is not among the model's inputs; add it there"
                )));
            };
            self.state.insert(Arc::as_ptr(&place), ());
            if !self.met.iter().any(|i| i.is(instance)) {
                self.met.push(instance.clone());
            }
            stack.push((place.clone(), true));
            for input in inputs.iter().rev() {
                stack.push((input.place().clone(), false));
            }
        }
        Ok(())
    }
}
