//! State that outlives a program: parameters, optimizer slots, metric sums.

use super::Tensor;
use crate::backend::Buffer;
use crate::device::Device;
use crate::graph::Op;
use crate::{DType, Data, Error, Result, Shape};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The identity of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VariableId(pub u64);

/// Numbers in a device's memory that nobody writes any more.
#[derive(Clone)]
pub struct Stored(pub(crate) Arc<Memory>);

pub(crate) struct Memory {
    pub device: Device,
    pub buffer: Arc<dyn Buffer>,
}

impl Stored {
    /// Some of the numbers, of a tensor of this type.
    ///
    /// # Errors
    /// Whatever the device reports.
    pub async fn read(&self, elements: Range<usize>, dtype: DType) -> Result<Data> {
        let bytes = elements.start * dtype.size()..elements.end * dtype.size();
        let bytes = self.0.device.backend().read(&self.0.buffer, bytes).await?;
        Data::from_bytes(dtype, &bytes)
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored(on {})", self.0.device.info().id)
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Stored {}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// A named tensor that can be assigned. Clones share the state.
///
/// Outside of a traced function, [`Variable::value`] is a snapshot and [`Variable::assign`] takes effect at once. Inside, reads see
/// what was assigned before them, and the assignments happen on the device, in place, each time the function runs.
#[derive(Clone)]
pub struct Variable(Arc<Inner>);

struct Inner {
    id: VariableId,
    name: String,
    shape: Shape,
    dtype: DType,
    value: Mutex<Tensor>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Variable {
    /// A variable with an initial value, which is not computed before it is needed.
    ///
    /// # Errors
    /// The error that `initial` carries, if it is poisoned.
    pub fn new(name: impl Into<String>, initial: impl Into<Tensor>) -> Result<Variable> {
        let (initial, name) = (initial.into(), name.into());
        initial.check().map_err(|e| e.context(format!("initial value of variable {name}")))?;
        let id = VariableId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let (shape, dtype) = (initial.shape().clone(), initial.dtype());
        Ok(Variable(Arc::new(Inner { id, name, shape, dtype, value: Mutex::new(initial) })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its shape, which never changes.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// Its element type, which never changes.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Its identity.
    pub fn id(&self) -> VariableId {
        self.0.id
    }

    /// Its value: a snapshot, or inside of a traced function the value at this point of a run.
    #[track_caller]
    pub fn value(&self) -> Tensor {
        let site = Location::caller();
        Trace::with(|trace| trace.read(self, site)).unwrap_or_else(|| self.lock().clone())
    }

    /// Gives it a new value: now, or inside of a traced function each time that runs.
    ///
    /// # Errors
    /// `Shape` or `DType` if the value does not fit; the error that a poisoned value carries.
    #[track_caller]
    pub fn assign(&self, value: impl Into<Tensor>) -> Result<()> {
        let value = value.into();
        value.check().map_err(|e| e.context(format!("value assigned to variable {}", self.name())))?;
        if value.shape() != self.shape() || value.dtype() != self.dtype() {
            let text = format!(
                "variable {} is {} {}, the assigned value is {} {}",
                self.name(),
                self.dtype(),
                self.shape(),
                value.dtype(),
                value.shape()
            );
            return Err(Error::shape(text).at(Location::caller()));
        }
        if Trace::with(|trace| trace.write(self, value.clone())).is_none() {
            *self.lock() = value;
        }
        Ok(())
    }

    /// Gives it the numbers of `data`, in the device memory it already has if nobody else holds that.
    ///
    /// # Errors
    /// `Shape` or `DType` if there are not as many numbers as elements, or of another type; whatever the device reports.
    #[track_caller]
    pub fn set(&self, data: &Data) -> Result<()> {
        self.replace(Cow::Borrowed(data))
    }

    /// [`Variable::set`], which copies nothing where the variable has no device memory yet.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn set_owned(&self, data: Data) -> Result<()> {
        self.replace(Cow::Owned(data))
    }

    #[track_caller]
    fn replace(&self, data: Cow<Data>) -> Result<()> {
        if data.len() != self.shape().elements() || data.dtype() != self.dtype() {
            let (name, shape) = (self.name(), self.shape());
            let text =
                format!("variable {name} is {} {shape}; got {} {} numbers", self.dtype(), data.len(), data.dtype());
            return Err(Error::shape(text).at(Location::caller()));
        }
        let mut value = self.lock();
        if let Op::Stored(stored) = value.op()
            && !value.is_shared()
        {
            let bytes = data.as_bytes();
            if bytes.is_empty() {
                return Ok(());
            }
            return stored
                .0
                .device
                .backend()
                .write(&stored.0.buffer, bytes.len(), &mut |out| out.copy_from_slice(bytes));
        }
        *value = Tensor::from_data(data.into_owned(), self.shape());
        Ok(())
    }

    /// The current value outside of any trace.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tensor> {
        // A tensor handle is whole whatever a panicking thread did with it.
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variable({} {} {})", self.name(), self.dtype(), self.shape())
    }
}

impl PartialEq for Variable {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Variable {}

impl Hash for Variable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

/// What a function being traced read and assigned.
#[derive(Default)]
pub(crate) struct Trace {
    values: Vec<(Variable, Tensor)>,
    assigned: Vec<Variable>,
}

thread_local! {
    /// Innermost last: a function may be traced while another is.
    static TRACES: RefCell<Vec<Trace>> = const { RefCell::new(Vec::new()) };
}

impl Trace {
    /// Runs `f` with a fresh trace and returns what was assigned, in order of first assignment.
    pub fn record<T>(f: impl FnOnce() -> T) -> (T, Vec<(Variable, Tensor)>) {
        /// Takes the trace down also when `f` panics.
        struct Guard;
        impl Drop for Guard {
            fn drop(&mut self) {
                TRACES.with_borrow_mut(Vec::pop);
            }
        }
        TRACES.with_borrow_mut(|traces| traces.push(Trace::default()));
        let guard = Guard;
        let result = f();
        let trace = TRACES.with_borrow_mut(|traces| traces.last_mut().map(std::mem::take)).unwrap_or_default();
        drop(guard);
        let updates =
            trace.assigned.iter().filter_map(|v| trace.values.iter().find(|(w, _)| w == v).cloned()).collect();
        (result, updates)
    }

    /// Is a function being traced by this thread?
    pub fn runs() -> bool {
        TRACES.with_borrow(|traces| !traces.is_empty())
    }

    fn with<T>(f: impl FnOnce(&mut Trace) -> T) -> Option<T> {
        TRACES.with_borrow_mut(|traces| traces.last_mut().map(f))
    }

    fn read(&mut self, variable: &Variable, site: &'static Location<'static>) -> Tensor {
        if let Some((_, value)) = self.values.iter().find(|(v, _)| v == variable) {
            return value.clone();
        }
        let op = Op::Variable(variable.clone());
        let value = Tensor::node(op, Vec::new(), variable.shape().clone(), variable.dtype(), site);
        self.values.push((variable.clone(), value.clone()));
        value
    }

    fn write(&mut self, variable: &Variable, value: Tensor) {
        match self.values.iter_mut().find(|(v, _)| v == variable) {
            Some(entry) => entry.1 = value,
            None => self.values.push((variable.clone(), value)),
        }
        if !self.assigned.contains(variable) {
            self.assigned.push(variable.clone());
        }
    }
}
