//! `ibex tune`: what measuring found best on one device, kept in a file that later runs read. Without it the built-in table decides.

use crate::codegen::Reductions;
use crate::kernels::{Contractions, Extent};
use ibex_core::{Error, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What the first entry of a file must say.
const FORMAT: &str = "ibex-tuning-1";

/// The best kernels for one adapter with one driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// The adapter's name.
    pub adapter: String,
    /// The driver and its version.
    pub driver: String,
    /// The kernel for contractions of about a size.
    pub(crate) contractions: Vec<(Extent, Contractions)>,
    /// The same for operands of `f16`, where that was measured.
    pub(crate) halves: Vec<(Extent, Contractions)>,
    /// How reductions are combined, if that was measured.
    pub(crate) reductions: Option<Reductions>,
}

/// The file that devices read when they are opened: `IBEX_TUNE_FILE`, or `ibex/tuning.json` in the user's folder for caches. `None` where
/// the system names no such folder.
pub fn tuning_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let caches = || match std::env::consts::OS {
        "windows" => set("LOCALAPPDATA"),
        "macos" => Some(set("HOME")?.join("Library/Caches")),
        _ => set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))),
    };
    set("IBEX_TUNE_FILE").or_else(|| Some(caches()?.join("ibex/tuning.json")))
}

impl Tuning {
    /// True if some contraction takes cooperative matrices.
    pub(crate) fn is_cooperative(&self) -> bool {
        self.contractions.iter().chain(&self.halves).any(|(_, kernel)| *kernel == Contractions::Cooperative)
    }

    /// The kernel measured for a size within a factor of about two along every axis, and operands that are `f16`, or that are not.
    pub(crate) fn contraction(&self, e: Extent, half: bool) -> Option<Contractions> {
        let own = half && !self.halves.is_empty();
        let measured = if own { &self.halves } else { &self.contractions };
        let far = |a: usize, b: usize| ((a.max(1) as f32) / (b.max(1) as f32)).log2().abs();
        let distance = |o: &Extent| [far(e.z, o.z), far(e.m, o.m), far(e.n, o.n), far(e.k, o.k)];
        // Cooperative matrices of one type that are right say nothing of those of another.
        let right = |kernel: Contractions| own == half || kernel != Contractions::Cooperative;
        let near = measured.iter().filter(|(o, kernel)| right(*kernel) && distance(o).iter().all(|d| *d <= 1.1));
        let sum = |o: &Extent| distance(o).iter().sum::<f32>();
        near.min_by(|(a, _), (b, _)| sum(a).total_cmp(&sum(b))).map(|(_, kernel)| *kernel)
    }

    /// What a file says about an adapter; `None` if it says nothing or is not there.
    ///
    /// # Errors
    /// `Io` if the file can not be read, `Value` if it is not what [`Tuning::merged`] writes.
    pub fn read(path: &Path, adapter: &str, driver: &str) -> Result<Option<Tuning>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(format!("can not read {}: {e}", path.display()))),
        };
        let read = || match devices(&text)?.iter().find(|d| is_of(d, adapter, driver)) {
            Some(device) => Tuning::from_json(device).ok_or_else(wrong).map(Some),
            None => Ok(None),
        };
        read().map_err(|e: Error| e.context(path.display().to_string()))
    }

    /// The text of a file that holds this and all that `old`, the text of such a file, says about other adapters. An `old` that is no such
    /// text is replaced.
    pub fn merged(&self, old: &str) -> String {
        // As they are: another version may have said more of them than this one knows.
        let mut devices = devices(old).unwrap_or_default();
        devices.retain(|d| !is_of(d, &self.adapter, &self.driver));
        devices.push(self.to_json());
        format!("{:#}\n", json!({ "format": FORMAT, "devices": devices }))
    }

    fn to_json(&self) -> Value {
        let choice = |(e, kernel): &(Extent, Contractions)| json!([e.z, e.m, e.n, e.k, kernel.name()]);
        let list = |all: &[(Extent, Contractions)]| all.iter().map(choice).collect::<Vec<Value>>();
        let contractions = list(&self.contractions);
        let mut value = json!({ "adapter": self.adapter, "driver": self.driver, "contractions": contractions });
        if !self.halves.is_empty() {
            value["contractions_f16"] = json!(list(&self.halves));
        }
        if let Some(reductions) = self.reductions {
            value["reductions"] = json!(reductions.name());
        }
        value
    }

    fn from_json(value: &Value) -> Option<Tuning> {
        let text = |name: &str| value.get(name)?.as_str().map(str::to_string);
        let choice = |row: &Value| {
            let number = |i: usize| usize::try_from(row.get(i)?.as_u64()?).ok();
            let extent = Extent { z: number(0)?, m: number(1)?, n: number(2)?, k: number(3)? };
            Some((extent, Contractions::from_name(row.get(4)?.as_str()?)?))
        };
        let list = |all: &Value| all.as_array()?.iter().map(choice).collect::<Option<Vec<_>>>();
        let contractions = list(value.get("contractions")?)?;
        let halves = value.get("contractions_f16").map_or(Some(Vec::new()), list)?;
        let reductions = match value.get("reductions") {
            Some(name) => Some(Reductions::from_name(name.as_str()?)?),
            None => None,
        };
        Some(Tuning { adapter: text("adapter")?, driver: text("driver")?, contractions, halves, reductions })
    }
}

fn wrong() -> Error {
    Error::value(format!("not a {FORMAT} file, or of another version; run `ibex tune` again"))
}

/// Is this what a file says of that adapter?
fn is_of(device: &Value, adapter: &str, driver: &str) -> bool {
    device["adapter"] == adapter && device["driver"] == driver
}

/// What a file says, adapter by adapter.
fn devices(text: &str) -> Result<Vec<Value>> {
    let mut value: Value = serde_json::from_str(text).map_err(|e| Error::value(format!("not a {FORMAT} file: {e}")))?;
    let named = |d: &Value| d["adapter"].is_string() && d["driver"].is_string();
    match value.get_mut("devices").map(Value::take) {
        Some(Value::Array(devices)) if value["format"] == FORMAT && devices.iter().all(named) => Ok(devices),
        _ => Err(wrong()),
    }
}
