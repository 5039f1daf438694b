//! Memory, counters, errors, profiling, and shaders as text.

use super::{backends, download, elementwise, load, numbers, program, run, store, upload, view};
use crate::device::Device;
use crate::{Options, WgpuBackend};
use ibex_core::backend::{Backend, block_on};
use ibex_core::graph::Unary;
use ibex_core::program::{Body, BufferDecl, BufferId, Instr, KernelKind, Role, ValueId};
use ibex_core::{DType, ErrorKind, Shape};
use std::sync::Arc;

const F: DType = DType::F32;

/// The device inside a backend.
pub(super) fn raw(backend: &WgpuBackend) -> &Device {
    &backend.device
}

fn own() -> Option<WgpuBackend> {
    backends()?;
    Some(WgpuBackend::open_default_blocking().unwrap())
}

/// `to = f(from)` over `len` floats.
fn map(op: Unary, len: usize, from: usize, to: usize) -> KernelKind {
    let at = view(0, &[1]);
    let body = Body {
        loads: vec![load(from, F, at.clone())],
        iotas: vec![],
        instrs: vec![Instr::Load(0), Instr::Unary(op, ValueId(0))],
        stores: vec![store(1, to, F, at)],
    };
    KernelKind::Loop(elementwise(&[len], body))
}

/// Input, scratch, output, copied output.
fn chain(len: usize) -> Arc<ibex_core::program::Program> {
    let copy = KernelKind::Copy { from: BufferId(2), to: BufferId(3) };
    let kinds = vec![map(Unary::Neg, len, 0, 1), map(Unary::Exp, len, 1, 2), copy, map(Unary::Sqrt, len, 2, 1)];
    let mut program = program(&[(F, len); 4], &[], kinds);
    program.buffers[1] = BufferDecl { role: Role::Temp(0), dtype: F, shape: Shape::from(&[len][..]) };
    program.slots = vec![len * 4];
    Arc::new(program)
}

#[test]
fn a_second_run_allocates_nothing_and_submits_once() {
    let Some(backend) = own() else { return };
    let len = 1000;
    let executable = backend.load(chain(len)).unwrap();
    let x = numbers(F, len, 0.0, 2.0);
    let buffers: Vec<_> = [&x, &x, &x].map(|d| upload(&backend, d)).into();
    executable.run(&buffers).unwrap();
    let before = backend.counters();
    executable.run(&buffers).unwrap();
    let after = backend.counters();
    assert_eq!(after.allocations, before.allocations);
    assert_eq!(after.submissions, before.submissions + 1);
    assert_eq!(after.dispatches, before.dispatches + 3);
    assert_eq!(after.reads, before.reads);
    let want: Vec<f64> = x.to_f64().iter().map(|v| (-v).exp()).collect();
    for buffer in &buffers[1..] {
        super::close(&download(&backend, buffer, F, len).to_f64(), &want, 1e-6, "chain");
    }
    assert_eq!(backend.counters().reads, after.reads + 2);
    // Other buffers, then the first again.
    let y = numbers(F, len, 2.0, 3.0);
    let others: Vec<_> = [&y, &x, &x].map(|d| upload(&backend, d)).into();
    executable.run(&others).unwrap();
    executable.run(&buffers).unwrap();
    let want: Vec<f64> = y.to_f64().iter().map(|v| (-v).exp()).collect();
    super::close(&download(&backend, &others[1], F, len).to_f64(), &want, 1e-6, "other buffers");
}

#[test]
fn dropped_memory_is_used_again() {
    let Some(backend) = own() else { return };
    drop(backend.allocate(5000).unwrap());
    let before = backend.counters().allocations;
    for _ in 0..10 {
        drop(backend.allocate(5000).unwrap());
    }
    assert_eq!(backend.counters().allocations, before);
    assert!(backend.allocate(0).unwrap().bytes() < 64);
}

#[test]
fn bytes_go_in_and_out_at_any_alignment() {
    let Some(backend) = own() else { return };
    let bytes: Vec<u8> = (0..=250).collect();
    let buffer = backend.allocate(bytes.len()).unwrap();
    backend.write(&buffer, bytes.len(), &mut |to| to.copy_from_slice(&bytes)).unwrap();
    for range in [0..251, 0..1, 3..4, 5..17, 250..251, 9..9, 8..16] {
        assert_eq!(block_on(backend.read(&buffer, range.clone())).unwrap(), bytes[range]);
    }
    let other = backend.allocate(251).unwrap();
    backend.copy(&buffer, &other, 251).unwrap();
    assert_eq!(block_on(backend.read(&other, 0..251)).unwrap(), bytes);
    // Requests are made by the call: later writes do not show, and futures may be waited for in any order or dropped.
    let (first, dropped) = (backend.read(&buffer, 0..4), backend.read(&buffer, 4..8));
    backend.write(&buffer, 4, &mut |to| to.fill(9)).unwrap();
    let second = backend.read(&buffer, 0..4);
    drop(dropped);
    assert_eq!(block_on(second).unwrap(), [9; 4]);
    assert_eq!(block_on(first).unwrap(), [0, 1, 2, 3]);
}

