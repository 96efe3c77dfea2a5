//! What llama.cpp has once per process: its initialisation, and the devices of this machine.

use std::sync::{Mutex, OnceLock};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};

use crate::{Error, log};

/// Initialises llama.cpp the first time it is called.
pub(crate) fn backend() -> Result<&'static LlamaBackend, Error> {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    static FIRST: Mutex<()> = Mutex::new(());
    if let Some(backend) = BACKEND.get() {
        return Ok(backend);
    }
    // `OnceLock` cannot keep an error from being remembered, so a lock lets only one caller try at a time.
    let _first = FIRST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(backend) = BACKEND.get() {
        return Ok(backend);
    }
    log::install();
    let backend = LlamaBackend::init().map_err(|_| Error::Backend)?;
    Ok(BACKEND.get_or_init(|| backend))
}

/// Something that can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// llama.cpp's name for it: `CUDA0`, `Metal`, `CPU`.
    pub name: String,
    /// What it is in the words of its maker.
    pub description: String,
    /// The backend that drives it: `CUDA`, `Vulkan`, `CPU`.
    pub backend: String,
    /// What kind of device.
    pub kind: DeviceKind,
    /// Bytes of memory, 0 where it does not say.
    pub memory_total: u64,
    /// Bytes of memory that nothing uses now.
    pub memory_free: u64,
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A GPU with memory of its own.
    Gpu,
    /// A GPU that shares the processor's memory.
    IntegratedGpu,
    /// A helper of the processor, such as a BLAS library.
    Accelerator,
    /// llama.cpp does not say.
    Other,
}

/// The devices of this machine that this build of llama.cpp can use, in its order.
///
/// # Errors
///
/// [`Error::Backend`].
pub fn devices() -> Result<Vec<Device>, Error> {
    backend()?;
    let list = list_llama_ggml_backend_devices().into_iter().map(|device| Device {
        name: device.name,
        description: device.description,
        backend: device.backend,
        kind: match device.device_type {
            LlamaBackendDeviceType::Cpu => DeviceKind::Cpu,
            LlamaBackendDeviceType::Gpu => DeviceKind::Gpu,
            LlamaBackendDeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
            LlamaBackendDeviceType::Accelerator => DeviceKind::Accelerator,
            LlamaBackendDeviceType::Unknown => DeviceKind::Other,
        },
        memory_total: device.memory_total as u64,
        memory_free: device.memory_free as u64,
    });
    Ok(list.collect())
}

/// The GPUs among the devices, all or those of some names.
pub(crate) fn gpus(names: Option<&[String]>) -> Result<Vec<Device>, Error> {
    let mut devices = devices()?;
    devices.retain(|device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu));
    devices.retain(|device| names.is_none_or(|names| names.contains(&device.name)));
    Ok(devices)
}

/// The places of some devices in llama.cpp's list.
pub(crate) fn indices(names: &[String]) -> Vec<usize> {
    let devices = list_llama_ggml_backend_devices().into_iter();
    devices.filter(|device| names.contains(&device.name)).map(|device| device.index).collect()
}

/// Whether this program was built with a backend: a cargo feature, `cuda`, `metal`, `vulkan` or `dynamic-backends`.
#[must_use]
pub fn has_backend(feature: &str) -> bool {
    match feature {
        "cuda" => cfg!(feature = "cuda"),
        "metal" => cfg!(feature = "metal"),
        "vulkan" => cfg!(feature = "vulkan"),
        "dynamic-backends" => cfg!(feature = "dynamic-backends"),
        _ => false,
    }
}

/// llama.cpp's own line on how it was built and what the processor has: `CPU : AVX2 = 1 | AVX512 = 1 | …`.
///
/// # Errors
///
/// [`Error::Backend`].
pub fn system_info() -> Result<String, Error> {
    backend()?;
    Ok(crate::context::system_info())
}
