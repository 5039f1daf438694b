//! A small residual network (He et al. 2015) of symbolic tensors, on the 5,000 digits that ship with Ibex. `cargo run --release --example resnet`

use ibex::prelude::*;

/// Two convolutions beside a shortcut, which is a convolution of size 1 where the shape changes.
fn block(x: &SymbolicTensor, filters: usize, strides: usize) -> SymbolicTensor {
    let conv = |size, strides| Conv2D::new(filters, size).strides(strides).padding(Padding::Same).use_bias(false);
    // Few steps are trained: averages that follow faster than Keras's default of 0.99.
    let normal = || BatchNormalization::new().momentum(0.9);
    let y = normal().apply(conv(3, strides).apply(x));
    let y = normal().apply(conv(3, 1).apply(Relu.apply(&y)));
    let shortcut = match strides {
        1 => x.clone(),
        _ => normal().apply(conv(1, strides).apply(x)),
    };
    Relu.apply(Add::new().apply([&y, &shortcut]))
}

fn main() -> ibex::Result<()> {
    let digits = ibex::data::mnist_subset()?;
    let image = Input::new([28, 28, 1]);
    let mut x = Conv2D::new(16, 3).strides(2).padding(Padding::Same).activation(Relu).apply(&image);
    for (filters, strides) in [(16, 1), (32, 2), (32, 1)] {
        x = block(&x, filters, strides);
    }
    let features = Flatten::new().apply(AveragePooling2D::new(7).apply(&x));
    let logits = Dense::new(10).apply(&features);
    let mut model = Model::new(&image, &logits)?;
    model.compile(Adam::new(2e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    println!("{}", model.summary());
    model.fit(&digits.train, Fit::epochs(4).batch_size(64).validation(&digits.test))?;
    let scores = model.evaluate(&digits.test, 256)?;
    println!("test accuracy: {:.2} %", 100.0 * scores["accuracy"]);
    Ok(())
}
