//! The compiler against the reference backend, which runs programs point by point.

use ibex_check::{
    Case, Grad, Outcome, Reference, WithCaps, cases, compare, failures, gradients, program, random_graph, random_step,
    shrink, variants,
};
use ibex_core::backend::{Backend, BoxFuture, Buffer, Caps, Counters, DeviceInfo, Executable, block_on};
use ibex_core::program::Program;
use ibex_core::{Device, Function, Result, Tensor, Variable};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Runs every case and reports all failures together; `IBEX_CHECK` names the part of the list to run.
fn all(list: &[Case], run: impl Fn(&Case) -> Result<Outcome>) {
    let filter = std::env::var("IBEX_CHECK").unwrap_or_default();
    let failed = failures(list.iter().filter(|case| case.name.contains(&filter)), run);
    let lines: Vec<String> = failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(lines.is_empty(), "{} of {} cases fail:\n{}", lines.len(), list.len(), lines.join("\n"));
}

/// How many random cases are tried; `IBEX_SEEDS` asks for more.
fn seeds(usual: u32) -> u32 {
    std::env::var("IBEX_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn device(variant: &str) -> Device {
    let (_, change) = variants().into_iter().find(|(name, _)| *name == variant).expect("a known variant");
    Device::new(WithCaps::new(Reference::default(), change))
}

#[test]
fn names_are_unique() {
    let mut names = HashSet::new();
    for case in cases() {
        assert!(names.insert(case.name.clone()), "{} is listed twice", case.name);
    }
}

#[test]
fn fused() {
    let device = device("fused");
    all(&cases(), |case| compare(&device, case));
}

#[test]
fn unfused() {
    let device = device("unfused");
    all(&cases(), |case| compare(&device, case));
}

#[test]
fn few_bindings() {
    let device = device("4 bindings");
    all(&cases(), |case| compare(&device, case));
}

#[test]
fn split_reductions() {
    let device = device("split reductions");
    all(&cases(), |case| compare(&device, case));
}

/// The numbers of arguments that are not read must not be taken for those of captured tensors.
#[test]
fn unread_arguments_and_captured_tensors() {
    let device = device("fused");
    let x = Tensor::from_vec(vec![1.0_f32, 2.0], [2]);
    let captured = device.eval(&[&x + 10.0]).expect("evaluates").remove(0);
    let function = Function::new(&device, move |[a, _b]: [Tensor; 2]| a + &captured);
    for _ in 0..2 {
        let y = function.call(&[&x, &(&x * 0.0)]).expect("runs").remove(0);
        assert_eq!(device.to_vec::<f32>(&y).expect("reads"), [12.0, 14.0]);
    }
}

/// Whoever holds a snapshot of a variable, or passes it as an argument, keeps the old numbers.
#[test]
fn snapshots_survive_updates() {
    let device = device("fused");
    let variable = Variable::new("v", Tensor::from_vec(vec![1.0_f32, 2.0], [2])).expect("valid");
    let inside = variable.clone();
    let function = Function::from_slice(&device, move |args: &[Tensor]| {
        inside.assign(inside.value() * 2.0)?;
        Ok(vec![&args[0] + inside.value()])
    });
    let x = Tensor::zeros([2], ibex_core::DType::F32);
    function.call(&[&x]).expect("runs");
    let before = variable.value();
    let sum = function.call(&[&before]).expect("runs").remove(0);
    assert_eq!(device.to_vec::<f32>(&sum).expect("reads"), [6.0, 12.0]);
    assert_eq!(device.to_vec::<f32>(&before).expect("reads"), [2.0, 4.0]);
    assert_eq!(device.to_vec::<f32>(&variable.value()).expect("reads"), [4.0, 8.0]);
}

/// What must be one kernel, and how many a whole step may be.
#[test]
fn fusion() {
    let device = device("fused");
    let kernels = |name: &str| {
        let case = cases().into_iter().find(|c| c.name == name).expect("a case of this name");
        let program = program(&device, &case).expect("compiles");
        if std::env::var_os("IBEX_EXPLAIN").is_some() {
            println!("{name}\n{}", program.explain());
        }
        program.kernels.len()
    };
    let limits = [
        ("composed/softmax_3d", 1),
        ("composed/layer_norm", 1),
        ("composed/rms_norm", 1),
        ("composed/dropout", 2),
        ("composed/cross_entropy_with_gradient", 3),
        ("matmul/epilogue/bias_relu", 1),
        ("matmul/epilogue/bias_tanh_residual", 1),
        ("matmul/epilogue/also_raw", 1),
        ("movement/concat_many", 3),
        ("train/momentum", 1),
        ("train/mlp", 14),
        ("train/cnn", 30),
        ("train/lstm", 25),
    ];
    let over: Vec<String> = limits
        .iter()
        .filter_map(|&(name, limit)| Some((name, limit, kernels(name))).filter(|k| k.2 > limit))
        .map(|(name, limit, count)| format!("{name}: {count} kernels, at most {limit} expected"))
        .collect();
    assert!(over.is_empty(), "{}", over.join("\n"));
}

#[test]
fn arguments_have_no_value_outside() {
    let device = device("fused");
    let leak = Arc::new(Mutex::new(None));
    let inside = leak.clone();
    let function = Function::new(&device, move |[a]: [Tensor; 1]| {
        *inside.lock().expect("not poisoned") = Some(a.clone());
        a + 1.0
    });
    let x = Tensor::from_vec(vec![1.0_f32, 2.0], [2]);
    function.call(&[&x]).expect("runs");
    let argument = leak.lock().expect("not poisoned").take().expect("traced");
    assert!(device.eval(&[x + argument]).is_err());
}

#[test]
fn derivatives() {
    let list: Vec<Case> = cases().into_iter().filter(|case| case.grad != Grad::None).collect();
    assert!(list.len() > 300);
    all(&list, gradients);
}

#[test]
fn random_graphs() {
    for (variant, change) in variants() {
        let device = Device::new(WithCaps::new(Reference::default(), change));
        for seed in 0..seeds(150) {
            if let Some((ops, why)) = shrink(24, |ops| random_graph(seed, ops), |case| compare(&device, case)) {
                panic!("random_graph({seed}, {ops}) {variant}: {why}");
            }
        }
    }
}

#[test]
fn random_steps() {
    for (variant, change) in variants() {
        let device = Device::new(WithCaps::new(Reference::default(), change));
        for seed in 0..seeds(150) {
            if let Some((ops, why)) = shrink(12, |ops| random_step(seed, ops), |case| compare(&device, case)) {
                panic!("random_step({seed}, {ops}) {variant}: {why}");
            }
        }
    }
}

#[test]
fn random_derivatives() {
    for seed in 0..seeds(60) {
        if let Some((ops, why)) = shrink(12, |ops| random_graph(seed, ops), gradients) {
            panic!("random_graph({seed}, {ops}): {why}");
        }
    }
}

/// A device that is wrong anywhere must fail: here every buffer is read back with one bit of its exponent flipped.
#[test]
fn wrong_results_are_noticed() {
    let device = Device::new(Flipped(Reference::default()));
    let list: Vec<Case> = cases().into_iter().filter(|c| c.name.starts_with("matmul/view")).collect();
    assert_eq!(failures(&list, |case| compare(&device, case)).len(), list.len());
}

#[derive(Debug)]
struct Flipped(Reference);

impl Backend for Flipped {
    fn info(&self) -> DeviceInfo {
        self.0.info()
    }
    fn caps(&self) -> Caps {
        self.0.caps()
    }
    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Buffer>> {
        self.0.allocate(bytes)
    }
    fn write(&self, buffer: &Arc<dyn Buffer>, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        self.0.write(buffer, bytes, fill)
    }
    fn read(&self, buffer: &Arc<dyn Buffer>, range: Range<usize>) -> BoxFuture<'static, Result<Vec<u8>>> {
        let mut bytes = block_on(self.0.read(buffer, range));
        if let Ok(bytes) = &mut bytes
            && let Some(exponent) = bytes.get_mut(3)
        {
            *exponent ^= 0x40;
        }
        Box::pin(std::future::ready(bytes))
    }
    fn copy(&self, from: &Arc<dyn Buffer>, to: &Arc<dyn Buffer>, bytes: usize) -> Result<()> {
        self.0.copy(from, to, bytes)
    }
    fn load(&self, program: Arc<Program>) -> Result<Box<dyn Executable>> {
        self.0.load(program)
    }
    fn counters(&self) -> Counters {
        self.0.counters()
    }
}
