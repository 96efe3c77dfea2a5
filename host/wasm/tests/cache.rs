//! Compiled components on disk: they are used when they are right, and only then.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use minerva_wasm::{Error, Options, Runtime};

use crate::support::{bundled, context};

/// A runtime that keeps what it compiles.
fn keeping(folder: &Path, change: impl FnOnce(&mut Options)) -> Runtime {
    let mut options = Options { cache: Some(folder.to_owned()), ..Options::default() };
    change(&mut options);
    Runtime::new(options).unwrap()
}

/// A runtime that cannot compile anything: what it loads comes from the cache.
fn hasty(folder: &Path) -> Runtime {
    keeping(folder, |options| options.limits.compile = Duration::ZERO)
}

fn compiled(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "cwasm")).collect();
    files.sort();
    files
}

fn fails_hastily(folder: &Path) {
    let error = hasty(folder).load("min-p", &bundled("sampler-min-p")).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, Error::Malformed { reason, .. } if reason.contains("takes longer than 0 s")),
        "{error}"
    );
}

#[test]
fn what_was_compiled_once_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made/for/it");
    keeping(&folder, |_| {}).load("min-p", &bundled("sampler-min-p")).unwrap();
    assert_eq!(compiled(&folder).len(), 1);
    for path in [folder.clone(), folder.join("key"), compiled(&folder).remove(0)] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", path.display());
    }
    let runtime = hasty(&folder);
    let begun = Instant::now();
    let plugin = runtime.load("min-p", &bundled("sampler-min-p")).unwrap();
    eprintln!("loaded from the cache in {:?}", begun.elapsed());
    plugin.sampler.unwrap().open(&context(), &serde_json::json!({}), &[1]).map(drop).unwrap();
    // Another component is not there.
    assert!(runtime.load("redact", &bundled("stream-redact")).is_err());
}

#[test]
fn files_that_are_not_as_they_were_written_are_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let fill = || keeping(&folder, |_| {}).load("min-p", &bundled("sampler-min-p")).map(|_| ()).unwrap();
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        fill();
        let path = compiled(&folder).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        fails_hastily(&folder);
        assert!(compiled(&folder).is_empty(), "it is forgotten");
    };
    change(&|bytes| *bytes.last_mut().unwrap() ^= 1);
    change(&|bytes| bytes[0] ^= 1);
    change(&|bytes| bytes.truncate(bytes.len() / 2));
    change(&Vec::clear);
    // Another's code under this name.
    fill();
    let name = compiled(&folder).remove(0);
    fs::remove_file(&name).unwrap();
    keeping(&folder, |_| {}).load("redact", &bundled("stream-redact")).unwrap();
    fs::rename(compiled(&folder).remove(0), &name).unwrap();
    fails_hastily(&folder);
    // Another key.
    fill();
    fs::remove_file(folder.join("key")).unwrap();
    fails_hastily(&folder);
}

#[test]
fn what_others_could_have_written_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    keeping(&folder, |_| {}).load("min-p", &bundled("sampler-min-p")).unwrap();
    let file = compiled(&folder).remove(0);
    for path in [&folder, &folder.join("key")] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        set(path, mode | 0o020);
        fails_hastily(&folder);
        assert!(file.exists(), "without a cache nothing is forgotten");
        set(path, mode);
    }
    hasty(&folder).load("min-p", &bundled("sampler-min-p")).unwrap();
    set(&file, 0o644);
    fails_hastily(&folder);
    // A link instead of the folder.
    let link = folder.with_extension("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    keeping(&link, |_| {}).load("min-p", &bundled("sampler-min-p")).unwrap();
    assert!(compiled(&folder).is_empty(), "nothing is kept behind a link");
}

#[test]
fn the_cache_forgets_what_was_not_used_for_longest() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    keeping(&folder, |_| {}).load("min-p", &bundled("sampler-min-p")).unwrap();
    let first = compiled(&folder).remove(0);
    let bytes = fs::metadata(&first).unwrap().len();
    // Room for the larger of the two, but not for both.
    keeping(&folder, |_| {}).load("redact", &bundled("stream-redact")).unwrap();
    let both: u64 = compiled(&folder).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let second = compiled(&folder).into_iter().find(|path| *path != first).unwrap();
    fs::remove_file(&second).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    fs::File::options().append(true).open(&first).unwrap().set_modified(old).unwrap();
    let small = |options: &mut Options| options.cache_bytes = both - 1;
    keeping(&folder, small).load("redact", &bundled("stream-redact")).unwrap();
    assert_eq!(compiled(&folder), [second]);
    // What is larger than the whole cache is not kept at all.
    keeping(&folder, |options| options.cache_bytes = bytes.min(both - bytes) / 2)
        .load("min-p", &bundled("sampler-min-p"))
        .unwrap();
    assert!(!first.exists());
}
