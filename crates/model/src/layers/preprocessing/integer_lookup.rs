//! Integers as places in a vocabulary.

use super::categorical::integers;
use super::{Config, Context, Data, Error, Layer, OutputMode, Result, Shape, Tensor, Weights, no_data, numbers};
use crate::config;
use ibex_core::DType;
use ibex_data::most_frequent;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The place of each integer in a vocabulary. First the mask token (0, under [`OutputMode::Int`] and where there is one), then one number or more for
/// what is not in the vocabulary, then its integers. Any shape; see [`OutputMode`]. No weights.
///
/// With several numbers for unknown integers, `x` becomes number `x mod num_oov_indices` of them. With none, an unknown integer is an error where this
/// is the first layer, and else becomes -1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct IntegerLookup {
    max_tokens: Option<usize>,
    num_oov_indices: usize,
    mask_token: Option<i32>,
    oov_token: Option<i32>,
    vocabulary: Option<Vec<i32>>,
    idf_weights: Option<Vec<f32>>,
    invert: bool,
    output_mode: OutputMode,
    pad_to_max_tokens: bool,
}

impl Default for IntegerLookup {
    fn default() -> Self {
        IntegerLookup {
            max_tokens: None,
            num_oov_indices: 1,
            mask_token: None,
            oov_token: Some(-1),
            vocabulary: None,
            idf_weights: None,
            invert: false,
            output_mode: OutputMode::Int,
            pad_to_max_tokens: false,
        }
    }
}

impl IntegerLookup {
    /// With a vocabulary that is [learned](IntegerLookup::adapt) or [given](IntegerLookup::vocabulary).
    pub fn new() -> Self {
        IntegerLookup::default()
    }

    /// The integers that are known, in the order of their places. Mask and unknown tokens may stand before them, all or none.
    pub fn vocabulary(self, vocabulary: impl Into<Vec<i32>>) -> Self {
        IntegerLookup { vocabulary: Some(vocabulary.into()), ..self }
    }

    /// The weight of each integer of the vocabulary, under [`OutputMode::TfIdf`]. Without those of unknown tokens, which then have the mean of all.
    pub fn idf_weights(self, idf_weights: impl Into<Vec<f32>>) -> Self {
        IntegerLookup { idf_weights: Some(idf_weights.into()), ..self }
    }

    /// The largest number of places, those of mask and unknown tokens among them. No limit by default.
    pub fn max_tokens(self, max_tokens: usize) -> Self {
        IntegerLookup { max_tokens: Some(max_tokens), ..self }
    }

    /// How many places unknown integers have; 1 by default.
    pub fn num_oov_indices(self, num_oov_indices: usize) -> Self {
        IntegerLookup { num_oov_indices, ..self }
    }

    /// An integer that stands for nothing: 0 under [`OutputMode::Int`], left out of the others.
    pub fn mask_token(self, mask_token: i32) -> Self {
        IntegerLookup { mask_token: Some(mask_token), ..self }
    }

    /// What stands for unknown ones in the way back; -1 by default.
    pub fn oov_token(self, oov_token: i32) -> Self {
        IntegerLookup { oov_token: Some(oov_token), ..self }
    }

    /// What is given out.
    pub fn output_mode(self, output_mode: OutputMode) -> Self {
        IntegerLookup { output_mode, ..self }
    }

    /// Vectors of length [`max_tokens`](IntegerLookup::max_tokens), however many integers are known.
    pub fn pad_to_max_tokens(self, pad_to_max_tokens: bool) -> Self {
        IntegerLookup { pad_to_max_tokens, ..self }
    }

    /// The way back: from places to integers.
    pub fn invert(self, invert: bool) -> Self {
        IntegerLookup { invert, ..self }
    }

