//! How many dispatches a GPU takes for what must be few; on the default adapter, skipped without one.

use ibex_core::{DType, Device, Function, Tensor, Variable};
use ibex_wgpu::{Options, WgpuBackend};

fn open() -> Option<Device> {
    match WgpuBackend::open_blocking(0, Options::default()) {
        Ok(backend) => Some(Device::new(backend)),
        Err(e) => {
            assert!(std::env::var_os("IBEX_REQUIRE_GPU").is_none(), "a GPU is required, but {e}");
            println!("skipped: {e}");
            None
        }
    }
}

/// Dispatches of one call.
fn dispatches(
    device: &Device,
    shapes: &[&[usize]],
    f: impl Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync + 'static,
) -> u64 {
    let args: Vec<Tensor> = (0..).zip(shapes).map(|(i, s)| Tensor::rand(*s, i) - 0.5).collect();
    let args = device.eval(&args).expect("evaluates");
    let function = Function::from_slice(device, move |args| Ok(f(args)));
    if std::env::var_os("IBEX_EXPLAIN").is_some() {
        let specs: Vec<_> = args.iter().map(|a| (a.shape().clone(), a.dtype())).collect();
        println!("{}", function.plan(&specs).expect("compiles").program().explain());
    }
    let args: Vec<&Tensor> = args.iter().collect();
    function.call(&args).expect("compiles");
    let before = device.counters();
    function.call(&args).expect("runs");
    let after = device.counters();
    assert_eq!(after.submissions, before.submissions + 1);
    after.dispatches - before.dispatches
}

fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    let labels = (labels.abs() * 2.0 * logits.dim(-1) as f32).cast(DType::I32);
    -logits.log_softmax(-1).pick(labels).mean(&[])
}

fn normalised(x: &Tensor, axes: &[isize], gain: &Tensor, bias: &Tensor) -> Tensor {
    let [mean, variance] = x.moments_keep(axes);
    (x - mean) * (variance + 1e-3).rsqrt() * gain + bias
}

#[test]
fn softmax_and_cross_entropy() {
    let Some(device) = open() else { return };
    let shapes: [&[usize]; 2] = [&[128, 10], &[128]];
    let forward = dispatches(&device, &shapes, |a| vec![cross_entropy(&a[0], &a[1])]);
    let both = dispatches(&device, &shapes, |a| {
        let loss = cross_entropy(&a[0], &a[1]);
        let [g] = loss.grad([&a[0]]);
        vec![loss, g]
    });
    println!("cross-entropy {forward} {both}");
    assert!(forward <= 2 && both <= 4, "{forward} forward, {both} with the gradient");
}

#[test]
fn layer_norm() {
    let Some(device) = open() else { return };
    let shapes: [&[usize]; 4] = [&[64, 256], &[256], &[256], &[64, 256]];
    let forward = dispatches(&device, &shapes[..3], |a| vec![normalised(&a[0], &[-1], &a[1], &a[2])]);
    let both = dispatches(&device, &shapes, |a| {
        let y = normalised(&a[0], &[-1], &a[1], &a[2]);
        let grads = (&y * &a[3]).sum(&[]).grad([&a[0], &a[1], &a[2]]);
        [vec![y], grads.to_vec()].concat()
    });
    println!("layer norm {forward} {both}");
    assert!(forward <= 2 && both <= 4, "{forward} forward, {both} with the gradient");
}

/// Sums of many rows are taken in two steps there, for the sake of real GPUs: two kernels each way, of which the second finishes the sums
/// while it normalises.
#[test]
fn batch_norm() {
    let Some(device) = open() else { return };
    for (space, most) in [([8, 8, 8, 32], [1, 1]), ([16, 14, 14, 32], [2, 4]), ([128, 28, 28, 16], [2, 4])] {
        let channels = [space[3]];
        let shapes: [&[usize]; 4] = [&space, &channels, &channels, &space];
        let axes = [0, 1, 2];
        let forward = dispatches(&device, &shapes[..3], move |a| vec![normalised(&a[0], &axes, &a[1], &a[2])]);
        let both = dispatches(&device, &shapes, move |a| {
            let y = normalised(&a[0], &axes, &a[1], &a[2]);
            let grads = (&y * &a[3]).sum(&[]).grad([&a[0], &a[1], &a[2]]);
            [vec![y], grads.to_vec()].concat()
        });
        println!("batch norm {forward} {both}");
        assert!(forward <= most[0] && both <= most[1], "{space:?}: {forward} forward, {both} with the gradient");
    }
}

