//! What models there are on this machine: in plain folders, in the cache of the Hugging Face hub, and in Ollama's and LM
//! Studio's folders.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The deepest folder that is looked into.
const DEPTH_MAX: usize = 8;

/// The most models that one folder is searched for.
const MODELS_MAX: usize = 10_000;

/// The longest of Ollama's manifests that is read.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// A model that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is called: in a plain folder its file, elsewhere what the program calls it that put it there.
    pub name: String,
    /// The file; of a model in several, the first.
    pub path: PathBuf,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Who put it there.
    pub origin: Origin,
}

/// Whose folder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody's own; LM Studio's is one, too.
    Folder,
    /// The cache of the Hugging Face hub.
    Hub,
    /// Ollama's.
    Ollama,
}

impl Origin {
    /// One word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Hub => "hub",
            Self::Ollama => "ollama",
        }
    }
}

/// The models in a folder and below it, by name. Whose folder it is is told by what is in it.
///
/// # Errors
///
/// When it cannot be read. What lies below and cannot be read is passed over.
pub fn models(folder: &Path) -> std::io::Result<Vec<Found>> {
    let entries: Vec<PathBuf> =
        fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    let is_there = |name: &str| folder.join(name).is_dir();
    let mut found = if is_there("manifests") && is_there("blobs") {
        ollama(folder)
    } else if entries.iter().any(|path| file_name(path).starts_with("models--")) {
        entries.iter().flat_map(|path| hub(path)).collect()
    } else {
        let mut files = Vec::new();
        collect(folder, 0, &mut files);
        files.iter().filter(|path| is_model(path)).filter_map(|path| of_file(path, folder)).collect()
    };
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found.truncate(MODELS_MAX);
    Ok(found)
}

/// A model in a plain folder. LM Studio has a folder for each publisher and model: they are part of the name.
fn of_file(path: &Path, folder: &Path) -> Option<Found> {
    let below = path.parent()?.strip_prefix(folder).ok()?;
    let stem = path.file_stem()?.to_string_lossy().into_owned();
    let name = series(&stem);
    let name =
        if below.as_os_str().is_empty() { name.to_owned() } else { format!("{}/{name}", below.display()) };
    Some(Found { name, path: path.to_owned(), bytes: bytes(path), origin: Origin::Folder })
}

/// The models in a repository of the hub's cache: those of the version that was noted last.
fn hub(repository: &Path) -> Vec<Found> {
    let Some(name) = file_name(repository).strip_prefix("models--").map(|name| name.replacen("--", "/", 1))
    else {
        return Vec::new();
    };
    let Ok(commit) = fs::read_to_string(repository.join("refs").join("main")) else { return Vec::new() };
    let snapshot = repository.join("snapshots").join(commit.trim());
    let mut files = Vec::new();
    collect(&snapshot, 0, &mut files);
    let files = files.iter().filter(|path| is_model(path));
    files
        .map(|path| {
            let below = path.strip_prefix(&snapshot).unwrap_or(path).display();
            Found {
                name: format!("hf:{name}/{below}"),
                path: path.clone(),
                bytes: bytes(path),
                origin: Origin::Hub,
            }
        })
        .collect()
}

/// Ollama's models: a manifest each, whose layer of the right kind names a blob.
fn ollama(folder: &Path) -> Vec<Found> {
    let manifests = folder.join("manifests");
    let mut files = Vec::new();
    collect(&manifests, 0, &mut files);
    files
        .iter()
        .filter_map(|path| {
            let short = fs::metadata(path).is_ok_and(|file| file.len() <= MANIFEST_BYTES_MAX);
            let text = short.then(|| fs::read_to_string(path).ok()).flatten()?;
            let manifest: Value = serde_json::from_str(&text).ok()?;
            let is_weights = |layer: &&Value| layer["mediaType"] == "application/vnd.ollama.image.model";
            let layer = manifest["layers"].as_array()?.iter().find(is_weights)?;
            let digest = layer["digest"].as_str()?.strip_prefix("sha256:")?;
            if !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            let blob = folder.join("blobs").join(format!("sha256-{digest}"));
            let bytes = fs::metadata(&blob).ok()?.len();
            // registry.ollama.ai/library/NAME/TAG, and other places with their names.
            let below = path.strip_prefix(&manifests).ok()?;
            let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
            let (tag, path_of_name) = parts.split_last()?;
            let name = path_of_name.join("/");
            let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(&name);
            let name = name.strip_prefix("library/").unwrap_or(name);
            Some(Found { name: format!("{name}:{tag}"), path: blob, bytes, origin: Origin::Ollama })
        })
        .collect()
}

