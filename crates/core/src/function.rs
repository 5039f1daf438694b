//! Compiled functions: traced once for each list of argument shapes, run many times.

use crate::backend::{Buffer, Executable};
use crate::device::Device;
use crate::graph::{Graph, Op};
use crate::program::{Program, Role};
use crate::tensor::{Stored, Tensor, Trace, Variable};
use crate::{DType, Error, Result, Shape, fuse, memory, schedule, simplify};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Compiles a graph for a device.
pub(crate) fn compile(graph: &Graph, caps: &crate::backend::Caps) -> Result<Program> {
    let graph = simplify::simplify(graph, caps);
    let finish = |in_place: bool| -> Result<Program> {
        let fused = fuse::fuse(&graph, caps, in_place)?;
        Ok(memory::plan(&graph, schedule::schedule(&graph, fused)))
    };
    let program = finish(true)?;
    // A variable that could not be overwritten in place takes one buffer more than was counted.
    let fits = program.kernels.iter().all(|k| k.kind.buffers() <= caps.max_bindings);
    if fits { Ok(program) } else { finish(false) }
}

type Traced = dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync;
type Specs = Vec<(Shape, DType)>;
type Externals = Vec<Arc<dyn Buffer>>;
/// Buffers by number of argument.
type Staging = HashMap<usize, Arc<dyn Buffer>>;

/// A function over tensors that is compiled for a device.
///
/// The closure runs once for each new list of argument shapes, to record what it does; each call after that replays the program. Variables it
/// assigns are updated in place on the device.
pub struct Function {
    device: Device,
    traced: Box<Traced>,
    plans: Mutex<HashMap<Specs, Arc<Plan>>>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function(on {}, {} plans)", self.device.info().id, self.plans().len())
    }
}

impl Function {
    /// A function of `N` tensors.
    pub fn new<const N: usize, R: Into<Vec<Tensor>>>(
        device: &Device,
        f: impl Fn([Tensor; N]) -> R + Send + Sync + 'static,
    ) -> Function {
        Function::from_slice(device, move |args: &[Tensor]| {
            let count = args.len();
            let args = <[Tensor; N]>::try_from(args.to_vec());
            let args = args.map_err(|_| Error::value(format!("the function takes {N} arguments, got {count}")))?;
            Ok(f(args).into())
        })
    }

    /// A function of any number of tensors that may fail while it is traced.
    pub fn from_slice(
        device: &Device,
        f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> Function {
        Function { device: device.clone(), traced: Box::new(f), plans: Mutex::default() }
    }

    /// Is this called by the closure of a function, which is being traced? Then tensors have no numbers yet, and what is assigned to a variable happens
    /// each time that the function runs.
    pub fn is_traced() -> bool {
        Trace::runs()
    }

    /// Runs it. Results stay on the device.
    ///
    /// # Errors
    /// What tracing finds (shapes that do not fit, ...); whatever the device reports.
    pub fn call(&self, args: &[&Tensor]) -> Result<Vec<Tensor>> {
        let specs = args.iter().map(|t| Ok((t.check()?.shape().clone(), t.dtype()))).collect::<Result<Specs>>()?;
        let mut list: Vec<Arg> = args.iter().map(|t| Arg::Tensor((*t).clone())).collect();
        self.plan(&specs)?.run(&mut list)
    }

    /// The compiled program for arguments of these shapes and types, compiled now if it is not there.
    ///
    /// # Errors
    /// As [`Function::call`].
    pub fn plan(&self, specs: &[(Shape, DType)]) -> Result<Arc<Plan>> {
        if let Some(plan) = self.plans().get(specs) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(Plan::trace(&self.device, specs, &self.traced)?);
        self.plans().insert(specs.to_vec(), plan.clone());
        Ok(plan)
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<Specs, Arc<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Tensor> for Vec<Tensor> {
    fn from(tensor: Tensor) -> Self {
        vec![tensor]
    }
}

/// An argument of a run.
pub enum Arg<'a> {
    /// A tensor: used where it lies if it is on the device, else copied there.
    Tensor(Tensor),
    /// Writes the argument's bytes straight into device (or staging) memory.
    Fill(&'a mut dyn FnMut(&mut [u8])),
}

impl fmt::Debug for Arg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arg::Tensor(tensor) => tensor.fmt(f),
            Arg::Fill(_) => f.write_str("Fill"),
        }
    }
}

