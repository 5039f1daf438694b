//! Training steps of the three models that all peers are measured with: an MLP, a CNN and an LSTM.
//!
//! `cargo bench --bench steps [-- mlp|cnn|lstm] [--profile]`; the device is that of `IBEX_DEVICE`. The time of a step is that of an epoch through
//! `fit`, divided by its steps: gathering batches and everything else included. Median of at least 11 epochs after two for warming up.

use ibex::callbacks::{Callback, Run};
use ibex::prelude::*;
use std::time::Instant;

/// Notes the time of every epoch.
#[derive(Debug, Default)]
struct Clock {
    started: Option<Instant>,
    seconds: Vec<f64>,
}

impl Callback for Clock {
    fn on_epoch_begin(&mut self, _epoch: usize, _run: &mut Run) -> ibex::Result<()> {
        self.started = Some(Instant::now());
        Ok(())
    }

    fn on_epoch_end(&mut self, _epoch: usize, _logs: &mut ibex::callbacks::Logs, _run: &mut Run) -> ibex::Result<()> {
        self.seconds.extend(self.started.map(|s| s.elapsed().as_secs_f64()));
        Ok(())
    }
}

fn main() -> ibex::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| args.iter().all(|a| a.starts_with("--")) || args.iter().any(|a| a == name);
    let profile = args.iter().any(|a| a == "--profile");
    println!("device {}", ibex::default_device()?.info().id);
    if wanted("mlp") {
        let model = Sequential::new([784])
            .add(Dense::new(512).activation(Relu))
            .add(Dense::new(512).activation(Relu))
            .add(Dense::new(10).activation(Softmax));
        let x = Tensor::randn([128 * 60, 784], 0);
        run("step_mlp_b128", model, SparseCategoricalCrossentropy::new(), x, labels(128 * 60, 10), 128, profile)?;
    }
    if wanted("cnn") {
        let model = Sequential::new([28, 28, 1])
            .add(Conv2D::new(32, 3).activation(Relu))
            .add(Conv2D::new(64, 3).activation(Relu))
            .add(MaxPooling2D::new(2))
            .add(Flatten::new())
            .add(Dense::new(128).activation(Relu))
            .add(Dense::new(10).activation(Softmax));
        let x = Tensor::rand([128 * 12, 28, 28, 1], 0);
        run("step_cnn_b128", model, SparseCategoricalCrossentropy::new(), x, labels(128 * 12, 10), 128, profile)?;
    }
    if wanted("lstm") {
        let model = Sequential::with_dtype([100], DType::I32)
            .add(Embedding::new(10000, 64))
            .add(LSTM::new(128))
            .add(Dense::new(1).activation(Sigmoid));
        let x = labels(32 * 12 * 100, 10000).reshape([32 * 12, 100]);
        let y = labels(32 * 12, 2).cast(DType::F32);
        run("step_lstm_b32", model, BinaryCrossentropy::new(), x, y, 32, profile)?;
    }
    Ok(())
}

fn labels(n: usize, classes: usize) -> Tensor {
    (Tensor::rand([n], 1) * classes as f32).floor().cast(DType::I32)
}

fn run(
    name: &str,
    mut model: Sequential,
    loss: impl Loss,
    x: Tensor,
    y: Tensor,
    batch: usize,
    profile: bool,
) -> ibex::Result<()> {
    model.compile(Adam::new(1e-3), loss, ())?;
    let data = Dataset::new(x.eval()?, y.eval()?)?;
    let steps = data.len().div_ceil(batch);
    let (first, _) = data.split_at(batch)?;
    let started = Instant::now();
    model.fit(&first, Fit::epochs(1).batch_size(batch).verbose(0))?;
    let first_step = started.elapsed().as_secs_f64();
    let mut clock = Clock::default();
    model.fit(&data, Fit::epochs(15).batch_size(batch).shuffle(false).verbose(0).callback(&mut clock))?;
    let mut times: Vec<f64> = clock.seconds.iter().skip(2).map(|s| s / steps as f64 * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let (median, least) = (times[times.len() / 2], times[0]);
    println!("{name:16} {median:9.3} ms (min {least:.3}, n={}), first step {first_step:.3} s", times.len());
    if profile && let Some(profile) = model.profile(&data, batch, 10)? {
        println!("{profile}");
    }
    Ok(())
}
