//! Reading the header of a GGUF file: one pass, every length checked against the file before anything is allocated
//! for it, and the metadata kept as the bytes they are.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _};
use std::ops::Range;
use std::path::Path;

use minerva_llama::TensorType;

use super::Error;
use super::error::short;
use super::file::{Gguf, TensorInfo};
use super::value::{Entry, Kind, Value};
use super::write::ALIGNMENT;

/// More metadata than any model has: the largest vocabularies take some 30 MB.
const HEADER_BYTES_MAX: u64 = 1 << 30;
/// Far more keys than any model has.
const ENTRIES_MAX: u64 = 1 << 16;
/// Far more tensors than any model has.
const TENSORS_MAX: u64 = 1 << 18;
/// The format's own limit.
const KEY_BYTES_MAX: u64 = 65_535;
/// llama.cpp's own limit, its terminator left out.
const NAME_BYTES_MAX: u64 = 63;

/// Reads one file.
pub(super) fn open(path: &Path) -> Result<Gguf, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    // Asked before it is opened: opening a pipe would wait for whoever writes into it.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        let found = "it is a device, a pipe or a socket, and no file".to_owned();
        return Err(Error::NotGguf { path: path.to_owned(), found });
    }
    let file_bytes = metadata.len();
    let file = File::open(path).map_err(failed)?;
    let buffer = (file_bytes / 8).clamp(64, 1 << 13) as usize;
    Input { path, from: BufReader::with_capacity(buffer, file), file_bytes, bytes: Vec::new() }.read()
}

/// A file being read: what has been read so far is kept, and what is asked for next is checked against what is left.
struct Input<'a> {
    path: &'a Path,
    from: BufReader<File>,
    file_bytes: u64,
    bytes: Vec<u8>,
}

