//! The command from outside.

use serde_json::Value;
use std::process::{Command, Output};

fn ibex(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ibex")).args(args).env("IBEX_DEVICE", "cpu").output().unwrap()
}

/// Exit code, standard output and standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = ibex(args);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn arguments_that_make_no_sense() {
    for (args, word) in [
        (&[][..], "which command"),
        (&["fly"], "\"fly\""),
        (&["devices", "now"], "now"),
        (&["check", "--fast"], "--fast"),
        (&["check", "--device"], "--device"),
        (&["bench", "--trace", "x"], "--trace"),
        (&["bench", "--json=1"], "--json"),
        (&["tune", "--fast"], "--fast"),
        (&["profile", "--trace", "x.json"], "step_cnn_b128"),
        (&["predict", "mine.keras", "--batchsize", "3"], "--batchsize"),
        (&["train", "mine.keras", "--learning-rate", "abc"], "--learning-rate takes a number, not \"abc\""),
        (&["evaluate", "mine.keras", "--batch-size=2.5"], "--batch-size takes a number, not \"2.5\""),
        (&["help", "fly"], "\"fly\""),
        (&["plot", "model.safetensors"], "--output"),
        (&["plot", "a", "b", "--output", "x.svg"], "\"b\""),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        let last = err.lines().last().unwrap();
        assert!(last.contains(word) && err.starts_with("usage: ibex") && err.lines().count() < 20, "{args:?}: {err}");
    }
}

#[test]
fn names_that_are_not_there() {
    for (args, words) in [
        (&["check", "--device", "tpu", "tanh"][..], &["tpu", "cpu"][..]),
        (&["check", "tanhh"], &["tanhh", "--list"]),
        (&["tune", "--device", "cpu"], &["\"cpu\"", "no GPU"]),
        (&["bench", "matmull"], &["matmull", "matmul_256"]),
        (&["bench", "matmul_256", "--device", "tpu"], &["tpu"]),
        (&["profile", "steps"], &["steps", "step_mlp_b128"]),
        (&["plot", "none.safetensors", "--output", "none.svg"], &["none.safetensors"]),
        (&["profile", "softmax_128", "--trace", "no/such/folder/x.json"], &["no/such/folder", "check the path"]),
    ] {
        let (code, _, err) = run(args);
        assert_eq!(code, 1, "{args:?}: {err}");
        assert!(words.iter().all(|word| err.contains(word)), "{args:?}: {err}");
    }
}

#[test]
fn help_and_lists() {
    let (code, out, _) = run(&["help"]);
    assert!(code == 0 && ["devices", "check", "bench", "profile", "tune"].iter().all(|c| out.contains(c)), "{out}");
    let commands =
        ["devices", "summary", "predict", "evaluate", "train", "convert", "plot", "check", "bench", "profile", "tune"];
    for command in commands {
        let usage = format!("usage: ibex {command}");
        for args in [&[command, "--help"][..], &[command, "x.keras", "-h"], &["help", command]] {
            let (code, out, err) = run(args);
            assert!(code == 0 && err.is_empty() && out.starts_with(&usage), "{args:?}: {out}{err}");
            assert!(commands.iter().all(|c| *c == command || !out.contains(&format!("\n  {c} "))), "{args:?}: {out}");
        }
    }
    assert_eq!(run(&["--version"]), (0, format!("ibex {}\n", env!("CARGO_PKG_VERSION")), String::new()));
    let (code, out, _) = run(&["bench", "--list", "lstm"]);
    assert_eq!((code, out.as_str()), (0, "lstm_fwd\nlstm_fwdbwd\nstep_lstm_b32\n"));
    let (code, out, _) = run(&["check", "--list", "tanh"]);
    assert!(code == 0 && out.lines().count() > 0 && out.lines().all(|l| l.contains("tanh")), "{out}");
}

#[test]
fn check_runs_what_is_named() {
    let (code, out, err) = run(&["check", "tanh", "--device", "cpu"]);
    assert_eq!(code, 0, "{out}{err}");
    let count = run(&["check", "--list", "tanh"]).1.lines().count();
    assert!(out.starts_with("cpu: ") && out.ends_with(&format!("{count} passed, 0 failed\n")), "{out}");
}

#[test]
fn bench_speaks_json() {
    let (code, out, err) = run(&["bench", "matmul_256", "softmax_128", "--quick", "--json"]);
    assert_eq!(code, 0, "{err}");
    let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |name: &str| rows.iter().find(|r| r["name"] == name).unwrap_or_else(|| panic!("no {name}: {out}"));
    for row in &rows {
        let positive = |field: &str| row[field].as_f64().is_some_and(|v| v > 0.0);
        assert!(row["peer"] == "ibex-cpu" && row["device"].is_string(), "{row}");
        assert!(positive("ms") && positive("min_ms") && positive("n"), "{row}");
        assert!(positive("gflops") || positive("gbps"), "{row}");
    }
    assert!(row("matmul_256")["percent_of_ceiling"].as_f64().is_some_and(|p| p > 0.0 && p.is_finite()));
    assert!(row("softmax_128x10").get("gflops").is_none());
    row("ceiling_multiply_add");
}

#[test]
fn profile_writes_a_trace() {
    let path = std::env::temp_dir().join(format!("ibex-trace-{}.json", std::process::id()));
    let (code, out, err) = run(&["profile", "mlp", "--trace", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("step_mlp_b128") && out.contains("a replay: 1 submissions"), "{out}");
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let kernels = trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X").count();
    assert!(kernels > 5 && out.contains(&format!("us in {kernels} kernels")), "{kernels}: {out}");
}

#[test]
fn a_model_is_drawn() {
    use ibex::prelude::*;
    let folder = std::env::temp_dir().join(format!("ibex-cli-plot-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [model, drawing] = ["model.safetensors", "model.svg"].map(|name| folder.join(name).display().to_string());
    Sequential::new([4]).add(Instance::from(Dense::new(3)).named("score")).save(&model).unwrap();
    let (code, out, err) = run(&["plot", &model, "--output", &drawing]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let svg = std::fs::read_to_string(&drawing).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("score") && svg.contains("(None, 3)"), "{svg}");
    std::fs::remove_dir_all(&folder).unwrap();
}
