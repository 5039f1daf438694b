//! ONNX files: their messages, the graphs in them, and what can not be exported. What they predict is compared with onnxruntime in tests/interop.

use ibex::prelude::*;
use ibex::{Data, Result};
use std::collections::BTreeMap;

/// The fields of a protocol buffer by number: numbers, or bytes.
#[derive(Default)]
struct Message {
    numbers: BTreeMap<u64, Vec<u64>>,
    bytes: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Message {
    fn read(mut from: &[u8]) -> Message {
        fn varint(from: &mut &[u8]) -> u64 {
            let end = from.iter().position(|b| b & 0x80 == 0).expect("the end of a number") + 1;
            let (number, rest) = from.split_at(end);
            *from = rest;
            number.iter().rev().fold(0, |value, b| value << 7 | u64::from(b & 0x7f))
        }
        let mut message = Message::default();
        while !from.is_empty() {
            let tag = varint(&mut from);
            let (field, kind) = (tag >> 3, tag & 7);
            match kind {
                0 => message.numbers.entry(field).or_default().push(varint(&mut from)),
                2 => {
                    let len = varint(&mut from) as usize;
                    let (bytes, rest) = from.split_at(len);
                    message.bytes.entry(field).or_default().push(bytes.to_vec());
                    from = rest;
                }
                5 => {
                    let (bytes, rest) = from.split_at(4);
                    message.bytes.entry(field).or_default().push(bytes.to_vec());
                    from = rest;
                }
                other => panic!("fields of kind {other} are not in ONNX files"),
            }
        }
        message
    }

    fn all(&self, field: u64) -> Vec<Message> {
        self.bytes.get(&field).into_iter().flatten().map(|bytes| Message::read(bytes)).collect()
    }

    fn texts(&self, field: u64) -> Vec<String> {
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).expect("text");
        self.bytes.get(&field).into_iter().flatten().map(text).collect()
    }

    fn text(&self, field: u64) -> String {
        self.texts(field).remove(0)
    }

    fn ints(&self, field: u64) -> Vec<i64> {
        self.numbers.get(&field).into_iter().flatten().map(|&v| v as i64).collect()
    }
}

/// The parts of a file, by the numbers of onnx.proto.
struct File {
    model: Message,
    graph: Message,
}

impl File {
    fn of(model: &mut Model) -> Result<File> {
        let bytes = ibex::core::backend::block_on(model.to_onnx())?;
        let model = Message::read(&bytes);
        let graph = model.all(7).remove(0);
        Ok(File { model, graph })
    }

    fn kinds(&self) -> Vec<String> {
        self.graph.all(1).iter().map(|node| node.text(4)).collect()
    }

    /// Names, element types and shapes of inputs (11) or outputs (12).
    fn values(&self, field: u64) -> Vec<(String, i64, Vec<String>)> {
        let value = |info: &Message| {
            let tensor = info.all(2)[0].all(1).remove(0);
            let dims = tensor.all(2)[0].all(1);
            let dim = |d: &Message| d.ints(1).first().map_or_else(|| d.text(2), i64::to_string);
            (info.text(1), tensor.ints(1)[0], dims.iter().map(dim).collect())
        };
        self.graph.all(field).iter().map(value).collect()
    }

    fn attribute(&self, kind: &str, name: &str) -> Vec<i64> {
        let node = self.graph.all(1).into_iter().find(|node| node.text(4) == kind).expect("such a node");
        let attribute = node.all(5).into_iter().find(|a| a.text(1) == name).expect("such an attribute");
        [attribute.ints(3), attribute.ints(8)].concat()
    }

