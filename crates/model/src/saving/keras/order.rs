//! The order in which Keras has the layers of a model: by distance from the outputs, then as they are met from there. Weights stand in files in this order.

use super::network::{Argument, Network, Place};
use std::collections::HashMap;

/// A call: its layer, and which of the layer's calls it is.
type Call = (usize, usize);

impl Network {
    /// The numbers of the layers in Keras's order.
    pub fn order(&self) -> Vec<usize> {
        let numbers: HashMap<&str, usize> = self.layers.iter().enumerate().map(|(i, l)| (&*l.name, i)).collect();
        let call = |place: &Place| numbers.get(&*place.layer).map(|&layer| (layer, place.node));
        let (done, met) = self.walk(&call);
        // The largest distance of all ways, of calls and of layers.
        let mut of_calls: HashMap<Call, usize> = HashMap::new();
        let mut of_layers: HashMap<usize, usize> = HashMap::new();
        for &(layer, node) in done.iter().rev() {
            let own = of_calls.get(&(layer, node)).copied().unwrap_or(0);
            let depth = own.max(of_layers.get(&layer).copied().unwrap_or(0));
            of_calls.insert((layer, node), depth);
            of_layers.insert(layer, depth);
            for before in self.before((layer, node), &call) {
                let known = of_calls.entry(before).or_insert(0);
                *known = (*known).max(depth + 1);
            }
        }
        let mut order: Vec<usize> = met;
        // Inputs that no output depends on come first among the last.
        let unused =
            self.inputs.iter().filter_map(&call).map(|(layer, _)| layer).filter(|layer| !of_layers.contains_key(layer));
        order.splice(0..0, unused.collect::<Vec<_>>());
        order.sort_by_key(|layer| std::cmp::Reverse(of_layers.get(layer).copied().unwrap_or(0)));
        order
    }

    /// The calls that a call depends on, keyword arguments by their names.
    fn before(&self, (layer, node): Call, call: &impl Fn(&Place) -> Option<Call>) -> Vec<Call> {
        let Some(arguments) = self.layers.get(layer).and_then(|entry| entry.calls.get(node)) else { return Vec::new() };
        let mut kwargs: Vec<_> = arguments.kwargs.iter().collect();
        kwargs.sort_by_key(|(name, _)| name);
        let all = arguments.args.iter().chain(kwargs.into_iter().map(|(_, argument)| argument));
        all.flat_map(Argument::tensors).filter_map(call).collect()
    }

    /// Calls, each after all that it depends on; and layers as they are met. Without recursion: a model may be thousands of layers deep.
    fn walk(&self, call: &impl Fn(&Place) -> Option<Call>) -> (Vec<Call>, Vec<usize>) {
        let (mut done, mut met) = (Vec::new(), Vec::new());
        let (mut seen, mut known) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        for output in self.outputs.iter().filter_map(call) {
            let mut stack = vec![(output, false)];
            while let Some((at, finished)) = stack.pop() {
                if finished {
                    done.push(at);
                } else if seen.insert(at) {
                    if known.insert(at.0) {
                        met.push(at.0);
                    }
                    stack.push((at, true));
                    stack.extend(self.before(at, call).into_iter().rev().map(|before| (before, false)));
                }
            }
        }
        (done, met)
    }
}
