//! A GGUF file that has been read: typed access to its metadata, and its tensors.

use std::path::{Path, PathBuf};

use minerva_llama::TensorType;

use super::error::short;
use super::value::{Entry, Kind, Value};
use super::{Error, read};

/// The header of a GGUF file.
#[derive(Clone, Debug)]
pub struct Gguf {
    pub(super) version: u32,
    pub(super) file_bytes: u64,
    pub(super) header: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) paths: Vec<PathBuf>,
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The numbers along each of its dimensions, rows first.
    pub dimensions: Vec<u64>,
    /// The type of its numbers.
    pub kind: TensorType,
    /// Where it begins in the file.
    pub offset: u64,
    /// The bytes it takes.
    pub bytes: u64,
}

impl TensorInfo {
    /// The numbers in it.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().product()
    }
}

impl Gguf {
    /// Reads one file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is not GGUF, or contradicts itself or its own length.
    pub fn open(path: &Path) -> Result<Self, Error> {
        read::open(path)
    }

    /// Reads a file and, if it is the first of a split model, the others beside it.
    ///
    /// # Errors
    ///
    /// As [`Gguf::open`]; and when the file is one of a split model but not the first.
    pub fn open_model(path: &Path) -> Result<Self, Error> {
        let mut model = Self::open(path)?;
        let count = model.unsigned("split.count").unwrap_or(1);
        if count <= 1 {
            return Ok(model);
        }
        let count = u32::try_from(count).ok().filter(|&count| count <= 9999);
        let count = count.ok_or_else(|| model.damaged("split.count", "is more than 9999"))?;
        let first = format!("-00001-of-{count:05}.gguf");
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(&first).filter(|_| model.unsigned("split.no").unwrap_or(0) == 0)
        else {
            let problem = format!("it is one of {count} files; name the first, which ends in {first}");
            return Err(Error::NotModel { path: path.to_owned(), problem });
        };
        for number in 2..=count {
            let shard = Self::open(&path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf")))?;
            shard.is_part(number, count)?;
            model.file_bytes += shard.file_bytes;
            model.tensors.extend(shard.tensors);
            model.paths.extend(shard.paths);
        }
        let mut names: Vec<&str> = model.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(model.damaged(format!("the tensor `{}`", pair[0]), "is in two of its files"));
        }
        let found = model.tensors.len();
        if let Some(count) = model.unsigned("split.tensors.count").filter(|&count| count != found as u64) {
            return Err(
                model.damaged("split.tensors.count", format!("is {count}, and its files have {found}"))
            );
        }
        Ok(model)
    }

    /// Whether this is the file of a split model that its name says.
    fn is_part(&self, number: u32, count: u32) -> Result<(), Error> {
        for (key, expected) in [("split.no", number - 1), ("split.count", count)] {
            if self.unsigned(key) != Some(u64::from(expected)) {
                let found =
                    self.unsigned(key).map_or_else(|| "missing".to_owned(), |found| found.to_string());
                let problem = format!("is {found}, and in file {number} of {count} it is {expected}");
                return Err(self.damaged(key, problem));
            }
        }
        Ok(())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.paths[0]
    }

    /// The version of the format.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The bytes of the file, or of all files of a split model.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The number of files.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.paths.len()
    }

    /// The files: one, or all of a split model's.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The tensors, in the order of the file.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// A tensor by name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// All keys and their values, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.entries.iter().filter_map(|entry| Some((self.key(entry), self.value(entry)?)))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.value(self.entries.iter().find(|entry| self.key(entry) == key)?)
    }

    /// The value of a key under the architecture's own prefix: `block_count` for `llama.block_count`.
    #[must_use]
    pub fn get_own(&self, key: &str) -> Option<Value<'_>> {
        self.get(&format!("{}.{key}", self.architecture()?))
    }

    /// The text of a key.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// The number of a key.
    #[must_use]
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_unsigned()
    }

    /// The number of a key under the architecture's own prefix.
    #[must_use]
    pub fn own_unsigned(&self, key: &str) -> Option<u64> {
        self.get_own(key)?.as_unsigned()
    }

    /// The architecture: `llama`, `qwen2`, …
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        self.text("general.architecture")
    }

    /// The entries whose key begins so, as the bytes that another file can take over.
    pub fn encoded(&self, prefix: &str) -> impl Iterator<Item = (&str, Kind, &[u8])> {
        let entries =
            self.entries.iter().map(|entry| (self.key(entry), entry.kind, &self.header[entry.value.clone()]));
        entries.filter(move |(key, ..)| key.starts_with(prefix))
    }

    pub(super) fn damaged(&self, place: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Damaged { path: self.path().to_owned(), place: short(&place.into()), problem: problem.into() }
    }

    fn key(&self, entry: &Entry) -> &str {
        // Checked when the file was read.
        std::str::from_utf8(&self.header[entry.key.clone()]).unwrap_or_default()
    }

    fn value(&self, entry: &Entry) -> Option<Value<'_>> {
        Value::take(entry.kind, &mut &self.header[entry.value.clone()])
    }
}
