//! Tests on an adapter. Without one they print that they were skipped, unless `IBEX_REQUIRE_GPU=1` makes that a failure.

mod device;
mod epilogue;
mod instructions;
mod loops;
mod reference;
mod tune;

use crate::dispatch::Traits;
use crate::{Contractions, Options, Reductions, WgpuBackend};
use ibex_core::backend::{Backend, Buffer, block_on};
use ibex_core::program::{Body, BufferDecl, BufferId, Kernel, KernelKind, Load, Loop, Program, Role, Store, View};
use ibex_core::{DType, Data, ErrorKind, Shape};
use std::sync::{Arc, OnceLock};

/// The default adapter with bounds checks, and without them and as if it were no software; `None` skips the test.
pub(crate) fn backends() -> Option<&'static [WgpuBackend; 2]> {
    static BACKENDS: OnceLock<Option<[WgpuBackend; 2]>> = OnceLock::new();
    let open = |checked| WgpuBackend::open_blocking(0, Options { checked, ..Options::default() });
    let backends = BACKENDS.get_or_init(|| match (open(true), open(false)) {
        (Ok(mut a), Ok(mut b)) => {
            // What was tuned on this machine is not what the tests are about.
            for backend in [&mut a, &mut b] {
                if let Some(device) = Arc::get_mut(&mut backend.device) {
                    device.traits.tuning = None;
                }
            }
            // The second takes the variants of a small real GPU, packs f16 as where shaders have none, and folds larger grids.
            if let Some(device) = Arc::get_mut(&mut b.device) {
                let traits = &mut device.traits;
                (traits.software, traits.f16, traits.subgroups, traits.max_texels) = (false, false, None, 0);
                (traits.max_workgroup_storage, traits.max_workgroups_per_dim) = (16384, 3000);
            }
            Some([a, b])
        }
        (Err(e), _) | (_, Err(e)) => {
            assert!(std::env::var_os("IBEX_REQUIRE_GPU").is_none(), "a GPU is required, but {e}");
            println!("skipped: {e}");
            None
        }
    });
    backends.as_ref()
}

/// A device with one kernel forced on all contractions, with bounds checks and without, as if it were no software: what the table would not
/// choose here.
pub(crate) fn forced(contractions: Contractions, change: impl Fn(&mut Traits)) -> Option<Vec<WgpuBackend>> {
    backends()?;
    let open = |checked| {
        let emulated = contractions == Contractions::Cooperative;
        let options = Options { checked, contractions: Some(contractions), emulated, ..Options::default() };
        let mut backend = WgpuBackend::open_blocking(0, options).unwrap();
        if let Some(device) = Arc::get_mut(&mut backend.device) {
            (device.traits.software, device.traits.max_texels) = (false, 0);
            change(&mut device.traits);
        }
        backend
    };
    Some(vec![open(true), open(false)])
}

/// A device that shares rows among as many threads as a real GPU does, and combines them by subgroups; `None` if it has none.
fn by_subgroups() -> Option<&'static WgpuBackend> {
    static BACKEND: OnceLock<Option<WgpuBackend>> = OnceLock::new();
    let open = || {
        backends()?;
        let options = Options { checked: true, reductions: Some(Reductions::Subgroup), ..Options::default() };
        let mut backend = match WgpuBackend::open_blocking(0, options) {
            Ok(backend) => backend,
            Err(e) if e.kind() == ErrorKind::Unsupported => return None,
            Err(e) => panic!("{e}"),
        };
        Arc::get_mut(&mut backend.device)?.traits.software = false;
        Some(backend)
    };
    BACKEND.get_or_init(open).as_ref()
}

/// Inputs in order, then outputs in order; kernels over them.
pub(crate) fn program(inputs: &[(DType, usize)], outputs: &[(DType, usize)], kinds: Vec<KernelKind>) -> Program {
    let mut program = Program::default();
    let input = inputs.iter().enumerate().map(|(i, &d)| (Role::Input(i), d));
    let output = outputs.iter().enumerate().map(|(i, &d)| (Role::Output(i), d));
    for (role, (dtype, len)) in input.chain(output) {
        program.buffers.push(BufferDecl { role, dtype, shape: Shape::from(&[len][..]) });
    }
    program.kernels = kinds.into_iter().map(|kind| Kernel { kind, label: "test".into(), flops: 0, bytes: 0 }).collect();
    program
}

