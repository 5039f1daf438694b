//! Steps kernel by kernel.

use super::{classifier, points};
use ibex::Result;
use serde_json::Value;

#[test]
fn a_profile_has_every_kernel_and_a_trace_that_parses() -> Result<()> {
    let device = ibex::device("cpu")?;
    let (x, y) = points(64);
    let mut model = classifier(&device)?;
    let profile = model.profile((&x, &y), 16, 3)?.expect("the CPU has a clock");
    assert!(!profile.kernels.is_empty());
    assert_eq!((profile.replay.submissions, profile.replay.allocations, profile.replay.reads), (1, 0, 0));
    assert_eq!(profile.replay.dispatches, profile.kernels.len() as u64);
    let table = profile.to_string();
    assert!(profile.kernels.iter().all(|k| table.contains(&k.label)), "{table}");

    let path = std::env::temp_dir().join(format!("ibex-profile-{}.json", std::process::id()));
    profile.write_trace(&path)?;
    let text = std::fs::read_to_string(&path).expect("the trace");
    std::fs::remove_file(&path).expect("removed");
    let trace: Value = serde_json::from_str(&text).expect("JSON");
    let events: Vec<&Value> =
        trace["traceEvents"].as_array().expect("events").iter().filter(|e| e["ph"] == "X").collect();
    assert_eq!(events.len(), profile.kernels.len());
    let mut end = 0.0;
    for (event, kernel) in events.iter().zip(&profile.kernels) {
        let number = |v: &Value| v.as_f64().expect("a number");
        assert_eq!(event["name"], kernel.label.as_str());
        assert_eq!(event["args"]["flops"], kernel.flops);
        assert!((number(&event["ts"]) - end).abs() < 1e-3, "kernels lie end to end: {event}");
        assert!((number(&event["dur"]) - kernel.time.as_secs_f64() * 1e6).abs() < 1e-3, "{event}");
        end = number(&event["ts"]) + number(&event["dur"]);
    }
    Ok(())
}
