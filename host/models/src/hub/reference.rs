//! Which model is meant, and which of a repository's files it is.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// What is taken where no quantisation is asked for, the first that there is.
const PREFERRED: [&str; 4] = ["Q4_K_M", "Q4_K_S", "Q4_0", "Q8_0"];

/// A model of the hub: `hf:OWNER/REPOSITORY`, `hf:OWNER/REPOSITORY:Q4_K_M` or `hf:OWNER/REPOSITORY/FILE.gguf`. The `hf:`
/// may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `OWNER/REPOSITORY`.
    pub repository: String,
    /// A quantisation, as it stands in the file's name.
    pub quantization: Option<String>,
    /// One file.
    pub file: Option<String>,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Reference { text: text.to_owned() };
        let rest = text.strip_prefix("hf:").unwrap_or(text);
        let (path, quantization) = match rest.split_once(':') {
            Some((path, quantization)) => (path, Some(quantization)),
            None => (rest, None),
        };
        let mut parts = path.splitn(3, '/');
        let (owner, name, file) = (parts.next(), parts.next(), parts.next());
        let (Some(owner), Some(name)) = (owner, name) else { return Err(wrong()) };
        let is_fine = |part: &str| {
            let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty()
                && part.len() <= 96
                && part.bytes().all(sane)
                && part.bytes().any(|byte| byte != b'.')
        };
        let has_both = quantization.is_some() && file.is_some();
        let file_is_fine = file.is_none_or(|file| file.ends_with(".gguf") && file.split('/').all(is_fine));
        if !is_fine(owner) || !is_fine(name) || !quantization.is_none_or(is_fine) || !file_is_fine || has_both
        {
            return Err(wrong());
        }
        Ok(Self {
            repository: format!("{owner}/{name}"),
            quantization: quantization.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.repository)?;
        if let Some(quantization) = &self.quantization {
            write!(out, ":{quantization}")?;
        }
        if let Some(file) = &self.file {
            write!(out, "/{file}")?;
        }
        Ok(())
    }
}

/// What a repository has.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// The version.
    pub commit: String,
    pub files: Vec<RemoteFile>,
}

/// One of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    /// With the folders in the repository.
    pub path: String,
    pub size: u64,
    /// SHA-256, in 64 hexadecimal digits.
    pub checksum: String,
}

/// The files of the model that is meant, in their order.
pub(crate) fn choose(reference: &Reference, remote: &Remote) -> Result<Vec<RemoteFile>, Error> {
    let paths: Vec<&str> = remote.files.iter().map(|file| file.path.as_str()).collect();
    let chosen = choose_among(reference, &paths)?;
    Ok(remote.files.iter().filter(|file| chosen.contains(&file.path)).cloned().collect())
}

/// The paths of the model that is meant, in their order.
pub(crate) fn choose_among(reference: &Reference, paths: &[&str]) -> Result<Vec<String>, Error> {
    let mut models: Vec<&str> = paths.iter().copied().filter(|path| is_model(path)).collect();
    models.sort_unstable();
    let none = |wanted: &str| {
        let mut there: Vec<String> = models.iter().map(|path| series(path).to_owned()).collect();
        there.dedup();
        Error::NoSuchFile { repository: reference.repository.clone(), wanted: wanted.to_owned(), there }
    };
    let first = if let Some(file) = &reference.file {
        models.iter().find(|path| *path == file).ok_or_else(|| none(file))?
    } else if let Some(quantization) = &reference.quantization {
        models.iter().find(|path| is_of(path, quantization)).ok_or_else(|| none(quantization))?
    } else {
        let preferred = PREFERRED.iter().find_map(|kind| models.iter().find(|path| is_of(path, kind)));
        preferred.or(models.first()).ok_or_else(|| none("model"))?
    };
    // All files of a model in several files.
    Ok(models.iter().filter(|path| series(path) == series(first)).map(|path| (*path).to_owned()).collect())
}

fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.to_ascii_lowercase().ends_with(".gguf") && !name.to_ascii_lowercase().contains("mmproj")
}

/// Whether a file's name has a quantisation in it as a word: `Q4_K` is not in `model-Q4_K_M.gguf`.
fn is_of(path: &str, quantization: &str) -> bool {
    let (path, quantization) = (path.to_ascii_lowercase(), quantization.to_ascii_lowercase());
    let is_word = |byte: Option<u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && byte != b'_');
    path.match_indices(&quantization).any(|(at, _)| {
        let before = at.checked_sub(1).map(|at| path.as_bytes()[at]);
        is_word(before) && is_word(path.as_bytes().get(at + quantization.len()).copied())
    })
}

/// What the files of one model have in common: their path without `-00001-of-00003`.
fn series(path: &str) -> &str {
    crate::discover::series(path.get(..path.len().saturating_sub(".gguf".len())).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let cases = [
            ("hf:a/b", Some(("a/b", None, None))),
            ("a/b:Q4_K_M", Some(("a/b", Some("Q4_K_M"), None))),
            ("hf:a/b/c/d.gguf", Some(("a/b", None, Some("c/d.gguf")))),
            ("hf:a", None),
            ("hf:../b", None),
            ("hf:a/..", None),
            ("hf:a/b/../c.gguf", None),
            ("hf:a/b/c.txt", None),
            ("hf:a b/c", None),
            ("hf:a/b:", None),
            ("hf:a/b/c.gguf:Q4_0", None),
        ];
        for (text, expected) in cases {
            let read = text.parse::<Reference>().ok();
            let read = read
                .as_ref()
                .map(|read| (read.repository.as_str(), read.quantization.as_deref(), read.file.as_deref()));
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn a_quantisation_is_a_word_and_brings_all_its_parts() {
        let paths = [
            "README.md",
            "mmproj-F16.gguf",
            "x-Q4_K_M.gguf",
            "x-Q8_0.gguf",
            "big/x-BF16-00001-of-00002.gguf",
            "big/x-BF16-00002-of-00002.gguf",
        ];
        let of = |text: &str| choose_among(&text.parse().unwrap(), &paths).map_err(|error| error.to_string());
        assert_eq!(of("a/b").unwrap(), ["x-Q4_K_M.gguf"]);
        assert_eq!(of("a/b:q8_0").unwrap(), ["x-Q8_0.gguf"]);
        assert_eq!(of("a/b:BF16").unwrap(), paths[4..]);
        assert_eq!(of("a/b/x-Q8_0.gguf").unwrap(), ["x-Q8_0.gguf"]);
        let error = of("a/b:Q4_K").unwrap_err();
        assert_eq!(error, "a/b has no Q4_K; it has big/x-BF16, x-Q4_K_M, x-Q8_0");
        assert!(choose_among(&"a/b".parse().unwrap(), &["x.bin"]).is_err());
    }
}
