//! Recurrent layers, their wrappers, and layers that make masks: outputs, states, masks and gradients of Keras; then what has no fixture.

use crate::common::{TOLERANCE, assert_close, devices, every_case};
use crate::fixture::{Array, cases};
use ibex::layers::{self, Cell, GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells, register_cell};
use ibex::prelude::*;
use ibex::{Arg, Plan, Result};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Case {
    name: String,
    layer: String,
    config: Config,
    mask: Option<Array>,
    inputs: Vec<Array>,
    weights: Vec<Array>,
    outputs: Vec<Array>,
    output_mask: Option<Array>,
    upstream: Vec<Array>,
    input_grads: Vec<Array>,
    weight_grads: Vec<Array>,
}

/// Two inputs: the first with the second as its mask.
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

/// The mask of its input as numbers; -1 for each sample if there is none.
#[derive(Debug)]
struct GetMask;

impl Layer for GetMask {
    fn class_name(&self) -> &'static str {
        "GetMask"
    }
    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }
    fn call(&self, x: &Tensor, cx: &mut Context) -> Result<Tensor> {
        let none = Tensor::full([x.dim(0)], -1.0, DType::F32);
        Ok(cx.mask(0).map_or(none, |mask| mask.cast(DType::F32)))
    }
}

#[test]
fn recurrent_layers_are_those_of_keras() {
    every_case(&cases("recurrent.json"), |case: &Case| &case.name, check);
}

fn check(case: &Case, device: &Device) -> Result<()> {
    let config = layers::from_config(&case.layer, case.config.clone())?.config()?;
    let layer = Instance::from(layers::from_config(&case.layer, config)?);

    let mut inputs: Vec<_> = case.inputs.iter().map(|x| Input::with_dtype(&x.shape[1..], x.dtype())).collect();
    let mut args: Vec<Tensor> = case.inputs.iter().map(Array::tensor).collect();
    let mut seen = inputs.clone();
    if let Some(mask) = &case.mask {
        let input = Input::new(&mask.shape[1..]);
        seen[0] = Instance::from(SetMask).apply([&seen[0], &input]);
        inputs.push(input);
        args.push(mask.tensor().cast(DType::F32));
    }
    let mut outputs = layer.apply_all(&seen);
    outputs.push(Instance::from(GetMask).apply(&outputs[0]));
    let mut model = Model::new(&inputs, &outputs)?.on(device);
    model.set_weights(&case.weights.iter().map(Array::numbers).collect::<Vec<_>>())?;

    let variables: Vec<_> = model.weights().map(|w| w.variable.clone()).collect();
    let specs: Vec<_> = args.iter().map(|x| (x.shape().clone(), x.dtype())).collect();
    let plan = Plan::trace(device, &specs, |args| {
        let mut at = args[..case.input_grads.len()].to_vec();
        at.extend(variables.iter().map(Variable::value));
        let mut results = model.call_all(args, false)?;
        let terms = results.iter().zip(&case.upstream).map(|(y, upstream)| (y * upstream.tensor()).sum(&[]));
        let total = terms.reduce(|a, b| a + b).expect("an output");
        for (gradient, at) in total.vjp(&Tensor::scalar(1.0f32), &at)?.into_iter().zip(&at) {
            results.push(gradient.unwrap_or_else(|| Tensor::zeros(at.shape(), at.dtype())));
        }
        Ok(results)
    })?;
    let results = plan.run(&mut args.into_iter().map(Arg::Tensor).collect::<Vec<_>>())?;

    let same = |what: String, got: &Tensor, want: &Array| -> Result<()> {
        assert_eq!(got.shape()[..], want.shape[..], "{} {what}: shape", case.name);
        assert_close(&format!("{} {what}", case.name), &device.read_now(got)?.to_f64(), &want.data, TOLERANCE);
        Ok(())
    };
    let count = case.outputs.len();
    for (i, want) in case.outputs.iter().enumerate() {
        same(format!("output {i}"), &results[i], want)?;
    }
    match &case.output_mask {
        Some(mask) => same("mask".into(), &results[count], mask)?,
        None => assert_eq!(device.read_now(&results[count])?.to_f64(), vec![-1.0; case.inputs[0].shape[0]]),
    }
    let gradients: Vec<_> = case.input_grads.iter().chain(&case.weight_grads).collect();
    assert_eq!(gradients.len() + count + 1, results.len());
    for (i, want) in gradients.into_iter().enumerate() {
        same(format!("gradient {i}"), &results[count + 1 + i], want)?;
    }
    Ok(())
}

