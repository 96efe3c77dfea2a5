//! Sound files, and damage to their headers that a seed tells.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use minerva_models::gguf::{Gguf, Kind, Value};
use minerva_models::synthetic::{self, Spec, Vocabulary};

/// A sound file, and where its parts are.
pub(crate) struct Sound {
    path: PathBuf,
    file: File,
    /// Its header.
    header: Vec<u8>,
    bytes: u64,
    /// The entries of the metadata.
    entries: Vec<Field>,
    /// What describes the tensors.
    tensors: Range<usize>,
    /// How often it is chosen.
    weight: u64,
}

/// An entry: where its key, the number of its kind, and its value are.
#[derive(Clone, Debug)]
struct Field {
    key: Range<usize>,
    kind: Kind,
    value: usize,
    is_vocabulary: bool,
}

impl Sound {
    /// The built-in model, every tiny synthetic one, and vocabularies where a folder of them is given.
    pub(crate) fn all(folder: &Path) -> Vec<Self> {
        let mut all = Vec::new();
        let builtin = folder.join("builtin.gguf");
        fs::write(&builtin, minerva_models::builtin::BYTES).expect("it can be written");
        all.push(Self::new(builtin, 50));
        for preset in synthetic::PRESETS.iter().filter(|name| name.starts_with("tiny")) {
            let path = folder.join(format!("{preset}.gguf"));
            let spec = Spec::preset(preset).expect("a preset");
            synthetic::write(&spec, &path, |_| true).expect("it is written");
            all.push(Self::new(path, 6));
        }
        let Some(vocabularies) = std::env::var_os("MINERVA_TEST_VOCABULARIES") else { return all };
        let files = fs::read_dir(vocabularies)
            .expect("MINERVA_TEST_VOCABULARIES")
            .map(|entry| entry.expect("an entry"));
        let is_gguf = |path: &PathBuf| path.extension().is_some_and(|end| end == "gguf");
        let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).filter(is_gguf).collect();
        files.sort();
        for file in files {
            let name = file.file_name().expect("a name");
            let copy = folder.join(name);
            fs::write(&copy, fs::read(&file).expect("it can be read")).expect("it can be copied");
            all.push(Self::new(copy, 2));
            // The same vocabulary as part of a model, so that llama.cpp gets to see it.
            let path = folder.join(format!("model-with-{}", name.to_string_lossy()));
            let tiny = Spec::preset("tiny").expect("a preset");
            let spec = Spec {
                layers: 1,
                width: 64,
                heads: 2,
                kv_heads: 1,
                vocabulary: Vocabulary::FromFile(file),
                ..tiny
            };
            synthetic::write(&spec, &path, |_| true).expect("it is written");
            all.push(Self::new(path, 1));
        }
        all
    }

    fn new(path: PathBuf, weight: u64) -> Self {
        let gguf = Gguf::open(&path).expect("a sound file");
        let whole = fs::read(&path).expect("it can be read");
        let data = gguf.tensors().iter().map(|tensor| tensor.offset).min().unwrap_or(whole.len() as u64);
        let header = whole[..usize::try_from(data).expect("a header fits")].to_vec();
        let find = |needle: &[u8], from: usize| {
            let place = header[from..].windows(needle.len()).position(|window| window == needle);
            from + place.expect("it is in the header")
        };
        let mut entries: Vec<Field> = Vec::new();
        let mut at = 24;
        for (key, value) in gguf.entries() {
            let needle = [&(key.len() as u64).to_le_bytes()[..], key.as_bytes()].concat();
            let place = find(&needle, at) + 8;
            let kind = place + key.len();
            let id = u32::from_le_bytes(header[kind..kind + 4].try_into().expect("four bytes"));
            at = kind + 4;
            let is_vocabulary = matches!(value, Value::Array(array) if array.length > 64);
            let kind = Kind::from_id(id).expect("a kind");
            entries.push(Field { key: place..at - 4, kind, value: at, is_vocabulary });
        }
        let tensors = match gguf.tensors().first() {
            Some(first) => {
                let needle = [&(first.name.len() as u64).to_le_bytes()[..], first.name.as_bytes()].concat();
                find(&needle, at)..header.len()
            }
            None => header.len()..header.len(),
        };
        let file = super::open(&path);
        Self { path, file, bytes: whole.len() as u64, header, entries, tensors, weight }
    }

    /// Writes into the file.
    fn put(&self, place: usize, bytes: &[u8]) {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(place as u64))
            .and_then(|_| file.write_all(bytes))
            .expect("it can be written");
    }
}

