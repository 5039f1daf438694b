//! Arrays in files, as a model takes them.

use crate::Failure;
use ibex::data::Table;
use ibex::formats::npy::{self, Array};
use ibex::{DType, Data, Error, Model, Result, SymbolicTensor, Tensor};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A file, and the input or output that it is for: `x.npy`, `image=x.npy`.
#[derive(Debug)]
pub struct Given {
    name: Option<String>,
    path: PathBuf,
}

impl From<OsString> for Given {
    fn from(text: OsString) -> Given {
        match text.to_str().and_then(|t| t.split_once('=')) {
            Some((name, path)) if !Path::new(&text).exists() => Given { name: Some(name.into()), path: path.into() },
            _ => Given { name: None, path: text.into() },
        }
    }
}

/// What to train or evaluate on.
#[derive(Debug, Default)]
pub struct Examples {
    pub x: Vec<Given>,
    pub y: Vec<Given>,
    /// A column of the table that `x` is.
    pub target: Option<String>,
}

impl Examples {
    /// The arrays of a model's inputs and outputs.
    pub fn load(&self, model: &Model) -> std::result::Result<ibex::Examples, Failure> {
        if self.x.is_empty() || self.y.is_empty() == self.target.is_none() {
            return Err(Failure::Usage("give --x, and either --y or --target".into()));
        }
        let x = match (&self.target, &self.x[..]) {
            (None, given) => inputs(model, given, None)?,
            (Some(target), [Given { path, .. }]) => return Ok(from_table(path, target, model)?),
            (Some(_), _) => return Err(Failure::Usage("--target goes with one .csv file as --x".into())),
        };
        let names = model.output_names();
        Ok(ibex::Examples::new(x, &arrays(&self.y, &names, "y", "output")?)?)
    }
}

/// All other columns are the input.
fn from_table(path: &Path, target: &str, model: &Model) -> Result<ibex::Examples> {
    let table = Table::from_csv(path)?;
    let x = fit(inputs_of(&table, Some(target), path, model)?, &model.inputs()[0], &model.input_names()[0])?;
    ibex::Examples::new(&x, &whole(table.numbers(&[target])?))
}

/// The arrays of a model's inputs, in order. `target` is the column of a table that is no input.
pub fn inputs(model: &Model, given: &[Given], target: Option<&str>) -> std::result::Result<Vec<Tensor>, Failure> {
    let names = model.input_names();
    let all = match (given, names) {
        ([Given { path, .. }], [_]) if is_table(path) => vec![inputs_of(&Table::from_csv(path)?, target, path, model)?],
        _ if target.is_some() => return Err(Failure::Usage("--target goes with one .csv file".into())),
        _ => arrays(given, names, "x", "input")?,
    };
    let fitted = all.into_iter().zip(model.inputs()).zip(names).map(|((x, want), name)| fit(x, want, name));
    Ok(fitted.collect::<Result<_>>()?)
}

/// The columns of a table that are the model's input: all but the target.
fn inputs_of(table: &Table, target: Option<&str>, path: &Path, model: &Model) -> Result<Tensor> {
    let unknown = |target: &&str| !table.names().iter().any(|name| name == target);
    if let Some(target) = target.filter(unknown) {
        let text = format!("{}: no column {target:?}; there are {}", path.display(), table.names().join(", "));
        return Err(Error::value(text).context("--target"));
    }
    let columns: Vec<&String> = table.names().iter().filter(|name| target != Some(name)).collect();
    let takes = model.input_shape().last().copied().unwrap_or_default();
    if target.is_none() && model.input_shape().rank() == 1 && columns.len() == takes.saturating_add(1) {
        return Err(Error::shape(format!(
            "{} has {} columns and the model takes {takes}: --target COLUMN leaves out the one that is predicted, of {}",
            path.display(),
            columns.len(),
            table.names().join(", ")
        )));
    }
    table.numbers(&columns)
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "csv")
}