/// `h = x @ kernel + h @ recurrent_kernel`
#[derive(Debug, Serialize, Deserialize)]
struct Minimal {
    units: usize,
}

impl Cell for Minimal {
    fn class_name(&self) -> &'static str {
        "Minimal"
    }
    fn config(&self) -> Result<Config> {
        config::save(self)
    }
    fn state_sizes(&self) -> Vec<usize> {
        vec![self.units]
    }
    fn build(&self, weights: &mut Weights, input: &Shape) -> Result<()> {
        weights.add("kernel", [input[1], self.units], Initializer::GlorotUniform)?;
        weights.add("recurrent_kernel", [self.units, self.units], Initializer::GlorotUniform)?;
        Ok(())
    }
    fn step(&self, x: &Tensor, states: &[Tensor], cx: &mut Context) -> Result<(Tensor, Vec<Tensor>)> {
        let h = x.matmul(cx.weight("kernel")) + states[0].matmul(cx.weight("recurrent_kernel"));
        Ok((h.clone(), vec![h]))
    }
}

/// A cell of the user's own stands in every place where ours do.
#[test]
fn own_cells() -> Result<()> {
    let glorot = Initializer::GlorotUniform;
    let plain = || {
        SimpleRNN::new(3)
            .use_bias(false)
            .activation(Activation::Linear)
            .recurrent_initializer(glorot)
            .return_sequences(true)
    };
    let own = || RNN::new(Minimal { units: 3 }).return_sequences(true);
    let ours = || SimpleRNNCell::new(3).use_bias(false).activation(Activation::Linear).recurrent_initializer(glorot);
    register_cell::<Minimal>("Minimal");
    let stacks = [
        StackedRNNCells::new().cell(ours()).cell(LSTMCell::new(2)).cell(ours()),
        StackedRNNCells::new().cell(Minimal { units: 3 }).cell(LSTMCell::new(2)).cell(Minimal { units: 3 }),
    ];
    let stacks = stacks.map(|stack| Instance::from(RNN::new(stack).return_sequences(true)));
    let pairs = [
        [Instance::from(plain()), Instance::from(own())],
        [Instance::from(Bidirectional::new(plain())), Instance::from(Bidirectional::new(own()))],
        stacks,
    ];
    let mut x = Tensor::randn([2, 4, 2], 1);
    // A step in the middle, and the first of the other sample, are masked.
    let kept = Tensor::from_vec(vec![1.0f32, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0], [2, 4, 1]);
    x = x * kept;
    for device in devices() {
        for pair in &pairs {
            let mut results = Vec::new();
            for layer in pair {
                let input = Input::new([4, 2]);
                let y = layer.apply(Masking::new().apply(&input));
                let model = Model::new(&input, &y)?.on(&device);
                results.push(device.read_now(&model.predict(&x)?)?.to_f64());
            }
            assert!(results[0].iter().any(|v| *v != 0.0));
            assert_close("own cell", &results[1], &results[0], TOLERANCE);
        }
    }
    let error = layers::from_config(
        "RNN",
        own()
            .config()?
            .into_iter()
            .map(|(k, mut v)| {
                if k == "cell" {
                    v["class_name"] = "Unknown".into();
                }
                (k, v)
            })
            .collect(),
    );
    let error = error.expect_err("nobody knows it").to_string();
    assert!(error.contains("Unknown") && error.contains("register_cell"), "{error}");
    Ok(())
}

