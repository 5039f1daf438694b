//! Results, as lines for people and for machines.

use crate::measure::Samples;
use crate::roofline::Ceiling;
use ibex::Error;
use ibex::core::backend::DeviceInfo;
use serde_json::{Map, Value, json};
use std::fmt;

/// The times of one row, and what it did in them.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The row's name.
    pub name: String,
    /// Seconds of one call: the median.
    pub median: f64,
    /// Seconds of the fastest call.
    pub least: f64,
    /// Number of samples.
    pub samples: usize,
    /// Floating-point operations that are needed, 0 where they do not matter.
    pub flops: f64,
    /// Bytes that must be moved, 0 where they do not matter.
    pub bytes: f64,
    /// More about the row: `first_ms` (compiled and run once), `us_per_dispatch`, ...
    pub more: Vec<(&'static str, f64)>,
}

impl Measurement {
    pub(crate) fn new(name: impl Into<String>, samples: &Samples, flops: f64, bytes: f64) -> Measurement {
        let (median, least) = (samples.median(), samples.least());
        Measurement { name: name.into(), median, least, samples: samples.len(), flops, bytes, more: Vec::new() }
    }

    /// With one more number.
    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Measurement {
        self.more.push((name, value));
        self
    }

    /// How near it comes to the ceiling, which is 100; `None` where nothing bounds it.
    pub fn percent(&self, ceiling: &Ceiling) -> Option<f64> {
        let bound = ceiling.seconds(self.flops, self.bytes);
        (bound > 0.0).then(|| 100.0 * bound / self.median)
    }
}

/// What became of a row on a device.
#[derive(Debug)]
pub struct Report<'a> {
    /// The device.
    pub device: &'a DeviceInfo,
    /// The row.
    pub name: &'a str,
    /// Its times, or why there are none.
    pub result: Result<Measurement, Error>,
    /// The device's ceiling; `None` for its own rows.
    pub ceiling: Option<&'a Ceiling>,
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

impl Report<'_> {
    /// One object, with the field names of the other engines' results.
    pub fn json(&self) -> String {
        let mut row = Map::new();
        row.insert("peer".into(), json!(format!("ibex-{}", self.device.id)));
        row.insert("name".into(), json!(self.name));
        row.insert("device".into(), json!(self.device.name));
        let mut number = |name: &str, value: f64, digits| row.insert(name.into(), json!(rounded(value, digits)));
        match &self.result {
            Ok(m) => {
                number("ms", m.median * 1e3, 5);
                number("min_ms", m.least * 1e3, 5);
                if m.flops > 0.0 {
                    number("gflops", m.flops / m.median / 1e9, 2);
                }
                if m.bytes > 0.0 {
                    number("gbps", m.bytes / m.median / 1e9, 2);
                }
                if let Some(percent) = self.ceiling.and_then(|c| m.percent(c)) {
                    number("percent_of_ceiling", percent, 1);
                }
                for &(name, value) in &m.more {
                    number(name, value, 3);
                }
                row.insert("n".into(), json!(m.samples));
            }
            Err(error) => drop(row.insert("error".into(), json!(error.to_string()))),
        }
        Value::Object(row).to_string()
    }
}

/// A line of a table. The rate is that of what bounds the row: arithmetic or memory.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = match &self.result {
            Ok(m) => m,
            Err(error) => return write!(f, "{:36} FAILED: {error}", self.name),
        };
        write!(f, "{:36} {:>11.4} ms  min {:>11.4}  n {:<3}", self.name, m.median * 1e3, m.least * 1e3, m.samples)?;
        let time = |flops, bytes| self.ceiling.map_or(flops + bytes, |c| c.seconds(flops, bytes));
        let (amount, unit) =
            if time(m.flops, 0.0) >= time(0.0, m.bytes) { (m.flops, "GFLOP/s") } else { (m.bytes, "GB/s") };
        match amount {
            0.0 => write!(f, "{:19}", "")?,
            amount => write!(f, "  {:>9.2} {unit:7}", amount / m.median / 1e9)?,
        }
        if let Some(percent) = self.ceiling.and_then(|c| m.percent(c)) {
            write!(f, "  {percent:>5.1} %")?;
        }
        m.more.iter().try_for_each(|(name, value)| write!(f, "  {name} {value:.3}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people_and_machines() {
        let [id, name, details] = ["cpu", "a processor", ""].map(String::from);
        let device = DeviceInfo { id, name, details };
        let samples = Samples::new(vec![2e-3, 1e-3, 4e-3]);
        let result = Ok(Measurement::new("x", &samples, 0.0, 4e6).with("first_ms", 7.0));
        let report = Report { device: &device, name: "x", result, ceiling: None };
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(
            json,
            json!({ "peer": "ibex-cpu", "name": "x", "device": "a processor", "ms": 2.0, "min_ms": 1.0, "n": 3,
                "gbps": 2.0, "first_ms": 7.0 })
        );
        let text = report.to_string();
        assert!(text.contains("2.0000 ms") && text.contains("2.00 GB/s") && !text.contains('%'), "{text}");

        let failed = Report { result: Err(Error::value("wrong")), ..report };
        let json: Value = serde_json::from_str(&failed.json()).unwrap();
        assert!(json.get("ms").is_none() && json["error"].as_str().is_some_and(|e| e.contains("wrong")), "{json}");
        assert!(failed.to_string().contains("FAILED"));
    }
}
