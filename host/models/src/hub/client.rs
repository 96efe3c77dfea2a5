//! The hub's interface: what a repository has, and its files, from any place on.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::cache::{Blob, REVISION};
use super::reference::{Remote, RemoteFile};
use super::{Error, Options, Reference};

/// The longest list of a repository's files.
const LIST_BYTES_MAX: usize = 16 << 20;

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(15);

/// Bytes that are hashed at a time.
const PIECE_BYTES: usize = 1 << 20;

/// A hub, and how to speak with it.
pub(super) struct Client<'a> {
    http: reqwest::Client,
    endpoint: &'a str,
    options: &'a Options,
}

/// Why a download stopped before the end.
enum Broken {
    /// It may go on.
    Off(String),
    /// It may not.
    For(Error),
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a Options) -> Result<Self, Error> {
        let endpoint = options.endpoint.trim_end_matches('/');
        let http = reqwest::Client::builder()
            .user_agent(concat!("minerva/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_MAX)
            .read_timeout(options.silence_max)
            .build();
        let http =
            http.map_err(|error| Error::Unreachable { endpoint: endpoint.into(), why: words(&error) })?;
        Ok(Self { http, endpoint, options })
    }

    /// What a repository has.
    pub(super) async fn files(&self, reference: &Reference) -> Result<Remote, Error> {
        let what = &reference.repository;
        let url = format!("{}/api/models/{what}/revision/{REVISION}?blobs=true", self.endpoint);
        let mut answer = self.get(&url, 0).await.map_err(|error| self.unreachable(&error))?;
        self.check(&answer, what)?;
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&piece);
            if body.len() > LIST_BYTES_MAX {
                return Err(self.odd(what, format!("a list of more than {LIST_BYTES_MAX} bytes")));
            }
        }
        let list: Value =
            serde_json::from_slice(&body).map_err(|error| self.odd(what, format!("no JSON: {error}")))?;
        read_list(&list).ok_or_else(|| self.odd(what, "a list that is none"))
    }

    /// Downloads a file from where it is, as often as that takes.
    pub(super) async fn download(
        &self,
        reference: &Reference,
        commit: &str,
        file: &RemoteFile,
        blob: &Blob,
        told: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Error> {
        let mut failures = 0;
        let mut came_before = None;
        loop {
            let mut part = Part::open(blob)?;
            let was_begun = part.done > 0;
            let broken = self.rest(reference, commit, file, &mut part, told).await;
            let done = part.done;
            match broken {
                Ok(()) => match part.finish(blob, file) {
                    // What an earlier pull left may be of anything: once more, from the beginning.
                    Err(Error::Checksum { .. }) if was_begun => continue,
                    finished => return finished,
                },
                Err(Broken::For(error)) => return Err(error),
                Err(Broken::Off(why)) => {
                    failures = if came_before.is_some_and(|before| done > before) { 1 } else { failures + 1 };
                    came_before = Some(done);
                    if failures >= self.options.attempts_max.max(1) {
                        let (file, size) = (file.path.clone(), file.size);
                        return Err(Error::BrokenOff { file, done, size, why });
                    }
                    let pause = self.options.pause.saturating_mul(1 << (failures - 1).min(6));
                    tracing::warn!("{}: {why}; going on at byte {done} in {pause:?}", file.path);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Downloads what is missing of a file.
    async fn rest(
        &self,
        reference: &Reference,
        commit: &str,
        file: &RemoteFile,
        part: &mut Part,
        told: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Broken> {
        if part.done > file.size {
            part.restart().map_err(Broken::For)?;
        }
        if part.done == file.size {
            return Ok(());
        }
        let what = format!("{}/{}", reference.repository, file.path);
        let url = format!("{}/{}/resolve/{commit}/{}", self.endpoint, reference.repository, file.path);
        let answer = self.get(&url, part.done).await;
        let mut answer = answer.map_err(|error| Broken::Off(words(&error)))?;
        if answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS {
            return Err(Broken::Off(format!("the hub says {}", answer.status())));
        }
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            part.restart().map_err(Broken::For)?;
            return Err(Broken::Off("the hub does not go on from there".into()));
        }
        self.check(&answer, &what).map_err(Broken::For)?;
        if begins_at(&answer) != part.done {
            part.restart().map_err(Broken::For)?;
        }
        loop {
            if !told(part.done) {
                return Err(Broken::For(Error::Stopped { file: file.path.clone() }));
            }
            let piece = answer.chunk().await.map_err(|error| Broken::Off(words(&error)))?;
            let Some(piece) = piece else { break };
            if part.done + piece.len() as u64 > file.size {
                part.restart().map_err(Broken::For)?;
                return Err(Broken::For(self.odd(&what, format!("more than its {} bytes", file.size))));
            }
            part.take(&piece).map_err(Broken::For)?;
        }
        if part.done < file.size {
            return Err(Broken::Off("the connection ended".into()));
        }
        told(part.done);
        Ok(())
    }

    async fn get(&self, url: &str, from: u64) -> Result<Response, reqwest::Error> {
        let mut request = self.http.get(url);
        // Taken off again where the hub sends us on to another host.
        if let Some(token) = &self.options.token {
            request = request.bearer_auth(token);
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request.send().await
    }

    fn check(&self, answer: &Response, what: &str) -> Result<(), Error> {
        let (what, endpoint) = (what.to_owned(), self.endpoint.to_owned());
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => Err(Error::NotFound { what, endpoint }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Forbidden { what, endpoint }),
            status => Err(Error::Answer { endpoint, what, answer: status.to_string() }),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        Error::Unreachable { endpoint: self.endpoint.into(), why: words(error) }
    }

    fn odd(&self, what: &str, answer: impl Into<String>) -> Error {
        Error::Answer { endpoint: self.endpoint.into(), what: what.into(), answer: answer.into() }
    }
}

/// Where in the file an answer begins.
fn begins_at(answer: &Response) -> u64 {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return 0;
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let begin = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    begin.unwrap_or(0)
}

/// A file on its way, and the checksum of what is there.
struct Part {
    file: File,
    path: PathBuf,
    done: u64,
    hasher: Sha256,
}

impl Part {
    fn open(blob: &Blob) -> Result<Self, Error> {
        let path = blob.part.clone();
        let opened = || -> std::io::Result<Self> {
            let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
            let mut hasher = Sha256::new();
            let mut piece = vec![0; PIECE_BYTES];
            let mut done = 0;
            loop {
                let count = file.read(&mut piece)?;
                if count == 0 {
                    break;
                }
                hasher.update(&piece[..count]);
                done += count as u64;
            }
            Ok(Self { file, path: path.clone(), done, hasher })
        };
        opened().map_err(|source| Error::Disk { path: path.clone(), source })
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.file.write_all(piece).map_err(|source| Error::Disk { path: self.path.clone(), source })?;
        self.hasher.update(piece);
        self.done += piece.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| Error::Disk { path: self.path.clone(), source })?;
        (self.done, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Gives it its name, if it is what it should be; else throws it away.
    fn finish(self, blob: &Blob, file: &RemoteFile) -> Result<(), Error> {
        let found: String = self.hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let failed = |source| Error::Disk { path: self.path.clone(), source };
        if found != file.checksum {
            fs::remove_file(&self.path).map_err(failed)?;
            return Err(Error::Checksum { file: file.path.clone(), found, expected: file.checksum.clone() });
        }
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.path, &blob.whole).map_err(failed)
    }
}

/// Reads the hub's answer. Files without a checksum of their content are small texts, which nobody needs here.
fn read_list(list: &Value) -> Option<Remote> {
    let is_hex = |text: &&str| {
        !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let commit = list["sha"].as_str().filter(is_hex)?.to_owned();
    let files = list["siblings"].as_array()?.iter().filter_map(|file| {
        let path = file["rfilename"].as_str()?;
        // These become paths on this disk.
        let is_safe =
            |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
        let checksum = file["lfs"]["sha256"].as_str().filter(|sum| sum.len() == 64).filter(is_hex)?;
        let size = file["lfs"]["size"].as_u64().or_else(|| file["size"].as_u64())?;
        let checksum = checksum.to_ascii_lowercase();
        path.split('/').all(is_safe).then(|| RemoteFile { path: path.into(), size, checksum })
    });
    Some(Remote { commit, files: files.collect() })
}

/// An error and its causes: reqwest's own words are only the first of them.
fn words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