/// Two halves of a sequence in two batches are the whole sequence; the states are no weights of the model, and training goes on from them too.
#[test]
fn stateful_layers_go_on() -> Result<()> {
    let x = Tensor::randn([3, 6, 2], 1);
    let halves = [x.narrow(1, 0, 3), x.narrow(1, 3, 3)];
    let layers: [fn(bool) -> Instance; 3] = [
        |stateful| LSTM::new(4).stateful(stateful).into(),
        |stateful| GRU::new(4).stateful(stateful).return_sequences(true).into(),
        |stateful| {
            RNN::new(StackedRNNCells::new().cell(GRUCell::new(2)).cell(LSTMCell::new(4))).stateful(stateful).into()
        },
    ];
    for device in devices() {
        for layer in layers {
            let (whole, half) = (Input::new([6, 2]), Input::new([3, 2]).batches_of(3));
            let plain = Model::new(&whole, layer(false).apply(&whole))?.on(&device);
            let mut model = Model::new(&half, layer(true).apply(&half))?.on(&device);
            assert_eq!(model.count_params(), plain.count_params());
            assert_eq!(model.get_weights()?.len(), plain.get_weights()?.len());
            let want = device.read_now(&plain.predict(&x)?)?.to_f64();
            for _ in 0..2 {
                let first = device.read_now(&model.predict(&halves[0])?)?.to_f64();
                let second = device.read_now(&model.predict(&halves[1])?)?.to_f64();
                let third = device.read_now(&model.predict(&halves[0])?)?.to_f64();
                assert_ne!(first, third, "it goes on");
                match second.len() * 2 == want.len() {
                    true => {
                        let steps = |v: &[f64], n| -> Vec<f64> {
                            v.chunks(n).flat_map(|s| s[s.len() - 12..].to_vec()).collect()
                        };
                        assert_close("second half", &steps(&second, 12), &steps(&want, 24), TOLERANCE);
                    }
                    false => assert_close("second half", &second, &want, TOLERANCE),
                }
                model.reset_states()?;
            }
            // Placing the model in another does not touch its states.
            let before = device.read_now(&model.predict(&halves[0])?)?.to_f64();
            model.reset_states()?;
            let outer = Input::new([3, 2]).batches_of(3);
            Model::new(&outer, model.apply(&outer))?;
            assert_eq!(device.read_now(&model.predict(&halves[0])?)?.to_f64(), before);
        }
    }
    // The size of batches is not fixed: the layer was built for another.
    let model = Sequential::new([3, 2]).add(LSTM::new(2).stateful(true));
    let error = model.predict(&Tensor::zeros([4, 3, 2], DType::F32)).expect_err("a batch of 4").to_string();
    assert!(error.contains("stateful") && error.contains("batches_of(4)"), "{error}");
    Ok(())
}

/// What is dropped is the same in all steps: with kernels of ones on the diagonal it can be seen.
#[test]
fn dropout_is_the_same_in_all_steps() -> Result<()> {
    let units = 64;
    let layer = |dropout, recurrent| {
        let eye = || Initializer::Identity { gain: 1.0 };
        let layer = SimpleRNN::new(units).activation(Activation::Linear).return_sequences(true);
        layer.kernel_initializer(eye()).recurrent_initializer(eye()).dropout(dropout).recurrent_dropout(recurrent)
    };
    for device in devices() {
        // Ones come in at the first step only.
        let first = Tensor::iota([2, 3, units], 1).eq(0.0).cast(DType::F32);
        for (x, dropout, recurrent, steps) in [
            (Tensor::ones([2, 3, units], DType::F32), 0.5, 0.0, [[0.0, 2.0], [0.0, 4.0], [0.0, 6.0]]),
            (first, 0.0, 0.5, [[1.0, 1.0], [0.0, 2.0], [0.0, 4.0]]),
        ] {
            let model = Sequential::new([3, units]).add(layer(dropout, recurrent)).on(&device);
            let y = device.read_now(&model.call(&x, true)?)?.to_f64();
            let at = |t: usize| (0..2 * units).map(move |i| (i / units * 3 + t) * units + i % units);
            let kept: Vec<bool> = at(2).map(|i| y[i] != 0.0).collect();
            let share = kept.iter().filter(|k| **k).count();
            assert!((32..96).contains(&share), "{share} of 128 are kept");
            for (t, step) in steps.iter().enumerate() {
                let want: Vec<f64> = kept.iter().map(|&kept| step[usize::from(kept)]).collect();
                assert_close("step", &at(t).map(|i| y[i]).collect::<Vec<_>>(), &want, 1e-6);
            }
            let y = device.read_now(&model.call(&x, false)?)?.to_f64();
            assert!(y.iter().all(|v| *v != 0.0), "nothing is dropped outside of training");
        }
        // Every gate has noise of its own where the states have.
        for layer in [
            Instance::from(LSTM::new(5).dropout(0.3).recurrent_dropout(0.3)),
            GRU::new(5).recurrent_dropout(0.3).into(),
        ] {
            let model = Sequential::new([4, 3]).add(layer).on(&device);
            let x = Tensor::randn([8, 4, 3], 2);
            let [noisy, plain] = [true, false].map(|training| model.call(&x, training));
            let [noisy, plain] = [device.read_now(&noisy?)?.to_f64(), device.read_now(&plain?)?.to_f64()];
            assert!(noisy.iter().all(|v| v.is_finite()) && noisy != plain);
        }
    }
    Ok(())
}

