//! The model in the box: a small chat model, made by `examples/tiny-chat`, whose card says what it can.
//!
//! It is embedded in the program, so that a binary that was copied somewhere has it too. llama.cpp reads files, so
//! it is written once to the user's cache folder, and used from there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file's bytes.
pub const BYTES: &[u8] = include_bytes!("../builtin/minerva-tiny.gguf");

/// What it is called.
pub const NAME: &str = "minerva-tiny";

/// The built-in model could not be put where llama.cpp can read it.
#[derive(Debug, thiserror::Error)]
#[error("the built-in model cannot be written to {}: {source}", path.display())]
pub struct Error {
    /// Where it was to go.
    pub path: PathBuf,
    /// Why it could not.
    pub source: std::io::Error,
}

/// The path of the built-in model, written there if it is not.
///
/// # Errors
///
/// When neither the user's cache folder nor the folder for temporary files can be written.
pub fn path() -> Result<PathBuf, Error> {
    let temporary = std::env::temp_dir();
    let cache = dirs::cache_dir().unwrap_or_else(|| temporary.clone());
    ensure(&cache.join("minerva")).or_else(|_| ensure(&temporary.join("minerva")))
}

/// Makes sure that the file is in a folder, whole: what is there is compared, and replaced if it is another.
fn ensure(folder: &Path) -> Result<PathBuf, Error> {
    let path = folder.join(format!("{NAME}-{}.gguf", env!("CARGO_PKG_VERSION")));
    let failed = |source| Error { path: path.clone(), source };
    if fs::read(&path).is_ok_and(|bytes| bytes == BYTES) {
        return Ok(path);
    }
    fs::create_dir_all(folder).map_err(failed)?;
    // Renamed into place, so that another process sees the old file or the new one, never a part.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(BYTES).map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_written_once_and_mended_when_it_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("not/there/yet");
        let path = ensure(&folder).expect("it can be written");
        assert_eq!(fs::read(&path).expect("it is there"), BYTES);
        fs::write(&path, b"damaged").expect("it can be damaged");
        assert_eq!(ensure(&folder).expect("it can be mended"), path);
        assert_eq!(fs::read(&path).expect("it is there"), BYTES);
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "nothing else is left");

        let gguf = crate::gguf::check(&path).expect("it is a model");
        assert_eq!(gguf.architecture(), Some("llama"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = ensure(&file.path().join("below")).expect_err("a file has no folders");
        assert!(error.to_string().contains("below"), "{error}");
    }
}
