//! Tables from CSV files.

use crate::host::elements;
use crate::io::failed;
use ibex_core::{Error, Result, Tensor};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// What stands for a missing value unless [`Csv::missing`] says otherwise.
const MISSING: [&str; 9] = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "#N/A"];

/// What a gzipped table may grow to.
const MAX_UNPACKED: u64 = 1 << 30;

/// A table with named columns, each of numbers or of text.
#[derive(Clone, Debug)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
    /// For errors.
    source: String,
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Numbers; NaN where one is missing.
    Numbers(Vec<f64>),
    /// Text; `None` where it is missing.
    Text(Vec<Option<String>>),
}

/// How a CSV file is read: with commas and a header, unless it is said otherwise.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("ibex-doc-{}.csv", std::process::id()));
/// # std::fs::write(&path, "area;street\n8450;Pave\n;\"Grvl; old\"\n").unwrap();
/// use ibex_data::Csv;
/// let houses = Csv::new().delimiter(b';').read(&path)?;
/// assert_eq!(houses.names(), ["area", "street"]);
/// assert!(houses.numbers(&["area"])?.data().unwrap().to_f64()[1].is_nan());
/// assert_eq!(houses.text("street")?[1].as_deref(), Some("Grvl; old"));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), ibex_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Csv {
    delimiter: u8,
    header: bool,
    missing: HashSet<String>,
    text: Vec<String>,
}

impl Default for Csv {
    fn default() -> Self {
        Csv { delimiter: b',', header: true, missing: MISSING.map(String::from).into(), text: Vec::new() }
    }
}

impl Csv {
    /// Commas, a header, and `NA`, `NaN`, `null` and the like as missing values.
    pub fn new() -> Csv {
        Csv::default()
    }

    /// The character between two cells, such as `b';'` or `b'\t'`.
    pub fn delimiter(self, delimiter: u8) -> Csv {
        Csv { delimiter, ..self }
    }

    /// Whether the first line has the names of the columns. Without it they are called `"0"`, `"1"` and so on.
    pub fn header(self, header: bool) -> Csv {
        Csv { header, ..self }
    }

    /// What stands for a missing value. An empty cell always does.
    pub fn missing<T: Into<String>>(self, missing: impl IntoIterator<Item = T>) -> Csv {
        let missing = missing.into_iter().map(Into::into).chain([String::new()]).collect();
        Csv { missing, ..self }
    }

