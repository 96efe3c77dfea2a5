//! Whether the kernels that compute a model give the same bits however many tokens are computed together.
//!
//! What was found on x86-64, one stream per slot (`tests/llama/invariance.rs` finds it anew):
//!
//! - Weights in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and IQ4_NL: exact, with the matrix products that this
//!   repository's build chooses (`kernels/products.h`). In a build without that header llamafile's are used wherever
//!   they can be: with these a single token is added up in another order than two or more, also in attention, so that
//!   any model, be its weights what they may, gives other bits for a prompt that is cut so that a token is left over.
//! - Attention: exact with the flash attention of `kernels/attention.h`, and as several operations; ggml's own flash
//!   attention is not. `attention` tries out which one a build has.
//! - The K types and IQ4_XS: not exact. From eight tokens on they are unpacked into tiles of their own; Q2_K and Q4_K
//!   are repacked, for kernels that differ between one token, four, and more.
//!
//! Elsewhere nothing was tried, and nothing is claimed: neither on other processors nor on those with AMX, which has
//! kernels of its own.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::path::Path;

use llama_cpp_sys_2 as sys;

use crate::{TensorType, products};

/// Why the kernels for a file's weights may not be exact; `None` where they are known to be.
pub(crate) fn obstacle(path: &Path) -> Option<String> {
    use TensorType as T;
    let exact = |kind: &T| {
        matches!(kind, T::F32 | T::F16 | T::Bf16 | T::Q4_0 | T::Q4_1 | T::Q5_0 | T::Q5_1 | T::Q8_0 | T::Iq4Nl)
    };
    if !cfg!(target_arch = "x86_64") {
        return Some("a processor whose kernels nobody has tried".to_owned());
    }
    if has_amx() {
        return Some("a processor with AMX, whose kernels nobody has tried".to_owned());
    }
    let Some(types) = types(path) else {
        return Some("a file in several parts, or with weights of unknown types".to_owned());
    };
    let mut inexact: Vec<&str> = types.iter().filter(|kind| !exact(kind)).map(|kind| kind.name()).collect();
    inexact.sort_unstable();
    inexact.dedup();
    if !inexact.is_empty() {
        return Some(format!("weights of type {}", inexact.join(", ")));
    }
    // Attention is in F16.
    let computed = types.iter().chain([&T::F16]).collect::<BTreeSet<_>>();
    let differs = computed.into_iter().find(|kind| products::same_alone(**kind) != Some(true))?;
    Some(format!(
        "a build whose matrix products of {} differ for one token and several (made without host/llama/kernels/products.h)",
        differs.name()
    ))
}

/// Whether ggml computes with AMX. Its processor backend is asked: it may be a library of its own.
fn has_amx() -> bool {
    // SAFETY: names with a terminator; what is found by this name has this type, and its list, which is never freed,
    // ends with an empty name.
    unsafe {
        let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
        if device.is_null() {
            return false;
        }
        let registry = sys::ggml_backend_dev_backend_reg(device);
        let found = sys::ggml_backend_reg_get_proc_address(registry, c"ggml_backend_get_features".as_ptr());
        let features: sys::ggml_backend_get_features_t = std::mem::transmute(found);
        let mut feature = features.map_or(std::ptr::null_mut(), |features| features(registry));
        while !feature.is_null() && !(*feature).name.is_null() {
            if CStr::from_ptr((*feature).name) == c"AMX_INT8" {
                return CStr::from_ptr((*feature).value) == c"1";
            }
            feature = feature.add(1);
        }
        false
    }
}

/// The types of the weights in a file, if it can be read and is whole: of a split model it has but a part.
fn types(path: &Path) -> Option<Vec<TensorType>> {
    let path = CString::new(path.to_str()?).ok()?;
    let params = sys::gguf_init_params { no_alloc: true, ctx: std::ptr::null_mut() };
    // SAFETY: a string with a terminator, and no context to fill: only the header is read, into memory that is freed
    // below. The indices are those that the header has.
    unsafe {
        let header = sys::gguf_init_from_file(path.as_ptr(), params);
        if header.is_null() {
            return None;
        }
        let whole = sys::gguf_find_key(header, c"split.count".as_ptr()) < 0;
        let ids = (0..sys::gguf_get_n_tensors(header)).map(|index| sys::gguf_get_tensor_type(header, index));
        let types = whole.then(|| ids.map(TensorType::from_id).collect()).flatten();
        sys::gguf_free(header);
        types
    }
}
