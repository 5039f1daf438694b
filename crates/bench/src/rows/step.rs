//! Training steps of the models that peers are measured with: an MLP, a CNN, an LSTM, a ResNet of 20 layers and a transformer block of 4 heads.
//!
//! The time of a step is that of an epoch through `fit`, divided by its steps: gathering batches and everything else included.

use crate::measure::{Samples, Timing, seconds};
use crate::report::Measurement;
use crate::row::{Kind, Row};
use ibex::callbacks::{Logs, Run};
use ibex::prelude::*;
use ibex::{Error, Profile, Result};
use std::time::Instant;

/// A model with data to train it.
pub(crate) struct Step {
    model: fn() -> Result<Model>,
    loss: fn(&mut Model) -> Result<()>,
    /// Samples and labels, so many batches of them.
    data: fn(usize) -> (Tensor, Tensor),
    batch: usize,
    /// Steps of an epoch.
    steps: usize,
    /// Labels that are drawn at random.
    classes: usize,
    /// Operations of the contractions of one step, forward and backward.
    flops: usize,
}

pub(super) fn rows() -> Vec<Row> {
    // The first layer of a model has no gradient of its input to compute.
    let mlp = 128 * (2 * 784 * 512 + 3 * 512 * 512 + 3 * 512 * 10);
    let cnn = 128 * (2 * 26 * 26 * 9 * 32 + 3 * 24 * 24 * 9 * 32 * 64 + 3 * 9216 * 128 + 3 * 128 * 10);
    let lstm = 32 * (3 * 100 * (64 + 128) * 512 + 3 * 128);
    let sparse = |m: &mut Model| m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::new(), ());
    let binary = |m: &mut Model| m.compile(Adam::new(1e-3), BinaryCrossentropy::new(), ());
    let mlp = Step {
        model: || {
            Ok(Sequential::new([784])
                .add(Dense::new(512).activation(Relu))
                .add(Dense::new(512).activation(Relu))
                .add(Dense::new(10).activation(Softmax)))
        },
        loss: sparse,
        data: |n| (Tensor::randn([n, 784], 0), labels(n, 10)),
        batch: 128,
        steps: 60,
        classes: 10,
        flops: 2 * mlp,
    };
    let cnn = Step {
        model: || {
            Ok(Sequential::new([28, 28, 1])
                .add(Conv2D::new(32, 3).activation(Relu))
                .add(Conv2D::new(64, 3).activation(Relu))
                .add(MaxPooling2D::new(2))
                .add(Flatten::new())
                .add(Dense::new(128).activation(Relu))
                .add(Dense::new(10).activation(Softmax)))
        },
        loss: sparse,
        data: |n| (Tensor::rand([n, 28, 28, 1], 0), labels(n, 10)),
        batch: 128,
        steps: 12,
        classes: 10,
        flops: 2 * cnn,
    };
    let lstm = Step {
        model: || {
            Ok(Sequential::with_dtype([100], DType::I32)
                .add(Embedding::new(10000, 64))
                .add(LSTM::new(128))
                .add(Dense::new(1).activation(Sigmoid)))
        },
        loss: binary,
        data: |n| (labels(n * 100, 10000).reshape([n, 100]), labels(n, 2).cast(DType::F32)),
        batch: 32,
        steps: 12,
        classes: 2,
        flops: 2 * lstm,
    };
    // Blocks of two convolutions, three at each of 32, 16 and 8 pixels; the first of the last two sizes halves the picture.
    let convs = |side: usize, channels: usize, count: usize| count * side * side * 9 * channels * channels;
    let narrow =
        3 * (convs(32, 16, 6) + convs(16, 32, 6) + convs(8, 64, 6)) - 3 * (convs(16, 32, 1) + convs(8, 64, 1)) / 2;
    let resnet = 32 * (2 * 32 * 32 * 9 * 3 * 16 + narrow + 3 * (16 * 16 * 16 * 32 + 8 * 8 * 32 * 64) + 3 * 64 * 10);
    let resnet = Step {
        model: resnet20,
        loss: sparse,
        data: |n| (Tensor::randn([n, 32, 32, 3], 0), labels(n, 10)),
        batch: 32,
        steps: 6,
        classes: 10,
        flops: 2 * resnet,
    };
    let block = 3 * 32 * (64 * (4 * 128 * 128 + 2 * 64 * 128 + 2 * 128 * 512) + 128 * 10);
    let attention = Step {
        model: attention,
        loss: sparse,
        data: |n| (Tensor::randn([n, 64, 128], 0), labels(n, 10)),
        batch: 32,
        steps: 12,
        classes: 10,
        flops: 2 * block,
    };
    [
        ("step_mlp_b128", mlp),
        ("step_cnn_b128", cnn),
        ("step_lstm_b32", lstm),
        ("step_resnet20_b32", resnet),
        ("step_attention_b32", attention),
    ]
    .map(|(name, step)| Row::new(name, Kind::Step(step)))
    .into()
}

