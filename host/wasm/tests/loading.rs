//! What is wrong with a file is said when it is loaded.

use std::path::Path;

use minerva_wasm::{Error, Options, Runtime};

use crate::support::{bundled, guest, runtime};

fn refused(bytes: &[u8]) -> String {
    runtime().load("x", bytes).map(|plugin| plugin.identity).unwrap_err().to_string()
}

fn wat(text: &str) -> String {
    refused(&wat::parse_str(text).unwrap())
}

#[test]
fn what_is_not_a_component() {
    assert_eq!(refused(b""), "plugin 'x' is not WebAssembly: it is empty");
    assert!(
        refused(b"\0asm\x01\0\0\0")
            .starts_with("plugin 'x' is a core WebAssembly module, not a component; build")
    );
    assert!(
        refused(b"(component)")
            .contains("it looks like the text format; make it binary with `wasm-tools parse`")
    );
    assert!(refused(b"\x7fELF\x02\x01").contains("native library"));
    assert!(refused(b"GGUF").contains("it does not begin with the bytes of a component"));
    assert!(refused(b"\0asm\x0d").contains("ends within its header"));
}

#[test]
fn what_is_truncated_or_garbled() {
    let whole = std::fs::read(bundled("sampler-min-p")).unwrap();
    for length in [9, 100, whole.len() / 2, whole.len() - 1] {
        let said = refused(&whole[..length]);
        assert!(said.starts_with("plugin 'x' is not a valid component: "), "{length} bytes: {said}");
        assert!(!said.contains('\n'));
    }
    for at in (8..whole.len()).step_by(whole.len() / 20) {
        let mut garbled = whole.clone();
        garbled[at] ^= 0x55;
        // It may do no harm; it must do no harm.
        let _ = runtime().load("x", &garbled);
    }
}

#[test]
fn what_cannot_be_read() {
    let load = |path: &str| runtime().load("x", Path::new(path)).map(|plugin| plugin.identity);
    let missing = load("/nowhere/x.wasm").unwrap_err().to_string();
    assert!(missing.starts_with("plugin 'x' cannot be read from /nowhere/x.wasm: "), "{missing}");
    let folder = load("/").unwrap_err().to_string();
    assert!(folder.contains("cannot be read from /"), "{folder}");
    let endless = load("/dev/zero").unwrap_err().to_string();
    assert!(endless.contains("not a file"), "{endless}");

    let mut options = Options::default();
    options.limits.component_bytes = 1000;
    let small = Runtime::new(options).unwrap();
    let said = small.load("x", &bundled("sampler-min-p")).map(|_| ()).unwrap_err();
    assert!(matches!(said, Error::TooLarge { limit: 1000, .. }), "{said}");
}

#[test]
fn names() {
    for name in ["", "a b", "../x", "é", &"x".repeat(65)] {
        assert!(matches!(runtime().inspect(name, &b""[..]), Err(Error::Name { .. })), "{name:?}");
    }
}

#[test]
fn another_version() {
    let said = runtime().load("old", &guest("other-version")).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        said,
        "plugin 'old' was built for minerva:plugin@9.9.9, and this host speaks minerva:plugin@0.1.0; rebuild it \
         against the wit/ folder, or the minerva-plugin crate, of version 0.1.0",
    );
    let newer = r#"(component (instance $i) (export "minerva:plugin/sampler@0.1.7" (instance $i)))"#;
    assert!(wat(newer).contains("minerva:plugin@0.1.7"), "{}", wat(newer));
    assert!(wat(newer).contains("it needs a newer host, or a build against this host's wit/ folder"));
}

#[test]
fn missing_exports() {
    let said = refused(b"\0asm\x0d\0\x01\0");
    assert_eq!(
        said,
        "plugin 'x' exports nothing; a plugin exports one or more of minerva:plugin/sampler@0.1.0, \
         minerva:plugin/template@0.1.0, minerva:plugin/streaming@0.1.0",
    );
    let other = r#"(component (instance $i) (export "example:thing/it@1.0.0" (instance $i)))"#;
    assert!(wat(other).starts_with("plugin 'x' exports example:thing/it@1.0.0; a plugin exports"));
    // The interface is there, its functions are not.
    let hollow = r#"(component (instance $i) (export "minerva:plugin/sampler@0.1.0" (instance $i)))"#;
    assert!(wat(hollow).starts_with("plugin 'x' does not fit minerva:plugin@0.1.0: "), "{}", wat(hollow));
}

#[test]
fn unknown_imports() {
    let said = wat(r#"(component (import "example:database/query@1.0.0" (instance)))"#);
    assert!(
        said.starts_with("plugin 'x' imports 'example:database/query@1.0.0', which this host does not offer")
    );
    assert!(said.contains("minerva:plugin/step@0.1.0"), "{said}");
    assert!(wat(r#"(component (import "run" (func)))"#).contains("imports 'run'"));
    let unknown_function = wat(r#"(component
            (import "minerva:plugin/host@0.1.0" (instance (export "shut-down" (func))))
            (instance $i) (export "minerva:plugin/sampler@0.1.0" (instance $i)))"#);
    assert!(unknown_function.contains("shut-down"), "{unknown_function}");
}

#[test]
fn a_description_that_fails_or_lies() {
    let said = |name: &str| runtime().load(name, &guest(name)).map(|_| ()).unwrap_err().to_string();
    let trapped = said("describe-traps");
    assert!(
        trapped.starts_with("plugin 'describe-traps' failed in describe of streaming: trapped: panicked at "),
        "{trapped}"
    );
    assert!(trapped.ends_with("I would rather not say"), "{trapped}");
    assert_eq!(
        said("describe-lies"),
        "plugin 'describe-lies' describes itself wrongly in sampler: a cut of 1000000; it is 1 to 4096",
    );
}

#[test]
fn the_full_row_is_granted_or_not() {
    let modest = Runtime::new(Options::default()).unwrap();
    let said = modest.load("full-row", &guest("full-row")).map(|_| ()).unwrap_err().to_string();
    assert_eq!(said, "plugin 'full-row' wants to see every logit (the tier full-row), which was not granted");
    // To look at it is allowed.
    assert_eq!(modest.inspect("full-row", &guest("full-row")).unwrap().identity.version, "0.1.0");
}

/// A guest that no test names tests nothing.
#[test]
fn every_guest_is_named() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folders = [here.clone(), here.join("../../../tests")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let sources: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for folder in std::fs::read_dir(here.join("../../../tests/guests")).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        if folder.path().join("Cargo.toml").exists() {
            assert!(sources.contains(&format!("(\"{name}\")")), "no test names the guest {name}");
        }
    }
}