/// A program compiled for one list of argument shapes, with the memory it needs.
pub struct Plan {
    device: Device,
    program: Arc<Program>,
    executable: Box<dyn Executable>,
    /// For every number of a variable role.
    variables: Vec<Variable>,
    /// Variables that the program writes.
    assigned: Vec<bool>,
    constants: Vec<Arc<dyn Buffer>>,
    /// Arguments that the program reads lie before this number; those behind are `captured`.
    arguments: usize,
    /// Device tensors that the traced closure held on to.
    captured: Vec<Stored>,
    outputs: Vec<(Shape, DType)>,
    /// Memory for arguments that come from the host. Held for a whole run: runs of one plan do not overlap.
    staging: Mutex<Staging>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan({} kernels on {})", self.program.kernels.len(), self.device.info().id)
    }
}

impl Plan {
    /// Compiles what `f` does with arguments of the given shapes and types. Variables that it assigns are updated in place by every run.
    ///
    /// # Errors
    /// Those of `f`; the error of a poisoned result; whatever the device reports.
    pub fn trace(
        device: &Device,
        specs: &[(Shape, DType)],
        f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    ) -> Result<Plan> {
        Plan::new(device, Graph::trace(specs, f)?)
    }

    pub(crate) fn new(device: &Device, mut graph: Graph) -> Result<Plan> {
        let outputs = graph.outputs.iter().map(|&id| (graph[id].shape.clone(), graph[id].dtype)).collect();
        let arguments =
            graph.nodes.iter().filter_map(|n| if let Op::Input(i) = n.op { Some(i + 1) } else { None }).max();
        let arguments = arguments.unwrap_or(0);
        let mut captured = Vec::new();
        for node in &mut graph.nodes {
            if let Op::Stored(stored) = &node.op {
                if stored.0.device != *device {
                    let text = "a tensor of another device is used inside of a compiled function; move it first";
                    return Err(Error::device(text));
                }
                captured.push(stored.clone());
                node.op = Op::Input(arguments + captured.len() - 1);
            }
        }
        let program = Arc::new(compile(&graph, &device.backend().caps())?);
        let handles = graph.nodes.iter().filter_map(|n| if let Op::Variable(v) = &n.op { Some(v) } else { None });
        let handles: Vec<&Variable> = handles.chain(graph.updates.iter().map(|u| &u.0)).collect();
        let variables: Vec<Variable> = program
            .variables
            .iter()
            .filter_map(|id| handles.iter().find(|v| v.id() == *id).map(|v| (*v).clone()))
            .collect();
        let assigned = variables.iter().map(|v| graph.updates.iter().any(|(u, _)| u == v)).collect();
        let constants = program.constants.iter().map(|data| device.upload(data)).collect::<Result<_>>()?;
        let executable = device.backend().load(program.clone())?;
        let staging = Mutex::default();
        Ok(Plan {
            device: device.clone(),
            program,
            executable,
            variables,
            assigned,
            constants,
            arguments,
            captured,
            outputs,
            staging,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Runs it. Results stay on the device.
    ///
    /// # Errors
    /// `Shape` or `DType` if an argument does not fit; whatever the device reports.
    pub fn run(&self, args: &mut [Arg]) -> Result<Vec<Tensor>> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let (externals, outputs) = self.bind(args, &mut staging)?;
        self.executable.run(&externals)?;
        Ok(outputs)
    }

    /// Runs it and measures every kernel, in program order; `None` where the device has no clock.
    ///
    /// # Errors
    /// As [`Plan::run`].
    pub fn profile(&self, args: &mut [Arg]) -> Result<Option<Vec<std::time::Duration>>> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let (externals, _outputs) = self.bind(args, &mut staging)?;
        self.executable.profile(&externals)
    }

    /// The buffers of a run in binding order, and tensors for its results.
    fn bind(&self, args: &mut [Arg], staging: &mut Staging) -> Result<(Externals, Vec<Tensor>)> {
        let backend = self.device.backend();
        let mut externals = Vec::new();
        let mut outputs: Vec<Option<Tensor>> = vec![None; self.outputs.len()];
        for id in self.program.externals() {
            let decl = &self.program[id];
            let bytes = decl.bytes();
            externals.push(match decl.role {
                Role::Input(i) if i >= self.arguments => self.captured[i - self.arguments].0.buffer.clone(),
                Role::Input(i) if i >= args.len() => {
                    return Err(Error::value(format!("argument {i} is missing: got {} arguments", args.len())));
                }
                Role::Input(i) => {
                    let mut host = |fill: &mut dyn FnMut(&mut [u8])| -> Result<Arc<dyn Buffer>> {
                        let buffer = match staging.get(&i) {
                            Some(buffer) => buffer.clone(),
                            None => {
                                let buffer = backend.allocate(bytes)?;
                                staging.insert(i, buffer.clone());
                                buffer
                            }
                        };
                        if bytes > 0 {
                            backend.write(&buffer, bytes, fill)?;
                        }
                        Ok(buffer)
                    };
                    match &mut args[i] {
                        Arg::Fill(fill) => host(fill)?,
                        Arg::Tensor(tensor) => {
                            let (shape, dtype) = (tensor.check()?.shape(), tensor.dtype());
                            if *shape != decl.shape || dtype != decl.dtype {
                                return Err(Error::shape(format!(
                                    "argument {i} is {dtype} {shape}, the compiled function takes {} {}",
                                    decl.dtype, decl.shape
                                )));
                            }
                            match tensor.data() {
                                Some(data) => host(&mut |out| out.copy_from_slice(data.as_bytes()))?,
                                None => self.device.place(tensor)?,
                            }
                        }
                    }
                }
                Role::Variable(i) => self.variable(&self.variables[i], self.assigned[i])?,
                Role::Constant(i) => self.constants[i].clone(),
                Role::Output(i) => {
                    let (shape, dtype) = self.outputs[i].clone();
                    let buffer = backend.allocate(bytes)?;
                    outputs[i] = Some(self.device.stored(buffer.clone(), shape, dtype));
                    buffer
                }
                Role::Temp(_) => continue,
            });
        }
        let outputs: Vec<Tensor> = outputs.into_iter().flatten().collect();
        Ok((externals, outputs))
    }

    /// The memory of a variable. What is written must be the variable's alone: whoever holds a snapshot keeps the old memory.
    fn variable(&self, variable: &Variable, assigned: bool) -> Result<Arc<dyn Buffer>> {
        let mut value = variable.lock();
        if let Op::Stored(stored) = value.op()
            && stored.0.device == self.device
            && !(assigned && value.is_shared())
        {
            return Ok(stored.0.buffer.clone());
        }
        let backend = self.device.backend();
        let bytes = variable.shape().elements() * variable.dtype().size();
        let from = self.device.place(&value)?;
        let buffer = match value.op() {
            Op::Stored(stored) if stored.0.device == self.device => {
                let copy = backend.allocate(bytes)?;
                if bytes > 0 {
                    backend.copy(&from, &copy, bytes)?;
                }
                copy
            }
            _ => from,
        };
        *value = self.device.stored(buffer.clone(), variable.shape().clone(), variable.dtype());
        Ok(buffer)
    }
}