    /// The shape and the floats of an initializer.
    fn numbers(&self, name: &str) -> (Vec<i64>, Vec<f32>) {
        let tensor = self.graph.all(5).into_iter().find(|t| t.text(8) == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(tensor.ints(2), [1], "floats");
        let floats = tensor.bytes[&9][0].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (tensor.ints(1), floats.collect())
    }
}

fn texts<const N: usize>(list: [&str; N]) -> Vec<String> {
    list.map(str::to_string).to_vec()
}

fn value(name: &str, dims: &[&str]) -> (String, i64, Vec<String>) {
    (name.into(), 1, dims.iter().map(|d| d.to_string()).collect())
}

#[test]
fn an_mlp_is_what_it_looks_like() -> Result<()> {
    let model = Sequential::new([4]).add(Dense::new(8).activation(Relu)).add(Dense::new(3).activation(Softmax));
    let file = File::of(&mut model.seed(3).named("mlp"))?;
    assert_eq!((file.model.ints(1), file.model.text(2)), (vec![8], "ibex".into()));
    let opset = file.model.all(8).remove(0);
    assert_eq!((opset.text(1), opset.ints(2)), (String::new(), vec![18]));
    assert_eq!(file.graph.text(2), "mlp");
    assert_eq!(file.values(11), [value("input_layer", &["batch", "4"])]);
    assert_eq!(file.values(12), [value("dense_1", &["batch", "3"])]);
    assert_eq!(file.kinds(), ["Gemm", "Relu", "Gemm", "Softmax"]);
    let nodes = file.graph.all(1);
    assert_eq!(nodes[0].texts(1), texts(["input_layer", "dense/kernel", "dense/bias"]));
    assert_eq!(nodes[1].texts(1), texts(["dense/Gemm"]));
    assert_eq!((nodes[3].text(3), nodes[3].texts(2)), ("dense_1".into(), texts(["dense_1"])));
    let mut model = Sequential::new([4]).add(Dense::new(8).activation(Relu)).add(Dense::new(3)).seed(3);
    for (weight, name) in model.get_weights()?.iter().zip(["dense/kernel", "dense/bias", "dense_1/kernel"]) {
        assert_eq!(Data::F32(file.numbers(name).1), *weight, "{name}");
    }
    assert_eq!(file.numbers("dense/kernel").0, [4, 8]);
    assert_eq!(File::of(&mut model)?.kinds(), ["Gemm", "Relu", "Gemm"]);
    Ok(())
}

#[test]
fn convolutions_stay_channels_first() -> Result<()> {
    let (x, padding) = (Input::new([13, 13, 3]), Padding::Same);
    let y = Conv2D::new(4, 3).strides(2).padding(padding).use_bias(false).apply(&x);
    let y = Relu.apply(BatchNormalization::new().apply(&y));
    let z = Conv2D::new(4, (1, 3)).padding(padding).apply(&y);
    let y = MaxPooling2D::new(2).apply(&(y + z));
    let y = AveragePooling2D::new(2).padding(padding).apply(&y);
    let mut model = Model::new(&x, Dense::new(2).apply(GlobalAveragePooling2D::new().apply(&y)))?;
    let file = File::of(&mut model)?;
    let want = [
        "Transpose",
        "Conv",
        "BatchNormalization",
        "Relu",
        "Conv",
        "Add",
        "MaxPool",
        "AveragePool",
        "ReduceMean",
        "Gemm",
    ];
    assert_eq!(file.kinds(), want);
    assert_eq!(file.attribute("Transpose", "perm"), [0, 3, 1, 2]);
    assert_eq!(file.attribute("Conv", "pads"), [1, 1, 1, 1]);
    assert_eq!(file.attribute("Conv", "strides"), [2, 2]);
    assert_eq!(file.attribute("ReduceMean", "keepdims"), [0]);
    // (height, width, in, out) as (out, in, height, width).
    let (shape, turned) = file.numbers("conv2d/kernel");
    assert_eq!(shape, [4, 3, 3, 3]);
    let Data::F32(kernel) = model.get_weights()?.remove(0) else { panic!("floats") };
    for (i, v) in turned.iter().enumerate() {
        let (w, h, cin, cout) = (i % 3, i / 3 % 3, i / 9 % 3, i / 27);
        assert_eq!(*v, kernel[((h * 3 + w) * 3 + cin) * 4 + cout]);
    }
    Ok(())
}

#[test]
fn an_lstm_is_one_operation() -> Result<()> {
    let mut model = Sequential::new([5, 3]).add(LSTM::new(2).return_sequences(true)).add(LSTM::new(4)).seed(1);
    let file = File::of(&mut model)?;
    assert_eq!(file.kinds(), ["Transpose", "LSTM", "Squeeze", "LSTM", "Squeeze"]);
    assert_eq!(file.attribute("LSTM", "hidden_size"), [2]);
    // (features, i f g o) as (1, i o f g, features).
    let (shape, gates) = file.numbers("lstm/kernel");
    assert_eq!(shape, [1, 8, 3]);
    let Data::F32(kernel) = model.get_weights()?.remove(0) else { panic!("floats") };
    for (i, v) in gates.iter().enumerate() {
        let (row, gate, unit) = (i % 3, [0, 3, 1, 2][i / 6], i / 3 % 2);
        assert_eq!(*v, kernel[row * 8 + gate * 2 + unit]);
    }
    // The forget gate starts with ones.
    let (shape, bias) = file.numbers("lstm/bias");
    assert_eq!(shape, [1, 16]);
    assert_eq!(bias, [0., 0., 0., 0., 1., 1., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.]);
    Ok(())
}

#[test]
fn batches_of_one_size_stay_so() -> Result<()> {
    // One over the size of the batch is no linear function of it.
    let mean = |name: &str| Instance::from(Lambda::new("mean", |x: &Tensor| x - x.mean_keep(&[0]))).named(name);
    let x = Input::new([4]);
    let error = File::of(&mut Model::new(&x, mean("centred").apply(&x))?).err().expect("an error").to_string();
    assert!(error.contains("layer centred") && error.contains("batches_of(n)"), "{error}");
    let x = Input::new([4]).batches_of(3);
    let file = File::of(&mut Model::new(&x, mean("centred").apply(&x))?)?;
    assert_eq!(file.values(11), [value("input_layer", &["3", "4"])]);
    assert_eq!(file.kinds(), ["ReduceMean", "Sub"]);
    Ok(())
}

/// Random also while it predicts.
#[derive(Debug)]
struct Dither;

impl Layer for Dither {
    fn class_name(&self) -> &'static str {
        "Dither"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        Ok(x + cx.uniform(x.shape()))
    }
}

