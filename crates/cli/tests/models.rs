//! The commands on models' files, from a description to a trained model in every kind of file.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two numbers to the probability of three classes.
const ARCHITECTURE: &str = r#"{
  "class_name": "Sequential",
  "config": {"name": "points", "layers": [
    {"class_name": "InputLayer", "config": {"batch_shape": [null, 2], "dtype": "float32", "name": "point"}},
    {"class_name": "Dense", "config": {"name": "hidden", "units": 16, "activation": "tanh"}},
    {"class_name": "Dense", "config": {"name": "class", "units": 3, "activation": "softmax"}}
  ]}
}"#;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ibex-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    /// Exit code, standard output and standard error of a command in this folder.
    fn run(&self, line: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibex"));
        let output =
            command.args(line.split_whitespace()).current_dir(&self.0).env("IBEX_DEVICE", "cpu").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Standard output of a command that must work.
    fn ok(&self, line: &str) -> String {
        let (code, out, err) = self.run(line);
        assert_eq!(code, 0, "{line}: {err}");
        out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(line)).unwrap()
    }

    fn bytes(&self, name: impl AsRef<Path>) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Points of a square, whose class is the third of it that they lie in.
fn points() -> String {
    let mut csv = String::from("a,b,class\n");
    for i in 0..240 {
        let (a, b) = (f64::from(i * 37 % 240) / 240.0, f64::from(i * 101 % 240) / 240.0);
        let class = (3.0 * a) as u32;
        csv += &format!("{a},{b},{class}\n");
    }
    csv
}

#[test]
fn from_a_description_to_files_of_every_kind() {
    let dir = Folder::new("kinds");
    dir.write("model.json", ARCHITECTURE);
    dir.write("points.csv", &points());
    let train = "--x points.csv --target class --epochs 30 --batch-size 16 --seed 3";
    let how = "--optimizer adam --learning-rate 0.02 --loss sparse_categorical_crossentropy --metrics accuracy";
    let (code, out, err) = dir.run(&format!("train model.json {train} {how} --save first.keras"));
    assert!(code == 0 && err.lines().count() == 30 && err.starts_with("Epoch 1/30 - accuracy: "), "{err}");
    assert!(out.starts_with("accuracy: ") && out.contains("\nloss: "), "{out}");

    let evaluate = "--x points.csv --target class --json";
    let first = dir.json(&format!("evaluate first.keras {evaluate}"));
    assert!(first["accuracy"].as_f64().unwrap() > 0.85, "{first}");

    // Without settings, as the file says, from the optimizer state in it.
    let again = dir.json(&format!("train first.keras {train} --save second.keras --json"));
    let losses = again["history"]["loss"].as_array().unwrap();
    assert!(losses.len() == 30 && losses[0].as_f64().unwrap() < 1.2 * first["loss"].as_f64().unwrap(), "{again}");
    let second = dir.json(&format!("evaluate second.keras {evaluate}"));
    assert!(second["loss"].as_f64() < first["loss"].as_f64());

    for name in ["model.h5", "model.safetensors", "model.keras"] {
        dir.ok(&format!("convert second.keras {name}"));
        assert_eq!(dir.json(&format!("evaluate {name} {evaluate}")), second, "{name}");
    }
    for name in ["only.weights.h5", "only.npz"] {
        dir.ok(&format!("convert second.keras {name}"));
        dir.ok(&format!("convert first.keras back.keras --weights {name}"));
        assert_eq!(dir.json(&format!("evaluate back.keras {evaluate}"))["loss"], second["loss"], "{name}");
    }
    dir.ok("convert second.keras second.onnx");
    assert!(dir.bytes("second.onnx").windows(7).any(|w| w == b"Softmax"));
    dir.ok("convert second.keras second.json");
    assert!(dir.ok("summary second.json").contains("hidden (Dense)"));
    assert_eq!(dir.json("summary second.keras --json")["class_name"], "Sequential");
}

