//! A few operations of ggml's, tried out on the processor: what a kernel does is computed, and not believed.

use std::ffi::c_void;
use std::ptr;

use llama_cpp_sys_2 as sys;

/// Tensors and a graph on ggml's processor backend, computed by one thread. A trial has tensors made in its
/// [`context`](Self::context), operations on them [`wanted`](Self::want), room for all of these
/// [`made`](Self::allocate), tensors [`set`](Self::set), and is then [`computed`](Self::compute) and
/// [`read`](Self::read).
pub(crate) struct Trial {
    graph: *mut sys::ggml_cgraph,
    // Freed in this order.
    buffer: Option<Guard<sys::ggml_backend_buffer>>,
    context: Guard<sys::ggml_context>,
    backend: Guard<sys::ggml_backend>,
}

impl Trial {
    /// With room for so many tensors. `None` where there is no processor backend, or no memory.
    pub(crate) fn new(tensors: usize) -> Option<Self> {
        // SAFETY: says sizes.
        let mem_size = unsafe { tensors * sys::ggml_tensor_overhead() + sys::ggml_graph_overhead() };
        let params = sys::ggml_init_params { mem_size, mem_buffer: ptr::null_mut(), no_alloc: true };
        // SAFETY: what is made is freed once, by the guards, and the graph with its context.
        unsafe {
            let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
            if device.is_null() {
                return None;
            }
            let backend =
                Guard::new(sys::ggml_backend_dev_init(device, ptr::null()), sys::ggml_backend_free)?;
            one_thread(device, backend.0);
            let context = Guard::new(sys::ggml_init(params), sys::ggml_free)?;
            Some(Self { graph: sys::ggml_new_graph(context.0), buffer: None, context, backend })
        }
    }

    pub(crate) fn context(&self) -> *mut sys::ggml_context {
        self.context.0
    }

    /// Has a tensor computed.
    ///
    /// # Safety
    ///
    /// It was made in the context of this trial.
    pub(crate) unsafe fn want(&self, tensor: *mut sys::ggml_tensor) {
        // SAFETY: as the caller promises.
        unsafe { sys::ggml_build_forward_expand(self.graph, tensor) }
    }

    /// Makes room for the numbers of all tensors.
    pub(crate) fn allocate(&mut self) -> Option<()> {
        // SAFETY: of this context and backend, which live longer.
        let buffer = unsafe { sys::ggml_backend_alloc_ctx_tensors(self.context.0, self.backend.0) };
        self.buffer = Some(Guard::new(buffer, sys::ggml_backend_buffer_free)?);
        Some(())
    }

    /// Gives a tensor its numbers.
    ///
    /// # Safety
    ///
    /// The tensor is one of the trial's, after [`Trial::allocate`], and holds at least so many bytes of these numbers.
    pub(crate) unsafe fn set<T: Copy>(&self, tensor: *mut sys::ggml_tensor, numbers: &[T]) {
        // SAFETY: as the caller promises.
        unsafe { sys::ggml_backend_tensor_set(tensor, numbers.as_ptr().cast(), 0, size_of_val(numbers)) }
    }

    /// Computes what was wanted. Whether it could be.
    pub(crate) fn compute(&self) -> bool {
        // SAFETY: graph and backend are this trial's, and it is computed when this returns.
        unsafe { sys::ggml_backend_graph_compute(self.backend.0, self.graph) == sys::GGML_STATUS_SUCCESS }
    }

    /// The numbers of a tensor.
    ///
    /// # Safety
    ///
    /// The tensor is one of the trial's, after [`Trial::compute`], and holds at least so many F32 numbers.
    pub(crate) unsafe fn read(&self, tensor: *const sys::ggml_tensor, count: usize) -> Vec<f32> {
        let mut numbers = vec![0.0_f32; count];
        let bytes = size_of_val(numbers.as_slice());
        // SAFETY: as the caller promises; the vector has room for as much.
        unsafe { sys::ggml_backend_tensor_get(tensor, numbers.as_mut_ptr().cast::<c_void>(), 0, bytes) };
        numbers
    }
}

/// Numbers of several magnitudes, so that the order of additions shows. Knuth's multiplicative hash.
pub(crate) fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let hash = |at: usize| (at as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_right(11) % 8191;
    (0..count).map(|at| (hash(at) as f32 - 4095.0) / (1 << (at % 13)) as f32).collect()
}

/// Whether numbers are the same to the bit.
pub(crate) fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Threads would only wait for one another. The function is the backend's own, which may be a library of its own.
///
/// # Safety
///
/// The backend is one of the device.
unsafe fn one_thread(device: sys::ggml_backend_dev_t, backend: sys::ggml_backend_t) {
    // SAFETY: a name with a terminator; what is found by this name has this type.
    unsafe {
        let registry = sys::ggml_backend_dev_backend_reg(device);
        let found = sys::ggml_backend_reg_get_proc_address(registry, c"ggml_backend_set_n_threads".as_ptr());
        let set: sys::ggml_backend_set_n_threads_t = std::mem::transmute(found);
        if let Some(set) = set {
            set(backend, 1);
        }
    }
}

/// What is freed at the end, however it is reached.
struct Guard<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Guard<T> {
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!pointer.is_null()).then_some(Self(pointer, free))
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: made by whom it is freed by, and by nobody else.
        unsafe { (self.1)(self.0) }
    }
}