/// A damaged file: the sound one with changes, which dropping this takes back.
pub(crate) struct Damaged<'a> {
    sound: &'a Sound,
    header: Vec<u8>,
    changes: Vec<Range<usize>>,
    /// A file of its own, where something is cut off.
    cut: Option<PathBuf>,
}

impl<'a> Damaged<'a> {
    /// The damage of a seed to one of the files.
    pub(crate) fn new(all: &'a mut [Sound], folder: &Path, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut lot = random.below(all.iter().map(|sound| sound.weight).sum());
        let chosen = all.iter().position(|sound| {
            let is_it = lot < sound.weight;
            lot = lot.saturating_sub(sound.weight);
            is_it
        });
        let sound = &all[chosen.expect("the lot is below the sum")];
        let mut damaged = Self { sound, header: sound.header.clone(), changes: Vec::new(), cut: None };
        for _ in 0..=random.below(3) {
            damaged.change(&mut random);
        }
        if random.below(20) == 0 {
            let length = if random.below(4) == 0 { sound.bytes } else { sound.header.len() as u64 };
            let kept = usize::try_from(random.below(length)).expect("it fits").min(damaged.header.len());
            let path = folder.join("cut.gguf");
            fs::write(&path, &damaged.header[..kept]).expect("it can be written");
            damaged.cut = Some(path);
        } else {
            for change in &damaged.changes {
                sound.put(change.start, &damaged.header[change.clone()]);
            }
        }
        damaged
    }

    pub(crate) fn path(&self) -> &Path {
        self.cut.as_deref().unwrap_or(&self.sound.path)
    }

    fn change(&mut self, random: &mut Random) {
        let sound = self.sound;
        let place = |range: Range<usize>, random: &mut Random| {
            range.start + usize::try_from(random.below(range.len().max(1) as u64)).expect("it fits")
        };
        // Most keys describe the network in a few bytes; the vocabulary's are most of the header's bytes.
        let field = &sound.entries[place(0..sound.entries.len(), random)];
        match random.below(12) {
            // Any byte of the header, of its first numbers, of the small keys, of the tensors.
            0 => self.byte(place(0..sound.header.len(), random), random),
            1 => self.byte(place(4..24, random), random),
            2 | 3 if !field.is_vocabulary => {
                self.byte(place(field.key.start..field.value + 8, random), random);
            }
            2..=4 if !sound.tensors.is_empty() => self.byte(place(sound.tensors.clone(), random), random),
            // A number with another value.
            5..=8 => self.number(field, random),
            // Another kind, or another name.
            9 => self.put(field.key.end, &(random.below(14) as u32).to_le_bytes()),
            10 => self.byte(place(field.key.clone(), random), random),
            // Another network's name on all keys.
            _ => self.rename(random),
        }
    }

    fn byte(&mut self, place: usize, random: &mut Random) {
        let place = place.min(self.header.len() - 1);
        let old = self.header[place];
        let any = random.below(256) as u8;
        let new =
            [0, 1, 0x7f, 0x80, 0xff, old.wrapping_add(1), old.wrapping_sub(1), any][random.below(8) as usize];
        self.put(place, &[new]);
    }