#[test]
fn what_onnx_can_not_say_is_an_error() -> Result<()> {
    let error = |model: &mut Model| File::of(model).err().expect("an error").to_string();
    let mut random = Sequential::new([4]).add(Instance::from(Dither).named("noise")).add(Dense::new(1));
    let text = error(&mut random);
    assert!(text.contains("layer noise") && text.contains("random numbers"), "{text}");
    let x = Input::new([5, 3]).batches_of(2);
    let mut stateful = Model::new(&x, LSTM::new(2).stateful(true).apply(&x))?;
    let text = error(&mut stateful);
    assert!(text.contains("lstm/state_0") && text.contains("no state"), "{text}");
    assert!(error(&mut Sequential::new([4])).contains("no layers"));
    Ok(())
}

#[test]
fn axes_of_any_length_get_one() -> Result<()> {
    let mut model = Sequential::new((None, 3)).add(LSTM::new(2)).named("reader");
    let error = File::of(&mut model).err().expect("an error").to_string();
    assert!(error.contains("input_layer") && error.contains("any length"), "{error}");
    let x = Input::new([5, 3]);
    let file = File::of(&mut Model::new(&x, model.apply(&x))?)?;
    assert_eq!(file.kinds(), ["Transpose", "LSTM", "Squeeze"]);
    assert_eq!(file.numbers("reader/lstm/kernel").0, [1, 8, 3]);
    Ok(())
}

#[test]
fn files() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("ibex-onnx-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let model = Sequential::new([4]).add(Dense::new(3));
    let (exported, saved) = (folder.join("a.onnx"), folder.join("b.onnx"));
    model.export(&exported)?;
    model.save(&saved)?;
    let bytes = std::fs::read(&exported).expect("a file");
    assert_eq!(bytes, std::fs::read(&saved).expect("a file"));
    assert_eq!(bytes, ibex::core::backend::block_on(model.to_onnx())?);
    let error = model.export(folder.join("served")).expect_err("no ONNX file").to_string();
    assert!(error.contains("served") && error.contains(".onnx"), "{error}");
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 2);
    std::fs::remove_dir_all(&folder).expect("removed");
    Ok(())
}
