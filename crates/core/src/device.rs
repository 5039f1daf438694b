//! A device as users hold it: opened once, shared by handles, evaluating tensors.

#[cfg(not(target_arch = "wasm32"))]
use crate::Element;
use crate::backend::{Backend, Buffer, Counters, DeviceInfo};
use crate::function::{Arg, Plan};
use crate::graph::{Graph, Op};
use crate::tensor::{Memory, Stored, Tensor};
use crate::{Data, Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

/// How many evaluated graphs a device remembers the plans of.
const PLANS: usize = 256;

/// A handle to an open device. Clones share it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    backend: Box<dyn Backend>,
    plans: Mutex<HashMap<Graph, Arc<Plan>>>,
}

impl Device {
    /// The device that a backend drives.
    pub fn new(backend: impl Backend) -> Device {
        Device(Arc::new(Inner { backend: Box::new(backend), plans: Mutex::default() }))
    }

    /// What it is.
    pub fn info(&self) -> DeviceInfo {
        self.0.backend.info()
    }

    /// What it did so far.
    pub fn counters(&self) -> Counters {
        self.0.backend.counters()
    }

    /// The backend that drives it.
    pub fn backend(&self) -> &dyn Backend {
        &*self.0.backend
    }

    /// Computes tensors in one program; the results stay in device memory. Plans are remembered by the structure and the shapes of the
    /// graph.
    ///
    /// # Errors
    /// The error of a poisoned tensor; whatever the device reports.
    pub fn eval(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut leaves: Vec<Tensor> = Vec::new();
        for tensor in tensors {
            tensor.check()?;
        }
        let mut argument: Option<Tensor> = None;
        let graph = Graph::from_tensors(tensors, &[], |leaf| match leaf.op() {
            Op::Input(i) => {
                argument = Some(leaf.clone());
                Op::Input(*i)
            }
            // Numbers come as arguments, so that a graph over other numbers has the same plan.
            Op::Constant(_) | Op::Stored(_) => {
                leaves.push(leaf.clone());
                Op::Input(leaves.len() - 1)
            }
            op => op.clone(),
        });
        if let Some(argument) = argument {
            let shape = argument.shape();
            return Err(Error::value(format!(
                "eval: argument {shape} of a traced function has no value outside of it"
            )));
        }
        let known = self.plans().get(&graph).cloned();
        let plan = match known {
            Some(plan) => plan,
            None => {
                let plan = Arc::new(Plan::new(self, graph.clone())?);
                let mut plans = self.plans();
                if plans.len() >= PLANS {
                    plans.clear();
                }
                plans.insert(graph, plan.clone());
                plan
            }
        };
        let mut args: Vec<Arg> = leaves.iter().map(|t| Arg::Tensor(t.clone())).collect();
        plan.run(&mut args)
    }

    /// The numbers of a tensor, computed if need be.
    ///
    /// # Errors
    /// As [`Device::eval`].
    pub async fn read(&self, tensor: &Tensor) -> Result<Data> {
        let tensor = tensor.check()?.clone();
        if let Some(data) = tensor.data() {
            return Ok(Data::clone(data));
        }
        self.computed(&tensor)?.read(0..tensor.shape().elements(), tensor.dtype()).await
    }

    /// The memory that holds a tensor's value, computed if need be.
    fn computed(&self, tensor: &Tensor) -> Result<Stored> {
        let held = match tensor.op() {
            Op::Stored(_) => tensor.clone(),
            _ => self.eval(std::slice::from_ref(tensor))?.remove(0),
        };
        match held.op() {
            Op::Stored(stored) => Ok(stored.clone()),
            _ => Err(Error::device("eval did not store its result")),
        }
    }

    /// [`Device::read`], waiting for it. Not there in a browser.
    ///
    /// # Errors
    /// As [`Device::eval`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_now(&self, tensor: &Tensor) -> Result<Data> {
        crate::backend::block_on(self.read(tensor))
    }

    /// Hands the numbers of a tensor to `take` in order, at most `most` elements at a time, so that a large tensor needs little host memory;
    /// one that lies in host memory is handed over whole. Not there in a browser.
    ///
    /// # Errors
    /// As [`Device::eval`]; the first of `take`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_parts(&self, tensor: &Tensor, most: usize, mut take: impl FnMut(&Data) -> Result<()>) -> Result<()> {
        let tensor = tensor.check()?;
        if let Some(data) = tensor.data() {
            return take(data);
        }
        let (stored, elements) = (self.computed(tensor)?, tensor.shape().elements());
        for start in (0..elements).step_by(most.max(1)) {
            let part = start..elements.min(start.saturating_add(most.max(1)));
            take(&crate::backend::block_on(stored.read(part, tensor.dtype()))?)?;
        }
        Ok(())
    }

    /// The numbers of a tensor as a vector.
    ///
    /// # Errors
    /// `DType` if the tensor has another element type; as [`Device::eval`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn to_vec<T: Element>(&self, tensor: &Tensor) -> Result<Vec<T>> {
        let (data, site) = (self.read_now(tensor)?, Location::caller());
        let dtype = data.dtype();
        T::unwrap(data)
            .ok_or_else(|| Error::dtype(format!("the tensor holds {dtype}, not {}; cast it first", T::DTYPE)).at(site))
    }

    /// A tensor in this device's memory with the numbers of `tensor`.
    pub(crate) fn upload(&self, data: &Data) -> Result<Arc<dyn Buffer>> {
        let bytes = data.as_bytes();
        let buffer = self.backend().allocate(bytes.len())?;
        if !bytes.is_empty() {
            self.backend().write(&buffer, bytes.len(), &mut |out| out.copy_from_slice(bytes))?;
        }
        Ok(buffer)
    }

    /// A leaf for numbers in device memory.
    pub(crate) fn stored(&self, buffer: Arc<dyn Buffer>, shape: crate::Shape, dtype: crate::DType) -> Tensor {
        let memory = Stored(Arc::new(Memory { device: self.clone(), buffer }));
        Tensor::node(Op::Stored(memory), Vec::new(), shape, dtype, Location::caller())
    }

    /// The buffer that holds the tensor's value here: its own if it lies here already, else a new one.
    pub(crate) fn place(&self, tensor: &Tensor) -> Result<Arc<dyn Buffer>> {
        match tensor.check()?.op() {
            Op::Stored(stored) if stored.0.device == *self => Ok(stored.0.buffer.clone()),
            Op::Stored(stored) => {
                let other = stored.0.device.clone();
                self.upload(&read_across(&other, tensor)?)
            }
            Op::Constant(literal) => self.upload(&literal.0),
            _ => {
                let value = self.eval(std::slice::from_ref(tensor))?.remove(0);
                self.place(&value)
            }
        }
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, HashMap<Graph, Arc<Plan>>> {
        self.0.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn read_across(device: &Device, tensor: &Tensor) -> Result<Data> {
    device.read_now(tensor)
}

#[cfg(target_arch = "wasm32")]
fn read_across(_device: &Device, _tensor: &Tensor) -> Result<Data> {
    Err(Error::unsupported("a tensor of another device must be read with `Device::read(..).await` first in a browser"))
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.info().id)
    }
}
