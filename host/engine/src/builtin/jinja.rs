//! The chat template that a model's file carries, in Jinja.

/// A chat template failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the model's chat template failed{}: {message}", .line.map_or_else(String::new, |line| format!(" in line {line}")))]
pub struct Error {
    /// The line of the template, counted from 1.
    pub line: Option<usize>,
    /// What went wrong.
    pub message: String,
}
