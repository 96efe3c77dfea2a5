//! A folder of plugins: each `.wasm` file in it is one, by the name of the file. What changes in it changes what
//! requests can name, while the host runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, SystemTime};

use minerva_engine::plugin::Plugins;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher as _};

use crate::{Error, Runtime};

/// How long nothing may happen in the folder before it is looked at: a file is written in several pieces.
const QUIET: Duration = Duration::from_millis(100);

/// How often it is looked at where nothing is told of: some file systems tell nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The most plugins of one folder.
const FILES_MAX: usize = 1_000;

/// A folder that is watched. Dropping it ends that, and waits for nothing: a plugin that is being compiled may take
/// minutes. The plugins stay.
pub struct Folder {
    stopped: Arc<AtomicBool>,
    woken: SyncSender<()>,
}

impl Folder {
    /// Loads the plugins of a folder, and from then on what changes in it, on a thread of its own. A file that cannot
    /// be loaded leaves in place what has its name, and the reason in [`Plugins::standings`] and the log. Names in
    /// `reserved` are left alone.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or the thread not be started.
    pub fn watch(
        runtime: &Runtime,
        plugins: &Plugins,
        path: &Path,
        reserved: BTreeSet<String>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Folder { path: path.display().to_string(), source };
        let root = fs::canonicalize(path).map_err(failed)?;
        let (runtime, plugins) = (runtime.clone(), plugins.clone());
        let stopped = Arc::new(AtomicBool::new(false));
        let mut state = State {
            runtime,
            plugins,
            root,
            reserved,
            known: BTreeMap::new(),
            strange: BTreeSet::new(),
            stopped: Arc::clone(&stopped),
        };
        let (woken, wakes) = mpsc::sync_channel(1);
        let at_event = woken.clone();
        // Before the first look: what changes in between is looked at again.
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                // One that waits is enough.
                let _ = at_event.try_send(());
            }
        })
        .and_then(|mut watcher| watcher.watch(&state.root, RecursiveMode::NonRecursive).map(|()| watcher))
        .inspect_err(|error| {
            tracing::warn!(folder = %path.display(), %error, "changes are found by looking every {} s", LOOK_AGAIN.as_secs());
        })
        .ok();
        state.look().map_err(failed)?;
        let thread = std::thread::Builder::new().name("plugin-folder".to_owned()).spawn(move || {
            let _watcher = watcher;
            state.follow(&wakes);
        });
        thread.map_err(failed)?;
        Ok(Self { stopped, woken })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = self.woken.try_send(());
    }
}

/// Whether an event is of a change. Looking at files causes events too.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

struct State {
    runtime: Runtime,
    plugins: Plugins,
    root: PathBuf,
    reserved: BTreeSet<String>,
    /// What was seen under each name the last time.
    known: BTreeMap<String, Seen>,
    /// Files that were complained of because they can have no name.
    strange: BTreeSet<PathBuf>,
    stopped: Arc<AtomicBool>,
}

struct Seen {
    file: Stamp,
    /// The hash of what was loaded; empty where that failed.
    hash: String,
}

