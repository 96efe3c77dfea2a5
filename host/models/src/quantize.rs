//! A model file in another type, written whole or not at all.

use std::path::{Path, PathBuf};

use minerva_llama::{FileType, QuantizeOptions, TensorType};

use crate::gguf::{self, Gguf};

/// Why no file was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What is to be quantised is damaged, or no model.
    #[error(transparent)]
    Input(gguf::Error),
    /// There is a file already.
    #[error("{} is there already; take another name, or say that it may be replaced", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The output is the input, or one of its files.
    #[error("{} is what is to be quantised; write to another file", path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
    /// What is quantised already loses twice.
    #[error(
        "{} is quantised already ({}): begin with its F16, BF16 or F32, or say that it may lose twice",
        path.display(),
        kind.name()
    )]
    Requantizes {
        /// The file.
        path: PathBuf,
        /// The type that it has.
        kind: TensorType,
    },
    /// llama.cpp refused.
    #[error(transparent)]
    Llama(minerva_llama::Error),
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was written is not whole, as when the disk is full.
    #[error("what was written is not whole, and was removed; is the disk full?")]
    Broken(#[source] gguf::Error),
}

/// Writes `output` as `input` in another type. It appears there whole, by a rename; until then it is a hidden file
/// beside it, whose path `begun` is told: whoever ends the process before removes it.
///
/// # Errors
///
/// When the input is no model, there is an output already and `replace` is false, llama.cpp refuses, or the output
/// cannot be written.
pub fn quantize(
    input: &Path,
    output: &Path,
    kind: FileType,
    options: &QuantizeOptions,
    replace: bool,
    begun: impl FnOnce(&Path),
    progress: impl FnMut(f32) + 'static,
) -> Result<Gguf, Error> {
    let model = gguf::check(input).map_err(Error::Input)?;
    let same = |path: &Path| std::fs::canonicalize(path).ok().zip(std::fs::canonicalize(output).ok());
    if model.paths().iter().any(|path| same(path).is_some_and(|(one, other)| one == other)) {
        return Err(Error::SameFile { path: output.to_owned() });
    }
    if !replace && output.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: output.to_owned() });
    }
    let plain = |kind: TensorType| matches!(kind, TensorType::F32 | TensorType::F16 | TensorType::Bf16);
    let quantised = model.tensors().iter().find(|tensor| tensor.dimensions.len() > 1 && !plain(tensor.kind));
    if let Some(tensor) = quantised.filter(|_| !options.requantize) {
        return Err(Error::Requantizes { path: input.to_owned(), kind: tensor.kind });
    }

    let failed = |source| Error::Write { path: output.to_owned(), source };
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file =
        tempfile::Builder::new().prefix(".quantize-").suffix(".gguf").tempfile_in(folder).map_err(failed)?;
    begun(file.path());
    minerva_llama::quantize_file(input, file.path(), kind, options, progress).map_err(Error::Llama)?;
    let written = gguf::check(file.path()).map_err(Error::Broken)?;
    crate::open_to_others(file.as_file()).map_err(failed)?;
    file.as_file().sync_data().map_err(failed)?;
    if replace {
        file.persist(output).map_err(|error| failed(error.error))?;
    } else {
        // Nobody else's file is replaced either that came meanwhile.
        file.persist_noclobber(output).map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists { path: output.to_owned() },
            _ => failed(error.error),
        })?;
    }
    Ok(written)
}
