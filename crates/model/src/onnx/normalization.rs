//! Batch and layer normalisations, where the layout is that of ONNX's operations.

use super::builder::{Attribute, Id};
use super::lower::Lowering;
use super::traced::Dim;
use super::view::View;
use ibex_core::graph::{Binary, Op, Reduce, Unary};
use ibex_core::{DType, Data, Result};

/// `(x - mean) * factor + beta`, by nodes.
struct Normalized {
    x: usize,
    mean: usize,
    /// Of `x - mean`.
    centred: usize,
    factor: usize,
    beta: Option<usize>,
}

impl Lowering<'_> {
    /// What a normalisation ends with: a sum with `beta`, or without that a product.
    pub fn normalized(&mut self, i: usize) -> Result<Option<View>> {
        let Some(parts) = self.traced_normalization(i).filter(|_| self.traced.nodes[i].dtype == DType::F32) else {
            return Ok(None);
        };
        match self.batch_normalization(i, &parts)? {
            Some(view) => Ok(Some(view)),
            None => self.layer_normalization(i, &parts),
        }
    }

    fn traced_normalization(&self, i: usize) -> Option<Normalized> {
        let (product, beta) = match self.at(i) {
            (Op::Binary(Binary::Add), &[product, beta]) => (product, Some(beta)),
            _ => (i, None),
        };
        let (Op::Binary(Binary::Mul), &[centred, factor]) = self.at(product) else { return None };
        let (Op::Binary(Binary::Sub), &[x, mean]) = self.at(centred) else { return None };
        Some(Normalized { x, mean, centred, factor, beta })
    }

    /// A list of weights that stands along one axis, if there are several also which.
    fn along_axis(&self, i: usize) -> Option<(usize, Option<usize>)> {
        let narrow = self.unbroadcast(i);
        let weight = self.through(narrow, |op| matches!(op, Op::Reshape));
        let fits =
            matches!(self.traced.nodes[weight].op, Op::Variable(_)) && self.traced.nodes[weight].shape.len() == 1;
        fits.then(|| (weight, self.traced.nodes[narrow].shape.iter().position(|&d| d != Dim::ONE)))
    }

    /// `variance` and `epsilon` of `1 / sqrt(variance + epsilon)`.
    fn inverse_deviation(&self, i: usize) -> Option<(usize, f64)> {
        let (Op::Unary(Unary::Rsqrt), &[sum]) = self.at(self.unbroadcast(i)) else { return None };
        let (Op::Binary(Binary::Add), &[variance, epsilon]) = self.at(sum) else { return None };
        Some((variance, self.traced.full(epsilon)?))
    }

    /// The two factors of a factor: one over the deviation, and maybe `gamma`.
    fn factors(&self, i: usize) -> (usize, Option<usize>) {
        match self.at(self.unbroadcast(i)) {
            (Op::Binary(Binary::Mul), &[deviation, gamma]) => (deviation, Some(gamma)),
            _ => (i, None),
        }
    }

    fn value_of_weight(&mut self, node: Option<usize>, otherwise: f64, len: usize) -> Result<Id> {
        match node {
            Some(node) => Ok(self.view(node)?.narrow(&mut self.b)),
            None => Ok(self.b.data(&Data::from_f64(DType::F32, &vec![otherwise; len]), &[len], None)),
        }
    }

    fn batch_normalization(&mut self, i: usize, parts: &Normalized) -> Result<Option<View>> {
        let (deviation, gamma) = self.factors(parts.factor);
        let weights = || {
            let (variance, epsilon) = self.inverse_deviation(deviation)?;
            let all = [Some(parts.mean), Some(variance), gamma, parts.beta];
            let all = all.map(|weight| weight.map(|weight| self.along_axis(weight)));
            // One of them that is there is no such list.
            if all.iter().any(|weight| *weight == Some(None)) {
                return None;
            }
            Some((all.map(Option::flatten), epsilon))
        };
        let Some((all, epsilon)) = weights() else { return Ok(None) };
        let Some((mean, axis)) = all[0] else { return Ok(None) };
        let rank = self.traced.nodes[i].shape.len();
        let axis = axis.unwrap_or(rank - 1);
        let x = self.view(parts.x)?;
        let len = self.traced.nodes[mean].shape[0];
        let fits =
            all.iter().flatten().all(|&(w, a)| a.unwrap_or(axis) == axis && self.traced.nodes[w].shape[0] == len);
        if !fits || x.repeated.is_some() || x.moved(&self.b) != x.shape || x.order.get(axis) != Some(&1) {
            return Ok(None);
        }
        let len = len.value().unwrap_or(0) as usize;
        let [mean, variance, gamma, beta] = all.map(|weight| weight.map(|weight| weight.0));
        let mut ids = vec![x.id];
        for (weight, otherwise) in [(gamma, 1.0), (beta, 0.0), (mean, 0.0), (variance, 1.0)] {
            ids.push(self.value_of_weight(weight, otherwise, len)?);
        }
        let shape = self.b.shape(x.id).to_vec();
        let epsilon = vec![("epsilon", Attribute::Float((epsilon as f32).to_bits()))];
        let id = self.b.add("BatchNormalization", &ids, epsilon, DType::F32.into(), shape);
        Ok(Some(View { id, ..x }))
    }

    /// `x` of `mean(x)` along the last axis.
    fn mean_of(&self, i: usize) -> Option<usize> {
        let (Op::Binary(Binary::Mul), &[sum, factor]) = self.at(self.unbroadcast(i)) else { return None };
        let (Op::Reduce(Reduce::Sum, axes), &[x]) = self.at(sum) else { return None };
        let count = self.traced.nodes[x].shape.last()?.value()?;
        let mean = self.traced.full(factor)? as f32 == (1.0 / count as f64) as f32;
        (mean && axes[..] == [self.traced.nodes[x].shape.len() - 1]).then_some(x)
    }

    fn layer_normalization(&mut self, i: usize, parts: &Normalized) -> Result<Option<View>> {
        let (deviation, gamma) = self.factors(parts.factor);
        let last = self.traced.nodes[i].shape.len() - 1;
        let weights = || {
            let (variance, epsilon) = self.inverse_deviation(deviation)?;
            let square = self.mean_of(variance)?;
            let fits = self.mean_of(parts.mean) == Some(parts.x)
                && self.at(square) == (&Op::Binary(Binary::Mul), &[parts.centred, parts.centred][..]);
            let all = [gamma, parts.beta].map(|weight| weight.map(|weight| self.along_axis(weight)));
            let right = |&weight: &Option<(usize, Option<usize>)>| {
                weight.is_some_and(|(_, axis)| axis.is_none_or(|a| a == last))
            };
            (fits && all.iter().flatten().all(right)).then(|| (all.map(Option::flatten), epsilon))
        };
        let Some(([gamma, beta], epsilon)) = weights() else { return Ok(None) };
        let x = self.view(parts.x)?;
        let len = self.traced.nodes[i].shape[last].value().unwrap_or(0) as usize;
        let lists = [gamma, beta].into_iter().flatten().all(|w| self.traced.nodes[w.0].shape[0] == Dim::fixed(len));
        if !lists || x.repeated.is_some() || x.moved(&self.b) != x.shape || x.order.last() != Some(&last) {
            return Ok(None);
        }
        let mut ids = vec![x.id, self.value_of_weight(gamma.map(|w| w.0), 1.0, len)?];
        if let Some((beta, _)) = beta {
            ids.push(self.view(beta)?.narrow(&mut self.b));
        }
        let shape = self.b.shape(x.id).to_vec();
        let epsilon = Attribute::Float((epsilon as f32).to_bits());
        let attributes = vec![("axis", Attribute::Int(-1)), ("epsilon", epsilon)];
        let id = self.b.add("LayerNormalization", &ids, attributes, DType::F32.into(), shape);
        Ok(Some(View { id, ..x }))
    }
}
