//! The same device with other limits.

use ibex_core::backend::{Backend, BoxFuture, Buffer, Caps, Counters, DeviceInfo, Executable};
use ibex_core::program::{KernelKind, Program};
use ibex_core::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// A backend that hands everything on to another one, but reports other capabilities to the compiler.
#[derive(Debug)]
pub struct WithCaps<B> {
    inner: B,
    caps: Caps,
}

impl<B: Backend> WithCaps<B> {
    /// `inner`, with its capabilities changed.
    pub fn new(inner: B, change: impl FnOnce(&mut Caps)) -> WithCaps<B> {
        let mut caps = inner.caps();
        change(&mut caps);
        WithCaps { inner, caps }
    }

    /// `inner` without fusion: every primitive is a kernel of its own.
    pub fn unfused(inner: B) -> WithCaps<B> {
        WithCaps::new(inner, |caps| caps.fuse = false)
    }
}

/// A change of capabilities.
pub type Change = fn(&mut Caps);

/// The limits under which a compiler must still make right programs, by name. All are within what every device has.
pub fn variants() -> [(&'static str, Change); 5] {
    [
        ("fused", |_| {}),
        ("unfused", |caps| caps.fuse = false),
        ("4 bindings", |caps| caps.max_bindings = 4),
        ("epilogues of 5 bindings", |caps| caps.max_epilogue_bindings = 5),
        ("split reductions", |caps| (caps.split_elements, caps.split_outputs) = (256, 64)),
    ]
}

impl<B: Backend> Backend for WithCaps<B> {
    fn info(&self) -> DeviceInfo {
        self.inner.info()
    }
    fn caps(&self) -> Caps {
        self.caps
    }
    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Buffer>> {
        self.inner.allocate(bytes)
    }
    fn write(&self, buffer: &Arc<dyn Buffer>, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        self.inner.write(buffer, bytes, fill)
    }
    fn read(&self, buffer: &Arc<dyn Buffer>, range: Range<usize>) -> BoxFuture<'static, Result<Vec<u8>>> {
        self.inner.read(buffer, range)
    }
    fn copy(&self, from: &Arc<dyn Buffer>, to: &Arc<dyn Buffer>, bytes: usize) -> Result<()> {
        self.inner.copy(from, to, bytes)
    }
    fn load(&self, program: Arc<Program>) -> Result<Box<dyn Executable>> {
        for kernel in &program.kernels {
            // An LSTM's gradient has six buffers of its own.
            let limit = match kernel.kind {
                KernelKind::Loop(_) => self.caps.max_bindings,
                _ => self.caps.max_bindings.max(6),
            };
            let mut touched = [kernel.kind.reads(), kernel.kind.writes()].concat();
            touched.sort();
            touched.dedup();
            if touched.len() > limit {
                let text = format!("kernel {} touches {} buffers, {limit} are allowed", kernel.label, touched.len());
                return Err(Error::device(text));
            }
        }
        self.inner.load(program)
    }
    fn counters(&self) -> Counters {
        self.inner.counters()
    }
    fn reads_are_free(&self) -> bool {
        self.inner.reads_are_free()
    }
}