/// The array as the element type of an input.
fn fit(x: Tensor, want: &SymbolicTensor, name: &str) -> Result<Tensor> {
    let float = |dtype: DType| !matches!(dtype, DType::I32 | DType::U32 | DType::Bool);
    if x.dtype() == want.dtype() {
        return Ok(x);
    }
    let x = if float(x.dtype()) && !float(want.dtype()) { whole(x) } else { x };
    if float(x.dtype()) && !float(want.dtype()) {
        let text = format!("input {name} takes whole numbers ({}); the file has fractions", want.dtype());
        return Err(Error::dtype(text));
    }
    Ok(x.cast(want.dtype()))
}

/// Floats that are whole numbers as `i32`.
fn whole(x: Tensor) -> Tensor {
    let Some(Data::F32(values)) = x.data().map(|data| &**data) else { return x };
    if values.iter().any(|v| v.fract() != 0.0 || v.abs() > 2e9) {
        return x;
    }
    Tensor::from_vec(values.iter().map(|&v| v as i32).collect::<Vec<i32>>(), x.shape())
}

/// An array for each name. One file needs no name where there is one, and a `.npz` file has names of its own.
fn arrays(given: &[Given], names: &[String], short: &str, what: &str) -> Result<Vec<Tensor>> {
    let mut found: BTreeMap<&str, Tensor> = BTreeMap::new();
    for Given { name, path } in given {
        let mut read = read(path).map_err(|e| e.context(path.display().to_string()))?;
        let only = read.len() == 1;
        let wanted: Vec<&String> = match name {
            Some(name) => vec![names.iter().find(|n| *n == name).ok_or_else(|| {
                Error::value(format!("the model has no {what} {name:?}; it has {}", names.join(", ")))
            })?],
            None if names.len() == 1 || !only => names.iter().collect(),
            None => {
                let text = format!("the model has several {what}s; give NAME=FILE for each of {}", names.join(", "));
                return Err(Error::value(text).context(path.display().to_string()));
            }
        };
        for name in &wanted {
            let same = |(n, _): &(String, Tensor)| n == *name || wanted.len() == 1 && (only || n == short);
            if let Some(at) = read.iter().position(same) {
                found.insert(name, read.swap_remove(at).1);
            }
        }
    }
    let missing = |name: &String| {
        let files: Vec<String> = given.iter().map(|g| g.path.display().to_string()).collect();
        Error::value(format!("there is no array for {what} {name:?} in {}", files.join(", ")))
    };
    names.iter().map(|name| found.remove(&name[..]).ok_or_else(|| missing(name))).collect()
}

/// The arrays of a file, by name.
fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let tensor = |array: Array| Tensor::from_data(array.data, array.shape);
    match path.extension().and_then(|e| e.to_str()) {
        _ if is_table(path) => {
            let table = Table::from_csv(path)?;
            let x = table.numbers(table.names())?;
            // A column of class numbers.
            Ok(vec![(String::new(), if table.names().len() == 1 { whole(x) } else { x })])
        }
        Some("npz") => Ok(npy::open_npz(path)?.into_iter().map(|(name, array)| (name, tensor(array))).collect()),
        _ => Ok(vec![(String::new(), tensor(Array::open(path)?))]),
    }
}

/// Is this the name of a file that [`write`] writes?
pub fn is_written(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "npy" || e == "npz")
}

/// Writes tensors: to one `.npz` file under their names, else to `y.npy`, `y_1.npy`, ... Gives the files.
pub fn write(path: &Path, names: &[String], tensors: &[Tensor]) -> Result<Vec<PathBuf>> {
    let device = ibex::default_device()?;
    let array = |tensor: &Tensor| Array::new(tensor.shape().to_vec(), device.read_now(tensor)?);
    let arrays: Vec<Array> = tensors.iter().map(array).collect::<Result<_>>()?;
    if path.extension().is_some_and(|e| e == "npz") {
        npy::save_npz(path, names.iter().map(String::as_str).zip(&arrays))?;
        return Ok(vec![path.to_path_buf(); arrays.len()]);
    }
    let numbered = |i: usize| {
        let number = if i == 0 { String::new() } else { format!("_{i}") };
        path.with_file_name(format!("{}{number}.npy", path.file_stem().unwrap_or_default().to_string_lossy()))
    };
    let files: Vec<PathBuf> = (0..arrays.len()).map(numbered).collect();
    arrays.iter().zip(&files).try_for_each(|(array, file)| array.save(file))?;
    Ok(files)
}