#[test]
fn options_reach_the_weights() -> Result<()> {
    let l2 = Regularizer::L2 { l2: 0.1 };
    let gru = GRU::new(2).recurrent_regularizer(l2).bias_constraint(Constraint::NonNeg);
    let model = Sequential::new([3, 4]).add(Bidirectional::new(gru));
    let weights: Vec<_> = model.weights().collect();
    let names: Vec<&str> = weights.iter().map(|w| w.name()).collect();
    assert_eq!(names[..3], ["forward_layer/kernel", "forward_layer/recurrent_kernel", "forward_layer/bias"]);
    assert_eq!(names[3..], ["backward_layer/kernel", "backward_layer/recurrent_kernel", "backward_layer/bias"]);
    for half in weights.chunks(3) {
        assert_eq!([half[0].regularizer, half[1].regularizer, half[2].regularizer], [None, Some(l2), None]);
        assert_eq!([&half[0].constraint, &half[2].constraint], [&None, &Some(Constraint::NonNeg)]);
    }
    let table = Embedding::new(5, 2).embeddings_regularizer(l2).embeddings_constraint(Constraint::NonNeg);
    let model = Sequential::with_dtype([3], DType::I32).add(table);
    let table = model.weights().next().expect("a table");
    assert_eq!((table.regularizer, &table.constraint), (Some(l2), &Some(Constraint::NonNeg)));
    Ok(())
}

#[test]
fn mistakes_say_what_to_do() {
    let x = Input::new([4, 3]);
    let says = |y: SymbolicTensor, words: &[&str]| {
        let error = y.check().expect_err("a mistake").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    says(GRU::new(2).apply(Input::new([3])), &["gru", "(batch, steps, features)", "(None, 3)"]);
    says(SimpleRNN::new(2).apply(Input::new([3, 2, 2])), &["simple_rnn", "(batch, features)"]);
    says(LSTM::new(2).apply([&x, &Input::new([2])]), &["lstm", "initial states", "(None, 2), (None, 2)"]);
    says(GRU::new(2).apply([&x, &Input::new([3])]), &["initial states are (None, 2), got (None, 3)"]);
    says(RNN::new(StackedRNNCells::new()).apply(&x), &["rnn", "cell"]);
    let both = Bidirectional::new(GRU::new(2));
    says(both.clone().backward_layer(GRU::new(2)).apply(&x), &["bidirectional", "go_backwards"]);
    let all = GRU::new(2).return_sequences(true).go_backwards(true);
    says(both.clone().backward_layer(all).apply(&x), &["return_sequences"]);
    says(both.apply([&x, &Input::new([2])]), &["in pairs"]);
    says(TimeDistributed::new(Dense::new(2)).apply(Input::new([3])), &["time_distributed", "3 axes"]);
}

/// Under mixed precision everything runs, masks too, and is what it is in `f32` up to rounding.
#[test]
fn mixed_precision() -> Result<()> {
    let layers: [fn() -> Instance; 5] = [
        || LSTM::new(4).return_sequences(true).into(),
        || GRU::new(4).into(),
        || Bidirectional::new(SimpleRNN::new(3).return_sequences(true)).into(),
        || RNN::new(Minimal { units: 3 }).return_sequences(true).into(),
        || RNN::new(StackedRNNCells::new().cell(Minimal { units: 3 }).cell(LSTMCell::new(2))).into(),
    ];
    // Steps 1 and 4 of every sample are masked.
    let kept = Tensor::iota([3, 5, 2], 1).rem(3.0).ne(1.0).cast(DType::F32);
    let x = Tensor::randn([3, 5, 2], 3).clamp(-1.0, 1.0) * kept;
    for device in devices() {
        for layer in layers {
            let made = |policy| -> Result<Vec<f64>> {
                let model = Sequential::new([5, 2]).add(Masking::new()).add(layer()).on(&device);
                device.read_now(&model.dtype_policy(policy).predict(&x)?).map(|y| y.to_f64())
            };
            let exact = made(Float32)?;
            assert!(exact.iter().any(|v| v.abs() > 1e-2));
            for policy in [MixedFloat16, MixedBfloat16] {
                assert_close("mixed", &made(policy)?, &exact, if policy == MixedFloat16 { 2e-3 } else { 2e-2 });
            }
        }
    }
    Ok(())
}