/// Batch norm as a layer trains it: it moves its averages in place, and its gradient comes from what follows.
#[test]
fn batch_norm_in_training() {
    let Some(device) = open() else { return };
    let space = [16, 14, 14, 32];
    let state = [("gain", 1.0), ("bias", 0.0), ("mean", 0.0), ("variance", 1.0)]
        .map(|(name, value)| Variable::new(name, Tensor::full([32], value, DType::F32)).expect("a variable"));
    let step = Function::from_slice(&device, move |a| {
        let axes = [0, 1, 2];
        let [m, v] = a[0].moments_keep(&axes);
        for (moving, batch) in [(&state[2], &m), (&state[3], &v)] {
            moving.assign(moving.value() * 0.9 + batch.stop_gradient().reshape([32]) * 0.1)?;
        }
        let (gain, bias) = (state[0].value(), state[1].value());
        let y = (&a[0] - m) * ((v + 1e-3).rsqrt() * &gain) + &bias;
        let loss = (y.tanh() * &a[1]).sum(&[]);
        let [dx, dgain, dbias] = loss.grad([&a[0], &gain, &bias]);
        state[0].assign(&gain - dgain * 0.1)?;
        state[1].assign(&bias - dbias * 0.1)?;
        Ok(vec![dx])
    });
    let args = [0, 1].map(|seed| Tensor::rand(space, seed) - 0.5);
    let args = device.eval(&args).expect("evaluates");
    let args: Vec<&Tensor> = args.iter().collect();
    step.call(&args).expect("compiles");
    let before = device.counters().dispatches;
    step.call(&args).expect("runs");
    assert_eq!(device.counters().dispatches - before, 4);
}

/// One dispatch for the whole sequence where the hidden state fits a workgroup, else one for each step.
#[test]
fn lstm() {
    let Some(device) = open() else { return };
    let steps = 9;
    for (units, most) in [(128, 1), (300, steps as u64 + 2)] {
        let shapes: [&[usize]; 4] = [&[4, steps, 4 * units], &[units, 4 * units], &[4, units], &[4, units]];
        let forward = dispatches(&device, &shapes, |a| vec![a[0].lstm(&a[1], &a[2], &a[3])[0].narrow(1, 0, 1)]);
        println!("lstm {units} {forward}");
        // One more takes the slice that is returned.
        assert!(forward <= most + 1, "{forward} dispatches for {units} units");
    }
}

/// Bias, activation, a residual and the mask of an activation's gradient cost no dispatch of their own.
#[test]
fn epilogues() {
    let Some(device) = open() else { return };
    let shapes: [&[usize]; 4] = [&[32, 64], &[64, 64], &[64], &[64, 64]];
    let forward = dispatches(&device, &shapes[..3], |a| vec![(a[0].matmul(&a[1]) + &a[2]).relu() + &a[0]]);
    assert_eq!(forward, 1);
    // Two layers and the gradients of both weights: two products forward, and backward one for each weight and one between the layers.
    let both = dispatches(&device, &shapes, |a| {
        let hidden = a[0].matmul(&a[1]).relu();
        let loss = (hidden.matmul(&a[3])).square();
        let [w1, w2] = loss.sum(&[]).grad([&a[1], &a[3]]);
        vec![w1, w2]
    });
    println!("epilogues {both}");
    assert_eq!(both, 5);
    // The mask stands behind the product that makes the gradient, also where a bias sums the masked gradient.
    let masked = dispatches(&device, &[&[32, 64], &[64, 64], &[64], &[64, 64]], |a| {
        let hidden = (a[0].matmul(&a[1]) + &a[2]).relu();
        let loss = (hidden.matmul(&a[3])).square();
        let [w1, bias, w2] = loss.sum(&[]).grad([&a[1], &a[2], &a[3]]);
        vec![w1, bias, w2]
    });
    assert_eq!(masked, 6);
}