pub(crate) fn upload(backend: &dyn Backend, data: &Data) -> Arc<dyn Buffer> {
    upload_bytes(backend, data.as_bytes())
}

pub(crate) fn upload_bytes(backend: &dyn Backend, bytes: &[u8]) -> Arc<dyn Buffer> {
    let buffer = backend.allocate(bytes.len()).unwrap();
    backend.write(&buffer, bytes.len(), &mut |to| to.copy_from_slice(bytes)).unwrap();
    buffer
}

pub(crate) fn download(backend: &dyn Backend, buffer: &Arc<dyn Buffer>, dtype: DType, len: usize) -> Data {
    let bytes = block_on(backend.read(buffer, 0..len * dtype.size())).unwrap();
    Data::from_bytes(dtype, &bytes).unwrap()
}

/// Runs a program whose externals are all buffers in order; `data` is the start value of each. Gives the end value of each.
pub(crate) fn run(backend: &dyn Backend, program: Program, data: &[Data]) -> Vec<Data> {
    let program = Arc::new(program);
    let executable = backend.load(program.clone()).unwrap();
    let buffers: Vec<_> = data.iter().map(|d| upload(backend, d)).collect();
    executable.run(&buffers).unwrap();
    let each = buffers.iter().zip(&program.buffers);
    each.map(|(b, d)| download(backend, b, d.dtype, d.shape.elements())).collect()
}

pub(crate) fn load(buffer: usize, dtype: DType, view: View) -> Load {
    Load { buffer: BufferId(buffer), dtype, view }
}

pub(crate) fn store(value: usize, buffer: usize, dtype: DType, view: View) -> Store {
    Store { value: ibex_core::program::ValueId(value), buffer: BufferId(buffer), dtype, view }
}

pub(crate) fn view(offset: i64, strides: &[i64]) -> View {
    View { offset, strides: strides.to_vec(), bounds: Vec::new() }
}

/// Runs a loop over inputs and zeroed outputs on both devices, and by subgroups if it reduces, and compares every buffer with the reference.
pub(crate) fn compare(kernel: Loop, data: Vec<Data>, tolerance: f64) {
    let Some(backends) = backends() else { return };
    let expected = reference::run(&kernel, &data);
    let decls: Vec<_> = data.iter().map(|d| (d.dtype(), d.len())).collect();
    for backend in backends.iter().chain(by_subgroups().filter(|_| kernel.reduce > 0)) {
        let program = program(&decls, &[], vec![KernelKind::Loop(kernel.clone())]);
        let got = run(backend, program, &data);
        for (n, (got, want)) in got.iter().zip(&expected).enumerate() {
            close(&got.to_f64(), want, tolerance, &format!("buffer {n} of {kernel:?}"));
        }
    }
}

pub(crate) fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= tolerance * w.abs().max(1e-30);
        assert!(same, "element {i}: got {g}, want {w} (relative {:e}); {what}", (g - w).abs() / w.abs());
    }
}

/// Numbers in a range from a fixed sequence.
pub(crate) fn numbers(dtype: DType, len: usize, low: f64, high: f64) -> Data {
    let value = |i: usize| {
        let word = ibex_core::random::threefry([7, len as u32], [i as u32, 3])[0];
        low + (high - low) * f64::from(word) / 4294967296.0
    };
    let values: Vec<f64> = (0..len).map(value).collect();
    match dtype {
        DType::Bool => Data::Bool(values.iter().map(|v| u32::from(*v > (low + high) / 2.0)).collect()),
        _ => Data::from_f64(dtype, &values),
    }
}

/// A pure elementwise loop.
pub(crate) fn elementwise(dims: &[usize], body: Body) -> Loop {
    Loop { dims: dims.to_vec(), outer: dims.len(), reduce: 0, body }
}
