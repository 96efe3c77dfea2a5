//! The models that the tests run, written once into a folder that goes with the process.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use minerva_llama::{Llama, Options};
use minerva_models::synthetic::{self, Spec};
use tempfile::TempDir;

/// A file with this model.
pub(crate) fn file(spec: &Spec) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    static WRITING: Mutex<()> = Mutex::new(());
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder"));
    let path = folder.path().join(format!("{}-{}-{}.gguf", spec.name, spec.quantization.name(), spec.width));
    let _one_at_a_time = WRITING.lock();
    if !path.exists() {
        synthetic::write(spec, &path, |_| true).expect("it is written");
    }
    path
}

/// A preset, loaded.
pub(crate) fn preset(name: &str, options: impl FnOnce(&mut Options)) -> Llama {
    load(&Spec::preset(name).expect("a preset"), options)
}

/// A model, loaded with two slots of 512 tokens unless said otherwise.
pub(crate) fn load(spec: &Spec, change: impl FnOnce(&mut Options)) -> Llama {
    // One thread: threads wait for each other at every step, and on a busy machine that takes a hundred times longer
    // than the computation.
    let mut options = Options { slots: 2, context: 512, threads: 1, ..Options::new(file(spec)) };
    change(&mut options);
    minerva_llama::load(&options, |_| true).expect("it loads")
}
