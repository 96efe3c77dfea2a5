//! Whether the metadata and the tensors of a model make sense together.
//!
//! llama.cpp takes much for granted: with a zero, a negative or a duplicate in the wrong place it stops the process,
//! some of it only at the first token. The rules here are what it takes for granted of every architecture, and the
//! mistakes that damage makes most; what it refuses by itself with a clear word is left to it.

mod network;
mod tensors;
mod tokenizer;

use super::{Error, Gguf};

/// A place in the file and what is wrong with it.
type Problem = (String, String);

fn problem<T>(place: impl Into<String>, what: impl Into<String>) -> Result<T, Problem> {
    Err((place.into(), what.into()))
}

/// Checks a file that has been read.
pub(super) fn check(gguf: &Gguf) -> Result<(), Error> {
    is_model(gguf)?;
    let checked =
        network::check(gguf).and_then(|()| tokenizer::check(gguf)).and_then(|()| tensors::check(gguf));
    checked.map_err(|(place, problem)| gguf.damaged(place, problem))
}

/// Tells models from the other things that come as GGUF.
fn is_model(gguf: &Gguf) -> Result<(), Error> {
    let not =
        |problem: &str| Err(Error::NotModel { path: gguf.path().to_owned(), problem: problem.to_owned() });
    match gguf.text("general.type") {
        Some("adapter") => return not("it is an adapter (LoRA), to be used with the model it was made for"),
        Some("mmproj") => {
            return not("it is the vision or audio part of a model, to be used with the model itself");
        }
        Some("imatrix") => return not("it is an importance matrix, to be used when a model is quantised"),
        _ => {}
    }
    match gguf.architecture() {
        None => Err(gguf.damaged("general.architecture", "is missing, or no text")),
        Some("clip") => not("it is the vision or audio part of a model, to be used with the model itself"),
        Some("") => Err(gguf.damaged("general.architecture", "is empty")),
        Some(_) if gguf.tensors().is_empty() => not("it has no weights, only a vocabulary or metadata"),
        Some(_) => Ok(()),
    }
}
