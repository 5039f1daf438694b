//! `ibex tune`: what measuring found best on one device, kept in a file that later runs read. Without it the built-in table decides.

use crate::kernels::{Contractions, Extent};
use ibex_core::{Error, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What the first entry of a file must say.
const FORMAT: &str = "ibex-tuning-1";

/// The best kernels for one adapter with one driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// The adapter's name.
    pub adapter: String,
    /// The driver and its version.
    pub driver: String,
    /// The kernel for contractions of about a size.
    pub(crate) contractions: Vec<(Extent, Contractions)>,
}

/// The file that devices read when they are opened: `IBEX_TUNE_FILE`, or `ibex/tuning.json` in the user's folder for caches. `None` where
/// the system names no such folder.
pub fn tuning_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let caches = || match std::env::consts::OS {
        "windows" => set("LOCALAPPDATA"),
        "macos" => Some(set("HOME")?.join("Library/Caches")),
        _ => set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))),
    };
    set("IBEX_TUNE_FILE").or_else(|| Some(caches()?.join("ibex/tuning.json")))
}

impl Tuning {
    /// The kernel measured for a size within a factor of about two along every axis.
    pub(crate) fn contraction(&self, e: Extent) -> Option<Contractions> {
        let far = |a: usize, b: usize| ((a.max(1) as f32) / (b.max(1) as f32)).log2().abs();
        let distance = |o: &Extent| [far(e.z, o.z), far(e.m, o.m), far(e.n, o.n), far(e.k, o.k)];
        let near = self.contractions.iter().filter(|(o, _)| distance(o).iter().all(|d| *d <= 1.1));
        let sum = |o: &Extent| distance(o).iter().sum::<f32>();
        near.min_by(|(a, _), (b, _)| sum(a).total_cmp(&sum(b))).map(|(_, kernel)| *kernel)
    }

    /// What a file says about an adapter; `None` if it says nothing or is not there.
    ///
    /// # Errors
    /// `Io` if the file can not be read, `Value` if it is not what [`Tuning::merged`] writes.
    pub fn read(path: &Path, adapter: &str, driver: &str) -> Result<Option<Tuning>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(format!("can not read {}: {e}", path.display()))),
        };
        let all = parse(&text).map_err(|e| e.context(path.display().to_string()))?;
        Ok(all.into_iter().find(|t| t.adapter == adapter && t.driver == driver))
    }

    /// The text of a file that holds this and all that `old`, the text of such a file, says about other adapters. An `old` that is no such
    /// text is replaced.
    pub fn merged(&self, old: &str) -> String {
        let mut all = parse(old).unwrap_or_default();
        all.retain(|t| (&t.adapter, &t.driver) != (&self.adapter, &self.driver));
        all.push(self.clone());
        let devices: Vec<Value> = all.iter().map(Tuning::to_json).collect();
        format!("{:#}\n", json!({ "format": FORMAT, "devices": devices }))
    }

    fn to_json(&self) -> Value {
        let choice = |(e, kernel): &(Extent, Contractions)| json!([e.z, e.m, e.n, e.k, kernel.name()]);
        let contractions: Vec<Value> = self.contractions.iter().map(choice).collect();
        json!({ "adapter": self.adapter, "driver": self.driver, "contractions": contractions })
    }

    fn from_json(value: &Value) -> Option<Tuning> {
        let text = |name: &str| value.get(name)?.as_str().map(str::to_string);
        let choice = |row: &Value| {
            let number = |i: usize| usize::try_from(row.get(i)?.as_u64()?).ok();
            let extent = Extent { z: number(0)?, m: number(1)?, n: number(2)?, k: number(3)? };
            Some((extent, Contractions::from_name(row.get(4)?.as_str()?)?))
        };
        let contractions = value.get("contractions")?.as_array()?.iter().map(choice).collect::<Option<_>>()?;
        Some(Tuning { adapter: text("adapter")?, driver: text("driver")?, contractions })
    }
}

fn parse(text: &str) -> Result<Vec<Tuning>> {
    let value: Value = serde_json::from_str(text).map_err(|e| Error::value(format!("not JSON: {e}")))?;
    let wrong = || Error::value(format!("not a {FORMAT} file; run `ibex tune` again"));
    if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(wrong());
    }
    let devices = value.get("devices").and_then(Value::as_array).ok_or_else(wrong)?;
    devices.iter().map(|d| Tuning::from_json(d).ok_or_else(wrong)).collect()
}

#[cfg(not(target_arch = "wasm32"))]
pub use measure::tune;

