//! Exports many models, and writes what they predict, for `check_onnx.py` to compare: `onnx_models FOLDER [MODEL..]`. For each model `NAME.onnx`, and
//! `NAME.json` with batches of inputs and outputs. The layers are all that tests/keras has cases of; more models may be given as files.

use ibex::layers::{self, GRUCell, Interpolation, SimpleRNNCell, StackedRNNCells};
use ibex::prelude::*;
use ibex::{Data, Result, SymbolicTensor};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// A layer with inputs and weights, as tests/keras/README.md describes them.
#[derive(Deserialize)]
struct Case {
    name: String,
    layer: String,
    config: Config,
    inputs: Vec<Array>,
    weights: Vec<Array>,
    /// Of the inputs.
    #[serde(default)]
    masks: Vec<Option<Array>>,
    mask: Option<Array>,
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Array {
    shape: Vec<usize>,
    dtype: String,
    data: Vec<Value>,
}

impl Array {
    fn dtype(&self) -> DType {
        if self.dtype == "i32" { DType::I32 } else { DType::F32 }
    }

    fn data(&self) -> Data {
        let number = |v: &Value| v.as_f64().unwrap_or_else(|| f64::from(u8::from(v == &Value::Bool(true))));
        Data::from_f64(self.dtype(), &self.data.iter().map(number).collect::<Vec<_>>())
    }

    fn tensor(&self) -> Tensor {
        Tensor::from_data(self.data(), &self.shape[..])
    }
}

/// The first input with the second as its mask.
#[derive(Debug)]
struct SetMask;

impl Layer for SetMask {
    fn class_name(&self) -> &'static str {
        "SetMask"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn build_all(&self, _weights: &mut Weights, _inputs: &[Shape]) -> Result<()> {
        Ok(())
    }
    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        cx.set_mask(Some(inputs[1].ne(0.0)));
        Ok(vec![inputs[0].clone()])
    }
}

/// A model with rows of inputs, from which batches are made.
struct Example {
    name: String,
    model: Model,
    rows: Vec<Tensor>,
    /// The largest difference that is right.
    tolerance: f64,
}

const TOLERANCE: f64 = 1e-5;

fn example_of(case: &Case) -> Result<Example> {
    let mut inputs: Vec<SymbolicTensor> =
        case.inputs.iter().map(|x| Input::with_dtype(&x.shape[1..], x.dtype())).collect();
    let mut rows: Vec<Tensor> = case.inputs.iter().map(Array::tensor).collect();
    let mut seen = inputs.clone();
    let first = std::iter::once(&case.mask).filter(|mask| mask.is_some());
    for (i, mask) in first.chain(&case.masks).enumerate() {
        if let Some(mask) = mask {
            let input = Input::new(&mask.shape[1..]);
            seen[i] = Instance::from(SetMask).apply([&seen[i], &input]);
            inputs.push(input);
            rows.push(Tensor::from_data(mask.data(), &mask.shape[..]).cast(DType::F32));
        }
    }
    let outputs = Instance::from(layers::from_config(&case.layer, case.config.clone())?).apply_all(&seen);
    let mut model = Model::new(&inputs, &outputs)?;
    model.set_weights(&case.weights.iter().map(Array::data).collect::<Vec<_>>())?;
    Ok(Example { name: case.name.clone(), model, rows, tolerance: TOLERANCE })
}

/// A model of our own, with weights that are not those that training begins with, and random inputs.
fn example(name: &str, model: Result<Model>) -> Result<Example> {
    let mut model = model?;
    let mut values = Vec::new();
    for (i, weight) in model.weights().enumerate() {
        let (shape, positive) = (weight.variable.shape(), weight.name().contains("variance"));
        let scale = if shape.rank() > 1 {
            (12.0 / shape[..shape.rank() - 1].iter().product::<usize>() as f32).sqrt()
        } else {
            1.0
        };
        let drawn = Tensor::rand(shape, 100 + i as u64);
        values.push(numbers(&if positive { drawn + 0.5 } else { (drawn - 0.5) * scale })?);
    }
    model.set_weights(&values)?;
    let rows = random_rows(&model);
    Ok(Example { name: name.into(), model, rows, tolerance: TOLERANCE })
}

