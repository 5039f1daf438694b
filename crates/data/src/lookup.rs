//! Strings as places in a vocabulary.

use crate::fingerprint::fingerprint64;
use crate::host::elements;
use crate::{End, Pad, most_frequent, pad_sequences};
use ibex_core::{Error, Result, Tensor};
use std::collections::HashMap;

/// What becomes of the tokens of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextMode {
    /// The place of each token, `i32`.
    #[default]
    Int,
    /// A vector for each token, with a 1 at its place.
    OneHot,
    /// One vector for each text, with a 1 at the place of every token that it has.
    MultiHot,
    /// One vector for each text, of how often it has each token.
    Count,
    /// [`TextMode::Count`], times `ln(1 + texts / (1 + texts with the token))`, as learned. Unknown tokens count as the mean of all.
    TfIdf,
}

/// The place of each string in a vocabulary: Keras's `StringLookup`. First the mask token (0, under [`TextMode::Int`] and where there is one),
/// then one place or more for what is unknown, then the strings of the vocabulary.
///
/// It works on the host, before the data goes into a model: tensors hold no strings, so that it can not be a layer of one.
///
/// ```
/// use ibex_data::StringLookup;
/// let colors = StringLookup::new().adapt(["red", "green", "red", "blue"])?;
/// assert_eq!(colors.get_vocabulary(), ["[UNK]", "red", "green", "blue"]);
/// let x = colors.transform(["blue", "pink"])?;
/// assert_eq!(x.data().unwrap().to_f64(), [3., 0.]);
/// assert_eq!(colors.invert(&[3, 0])?, ["blue", "[UNK]"]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StringLookup {
    max_tokens: Option<usize>,
    oov: usize,
    mask_token: Option<String>,
    oov_token: String,
    mode: TextMode,
    pad_to_max_tokens: bool,
    vocabulary: Vec<String>,
    places: HashMap<String, usize>,
    /// For each place, under `TfIdf`.
    idf: Vec<f64>,
}

impl Default for StringLookup {
    fn default() -> Self {
        StringLookup {
            max_tokens: None,
            oov: 1,
            mask_token: None,
            oov_token: "[UNK]".into(),
            mode: TextMode::Int,
            pad_to_max_tokens: false,
            vocabulary: Vec::new(),
            places: HashMap::new(),
            idf: Vec::new(),
        }
    }
}

impl StringLookup {
    /// With a vocabulary that is still to be [learned](StringLookup::adapt) or [given](StringLookup::vocabulary), after all settings.
    pub fn new() -> Self {
        StringLookup::default()
    }

    /// The largest number of places, those of mask and unknown tokens among them. No limit by default.
    pub fn max_tokens(self, max_tokens: usize) -> Self {
        StringLookup { max_tokens: Some(max_tokens), ..self }
    }

    /// How many places unknown strings have; 1 by default. They are spread over several by their FarmHash, as in Keras; 0 makes them an error.
    pub fn num_oov_indices(self, num_oov_indices: usize) -> Self {
        StringLookup { oov: num_oov_indices, ..self }
    }

    /// A string that stands for nothing: 0 under [`TextMode::Int`], left out of the others.
    pub fn mask_token(self, mask_token: impl Into<String>) -> Self {
        StringLookup { mask_token: Some(mask_token.into()), ..self }
    }

    /// What stands for unknown strings in the vocabulary; `"[UNK]"` by default.
    pub fn oov_token(self, oov_token: impl Into<String>) -> Self {
        StringLookup { oov_token: oov_token.into(), ..self }
    }

    /// What is given out.
    pub fn output_mode(self, mode: TextMode) -> Self {
        StringLookup { mode, ..self }
    }

    /// Vectors of length [`max_tokens`](StringLookup::max_tokens), however many strings are known.
    pub fn pad_to_max_tokens(self, pad_to_max_tokens: bool) -> Self {
        StringLookup { pad_to_max_tokens, ..self }
    }

    /// Learns the vocabulary from strings, each of them a text of one token. Settings go before it.
    ///
    /// # Errors
    /// `Value` if there are none.
    pub fn adapt<T: AsRef<str>>(self, strings: impl IntoIterator<Item = T>) -> Result<Self> {
        self.adapt_rows(strings.into_iter().map(|token| [token]))
    }