#[test]
fn misuse_is_an_error() {
    let Some([backend, other]) = backends() else { return };
    let buffer = backend.allocate(64).unwrap();
    let kind = |r: ibex_core::Result<()>| r.unwrap_err().kind();
    assert_eq!(kind(other.write(&buffer, 4, &mut |_| {})), ErrorKind::Value);
    assert_eq!(kind(backend.write(&buffer, 4096, &mut |_| {})), ErrorKind::Value);
    assert_eq!(block_on(backend.read(&buffer, 0..4096)).unwrap_err().kind(), ErrorKind::Value);
    assert_eq!(backend.allocate(usize::MAX / 2).unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert_eq!(kind(WgpuBackend::open_blocking(99, Options::default()).map(drop)), ErrorKind::Device);
    let executable = backend.load(chain(1000)).unwrap();
    assert_eq!(kind(executable.run(std::slice::from_ref(&buffer))), ErrorKind::Value);
    let small = [buffer.clone(), buffer.clone(), buffer];
    assert_eq!(kind(executable.run(&small)), ErrorKind::Value);
    // A view outside of its buffer.
    let bad = program(&[(F, 10), (F, 9)], &[], vec![map(Unary::Neg, 10, 0, 1)]);
    assert_eq!(kind(backend.load(Arc::new(bad)).map(drop)), ErrorKind::Value);
    backend.device.check().unwrap();
}

#[test]
fn a_broken_shader_is_an_error() {
    let Some([backend, _]) = backends() else { return };
    let dispatch = crate::dispatch::Dispatch {
        label: "broken".into(),
        source: "fn main( {".into(),
        constants: vec![],
        buffers: vec![],
        workgroups: [1; 3],
    };
    let error = backend.device.pipeline(&dispatch).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.to_string().contains("broken"), "{error}");
    backend.device.check().unwrap();
}

#[test]
fn a_lost_device_is_an_error() {
    let Some(backend) = own() else { return };
    let buffer = upload(&backend, &numbers(F, 8, 0.0, 1.0));
    let executable = backend.load(chain(8)).unwrap();
    backend.device.device.destroy();
    let _ = backend.device.device.poll(wgpu::PollType::Poll);
    assert_eq!(
        executable.run(&[buffer.clone(), buffer.clone(), buffer.clone()]).unwrap_err().kind(),
        ErrorKind::Device
    );
    assert_eq!(backend.allocate(16).unwrap_err().kind(), ErrorKind::Device);
    assert_eq!(block_on(backend.read(&buffer, 0..4)).unwrap_err().kind(), ErrorKind::Device);
    assert_eq!(backend.write(&buffer, 4, &mut |_| {}).unwrap_err().kind(), ErrorKind::Device);
}

#[test]
fn profile_measures_every_kernel() {
    let Some([backend, _]) = backends() else { return };
    let len = 1 << 16;
    let executable = backend.load(chain(len)).unwrap();
    let x = numbers(F, len, 0.0, 2.0);
    let buffers: Vec<_> = [&x, &x, &x].map(|d| upload(backend, d)).into();
    if let Some(times) = executable.profile(&buffers).unwrap() {
        println!("{times:?}");
        assert_eq!(times.len(), 4);
        assert!(!times[0].is_zero());
    }
    let want: Vec<f64> = x.to_f64().iter().map(|v| (-v).exp()).collect();
    super::close(&download(backend, &buffers[1], F, len).to_f64(), &want, 1e-6, "profiled");
}

/// A copy has no pass to hang timestamps on; where encoders take none, nothing of such a program can be measured.
#[test]
fn profile_runs_what_it_can_not_measure() {
    let Some([backend, _]) = backends() else { return };
    let len = 1000;
    let copy = KernelKind::Copy { from: BufferId(0), to: BufferId(1) };
    let executable = backend.load(Arc::new(program(&[(F, len); 2], &[], vec![copy]))).unwrap();
    let (x, zero) = (numbers(F, len, 0.0, 2.0), numbers(F, len, 0.0, 0.0));
    let buffers: Vec<_> = [&x, &zero].map(|d| upload(backend, d)).into();
    executable.profile(&buffers).unwrap();
    assert_eq!(download(backend, &buffers[1], F, len).to_f64(), x.to_f64());
}

#[test]
fn threads_share_a_device() {
    let Some([_, backend]) = backends() else { return };
    std::thread::scope(|scope| {
        for t in 0..4 {
            scope.spawn(move || {
                let x = numbers(F, 100 + t, 0.0, 2.0);
                for _ in 0..5 {
                    let kind = map(Unary::Exp, 100 + t, 0, 1);
                    let p = program(&[(F, 100 + t); 2], &[], vec![kind]);
                    let got = run(backend, p, &[x.clone(), x.clone()]);
                    let want: Vec<f64> = x.to_f64().iter().map(|v| v.exp()).collect();
                    super::close(&got[1].to_f64(), &want, 1e-6, "threads");
                }
            });
        }
    });
}

#[test]
fn adapters_are_described() {
    let Some([backend, _]) = backends() else { return };
    let list = block_on(crate::adapters());
    assert_eq!(list[0].name, backend.info().name);
    println!("{list:#?}\n{:?}\n{:?}", backend.info(), backend.caps());
}

/// Host time of a replayed dispatch, while the device has nothing else to do; printed, since it depends on the machine.
#[test]
fn replay_cost() {
    let Some([_, backend]) = backends() else { return };
    let kinds: Vec<_> = (0..1000).map(|i| map(Unary::Neg, 4, i % 2, 1 - i % 2)).collect();
    let executable = backend.load(Arc::new(program(&[(F, 4); 2], &[], kinds))).unwrap();
    let x = numbers(F, 4, 0.0, 2.0);
    let buffers: Vec<_> = [&x, &x].map(|d| upload(backend, d)).into();
    let mut best = std::time::Duration::MAX;
    for _ in 0..10 {
        let start = std::time::Instant::now();
        executable.run(&buffers).unwrap();
        best = best.min(start.elapsed());
        download(backend, &buffers[0], F, 4);
    }
    println!("{:?} per dispatch", best / 1000);
}
