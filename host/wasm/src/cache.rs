//! Compiled components on disk, so that a plugin that was loaded once loads in a few milliseconds.
//!
//! What is in the folder is native code that this process will run. So the folder belongs to this user alone, and a
//! file counts only if it has the right tag: HMAC-SHA256 over its name and its bytes, with a random key that lies in
//! the folder. Who can forge that can read this user's private files, and needs no plugin to run code as this user.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// A file that was being written for so long is what a killed process left behind.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder of compiled components.
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    bytes_max: u64,
    written: AtomicU64,
}

impl Cache {
    /// Opens a folder, and makes it where it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or others than this user may write or read there.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        private::create_folder(folder)?;
        private::check(folder, &fs::symlink_metadata(folder)?)?;
        let key = key(&folder.join("key"))?;
        Ok(Self { folder: folder.to_owned(), key, bytes_max, written: AtomicU64::new(0) })
    }

    /// The compiled form of a component, if it is there and whole.
    pub(crate) fn load(&self, engine: &Engine, digest: &[u8]) -> Option<Component> {
        let name = name(engine, digest);
        let path = self.folder.join(&name);
        match self.read(&name, &path) {
            Ok(bytes) => match deserialize(engine, &bytes[TAG_BYTES..]) {
                Ok(component) => {
                    // The order in which files are forgotten. A cache works without.
                    let _ = File::options()
                        .append(true)
                        .open(&path)
                        .and_then(|file| file.set_modified(SystemTime::now()));
                    Some(component)
                }
                Err(error) => self.forget(&path, &format!("{error:#}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => self.forget(&path, &error.to_string()),
        }
    }

    /// Keeps the compiled form of a component, and forgets the ones not used for longest where there are too many.
    pub(crate) fn store(&self, engine: &Engine, digest: &[u8], component: &Component) {
        let name = name(engine, digest);
        let stored = component.serialize().map_err(|error| format!("{error:#}")).and_then(|code| {
            if code.len() as u64 > self.bytes_max {
                return Err(format!("{} bytes are more than the cache may hold", code.len()));
            }
            self.write(&name, &code).and_then(|()| self.evict()).map_err(|error| error.to_string())
        });
        if let Err(reason) = stored {
            tracing::warn!(folder = %self.folder.display(), reason, "a compiled plugin could not be kept");
        }
    }

    /// The bytes of a file, tag included, if the tag is right.
    fn read(&self, name: &str, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        private::check(path, &file.metadata()?)?;
        let mut bytes = Vec::new();
        file.take(self.bytes_max + TAG_BYTES as u64).read_to_end(&mut bytes)?;
        let (tag, code) = bytes
            .split_at_checked(TAG_BYTES)
            .ok_or_else(|| io::Error::other("it is shorter than its own tag"))?;
        self.mac(name, code).verify_slice(tag).map_err(|_| io::Error::other("its tag is wrong"))?;
        Ok(bytes)
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let count = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!("{name}.{}-{count}.new", std::process::id()));
        let written = private::create(&unfinished).and_then(|mut file| {
            file.write_all(&self.mac(name, code).finalize().into_bytes())?;
            file.write_all(code)?;
            // Whole or not at all, whoever else writes it.
            fs::rename(&unfinished, self.folder.join(name))
        });
        written.inspect_err(|_| drop(fs::remove_file(&unfinished)))
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key");
        mac.update(name.as_bytes());
        mac.update(code);
        mac
    }

    /// Forgets what was not used for longest, down to the limit.
    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(|end| end.to_str()) {
                Some("cwasm") => files.push((used, metadata.len(), path)),
                Some("new") if used.elapsed().is_ok_and(|age| age > ABANDONED) => fs::remove_file(path)?,
                _ => {}
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }

    fn forget(&self, path: &Path, reason: &str) -> Option<Component> {
        tracing::warn!(file = %path.display(), reason, "a compiled plugin in the cache is not usable and is made anew");
        let _ = fs::remove_file(path);
        None
    }
}

/// A file's name: what the component is, and what wasmtime made of it in which configuration.
fn name(engine: &Engine, digest: &[u8]) -> String {
    struct Digester(Sha256);
    impl Hasher for Digester {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Digester(Sha256::new_with_prefix(digest));
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let hex: String = hasher.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.cwasm")
}

#[expect(unsafe_code, reason = "wasmtime has no other way to take in what it compiled before")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must be what `Component::serialize` returned, unchanged. `Cache::read` gave them, which saw
    // that the file is this user's and nobody else's, and that they have a tag that only a holder of the key can
    // make; and with the key, `Cache::write` tags only what `serialize` returned. wasmtime itself checks that the
    // version and the configuration are its own.
    unsafe { Component::deserialize(engine, code) }
}

/// The folder's key, made at the first use.
fn key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    if let Err(error) = fs::symlink_metadata(path) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        let mut fresh = [0; KEY_BYTES];
        getrandom::fill(&mut fresh).map_err(io::Error::other)?;
        let unfinished = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_file(&unfinished);
        private::create(&unfinished)?.write_all(&fresh)?;
        // Fails where another process was first; then its key is the key.
        let linked = fs::hard_link(&unfinished, path);
        fs::remove_file(&unfinished)?;
        linked.or_else(
            |error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) },
        )?;
    }
    let mut file = OpenOptions::new().read(true).open(path)?;
    private::check(path, &file.metadata()?)?;
    let mut key = [0; KEY_BYTES];
    file.read_exact(&mut key)?;
    Ok(key)
}

/// Files and folders that only this user may read or write.
#[cfg(unix)]
mod private {
    use std::fs::{DirBuilder, File, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
    use std::path::Path;

    pub(super) fn create_folder(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    pub(super) fn create(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    pub(super) fn check(path: &Path, metadata: &Metadata) -> io::Result<()> {
        let wrong = |what: &str| Err(io::Error::other(format!("{} {what}", path.display())));
        if metadata.is_symlink() {
            return wrong("is a link");
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return wrong("belongs to another user");
        }
        if metadata.mode() & 0o077 != 0 {
            return wrong("is open to other users; take their permissions away with chmod go-rwx");
        }
        Ok(())
    }
}

/// Without Unix's owners and modes nothing is private, so nothing is kept.
#[cfg(not(unix))]
mod private {
    use std::fs::{File, Metadata};
    use std::io;
    use std::path::Path;

    fn unsupported<T>() -> io::Result<T> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a private folder needs Unix's permissions"))
    }

    pub(super) fn create_folder(_: &Path) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn create(_: &Path) -> io::Result<File> {
        unsupported()
    }

    pub(super) fn check(_: &Path, _: &Metadata) -> io::Result<()> {
        unsupported()
    }
}
