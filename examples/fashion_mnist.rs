//! Clothes on small pictures, told apart by a residual network (He et al. 2015) that sees each picture flipped and moved in every epoch.
//! `cargo run --release --example fashion_mnist [-- DIR]`
//!
//! DIR (data/fashion-mnist unless it is given) holds the four files of Fashion-MNIST (Xiao et al. 2017), gzipped or not: `train-images-idx3-ubyte.gz`,
//! `train-labels-idx1-ubyte.gz`, `t10k-images-idx3-ubyte.gz` and `t10k-labels-idx1-ubyte.gz`. They are at github.com/zalandoresearch/fashion-mnist, and
//! in the Debian package dataset-fashion-mnist under /usr/share/datasets/fashion-mnist.

use ibex::data::{FASHION_MNIST_CLASSES, fashion_mnist_from_dir};
use ibex::layers::{FillMode, Flips};
use ibex::prelude::*;

/// Two convolutions beside a shortcut, which is a convolution of size 1 where the shape changes.
fn block(x: &SymbolicTensor, filters: usize, strides: usize) -> SymbolicTensor {
    let conv = |size, strides| Conv2D::new(filters, size).strides(strides).padding(Padding::Same).use_bias(false);
    let y = BatchNormalization::new().apply(conv(3, strides).apply(x));
    let y = BatchNormalization::new().apply(conv(3, 1).apply(Relu.apply(&y)));
    let shortcut = match strides {
        1 => x.clone(),
        _ => BatchNormalization::new().apply(conv(1, strides).apply(x)),
    };
    Relu.apply(Add::new().apply([&y, &shortcut]))
}

fn main() -> ibex::Result<()> {
    let dir = std::env::args().nth(1).unwrap_or("data/fashion-mnist".to_string());
    let clothes = fashion_mnist_from_dir(dir)?;

    let image = Input::new([28, 28, 1]);
    // Augmentation belongs to the model: it runs on its device, in training alone.
    let x = RandomFlip::new(Flips::Horizontal).apply(&image);
    let x = RandomTranslation::new(0.05, 0.05).fill_mode(FillMode::Constant).apply(&x);
    let mut x = Conv2D::new(16, 3).padding(Padding::Same).activation(Relu).apply(&x);
    for (filters, strides) in [(32, 2), (64, 2)] {
        x = block(&x, filters, strides);
    }
    let logits = Dense::new(10).apply(Dropout::new(0.2).apply(GlobalAveragePooling2D::new().apply(&x)));
    let mut model = Model::new(&image, &logits)?;

    const EPOCHS: usize = 8;
    let steps = EPOCHS * clothes.train.len().div_ceil(128);
    model.compile(
        Adam::new(CosineDecay::new(3e-3, steps as u32)),
        SparseCategoricalCrossentropy::from_logits(),
        [Accuracy::new()],
    )?;
    println!("{}", model.summary());
    model.fit(&clothes.train, Fit::epochs(EPOCHS).batch_size(128).validation(&clothes.test))?;
    println!("test accuracy: {:.2} %", 100.0 * model.evaluate(&clothes.test, 256)?["accuracy"]);

    let guesses = model.predict(&clothes.test.x.narrow(0, 0, 10))?.argmax(-1).to_vec::<i32>()?;
    for (guess, truth) in guesses.iter().zip(clothes.test.y.to_vec::<i32>()?) {
        let name = |class: i32| FASHION_MNIST_CLASSES.get(class as usize).copied().unwrap_or("unknown");
        println!("{} looks like {}", name(truth), name(*guess));
    }
    Ok(())
}
