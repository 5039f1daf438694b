//! Buffers as the engine sees them, and reading them back.

use crate::device::{Device, lock};
use crate::pool::Memory;
use ibex_core::backend::Buffer;
use ibex_core::{Error, Result};
use std::any::Any;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// Device memory that returns to the pool when dropped.
#[derive(Debug)]
pub(crate) struct GpuBuffer {
    memory: Memory,
    bytes: usize,
    pub device: Arc<Device>,
}

impl GpuBuffer {
    pub fn new(device: &Arc<Device>, bytes: usize) -> Result<GpuBuffer> {
        let memory = device.storage.take(device, bytes)?;
        Ok(GpuBuffer { bytes: memory.buffer.size() as usize, memory, device: device.clone() })
    }

    /// Our own type behind the trait, if it belongs to `device`.
    pub fn of<'a>(device: &Device, buffer: &'a Arc<dyn Buffer>) -> Result<&'a GpuBuffer> {
        match buffer.as_any().downcast_ref::<GpuBuffer>() {
            Some(own) if std::ptr::eq(Arc::as_ptr(&own.device), device) => Ok(own),
            _ => Err(ibex_core::backend::foreign_buffer()),
        }
    }

    /// The identity of the memory.
    pub fn id(&self) -> u64 {
        self.memory.id
    }

    pub fn raw(&self) -> &wgpu::Buffer {
        &self.memory.buffer
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.device.storage.give(self.memory.clone());
    }
}

impl Buffer for GpuBuffer {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A staging buffer on its way to the host: given back once unmapped, forgotten if the read is dropped before.
struct Staging {
    device: Arc<Device>,
    memory: Memory,
    mapped: bool,
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.mapped {
            self.device.staging.forget(&self.memory);
            self.memory.buffer.destroy();
        } else {
            self.device.staging.give(self.memory.clone());
        }
    }
}

/// What the mapping callback leaves for the future.
#[derive(Default)]
struct Arrival {
    result: Option<std::result::Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
}

/// Starts the copy of a range to the host; the future waits for it.
pub(crate) fn read(
    device: &Arc<Device>,
    source: &wgpu::Buffer,
    range: Range<usize>,
) -> Result<impl Future<Output = Result<Vec<u8>>> + use<>> {
    device.check()?;
    // Copies and mappings work in whole words.
    let start = range.start & !3;
    let size = (range.end - start).next_multiple_of(4);
    let memory = device.staging.take(device, size)?;
    let mut staging = Staging { device: device.clone(), memory, mapped: false };
    let target = &staging.memory.buffer;
    let index = device.guarded(|| {
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        encoder.copy_buffer_to_buffer(source, start as u64, target, 0, size as u64);
        device.submit(encoder.finish())
    })?;
    device.reads.fetch_add(1, Ordering::Relaxed);
    let arrival = Arc::new(Mutex::new(Arrival::default()));
    let sender = arrival.clone();
    target.map_async(wgpu::MapMode::Read, 0..size as u64, move |result| {
        let waker = {
            let mut arrival = lock(&sender);
            arrival.result = Some(result);
            arrival.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    staging.mapped = true;
    Ok(fetch(staging, arrival, index, range.start - start..range.end - start, size))
}

/// Waits for the mapping and takes the bytes out of it.
async fn fetch(
    mut staging: Staging,
    arrival: Arc<Mutex<Arrival>>,
    index: wgpu::SubmissionIndex,
    range: Range<usize>,
    size: usize,
) -> Result<Vec<u8>> {
    wait(&staging.device, &arrival, index).await?;
    let bytes = {
        let view = staging
            .memory
            .buffer
            .get_mapped_range(0..size as u64)
            .map_err(|e| Error::device(format!("could not read GPU memory: {e}")))?;
        view[range].to_vec()
    };
    staging.memory.buffer.unmap();
    staging.mapped = false;
    Ok(bytes)
}

async fn wait(device: &Device, arrival: &Mutex<Arrival>, index: wgpu::SubmissionIndex) -> Result<()> {
    let result = poll_fn(|context| {
        let ready = || lock(arrival).result.take();
        if let Some(result) = ready() {
            return Poll::Ready(result);
        }
        lock(arrival).waker = Some(context.waker().clone());
        // Natively nobody else may ever ask the device, so this waits for it here; in a browser it does nothing, and the
        // event loop calls back.
        let wait = wgpu::PollType::Wait { submission_index: Some(index.clone()), timeout: None };
        if device.device.poll(wait).is_err() {
            return Poll::Ready(Err(wgpu::BufferAsyncError));
        }
        // Another thread's poll may be about to run the callback; it wakes us.
        ready().map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    match result {
        Ok(()) => Ok(()),
        Err(e) => {
            device.check()?;
            Err(Error::device(format!("could not read GPU memory: {e}")))
        }
    }
}
