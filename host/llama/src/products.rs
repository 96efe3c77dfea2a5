//! What a matrix product gives for one token beside others: it is computed, and the bits are compared.

use std::ffi::c_void;
use std::ptr;

use llama_cpp_sys_2 as sys;

use crate::TensorType;
use crate::quantize::quantize_rows;

/// Long enough for kernels to add up in more than one way, in whole blocks of every type.
const COLUMNS: usize = 512;
/// Rows of weights: whole tiles, without which some kernels leave a product to others.
const ROWS: usize = 48;
/// Tokens: tiles of four, three and less are among them.
const TOKENS: usize = 7;

/// Whether the processor's product of weights of this type with several tokens gives each token the bits that it gets
/// alone. Weights that a backend repacks are not in memory as here, and have kernels of their own: of these it says
/// nothing. `None` where it cannot be tried: ggml does not write the type without an importance matrix, or there is
/// no memory.
pub(crate) fn same_alone(kind: TensorType) -> Option<bool> {
    let weights = quantize_rows(kind, &numbers(1, ROWS * COLUMNS), COLUMNS).ok()?;
    let products = Products::compute(kind, ROWS, &weights, &numbers(2, TOKENS * COLUMNS))?;
    let bits = |row: &[f32]| row.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
    Some(products.all.chunks_exact(ROWS).zip(&products.alone).all(|(a, b)| bits(a) == bits(b)))
}

/// Numbers of several magnitudes, so that the order of additions shows. Knuth's multiplicative hash.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let hash = |at: usize| (at as u32 ^ seed).wrapping_mul(2_654_435_761).rotate_right(11) % 8191;
    (0..count).map(|at| (hash(at) as f32 - 4095.0) / (1 << (at % 13)) as f32).collect()
}

/// The products of [`TOKENS`] tokens with so many rows, token by token.
struct Products {
    all: Vec<f32>,
    alone: Vec<Vec<f32>>,
}

impl Products {
    fn compute(kind: TensorType, rows: usize, weights: &[u8], tokens: &[f32]) -> Option<Self> {
        let nodes = TOKENS * 2 + 3;
        // SAFETY: says sizes.
        let mem_size = unsafe { nodes * sys::ggml_tensor_overhead() + sys::ggml_graph_overhead() };
        let params = sys::ggml_init_params { mem_size, mem_buffer: ptr::null_mut(), no_alloc: true };
        // SAFETY: tensors and graph lie in the context, which has room for as many as are made, and their data in the
        // buffer; both outlive their use and are freed once, by the guards. Sizes given for data are those that the
        // tensors were made with. The graph is computed before this returns, by this backend alone.
        unsafe {
            let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
            if device.is_null() {
                return None;
            }
            let backend =
                Guard::new(sys::ggml_backend_dev_init(device, ptr::null()), |it| sys::ggml_backend_free(it))?;
            one_thread(device, backend.0);
            let context = Guard::new(sys::ggml_init(params), |it| sys::ggml_free(it))?;

            let of = |kind, rows| sys::ggml_new_tensor_2d(context.0, kind, COLUMNS as i64, rows as i64);
            let (a, b) = (of(kind.id(), rows), of(TensorType::F32.id(), TOKENS));
            let graph = sys::ggml_new_graph(context.0);
            let token_bytes = COLUMNS * size_of::<f32>();
            let product = |b| {
                let product = sys::ggml_mul_mat(context.0, a, b);
                sys::ggml_build_forward_expand(graph, product);
                product
            };
            let all = product(b);
            let token =
                |at| sys::ggml_view_2d(context.0, b, COLUMNS as i64, 1, token_bytes, at * token_bytes);
            let alone: Vec<_> = (0..TOKENS).map(|at| product(token(at))).collect();

            let buffer = sys::ggml_backend_alloc_ctx_tensors(context.0, backend.0);
            let _buffer = Guard::new(buffer, |it| sys::ggml_backend_buffer_free(it))?;
            sys::ggml_backend_tensor_set(a, weights.as_ptr().cast(), 0, weights.len());
            sys::ggml_backend_tensor_set(b, tokens.as_ptr().cast(), 0, size_of_val(tokens));
            if sys::ggml_backend_graph_compute(backend.0, graph) != sys::GGML_STATUS_SUCCESS {
                return None;
            }
            let read = |tensor, tokens: usize| {
                let mut numbers = vec![0.0_f32; tokens * rows];
                let bytes = size_of_val(numbers.as_slice());
                sys::ggml_backend_tensor_get(tensor, numbers.as_mut_ptr().cast::<c_void>(), 0, bytes);
                numbers
            };
            Some(Self {
                all: read(all, TOKENS),
                alone: alone.into_iter().map(|tensor| read(tensor, 1)).collect(),
            })
        }
    }
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
struct Guard<T>(*mut T, unsafe fn(*mut T));

impl<T> Guard<T> {
    fn new(pointer: *mut T, free: unsafe fn(*mut T)) -> Option<Self> {
        (!pointer.is_null()).then_some(Self(pointer, free))
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: made by whom it is freed by, and by nobody else.
        unsafe { (self.1)(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_numbers_that_the_weights_stand_for() {
        use TensorType as T;
        let tokens = numbers(2, TOKENS * COLUMNS);
        let kinds = [T::F32, T::F16, T::Bf16, T::Q4_0, T::Q5_0, T::Q8_0, T::Q4K];
        // With rows that are left over from tiles, and without.
        for (kind, rows) in kinds.into_iter().flat_map(|kind| [(kind, ROWS), (kind, ROWS + 5)]) {
            let weights = quantize_rows(kind, &numbers(1, rows * COLUMNS), COLUMNS).expect("weights");
            let products = Products::compute(kind, rows, &weights, &tokens).expect("a processor");
            let mut stands_for = vec![0.0_f32; rows * COLUMNS];
            // SAFETY: as many numbers as the weights were made of.
            unsafe {
                let traits = &*sys::ggml_get_type_traits(kind.id());
                let count = (rows * COLUMNS) as i64;
                match traits.to_float {
                    Some(to_float) => to_float(weights.as_ptr().cast(), stands_for.as_mut_ptr(), count),
                    None => stands_for.copy_from_slice(&numbers(1, rows * COLUMNS)),
                }
            }
            let length = |numbers: &[f32]| numbers.iter().map(|n| f64::from(*n).powi(2)).sum::<f64>().sqrt();
            for (at, found) in products.all.iter().enumerate() {
                let token = &tokens[at / rows * COLUMNS..][..COLUMNS];
                let row = &stands_for[at % rows * COLUMNS..][..COLUMNS];
                let expected: f64 = token.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                // Tokens are rounded to eight bits, where the weights are.
                let error = (f64::from(*found) - expected).abs() / (length(token) * length(row));
                assert!(error < 0.004, "{}, number {at}: {found} and not {expected}", kind.name());
            }
        }
    }
}
