//! The contract between the compiler and a device.

use crate::program::Program;
use crate::{Error, Result};
use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A boxed future; `Send` but in a browser, where nothing is.
#[cfg(not(target_arch = "wasm32"))]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A boxed future; `Send` but in a browser, where nothing is.
#[cfg(target_arch = "wasm32")]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a device is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// `"cpu"`, `"gpu:0"`, ...: what `IBEX_DEVICE` takes.
    pub id: String,
    /// The processor or adapter.
    pub name: String,
    /// Driver, instruction sets, features: one line.
    pub details: String,
}

/// What the compiler must know of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caps {
    /// Buffers one kernel may touch.
    pub max_bindings: usize,
    /// Buffers that a contraction and its epilogue may touch together: with more, what follows the contraction is a kernel of its own.
    pub max_epilogue_bindings: usize,
    /// Bytes of the largest buffer.
    pub max_buffer_bytes: u64,
    /// A full reduction of more elements than this that yields fewer results than [`Caps::split_outputs`] is done in two kernels;
    /// `usize::MAX` where the backend splits by itself.
    pub split_elements: usize,
    /// See [`Caps::split_elements`].
    pub split_outputs: usize,
    /// A [`Store`](crate::program::Store) may have bounds. Then the second step of a split reduction is repeated in the kernel that uses it.
    pub bounded_stores: bool,
    /// False turns fusion off: every primitive a kernel of its own. For tests.
    pub fuse: bool,
}

impl Caps {
    /// A device without limits, which wants nothing split.
    pub(crate) const UNLIMITED: Caps = Caps {
        max_bindings: usize::MAX,
        max_epilogue_bindings: usize::MAX,
        max_buffer_bytes: u64::MAX,
        split_elements: usize::MAX,
        split_outputs: 0,
        bounded_stores: false,
        fuse: true,
    };
}

/// Counts of what a device did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers taken from the operating system or the driver (not from a pool).
    pub allocations: u64,
    /// Command buffers submitted; program runs on the CPU.
    pub submissions: u64,
    /// Kernels started.
    pub dispatches: u64,
    /// Reads from device memory to the host.
    pub reads: u64,
}

/// Device memory. Dropping it returns it to the backend's pool.
pub trait Buffer: Any + Debug + Send + Sync {
    /// For the backend to find its own type again.
    fn as_any(&self) -> &dyn Any;
    /// Its size; at least what was asked for.
    fn bytes(&self) -> usize;
}

/// A device that holds buffers and runs programs. Every method may be called from any thread.
pub trait Backend: Debug + Send + Sync + 'static {
    /// What the device is.
    fn info(&self) -> DeviceInfo;

    /// What the compiler must know.
    fn caps(&self) -> Caps;

    /// Memory with unspecified contents. Zero bytes are allowed.
    ///
    /// # Errors
    /// `OutOfMemory`, or `Device` when the device is lost.
    fn allocate(&self, bytes: usize) -> Result<Arc<dyn Buffer>>;

    /// Lets `fill` write the first `bytes` of `buffer`, after all work that was started before.
    /// What `fill` leaves alone is unspecified.
    ///
    /// # Errors
    /// `Device` when the device is lost; `Value` if the buffer is too small or another device's.
    fn write(&self, buffer: &Arc<dyn Buffer>, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<()>;

    /// The bytes of a range, after all work that was started before. The request is made by the call; the future only waits.
    fn read(&self, buffer: &Arc<dyn Buffer>, range: Range<usize>) -> BoxFuture<'static, Result<Vec<u8>>>;

    /// Copies the first `bytes` from one buffer to another.
    ///
    /// # Errors
    /// As [`Backend::write`].
    fn copy(&self, from: &Arc<dyn Buffer>, to: &Arc<dyn Buffer>, bytes: usize) -> Result<()>;

    /// Prepares a program: pipelines, scratch memory, everything that can be done before the first run.
    ///
    /// # Errors
    /// `OutOfMemory`; `Unsupported` if the device can not run a kernel; `Device` if the driver rejects one.
    fn load(&self, program: Arc<Program>) -> Result<Box<dyn Executable>>;

    /// What the device did so far.
    fn counters(&self) -> Counters;

    /// True if [`Backend::read`] of a few bytes is as cheap as a function call.
    fn reads_are_free(&self) -> bool {
        false
    }
}

/// A program ready to run on one device.
pub trait Executable: Debug + Send + Sync {
    /// Starts one run. `externals` are in the order of [`Program::externals`]; a run with the buffers of the run before allocates
    /// nothing on the device. Runs and reads are ordered as they were started.
    ///
    /// # Errors
    /// `Device` when the device is lost.
    fn run(&self, externals: &[Arc<dyn Buffer>]) -> Result<()>;

    /// Runs once and measures every kernel, in program order; `None` where the device has no clock.
    ///
    /// # Errors
    /// As [`Executable::run`].
    fn profile(&self, externals: &[Arc<dyn Buffer>]) -> Result<Option<Vec<Duration>>>;
}

/// Waits for a future on this thread. Not there in a browser, whose one thread must never wait.
#[cfg(not(target_arch = "wasm32"))]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

/// The error for a buffer of another device.
pub fn foreign_buffer() -> Error {
    Error::value("the buffer belongs to another device; read it to the host first")
}