/// Five samples; tokens are below 10, the last of them 0.
fn random_rows(model: &Model) -> Vec<Tensor> {
    let mut rows = Vec::new();
    for (i, input) in model.inputs().iter().enumerate() {
        let shape = [&[5], &input.shape()[..]].concat();
        let x = Tensor::rand(&shape[..], 7 + i as u64);
        rows.push(match input.dtype() {
            DType::I32 => {
                let steps = Tensor::iota(&shape[..], -1).lt(Tensor::iota(&shape[..], 0) + 2.0);
                steps.select((x * 9.0 + 1.0).cast(DType::I32), 0.0)
            }
            _ => x * 4.0 - 2.0,
        });
    }
    rows
}

fn numbers(x: &Tensor) -> Result<Data> {
    ibex::default_device()?.read_now(x)
}

/// Batches of 1, 2 and 5 samples, or of the one size that there is.
fn write(example: Example, folder: &Path) -> Result<usize> {
    let path = folder.join(format!("{}.onnx", example.name));
    if path.exists() {
        return Err(ibex::Error::value("there is a model of this name already"));
    }
    example.model.export(&path)?;
    let sizes = example.model.inputs().iter().find_map(SymbolicTensor::batch_size).map_or(vec![1, 2, 5], |n| vec![n]);
    let mut batches = Vec::new();
    for size in sizes {
        let rows = |x: &Tensor| -> Result<Tensor> {
            let index: Vec<i32> = (0..size).map(|i| (i % x.dim(0)) as i32).collect();
            let width: usize = x.shape()[1..].iter().product();
            let picked = x.reshape([x.dim(0), width]).gather(Tensor::from_vec(index, [size]));
            Ok(picked.reshape([&[size], &x.shape()[1..]].concat()))
        };
        let inputs: Vec<Tensor> = example.rows.iter().map(rows).collect::<Result<_>>()?;
        let outputs = example.model.predict_on_batch(&inputs)?;
        let array = |x: &Tensor| -> Result<Value> {
            Ok(json!({ "shape": x.shape()[..], "dtype": x.dtype().name(), "data": numbers(x)?.to_f64() }))
        };
        let all = |list: &[Tensor]| list.iter().map(array).collect::<Result<Vec<_>>>();
        batches.push(json!({ "inputs": all(&inputs)?, "outputs": all(&outputs)? }));
    }
    let (inputs, outputs) = (example.model.input_names(), example.model.output_names());
    let all = json!({ "inputs": inputs, "outputs": outputs, "tolerance": example.tolerance, "batches": batches });
    std::fs::write(folder.join(format!("{}.json", example.name)), all.to_string())
        .map_err(|e| ibex::Error::value(format!("{}: {e}", example.name)))?;
    Ok(std::fs::metadata(&path).map_or(0, |m| m.len() as usize))
}

/// A model file with random inputs.
fn file(path: &str) -> Result<Example> {
    let model = Model::load(path)?;
    let rows = random_rows(&model);
    let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Example { name: format!("file.{name}"), model, rows, tolerance: TOLERANCE })
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: onnx_models FOLDER [MODEL..]")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut examples = models()?;
    for path in std::env::args().skip(2) {
        examples.push(file(&path)?);
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras");
    for file in ["layers", "conv", "space", "norm", "attention", "recurrent", "preprocessing", "rules_activations"] {
        let text = std::fs::read_to_string(fixtures.join(format!("{file}.json")))?;
        let cases: Cases = serde_json::from_str(&text)?;
        for case in &cases.cases {
            let example = example_of(case).map_err(|e| format!("{file}: {}: {e}", case.name))?;
            examples.push(Example { name: format!("{file}.{}", case.name), ..example });
        }
    }
    let (mut count, mut bytes) = (0, 0);
    for example in examples {
        let name = example.name.clone();
        bytes += write(example, folder).map_err(|e| format!("{name}: {e}"))?;
        count += 1;
    }
    println!("{count} models, {bytes} bytes");
    Ok(())
}

