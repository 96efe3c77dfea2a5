//! Files that are no models: a clear error that names the file, and the program ends as it should.

use std::path::{Path, PathBuf};

use crate::harness::{root, run, shown};

fn builtin() -> Vec<u8> {
    std::fs::read(root().join("host/models/builtin/minerva-tiny.gguf")).expect("the built-in model's file")
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn each_broken_file_is_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let whole = builtin();
    let mut corrupt = whole.clone();
    // The count of metadata entries.
    corrupt[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let cases = [
        (folder.join("missing.gguf"), "missing.gguf"),
        (folder.to_path_buf(), "directory"),
        (written(folder, "empty.gguf", b""), "empty"),
        (written(folder, "text.gguf", b"this is no model, it only looks for trouble"), "GGUF"),
        (written(folder, "head.gguf", &whole[..100]), "head.gguf"),
        (written(folder, "half.gguf", &whole[..whole.len() / 2]), "half.gguf"),
        (written(folder, "corrupt.gguf", &corrupt), "corrupt.gguf"),
    ];
    for (path, expected) in &cases {
        let path = path.to_str().expect("a path");
        for command in [vec!["run", "-m", path, "Hello"], vec!["serve", "--port", "0", "-m", path]] {
            let output = run(&command);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{path}: {}", shown(&output));
            let said = error.find("minerva: ").map_or("", |at| &error[at..]);
            assert!(said.contains(expected) && said.contains(path), "{path}: {}", shown(&output));
            assert!(!error.contains("panicked"), "{path}: {}", shown(&output));
        }
    }
}
