//! A folder of plugins, and what becomes of changes in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use minerva_engine::plugin::{Plugins, Standing};
use minerva_wasm::Folder;

use crate::support::{bundled, context, guest, runtime};

/// Puts a file into a folder as a careful program does: whole, or not at all.
fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let unfinished = folder.join(format!("{name}.unfinished"));
    fs::write(&unfinished, bytes).unwrap();
    fs::rename(unfinished, folder.join(name)).unwrap();
}

fn min_p() -> Vec<u8> {
    fs::read(bundled("sampler-min-p")).unwrap()
}

/// The same component, saying that it is of another version.
pub(crate) fn with_version(component: &[u8], version: &[u8; 5]) -> Vec<u8> {
    let mut changed = component.to_vec();
    for at in 1..changed.len() - version.len() {
        // After an @ it is the interface's.
        if &changed[at..at + version.len()] == b"0.1.0" && changed[at - 1] != b'@' {
            changed[at..at + version.len()].copy_from_slice(version);
        }
    }
    changed
}

fn standing(plugins: &Plugins, name: &str) -> Option<Standing> {
    plugins.standings().into_iter().find(|standing| standing.name == name)
}

/// Waits until a name stands as it should.
fn until(plugins: &Plugins, name: &str, is: impl Fn(Option<Standing>) -> bool) {
    let begun = Instant::now();
    while !is(standing(plugins, name)) {
        let now = standing(plugins, name);
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{:?}",
            now.map(|now| (now.plugin.is_some(), now.trouble))
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn version(standing: Option<Standing>) -> Option<String> {
    Some(standing?.plugin?.identity.version.clone())
}

#[test]
fn what_changes_in_the_folder_changes_what_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plugins = Plugins::default();
    put(folder, "a.wasm", &min_p());
    put(folder, "broken.wasm", b"nothing");
    put(folder, "readme.txt", b"nothing");
    let watched = Folder::watch(runtime(), &plugins, folder, BTreeSet::from(["reserved".into()])).unwrap();
    // The first look is over when it returns.
    assert_eq!(version(standing(&plugins, "a")).as_deref(), Some("0.1.0"));
    let broken = standing(&plugins, "broken").unwrap();
    assert!(broken.plugin.is_none() && broken.trouble.unwrap().contains("is not WebAssembly"));
    assert_eq!(plugins.standings().len(), 2);

    // What is open goes on, on the version that it began with.
    let old = plugins.get("a").unwrap().sampler.clone().unwrap();
    let mut session = old.open(&context(), &serde_json::Value::Null, &[1]).unwrap();
    put(folder, "a.wasm", &with_version(&min_p(), b"0.2.0"));
    until(&plugins, "a", |now| version(now).as_deref() == Some("0.2.0"));
    session.close().unwrap();
    assert_eq!(old.identity().version, "0.1.0");

    // A broken one leaves the old one running.
    put(folder, "a.wasm", &min_p()[..1_000]);
    until(&plugins, "a", |now| now.is_some_and(|now| now.trouble.is_some()));
    assert_eq!(version(standing(&plugins, "a")).as_deref(), Some("0.2.0"));
    put(folder, "a.wasm", &with_version(&min_p(), b"0.3.0"));
    until(&plugins, "a", |now| version(now).as_deref() == Some("0.3.0"));
    assert_eq!(standing(&plugins, "a").unwrap().trouble, None);

    // New ones, mended ones, several versions side by side; a name that a flag gave away is left alone.
    for (name, bytes) in [
        ("broken.wasm", min_p()),
        ("a@1.wasm", min_p()),
        ("reserved.wasm", min_p()),
        ("c.wasm", fs::read(guest("misbehaving")).unwrap()),
    ] {
        put(folder, name, &bytes);
    }
    for name in ["broken", "a@1", "c"] {
        until(&plugins, name, |now| version(now).as_deref() == Some("0.1.0"));
    }
    assert_eq!(plugins.get("a@0.3").unwrap().identity.version, "0.3.0");
    assert_eq!(plugins.get("a@1").unwrap().identity.version, "0.1.0");
    assert!(plugins.get("reserved").is_none());

    // What is removed is gone, unless another was put in its place.
    plugins.insert(runtime().load("c", &bundled("stream-redact")).unwrap());
    fs::remove_file(folder.join("c.wasm")).unwrap();
    fs::remove_file(folder.join("a@1.wasm")).unwrap();
    until(&plugins, "a@1", |now| now.is_none());
    assert!(plugins.get("c").unwrap().stream.is_some());

    // No longer watched, nothing changes.
    drop(watched);
    fs::remove_file(folder.join("a.wasm")).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(plugins.get("a").is_some());
}

#[cfg(unix)]
#[test]
fn links_stay_inside_the_folder() {
    use std::os::unix::fs::symlink;
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(outside.path(), "secret.wasm", &min_p());
    symlink(outside.path().join("secret.wasm"), folder.path().join("out.wasm")).unwrap();
    symlink("/dev/zero", folder.path().join("zero.wasm")).unwrap();
    symlink("nowhere", folder.path().join("nowhere.wasm")).unwrap();
    symlink(folder.path().join("loop.wasm"), folder.path().join("loop.wasm")).unwrap();
    fs::create_dir(folder.path().join("folder.wasm")).unwrap();
    // As containers mount their configuration.
    fs::create_dir(folder.path().join("..data")).unwrap();
    put(&folder.path().join("..data"), "in.wasm", &min_p());
    symlink("..data/in.wasm", folder.path().join("in.wasm")).unwrap();
    let plugins = Plugins::default();
    let _watched = Folder::watch(runtime(), &plugins, folder.path(), BTreeSet::new()).unwrap();
    assert!(plugins.get("in").is_some());
    for (name, said) in [
        ("out", "a link that leads out of the plugins folder"),
        ("zero", "a link that leads out of the plugins folder"),
        ("nowhere", "cannot be read"),
        ("loop", "cannot be read"),
        ("folder", "not a file"),
    ] {
        let now = standing(&plugins, name).unwrap();
        assert!(now.plugin.is_none(), "{name}");
        let trouble = now.trouble.unwrap();
        assert!(trouble.contains(said), "{name}: {trouble}");
    }
    let missing = folder.path().join("missing");
    assert!(Folder::watch(runtime(), &plugins, &missing, BTreeSet::new()).is_err());
}