    fn number(&mut self, field: &Field, random: &mut Random) {
        let at = field.value;
        let old = self.old(at);
        let choose =
            |numbers: &[u64], random: &mut Random| numbers[random.below(numbers.len() as u64) as usize];
        match field.kind {
            Kind::F32 => {
                let floats = [0.0, -1.0, 1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-38, 3e38, -1e-6];
                self.put(at, &floats[random.below(9) as usize].to_le_bytes());
            }
            Kind::Array => {
                // The kind of its values, or their number.
                let length = at + 4;
                if random.below(4) == 0 {
                    self.put(at, &(random.below(14) as u32).to_le_bytes());
                } else {
                    let old = self.old(length);
                    let new = choose(
                        &[0, 1, old.wrapping_add(1), old.wrapping_sub(1), u64::MAX, 1 << 40, old / 2],
                        random,
                    );
                    self.put(length, &new.to_le_bytes());
                }
            }
            Kind::Text => {
                let new =
                    choose(&[0, 1, old.wrapping_add(1), old.wrapping_sub(1), u64::MAX, 1 << 40], random);
                self.put(at, &new.to_le_bytes());
            }
            kind => {
                let width = usize::try_from(kind.bytes().unwrap_or(1)).expect("a few bytes");
                let mask = if width == 8 { u64::MAX } else { (1 << (8 * width)) - 1 };
                let old = old & mask;
                let numbers = [
                    0,
                    1,
                    2,
                    3,
                    old.wrapping_add(1),
                    old.wrapping_sub(1),
                    old.wrapping_mul(2),
                    old / 2,
                    u64::MAX,
                    i64::MAX as u64,
                    mask >> 1,
                    (mask >> 1) + 1,
                    random.below(1 << 20),
                    random.below(600),
                ];
                let new = choose(&numbers, random) & mask;
                self.put(at, &new.to_le_bytes()[..width]);
            }
        }
    }

    /// The number in eight bytes; behind the last value there may be fewer.
    fn old(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        let there = &self.header[at.min(self.header.len())..];
        let there = &there[..there.len().min(8)];
        bytes[..there.len()].copy_from_slice(there);
        u64::from_le_bytes(bytes)
    }

    fn rename(&mut self, random: &mut Random) {
        const NAMES: [&str; 24] = [
            "llama", "qwen2", "qwen3", "gemma", "olmo2", "olmoe", "orion", "bloom", "plamo", "mamba",
            "rwkv6", "rwkv7", "arcee", "dream", "llada", "grok", "bert", "phi2", "phi3", "jais", "dbrx",
            "olmo", "gpt2", "gemma2",
        ];
        let key = b"general.architecture";
        let Some(field) =
            self.sound.entries.iter().find(|field| self.sound.header[field.key.clone()] == *key)
        else {
            return;
        };
        let length = self.header[field.value] as usize;
        let Some(old) = self.sound.header.get(field.value + 8..field.value + 8 + length) else { return };
        let fitting: Vec<&str> = NAMES.into_iter().filter(|name| name.len() == length).collect();
        if fitting.is_empty() {
            return;
        }
        let new = fitting[random.below(fitting.len() as u64) as usize].as_bytes();
        let (value, old) = (field.value + 8, old.to_vec());
        self.put(value, new);
        for field in self.sound.entries.iter().filter(|field| field.key.len() > old.len()) {
            if self.sound.header[field.key.clone()].starts_with(&old) {
                self.put(field.key.start, new);
            }
        }
    }

    fn put(&mut self, place: usize, bytes: &[u8]) {
        let end = (place + bytes.len()).min(self.header.len());
        self.header[place..end].copy_from_slice(&bytes[..end - place]);
        self.changes.push(place..end);
    }
}

impl Drop for Damaged<'_> {
    fn drop(&mut self) {
        for change in &self.changes {
            self.sound.put(change.start, &self.sound.header[change.clone()]);
        }
    }
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number from 0 to below a limit.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