/// Models of several layers. The first are those of the sample files that real Keras wrote.
fn models() -> Result<Vec<Example>> {
    Ok(vec![
        example("a_mlp", {
            let hidden = Dense::new(16).activation(Relu);
            Ok(Sequential::new([4]).add(hidden).add(Dense::new(8)).add(Tanh).add(Dense::new(3).activation(Softmax)))
        })?,
        example(
            "b_cnn",
            Ok(Sequential::new([12, 12, 3])
                .add(Conv2D::new(8, 3).padding(Padding::Same).use_bias(false))
                .add(BatchNormalization::new())
                .add(Relu)
                .add(MaxPooling2D::new(2))
                .add(Conv2D::new(16, 3).strides(2).activation(Relu))
                .add(AveragePooling2D::new(2).padding(Padding::Same))
                .add(Flatten::new())
                .add(Dropout::new(0.5))
                .add(Dense::new(10))),
        )?,
        example("c_lstm", {
            let tokens = Input::with_dtype([12], DType::I32).named("tokens");
            let num = Input::new([5]).named("num");
            let h = LSTM::new(6).apply(Embedding::new(50, 8).mask_zero(true).apply(&tokens));
            let h = Add::new().apply([&h, &Dense::new(6).activation(Relu).apply(&num)]);
            Model::new([&tokens, &num], Dense::new(1).activation(Sigmoid).named("out").apply(&h))
        })?,
        example("d_residual", {
            let x = Input::new([8, 8, 4]);
            let conv = Conv2D::new(4, 3).padding(Padding::Same).activation(Relu).named("shared_conv");
            let r = Add::new().apply([&x, &conv.apply(conv.apply(&x))]);
            let r = SeparableConv2D::new(6, 3).apply(LayerNormalization::new().apply(&r));
            let r = Conv2DTranspose::new(5, 2).strides(2).apply(DepthwiseConv2D::new(3).apply(&r));
            let r = GlobalAveragePooling2D::new().apply(PReLU::new().shared_axes([1, 2]).apply(&r));
            Model::new(&x, Dense::new(2).apply(&r))
        })?,
        example(
            "e_rnnzoo",
            Ok(Sequential::new([7, 5])
                .add(Bidirectional::new(LSTM::new(4).return_sequences(true)))
                .add(GRU::new(6).return_sequences(true))
                .add(TimeDistributed::new(Dense::new(5).activation(Relu)))
                .add(GRU::new(3).return_sequences(true).reset_after(false))
                .add(SimpleRNN::new(4))
                .add(Dense::new(2).activation(Softmax))),
        )?,
        example("f_nested", {
            let base = Sequential::new([6, 8]).add(Dense::new(8).activation(Gelu)).add(Dense::new(8)).named("base");
            let x = Input::new([6, 8]);
            let h = base.apply(&x);
            let seen = MultiHeadAttention::new(2, 4).apply([&h, &h]);
            let h = LayerNormalization::new().epsilon(1e-6).apply(&(h + seen));
            Model::new(&x, Dense::new(3).apply(GlobalAveragePooling1D::new().apply(&h)))
        })?,
        example(
            "mnist",
            Ok(Sequential::new([28, 28, 1])
                .add(Conv2D::new(32, 3).activation(Relu))
                .add(MaxPooling2D::new(2))
                .add(Flatten::new())
                .add(Dense::new(128).activation(Relu))
                .add(Dense::new(10))),
        )?,
        example("resnet", {
            let x = Input::new([16, 16, 3]);
            let block = |x: &SymbolicTensor, filters: usize, strides: usize| {
                let conv = |n, s| Conv2D::new(filters, n).strides(s).padding(Padding::Same).use_bias(false);
                let norm = BatchNormalization::new;
                let y = Relu.apply(norm().apply(conv(3, strides).apply(x)));
                let y = norm().apply(conv(3, 1).apply(&y));
                Relu.apply(&(y + norm().apply(conv(1, strides).apply(x))))
            };
            let y = GlobalAveragePooling2D::new().apply(block(&block(&x, 8, 1), 16, 2));
            Model::new(&x, Dense::new(10).activation(Softmax).apply(&y))
        })?,
        example("unet", {
            let x = Input::new([8, 8, 3]);
            let down = Conv2D::new(4, 3).padding(Padding::Same).activation(Relu).apply(&x);
            let deep = Conv2D::new(8, 3).padding(Padding::Same).apply(MaxPooling2D::new(2).apply(&down));
            let up = Concatenate::new().apply([&UpSampling2D::new(2).apply(&deep), &down]);
            Model::new(&x, Conv2D::new(1, 1).activation(Sigmoid).apply(&up))
        })?,
        example("stacked_lstm", {
            let tokens = Input::with_dtype([9], DType::I32);
            let h = Embedding::new(10, 6).apply(&tokens);
            let h = LSTM::new(5).return_sequences(true).apply(&h);
            let all = LSTM::new(4).return_sequences(true).return_state(true).apply_all(&h);
            let last = LSTM::new(3).apply(&all[0]);
            let y = Concatenate::new().apply([&last, &all[1], &all[2]]);
            Model::new(&tokens, [&Dense::new(2).apply(&y), &all[0]])
        })?,
        example("encoder_decoder", {
            let (x, y) = (Input::new([5, 3]).named("x"), Input::new([4, 2]).named("y"));
            let encoded = LSTM::new(6).return_state(true).apply_all(&x);
            let decoded = LSTM::new(6).return_sequences(true).apply([&y, &encoded[1], &encoded[2]]);
            Model::new([&x, &y], Dense::new(2).apply(&decoded))
        })?,
        example("masked_states", {
            let tokens = Input::with_dtype([6], DType::I32);
            let all = LSTM::new(3).return_state(true).apply_all(Embedding::new(10, 4).mask_zero(true).apply(&tokens));
            Model::new(&tokens, &all)
        })?,
        example("lstm_without_bias", Ok(Sequential::new([4, 3]).add(LSTM::new(5).use_bias(false).go_backwards(true))))?,
        example("cells", {
            let x = Input::new([5, 3]);
            let cells = StackedRNNCells::new().cell(GRUCell::new(4)).cell(SimpleRNNCell::new(2));
            Model::new(&x, RNN::new(cells).return_sequences(true).apply(&x))
        })?,
        example("transformer", {
            let tokens = Input::with_dtype([7], DType::I32);
            let x = Embedding::new(10, 8).mask_zero(true).apply(&tokens);
            let seen = MultiHeadAttention::new(2, 4).use_causal_mask(true).apply([&x, &x]);
            let x = LayerNormalization::new().apply(&(x + seen));
            let wide = Dense::new(16).activation(Gelu).apply(&x);
            let x = LayerNormalization::new().apply(&(x + Dense::new(8).apply(&wide)));
            Model::new(&tokens, Dense::new(4).apply(&x))
        })?,
        example(
            "volume",
            Ok(Sequential::new([6, 6, 6, 2])
                .add(Conv3D::new(4, 3).padding(Padding::Same).activation(Relu))
                .add(MaxPooling3D::new(2))
                .add(Conv3DTranspose::new(3, 3).strides(2))
                .add(GlobalMaxPooling3D::new())),
        )?,
        example(
            "audio",
            Ok(Sequential::new([16, 2])
                .add(Conv1D::new(4, 3).dilation_rate(2).activation(Relu))
                .add(MaxPooling1D::new(2))
                .add(SeparableConv1D::new(5, 3).padding(Padding::Same))
                .add(Conv1DTranspose::new(3, 3).strides(2))
                .add(AveragePooling1D::new(3).padding(Padding::Same))
                .add(GlobalAveragePooling1D::new())),
        )?,
        example(
            "images_in_time",
            Ok(Sequential::new([3, 8, 8, 2])
                .add(TimeDistributed::new(Conv2D::new(4, 3).activation(Relu)))
                .add(TimeDistributed::new(GlobalAveragePooling2D::new()))
                .add(LSTM::new(5))),
        )?,
        example(
            "preprocessing",
            Ok(Sequential::new([9, 7, 3])
                .add(Rescaling::new(1.0 / 255.0).offset(-0.5))
                .add(Resizing::new(6, 6).interpolation(Interpolation::Bicubic))
                .add(ZeroPadding2D::new(1))
                .add(Cropping2D::new((2, 1)))
                .add(RandomFlip::new(layers::Flips::HorizontalAndVertical))
                .add(Permute::new([3, 1, 2]))
                .add(Reshape::new([-1]))
                .add(RepeatVector::new(2))),
        )?,
        example("two_outputs", {
            let (image, age) = (Input::new([8, 8, 3]).named("image"), Input::new([1]).named("age"));
            let seen = Flatten::new().apply(Conv2D::new(4, 3).activation(Relu).apply(&image));
            let both = Concatenate::new().apply([&seen, &Dense::new(8).apply(&age)]);
            let kind = Dense::new(3).activation(Softmax).named("kind").apply(&both);
            Model::new([&image, &age], [&kind, &Dense::new(1).named("size").apply(&both), &both])
        })?,
        example("fixed_batch", {
            let x = Input::new([4]).batches_of(3);
            Model::new(&x, Dense::new(2).apply(&x))
        })?,
        example("over_the_batch", {
            // Samples that attend to one another: a second axis of the batch's length. Eleven is also a size that is traced.
            let x = Input::new([11]);
            let attend = |x: &Tensor| {
                x.matmul(x.transpose(0, 1)).softmax(-1).matmul(x)
                    + x.scatter_add(Tensor::iota([x.dim(0)], 0) % 3, 4).sum(&[0])
            };
            Model::new(&x, Dense::new(2).apply(Instance::from(Lambda::new("attend", attend)).apply(&x)))
        })?,
        Example {
            tolerance: 2e-3,
            ..example("half", {
                let x = Input::new([8, 8, 2]);
                let y = MaxPooling2D::new(2).apply(Conv2D::new(4, 3).activation(Relu).apply(&x));
                let y = Dense::new(2).dtype(Float32).apply(GlobalAveragePooling2D::new().apply(&y));
                Ok(Model::new(&x, &y)?.dtype_policy(MixedFloat16))
            })?
        },
        example("own_layers", {
            let x = Input::new([6]);
            let sorted = Lambda::new("rank", |x: &Tensor| {
                // How many are smaller, with integers, reductions and a product over the batch's own axis.
                let smaller = x.unsqueeze(-1).gt(x.unsqueeze(-2)).cast(DType::I32).sum(&[-1]);
                let order = smaller.cast(DType::F32);
                order.exp().log1p() + (smaller % 4 / 2).cast(DType::F32) * x.rsqrt().is_nan().cast(DType::F32)
            });
            let reversed =
                Lambda::new("reversed", |x: &Tensor| x.flip(&[-1]).matmul(Tensor::eye(6).lower_triangle() + 1.0));
            Model::new(&x, Dense::new(2).apply(Instance::from(reversed).apply(Instance::from(sorted).apply(&x))))
        })?,
    ])
}
