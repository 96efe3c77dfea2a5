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

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", shown(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON: {}", shown(&output)))
}

/// What a command that fails says.
fn complaint(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", shown(&output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_file_is_inspected_as_text_and_as_json() {
    let path = root().join("host/models/builtin/minerva-tiny.gguf");
    let path = path.to_str().expect("a path");
    let summary = json(&["models", "inspect", path, "--json", "--tensors", "-c", "1024", "-np", "3"]);
    assert_eq!(summary["architecture"], "llama");
    assert_eq!(summary["file_bytes"], builtin().len());
    let tensors = summary["tensors"].as_array().expect("a list");
    let elements = |tensor: &serde_json::Value| {
        let shape = tensor["shape"].as_array().expect("a shape");
        shape.iter().map(|size| size.as_u64().expect("a number")).product::<u64>()
    };
    assert_eq!(summary["parameters"], tensors.iter().map(elements).sum::<u64>());
    assert_eq!(summary["memory"]["sequences"], 3);
    assert!(summary["chat_template"].as_str().expect("a template").contains("messages"));
    // Half as many bits, half as much cache but for the scales.
    let cache = |types: [&str; 4]| {
        let arguments = [&["models", "inspect", path, "--json", "-c", "1024"][..], &types].concat();
        json(&arguments)["memory"]["cache"].as_f64().expect("a number")
    };
    let (full, half) = (cache(["-ctk", "f16", "-ctv", "f16"]), cache(["-ctk", "q8_0", "-ctv", "q8_0"]));
    assert_eq!(half / full, 8.5 / 16.0);

    let output = run(&["models", "inspect", path]);
    let text = String::from_utf8_lossy(&output.stdout);
    for word in ["architecture", "llama", "vocabulary", "chat template", "memory"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(complaint(&["models", "inspect", path, "-ctk", "q9"]).contains("q8_0"));
}

#[test]
fn a_model_is_quantised_and_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let (plain, small) = (path("plain.gguf"), path("small.gguf"));
    let made = run(&[
        "models",
        "synthesize",
        "-o",
        &plain,
        "--type",
        "F16",
        "--width",
        "256",
        "--feed-forward",
        "512",
    ]);
    assert!(made.status.success(), "{}", shown(&made));
    let made = run(&["quantize", &plain, &small, "q4_k_m"]);
    assert!(made.status.success(), "{}", shown(&made));
    assert!(String::from_utf8_lossy(&made.stdout).contains("Q4_K_M"), "{}", shown(&made));
    let bytes = |path: &str| std::fs::metadata(path).expect("it is there").len();
    assert!(bytes(&small) < bytes(&plain) / 2);
    let answer = run(&["run", "-m", &small, "-n", "4", "--quiet", "Hello"]);
    assert!(answer.status.success(), "{}", shown(&answer));

    assert!(complaint(&["quantize", &plain, &small, "q8_0"]).contains("is there already"));
    assert!(complaint(&["quantize", &plain, &path("x.gguf"), "q9_9"]).contains("Q4_K_M"));
    assert!(complaint(&["quantize", &small, &path("x.gguf"), "q8_0"]).contains("quantised already"));
    assert!(complaint(&["quantize", &path("none.gguf"), &path("x.gguf"), "q8_0"]).contains("none.gguf"));
    assert!(!folder.path().join("x.gguf").exists());
}

#[test]
fn the_doctor_says_what_would_run_where() {
    let report = json(&["doctor", "--json"]);
    assert!(report["cores"].as_u64().expect("a number") >= 1);
    assert!(
        report["devices"].as_array().expect("a list").iter().any(|device| device["kind"] == "Cpu"),
        "{report}"
    );
    assert!(!report["plan"]["reasons"].as_array().expect("a list").is_empty(), "{report}");
    // Asked for in another way, and for the processor.
    for arguments in
        [&["doctor", "--gpu", "cpu"][..], &["serve", "--gpu", "debug"], &["run", "--gpu", "debug", "Hi"]]
    {
        let output = run(arguments);
        assert!(output.status.success(), "{}", shown(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        for word in ["processor", "memory", "would run", "because", "advice"] {
            assert!(text.contains(word), "{arguments:?}: {word}: {text}");
        }
    }
    assert!(complaint(&["serve", "--port", "0", "--gpu", "toaster"]).contains("cuda:N"));
    assert!(complaint(&["serve", "--port", "0", "--gpu-memory-limit", "all"]).contains("70%"));
    assert!(complaint(&["run", "--gpu", "cuda:77", "Hi"]).contains("CUDA 77"));
}