    /// Learns the vocabulary from texts of many tokens: the most frequent one first, of equally frequent ones the last in the order of their bytes.
    ///
    /// # Errors
    /// `Value` if there are no tokens.
    pub fn adapt_rows<T: AsRef<str>>(
        self,
        texts: impl IntoIterator<Item = impl IntoIterator<Item = T>>,
    ) -> Result<Self> {
        let special = [self.mask_token.as_deref(), Some(&*self.oov_token)];
        let (mut all, mut texts_with, mut count) = (Vec::new(), HashMap::<String, u64>::new(), 0u64);
        for text in texts {
            count += 1;
            let tokens = text.into_iter().map(|token| token.as_ref().to_string());
            let tokens: Vec<String> = tokens.filter(|token| !special.contains(&Some(token))).collect();
            if self.mode == TextMode::TfIdf {
                let different: std::collections::HashSet<&String> = tokens.iter().collect();
                for token in different {
                    *texts_with.entry(token.clone()).or_insert(0) += 1;
                }
            }
            all.extend(tokens);
        }
        let mut vocabulary = most_frequent(all);
        if let Some(max) = self.max_tokens {
            vocabulary.truncate(max.saturating_sub(self.start()));
        }
        let weight =
            |token: &String| (1.0 + count as f64 / (1.0 + texts_with.get(token).copied().unwrap_or(0) as f64)).ln();
        let idf: Vec<f64> = vocabulary.iter().map(weight).collect();
        self.with(vocabulary, &idf)
    }

    /// A vocabulary that is known, without mask and unknown tokens or with them at its start. Settings go before it.
    ///
    /// # Errors
    /// `Value` if it is empty or longer than `max_tokens`, if a string is there twice or is the mask token, or under [`TextMode::TfIdf`], which
    /// needs [`StringLookup::weighted_vocabulary`].
    pub fn vocabulary<T: Into<String>>(self, vocabulary: impl IntoIterator<Item = T>) -> Result<Self> {
        if self.mode == TextMode::TfIdf {
            return Err(Error::value("tf-idf needs the weight of each string; use `weighted_vocabulary`, or `adapt`"));
        }
        self.with(vocabulary.into_iter().map(Into::into).collect(), &[])
    }

    /// [`StringLookup::vocabulary`], with the weight of each string for [`TextMode::TfIdf`].
    ///
    /// # Errors
    /// As [`StringLookup::vocabulary`].
    pub fn weighted_vocabulary<T: Into<String>>(self, vocabulary: impl IntoIterator<Item = (T, f64)>) -> Result<Self> {
        let (vocabulary, idf): (Vec<String>, Vec<f64>) =
            vocabulary.into_iter().map(|(token, idf)| (token.into(), idf)).unzip();
        self.with(vocabulary, &idf)
    }

    /// `idf` has a weight for each string, or is empty.
    fn with(mut self, mut vocabulary: Vec<String>, idf: &[f64]) -> Result<Self> {
        let special: Vec<String> = self.special().map(str::to_string).collect();
        let begins = vocabulary.starts_with(&special);
        if begins {
            vocabulary.drain(..special.len());
        }
        if vocabulary.is_empty() {
            return Err(Error::value("the vocabulary is empty; give at least one string"));
        }
        let size = self.start() + vocabulary.len();
        match self.max_tokens {
            None if self.pad_to_max_tokens => return Err(Error::value("`pad_to_max_tokens` needs `max_tokens`")),
            Some(max) if max < size => {
                return Err(Error::value(format!(
                    "the vocabulary has {size} places with those of mask and unknown tokens, but `max_tokens` is {max}"
                )));
            }
            _ => {}
        }
        let places: HashMap<String, usize> = vocabulary.iter().cloned().zip(self.start()..).collect();
        if places.len() < vocabulary.len() || self.mask_token.as_ref().is_some_and(|mask| places.contains_key(mask)) {
            return Err(Error::value(
                "a string stands in the vocabulary twice, or is the mask token; name each one once",
            ));
        }
        let front = if begins { 0 } else { self.start() };
        let mean = idf.iter().sum::<f64>() / idf.len().max(1) as f64;
        self.idf = std::iter::repeat_n(mean, front).chain(idf.iter().copied()).collect();
        (self.vocabulary, self.places) = (vocabulary, places);
        Ok(self)
    }

    /// The string of every place: mask and unknown tokens first.
    pub fn get_vocabulary(&self) -> Vec<&str> {
        self.special().chain(self.words().iter().map(|word| &**word)).collect()
    }

    /// The vocabulary without mask and unknown tokens.
    pub fn words(&self) -> &[String] {
        &self.vocabulary
    }

    /// Strings as numbers: `(n)`, or a vector for each under [`TextMode::OneHot`], or one for all together under the other modes, as in Keras.
    ///
    /// # Errors
    /// `Value` if there is no vocabulary yet, or for an unknown string that has no place.
    pub fn transform<T: AsRef<str>>(&self, strings: impl IntoIterator<Item = T>) -> Result<Tensor> {
        let result = self.transform_rows([strings], None)?;
        Ok(on_host(&result, &result.shape()[1..]))
    }

