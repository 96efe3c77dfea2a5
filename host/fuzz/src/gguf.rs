//! Model files: what is damaged is refused before llama.cpp sees it.

use std::fs;

use minerva_models::{gguf, inspect};

/// Checks a file, and looks at all that it tells.
///
/// # Panics
///
/// When an error says nothing.
pub fn check(bytes: &[u8]) {
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("a file");
    fs::write(file.path(), bytes).expect("it can be written");
    if let Ok(gguf) = gguf::Gguf::open(file.path()) {
        let summary = inspect::summarize(&gguf);
        let _ = summary.memory(&inspect::Running::default()).total();
    }
    if let Err(error) = gguf::check(file.path()) {
        assert!(!error.to_string().is_empty());
    }
}
