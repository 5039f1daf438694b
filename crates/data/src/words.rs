//! Words as numbers.

use crate::{Dataset, Pad, Texts, pad_sequences};
use ibex_core::{Error, Result, Tensor};
use std::collections::HashMap;

/// Between words. An apostrophe is a part of a word.
const SEPARATORS: &str = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~";

/// Words by how often they occur: the most frequent one has rank 1, as in Keras's `imdb.get_word_index`.
///
/// ```
/// use ibex_data::{Encoding, WordIndex};
/// let words = WordIndex::of(["The good, the bad", "and the ugly"]);
/// assert_eq!((words.rank("the"), words.rank("good"), words.rank("better")), (Some(1), Some(2), None));
/// // 1 begins a text, 2 stands for a word that is not known, and rank 1 becomes 4.
/// assert_eq!(words.encode("The better", &Encoding::default()), [1, 4, 2]);
/// assert_eq!(words.decode(&[1, 4, 2], &Encoding::default()), "[START] the [OOV]");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordIndex {
    words: Vec<String>,
    ranks: HashMap<String, u32>,
}

impl WordIndex {
    /// The words of these texts. Equally frequent ones are ranked by where they occur first.
    ///
    /// A word is what stands between white space and punctuation, in small letters; an apostrophe belongs to it.
    pub fn of<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> WordIndex {
        let mut counts: HashMap<String, (u64, usize)> = HashMap::new();
        for text in texts {
            for word in tokens(text.as_ref()) {
                let new = counts.len();
                counts.entry(word).or_insert((0, new)).0 += 1;
            }
        }
        let mut words: Vec<(String, (u64, usize))> = counts.into_iter().collect();
        words.sort_by_key(|&(_, (count, first))| (std::cmp::Reverse(count), first));
        WordIndex::ranked(words.into_iter().map(|(word, _)| word))
    }

    /// Words in the order of their ranks, such as those of a model that was trained before.
    pub fn ranked<T: Into<String>>(words: impl IntoIterator<Item = T>) -> WordIndex {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        let ranks = words.iter().zip(1..).map(|(word, rank)| (word.clone(), rank)).collect();
        WordIndex { words, ranks }
    }

    /// The words, from the most frequent one.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The rank of a word in small letters, from 1.
    pub fn rank(&self, word: &str) -> Option<u32> {
        self.ranks.get(word).copied()
    }

    /// A text as numbers.
    pub fn encode(&self, text: &str, encoding: &Encoding) -> Vec<i32> {
        let ranks = tokens(text).map(|word| self.rank(&word));
        encoding.numbers(ranks)
    }

    /// Texts as numbers, with their labels.
    pub fn encode_all(&self, texts: &Texts, encoding: &Encoding) -> Sequences {
        Sequences { x: texts.texts.iter().map(|text| self.encode(text, encoding)).collect(), y: texts.labels.clone() }
    }

    /// Numbers as text, to see what a model sees. Padding is left out.
    pub fn decode(&self, numbers: &[i32], encoding: &Encoding) -> String {
        let word = |&number: &i32| {
            let rank = number.checked_sub(encoding.index_from).and_then(|rank| usize::try_from(rank).ok());
            if number == 0 {
                None
            } else if Some(number) == encoding.start_char {
                Some("[START]")
            } else if Some(number) == encoding.oov_char {
                Some("[OOV]")
            } else {
                Some(rank.and_then(|rank| self.words.get(rank.checked_sub(1)?)).map_or("[OOV]", |word| word.as_str()))
            }
        };
        numbers.iter().filter_map(word).collect::<Vec<&str>>().join(" ")
    }
}

fn tokens(text: &str) -> impl Iterator<Item = String> {
    let separates = |c: char| c.is_whitespace() || SEPARATORS.contains(c);
    text.split(separates).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Which numbers stand for words: the defaults of Keras's `imdb.load_data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    start_char: Option<i32>,
    oov_char: Option<i32>,
    index_from: i32,
    num_words: Option<i32>,
    skip_top: i32,
}

