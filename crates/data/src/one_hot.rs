//! Text columns of tables as numbers.

use crate::Table;
use crate::host::elements;
use ibex_core::{Error, Result, Tensor};
use std::collections::BTreeSet;

/// More categories than this in one column are taken for a mistake: names, free text.
const MAX_CATEGORIES: usize = 1000;

/// Text columns of a [`Table`] as columns of 0 and 1, one for each text that occurs in them. Fit it to the training data alone.
///
/// The categories of a column are sorted. A missing text is a category of its own, the last one, where there are missing texts in the
/// data it was fitted to. A text that was not there gets zeros in all columns.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ibex-doc-hot-{}.csv", std::process::id()));
/// # std::fs::write(&path, "street\nPave\nGrvl\nNA\n").unwrap();
/// use ibex_data::{OneHotEncoder, Table};
/// let houses = Table::from_csv(&path)?;
/// let encoder = OneHotEncoder::fit(&houses, &houses.text_names())?;
/// assert_eq!(encoder.names(), ["street=Grvl", "street=Pave", "street missing"]);
/// let x = encoder.transform(&houses)?;
/// assert_eq!(x.data().unwrap().to_f64(), [0., 1., 0., 1., 0., 0., 0., 0., 1.]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OneHotEncoder {
    columns: Vec<(String, Categories)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Categories {
    /// Sorted.
    texts: Vec<String>,
    missing: bool,
}

impl Categories {
    fn len(&self) -> usize {
        self.texts.len() + usize::from(self.missing)
    }

    fn find(&self, text: Option<&String>) -> Option<usize> {
        match text {
            Some(text) => self.texts.binary_search(text).ok(),
            None => self.missing.then_some(self.texts.len()),
        }
    }
}

impl OneHotEncoder {
    /// The categories of these columns.
    ///
    /// # Errors
    /// `Value` if there is no such column, it is of numbers, or has more than 1000 different texts.
    pub fn fit(table: &Table, names: &[impl AsRef<str>]) -> Result<OneHotEncoder> {
        let fit = |name: &str| {
            let cells = table.text(name)?;
            let texts: BTreeSet<&String> = cells.iter().flatten().collect();
            if texts.len() > MAX_CATEGORIES {
                return Err(Error::value(format!(
                    "OneHotEncoder: column {name:?} has {} different texts, more than {MAX_CATEGORIES}; leave it out",
                    texts.len()
                )));
            }
            let texts = texts.into_iter().cloned().collect();
            Ok((name.to_string(), Categories { texts, missing: cells.iter().any(Option::is_none) }))
        };
        Ok(OneHotEncoder { columns: names.iter().map(|name| fit(name.as_ref())).collect::<Result<_>>()? })
    }

    /// A name for each column that [`transform`](OneHotEncoder::transform) makes.
    pub fn names(&self) -> Vec<String> {
        let of_column = |(name, categories): &(String, Categories)| {
            let texts = categories.texts.iter().map(|text| format!("{name}={text}"));
            texts.chain(categories.missing.then(|| format!("{name} missing"))).collect::<Vec<String>>()
        };
        self.columns.iter().flat_map(of_column).collect()
    }

    /// The columns as f32 of shape `(rows, categories of all columns)`.
    ///
    /// # Errors
    /// `Value` if a column is not there or is of numbers; `OutOfMemory` if the result would be absurdly large.
    pub fn transform(&self, table: &Table) -> Result<Tensor> {
        let width = self.columns.iter().map(|(_, categories)| categories.len()).sum();
        let total = elements("OneHotEncoder: an array", &[table.len(), width], size_of::<f32>(), "leave columns out")?;
        let mut values = vec![0f32; total];
        let mut offset = 0;
        for (name, categories) in &self.columns {
            for (row, text) in table.text(name)?.iter().enumerate() {
                if let Some(category) = categories.find(text.as_ref()) {
                    values[row * width + offset + category] = 1.0;
                }
            }
            offset += categories.len();
        }
        Ok(Tensor::from_vec(values, [table.len(), width]))
    }
}
