//! Every row runs, and is right, on the CPU.

use ibex_bench::{Ceiling, Report, Timing, rows};
use serde_json::Value;

#[test]
fn all_rows() {
    let device = ibex::device("cpu").unwrap();
    let info = device.info();
    let (ceiling, own) = Ceiling::measure(&device, Timing::QUICK).unwrap();
    assert!(own.iter().all(|m| m.median > 0.0 && m.flops + m.bytes > 0.0), "{own:?}");
    let mut failed = Vec::new();
    for row in rows() {
        let result = row.measure(&device, Timing::QUICK);
        if let Err(error) = &result {
            failed.push(format!("{}: {error}", row.name()));
        }
        let report = Report { device: &info, name: row.name(), result, ceiling: Some(&ceiling) };
        println!("{report}");
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["name"], row.name());
        if let Ok(m) = &report.result {
            let bounded = m.flops + m.bytes > 0.0;
            let percent = json["percent_of_ceiling"].as_f64();
            assert_eq!(percent.is_some_and(|p| p.is_finite() && p > 0.0), bounded, "{json}");
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