impl Default for Encoding {
    fn default() -> Self {
        Encoding { start_char: Some(1), oov_char: Some(2), index_from: 3, num_words: None, skip_top: 0 }
    }
}

impl Encoding {
    /// Only numbers below this stand for words, so an `Embedding` with `input_dim` of this is enough. Less frequent words become
    /// [`oov_char`](Encoding::oov_char). All words are kept unless it is given.
    pub fn num_words(self, num_words: u32) -> Encoding {
        Encoding { num_words: Some(small(num_words)), ..self }
    }

    /// Numbers below this, of the most frequent words, become [`oov_char`](Encoding::oov_char) too, and so does
    /// [`start_char`](Encoding::start_char): as in Keras.
    pub fn skip_top(self, skip_top: u32) -> Encoding {
        Encoding { skip_top: small(skip_top), ..self }
    }

    /// What each text begins with; 1 unless it is given. `None`: nothing.
    pub fn start_char(self, start_char: Option<i32>) -> Encoding {
        Encoding { start_char, ..self }
    }

    /// What stands for words that are not known or not wanted; 2 unless it is given. `None`: they are left out.
    pub fn oov_char(self, oov_char: Option<i32>) -> Encoding {
        Encoding { oov_char, ..self }
    }

    /// What is added to the rank of a word; 3 unless it is given.
    pub fn index_from(self, index_from: u32) -> Encoding {
        Encoding { index_from: small(index_from), ..self }
    }

    /// The numbers for ranks.
    fn numbers(&self, ranks: impl Iterator<Item = Option<u32>>) -> Vec<i32> {
        let wanted = self.skip_top..self.num_words.unwrap_or(i32::MAX);
        let number = |rank: Option<u32>| rank.map(|rank| small(rank).saturating_add(self.index_from));
        let numbers = self.start_char.into_iter().map(Some).chain(ranks.map(number));
        numbers.filter_map(|n| n.filter(|n| wanted.contains(n)).or(self.oov_char)).collect()
    }
}

fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Texts as numbers, with their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// The numbers of each text.
    pub x: Vec<Vec<i32>>,
    /// The label of each text.
    pub y: Vec<i32>,
}

impl Sequences {
    /// The sequences with fewer than `length` numbers: `maxlen` of Keras's `imdb.load_data`.
    pub fn shorter_than(self, length: usize) -> Sequences {
        let (x, y) = self.x.into_iter().zip(self.y).filter(|(x, _)| x.len() < length).unzip();
        Sequences { x, y }
    }

    /// The sequences at one length: `x` is i32 of shape `(n, length)`, `y` i32 of shape `(n)`.
    ///
    /// # Errors
    /// As [`pad_sequences`]; `Value` unless there is a label for each sequence.
    pub fn padded(&self, pad: Pad) -> Result<Dataset> {
        if self.x.len() != self.y.len() {
            return Err(Error::value(format!(
                "{} sequences with {} labels; give one for each",
                self.x.len(),
                self.y.len()
            )));
        }
        Dataset::new(pad_sequences(&self.x, pad)?, Tensor::from_vec(self.y.clone(), self.y.len()))
    }
}

/// What occurs, the most frequent first, and of what is equally frequent the largest: the order of vocabularies that Keras learns.
///
/// ```
/// assert_eq!(ibex_data::most_frequent([3, 7, 3, 5]), [3, 7, 5]);
/// ```
pub fn most_frequent<T: Ord + std::hash::Hash>(tokens: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut counts: HashMap<T, u64> = HashMap::new();
    for token in tokens {
        *counts.entry(token).or_insert(0) += 1;
    }
    let mut counts: Vec<(u64, T)> = counts.into_iter().map(|(token, count)| (count, token)).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts.into_iter().map(|(_, token)| token).collect()
}
