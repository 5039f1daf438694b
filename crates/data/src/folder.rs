//! Files in a folder for each class.

use crate::io::failed;
use ibex_core::{Error, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// How labels are written into `y`.
#[cfg(feature = "images")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LabelMode {
    /// Class numbers: i32 of shape `(n)`, for `SparseCategoricalCrossentropy`.
    #[default]
    Int,
    /// Vectors with a 1 at the class: f32 of shape `(n, classes)`, for `CategoricalCrossentropy`.
    Categorical,
    /// 0 or 1 for two classes: f32 of shape `(n, 1)`, for `BinaryCrossentropy`.
    Binary,
}

#[cfg(feature = "images")]
impl LabelMode {
    /// Labels of that many classes as a tensor.
    pub(crate) fn tensor(self, labels: Vec<i32>, classes: usize) -> Result<ibex_core::Tensor> {
        use ibex_core::Tensor;
        let n = labels.len();
        match self {
            LabelMode::Int => Ok(Tensor::from_vec(labels, n)),
            LabelMode::Categorical => crate::to_categorical(&Tensor::from_vec(labels, n), Some(classes)),
            LabelMode::Binary if classes != 2 => Err(Error::value(format!(
                "LabelMode::Binary is for 2 classes, but there are {classes}; use Int or Categorical"
            ))),
            LabelMode::Binary => {
                Ok(Tensor::from_vec(labels.iter().map(|&label| label as f32).collect::<Vec<f32>>(), [n, 1]))
            }
        }
    }
}

/// Files with their classes. Classes are the folders in a folder, sorted by name; in them, folders are sorted by path and files by name,
/// as Keras does it.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub paths: Vec<PathBuf>,
    pub labels: Vec<i32>,
    pub class_names: Vec<String>,
}

/// What to do with a file, by the end of its name in small letters.
pub(crate) enum Take {
    Yes,
    No,
    /// An error that says this.
    #[cfg(feature = "images")]
    Refuse(&'static str),
}

impl Files {
    /// Lists the files that are taken, in all folders of `dir`, or in those of the given classes.
    pub fn list(dir: &Path, classes: Option<&[&str]>, take: impl Fn(&str) -> Take) -> Result<Files> {
        let mut found: Vec<String> = Vec::new();
        for (name, path) in entries(dir)? {
            if path.is_dir() && !name.to_string_lossy().starts_with('.') {
                found.push(name.into_string().map_err(|name| {
                    Error::value(format!("{}: the folder {name:?} is no UTF-8 text; rename it", dir.display()))
                })?);
            }
        }
        let class_names = match classes {
            None => found,
            Some(classes) => {
                if let Some(missing) = classes.iter().find(|class| !found.iter().any(|f| f == *class)) {
                    return Err(Error::value(format!(
                        "no folder {missing:?} in {}; there are {found:?}",
                        dir.display()
                    )));
                }
                classes.iter().map(|&class| class.to_string()).collect()
            }
        };
        let mut files = Files { paths: Vec::new(), labels: Vec::new(), class_names: Vec::new() };
        for (label, class) in class_names.iter().enumerate() {
            let mut folders = vec![dir.join(class)];
            let mut next = 0;
            // Links to folders are not followed, so this ends.
            while next < folders.len() {
                for (_, path) in entries(&folders[next])? {
                    if path.is_dir() && !path.is_symlink() {
                        folders.push(path);
                    }
                }
                next += 1;
            }
            folders.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
            for folder in folders {
                for (_, path) in entries(&folder)?.into_iter().filter(|(_, path)| path.is_file()) {
                    let end = path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default();
                    match take(&end) {
                        Take::Yes => {
                            files.labels.push(label as i32);
                            files.paths.push(path);
                        }
                        Take::No => {}
                        #[cfg(feature = "images")]
                        Take::Refuse(why) => return Err(Error::unsupported(format!("{}: {why}", path.display()))),
                    }
                }
            }
        }
        files.class_names = class_names;
        if files.paths.is_empty() {
            return Err(Error::value(format!(
                "no files to read in {}; give the folder that holds a folder of files for each class (there are {:?})",
                dir.display(),
                files.class_names
            )));
        }
        if u32::try_from(files.paths.len()).is_err() {
            return Err(Error::value(format!("{} holds more than {} files", dir.display(), u32::MAX)));
        }
        Ok(files)
    }

    /// The files in a random order.
    #[cfg(feature = "images")]
    pub fn shuffle(&mut self, seed: u64) {
        let order = crate::rows::shuffled_indices(self.paths.len() as u32, seed, 0);
        self.labels = order.iter().map(|&i| self.labels[i as usize]).collect();
        self.paths = order.iter().map(|&i| self.paths[i as usize].clone()).collect();
    }
}

/// What a folder holds, sorted by name.
fn entries(dir: &Path) -> Result<Vec<(OsString, PathBuf)>> {
    let list = || fs::read_dir(dir)?.map(|e| e.map(|e| (e.file_name(), e.path()))).collect::<std::io::Result<Vec<_>>>();
    let mut entries = list().map_err(|e| failed("list", dir, &e))?;
    entries.sort();
    Ok(entries)
}