    /// Texts of many tokens as numbers: `(n, length)` with zeros after the shorter ones, `(n, length, places)` under [`TextMode::OneHot`],
    /// `(n, places)` under the other modes. Without `length` it is that of the longest text.
    ///
    /// # Errors
    /// As [`StringLookup::transform`]; `OutOfMemory` if the result would be absurdly large.
    pub fn transform_rows<T: AsRef<str>>(
        &self,
        texts: impl IntoIterator<Item = impl IntoIterator<Item = T>>,
        length: Option<usize>,
    ) -> Result<Tensor> {
        if self.vocabulary.is_empty() {
            return Err(Error::value("there is no vocabulary yet; call `adapt` with the data, or `vocabulary`"));
        }
        let rows = texts.into_iter().map(|text| text.into_iter().map(|token| self.place(token.as_ref())).collect());
        let rows = rows.collect::<Result<Vec<Vec<i32>>>>()?;
        let n = rows.len();
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        if self.mode == TextMode::Int {
            return pad_sequences(&rows, Pad::to(length.unwrap_or(longest)).padding(End::Post).truncating(End::Post));
        }
        let depth = self.depth();
        let shape =
            if self.mode == TextMode::OneHot { vec![n, length.unwrap_or(longest), depth] } else { vec![n, depth] };
        let total = elements("the vectors of texts: an array", &shape, 4, "limit the vocabulary with `max_tokens`")?;
        let mut values = vec![0f32; total];
        let row_len = total / n.max(1);
        for (row, values) in rows.iter().zip(values.chunks_exact_mut(row_len.max(1))) {
            for (i, &place) in row.iter().enumerate() {
                // A masked token has no place.
                let Ok(place) = usize::try_from(place) else { continue };
                match self.mode {
                    TextMode::OneHot => {
                        if let Some(value) = values.get_mut(i * depth + place) {
                            *value = 1.0;
                        }
                    }
                    TextMode::MultiHot => values[place] = 1.0,
                    _ => values[place] += 1.0,
                }
            }
            if self.mode == TextMode::TfIdf {
                for (value, idf) in values.iter_mut().zip(&self.idf) {
                    *value *= *idf as f32;
                }
            }
        }
        Ok(Tensor::from_vec(values, shape))
    }

    /// The strings of places, unknown tokens for places that there are not.
    ///
    /// # Errors
    /// `Value` unless the mode is [`TextMode::Int`].
    pub fn invert(&self, places: &[i32]) -> Result<Vec<&str>> {
        if self.mode != TextMode::Int {
            return Err(Error::value("only places can be turned back into strings: the output mode must be `Int`"));
        }
        let vocabulary = self.get_vocabulary();
        let string = |&place: &i32| usize::try_from(place).ok().and_then(|place| vocabulary.get(place).copied());
        Ok(places.iter().map(|place| string(place).unwrap_or(&self.oov_token)).collect())
    }

    /// The number of places.
    pub fn vocabulary_size(&self) -> usize {
        self.start() + self.vocabulary.len()
    }

    fn depth(&self) -> usize {
        let size = self.vocabulary_size();
        if self.pad_to_max_tokens { self.max_tokens.unwrap_or(size) } else { size }
    }

    /// The mask token, if it has a place, and those for what is unknown.
    fn special(&self) -> impl Iterator<Item = &str> {
        let mask = self.mask_token.as_deref().filter(|_| self.mode == TextMode::Int);
        mask.into_iter().chain(std::iter::repeat_n(&*self.oov_token, self.oov))
    }

    /// The place of the first string of the vocabulary.
    fn start(&self) -> usize {
        self.special().count()
    }

    /// -1 for the mask token where it has no place.
    fn place(&self, token: &str) -> Result<i32> {
        if self.mask_token.as_deref() == Some(token) {
            return Ok(if self.mode == TextMode::Int { 0 } else { -1 });
        }
        match self.places.get(token) {
            Some(&place) => Ok(i32::try_from(place).unwrap_or(i32::MAX)),
            None if self.oov > 0 => {
                let place = self.start() - self.oov + (fingerprint64(token.as_bytes()) % self.oov as u64) as usize;
                Ok(i32::try_from(place).unwrap_or(i32::MAX))
            }
            None => Err(Error::value(format!(
                "{token:?} is not in the vocabulary; `num_oov_indices(1)` gives unknown strings a place"
            ))),
        }
    }
}

/// In another shape, without leaving the host.
pub(crate) fn on_host(x: &Tensor, shape: &[usize]) -> Tensor {
    x.data().map_or_else(|| x.reshape(shape), |data| Tensor::from_data(data.clone(), shape))
}