#[test]
fn predictions_of_several_inputs_and_outputs() {
    let dir = Folder::new("several");
    let dense = |name: &str, input: &str| {
        format!(
            r#"{{"class_name": "Dense", "name": "{name}", "config": {{"name": "{name}", "units": 1, "kernel_initializer": "ones"}},
                "inbound_nodes": [[["{input}", 0, 0, {{}}]]]}}"#
        )
    };
    let input = |name: &str| {
        format!(
            r#"{{"class_name": "InputLayer", "name": "{name}", "config": {{"name": "{name}", "batch_shape": [null, 2], "dtype": "float32"}},
                "inbound_nodes": []}}"#
        )
    };
    let layers = [input("left"), input("right"), dense("p", "left"), dense("q", "right")].join(", ");
    dir.write(
        "model.json",
        &format!(
            r#"{{"class_name": "Functional", "config": {{"name": "pair", "layers": [{layers}],
                "input_layers": [["left", 0, 0], ["right", 0, 0]], "output_layers": [["p", 0, 0], ["q", 0, 0]]}}}}"#
        ),
    );
    dir.write("left.csv", "a,b\n1,2\n3,4\n");
    dir.write("right.csv", "a,b\n0.5,0.25\n-1,1\n");
    let inputs = "--input left=left.csv --input right=right.csv";
    let out = dir.ok(&format!("predict model.json {inputs} --output y.npy"));
    assert_eq!(out.lines().count(), 2, "{out}");
    // The numbers stand at the end of a file.
    let last = |name: &str| -> Vec<f32> {
        let bytes = dir.bytes(name);
        bytes[bytes.len() - 8..].chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    assert_eq!((last("y.npy"), last("y_1.npy")), (vec![3.0, 7.0], vec![0.75, 0.0]));

    let described = dir.json(&format!("predict model.json {inputs} --output y.npz --json"));
    assert_eq!(described["outputs"][1]["name"], "q");
    for (line, words) in [
        ("predict model.json --input left.csv --output y.npy", &["several inputs", "left, right"][..]),
        ("predict model.json --input left=left.csv --output y.npy", &["no array", "right"]),
        ("predict model.json --input middle=left.csv --output y.npy", &["middle", "left, right"]),
        ("predict model.json --input left=none.npy --input right=right.csv --output y.npy", &["none.npy"]),
        ("evaluate model.json --x y.npz --y y.npz --loss mse", &["no array", "left"]),
        ("convert model.json model.txt", &["model.txt", ".keras"]),
        ("summary none.keras", &["none.keras"]),
        (
            "evaluate model.json --x left=left.csv --x right=right.csv --y p=left.csv --y q=left.csv --loss mse",
            &["(2, 2)"],
        ),
    ] {
        let (code, _, err) = dir.run(line);
        assert!(code != 0 && words.iter().all(|word| err.contains(word)), "{line}: {err}");
        assert!(!err.contains(".rs"), "{line}: {err}");
    }
}

#[test]
fn what_is_missing_is_named_as_an_option() {
    let dir = Folder::new("advice");
    dir.write("model.json", ARCHITECTURE);
    dir.write("points.csv", &points());
    dir.ok("convert model.json bare.keras");
    let train = "--x points.csv --target class --save out.keras";
    for (line, words) in [
        (format!("train model.json {train}"), &["--loss", "--optimizer", "MeanSquaredError", "RMSprop, Adam"][..]),
        (format!("train bare.keras {train} --optimizer adam"), &["--loss", "MeanSquaredError"]),
        ("evaluate bare.keras --x points.csv --target class".into(), &["give --loss\n", "MeanSquaredError"]),
        (format!("train model.json {train} --loss mse --optimizer addam"), &["--optimizer", "\"addam\"", "AdamW"]),
        (format!("train model.json {train} --loss mxe"), &["--loss", "\"mxe\"", "MeanSquaredError"]),
        (format!("train model.json {train} --loss mse --metrics auk"), &["--metrics", "\"auk\"", "AUC"]),
        (format!("train model.json {train} --loss mse --device tpu"), &["--device", "tpu"]),
    ] {
        let (code, _, err) = dir.run(&line);
        let last: Vec<&str> = err.lines().skip_while(|l| !l.starts_with("ibex: ")).collect();
        let last = last.join("\n");
        assert!(code != 0 && words.iter().all(|word| last.contains(word)), "{line}: {err}");
        assert!(!err.contains("compile the model") && !err.contains(".rs"), "{line}: {err}");
    }
}

#[test]
fn the_table_of_training_serves_predictions() {
    let dir = Folder::new("target");
    dir.write("model.json", ARCHITECTURE);
    dir.write("points.csv", "a,class,b\n0.25,0,0.5\n0.5,1,0.125\n");
    dir.write("inputs.csv", "a,b\n0.25,0.5\n0.5,0.125\n");
    dir.ok("convert model.json model.keras");
    dir.ok("predict model.keras --input points.csv --target class --output y.npy");
    dir.ok("predict model.keras --input inputs.csv --output z.npy");
    assert_eq!(dir.bytes("y.npy"), dir.bytes("z.npy"));
    let targets = "--x inputs.csv --y y.npy --loss mse --json";
    assert!(dir.json(&format!("evaluate model.keras {targets}"))["loss"].as_f64().unwrap() < 1e-12);
    for (line, words) in [
        (
            "predict model.keras --input points.csv --output y.npy",
            &["3 columns", "takes 2", "--target", "a, class, b"][..],
        ),
        ("evaluate model.keras --x points.csv --y y.npy --loss mse", &["3 columns", "takes 2", "--target"]),
        (
            "predict model.keras --input points.csv --target kind --output y.npy",
            &["--target", "\"kind\"", "a, class, b"],
        ),
        ("predict model.keras --input y.npy --target class --output z.npy", &["--target", ".csv"]),
    ] {
        let (code, _, err) = dir.run(line);
        assert!(code != 0 && words.iter().all(|word| err.contains(word)), "{line}: {err}");
    }
}

#[test]
fn files_are_described_and_converted_without_a_device() {
    let dir = Folder::new("nowhere");
    dir.write("model.json", ARCHITECTURE);
    for line in [
        "convert model.json model.keras",
        "summary model.keras",
        "convert model.keras m.onnx",
        "plot model.keras --output m.png",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibex"));
        let output =
            command.args(line.split_whitespace()).current_dir(&dir.0).env("IBEX_DEVICE", "none").output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(&dir.bytes("m.png")[1..4], b"PNG");
}