#[cfg(not(target_arch = "wasm32"))]
mod measure {
    use super::{Contractions, Extent, Tuning};
    use crate::adapter;
    use crate::{Options, WgpuBackend};
    use ibex_core::backend::{Backend, Buffer, block_on};
    use ibex_core::program::{
        Body, BufferDecl, BufferId, Instr, Kernel, KernelKind, MatMul, Operand, Program, Role, Store, ValueId, View,
    };
    use ibex_core::{DType, Result, Shape};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Measures every kernel on contractions of many sizes, on adapter number `index`. One that is wrong anywhere is left out, and told to
    /// `progress` like everything else.
    ///
    /// # Errors
    /// What opening the adapter gives.
    pub fn tune(index: usize, progress: &mut dyn FnMut(&str)) -> Result<Tuning> {
        let open = |contractions| {
            WgpuBackend::open_blocking(index, Options { contractions: Some(contractions), ..Options::default() })
        };
        let plain = open(Contractions::Tiled)?;
        let info = plain.device.info.clone();
        let mut candidates = Vec::new();
        for kernel in Contractions::ALL.into_iter().filter(|k| k.runs_on(&plain.device.traits)) {
            let backend = open(kernel)?;
            match [[1, 37, 45, 70], [2, 130, 128, 64]]
                .iter()
                .try_for_each(|&[z, m, n, k]| run(&backend, Extent { z, m, n, k }, true, Duration::ZERO).map(drop))
            {
                Ok(()) => candidates.push((kernel, backend)),
                Err(e) => progress(&format!("{} is left out: {e}", kernel.name())),
            }
        }
        let mut contractions = Vec::new();
        let sizes = [64, 256, 1024, 4096];
        let most = if plain.is_software() { 1u64 << 28 } else { 1 << 38 };
        for (m, n, k) in sizes.iter().flat_map(|m| sizes.iter().flat_map(move |n| sizes.map(|k| (*m, *n, k)))) {
            if 2 * (m * n * k) as u64 > most {
                continue;
            }
            let e = Extent { z: 1, m, n, k };
            let mut best: Option<(Contractions, Duration)> = None;
            for (kernel, backend) in &candidates {
                match run(backend, e, false, Duration::from_millis(40)) {
                    Ok(time) if best.is_none_or(|b| time < b.1) => best = Some((*kernel, time)),
                    Ok(_) => {}
                    Err(error) => progress(&format!("{m} x {n} x {k}, {}: {error}", kernel.name())),
                }
            }
            if let Some((kernel, time)) = best {
                let speed = 2.0 * (m * n * k) as f64 / time.as_secs_f64() / 1e9;
                progress(&format!("{m} x {n} x {k}: {} at {speed:.0} GFLOP/s", kernel.name()));
                contractions.push((e, kernel));
            }
        }
        Ok(Tuning { adapter: info.name.clone(), driver: adapter::driver(&info), contractions })
    }

    /// Number `i` of an operand, in -1..1 and exact in every float type.
    fn number(i: usize, seed: u32) -> f32 {
        let word = ibex_core::random::threefry([5, seed], [i as u32, 0])[0];
        (word >> 24) as f32 / 128.0 - 1.0
    }

    /// The time of one product, measured over about `budget`; its result is compared with `f64`, everywhere or here and there.
    fn run(backend: &WgpuBackend, e: Extent, everywhere: bool, budget: Duration) -> Result<Duration> {
        let Extent { z, m, n, k } = e;
        let operand = |buffer, rows: usize, columns: usize| Operand {
            buffer: BufferId(buffer),
            dtype: DType::F32,
            offset: 0,
            batch_stride: rows * columns,
            row_stride: columns,
            col_stride: 1,
        };
        let dims = [z, m, n];
        let store = Store { value: ValueId(0), buffer: BufferId(2), dtype: DType::F32, view: View::contiguous(&dims) };
        let epilogue = Body { instrs: vec![Instr::Acc], stores: vec![store], ..Body::default() };
        let kind = KernelKind::MatMul(MatMul { batch: z, m, n, k, a: operand(0, m, k), b: operand(1, k, n), epilogue });
        let sizes = [z * m * k, z * k * n, z * m * n];
        let mut program = Program::default();
        for (i, &len) in sizes.iter().enumerate() {
            let role = if i < 2 { Role::Input(i) } else { Role::Output(0) };
            program.buffers.push(BufferDecl { role, dtype: DType::F32, shape: Shape::from(&[len][..]) });
        }
        program.kernels = vec![Kernel { kind, label: "matmul".into(), flops: 0, bytes: 0 }];
        let mut buffers: Vec<Arc<dyn Buffer>> = Vec::new();
        let values: Vec<Vec<f32>> = (0..2u32).map(|b| (0..sizes[b as usize]).map(|i| number(i, b)).collect()).collect();
        for (b, &len) in sizes.iter().enumerate() {
            let buffer = backend.allocate(4 * len)?;
            let bytes: Vec<u8> = values.get(b).into_iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
            backend.write(&buffer, bytes.len(), &mut |to| to.copy_from_slice(&bytes))?;
            buffers.push(buffer);
        }
        let executable = backend.load(Arc::new(program))?;
        let wait = || block_on(backend.read(&buffers[2], 0..4)).map(drop);
        executable.run(&buffers)?;
        let bytes = block_on(backend.read(&buffers[2], 0..4 * sizes[2]))?;
        let got = |i: usize| f32::from_le_bytes([0, 1, 2, 3].map(|b| bytes[4 * i + b]));
        let step = if everywhere { 1 } else { (sizes[2] / 61).max(1) | 1 };
        for at in (0..sizes[2]).step_by(step) {
            let (batch, row, column) = (at / (m * n), at / n % m, at % n);
            let term = |i: usize| {
                f64::from(values[0][(batch * m + row) * k + i]) * f64::from(values[1][(batch * k + i) * n + column])
            };
            let want: f64 = (0..k).map(term).sum();
            let close = (f64::from(got(at)) - want).abs() <= 1e-5 * (k as f64).sqrt().max(1.0) * (1.0 + want.abs());
            if !close {
                let what = format!("element {at} of {z} x {m} x {n} x {k} is {}, not {want}", got(at));
                return Err(ibex_core::Error::device(what));
            }
        }
        let (started, mut best) = (Instant::now(), Duration::MAX);
        while started.elapsed() < budget {
            let start = Instant::now();
            executable.run(&buffers)?;
            executable.run(&buffers)?;
            wait()?;
            best = best.min(start.elapsed() / 2);
        }
        Ok(best)
    }
}
