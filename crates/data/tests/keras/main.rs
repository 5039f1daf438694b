//! What real Keras made of the same data: `generate.py` in this folder wrote `keras.json`.

use ibex_core::{Data, Tensor};
use ibex_data::*;
use serde_json::Value;
use std::sync::LazyLock;

static KERAS: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("keras.json")).unwrap());

fn cases(name: &str) -> &'static Vec<Value> {
    let cases = KERAS[name].as_array().unwrap();
    assert!(!cases.is_empty());
    cases
}

/// Null stands for NaN.
fn numbers(array: &Value) -> (Vec<usize>, Vec<f64>) {
    let shape = array["shape"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
    (shape, array["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect())
}

fn floats(array: &Value) -> Tensor {
    let (shape, data) = numbers(array);
    Tensor::from_vec(data.into_iter().map(|v| v as f32).collect::<Vec<f32>>(), shape)
}

fn ints(array: &Value) -> Tensor {
    let (shape, data) = numbers(array);
    Tensor::from_vec(data.into_iter().map(|v| v as i32).collect::<Vec<i32>>(), shape)
}

/// The largest difference; shapes and places of NaN must agree.
fn difference(got: &Tensor, want: &Value) -> f64 {
    let (shape, want) = numbers(want);
    assert_eq!(got.shape().to_vec(), shape);
    let got = got.data().unwrap().to_f64();
    let differ = |(got, want): (&f64, &f64)| {
        assert_eq!(got.is_nan(), want.is_nan());
        if got.is_nan() { 0.0 } else { (got - want).abs() }
    };
    got.iter().zip(&want).map(differ).fold(0.0, f64::max)
}

fn same(got: &Tensor, want: &Value) {
    assert_eq!(difference(got, want), 0.0);
}

fn usize_of(value: &Value) -> Option<usize> {
    value.as_u64().map(|v| v as usize)
}

#[test]
fn pad_sequences_is_that_of_keras() {
    let list = |s: &Value| s.as_array().unwrap().iter().map(|v| v.as_i64().unwrap() as i32).collect::<Vec<i32>>();
    let sequences: Vec<Vec<i32>> = KERAS["pad_sequences"]["sequences"].as_array().unwrap().iter().map(list).collect();
    let end = |value: &Value| if value == "pre" { End::Pre } else { End::Post };
    for case in KERAS["pad_sequences"]["cases"].as_array().unwrap() {
        let pad = usize_of(&case["maxlen"]).map_or(Pad::default(), Pad::to);
        let pad = pad.padding(end(&case["padding"])).truncating(end(&case["truncating"]));
        let got = pad_sequences(&sequences, pad.value(case["value"].as_i64().unwrap() as i32)).unwrap();
        assert!(matches!(&**got.data().unwrap(), Data::I32(_)));
        same(&got, &case["output"]);
    }
}

#[test]
fn to_categorical_is_that_of_keras() {
    for case in cases("to_categorical") {
        same(&to_categorical(&ints(&case["labels"]), usize_of(&case["classes"])).unwrap(), &case["output"]);
    }
}

#[test]
fn normalize_is_that_of_keras() {
    for case in cases("normalize") {
        let order = case["order"].as_f64().unwrap_or(f64::INFINITY);
        let got = normalize(&floats(&case["x"]), case["axis"].as_i64().unwrap() as isize, order).unwrap();
        let off = difference(&got, &case["output"]);
        assert!(off < 1e-6, "{off} in axis {} order {}", case["axis"], case["order"]);
    }
}

#[test]
fn scalers_have_the_numbers_of_keras_and_numpy() {
    let all = &KERAS["scalers"];
    let (x, gaps) = (floats(&all["x"]), floats(&all["gaps"]));
    // Keras adds 1e-7 to the deviation, and so does not divide by zero where a feature is constant.
    let scaled = StandardScaler::fit(&x).unwrap().transform(&x).unwrap();
    assert!(difference(&scaled, &all["normalization"]) < 1e-5);

    let near = |got: &[f64], want: &Value| {
        let (_, want) = numbers(want);
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 1e-6 * want.abs()), "{got:?}");
    };
    let standard = StandardScaler::fit(&gaps).unwrap();
    near(standard.mean(), &all["mean"]);
    near(standard.scale(), &all["deviation"]);
    near(Imputer::fit(&gaps, Fill::Mean).unwrap().values(), &all["mean"]);
    near(Imputer::fit(&gaps, Fill::Median).unwrap().values(), &all["median"]);
    let minmax = MinMaxScaler::fit(&gaps, -1.0..=2.0).unwrap();
    assert!(difference(&minmax.transform(&gaps).unwrap(), &all["minmax"]) < 1e-6);
}

#[test]
fn windows_are_those_of_keras() {
    for case in cases("windows") {
        let number = |name: &str| usize_of(&case[name]);
        let series = Tensor::from_vec((0..23).map(|i| i * 10).collect::<Vec<i32>>(), 23);
        let n = number("targets").unwrap();
        let targets = Tensor::from_vec((0..n as i32).map(|i| i * 100).collect::<Vec<i32>>(), n);
        let windows =
            Windows::of(number("length").unwrap()).stride(number("stride").unwrap()).rate(number("rate").unwrap());
        let windows = windows.range(number("start").unwrap_or(0)..number("end").unwrap_or(23));
        let got = windows.with_targets(&series, &targets).unwrap();
        same(&got.x, &case["x"]);
        same(&got.y, &case["y"]);
        if n == 23 {
            same(&windows.cut(&series).unwrap(), &case["x"]);
        }
    }
}

#[test]
fn splits_have_the_sizes_of_keras() {
    for case in cases("split_dataset") {
        let n = usize_of(&case["n"]).unwrap();
        let left = case["left"].as_f64().unwrap();
        let rows = Tensor::from_vec((0..n as i32).collect::<Vec<i32>>(), n);
        let got = split_dataset(&Dataset::new(rows.clone(), rows).unwrap(), [left, 1.0 - left], Order::Kept);
        let got = got.ok().map(|[a, b]| vec![a.len(), b.len()]);
        let want = case["sizes"].as_array().map(|v| v.iter().map(|v| usize_of(v).unwrap()).collect::<Vec<usize>>());
        assert_eq!(got, want, "{n} {left}");
    }
}

#[test]
fn words_are_encoded_as_imdb_load_data_does() {
    let words = WordIndex::ranked((1..30).map(|rank| format!("w{rank}")));
    let lists = |value: &Value| -> Vec<Vec<i32>> {
        let list = |v: &Value| v.as_array().unwrap().iter().map(|v| v.as_i64().unwrap() as i32).collect();
        value.as_array().unwrap().iter().map(list).collect()
    };
    let text = |ranks: &Vec<i32>| ranks.iter().map(|rank| format!("w{rank}")).collect::<Vec<String>>().join(" ");
    let texts = Texts {
        texts: lists(&KERAS["imdb"]["ranks"]).iter().map(text).collect(),
        labels: vec![0, 1, 0, 1],
        class_names: vec!["neg".into(), "pos".into()],
    };
    for case in KERAS["imdb"]["cases"].as_array().unwrap() {
        let (mut encoding, mut shorter) = (Encoding::default(), usize::MAX);
        for (option, value) in case["options"].as_object().unwrap() {
            let (number, char) = (value.as_u64().unwrap_or(0) as u32, value.as_i64().map(|v| v as i32));
            match option.as_str() {
                "num_words" => encoding = encoding.num_words(number),
                "skip_top" => encoding = encoding.skip_top(number),
                "index_from" => encoding = encoding.index_from(number),
                "start_char" => encoding = encoding.start_char(char),
                "oov_char" => encoding = encoding.oov_char(char),
                "maxlen" => shorter = number as usize,
                other => panic!("{other}"),
            }
        }
        let got = words.encode_all(&texts, &encoding).shorter_than(shorter);
        assert_eq!(got.x, lists(&case["x"]), "{}", case["options"]);
        assert_eq!(serde_json::json!(got.y), case["y"]);
    }
}

#[cfg(feature = "images")]
mod images {
    use super::*;
    use std::path::PathBuf;

    fn folder() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keras/images"))
    }

    #[test]
    fn folders_are_read_as_keras_reads_them() {
        for case in cases("images") {
            let options = &case["options"];
            let side = |i: usize| usize_of(&options["image_size"][i]).unwrap();
            let mut images = ImageFolder::open(folder()).unwrap().size(side(0), side(1));
            images = images.crop(options["crop_to_aspect_ratio"] == true);
            if options["color_mode"] == "grayscale" {
                images = images.color(Color::Grayscale);
            }
            if options["interpolation"] == "nearest" {
                images = images.resize(Resize::Nearest);
            }
            images = match options["label_mode"].as_str() {
                Some("binary") => images.labels(LabelMode::Binary),
                Some("categorical") => images.labels(LabelMode::Categorical),
                _ => images,
            };
            let files: Vec<String> = images
                .paths()
                .iter()
                .map(|p| p.strip_prefix(folder()).unwrap().to_string_lossy().replace('\\', "/"))
                .collect();
            assert_eq!(serde_json::json!(files), case["files"]);
            assert_eq!(serde_json::json!(images.class_names()), case["class_names"]);
            let got = images.load().unwrap();
            same(&got.y, &case["y"]);
            let (shape, want) = numbers(&case["x"]);
            assert_eq!(got.x.shape().to_vec(), shape);
            let one: usize = shape[1..].iter().product();
            let values = got.x.data().unwrap().to_f64();
            for ((file, got), want) in files.iter().zip(values.chunks(one)).zip(want.chunks(one)) {
                let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                println!("{file} {options}: {off}");
                // PNG is exact up to the rounding of the file here; decoders of JPEG may differ by a little.
                let jpeg = !file.ends_with("png");
                assert!(off <= if jpeg { 2.5 } else { 1e-3 }, "{file} {options}: {off}");
            }
            // One by one is the same as all at once.
            let some = images.batch(&[3, 0]).unwrap();
            let some = some.x.data().unwrap().to_f64();
            assert_eq!(some, [&values[3 * one..4 * one], &values[..one]].concat());
        }
    }

    #[test]
    fn opacity_is_kept_if_asked_for() {
        same(&load_image(folder().join("a/rgba.png"), Color::Rgba, None).unwrap(), &KERAS["rgba"]);
        let opaque = load_image(folder().join("a/rgb.png"), Color::Rgba, Some((2, 2))).unwrap();
        assert_eq!(opaque.shape().to_vec(), [2, 2, 4]);
        assert!(opaque.data().unwrap().to_f64().chunks(4).all(|pixel| pixel[3] == 255.0));
    }
}
