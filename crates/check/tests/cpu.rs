//! The CPU backend against the reference: every case fused, unfused, with few bindings and with split reductions, and random graphs.

use ibex_check::{WithCaps, cases, compare, failures, random_graph, random_step, shrink, variants};
use ibex_core::program::KernelKind;
use ibex_core::{DType, Device, Function, Padding, Tensor, Window};
use ibex_cpu::CpuBackend;

#[test]
fn conformance() {
    for (name, change) in variants() {
        let device = Device::new(WithCaps::new(CpuBackend::new(), change));
        let failed = failures(&cases(), |case| compare(&device, case));
        assert!(failed.is_empty(), "{name}: {failed:#?}");
    }
}

#[test]
fn random_programs() {
    for (name, change) in variants() {
        let device = Device::new(WithCaps::new(CpuBackend::new(), change));
        for seed in 0..100 {
            assert_eq!(shrink(24, |n| random_graph(seed, n), |c| compare(&device, c)), None, "{name} {seed}");
            assert_eq!(shrink(12, |n| random_step(seed, n), |c| compare(&device, c)), None, "{name} {seed}");
        }
    }
}

/// A result that renames the axes of a contraction's lies where that does, and is not written twice.
#[test]
fn results_are_written_once() {
    let device = Device::new(CpuBackend::new());
    let conv = Function::from_slice(&device, |x: &[Tensor]| {
        Ok(vec![x[0].conv(&x[1], &Window { padding: Padding::Same, ..Window::new([3, 3]) }, 1)])
    });
    let reshaped = Function::from_slice(&device, |x: &[Tensor]| Ok(vec![x[0].matmul(&x[1]).reshape([3, 2, 4])]));
    for (function, shapes) in [(conv, [vec![2, 5, 5, 3], vec![3, 3, 3, 4]]), (reshaped, [vec![6, 5], vec![5, 4]])] {
        let args = shapes.map(|shape| Tensor::rand(shape, 1));
        let specs: Vec<_> = args.iter().map(|a| (a.shape().clone(), a.dtype())).collect();
        let plan = function.plan(&specs).unwrap();
        let writes: Vec<_> = plan.program().kernels.iter().map(|kernel| kernel.kind.writes().len()).collect();
        assert_eq!(writes, [1]);
    }
}

/// Products and sums read the gradient of an LSTM's gates where its kernel leaves it.
#[test]
fn gradients_of_gates_are_read_in_place() {
    let device = Device::new(CpuBackend::new());
    let function = Function::from_slice(&device, |x: &[Tensor]| {
        let state = Tensor::zeros([2, 4], DType::F32);
        let [y, _] = (x[0].matmul(&x[1]) + &x[3]).lstm(&x[2], &state, &state);
        Ok(y.sum(&[]).grad([&x[0], &x[1], &x[2], &x[3]]).to_vec())
    });
    let specs = [vec![2, 5, 3], vec![3, 16], vec![4, 16], vec![16]].map(|shape| (shape.into(), DType::F32));
    let plan = function.plan(&specs).unwrap();
    let kernels = &plan.program().kernels;
    let grad = kernels.iter().find(|kernel| matches!(kernel.kind, KernelKind::LstmGrad(_))).unwrap().kind.writes()[0];
    let readers: Vec<_> = kernels.iter().filter(|kernel| kernel.kind.reads().contains(&grad)).collect();
    assert_eq!(readers.len(), 4);
    let copies = |kind: &KernelKind| matches!(kind, KernelKind::Loop(l) if l.reduce == 0);
    assert!(!readers.iter().any(|kernel| copies(&kernel.kind)));
    assert!(readers.iter().all(|kernel| kernel.kind.writes().len() == 1));
}
