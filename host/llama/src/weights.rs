//! The weights of a model and its vocabulary, as llama.cpp holds them: immutable, and shared by a context and any
//! number of threads that tokenise.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::vocab::LlamaVocab;
use llama_cpp_sys_2 as sys;

use crate::{Error, Options, backend, log};

/// A loaded model.
pub(crate) struct Weights {
    model: LlamaModel,
}

impl Weights {
    /// Reads a file, or its vocabulary alone. `progress` sees the part done, 0 to 1, and says whether to go on.
    pub(crate) fn load(
        options: &Options,
        vocabulary_only: bool,
        progress: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Arc<Self>, Error> {
        let backend = backend::backend()?;
        let path = &options.path;
        let open = |source| Error::Open { path: path.clone(), source };
        if std::fs::metadata(path).map_err(open)?.is_dir() {
            return Err(open(std::io::ErrorKind::IsADirectory.into()));
        }
        std::fs::File::open(path).map_err(open)?;
        if path.to_str().is_none_or(|path| path.contains('\0')) {
            let cause = "llama.cpp takes only file names that are UTF-8 without a NUL".to_owned();
            return Err(Error::Options { path: path.clone(), cause });
        }

        let mut outcome = Outcome::Running;
        let mut guarded = |part: f32| match catch_unwind(AssertUnwindSafe(|| progress(part))) {
            Ok(true) => true,
            Ok(false) => {
                outcome = Outcome::Cancelled;
                false
            }
            // It must not unwind through C++; it goes on below.
            Err(panic) => {
                outcome = Outcome::Panicked(panic);
                false
            }
        };
        let (model, cause) =
            log::complaints(|| load_guarded(backend, options, vocabulary_only, &mut guarded));
        match (model, outcome) {
            (_, Outcome::Panicked(panic)) => resume_unwind(panic),
            (Some(model), _) => Ok(Arc::new(Self { model })),
            (None, Outcome::Cancelled) => Err(Error::Cancelled { path: path.clone() }),
            (None, Outcome::Running) => Err(Error::Load { path: path.clone(), cause }),
        }
    }

    /// The model, for what llama-cpp-2 knows of it.
    pub(crate) fn model(&self) -> &LlamaModel {
        &self.model
    }

    /// Its vocabulary.
    pub(crate) fn vocab(&self) -> LlamaVocab<'_> {
        self.model.vocab()
    }

    /// The value of a metadata key, as text.
    pub(crate) fn metadata(&self, key: &str) -> Option<String> {
        self.model.meta_val_str(key).ok()
    }

    /// The architecture: `llama`, `qwen2`, …
    pub(crate) fn architecture(&self) -> String {
        self.metadata("general.architecture").unwrap_or_default()
    }

    /// A number in the metadata, under the architecture's own prefix.
    pub(crate) fn number(&self, key: &str) -> Option<u32> {
        self.metadata(&format!("{}.{key}", self.architecture()))?.parse().ok()
    }

    /// The tokens of a sliding window, where layers have one.
    pub(crate) fn sliding_window(&self) -> Option<u32> {
        // SAFETY: a plain getter on a model that lives as long as `self`.
        let window = unsafe { sys::llama_model_n_swa(self.raw()) };
        u32::try_from(window).ok().filter(|&window| window > 0)
    }

    /// The pointer that llama.cpp itself uses. Valid as long as `self`.
    pub(crate) fn raw(&self) -> *mut sys::llama_model {
        const { assert!(size_of::<LlamaModel>() == size_of::<*mut sys::llama_model>()) };
        // SAFETY: `LlamaModel` is repr(transparent) over a repr(transparent) wrapper of this non-null pointer, in
        // the one version that this crate is pinned to, and offers no other way to it.
        unsafe { *std::ptr::from_ref(&self.model).cast::<*mut sys::llama_model>() }
    }
}

/// How the progress callback ended.
enum Outcome {
    Running,
    Cancelled,
    Panicked(Box<dyn Any + Send>),
}

fn load_guarded(
    backend: &llama_cpp_2::llama_backend::LlamaBackend,
    options: &Options,
    vocabulary_only: bool,
    progress: &mut (dyn FnMut(f32) -> bool + '_),
) -> Option<LlamaModel> {
    // SAFETY: only the lifetime changes. The one copy of this reference goes into `params`, which is dropped before
    // this function returns, and llama.cpp calls it only while it loads.
    let progress = unsafe {
        std::mem::transmute::<
            &mut (dyn FnMut(f32) -> bool + '_),
            &'static mut (dyn FnMut(f32) -> bool + 'static),
        >(progress)
    };
    let mut params = LlamaModelParams::default();
    if let Some(names) = &options.devices {
        params = params.with_devices(&backend::indices(names)).ok()?;
    }
    let params = params
        .with_n_gpu_layers(options.gpu_layers.unwrap_or(0))
        .with_vocab_only(vocabulary_only)
        .with_use_mmap(options.memory_map)
        .with_use_mlock(options.lock_memory)
        .with_progress_callback(progress);
    let model = LlamaModel::load_from_file(backend, &options.path, &params).ok();
    drop(params);
    model
}
