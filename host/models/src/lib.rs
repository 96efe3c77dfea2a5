//! Models for Minerva: reading, checking and making GGUF files, the model in the box, and several models in one process.

pub mod builtin;
pub mod discover;
pub mod devices;
pub mod gguf;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inspect;
pub mod ladder;
pub mod quantize;
pub mod registry;
pub mod synthetic;

/// A temporary file is its owner's alone; a model is for everybody, as any file that one writes.
fn open_to_others(file: &std::fs::File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    let _ = file;
    Ok(())
}