    /// Columns that are text even if every cell looks like a number: post codes, class numbers.
    pub fn text<T: Into<String>>(self, names: impl IntoIterator<Item = T>) -> Csv {
        Csv { text: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Reads a file, gzipped or not. A column in which each cell is a number or missing is of numbers, every other one of text.
    ///
    /// # Errors
    /// `Io` if the file can not be read; `Format`, with the line, if it has no rows, lines of different lengths, a quote that is not
    /// closed, two columns of one name, or text that is no UTF-8; `Value` if a column named in [`Csv::text`] is not there.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let bytes = contents(path)?;
        self.parse(&bytes, &path.display().to_string())
    }

    fn parse(&self, bytes: &[u8], source: &str) -> Result<Table> {
        if let Err(e) = std::str::from_utf8(bytes) {
            let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
            return Err(Error::format(format!("{source}, line {line}: no UTF-8 text; convert the file to UTF-8")));
        }
        let names = self.names(bytes, source)?;
        for name in &self.text {
            if !names.contains(name) {
                return Err(Error::value(format!("{source}: no column {name:?}; there are {names:?}")));
            }
        }
        // Two passes: the first sees which columns are numbers, so that the cells of those are never kept as text.
        let mut numeric: Vec<bool> = names.iter().map(|name| !self.text.contains(name)).collect();
        let mut rows = 0;
        self.records(bytes, source, names.len(), |cells| {
            for (numeric, cell) in numeric.iter_mut().zip(cells) {
                *numeric = *numeric && (self.missing.contains(cell.trim()) || cell.trim().parse::<f64>().is_ok());
            }
            rows += 1;
        })?;
        if rows == 0 {
            return Err(Error::format(format!("{source}: no rows; give a table with at least one")));
        }
        let column = |&numeric: &bool| match numeric {
            true => Column::Numbers(Vec::with_capacity(rows)),
            false => Column::Text(Vec::with_capacity(rows)),
        };
        let mut columns: Vec<Column> = numeric.iter().map(column).collect();
        self.records(bytes, source, names.len(), |cells| {
            for (column, cell) in columns.iter_mut().zip(cells) {
                let missing = self.missing.contains(cell.trim());
                match column {
                    Column::Numbers(v) => {
                        v.push(if missing { f64::NAN } else { cell.trim().parse().unwrap_or(f64::NAN) });
                    }
                    Column::Text(v) => v.push((!missing).then(|| cell.to_string())),
                }
            }
        })?;
        Ok(Table { names, columns, rows, source: source.to_string() })
    }

    fn reader<'a>(&self, bytes: &'a [u8]) -> csv::Reader<&'a [u8]> {
        csv::ReaderBuilder::new().has_headers(self.header).delimiter(self.delimiter).from_reader(bytes)
    }

    fn names(&self, bytes: &[u8], source: &str) -> Result<Vec<String>> {
        let mut reader = self.reader(bytes);
        let first = reader.headers().map_err(|e| refused(source, &e))?;
        let names: Vec<String> = if self.header {
            first.iter().map(|name| name.trim().to_string()).collect()
        } else {
            (0..first.len()).map(|i| i.to_string()).collect()
        };
        let mut seen = HashMap::new();
        for (i, name) in names.iter().enumerate() {
            if let Some(before) = seen.insert(name, i) {
                return Err(Error::format(format!(
                    "{source}, line 1: columns {before} and {i} are both called {name:?}; rename one, or read it with `header(false)`"
                )));
            }
        }
        if names.is_empty() {
            return Err(Error::format(format!("{source}: the file is empty; give a table with a header and rows")));
        }
        Ok(names)
    }

    fn records(&self, bytes: &[u8], source: &str, width: usize, mut row: impl FnMut(&csv::StringRecord)) -> Result<()> {
        let mut reader = self.reader(bytes);
        let mut record = csv::StringRecord::new();
        // The line of the last record, if its last cell goes over several lines.
        let mut open = None;
        while reader.read_record(&mut record).map_err(|e| refused(source, &e))? {
            debug_assert_eq!(record.len(), width);
            row(&record);
            let lines = record.iter().next_back().is_some_and(|cell| cell.contains('\n'));
            open = record.position().filter(|_| lines).map(|p| p.line());
        }
        // A quote that is never closed swallows the rest of the file: the last cell has lines, and no quote stands after them.
        match open {
            Some(line) if !bytes.trim_ascii_end().ends_with(b"\"") => Err(Error::format(format!(
                "{source}, line {line}: a quote is not closed before the file ends; close it, or write \"\" for a quote in a cell"
            ))),
            _ => Ok(()),
        }
    }
}

/// The bytes of a file, unpacked if it is gzipped.
fn contents(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    let mut file = BufReader::new(file);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| failed("read", path, &e))?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    let mut source = flate2::read::MultiGzDecoder::new(&bytes[..]).take(MAX_UNPACKED + 1);
    source.read_to_end(&mut unpacked).map_err(|e| {
        Error::format(format!("{}: the gzip stream is damaged ({e}); fetch the file again", path.display()))
    })?;
    if unpacked.len() as u64 > MAX_UNPACKED {
        return Err(Error::format(format!(
            "{}: more than {} MiB when unpacked; unpack it first, if that is right",
            path.display(),
            MAX_UNPACKED >> 20
        )));
    }
    Ok(unpacked)
}

fn refused(source: &str, error: &csv::Error) -> Error {
    let line = error.position().map(|p| format!(", line {}", p.line())).unwrap_or_default();
    let what = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "{len} cells where the lines before have {expected_len}; check the delimiter, and quote cells that contain it"
        ),
        _ => error.to_string(),
    };
    Error::format(format!("{source}{line}: {what}"))
}

impl Table {
    /// Reads a CSV file as [`Csv::new`] does: with commas and a header.
    ///
    /// # Errors
    /// As [`Csv::read`].
    pub fn from_csv(path: impl AsRef<Path>) -> Result<Table> {
        Csv::new().read(path)
    }