/// ResNet-20 for pictures of 32x32 (He et al. 2015, section 4.2), with a convolution of size 1 where a block halves the picture.
fn resnet20() -> Result<Model> {
    let conv = |filters: usize, size: usize, strides: usize| {
        Conv2D::new(filters, size).strides(strides).padding(Padding::Same).use_bias(false)
    };
    let normal = |x: &SymbolicTensor| BatchNormalization::new().apply(x);
    let input = Input::new([32, 32, 3]);
    let mut x = Relu.apply(normal(&conv(16, 3, 1).apply(&input)));
    for (stage, filters) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let halves = stage > 0 && block == 0;
            let strides = if halves { 2 } else { 1 };
            let inner = Relu.apply(normal(&conv(filters, 3, strides).apply(&x)));
            let inner = normal(&conv(filters, 3, 1).apply(&inner));
            let short = if halves { conv(filters, 1, 2).apply(&x) } else { x };
            x = Relu.apply(Add::new().apply([&inner, &short]));
        }
    }
    let pooled = GlobalAveragePooling2D::new().apply(&x);
    Model::new(&input, Dense::new(10).activation(Softmax).apply(&pooled))
}

/// A transformer's encoder block of 4 heads, 64 steps of 128 numbers.
fn attention() -> Result<Model> {
    let input = Input::new([64, 128]);
    let seen = MultiHeadAttention::new(4, 32).apply([&input, &input]);
    let x = LayerNormalization::new().apply(Add::new().apply([&input, &seen]));
    let wide = Dense::new(512).activation(Relu).apply(&x);
    let x = LayerNormalization::new().apply(Add::new().apply([&x, &Dense::new(128).apply(&wide)]));
    let pooled = GlobalAveragePooling1D::new().apply(&x);
    Model::new(&input, Dense::new(10).activation(Softmax).apply(&pooled))
}

fn labels(n: usize, classes: usize) -> Tensor {
    (Tensor::rand([n], 1) * classes as f32).floor().cast(DType::I32)
}

impl Step {
    /// The compiled model, and so many batches on the host.
    fn prepare(&self, device: &Device, batches: usize) -> Result<(Model, Dataset)> {
        let mut model = (self.model)()?.on(device);
        (self.loss)(&mut model)?;
        let (x, y) = (self.data)(batches * self.batch);
        let host = |t: &Tensor| Ok(Tensor::from_data(device.read_now(t)?, t.shape()));
        Ok((model, Dataset::new(host(&x)?, host(&y)?)?))
    }

    /// An untrained model knows nothing of random labels: its loss is that of guessing.
    fn check(&self, loss: f64) -> Result<()> {
        let guess = (self.classes as f64).ln();
        match loss / guess {
            0.7..1.6 => Ok(()),
            _ => Err(Error::value(format!("wrong: the first loss is {loss}, that of guessing is {guess:.3}"))),
        }
    }

    pub fn measure(&self, name: &str, device: &Device, timing: Timing) -> Result<Measurement> {
        let (epochs, warm, steps) = timing.training(self.steps);
        let (mut model, data) = self.prepare(device, steps)?;
        let fit = |epochs| Fit::epochs(epochs).batch_size(self.batch).shuffle(false).verbose(0);
        let (one, _) = data.split_at(self.batch)?;
        let mut history = None;
        let first = seconds(|| {
            history = Some(model.fit(&one, fit(1))?);
            Ok(())
        })?;
        let loss = history.and_then(|h| h.last("loss")).unwrap_or(f64::NAN);
        self.check(loss)?;
        let mut clock = Clock::default();
        let history = model.fit(&data, fit(epochs).callback(&mut clock))?;
        if let Some(bad) = history["loss"].iter().find(|v| !v.is_finite()) {
            return Err(Error::value(format!("wrong: the loss became {bad}")));
        }
        let samples = Samples::new(clock.seconds.iter().skip(warm).map(|s| s / steps as f64).collect());
        Ok(Measurement::new(name, &samples, self.flops as f64, 0.0).with("first_step_s", first))
    }

    pub fn profile(&self, device: &Device, runs: usize) -> Result<Option<Profile>> {
        let (mut model, data) = self.prepare(device, 1)?;
        model.profile(&data, self.batch, runs)
    }
}

/// Notes the time of every epoch.
#[derive(Debug, Default)]
struct Clock {
    started: Option<Instant>,
    seconds: Vec<f64>,
}

impl Callback for Clock {
    fn on_epoch_begin(&mut self, _epoch: usize, _run: &mut Run) -> Result<()> {
        self.started = Some(Instant::now());
        Ok(())
    }

    fn on_epoch_end(&mut self, _epoch: usize, _logs: &mut Logs, _run: &mut Run) -> Result<()> {
        self.seconds.extend(self.started.map(|s| s.elapsed().as_secs_f64()));
        Ok(())
    }
}
