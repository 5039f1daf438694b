//! Texts as numbers.

use crate::lookup::on_host;
use crate::{StringLookup, TextMode};
use ibex_core::{Result, Tensor};

/// What is done to a text before it is split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standardize {
    /// Small letters, without punctuation and apostrophes. Only ASCII letters become small, as in Keras.
    #[default]
    LowerAndStripPunctuation,
    /// Small letters.
    Lower,
    /// No punctuation, no apostrophes.
    StripPunctuation,
    /// Nothing.
    Keep,
}

/// What a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitText {
    /// What stands between white space.
    #[default]
    Whitespace,
    /// A character.
    Character,
    /// The whole text.
    Whole,
}

/// Texts as numbers: Keras's `TextVectorization`. A text is standardized and split into tokens, runs of which may be tokens too, and each token
/// becomes its place in a vocabulary that was learned before.
///
/// It works on the host, before the data goes into a model: tensors hold no strings, so that it can not be a layer of one.
/// For the numbers of Keras's IMDB data there is [`WordIndex`](crate::WordIndex).
///
/// ```
/// use ibex_data::TextVectorization;
/// let words = TextVectorization::new().output_sequence_length(4).adapt(["The good, the bad", "and the ugly"])?;
/// // 0 fills up, 1 is any unknown word.
/// assert_eq!(words.get_vocabulary(), ["", "[UNK]", "the", "ugly", "good", "bad", "and"]);
/// let x = words.transform(["The better, the worse.", "bad"])?;
/// assert_eq!(x.shape().to_vec(), [2, 4]);
/// assert_eq!(x.data().unwrap().to_f64(), [2., 1., 2., 1., 5., 0., 0., 0.]);
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextVectorization {
    standardize: Standardize,
    split: SplitText,
    ngrams: Vec<usize>,
    output_sequence_length: Option<usize>,
    lookup: StringLookup,
}

impl Default for TextVectorization {
    fn default() -> Self {
        TextVectorization {
            standardize: Standardize::default(),
            split: SplitText::default(),
            ngrams: Vec::new(),
            output_sequence_length: None,
            lookup: StringLookup::new().mask_token(""),
        }
    }
}

impl TextVectorization {
    /// Words in small letters as numbers, each text as long as the longest.
    pub fn new() -> Self {
        TextVectorization::default()
    }

    /// The largest size of the vocabulary, with the places for padding and unknown tokens. No limit by default.
    pub fn max_tokens(self, max_tokens: usize) -> Self {
        TextVectorization { lookup: self.lookup.max_tokens(max_tokens), ..self }
    }

    /// What is done to a text first.
    pub fn standardize(self, standardize: Standardize) -> Self {
        TextVectorization { standardize, ..self }
    }

    /// What a token is.
    pub fn split(self, split: SplitText) -> Self {
        TextVectorization { split, ..self }
    }

    /// Runs of 1 to so many tokens, joined by spaces, instead of the tokens.
    pub fn ngrams(self, longest: usize) -> Self {
        TextVectorization { ngrams: (1..=longest).collect(), ..self }
    }

    /// Runs of these numbers of tokens, in this order, instead of the tokens.
    pub fn ngrams_of(self, widths: impl Into<Vec<usize>>) -> Self {
        TextVectorization { ngrams: widths.into(), ..self }
    }

    /// What is given out.
    pub fn output_mode(self, mode: TextMode) -> Self {
        TextVectorization { lookup: self.lookup.output_mode(mode), ..self }
    }

    /// Under [`TextMode::Int`], cuts and fills up the texts to so many tokens.
    pub fn output_sequence_length(self, length: usize) -> Self {
        TextVectorization { output_sequence_length: Some(length), ..self }
    }

    /// Vectors of length [`max_tokens`](TextVectorization::max_tokens), however many tokens are known.
    pub fn pad_to_max_tokens(self, pad_to_max_tokens: bool) -> Self {
        TextVectorization { lookup: self.lookup.pad_to_max_tokens(pad_to_max_tokens), ..self }
    }

    /// Learns the vocabulary from texts. Settings go before it.
    ///
    /// # Errors
    /// As [`StringLookup::adapt_rows`].
    pub fn adapt<T: AsRef<str>>(mut self, texts: impl IntoIterator<Item = T>) -> Result<Self> {
        let lookup = std::mem::take(&mut self.lookup);
        let lookup = lookup.adapt_rows(texts.into_iter().map(|text| self.tokens(text.as_ref())))?;
        Ok(TextVectorization { lookup, ..self })
    }

    /// A vocabulary that is known. Settings go before it.
    ///
    /// # Errors
    /// As [`StringLookup::vocabulary`].
    pub fn vocabulary<T: Into<String>>(self, vocabulary: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(TextVectorization { lookup: self.lookup.vocabulary(vocabulary)?, ..self })
    }

    /// The vocabulary by places: under [`TextMode::Int`] first `""` for padding, then `"[UNK]"` for unknown tokens, then the others.
    pub fn get_vocabulary(&self) -> Vec<&str> {
        self.lookup.get_vocabulary()
    }

    /// The number of places: what an `Embedding` takes as `input_dim`.
    pub fn vocabulary_size(&self) -> usize {
        self.lookup.vocabulary_size()
    }

    /// Looks the tokens up.
    pub fn lookup(&self) -> &StringLookup {
        &self.lookup
    }

    /// Texts as numbers: `i32 (n, length)`, `i32 (n)` under [`SplitText::Whole`] without a length, or `f32 (n, vocabulary)` under the modes of vectors.
    ///
    /// # Errors
    /// As [`StringLookup::transform_rows`].
    pub fn transform<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = T>) -> Result<Tensor> {
        let texts = texts.into_iter().map(|text| self.tokens(text.as_ref()));
        let rows = self.lookup.transform_rows(texts, self.output_sequence_length)?;
        let one_each = self.split == SplitText::Whole && self.ngrams.is_empty() && rows.shape()[1..] == [1];
        Ok(if one_each && self.output_sequence_length.is_none() { on_host(&rows, &rows.shape()[..1]) } else { rows })
    }

    /// The tokens of a text.
    pub fn tokens(&self, text: &str) -> Vec<String> {
        let (lower, strip) = match self.standardize {
            Standardize::LowerAndStripPunctuation => (true, true),
            Standardize::Lower => (true, false),
            Standardize::StripPunctuation => (false, true),
            Standardize::Keep => (false, false),
        };
        let kept = text.chars().filter(|c| !(strip && c.is_ascii_punctuation()));
        let text: String = kept.map(|c| if lower { c.to_ascii_lowercase() } else { c }).collect();
        let tokens: Vec<String> = match self.split {
            // A vertical tab separates too.
            SplitText::Whitespace => text
                .split(|c| matches!(c, ' ' | '\t'..='\r'))
                .filter(|word| !word.is_empty())
                .map(str::to_string)
                .collect(),
            SplitText::Character => text.chars().map(String::from).collect(),
            SplitText::Whole => vec![text],
        };
        if self.ngrams.is_empty() {
            return tokens;
        }
        let widths = self.ngrams.iter().filter(|&&width| width > 0);
        widths.flat_map(|&width| tokens.windows(width).map(|run| run.join(" "))).collect()
    }
}