/// The files below a folder, links followed.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(what) if what.is_dir() && depth < DEPTH_MAX => collect(&path, depth + 1, files),
            Ok(what) if what.is_file() && files.len() < MODELS_MAX => files.push(path),
            _ => {}
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Whether a file is a model, or the first one of a model in several files. What belongs to a model (a projector for
/// pictures) is none.
#[must_use]
pub fn is_model(path: &Path) -> bool {
    let is_gguf = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    let name = file_name(path).to_ascii_lowercase();
    is_gguf
        && !name.contains("mmproj")
        && part(name.trim_end_matches(".gguf")).is_none_or(|(_, part, _)| part == "00001")
}

/// Of `name-00001-of-00003`: the name, the part, and how many there are.
fn part(stem: &str) -> Option<(&str, &str, &str)> {
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, count) = stem.rsplit_once("-of-")?;
    let (name, part) = before.rsplit_once('-')?;
    (is_number(part) && is_number(count)).then_some((name, part, count))
}

/// The name of a model in several files: without the number of the part.
pub(crate) fn series(stem: &str) -> &str {
    part(stem).map_or(stem, |(name, ..)| name)
}

/// Bytes of a model, all its files together.
fn bytes(path: &Path) -> u64 {
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((name, _, count)) = part(&stem) else { return length(path) };
    let parts = 1..=count.parse::<u32>().unwrap_or(1);
    parts.map(|at| length(&path.with_file_name(format!("{name}-{at:05}-of-{count}.gguf")))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn found(folder: &Path) -> Vec<(String, u64, Origin)> {
        models(folder).unwrap().into_iter().map(|found| (found.name, found.bytes, found.origin)).collect()
    }

    #[test]
    fn plain_folders_are_searched_and_parts_are_one_model() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(found(folder), []);
        for (name, bytes) in [
            ("a.gguf", 3),
            ("publisher/model/b-00001-of-00002.gguf", 4),
            ("publisher/model/b-00002-of-00002.gguf", 5),
            ("publisher/model/mmproj-b.gguf", 7),
            ("readme.txt", 9),
        ] {
            write(&folder.join(name), &vec![0; bytes]);
        }
        let expected = [("a".into(), 3, Origin::Folder), ("publisher/model/b".into(), 9, Origin::Folder)];
        assert_eq!(found(folder), expected);
        assert!(models(&folder.join("missing")).is_err());
    }

    #[test]
    fn the_hubs_cache_is_read_in_its_newest_version() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("models--owner--some--name");
        write(&repository.join("refs/main"), b"abc");
        write(&repository.join("snapshots/abc/x-Q4_0.gguf"), b"1234");
        write(&repository.join("snapshots/old/x-Q8_0.gguf"), b"12345678");
        write(&folder.path().join("models--owner--empty/refs/main"), b"abc");
        assert_eq!(found(folder.path()), [("hf:owner/some--name/x-Q4_0.gguf".into(), 4, Origin::Hub)]);
    }

    #[test]
    fn ollamas_manifests_lead_to_its_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let manifest = |digest: &str| {
            format!(
                r#"{{"layers": [{{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:00"}},
                {{"mediaType": "application/vnd.ollama.image.model", "digest": "{digest}"}}]}}"#
            )
        };
        let at = |path: &str| folder.join("manifests").join(path);
        write(&at("registry.ollama.ai/library/tiny/latest"), manifest("sha256:aa").as_bytes());
        write(&at("registry.ollama.ai/someone/tiny/1b"), manifest("sha256:aa").as_bytes());
        write(&at("hf.co/owner/name/Q4_0"), manifest("sha256:aa").as_bytes());
        write(&at("registry.ollama.ai/library/gone/latest"), manifest("sha256:bb").as_bytes());
        write(&at("registry.ollama.ai/library/evil/latest"), manifest("sha256:../../x").as_bytes());
        write(&at("registry.ollama.ai/library/broken/latest"), b"{");
        write(&folder.join("blobs/sha256-aa"), b"12345");
        let expected = ["hf.co/owner/name:Q4_0", "someone/tiny:1b", "tiny:latest"];
        assert_eq!(found(folder), expected.map(|name| (name.to_owned(), 5, Origin::Ollama)));
    }
}