    /// Learns the vocabulary: the integers of the data, the most frequent one first, of equally frequent ones the largest. Under [`OutputMode::TfIdf`]
    /// their weights too: `ln(1 + samples / (1 + samples with the integer))`.
    ///
    /// # Errors
    /// `Value` if there is no data; whatever its computation reports.
    pub fn adapt(self, data: &Tensor) -> Result<Self> {
        let special = [self.mask_token, self.oov_token];
        let all: Vec<i32> = numbers(data)?.to_f64().into_iter().map(|n| n as i32).collect();
        let mut vocabulary = most_frequent(all.iter().copied().filter(|&n| !special.contains(&Some(n))));
        if vocabulary.is_empty() {
            return Err(no_data());
        }
        if let Some(max) = self.max_tokens {
            vocabulary.truncate(max.saturating_sub(self.start()));
        }
        let idf_weights = (self.output_mode == OutputMode::TfIdf).then(|| {
            let samples = data.dim(0);
            let mut with: HashMap<i32, usize> = HashMap::new();
            for sample in all.chunks(all.len() / samples.max(1)) {
                let different: HashSet<i32> = sample.iter().copied().collect();
                different.into_iter().for_each(|n| *with.entry(n).or_default() += 1);
            }
            let count = |n: &i32| with.get(n).copied().unwrap_or(0) as f64;
            vocabulary.iter().map(|n| (1.0 + samples as f64 / (1.0 + count(n))).ln() as f32).collect()
        });
        Ok(IntegerLookup { vocabulary: Some(vocabulary), idf_weights, ..self })
    }

    /// The integer of every place, mask and unknown tokens first; the latter are -1 if there is no
    /// [`oov_token`](IntegerLookup::oov_token).
    pub fn get_vocabulary(&self) -> Vec<i32> {
        let special = self.mask().into_iter().chain(std::iter::repeat_n(self.oov(), self.num_oov_indices));
        special.chain(self.known().iter().copied()).collect()
    }

    fn oov(&self) -> i32 {
        self.oov_token.unwrap_or(-1)
    }

    /// The mask token, if it has a place.
    fn mask(&self) -> Option<i32> {
        self.mask_token.filter(|_| self.output_mode == OutputMode::Int)
    }

    /// The place of the first known integer.
    fn start(&self) -> usize {
        usize::from(self.mask().is_some()) + self.num_oov_indices
    }

    /// Does the vocabulary begin with mask and unknown tokens?
    fn begins_with_special(&self) -> bool {
        let all = self.vocabulary.as_deref().unwrap_or_default();
        let special = self.mask().into_iter().chain(std::iter::repeat_n(self.oov(), self.num_oov_indices));
        all.len() >= self.start() && special.zip(all).all(|(token, &known)| token == known)
    }

    /// The vocabulary without mask and unknown tokens.
    fn known(&self) -> &[i32] {
        let all = self.vocabulary.as_deref().unwrap_or_default();
        if self.begins_with_special() { &all[self.start()..] } else { all }
    }

    /// For each place its weight; none for those that are there to fill up.
    fn weights(&self) -> Tensor {
        let given = self.idf_weights.as_deref().unwrap_or_default();
        let mean = given.iter().sum::<f32>() / given.len().max(1) as f32;
        let front = if self.begins_with_special() { 0 } else { self.start() };
        let mut all: Vec<f32> = std::iter::repeat_n(mean, front).chain(given.iter().copied()).collect();
        let depth = self.depth();
        all.resize(depth, 0.0);
        Tensor::from_vec(all, [depth])
    }

    fn depth(&self) -> usize {
        let size = self.start() + self.known().len();
        if self.pad_to_max_tokens { self.max_tokens.unwrap_or(size) } else { size }
    }

