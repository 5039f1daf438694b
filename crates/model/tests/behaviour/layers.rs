//! How layers are made and named.

use ibex::prelude::*;
use ibex::{ErrorKind, layers};

#[test]
fn configurations_have_the_fields_of_keras() -> ibex::Result<()> {
    let config = |layer: &dyn Layer| layer.config().map(|c| serde_json::Value::Object(c).to_string());
    let conv = config(&Conv2D::new(32, (3, 5)).strides(2).padding(Padding::Same).activation(Relu))?;
    for field in [
        r#""filters":32"#,
        r#""kernel_size":[3,5]"#,
        r#""strides":[2,2]"#,
        r#""padding":"same""#,
        r#""dilation_rate":[1,1]"#,
        r#""groups":1"#,
        r#""activation":"relu""#,
        r#""use_bias":true"#,
        r#""class_name":"GlorotUniform""#,
    ] {
        assert!(conv.contains(field), "{field} in {conv}");
    }
    assert_eq!(config(&Relu)?, r#"{"activation":"relu"}"#);
    assert_eq!(config(&Reshape::new([-1, 4]))?, r#"{"target_shape":[-1,4]}"#);
    let pooling = r#"{"data_format":"channels_last","padding":"valid","pool_size":[2,2],"strides":null}"#;
    assert_eq!(config(&MaxPooling2D::new(2))?, pooling);
    assert_eq!(config(&Flatten::new())?, "{}");
    // What Keras writes beside what Ibex knows does no harm, and defaults may be missing.
    let text = r#"{"name": "d", "trainable": true, "units": 3, "dtype": {"module": "keras"},
        "kernel_initializer": {"module": "keras.initializers", "class_name": "RandomNormal", "config": {"seed": null}},
        "bias_initializer": "zeros", "kernel_regularizer": null}"#;
    let layer = layers::from_config("Dense", serde_json::from_str(text).expect("JSON"))?;
    assert!(config(&*layer)?.contains(r#""units":3"#));
    Ok(())
}

#[test]
fn mistakes_in_configurations() {
    let load = |class: &str, text: &str| layers::from_config(class, serde_json::from_str(text).expect("JSON"));
    for (class, text, word) in [
        ("Conv2D", r#"{"padding": "causal"}"#, "causal"),
        ("Dense", r#"{"units": -1}"#, "-1"),
        ("Dense", r#"{"activation": "rleu"}"#, "rleu"),
        ("Activation", r#"{"activation": "rleu"}"#, "rleu"),
        ("Dense", r#"{"kernel_initializer": "glorot"}"#, "glorot"),
        ("Embedding", r#"{"input_dim": 3}"#, "output_dim"),
    ] {
        let error = load(class, text).map(drop).expect_err(text);
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(load("Dance", "{}").is_err_and(|e| e.kind() == ErrorKind::Unsupported && e.to_string().contains("Dance")));
}

#[test]
fn names() {
    let model =
        Sequential::new([2]).add(Dense::new(2)).add(Dense::new(2)).add(Dense::new(2).named("head")).add(Dense::new(2));
    let names: Vec<&str> = model.weights().map(|w| w.variable.name()).collect();
    assert_eq!(
        names,
        [
            "dense/kernel",
            "dense/bias",
            "dense_1/kernel",
            "dense_1/bias",
            "head/kernel",
            "head/bias",
            "dense_2/kernel",
            "dense_2/bias"
        ]
    );
    let twice = Sequential::new([2]).add(Dense::new(2).named("a")).add(Dense::new(2).named("a"));
    assert!(twice.check().is_err_and(|e| e.to_string().contains("two layers are named \"a\"")));
}

#[test]
fn shapes() {
    let output = |model: Model| model.check().map(|()| model.output_shape().to_vec()).map_err(|e| e.to_string());
    assert_eq!(output(Sequential::new([9, 8, 2]).add(Conv2D::new(4, 3).strides((2, 1)))), Ok(vec![4, 6, 4]));
    assert_eq!(output(Sequential::new([9, 8, 2]).add(MaxPooling2D::new(2).padding(Padding::Same))), Ok(vec![5, 4, 2]));
    assert_eq!(output(Sequential::new([3, 4]).add(Reshape::new([2, -1, 3]))), Ok(vec![2, 2, 3]));
    assert_eq!(output(Sequential::new([5, 3]).add(LSTM::new(7))), Ok(vec![7]));
    assert_eq!(output(Sequential::with_dtype([5], DType::I32).add(Embedding::new(10, 3))), Ok(vec![5, 3]));
    for (model, word) in [
        (Sequential::new([9, 8]).add(Conv2D::new(4, 3)), "(None, 9, 8)"),
        (Sequential::new([2, 8, 1]).add(Conv2D::new(4, 3)), "same"),
        (Sequential::new([8, 8, 3]).add(Conv2D::new(4, 3).groups(2)), "2 groups"),
        (Sequential::new([8, 8, 3]).add(Conv2D::new(4, 0)), "at least 1"),
        (Sequential::new([8]).add(MaxPooling2D::new(2)), "images"),
        (Sequential::new([3, 4]).add(Reshape::new([5, -1])), "[5, -1]"),
        (Sequential::new([3, 4]).add(Reshape::new([-1, -1])), "at most one"),
        (Sequential::new([3]).add(Dropout::new(1.5)), "1.5"),
        (Sequential::new([3]).add(Dropout::new(f64::NAN)), "NaN"),
        (Sequential::new([3]).add(BatchNormalization::new().axis(0)), "axis 0"),
        (Sequential::new([3]).add(BatchNormalization::new().axis(2)), "axis 2"),
        (Sequential::new([3]).add(LSTM::new(2)), "sequences"),
        (Sequential::new([3, 2]).add(LSTM::new(0)), "units"),
    ] {
        let error = output(model).expect_err(word);
        assert!(error.contains(word) && error.contains("layers.rs"), "{word}: {error}");
    }
}

/// `unit_forget_bias` sets one quarter of the bias.
#[test]
fn bias_of_an_lstm() -> ibex::Result<()> {
    let bias = |layer: LSTM| Sequential::new([2, 3]).add(layer).get_weights().map(|w| w[2].to_f64());
    assert_eq!(bias(LSTM::new(2))?, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(bias(LSTM::new(2).unit_forget_bias(false))?, [0.0; 8]);
    let all = bias(LSTM::new(1).bias_initializer(Initializer::Constant { value: 3.0 }))?;
    assert_eq!(all, [3.0, 1.0, 3.0, 3.0]);
    Ok(())
}

/// Logits that are exactly zero are no corner: the gradient is `sigmoid(0) - y`.
#[test]
fn zero_logits_have_a_gradient() -> ibex::Result<()> {
    let device = ibex::device("cpu")?;
    let (y, logits) = (Tensor::from_vec(vec![1f32, 0.0], [2, 1]), Tensor::from_vec(vec![0f32; 2], [2, 1]));
    let [g] = BinaryCrossentropy::from_logits().call(&y, &logits)?.sum(&[]).grad([&logits]);
    assert_eq!(device.to_vec::<f32>(&g)?, [-0.5, 0.5]);
    Ok(())
}

/// A batch of one sample, where bias and activations have the same shape: the gradient of the bias is not a sum over it.
#[test]
fn a_batch_of_one() -> ibex::Result<()> {
    let device = ibex::device("cpu")?;
    let (x, b) = (Tensor::from_vec(vec![1f32, 2.0, 3.0], [1, 3]), Tensor::from_vec(vec![0f32; 3], [3]));
    let [g] = ((&x + &b) * &x).sum(&[]).grad([&b]);
    assert_eq!(device.to_vec::<f32>(&g)?, [1.0, 2.0, 3.0]);
    Ok(())
}

#[test]
fn softplus_at_its_ends() -> ibex::Result<()> {
    let device = ibex::device("cpu")?;
    let x = Tensor::from_vec(vec![f32::NEG_INFINITY, -200.0, 0.0, 200.0, f32::INFINITY], [5]);
    let y = x.softplus();
    let [g] = y.slice(&[1], &[3]).sum(&[]).grad([&x]);
    assert_eq!(device.to_vec::<f32>(&y)?, [0.0, 0.0, 2f32.ln(), 200.0, f32::INFINITY]);
    assert_eq!(device.to_vec::<f32>(&g)?[1..4], [0.0, 0.5, 1.0]);
    Ok(())
}
