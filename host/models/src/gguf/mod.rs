//! GGUF files: reading with every byte checked before llama.cpp sees it, and writing.
//!
//! llama.cpp stops the whole process on some damaged files. [`check`] finds these, and everything else that can be
//! known without the weights, and says what is wrong where:
//!
//! ```no_run
//! let model = minerva_models::gguf::check("model.gguf".as_ref())?;
//! println!("{:?} with {} tensors", model.architecture(), model.tensors().len());
//! # Ok::<(), minerva_models::gguf::Error>(())
//! ```

mod check;
mod error;
mod file;
mod read;
mod value;
pub mod write;

pub use error::Error;
pub use file::{Gguf, TensorInfo};
pub use value::{Array, Kind, Value};

/// Opens the file of a model, with the other files of a split one, and checks that it makes sense.
///
/// # Errors
///
/// When it cannot be read, is damaged, or is not a model.
pub fn check(path: &std::path::Path) -> Result<Gguf, Error> {
    let gguf = Gguf::open_model(path)?;
    check::check(&gguf)?;
    Ok(gguf)
}