    /// For each integer its place; -1 for the mask token where it has none, or for an unknown integer that has none.
    fn places(&self, x: &Tensor) -> Tensor {
        let mut sorted: Vec<(i32, i32)> = self.known().iter().copied().zip(self.start() as i32..).collect();
        sorted.sort_unstable();
        let len = sorted.len();
        let (keys, places): (Vec<i32>, Vec<i32>) = sorted.into_iter().unzip();
        let (keys, places) = (Tensor::from_vec(keys, [len]), Tensor::from_vec(places, [len]));
        // Binary search for the last key that is not larger.
        let mut at = Tensor::zeros(x.shape(), DType::I32);
        let mut step = len.next_power_of_two();
        while step > 0 {
            let next = at.add(step as f64).minimum((len - 1) as f64);
            at = keys.gather(&next).le(x).select(next, at);
            step /= 2;
        }
        let unknown = match self.num_oov_indices as i32 {
            0 => Tensor::full(x.shape(), -1.0, DType::I32),
            n => x.rem(f64::from(n)).add(f64::from(n)).rem(f64::from(n)).add((self.start() as i32 - n) as f64),
        };
        let place = keys.gather(&at).eq(x).select(places.gather(&at), unknown);
        match self.mask_token {
            None => place,
            Some(mask) => x.eq(f64::from(mask)).select(if self.mask().is_some() { 0.0 } else { -1.0 }, place),
        }
    }
}

impl Layer for IntegerLookup {
    fn class_name(&self) -> &'static str {
        "IntegerLookup"
    }

    fn config(&self) -> Result<Config> {
        config::save(self)
    }

    fn build(&self, _weights: &mut Weights, _input: &Shape) -> Result<()> {
        let known = self.known();
        let mut seen = HashSet::new();
        if known.is_empty() {
            return Err(Error::value("has no vocabulary; give it with `vocabulary`, or call `adapt` with data"));
        }
        if let Some(again) = known.iter().find(|&&token| !seen.insert(token) || Some(token) == self.mask_token) {
            return Err(Error::value(format!(
                "integer {again} stands in the vocabulary twice, or is the mask token; name each one once"
            )));
        }
        if self.invert && self.output_mode != OutputMode::Int {
            return Err(Error::value("with `invert` the output mode must be int"));
        }
        let weights = self.idf_weights.as_ref().map(Vec::len);
        let wanted = (self.output_mode == OutputMode::TfIdf).then(|| self.vocabulary.as_ref().map_or(0, Vec::len));
        if weights != wanted {
            let text = "the output mode tf_idf, and no other, needs a weight for each integer of the vocabulary";
            return Err(Error::value(format!("{text}: give {} with `idf_weights`, or call `adapt`", wanted.unwrap_or(0))));
        }
        match self.max_tokens {
            None if self.pad_to_max_tokens => Err(Error::value("`pad_to_max_tokens` needs `max_tokens`")),
            Some(max) if max < self.start() + known.len() => Err(Error::value(format!(
                "has {} places with those of mask and unknown tokens, but `max_tokens` is {max}",
                self.start() + known.len()
            ))),
            _ => Ok(()),
        }
    }

    fn check_data(&self, data: &Data) -> Result<()> {
        if self.num_oov_indices > 0 || self.invert {
            return Ok(());
        }
        let known: HashSet<i32> = self.known().iter().copied().chain(self.mask_token).collect();
        match data.to_f64().iter().position(|&n| !known.contains(&(n as i32))) {
            None => Ok(()),
            Some(at) => Err(Error::value(format!(
                "number {} at position {at} is not in the vocabulary; `num_oov_indices` of 1 gives such numbers a place",
                data.to_f64()[at]
            ))),
        }
    }

    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let x = integers(x);
        if self.invert {
            let vocabulary = self.get_vocabulary();
            let len = vocabulary.len() as f64;
            let known = x.ge(0.0).and(x.lt(len));
            let found = Tensor::from_vec(vocabulary, [len as usize]).gather(x.clamp(0.0, len - 1.0));
            return Ok(known.select(found, f64::from(self.oov())));
        }
        let encoded = self.output_mode.encode(&self.places(&x), self.depth(), None, cx.compute_dtype())?;
        Ok(match self.output_mode {
            OutputMode::TfIdf => encoded * self.weights().cast(cx.compute_dtype()),
            _ => encoded,
        })
    }
}