/// What changes when a file does.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    /// What it is in the end, where it is a link.
    target: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl State {
    fn follow(&mut self, wakes: &Receiver<()>) {
        loop {
            if wakes.recv_timeout(LOOK_AGAIN).is_ok() {
                // A file that is written for ever is looked at all the same, after two seconds.
                for _ in 0..10 {
                    std::thread::sleep(QUIET);
                    if self.is_stopped() || wakes.recv_timeout(QUIET).is_err() {
                        break;
                    }
                }
            }
            if self.is_stopped() {
                return;
            }
            if let Err(error) = self.look() {
                tracing::warn!(folder = %self.root.display(), %error, "the plugins folder cannot be read");
            }
        }
    }

    /// Loads what is new or has changed, and takes out what is gone.
    fn look(&mut self) -> std::io::Result<()> {
        let files = self.files()?;
        let gone: Vec<String> =
            self.known.keys().filter(|name| !files.contains_key(*name)).cloned().collect();
        for name in gone {
            let seen = self.known.remove(&name);
            // What somebody else put under the name is not the folder's.
            let loaded = self.plugins.standings().into_iter().find(|standing| standing.name == name);
            let hash = loaded
                .and_then(|loaded| loaded.plugin)
                .map_or_else(String::new, |it| it.identity.hash.clone());
            if seen.is_some_and(|seen| seen.hash == hash || seen.hash.is_empty()) {
                self.plugins.remove(&name);
                tracing::info!(plugin = name, "plugin '{name}' is gone from the folder and is taken out");
            }
        }
        for (name, path) in files {
            if self.is_stopped() {
                break;
            }
            self.look_at(&name, &path);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The files that are plugins, by name.
    fn files(&mut self) -> std::io::Result<BTreeMap<String, PathBuf>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.extension().is_none_or(|end| end != "wasm") {
                continue;
            }
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if crate::load::check_name(name).is_err() {
                if self.strange.len() < FILES_MAX && self.strange.insert(path.clone()) {
                    tracing::error!(file = %path.display(), "a file in the plugins folder cannot be a plugin's name: use letters, digits, '-', '_', '.' and '@'");
                }
            } else if !self.reserved.contains(name) {
                files.insert(name.to_owned(), path);
            }
            if files.len() > FILES_MAX {
                return Err(std::io::Error::other(format!("it has more than {FILES_MAX} plugins")));
            }
        }
        Ok(files)
    }

    fn look_at(&mut self, name: &str, path: &Path) {
        let seen = stamp(path, &self.root);
        if let (Ok(file), Some(known)) = (&seen, self.known.get(name))
            && known.file == *file
        {
            return;
        }
        let loaded = seen.map_err(|why| (None, why)).and_then(|file| {
            let plugin = self.runtime.load(name, file.target.as_path());
            plugin.map(|plugin| (file.clone(), plugin)).map_err(|error| (Some(file), error.to_string()))
        });
        match loaded {
            Ok((file, plugin)) => {
                let (version, hash) = (plugin.identity.version.clone(), plugin.identity.hash.clone());
                let replaced = self.plugins.insert(plugin).is_some();
                self.known.insert(name.to_owned(), Seen { file, hash });
                let done = if replaced { "replaced" } else { "loaded" };
                tracing::info!(plugin = name, version, "plugin '{name}' {version} is {done}");
            }
            Err((file, why)) => {
                let runs = self.plugins.list().into_iter().find(|plugin| plugin.identity.name == name);
                let hash = runs.as_ref().map_or_else(String::new, |plugin| plugin.identity.hash.clone());
                // Looked at again when it changes; what has no stamp is looked at every time, and complained of once.
                let trouble = self.plugins.standings().into_iter().find(|standing| standing.name == name);
                if trouble.and_then(|standing| standing.trouble).as_deref() != Some(&why) {
                    let instead =
                        runs.map_or("nothing".to_owned(), |it| format!("version {}", it.identity.version));
                    tracing::error!(plugin = name, file = %path.display(), "plugin '{name}' cannot be loaded, and {instead} runs under its name: {why}");
                    self.plugins.set_trouble(name, why);
                }
                let file =
                    file.unwrap_or(Stamp { target: PathBuf::new(), bytes: 0, modified: None, inode: 0 });
                self.known.insert(name.to_owned(), Seen { file, hash });
            }
        }
    }
}

/// What a file is now. A link may only lead to where the folder's owner could have put the file itself.
fn stamp(path: &Path, root: &Path) -> Result<Stamp, String> {
    let failed = |error: std::io::Error| format!("it cannot be read: {error}");
    let target = fs::canonicalize(path).map_err(failed)?;
    if !target.starts_with(root) {
        return Err("it is a link that leads out of the plugins folder; put the file itself there".to_owned());
    }
    let metadata = fs::metadata(&target).map_err(failed)?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Ok(Stamp { target, bytes: metadata.len(), modified: metadata.modified().ok(), inode })
}
