//! Texts with their classes.

use crate::folder::{Files, Take};
use crate::io::failed;
use crate::rows::shuffled_indices;
use crate::{Column, Csv, Table};
use ibex_core::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A longer text is refused.
const MAX_TEXT: u64 = 1 << 26;

/// Texts with their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    /// The texts.
    pub texts: Vec<String>,
    /// The class of each text, a place in `class_names`.
    pub labels: Vec<i32>,
    /// The classes.
    pub class_names: Vec<String>,
}

impl Texts {
    /// The `.txt` files in a folder for each class: `text_dataset_from_directory` of Keras. Classes are the folders, sorted by name.
    ///
    /// Bytes that are no UTF-8 text become `U+FFFD`.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("ibex-doc-texts-{}", std::process::id()));
    /// # for (class, text) in [("neg", "a bad film"), ("pos", "a good film")] {
    /// #     std::fs::create_dir_all(dir.join(class)).unwrap();
    /// #     std::fs::write(dir.join(class).join("0.txt"), text).unwrap();
    /// # }
    /// // reviews/neg/0.txt, reviews/pos/0.txt, ..
    /// let reviews = ibex_data::Texts::from_dir(&dir)?;
    /// assert_eq!(reviews.class_names, ["neg", "pos"]);
    /// assert_eq!(reviews.texts, ["a bad film", "a good film"]);
    /// assert_eq!(reviews.labels, [0, 1]);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), ibex_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io` if a folder or a file can not be read; `Value` if there are no texts; `Format` if one is longer than 64 MiB.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Texts> {
        Texts::from_classes(dir.as_ref(), None)
    }

    /// [`from_dir`](Texts::from_dir), for some of the folders alone, in this order.
    pub(crate) fn from_classes(dir: &Path, classes: Option<&[&str]>) -> Result<Texts> {
        let files = Files::list(dir, classes, |end| if end == "txt" { Take::Yes } else { Take::No })?;
        let texts = files.paths.iter().map(|path| read(path)).collect::<Result<Vec<String>>>()?;
        Ok(Texts { texts, labels: files.labels, class_names: files.class_names })
    }

    /// A column of texts and one of classes from a CSV file. Classes are sorted: numbers by value, texts by their letters.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("ibex-doc-texts-{}.csv", std::process::id()));
    /// # std::fs::write(&path, "review,sentiment\ngood,positive\nbad,negative\n").unwrap();
    /// let reviews = ibex_data::Texts::from_csv(&path, "review", "sentiment")?;
    /// assert_eq!(reviews.class_names, ["negative", "positive"]);
    /// assert_eq!(reviews.labels, [1, 0]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), ibex_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Csv::read`](crate::Csv::read); `Value` if a column or the class of a text is missing.
    pub fn from_csv(path: impl AsRef<Path>, text: &str, class: &str) -> Result<Texts> {
        // "NA" and "null" are texts here.
        Texts::from_table(&Csv::new().text([text]).missing([""]).read(path)?, text, class)
    }

    /// [`from_csv`](Texts::from_csv), of a table in memory: one that was read with other options, or of which some rows were taken.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("ibex-doc-table-{}.csv", std::process::id()));
    /// # std::fs::write(&path, "review;stars\nfair;3\ngood;5\nbad;1\n").unwrap();
    /// use ibex_data::{Csv, Texts};
    /// let reviews = Csv::new().delimiter(b';').read(&path)?.take(&[1, 2])?;
    /// let reviews = Texts::from_table(&reviews, "review", "stars")?;
    /// assert_eq!((reviews.texts, reviews.labels), (vec!["good".to_string(), "bad".to_string()], vec![1, 0]));
    /// assert_eq!(reviews.class_names, ["1", "5"]);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), ibex_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Value` if a column or the class of a text is missing, or the column of texts is of numbers.
    pub fn from_table(table: &Table, text: &str, class: &str) -> Result<Texts> {
        let texts = table.text(text)?.iter().map(|text| text.clone().unwrap_or_default()).collect();
        let missing = |row: usize| {
            Error::value(format!(
                "{}: row {row} has no {class:?}; give each text a class, or remove it",
                table.source()
            ))
        };
        let (labels, class_names) = match table.column(class)? {
            Column::Text(classes) => {
                let classes = classes.iter().enumerate().map(|(row, class)| class.clone().ok_or_else(|| missing(row)));
                rank(classes.collect::<Result<Vec<String>>>()?, String::cmp)
            }
            Column::Numbers(classes) => {
                if let Some(row) = classes.iter().position(|class| class.is_nan()) {
                    return Err(missing(row));
                }
                let (labels, numbers) = rank(classes.clone(), f64::total_cmp);
                (labels, numbers.iter().map(f64::to_string).collect())
            }
        };
        Ok(Texts { texts, labels, class_names })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// True when there are no texts.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The texts in a random order. `fit` with a `validation_split` takes the last ones as they are, so files that come class by class
    /// are to be shuffled first.
    pub fn shuffle(self, seed: u64) -> Texts {
        let order = shuffled_indices(u32::try_from(self.len()).unwrap_or(u32::MAX), seed, 0);
        let mut texts = self.texts;
        Texts {
            labels: order.iter().map(|&i| self.labels[i as usize]).collect(),
            texts: order.iter().map(|&i| std::mem::take(&mut texts[i as usize])).collect(),
            class_names: self.class_names,
        }
    }

    /// The texts before `middle`, and those from there on.
    ///
    /// # Errors
    /// `Value` if there are fewer texts.
    pub fn split_at(mut self, middle: usize) -> Result<(Texts, Texts)> {
        if middle > self.len() {
            return Err(Error::value(format!("{} texts can not be split at {middle}", self.len())));
        }
        let rest = Texts {
            texts: self.texts.split_off(middle),
            labels: self.labels.split_off(middle),
            class_names: self.class_names.clone(),
        };
        Ok((self, rest))
    }
}

/// Each value as its place among the different values, and those.
fn rank<T: Clone>(values: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> (Vec<i32>, Vec<T>) {
    let mut different = values.clone();
    different.sort_by(&order);
    different.dedup_by(|a, b| order(a, b).is_eq());
    let place = |value: &T| different.binary_search_by(|v| order(v, value)).map_or(0, |i| i as i32);
    (values.iter().map(place).collect(), different)
}

fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|e| failed("read", path, &e))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Error::format(format!("{}: longer than {} MiB; divide it", path.display(), MAX_TEXT >> 20)));
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}