impl Input<'_> {
    fn read(mut self) -> Result<Gguf, Error> {
        self.magic()?;
        let version = self.version()?;
        let tensor_count = self.u64("the number of tensors")?;
        let entry_count = self.u64("the number of keys")?;
        if tensor_count > TENSORS_MAX {
            return Err(self.damaged("the number of tensors", format!("is {tensor_count}")));
        }
        if entry_count > ENTRIES_MAX {
            return Err(self.damaged("the number of keys", format!("is {entry_count}")));
        }

        let mut entries = Vec::new();
        for number in 0..entry_count {
            entries.push(self.entry(number)?);
        }
        self.unique(&entries)?;
        let alignment = self.alignment(&entries)?;
        let mut tensors = Vec::new();
        for number in 0..tensor_count {
            tensors.push(self.tensor(number)?);
        }
        self.place(&mut tensors, alignment)?;

        let Self { path, file_bytes, bytes, .. } = self;
        Ok(Gguf { paths: vec![path.to_owned()], version, file_bytes, header: bytes, entries, tensors })
    }

    fn magic(&mut self) -> Result<(), Error> {
        let not_gguf = |input: &Self, found: &str| Error::NotGguf {
            path: input.path.to_owned(),
            found: found.to_owned(),
        };
        if self.file_bytes == 0 {
            return Err(not_gguf(self, "it is empty"));
        }
        if self.file_bytes < 4 {
            return Err(not_gguf(self, &format!("it has only {} bytes", self.file_bytes)));
        }
        let range = self.take(4, &"the first four bytes")?;
        match &self.bytes[range] {
            b"GGUF" => Ok(()),
            b"FUGG" => Err(not_gguf(self, "it is one of a big-endian machine")),
            // A download that got a pointer or a page instead.
            b"vers" => Err(not_gguf(self, "it is text, perhaps a git-lfs pointer: fetch the file itself")),
            [b'<', ..] => Err(not_gguf(self, "it is a web page: download the file itself")),
            [b'P', b'K', ..] => {
                Err(not_gguf(self, "it is a zip archive, perhaps a PyTorch model: convert it"))
            }
            b"ggml" | b"lmgg" | b"tjgg" | b"fmgg" => {
                Err(not_gguf(self, "it is of the time before GGUF: convert it"))
            }
            other => Err(not_gguf(self, &format!("it begins with {}", other.escape_ascii()))),
        }
    }

    fn version(&mut self) -> Result<u32, Error> {
        let version = self.u32("the version")?;
        if matches!(version, 2 | 3) {
            return Ok(version);
        }
        if version.swap_bytes() <= 3 {
            let found = "it is one of a big-endian machine".to_owned();
            return Err(Error::NotGguf { path: self.path.to_owned(), found });
        }
        Err(Error::Version { path: self.path.to_owned(), version })
    }

    fn entry(&mut self, number: u64) -> Result<Entry, Error> {
        let key = self.text(KEY_BYTES_MAX, &format_args!("the name of key {number}"))?;
        let Ok(name) = std::str::from_utf8(&self.bytes[key.clone()]) else {
            return Err(self.damaged(format!("the name of key {number}"), "is not UTF-8"));
        };
        if name.is_empty() {
            return Err(self.damaged(format!("the name of key {number}"), "is empty"));
        }
        // For messages, which show no more of it; damage makes names as long as the file.
        let name: String = name.chars().take(200).collect();
        let kind = self.kind(&name)?;
        let start = self.bytes.len();
        match kind {
            Kind::Array => self.array(&name)?,
            _ => {
                match kind.bytes() {
                    Some(bytes) => self.take(bytes, &name)?,
                    None => self.text(HEADER_BYTES_MAX, &name)?,
                };
            }
        }
        Ok(Entry { key, kind, value: start..self.bytes.len() })
    }

    fn array(&mut self, name: &str) -> Result<(), Error> {
        let kind = self.kind(name)?;
        let length = self.u64(name)?;
        match kind.bytes() {
            Some(bytes) => {
                let Some(bytes) = length.checked_mul(bytes) else {
                    return Err(self.damaged(name, format!("has {length} values")));
                };
                self.take(bytes, &name)?;
            }
            None if kind == Kind::Array => return Err(self.damaged(name, "is an array of arrays")),
            None => {
                // Each takes eight bytes at least: more than are left cannot be, and are not even begun.
                let (start, has) = (self.bytes.len() as u64, self.file_bytes);
                if length > (has - start) / 8 {
                    let needed = start.saturating_add(length.saturating_mul(8));
                    return Err(Error::Truncated {
                        path: self.path.to_owned(),
                        place: short(name),
                        needed,
                        has,
                    });
                }
                for place in 0..length {
                    self.text(HEADER_BYTES_MAX, &format_args!("{name}[{place}]"))?;
                }
            }
        }
        Ok(())
    }

    fn unique(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut seen = HashSet::with_capacity(entries.len());
        for entry in entries {
            let key = &self.bytes[entry.key.clone()];
            if !seen.insert(key) {
                return Err(self.damaged(String::from_utf8_lossy(key), "is there twice"));
            }
        }
        Ok(())
    }

    fn alignment(&self, entries: &[Entry]) -> Result<u64, Error> {
        const KEY: &str = "general.alignment";
        let Some(entry) = entries.iter().find(|entry| &self.bytes[entry.key.clone()] == KEY.as_bytes())
        else {
            return Ok(ALIGNMENT);
        };
        let value = Value::take(entry.kind, &mut &self.bytes[entry.value.clone()]);
        match value.and_then(|value| value.as_unsigned()).filter(|_| entry.kind == Kind::U32) {
            // llama.cpp computes on the mapped file, and stops the process where a tensor begins in between.
            Some(alignment) if alignment.is_power_of_two() && (ALIGNMENT..=1 << 20).contains(&alignment) => {
                Ok(alignment)
            }
            _ => {
                Err(self
                    .damaged(KEY, format!("is {value:?}; {ALIGNMENT} or a larger power of two is possible")))
            }
        }
    }

    fn tensor(&mut self, number: u64) -> Result<TensorInfo, Error> {
        let place = format!("the name of tensor {number}");
        let name = self.text(NAME_BYTES_MAX, &place)?;
        let Ok(name) = String::from_utf8(self.bytes[name].to_vec()) else {
            return Err(self.damaged(place, "is not UTF-8"));
        };
        let place = format!("the tensor `{name}`");
        let rank = self.u32(&place)?;
        if !(1..=4).contains(&rank) {
            return Err(self.damaged(place, format!("has {rank} dimensions")));
        }
        let mut dimensions = Vec::with_capacity(4);
        let mut elements = Some(1_u64);
        for _ in 0..rank {
            let size = self.u64(&place)?;
            elements = elements
                .and_then(|elements| elements.checked_mul(size))
                .filter(|&all| all > 0 && all < 1 << 60);
            dimensions.push(size);
        }
        let kind = self.u32(&place)?;
        let Some(kind) = TensorType::from_id(kind) else {
            return Err(self.damaged(place, format!("is of type {kind}, which there is not")));
        };
        let offset = self.u64(&place)?;
        let Some(elements) = elements else {
            return Err(self.damaged(place, format!("has the impossible shape {dimensions:?}")));
        };
        let Some(row) = kind.row_bytes(dimensions[0]) else {
            let problem =
                format!("has rows of {} numbers, no whole blocks of {}", dimensions[0], kind.name());
            return Err(self.damaged(place, problem));
        };
        // Below 2^60 numbers of at most eight bytes each: no overflow.
        let bytes = row * (elements / dimensions[0]);
        Ok(TensorInfo { name, dimensions, kind, offset, bytes })
    }

    /// The tensors follow each other without a gap, as llama.cpp demands; the last ends inside the file.
    fn place(&self, tensors: &mut [TensorInfo], alignment: u64) -> Result<(), Error> {
        let mut seen = HashSet::with_capacity(tensors.len());
        if let Some(twice) = tensors.iter().find(|tensor| !seen.insert(tensor.name.as_str())) {
            return Err(self.damaged(format!("the tensor `{}`", twice.name), "is there twice"));
        }
        let data = (self.bytes.len() as u64).next_multiple_of(alignment);
        let mut expected = 0_u64;
        for tensor in tensors {
            let place = format!("the tensor `{}`", tensor.name);
            if tensor.offset != expected {
                let problem = format!("begins at {} of the data and not at {expected}", tensor.offset);
                return Err(self.damaged(place, problem));
            }
            let end =
                expected.checked_add(tensor.bytes).and_then(|end| end.checked_next_multiple_of(alignment));
            let Some(end) = end.filter(|&end| end < 1 << 62) else {
                return Err(self.damaged(place, "ends beyond what can be counted"));
            };
            tensor.offset = data + expected;
            let needed = tensor.offset + tensor.bytes;
            if needed > self.file_bytes {
                return Err(Error::Truncated {
                    path: self.path.to_owned(),
                    place,
                    needed,
                    has: self.file_bytes,
                });
            }
            expected = end;
        }
        Ok(())
    }

    fn kind(&mut self, name: &str) -> Result<Kind, Error> {
        let kind = self.u32(name)?;
        Kind::from_id(kind)
            .ok_or_else(|| self.damaged(name, format!("is of kind {kind}, which there is not")))
    }

    fn u32(&mut self, place: &str) -> Result<u32, Error> {
        let range = self.take(4, &place)?;
        Ok(u32::from_le_bytes(self.bytes[range].try_into().expect("four bytes")))
    }

    fn u64(&mut self, place: &(impl std::fmt::Display + ?Sized)) -> Result<u64, Error> {
        let range = self.take(8, &place)?;
        Ok(u64::from_le_bytes(self.bytes[range].try_into().expect("eight bytes")))
    }

    fn text(&mut self, most: u64, place: &impl std::fmt::Display) -> Result<Range<usize>, Error> {
        let length = self.u64(place)?;
        if length > most {
            return Err(self.damaged(place.to_string(), format!("is a text of {length} bytes")));
        }
        self.take(length, place)
    }

    /// Reads so many bytes more, if there are.
    fn take(&mut self, length: u64, place: &impl std::fmt::Display) -> Result<Range<usize>, Error> {
        let start = self.bytes.len();
        let truncated = |input: &Self| Error::Truncated {
            path: input.path.to_owned(),
            place: short(&place.to_string()),
            needed: (start as u64).saturating_add(length),
            has: input.file_bytes,
        };
        if length > self.file_bytes.saturating_sub(start as u64) {
            return Err(truncated(self));
        }
        if start as u64 + length > HEADER_BYTES_MAX {
            return Err(self.damaged(place.to_string(), "ends beyond the first gigabyte"));
        }
        // Below the limit just checked.
        let end = start + length as usize;
        self.reserve(end);
        self.bytes.resize(end, 0);
        match self.from.read_exact(&mut self.bytes[start..]) {
            Ok(()) => Ok(start..end),
            // Only if it shrinks while it is read.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(truncated(self)),
            Err(source) => Err(Error::Read { path: self.path.to_owned(), source }),
        }
    }

    /// Doubles the room until there is enough. Where that comes near the file's size it takes just that: the old and
    /// the new room, of which one is copied to the other, stay below one and a half of the file.
    fn reserve(&mut self, needed: usize) {
        if needed > self.bytes.capacity() {
            let file_bytes = usize::try_from(self.file_bytes).unwrap_or(usize::MAX);
            let doubled = needed.max(2 * self.bytes.capacity());
            let room = if doubled > file_bytes / 4 { file_bytes } else { doubled };
            self.bytes.reserve_exact(room - self.bytes.len());
        }
    }

    fn damaged(&self, place: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.to_owned(), place: short(&place.into()), problem: problem.into() }
    }
}