    /// The file, for errors.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True when there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The names of the columns, from left to right.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names of the columns of numbers, from left to right.
    pub fn number_names(&self) -> Vec<&str> {
        self.names_where(|column| matches!(column, Column::Numbers(_)))
    }

    /// The names of the columns of text, from left to right.
    pub fn text_names(&self) -> Vec<&str> {
        self.names_where(|column| matches!(column, Column::Text(_)))
    }

    fn names_where(&self, kind: impl Fn(&Column) -> bool) -> Vec<&str> {
        self.names.iter().zip(&self.columns).filter(|(_, c)| kind(c)).map(|(name, _)| name.as_str()).collect()
    }

    /// A column by its name.
    ///
    /// # Errors
    /// `Value` if there is none of this name.
    pub fn column(&self, name: &str) -> Result<&Column> {
        match self.names.iter().position(|n| n == name) {
            Some(i) => Ok(&self.columns[i]),
            None => Err(Error::value(format!("{}: no column {name:?}; there are {:?}", self.source, self.names))),
        }
    }

    /// Columns of numbers side by side: f32 of shape `(rows, names)`, NaN where a number is missing.
    ///
    /// # Errors
    /// `Value` if there is no such column, or it is of text.
    pub fn numbers(&self, names: &[impl AsRef<str>]) -> Result<Tensor> {
        let columns = names
            .iter()
            .map(|name| match self.column(name.as_ref())? {
                Column::Numbers(numbers) => Ok(&numbers[..]),
                Column::Text(cells) => Err(self.no_numbers(name.as_ref(), cells)),
            })
            .collect::<Result<Vec<&[f64]>>>()?;
        let shape = [self.rows, columns.len()];
        let total = elements("a table", &shape, size_of::<f32>(), "take fewer columns")?;
        let mut values = Vec::with_capacity(total);
        for row in 0..self.rows {
            values.extend(columns.iter().map(|column| column[row] as f32));
        }
        Ok(Tensor::from_vec(values, shape))
    }

    fn no_numbers(&self, name: &str, cells: &[Option<String>]) -> Error {
        let number = |cell: &Option<String>| cell.as_ref().is_none_or(|cell| cell.trim().parse::<f64>().is_ok());
        let example = cells.iter().enumerate().find(|(_, cell)| !number(cell));
        let example = match example {
            Some((row, Some(cell))) => {
                let cell: String = cell.chars().take(40).collect();
                format!(", such as {cell:?} in row {row}")
            }
            _ => String::new(),
        };
        Error::value(format!(
            "{}: column {name:?} is of text{example}; encode it with OneHotEncoder, or name what stands for a missing value with `Csv::missing`",
            self.source
        ))
    }

    /// A column of text.
    ///
    /// # Errors
    /// `Value` if there is no such column, or it is of numbers.
    pub fn text(&self, name: &str) -> Result<&[Option<String>]> {
        match self.column(name)? {
            Column::Text(cells) => Ok(cells),
            Column::Numbers(_) => Err(Error::value(format!(
                "{}: column {name:?} is of numbers; take it with `numbers`, or read it as text with `Csv::text`",
                self.source
            ))),
        }
    }

    /// A copy of the rows at `indices`, in that order.
    ///
    /// # Errors
    /// `Value` if an index is no row.
    pub fn take(&self, indices: &[u32]) -> Result<Table> {
        if let Some(index) = indices.iter().find(|&&i| i as usize >= self.rows) {
            return Err(Error::value(format!("{}: row {index} asked of {} rows", self.source, self.rows)));
        }
        let rows = indices.iter().map(|&i| i as usize);
        let column = |column: &Column| match column {
            Column::Numbers(v) => Column::Numbers(rows.clone().map(|i| v[i]).collect()),
            Column::Text(v) => Column::Text(rows.clone().map(|i| v[i].clone()).collect()),
        };
        let columns = self.columns.iter().map(column).collect();
        Ok(Table { names: self.names.clone(), columns, rows: indices.len(), source: self.source.clone() })
    }
}
