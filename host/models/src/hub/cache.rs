//! The cache as the hub's clients lay it out: `models--OWNER--NAME/{blobs,refs,snapshots}`. A blob has its checksum for a
//! name; a snapshot is a folder of links to blobs, under the version.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::reference::{RemoteFile, choose_among};
use super::{Error, Reference};

/// The version that is pulled.
pub(super) const REVISION: &str = "main";

/// The deepest folder in a snapshot that is looked into.
const DEPTH_MAX: usize = 8;

/// A repository in the cache.
pub(super) struct Repository {
    folder: PathBuf,
}

/// A file in the cache, whole or on its way.
pub(super) struct Blob {
    pub whole: PathBuf,
    /// What came so far; other clients call it so, too.
    pub part: PathBuf,
    size: u64,
}

impl Repository {
    pub(super) fn of(cache: &Path, reference: &Reference) -> Self {
        Self { folder: cache.join(format!("models--{}", reference.repository.replace('/', "--"))) }
    }

    /// The model's file, if a version with it is there.
    pub(super) fn find(&self, reference: &Reference) -> Result<Option<PathBuf>, Error> {
        let noted = fs::read_to_string(self.folder.join("refs").join(REVISION));
        let Ok(commit) = noted else { return Ok(None) };
        let snapshot = self.folder.join("snapshots").join(commit.trim());
        let mut files = Vec::new();
        collect(&snapshot, "", 0, &mut files);
        let paths: Vec<&str> = files.iter().map(String::as_str).collect();
        match choose_among(reference, &paths) {
            Ok(chosen) => Ok(chosen.first().map(|first| snapshot.join(first))),
            Err(Error::NoSuchFile { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The place of a file's bytes, with its folder made.
    pub(super) fn blob(&self, file: &RemoteFile) -> Result<Blob, Error> {
        let blobs = self.folder.join("blobs");
        make(&blobs)?;
        let part = blobs.join(format!("{}.incomplete", file.checksum));
        Ok(Blob { whole: blobs.join(&file.checksum), part, size: file.size })
    }

    /// Where a file of a version is found.
    pub(super) fn path(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit).join(file)
    }

    /// Puts a file into a version.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile, blob: &Blob) -> Result<(), Error> {
        let path = self.path(commit, &file.path);
        if path.exists() {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            make(folder)?;
        }
        // What points nowhere is in the way, and is no file.
        let _ = fs::remove_file(&path);
        let up = "../".repeat(2 + file.path.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", file.checksum));
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(&target, &path);
        #[cfg(not(unix))]
        let linked = fs::hard_link(&blob.whole, &path).or_else(|_| fs::copy(&blob.whole, &path).map(drop));
        let _ = (&target, blob);
        linked.map_err(|source| Error::Disk { path, source })
    }

    /// Notes which version is the newest.
    pub(super) fn note(&self, reference: &Reference, commit: &str) -> Result<(), Error> {
        let refs = self.folder.join("refs");
        make(&refs)?;
        let path = refs.join(REVISION);
        tracing::debug!("{reference} is version {commit}");
        fs::write(&path, commit).map_err(|source| Error::Disk { path, source })
    }
}

impl Blob {
    /// Whether all of it is there. Only what had the right checksum gets this name.
    pub(super) fn is_whole(&self) -> bool {
        fs::metadata(&self.whole).is_ok_and(|there| there.len() == self.size)
    }

    /// Keeps other pulls of the same file waiting, in this process and in others.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.whole.with_extension("lock");
        let locked = File::options().create(true).truncate(false).write(true).open(&path).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        locked.map_err(|source| Error::Disk { path, source })
    }
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Disk { path: folder.to_owned(), source })
}

/// The files below a folder, with the path below it.
fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match fs::metadata(entry.path()) {
            Ok(what) if what.is_dir() && depth < DEPTH_MAX => {
                collect(&entry.path(), &format!("{name}/"), depth + 1, files);
            }
            Ok(what) if what.is_file() => files.push(name),
            // A link that points nowhere is a file that is gone.
            _ => {}
        }
    }
}
