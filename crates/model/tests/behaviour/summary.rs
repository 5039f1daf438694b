//! The table of a model.

use ibex::prelude::*;

/// Printed by Keras 3.15.1 for the same model.
const KERAS: &str = r#"Model: "cnn"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ conv2d (Conv2D)                 │ (None, 12, 12, 8)      │           216 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ batch_normalization             │ (None, 12, 12, 8)      │            32 │
│ (BatchNormalization)            │                        │               │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ activation_1 (Activation)       │ (None, 12, 12, 8)      │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ max_pooling2d (MaxPooling2D)    │ (None, 6, 6, 8)        │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ conv2d_1 (Conv2D)               │ (None, 2, 2, 16)       │         1,168 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ average_pooling2d               │ (None, 1, 1, 16)       │             0 │
│ (AveragePooling2D)              │                        │               │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ flatten (Flatten)               │ (None, 16)             │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dropout (Dropout)               │ (None, 16)             │             0 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense_3 (Dense)                 │ (None, 10)             │           170 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 3,158 (12.34 KB)
 Trainable params: 1,570 (6.13 KB)
 Non-trainable params: 16 (64.00 B)
 Optimizer params: 1,572 (6.14 KB)"#;

#[test]
fn looks_like_that_of_keras() -> ibex::Result<()> {
    let mut model = Sequential::new([12, 12, 3])
        .named("cnn")
        .add(Conv2D::new(8, 3).padding(Padding::Same).use_bias(false))
        .add(BatchNormalization::new())
        .add(Relu.named("activation_1"))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(16, 3).strides(2))
        .add(AveragePooling2D::new(2).padding(Padding::Same))
        .add(Flatten::new())
        .add(Dropout::new(0.5))
        .add(Dense::new(10).named("dense_3"));
    model.compile(SGD::new(0.01).momentum(0.9).nesterov(true), SparseCategoricalCrossentropy::from_logits(), ())?;
    assert_eq!(model.summary(), KERAS, "\n{}", model.summary());
    assert_eq!(model.count_params(), 1586);
    Ok(())
}

#[test]
fn long_names_are_broken() {
    let name = "a_layer_with_a_name_that_is_longer_than_the_column";
    let model = Sequential::new([2]).add(Dense::new(1).named(name));
    let summary = model.summary();
    let width = summary.lines().nth(1).map(|l| l.chars().count());
    assert!(summary.lines().filter(|l| l.starts_with('│')).all(|l| Some(l.chars().count()) == width), "\n{summary}");
    assert!(summary.contains("a_layer_with_a_name_that_is_lon"), "\n{summary}");
}
